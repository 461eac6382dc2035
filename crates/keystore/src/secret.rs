//! Secrets: small random values of a store that can really be erased.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Limit, StoreError};

/// Length of a secret, in bytes.
pub const SECRET_LEN: usize = 32;

/// Most slots for secrets of a store: eight times as many as a store of the supported size needs.
pub const MAX_SECRETS: u32 = 1 << 22;

/// Identifier of a secret, never 0: the slot that it takes, from 1, in the upper 32 bits, and its generation, the number of
/// secrets that the slot has had, in the lower ones. A store never draws two secrets with one identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub u64);

impl SecretId {
    /// Splits an identifier into slot and generation.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] unless 1 ≤ slot ≤ [`MAX_SECRETS`] and 1 ≤ generation.
    pub(crate) fn parts(self) -> Result<(u32, u32), StoreError> {
        let (slot, generation) = ((self.0 >> 32) as u32, self.0 as u32);
        if (1..=MAX_SECRETS).contains(&slot) && generation > 0 {
            Ok((slot, generation))
        } else {
            Err(StoreError::TooLarge { limit: Limit::SecretId })
        }
    }
}

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

    /// A secret with these bytes, which another store has drawn.
    #[must_use]
    pub fn copy_of(bytes: &[u8; SECRET_LEN]) -> Self {
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

impl ConstantTimeEq for Secret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&*other.0)
    }
}

/// A secret that another store has drawn, under its identifier there.
#[derive(Debug)]
pub struct AdoptedSecret {
    /// What it belongs to.
    pub owner: SecretOwner,
    /// Its identifier.
    pub id: SecretId,
    /// The secret itself.
    pub secret: Secret,
}

/// What happens to another secret in the slot of one that is adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotInUse {
    /// It stays: [`StoreError::SecretConflict`], and nothing is stored.
    Refuse,
    /// It is overwritten, and thereby erased.
    Replace,
}

/// Which secrets may be erased because nothing names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnnamedSecrets {
    /// The [inherited](crate::Keystore::inherited_secrets) ones of an owner.
    Inherited(SecretOwner),
    /// All of the store, also those that were drawn or adopted a moment ago. For a store whose only writer is the caller.
    All,
}

/// The name alone.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
