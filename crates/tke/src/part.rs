//! Key parts: what custodians hold, and what a master key is put together from.
//!
//! A part is 32 bytes, and a master key is the XOR of two or three of them. Each is shown by its verification pattern
//! alone. A part leaves its holder only sealed for a unit's importer key.

mod file;
mod set;
mod value;

pub use file::{KeyPartFile, KeyParts, ListedKeyPart, PartFileError, list_key_parts};
pub use set::{KeyPartSet, PartsRefused};
pub use value::{PartInvalid, PartOrigin};
pub(crate) use value::{combine, from_hex, generate, pattern_of, take};

use crate::card::CardError;
use crate::holder::Carrier;
use std::fmt;
use std::pin::Pin;
use tke_crypto::{Name, PublicKey, SealError};
use unit_api::VerificationPattern;

/// The name of a key part: 1 to 30 printable ASCII characters.
pub type PartLabel = Name<30>;

/// Fewest parts of a master key.
pub const MIN_PARTS: usize = 2;
/// Most parts of a master key.
pub const MAX_PARTS: usize = 3;

/// A key part sealed for one importer key, as [`tke_crypto::seal_key_part`] makes it: DER, safe to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPart(pub Vec<u8>);

/// What names a key part in audit records, and says nothing of it: SHA-256 of the encrypted file it is kept in; for a
/// part that was made on a card, 32 random bytes made with it.
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

/// A part that is being sealed.
pub type Sealing<'a> = Pin<Box<dyn Future<Output = Result<SealedPart, PartError>> + Send + 'a>>;

/// Whatever holds a key part and gives it away to units only.
pub trait KeyPartHolder: Send + Sync {
    /// What the part is called.
    fn label(&self) -> &PartLabel;

    /// The part's verification pattern, by which its custodian knows it.
    fn pattern(&self) -> VerificationPattern;

    /// What audit records call the part.
    fn id(&self) -> PartId;

    /// What the part is kept on.
    fn carrier(&self) -> Carrier;

    /// Seals the part for an importer key. That the key is a unit's is for the caller to have checked: whoever has the
    /// private key reads the part.
    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> Sealing<'a>;
}

/// Why a part was not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// The card did not seal it.
    #[error("the card did not seal the part")]
    Card(#[from] CardError),
    /// The cryptography failed: no randomness.
    #[error("the part could not be sealed")]
    Seal(#[from] SealError),
}

pub(crate) fn seal(importer: &PublicKey, part: &engine::KeyPart) -> Result<SealedPart, SealError> {
    let mut buffer = [0; tke_crypto::SEALED_PART_MAX_LEN];
    tke_crypto::seal_key_part(importer, part.expose(), &mut getrandom::SysRng, &mut buffer)
        .map(|sealed| SealedPart(sealed.to_vec()))
}
