//! Identifiers of keys.

use crate::POINT_LEN;
use core::fmt;
use sha2::{Digest, Sha256};

/// A subject key identifier: SHA-256 over a public key, in an encoding that depends on what the key is for.
///
/// Public, like the keys: compared and sorted in variable time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ski(pub [u8; Self::LEN]);

impl Ski {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The identifier of the key whose encoding is the concatenation of these pieces.
    pub(crate) fn of(pieces: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for piece in pieces {
            digest.update(piece);
        }
        Self(digest.finalize().into())
    }

    /// The identifier of the signature key with this point: over all of `04 ‖ X ‖ Y`.
    #[must_use]
    pub fn of_point(point: &[u8; POINT_LEN]) -> Self {
        Self::of(&[point])
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// All 64 hexadecimal digits, in lower case.
impl fmt::Display for Ski {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Ski {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ski({self})")
    }
}
