//! Base64 with the URL-safe alphabet, without padding. Time depends on lengths alone.
//!
//! Each value has one text: unused bits of the last character are zero.
//!
//! Source: RFC 4648 §5; RFC 7515 §2.

use crate::Secret;
use crate::text::in_range;
use zeroize::Zeroizing;

/// Encodes `bytes`. The text is zeroized on drop.
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
        for sextet in sextets.iter().take(chunk.len().saturating_add(1)) {
            text.push(char::from(character(*sextet)));
        }
    }
    text
}

/// Decodes `text`; `None` if it is not the text of any bytes. Where a character is wrong makes no difference to the time.
#[must_use]
pub fn decode(text: &str) -> Option<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len().div_ceil(4).saturating_mul(3)));
    let mut valid = 0xff_u8;
    for chunk in text.as_bytes().chunks(4) {
        let mut group = Zeroizing::new([0_u8; 4]);
        for (to, from) in group.iter_mut().zip(chunk) {
            let (value, is_character) = sextet(*from);
            *to = value;
            valid &= is_character;
        }
        let [a, b, c, d] = *group;
        let whole = Zeroizing::new([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
        // One character is too few for a byte.
        let len = chunk.len().checked_sub(1).filter(|len| *len > 0)?;
        bytes.extend(whole.iter().take(len));
        for unused in whole.iter().skip(len) {
            valid &= in_range(*unused, 0, 0);
        }
    }
    (valid != 0).then(|| Secret::new(std::mem::take(&mut *bytes)))
}

/// The six bits of a character, and 0xff if it is in the alphabet, else 0.
const fn sextet(byte: u8) -> (u8, u8) {
    let upper = in_range(byte, b'A', b'Z');
    let lower = in_range(byte, b'a', b'z');
    let digit = in_range(byte, b'0', b'9');
    let minus = in_range(byte, b'-', b'-');
    let underscore = in_range(byte, b'_', b'_');
    let value = upper & byte.wrapping_sub(b'A')
        | lower & byte.wrapping_sub(b'a').wrapping_add(26)
        | digit & byte.wrapping_sub(b'0').wrapping_add(52)
        | minus & 62
        | underscore & 63;
    (value, upper | lower | digit | minus | underscore)
}

/// The character of six bits.
const fn character(sextet: u8) -> u8 {
    let character = in_range(sextet, 0, 25) & sextet.wrapping_add(b'A')
        | in_range(sextet, 26, 51) & sextet.wrapping_sub(26).wrapping_add(b'a')
        | in_range(sextet, 52, 61) & sextet.wrapping_sub(52).wrapping_add(b'0')
        | in_range(sextet, 62, 62) & b'-'
        | in_range(sextet, 63, 63) & b'_';
    // ASCII for the compiler, too, so that a string does not ask how long the character is.
    character & 0x7f
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use proptest::prelude::*;

    #[test]
    fn kat_rfc4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()).as_str(), text);
            assert_eq!(decode(text).unwrap().expose(), plain.as_bytes());
        }
        assert_eq!(encode(&[0xfb, 0xff, 0xfe]).as_str(), "-__-");
    }

    #[test]
    fn each_value_has_one_text() {
        for bad in ["A", "AAAAA", "Zh", "Zm9", "Zg==", "Zm9v\n", "Zm+v", "Zm/v", "Zm8=", "Zé"] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn prop_bytes_are_read_as_they_are_written(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let decoded = decode(&encode(&bytes)).unwrap();
            prop_assert_eq!(decoded.expose(), &bytes[..]);
        }

        #[test]
        fn prop_text_that_decodes_is_written_again(text in "[A-Za-z0-9_-]{0,20}") {
            if let Some(decoded) = decode(&text) {
                let again = encode(decoded.expose());
                prop_assert_eq!(again.as_str(), text);
            }
        }
    }
}
