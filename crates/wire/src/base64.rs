//! Base64 with the standard alphabet, padded, as Go decodes it. Time depends on lengths and layout, not on values.
//!
//! Go is the reference because clients match its error messages: line ends are skipped, unused bits of the last
//! character are not checked, and an error names the byte at which Go's decoder stops.
//!
//! Source: RFC 4648 §4; Go `encoding/base64`, `decodeQuantum`.

use crate::Secret;
use crate::text::in_range;
use zeroize::Zeroizing;

/// Text that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal base64 data at input byte {at}")]
pub struct IllegalBase64 {
    /// Position at which the decoder stopped, in bytes.
    pub at: usize,
}

/// Encodes `bytes` with padding. The text is zeroized on drop.
#[must_use]
pub fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4)));
    for chunk in bytes.chunks(3) {
        let mut group = Zeroizing::new([0_u8; 3]);
        for (to, from) in group.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [a, b, c] = *group;
        let sextets = Zeroizing::new([a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63]);
        for (index, sextet) in sextets.iter().enumerate() {
            text.push(if index > chunk.len() { '=' } else { char::from(character(*sextet)) });
        }
    }
    text
}

/// Decodes `text`.
///
/// # Errors
/// [`IllegalBase64`] with the position at which Go's decoder stops.
pub fn decode(text: &str) -> Result<Secret, IllegalBase64> {
    let source = text.as_bytes();
    let mut bytes =
        Zeroizing::new(Vec::with_capacity((source.len() / 4).saturating_add(1).saturating_mul(3)));
    let mut at = 0;
    loop {
        let mut group = Zeroizing::new([0_u8; 4]);
        let mut filled = 0;
        while filled < 4 {
            let Some(byte) = source.get(at).copied() else {
                // Without padding, Go reports the position at which the group would begin without line ends.
                return match filled {
                    0 => Ok(Secret::new(std::mem::take(&mut *bytes))),
                    _ => Err(IllegalBase64 { at: at - filled }),
                };
            };
            at += 1;
            match byte {
                b'\n' | b'\r' => continue,
                b'=' => {
                    push(&mut bytes, &group, padded_end(source, at, filled)?);
                    return Ok(Secret::new(std::mem::take(&mut *bytes)));
                }
                _ => {}
            }
            let (value, valid) = sextet(byte);
            if !valid {
                return Err(IllegalBase64 { at: at - 1 });
            }
            if let Some(place) = group.get_mut(filled) {
                *place = value;
            }
            filled += 1;
        }
        push(&mut bytes, &group, 3);
    }
}

/// Number of bytes in a padded last group. `at` is after its first `=`, `filled` the number of characters before it.
fn padded_end(source: &[u8], mut at: usize, filled: usize) -> Result<usize, IllegalBase64> {
    let skip_line_ends = |mut at: usize| {
        while matches!(source.get(at), Some(b'\n' | b'\r')) {
            at += 1;
        }
        at
    };
    if filled < 2 {
        return Err(IllegalBase64 { at: at - 1 });
    }
    if filled == 2 {
        at = skip_line_ends(at);
        match source.get(at) {
            None => return Err(IllegalBase64 { at }),
            Some(b'=') => at += 1,
            Some(_) => return Err(IllegalBase64 { at: at - 1 }),
        }
    }
    at = skip_line_ends(at);
    if at < source.len() { Err(IllegalBase64 { at }) } else { Ok(filled - 1) }
}

/// Appends the first `len` of the three bytes of four sextets. The capacity suffices, so that no copy is left behind.
fn push(bytes: &mut Vec<u8>, group: &[u8; 4], len: usize) {
    let [a, b, c, d] = *group;
    let whole = Zeroizing::new([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    bytes.extend(whole.iter().take(len));
}

/// The six bits of a character, and whether it is in the alphabet.
const fn sextet(byte: u8) -> (u8, bool) {
    let upper = in_range(byte, b'A', b'Z');
    let lower = in_range(byte, b'a', b'z');
    let digit = in_range(byte, b'0', b'9');
    let plus = in_range(byte, b'+', b'+');
    let slash = in_range(byte, b'/', b'/');
    let value = upper & byte.wrapping_sub(b'A')
        | lower & byte.wrapping_sub(b'a').wrapping_add(26)
        | digit & byte.wrapping_sub(b'0').wrapping_add(52)
        | plus & 62
        | slash & 63;
    (value, (upper | lower | digit | plus | slash) != 0)
}

/// The character of six bits.
const fn character(sextet: u8) -> u8 {
    let character = in_range(sextet, 0, 25) & sextet.wrapping_add(b'A')
        | in_range(sextet, 26, 51) & sextet.wrapping_sub(26).wrapping_add(b'a')
        | in_range(sextet, 52, 61) & sextet.wrapping_sub(52).wrapping_add(b'0')
        | in_range(sextet, 62, 62) & b'+'
        | in_range(sextet, 63, 63) & b'/';
    // ASCII for the compiler, too, so that a string does not ask how long the character is.
    character & 0x7f
}

#[cfg(test)]
mod tests {
    use super::{IllegalBase64, decode, encode};

    #[test]
    fn kat_rfc4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()).as_str(), text);
            assert_eq!(decode(text).unwrap().expose(), plain.as_bytes());
        }
    }

    /// Rows of Go's own `TestDecodeCorrupt`.
    #[test]
    fn kat_go_corrupt_positions() {
        for (text, at) in [
            ("!!!!", 0),
            ("====", 0),
            ("x===", 1),
            ("=AAA", 0),
            ("A=AA", 1),
            ("AA=A", 2),
            ("AA==A", 4),
            ("AAA=AAAA", 4),
            ("AAAAA", 4),
            ("AAAAAA", 4),
            ("A=", 1),
            ("A==", 1),
            ("AA=", 3),
            ("AA==", usize::MAX),
            ("AAA=", usize::MAX),
            ("AAAA", usize::MAX),
            ("AAAAAA=", 7),
            ("YWJjZA=====", 8),
            ("A!\n", 1),
            ("A=\n", 1),
        ] {
            match decode(text) {
                Ok(_) => assert_eq!(at, usize::MAX, "{text:?} must be refused"),
                Err(error) => assert_eq!(error, IllegalBase64 { at }, "{text:?}"),
            }
        }
    }

    #[test]
    fn line_ends_are_skipped() {
        assert_eq!(decode("Zm9v\r\nYmE\n=\n").unwrap().expose(), b"fooba");
    }
}
