//! Secrets: small random values of a store that can really be erased.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of a secret, in bytes.
pub const SECRET_LEN: usize = 32;

/// Identifier of a secret, never 0, and never used again for another secret of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub u64);

/// What a secret belongs to; chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretOwner(pub [u8; 16]);

/// A secret of 32 random bytes. Zeroized on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8; SECRET_LEN]>);

impl Secret {
    pub(crate) fn zeroed() -> Self {
        Self(Box::new([0; SECRET_LEN]))
    }

    pub(crate) fn copy_of(bytes: &[u8; SECRET_LEN]) -> Self {
        let mut secret = Self::zeroed();
        secret.0.copy_from_slice(bytes);
        secret
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8; SECRET_LEN] {
        &mut self.0
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }
}

/// The name alone.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
