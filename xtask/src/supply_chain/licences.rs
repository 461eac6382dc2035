//! SPDX licence expressions.

/// Whether an expression is satisfied by licences for which `permitted` holds; `None` if it cannot be parsed.
///
/// `MIT/Apache-2.0`, which old crates write, means `MIT OR Apache-2.0`. Source: SPDX 2.3, annex D.
pub(super) fn holds(expression: &str, permitted: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: &[&str] = &spaced.split_whitespace().collect::<Vec<_>>();
    let value = any(&mut words, permitted)?;
    words.is_empty().then_some(value)
}

fn any(words: &mut &[&str], permitted: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut value = all(words, permitted)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        value |= all(words, permitted)?;
    }
    Some(value)
}

fn all(words: &mut &[&str], permitted: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut value = one(words, permitted)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        value &= one(words, permitted)?;
    }
    Some(value)
}

fn one(words: &mut &[&str], permitted: &dyn Fn(&str) -> bool) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let value = any(words, permitted)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(value)
        }
        ["AND" | "OR" | "WITH" | ")", ..] | [] => None,
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            Some(permitted(&format!("{licence} WITH {exception}")))
        }
        [licence, rest @ ..] => {
            *words = rest;
            Some(permitted(licence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn expressions_are_evaluated() {
        let permitted = |licence: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&licence);
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("MIT/GPL-3.0", Some(true)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("(MIT OR GPL-3.0) AND ISC", Some(true)),
            ("MIT OR GPL-3.0 AND LGPL-3.0", Some(true)),
            ("(MIT OR GPL-3.0) AND LGPL-3.0", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0 WITH Classpath-exception", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT ISC", None),
            ("OR MIT", None),
        ] {
            assert_eq!(holds(expression, &permitted), expected, "{expression}");
        }
    }
}
