//! How a master key is recognised without being known.

use core::fmt;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

/// Length of a master key's identifier in a key blob, in bytes.
pub const WKID_LEN: usize = 16;

/// A master key's identifier in a key blob: the first half of its verification pattern.
pub type Wkid = [u8; WKID_LEN];

/// The verification pattern of a master key or of a key part: `SHA-256(0x01 ‖ key)`, last four bytes zero.
///
/// Older modules leave the last four bytes as hashed, so that two patterns are compared on the first 28 bytes.
/// Equality is by [`ConstantTimeEq`] only.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct VerificationPattern([u8; 32]);

impl VerificationPattern {
    /// The bytes two patterns are compared on.
    pub const COMPARED_LEN: usize = 28;

    /// The pattern that this digest of `0x01 ‖ key` makes.
    #[must_use]
    pub const fn from_digest(mut digest: [u8; 32]) -> Self {
        let mut i = Self::COMPARED_LEN;
        while i < digest.len() {
            #[expect(clippy::indexing_slicing, reason = "the loop's bound is the array's length")]
            {
                digest[i] = 0;
            }
            i += 1;
        }
        Self(digest)
    }

    /// A pattern from its stored or transcribed bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// All 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The identifier that blobs under this master key bear.
    #[must_use]
    pub fn wkid(&self) -> Wkid {
        let mut wkid = [0; WKID_LEN];
        for (to, from) in wkid.iter_mut().zip(&self.0) {
            *to = *from;
        }
        wkid
    }

    /// Whether this is the pattern of the same key.
    #[must_use]
    pub fn is_of_same_key(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl ConstantTimeEq for VerificationPattern {
    fn ct_eq(&self, other: &Self) -> Choice {
        let (a, _) = self.0.split_at(Self::COMPARED_LEN);
        let (b, _) = other.0.split_at(Self::COMPARED_LEN);
        a.ct_eq(b)
    }
}

/// The 32 bytes in hexadecimal.
impl fmt::Display for VerificationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VerificationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationPattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::VerificationPattern;

    #[test]
    fn only_the_first_28_bytes_count() {
        let mut bytes = [7; 32];
        let a = VerificationPattern::from_bytes(bytes);
        bytes[28] = 8;
        assert!(a.is_of_same_key(&VerificationPattern::from_bytes(bytes)));
        bytes[27] = 8;
        assert!(!a.is_of_same_key(&VerificationPattern::from_bytes(bytes)));
    }

    #[test]
    fn a_digest_loses_its_last_four_bytes() {
        let bytes = *VerificationPattern::from_digest([0xff; 32]).as_bytes();
        assert_eq!(bytes[..28], [0xff; 28]);
        assert_eq!(bytes[28..], [0; 4]);
    }
}
