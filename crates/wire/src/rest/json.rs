//! Decodes JSON into a tree that borrows from the body. Texts with escapes are assembled in a buffer that is zeroized.
//!
//! Bodies carry key material as text, and a general reader leaves copies of texts with escapes (`\/`, `\u003d`, both
//! common in base64 that other languages write) in scratch memory. Names are compared without regard to case, so two
//! names that differ in case alone are one name given twice.
//!
//! Source: RFC 8259.

use super::BodyError;
use zeroize::Zeroizing;

/// Maximum depth of arrays and objects. The deepest request body needs five.
const MAX_DEPTH: usize = 16;
/// Maximum number of fields of an object. The widest request body has fourteen.
const MAX_FIELDS: usize = 64;

/// A JSON value.
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// A number, as in the body.
    Number(&'a str),
    Text(Text<'a>),
    Array(Vec<Self>),
    Object(Vec<(Text<'a>, Self)>),
}

impl Json<'_> {
    /// Name of the type in Go, for error messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

/// A JSON string.
pub(crate) enum Text<'a> {
    /// Without escapes: a slice of the body.
    Plain(&'a str),
    /// With escapes.
    Unescaped(Zeroizing<String>),
}

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Unescaped(text) => text,
        }
    }
}

/// Decodes `text`; `None` if it is only white space.
pub(crate) fn read(text: &str) -> Result<Option<Json<'_>>, BodyError> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    if reader.at == text.len() {
        return Ok(None);
    }
    let value = reader.value(0)?;
    reader.skip_blanks();
    if reader.at < text.len() {
        return Err(reader.unexpected("after the value"));
    }
    Ok(Some(value))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip_digits(&mut self) -> bool {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > from
    }

    const fn unexpected(&self, place: &'static str) -> BodyError {
        BodyError::Syntax { at: self.at, place }
    }

    fn expect(&mut self, byte: u8, place: &'static str) -> Result<(), BodyError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected(place));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, BodyError> {
        if depth >= MAX_DEPTH {
            return Err(BodyError::TooDeep { limit: MAX_DEPTH });
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                for (word, value) in
                    [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
                {
                    if rest.starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.unexpected("looking for a value"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, BodyError> {
        self.at += 1;
        let mut fields: Vec<(Text<'a>, Json<'a>)> = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for a field name"));
            }
            let name = self.string()?;
            if fields.iter().any(|(other, _)| other.as_str().eq_ignore_ascii_case(name.as_str())) {
                return Err(BodyError::DuplicateField(super::shortened(name.as_str())));
            }
            if fields.len() == MAX_FIELDS {
                return Err(BodyError::TooManyFields { limit: MAX_FIELDS });
            }
            self.skip_blanks();
            self.expect(b':', "after a field name")?;
            fields.push((name, self.value(depth + 1)?));
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(fields));
                }
                _ => return Err(self.unexpected("after a field's value")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, BodyError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.unexpected("after an array's element")),
            }
        }
    }

    fn number(&mut self) -> Result<&'a str, BodyError> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ if self.skip_digits() => {}
            _ => return Err(self.unexpected("in a number")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.skip_digits() {
                return Err(self.unexpected("in a number"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.skip_digits() {
                return Err(self.unexpected("in a number"));
            }
        }
        self.text.get(from..self.at).ok_or_else(|| self.unexpected("in a number"))
    }

    /// Decodes a string; `at` is on its opening quote.
    fn string(&mut self) -> Result<Text<'a>, BodyError> {
        self.at += 1;
        let from = self.at;
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        // The position of the end is layout, which is public.
        let Some(plain) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) else {
            self.at = self.text.len();
            return Err(self.unexpected("in a string"));
        };
        self.at += plain;
        let text = self.text.get(from..self.at).unwrap_or_default();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Text::Plain(text));
        }
        self.escaped(text).map(Text::Unescaped)
    }

    /// Decodes a string that begins with `start` and continues with an escape.
    fn escaped(&mut self, start: &str) -> Result<Zeroizing<String>, BodyError> {
        let end = self.end_of_string()?;
        // An escape is never shorter than its character, so that the buffer never grows and leaves no copy.
        let mut text = Zeroizing::new(String::with_capacity(start.len() + (end - self.at)));
        text.push_str(start);
        loop {
            let from = self.at;
            while self.at < end && self.peek() != Some(b'\\') {
                self.at += 1;
            }
            text.push_str(self.text.get(from..self.at).unwrap_or_default());
            if self.at == end {
                self.at += 1;
                return Ok(text);
            }
            self.at += 1;
            text.push(match self.next() {
                Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
                Some(b'b') => '\u{8}',
                Some(b'f') => '\u{c}',
                Some(b'n') => '\n',
                Some(b'r') => '\r',
                Some(b't') => '\t',
                Some(b'u') => self.unicode_escape()?,
                _ => return Err(self.unexpected("in a string escape")),
            });
        }
    }

    /// Finds the closing quote.
    fn end_of_string(&self) -> Result<usize, BodyError> {
        let mut bytes = self.text.bytes().enumerate().skip(self.at);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => return Ok(at),
                b'\\' => _ = bytes.next(),
                0..0x20 => return Err(BodyError::Syntax { at, place: "in a string" }),
                _ => {}
            }
        }
        Err(BodyError::Syntax { at: self.text.len(), place: "in a string" })
    }

    /// Decodes what follows `\u`. Lone surrogates become U+FFFD, as in Go.
    fn unicode_escape(&mut self) -> Result<char, BodyError> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.text.get(self.at..self.at + 2) == Some("\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, BodyError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            value = value << 4 | digit.ok_or_else(|| self.unexpected("in a string escape"))?;
            self.at += 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, read};
    use proptest::prelude::*;
    use std::fmt::Write as _;

    /// The same value as serde_json decodes it.
    fn rewritten(json: &Json<'_>, out: &mut String) {
        match json {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => write!(out, "{value}").unwrap(),
            Json::Number(text) => out.push_str(text),
            Json::Text(text) => out.push_str(&serde_json::to_string(text.as_str()).unwrap()),
            Json::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    rewritten(item, out);
                }
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(&serde_json::to_string(name.as_str()).unwrap());
                    out.push(':');
                    rewritten(value, out);
                }
                out.push('}');
            }
        }
    }

    /// Agrees with serde_json except for limits, repeated names and lone surrogates.
    fn agrees(text: &str) {
        let ours = read(text);
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(theirs) => {
                let mut again = String::new();
                rewritten(&ours.expect(text).expect(text), &mut again);
                assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap(), theirs, "{text}");
            }
            Err(_) if text.contains("\\u") => {}
            // serde_json refuses numbers beyond a double; here the text of a number is not checked.
            Err(error) if error.to_string().starts_with("number out of range") => {}
            Err(_) => assert!(!matches!(ours, Ok(Some(_))), "{text:?} is no JSON"),
        }
    }

    #[test]
    fn reads_escapes() {
        let Some(Json::Text(text)) = read(r#""a\/\u003d\ud83d\ude00\n\ud800x""#).unwrap() else { panic!() };
        assert_eq!(text.as_str(), "a/=😀\n\u{fffd}x");
    }

    #[test]
    fn refuses_what_is_no_json() {
        for text in [
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "nul",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\u{1}\"",
            "{} {}",
            "null null",
            "{\"a\" 1}",
            "\"\\u12\"",
            "'a'",
            "[1 2]",
            "\"\\",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(" \n").unwrap().is_none());
    }

    #[test]
    fn limits_hold() {
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&format!("{}{}", "[".repeat(16), "]".repeat(16))).is_ok());
        assert!(read(&format!("{}{}", "[".repeat(17), "]".repeat(17))).is_err());
        let wide =
            |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"f{i}\":0")).collect::<Vec<_>>().join(","));
        assert!(read(&wide(64)).is_ok());
        assert!(read(&wide(65)).is_err());
        assert!(read(r#"{"name":1,"Name":2}"#).is_err());
    }

    proptest! {
        #[test]
        fn diff_serde_json_on_near_json(
            parts in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"a\"", "\"b\"", "\"\\n\"", "1", "-2.5e3", "0", "null", "true", " ",
            ]), 0..14),
        ) {
            let text = parts.concat();
            if let Err(crate::rest::BodyError::DuplicateField(_)) = read(&text) {
                return Ok(());
            }
            agrees(&text);
        }

        #[test]
        fn diff_serde_json_on_strings(text in any::<String>(), raw in "[ -~]{0,12}") {
            agrees(&serde_json::to_string(&text).unwrap());
            agrees(&format!("\"{raw}\""));
        }
    }
}
