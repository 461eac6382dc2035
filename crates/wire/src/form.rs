//! `application/x-www-form-urlencoded`: query strings and requests to the token service.

use zeroize::Zeroizing;

/// Decodes the pairs of `text`, in order. Values are zeroized on drop.
///
/// Returns `None` if any escape or UTF-8 sequence is malformed.
#[must_use]
pub fn pairs(text: &str) -> Option<Vec<(String, Zeroizing<String>)>> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?.to_string(), decoded(value)?))
        })
        .collect()
}

/// Decodes a name or a value: `+` is a blank, `%xx` a byte.
fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    // Allocated once with the final size, so that no shorter copy is left behind.
    Some(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn decodes_escapes_and_blanks() {
        let pairs = pairs("a=b+c&x%3Dy=%C3%A9&&flag").unwrap();
        let plain: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(plain, [("a", "b c"), ("x=y", "é"), ("flag", "")]);
    }

    #[test]
    fn refuses_broken_escapes() {
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%+1"] {
            assert!(pairs(text).is_none(), "{text}");
        }
    }
}
