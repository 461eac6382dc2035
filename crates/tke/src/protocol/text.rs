//! Text and hashes in entries.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// Digits of a key part in hexadecimal.
const PART_DIGITS: usize = 64;

/// One line of text of 1 to 1000 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordText(String);

/// Reason why text is not accepted in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordTextInvalid {
    /// Empty, too long, or with line breaks or other control characters.
    #[error("a text has 1 to {} characters and no line break", RecordText::MAX_LEN)]
    NotOneLine,
    /// It could be a key part, which a record must not contain.
    #[error("the text contains {PART_DIGITS} hexadecimal digits in a row, as a key part does")]
    LooksLikeKeyPart,
}

impl RecordText {
    /// Largest number of characters.
    pub const MAX_LEN: usize = 1000;

    /// Text that a person entered.
    ///
    /// # Errors
    /// [`RecordTextInvalid`].
    pub fn new(text: &str) -> Result<Self, RecordTextInvalid> {
        let one_line = !text.is_empty() && !text.chars().any(char::is_control);
        if !one_line || text.chars().count() > Self::MAX_LEN {
            return Err(RecordTextInvalid::NotOneLine);
        }
        // Separators do not count.
        let mut run = 0_usize;
        for character in text.chars().filter(|c| !c.is_whitespace() && !"-:._".contains(*c)) {
            run = if character.is_ascii_hexdigit() { run.saturating_add(1) } else { 0 };
            if run >= PART_DIGITS {
                return Err(RecordTextInvalid::LooksLikeKeyPart);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Text that this program generated from public values. Cut and cleaned to fit.
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

impl fmt::Display for RecordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that looks like a key part is accepted here: this program itself writes hashes.
impl<'de> Deserialize<'de> for RecordText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Self::new(&text) {
            Ok(_) | Err(RecordTextInvalid::LooksLikeKeyPart) => Ok(Self(text)),
            Err(RecordTextInvalid::NotOneLine) => Err(D::Error::custom(RecordTextInvalid::NotOneLine)),
        }
    }
}

/// 32 bytes, written as 64 hexadecimal digits: a hash, an identifier, or a verification pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex32(pub [u8; 32]);

impl fmt::Display for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wire::text::encode_hex(&self.0))
    }
}

impl fmt::Debug for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hex32({self})")
    }
}

impl Serialize for Hex32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        wire::text::decode_hex(&text)
            .map(|bytes| Self(*bytes))
            .ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{RecordText, RecordTextInvalid};

    #[test]
    fn what_looks_like_a_key_part_is_refused_however_it_is_grouped() {
        let part = "a5".repeat(32);
        let grouped = part.as_bytes().chunks(4).map(|c| String::from_utf8_lossy(c).into_owned());
        let grouped = grouped.collect::<Vec<_>>().join(" - ");
        for text in [part.clone(), format!("the part is {part}!"), grouped, part.to_uppercase()] {
            assert_eq!(RecordText::new(&text), Err(RecordTextInvalid::LooksLikeKeyPart), "{text}");
        }
        assert!(RecordText::new(&part[..62]).is_ok());
        assert!(RecordText::new("Ada was late: 10:05 instead of 10:00").is_ok());
    }

    #[test]
    fn a_text_is_one_line() {
        for text in ["", "a\nb", "a\u{7}", &"x".repeat(1001)] {
            assert_eq!(RecordText::new(text), Err(RecordTextInvalid::NotOneLine));
        }
        assert_eq!(RecordText::of_program("a\nb").as_str(), "a b");
        assert!(RecordText::new(RecordText::of_program(&"x".repeat(2000)).as_str()).is_ok());
    }
}
