//! Byte strings as JSON text.

use crate::{base64, text};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// `N` bytes of a public value, written as `2 × N` lower-case hexadecimal digits and read in either case.
///
/// There is no `==`: two verification patterns are compared on their first 28 bytes only.
#[derive(Clone, Copy)]
pub struct HexBytes<const N: usize>([u8; N]);

/// The verification pattern of a master key: 64 hexadecimal digits.
pub type Pattern = HexBytes<32>;

impl<const N: usize> HexBytes<N> {
    /// Wraps `bytes`.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Decodes `2 × N` hexadecimal digits; `None` for any other text.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        text::decode_hex(digits).map(|bytes| Self(*bytes))
    }

    /// All bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> From<[u8; N]> for HexBytes<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> fmt::Display for HexBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::encode_hex(&self.0))
    }
}

impl<const N: usize> fmt::Debug for HexBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for HexBytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for HexBytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = <Cow<'de, str>>::deserialize(deserializer)?;
        let expected =
            || D::Error::custom(format_args!("expected {} hexadecimal digits", N.saturating_mul(2)));
        Self::parse(&digits).ok_or_else(expected)
    }
}

/// A DER structure, written as padded base64 with the standard alphabet (RFC 4648 §4).
///
/// Decoding accepts the canonical encoding only: no line ends, complete padding, unused bits zero. The bytes themselves
/// are not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = base64::decode(&text).map_err(D::Error::custom)?;
        if *base64::encode(bytes.expose()) != *text {
            return Err(D::Error::custom("not canonical base64"));
        }
        Ok(Self(bytes.expose().to_vec()))
    }
}
