//! How much stack the image can need, from its machine code: the deepest chain of calls.

use super::disassembly::Disassembly;
use std::collections::BTreeMap;

/// The deepest chain of calls that begins with a function.
#[derive(Clone, Debug, Default)]
pub(super) struct Depth {
    pub(super) bytes: u64,
    /// The functions of the chain, outermost first.
    pub(super) chain: Vec<u64>,
}

/// Computes the deepest chain below `start`.
///
/// # Errors
/// The name of a function that calls itself, over whatever others: no bound exists then.
pub(super) fn depth(
    code: &Disassembly,
    start: u64,
    through_pointers: &[(&str, &str)],
) -> Result<Depth, String> {
    walk(code, start, through_pointers, &mut BTreeMap::new())
}

fn walk(
    code: &Disassembly,
    start: u64,
    through_pointers: &[(&str, &str)],
    known: &mut BTreeMap<u64, Option<Depth>>,
) -> Result<Depth, String> {
    let name = || code.0.get(&start).map_or_else(String::new, |function| function.name.clone());
    match known.get(&start) {
        Some(Some(depth)) => return Ok(depth.clone()),
        Some(None) => return Err(name()),
        None => {}
    }
    known.insert(start, None);
    let mut deepest = Depth::default();
    for to in code.called_by(start, through_pointers) {
        let depth = walk(code, to, through_pointers, known)?;
        if depth.bytes > deepest.bytes {
            deepest = depth;
        }
    }
    let frame = code.0.get(&start).map_or(0, |function| function.frame);
    deepest.bytes += frame;
    deepest.chain.insert(0, start);
    known.insert(start, Some(deepest.clone()));
    Ok(deepest)
}

#[cfg(test)]
mod tests {
    use super::super::disassembly::Function;
    use super::*;

    fn code(functions: &[(u64, u64, &[u64])]) -> Disassembly {
        let function = |(start, frame, calls): &(u64, u64, &[u64])| {
            let calls = calls.iter().map(|to| (start + 1, *to)).collect();
            (*start, Function { name: format!("f{start}"), frame: *frame, calls, indirect: Vec::new() })
        };
        Disassembly(functions.iter().map(function).collect())
    }

    #[test]
    fn the_deepest_chain_counts_and_recursion_is_named() {
        let code = code(&[
            (10, 100, &[20, 30]),
            (20, 50, &[40]),
            (30, 10, &[]),
            (40, 7, &[]),
            (50, 1, &[60]),
            (60, 1, &[50]),
        ]);
        let deepest = depth(&code, 10, &[]).unwrap();
        assert_eq!((deepest.bytes, deepest.chain), (157, vec![10, 20, 40]));
        assert_eq!(depth(&code, 50, &[]).unwrap_err(), "f50");
    }
}
