//! The value of a key part.

use crate::secret_file::SecretFileError;
use engine::{KEY_PART_LEN, KeyPart};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use unit_api::VerificationPattern;
use wire::text::decode_hex;
use zeroize::Zeroizing;

/// Origin of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartOrigin {
    /// Generated at random where it is kept.
    Random,
    /// Entered as 64 hexadecimal digits.
    Entered,
    /// Copied from a key part file.
    Imported,
}

impl PartOrigin {
    /// The name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Entered => "entered",
            Self::Imported => "imported",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Random, Self::Entered, Self::Imported].into_iter().find(|origin| origin.name() == name)
    }
}

/// Reason why a value is not a key part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartInvalid {
    /// Not 64 hexadecimal digits.
    #[error("a key part has 64 hexadecimal digits")]
    NotHexadecimal,
    /// All zero, which adds nothing to the master key.
    #[error("a key part must not be zero")]
    Zero,
}

/// Generates a random part.
pub(crate) fn generate() -> Result<Box<KeyPart>, SecretFileError> {
    loop {
        let mut value = Zeroizing::new([0; KEY_PART_LEN]);
        getrandom::fill(value.as_mut_slice()).map_err(|_| SecretFileError::System)?;
        // Zero has a probability of 2⁻²⁵⁶.
        if let Ok(part) = take(&value) {
            return Ok(part);
        }
    }
}

/// Decodes a part from 64 hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Result<Box<KeyPart>, PartInvalid> {
    take(&*decode_hex(text).ok_or(PartInvalid::NotHexadecimal)?)
}

/// Makes a part of a value, unless it is zero. The caller zeroizes its copy.
pub(crate) fn take(value: &[u8; KEY_PART_LEN]) -> Result<Box<KeyPart>, PartInvalid> {
    if bool::from(value.ct_eq(&[0; KEY_PART_LEN])) {
        return Err(PartInvalid::Zero);
    }
    Ok(Box::new(KeyPart::new(*value)))
}

/// `SHA-256(0x01 ‖ part)`, last four bytes zero.
pub(crate) fn pattern_of(part: &KeyPart) -> VerificationPattern {
    let digest = Sha256::new().chain_update([1]).chain_update(part.expose());
    VerificationPattern::from_digest(digest.finalize().into())
}

/// The pattern of the master key that these parts combine to; `None` if two parts are equal, or the key is zero.
pub(crate) fn combine<'p>(parts: impl IntoIterator<Item = &'p KeyPart>) -> Option<VerificationPattern> {
    let parts: Vec<_> = parts.into_iter().collect();
    let mut key = Zeroizing::new([0; KEY_PART_LEN]);
    let mut refused = subtle::Choice::from(0);
    for (place, part) in parts.iter().enumerate() {
        for (to, from) in key.iter_mut().zip(part.expose()) {
            *to ^= from;
        }
        for other in parts.iter().skip(place.saturating_add(1)) {
            refused |= part.ct_eq(other);
        }
    }
    refused |= key.ct_eq(&[0; KEY_PART_LEN]);
    if bool::from(refused) {
        return None;
    }
    Some(pattern_of(&Box::new(KeyPart::new(*key))))
}

#[cfg(test)]
mod tests {
    use super::{PartInvalid, combine, from_hex, pattern_of};

    const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const B: &str = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
    const C: &str = "E0E1E2E3E4E5E6E7E8E9EAEBECEDEEEFF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF";

    /// Calculated with an independent implementation.
    #[test]
    fn kat_patterns_of_parts_and_of_what_they_make() {
        let [a, b, c] = [A, B, C].map(|part| from_hex(part).unwrap());
        let pattern = pattern_of(&a).to_string();
        assert_eq!(pattern, "491176b0f443c65a7c7d72df47d6cbc0d04e111fb5a619f60d3e776700000000");
        let two = combine([&*a, &*b]).unwrap().to_string();
        assert_eq!(two, "0c7116b0cabdb39ac9ff6073862e2a4f470786265a3ce8723c237eb400000000");
        let three = combine([&*c, &*b, &*a]).unwrap().to_string();
        assert_eq!(three, "947d5b800a42f1596c6b39093bb9e21ed61bc86294c1469157395fe000000000");
    }

    #[test]
    fn degenerate_parts_make_nothing() {
        let [a, b] = [A, B].map(|part| from_hex(part).unwrap());
        let a_and_b = from_hex("a5a4a7a6a1a0a3a2adacafaea9a8abaab5b4b7b6b1b0b3b2bdbcbfbeb9b8bbba").unwrap();
        assert!(combine([&*a, &*a]).is_none(), "equal parts");
        assert!(combine([&*a, &*b, &*a]).is_none(), "equal parts among three");
        assert!(combine([&*a, &*b, &*a_and_b]).is_none(), "a key of zeros");
        assert_eq!(from_hex(&"0".repeat(64)).unwrap_err(), PartInvalid::Zero);
        assert_eq!(from_hex(&A.replace('f', "g")).unwrap_err(), PartInvalid::NotHexadecimal);
        assert_eq!(from_hex(&"1".repeat(63)).unwrap_err(), PartInvalid::NotHexadecimal);
    }
}
