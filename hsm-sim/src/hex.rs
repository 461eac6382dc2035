//! Secrets as hexadecimal text, wiped when they are done with.

use zeroize::Zeroizing;

/// Two lower-case digits for every byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> Zeroizing<String> {
    // Room for all of it at once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    text
}

/// The bytes that exactly `2 × N` digits stand for; `None` for anything else.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let mut value = Zeroizing::new([0; N]);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != value.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in value.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn bytes_read_as_they_are_written() {
        let bytes = [0x0f, 0xa5].repeat(16);
        assert_eq!(decode::<32>(&encode(&bytes)).unwrap().as_slice(), bytes);
    }

    #[test]
    fn nothing_but_as_many_digits_is_read() {
        for text in ["", "0g", &"0".repeat(63), &"0".repeat(65), &"x".repeat(64), &"é".repeat(32)] {
            assert!(decode::<32>(text).is_none(), "{text}");
        }
    }
}
