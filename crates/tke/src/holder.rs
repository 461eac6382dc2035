//! Signature keys of administrators.
//!
//! | holder | place of the private key | type |
//! |---|---|---|
//! | file | in a password-protected file, and in this process while it is open | [`SignatureKeyFile`] |
//! | card | in a card, which signs | [`crate::card::CardSignatureKey`] |
//! | service | in the customer's signing service, which signs | [`crate::service::SigningServiceKey`] |

mod all;
mod file;
mod hpcs;

pub use all::{SigningFailures, sign_with_all};
pub(crate) use file::generate_key;
pub use file::{
    CreatedSignatureKey, KeyFileError, ListedSignatureKey, SameName, SignatureKeyFile, SignatureKeys,
    list_signature_keys,
};
pub use hpcs::{HpcsKeyFile, HpcsKeyFileError};

use crate::card::{CardError, Serial};
use crate::service::SigningServiceError;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use tke_crypto::{AdministratorName, PublicKey, Ski};

/// Future of a signature: `SEQUENCE { r INTEGER, s INTEGER }` in DER.
pub type SigningFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, SigningError>> + Send + 'a>>;

/// A signature key of an administrator, on P-521.
pub trait SignatureKey: Send + Sync {
    /// Name of the administrator, as in its certificate and in logs.
    fn name(&self) -> &AdministratorName;

    /// The public key.
    fn public_key(&self) -> &PublicKey;

    /// Subject key identifier: SHA-256 of the public key.
    fn ski(&self) -> Ski {
        self.public_key().ski()
    }

    /// Medium that the key is kept on.
    fn carrier(&self) -> Carrier;

    /// Signs these bytes with ECDSA and SHA-512.
    fn sign<'a>(&'a self, bytes: &'a [u8]) -> SigningFuture<'a>;
}

/// Medium that a signature key or a key part is kept on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// A file.
    File(PathBuf),
    /// A smart card.
    Card(Serial),
    /// A key of a signing service.
    Service {
        /// Address of the service.
        url: String,
        /// Name of the key there.
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

/// Reason why a key did not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The card did not sign.
    #[error("the card did not sign")]
    Card(#[from] CardError),
    /// The signing service did not sign.
    #[error("the signing service did not sign")]
    Service(#[from] SigningServiceError),
}
