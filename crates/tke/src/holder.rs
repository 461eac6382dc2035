//! Signature keys: what administrators sign with, wherever it is kept.
//!
//! | holder | the private key is | |
//! |---|---|---|
//! | file | in a password-protected file, and in this process while it is open | [`SignatureKeyFile`] |
//! | card | in a card, which signs | [`crate::card::CardSignatureKey`] |
//! | service | in the customer's signing service, which signs | [`crate::service::ServiceKey`] |

mod all;
mod file;
mod hpcs;

pub use all::{SomeFailed, sign_with_all};
pub(crate) use file::generate_key;
pub use file::{
    CreatedSignatureKey, KeyFileError, ListedSignatureKey, SameName, SignatureKeyFile, SignatureKeys,
    list_signature_keys,
};
pub use hpcs::{HpcsKeyFile, HpcsKeyFileError};

use crate::card::{CardError, Serial};
use crate::service::ServiceError;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use tke_crypto::{AdministratorName, PublicKey, Ski};

/// A signature that is being made: `SEQUENCE { r INTEGER, s INTEGER }` in DER.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SigningError>> + Send + 'a>>;

/// A signature key on P-521 of an administrator, wherever it is kept.
pub trait SignatureKey: Send + Sync {
    /// The administrator's name, which stands in certificate and logs.
    fn name(&self) -> &AdministratorName;

    /// The public key.
    fn public_key(&self) -> &PublicKey;

    /// The administrator's identifier: SHA-256 of the public key.
    fn ski(&self) -> Ski {
        self.public_key().ski()
    }

    /// What the key is kept on.
    fn carrier(&self) -> Carrier;

    /// Signs exactly these bytes, with ECDSA and SHA-512.
    fn sign<'a>(&'a self, bytes: &'a [u8]) -> Signing<'a>;
}

/// What a signature key or a key part is kept on, and taken away with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// A file.
    File(PathBuf),
    /// A smart card.
    Card(Serial),
    /// A key of a signing service.
    Service {
        /// Where the service is.
        url: String,
        /// What it calls the key.
        key: String,
    },
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Card(serial) => write!(f, "card {serial}"),
            Self::Service { url, key } => write!(f, "signing service {url}, key {key}"),
        }
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The card did not sign.
    #[error("the card did not sign")]
    Card(#[from] CardError),
    /// The signing service did not sign.
    #[error("the signing service did not sign")]
    Service(#[from] ServiceError),
}
