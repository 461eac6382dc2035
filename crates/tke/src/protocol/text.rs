//! What an entry is made of.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// Digits of a key part in hexadecimal.
const PART_DIGITS: usize = 64;

/// One line of text of 1 to 1000 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Text(String);

/// Why text does not go into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextInvalid {
    /// Empty, too long, or with line breaks or other control characters.
    #[error("a text has 1 to {} characters and no line break", Text::MAX_LEN)]
    NoLine,
    /// It could be a key part, which must not be written down here.
    #[error("the text contains {PART_DIGITS} hexadecimal digits in a row, as a key part does")]
    LooksLikeKeyPart,
}

impl Text {
    /// Most characters.
    pub const MAX_LEN: usize = 1000;

    /// Text that somebody typed.
    ///
    /// # Errors
    /// [`TextInvalid`].
    pub fn new(text: &str) -> Result<Self, TextInvalid> {
        let one_line = !text.is_empty() && !text.chars().any(char::is_control);
        if !one_line || text.chars().count() > Self::MAX_LEN {
            return Err(TextInvalid::NoLine);
        }
        // However it is grouped.
        let mut run = 0_usize;
        for character in text.chars().filter(|c| !c.is_whitespace() && !"-:._".contains(*c)) {
            run = if character.is_ascii_hexdigit() { run.saturating_add(1) } else { 0 };
            if run >= PART_DIGITS {
                return Err(TextInvalid::LooksLikeKeyPart);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Text that this program made of what is public. Made to fit.
    pub(crate) fn of_program(text: &str) -> Self {
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let text: String = text.chars().map(visible).take(Self::MAX_LEN).collect();
        Self(if text.is_empty() { "-".to_owned() } else { text })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it looks like a key part is for writing to decide: this program writes hashes into its own texts.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Self::new(&text) {
            Ok(_) | Err(TextInvalid::LooksLikeKeyPart) => Ok(Self(text)),
            Err(TextInvalid::NoLine) => Err(D::Error::custom(TextInvalid::NoLine)),
        }
    }
}

/// 32 bytes that are shown in hexadecimal: a hash, an identifier, a verification pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wire::text::encode_hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        wire::text::decode_hex(&text)
            .map(|bytes| Self(*bytes))
            .ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, TextInvalid};

    #[test]
    fn what_looks_like_a_key_part_is_refused_however_it_is_grouped() {
        let part = "a5".repeat(32);
        let grouped = part.as_bytes().chunks(4).map(|c| String::from_utf8_lossy(c).into_owned());
        let grouped = grouped.collect::<Vec<_>>().join(" - ");
        for text in [part.clone(), format!("the part is {part}!"), grouped, part.to_uppercase()] {
            assert_eq!(Text::new(&text), Err(TextInvalid::LooksLikeKeyPart), "{text}");
        }
        assert!(Text::new(&part[..62]).is_ok());
        assert!(Text::new("Ada was late: 10:05 instead of 10:00").is_ok());
    }

    #[test]
    fn a_text_is_one_line() {
        for text in ["", "a\nb", "a\u{7}", &"x".repeat(1001)] {
            assert_eq!(Text::new(text), Err(TextInvalid::NoLine));
        }
        assert_eq!(Text::of_program("a\nb").as_str(), "a b");
        assert!(Text::new(Text::of_program(&"x".repeat(2000)).as_str()).is_ok());
    }
}
