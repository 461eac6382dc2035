//! Key parts, which custodians hold.
//!
//! A part has 32 bytes, and a master key is the XOR of two or three parts. Only its verification pattern is ever shown. A
//! part leaves its holder only sealed for a unit's importer key.

mod file;
mod set;
mod value;

pub use file::{KeyPartFile, KeyParts, ListedKeyPart, PartFileError, list_key_parts};
pub use set::{KeyPartSet, PartSetError};
pub use value::{PartInvalid, PartOrigin};
pub(crate) use value::{combine, from_hex, generate, pattern_of, take};

use crate::card::CardError;
use crate::holder::Carrier;
use std::fmt;
use std::pin::Pin;
use tke_crypto::{Name, PublicKey, SealError};
use unit_api::VerificationPattern;

/// Label of a key part: 1 to 30 printable ASCII characters.
pub type PartLabel = Name<30>;

/// Smallest number of parts of a master key.
pub const MIN_PARTS: usize = 2;
/// Largest number of parts of a master key.
pub const MAX_PARTS: usize = 3;

/// A key part sealed for one importer key by [`tke_crypto::seal_key_part`], in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPart(pub Vec<u8>);

/// Identifier of a key part in records, independent of its value: SHA-256 of its encrypted file, or 32 random bytes for a
/// part that was generated on a card.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId(pub [u8; 32]);

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wire::text::encode_hex(&self.0))
    }
}

impl fmt::Debug for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartId({self})")
    }
}

/// Future of a sealed part.
pub type SealingFuture<'a> = Pin<Box<dyn Future<Output = Result<SealedPart, PartError>> + Send + 'a>>;

/// A holder of a key part, which releases it only sealed for a unit.
pub trait KeyPartHolder: Send + Sync {
    /// Label of the part.
    fn label(&self) -> &PartLabel;

    /// Verification pattern of the part, by which its custodian recognizes it.
    fn pattern(&self) -> VerificationPattern;

    /// Identifier of the part in records.
    fn id(&self) -> PartId;

    /// Medium that the part is kept on.
    fn carrier(&self) -> Carrier;

    /// Seals the part for an importer key. The caller has verified that the key belongs to a unit: the owner of its private
    /// key can read the part.
    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> SealingFuture<'a>;
}

/// Reason why a part was not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// The card did not seal it.
    #[error("the card did not seal the part")]
    Card(#[from] CardError),
    /// There was no randomness.
    #[error("the part could not be sealed")]
    Seal(#[from] SealError),
}

pub(crate) fn seal(importer: &PublicKey, part: &engine::KeyPart) -> Result<SealedPart, SealError> {
    let mut buffer = [0; tke_crypto::SEALED_PART_MAX_LEN];
    tke_crypto::seal_key_part(importer, part.expose(), &mut getrandom::SysRng, &mut buffer)
        .map(|sealed| SealedPart(sealed.to_vec()))
}
