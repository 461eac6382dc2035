//! Hexadecimal text, read without a branch on what it says: it may be a key part.

use subtle::{Choice, ConditionallySelectable, ConstantTimeLess};

/// The bytes that exactly `2 × N` hexadecimal digits say, in upper or lower case. Time depends on the length alone.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0; N];
    let mut all_good = Choice::from(1);
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        for digit in pair {
            let (value, good) = nibble(*digit);
            *byte = (*byte << 4) | value;
            all_good &= good;
        }
    }
    bool::from(all_good).then_some(bytes)
}

/// The bytes that hexadecimal digits say, however many.
pub(crate) fn decode_any(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| decode::<1>(str::from_utf8(pair).ok()?).map(|[byte]| byte);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn nibble(digit: u8) -> (u8, Choice) {
    let decimal = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    let (is_decimal, is_letter) = (decimal.ct_lt(&10), letter.ct_lt(&6));
    let value = u8::conditional_select(&0, &decimal, is_decimal)
        | u8::conditional_select(&0, &letter.wrapping_add(10), is_letter);
    (value, is_decimal | is_letter)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, nibble};

    #[test]
    fn every_byte_is_a_digit_or_not() {
        for byte in 0..=u8::MAX {
            let (value, good) = nibble(byte);
            let expected = char::from(byte).to_digit(16);
            assert_eq!(bool::from(good), expected.is_some(), "{byte}");
            assert_eq!(u32::from(value), expected.unwrap_or(0), "{byte}");
        }
    }

    #[test]
    fn lengths_are_exact() {
        assert_eq!(decode::<2>("0aF3"), Some([0x0a, 0xf3]));
        assert_eq!(decode::<2>("0aF"), None);
        assert_eq!(decode::<2>("0aF33"), None);
        assert_eq!(decode::<2>("0aG3"), None);
        assert_eq!(encode(&[0x0a, 0xf3]), "0af3");
    }
}
