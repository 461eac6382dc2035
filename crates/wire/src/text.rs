//! Text that several crates write: hexadecimal digits, the messages of an error with its causes, text from outside.
//!
//! Hexadecimal is read and written without a branch or a table look-up that depends on the value, since it may be a key
//! part. Source: RFC 4648 §8, except that encoding uses lower-case digits and decoding accepts both cases.

use std::borrow::Cow;
use std::error::Error;
use zeroize::Zeroizing;

/// The message of `error`, then the message of each cause, separated by `: `.
///
/// ```
/// let error = "x".parse::<u16>().unwrap_err();
/// assert_eq!(wire::text::error_chain(&error), "invalid digit found in string");
/// ```
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Text from outside as one line that shows what is in it: each control character, and each character that changes the
/// direction or the lines of text, is shown as its escape (as in JSON).
///
/// ```
/// assert_eq!(wire::text::escape_line("a\u{1b}[2Kb\n\u{202e}"), r"a\u001b[2Kb\u000a\u202e");
/// ```
#[must_use]
pub fn escape_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// As [`escape_line`] for text of several lines: line ends and tabs stay.
#[must_use]
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |c: char| is_unprintable(c) && !is_kept(c);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// C0 and C1 controls; line and paragraph separators; marks, embeddings, overrides and isolates of direction (UAX #9).
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Two lower-case hexadecimal digits for each byte of a public value.
///
/// ```
/// assert_eq!(wire::text::encode_hex(&[0x0a, 0xf3]), "0af3");
/// ```
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    push_hex(&mut text, bytes);
    text
}

/// [`encode_hex`] for a secret: the text is zeroized on drop, and its buffer is allocated once.
#[must_use]
pub fn encode_secret_hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(2)));
    push_hex(&mut text, bytes);
    text
}

/// Decodes exactly `2 × N` hexadecimal digits, in upper or lower case; `None` for any other text.
///
/// Time depends on the length of `text` alone.
///
/// ```
/// assert_eq!(wire::text::decode_hex::<2>("0aF3").as_deref(), Some(&[0x0a, 0xf3]));
/// assert!(wire::text::decode_hex::<2>("0aF").is_none());
/// ```
#[must_use]
pub fn decode_hex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    decode_into(text, bytes.as_mut_slice()).then_some(bytes)
}

/// Decodes an even number of hexadecimal digits, in upper or lower case; `None` for any other text.
///
/// Time depends on the length of `text` alone.
#[must_use]
pub fn decode_hex_vec(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
    decode_into(text, &mut bytes).then_some(bytes)
}

/// Fills `bytes` from `text`. False if the length differs or a character is not a digit.
fn decode_into(text: &str, bytes: &mut [u8]) -> bool {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return false;
    }
    let mut all_valid = 0xff;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let ((high, high_valid), (low, low_valid)) = (decode_digit(*high), decode_digit(*low));
        *byte = high << 4 | low;
        all_valid &= high_valid & low_valid;
    }
    all_valid != 0
}

/// `0xff` if `low ≤ byte ≤ high`, else 0, without a branch. Compilers turn a selection between two values into one.
pub(crate) const fn in_range(byte: u8, low: u8, high: u8) -> u8 {
    let above = (byte as i16) - (low as i16);
    let below = (high as i16) - (byte as i16);
    !(((above | below) >> 8) as u8)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(encode_digit(byte >> 4));
        text.push(encode_digit(byte & 15));
    }
}

/// The value of a digit, and `0xff` if the character is one, else 0.
const fn decode_digit(digit: u8) -> (u8, u8) {
    let lower = digit | 0x20;
    let (is_decimal, is_letter) = (in_range(digit, b'0', b'9'), in_range(lower, b'a', b'f'));
    let value = is_decimal & digit.wrapping_sub(b'0') | is_letter & lower.wrapping_sub(b'a').wrapping_add(10);
    (value, is_decimal | is_letter)
}

/// The lower-case digit of a value below 16.
const fn encode_digit(value: u8) -> char {
    let digit = in_range(value, 0, 9) & value.wrapping_add(b'0')
        | in_range(value, 10, 15) & value.wrapping_add(b'a' - 10);
    // ASCII for the compiler, too, so that a string does not ask how long the character is.
    (digit & 0x7f) as char
}

#[cfg(test)]
mod tests {
    use super::{
        decode_digit, decode_hex, decode_hex_vec, encode_digit, encode_hex, encode_secret_hex, error_chain,
    };
    use std::io;

    #[test]
    fn every_byte_is_a_digit_or_not() {
        for byte in 0..=u8::MAX {
            let (value, valid) = decode_digit(byte);
            let expected = char::from(byte).to_digit(16);
            assert_eq!(valid, if expected.is_some() { 0xff } else { 0 }, "{byte}");
            assert_eq!(u32::from(value), expected.unwrap_or(0), "{byte}");
        }
    }

    #[test]
    fn every_value_has_its_lower_case_digit() {
        for value in 0..16 {
            assert_eq!(Some(encode_digit(value)), char::from_digit(value.into(), 16));
        }
    }

    #[test]
    fn bytes_are_read_as_they_are_written() {
        let bytes = [0x0f, 0xa5].repeat(16);
        assert_eq!(decode_hex::<32>(&encode_hex(&bytes)).unwrap().as_slice(), bytes);
        assert_eq!(decode_hex_vec(&encode_secret_hex(&bytes)).unwrap().as_slice(), bytes);
        assert_eq!(decode_hex_vec("").unwrap().as_slice(), b"");
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in ["", "0g", &"0".repeat(63), &"0".repeat(65), &"x".repeat(64), &"é".repeat(32)] {
            assert!(decode_hex::<32>(text).is_none(), "{text}");
        }
        assert!(decode_hex::<2>("0aF33").is_none() && decode_hex::<2>("0aG3").is_none());
        assert!(decode_hex_vec("0aF").is_none() && decode_hex_vec("0aG3").is_none());
    }

    #[test]
    fn an_error_is_followed_by_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the file could not be read")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("permission denied"));
        assert_eq!(error_chain(&error), "the file could not be read: permission denied");
    }
}
