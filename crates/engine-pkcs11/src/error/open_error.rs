//! Errors of opening a token or an engine on it.

use super::{ObjectRefusal, short_text};
use cryptoki::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a token, or an engine on it, could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The module's file could not be resolved.
    #[error("no PKCS#11 module at {}", .path.display())]
    ModuleFile {
        /// Path of the module, as configured.
        path: PathBuf,
        /// OS error from realpath(3).
        source: io::Error,
    },
    /// The file is not a PKCS#11 module, or `C_Initialize` failed.
    #[error("the PKCS#11 module {} could not be loaded: {}", .path.display(), short_text(.error))]
    ModuleLoad {
        /// Path of the module.
        path: PathBuf,
        /// Error of the dynamic loader or of `C_Initialize`.
        error: Error,
    },
    /// This process already has a token of the module open; it may have one at a time.
    #[error("this process already uses a token of the module {}", .path.display())]
    ModuleInUse {
        /// Path of the module.
        path: PathBuf,
    },
    /// No initialised token matches the URI.
    #[error("no initialised token of the module matches {uri}; the module has {}", list_labels(.labels))]
    NotFound {
        /// The URI that was searched for.
        uri: String,
        /// Labels of the module's initialised tokens.
        labels: Vec<String>,
    },
    /// Several initialised tokens match the URI.
    #[error("several tokens match {uri}; add the serial number")]
    Ambiguous {
        /// The URI that was searched for.
        uri: String,
    },
    /// A token with another serial number is where the token was.
    #[error("the token was replaced: `{token}` has another serial number")]
    TokenReplaced {
        /// Label of the token found.
        token: String,
    },
    /// The token's user PIN was never set.
    #[error("the token `{token}` has no user PIN; its security officer has to set one")]
    NoUserPin {
        /// Label of the token.
        token: String,
    },
    /// The PIN is wrong, locked or expired. It was tried once.
    #[error(
        "the token `{token}` refused the PIN ({}); it was tried once, because tokens lock after a few failures",
        short_text(.error)
    )]
    PinRefused {
        /// Label of the token.
        token: String,
        /// Error returned by `C_Login`.
        error: Error,
    },
    /// All read-write sessions of the token are in use by this process.
    #[error("all {max} sessions of the token are in use")]
    SessionsExhausted {
        /// Read-write sessions that the token allows at a time.
        max: u64,
    },
    /// The token lacks a mechanism that every unit needs, and no fallback exists for it.
    #[error("the token does not offer {mechanism}, which a unit needs")]
    MechanismMissing {
        /// Name of the mechanism, as in the probe's table.
        mechanism: &'static str,
    },
    /// The token's result for a published vector is wrong.
    #[error("the token returns wrong results for {mechanism}; it must not be used")]
    WrongResult {
        /// Name of the mechanism, as in the probe's table.
        mechanism: &'static str,
    },
    /// The token was lost while the engine was being opened.
    #[error("the token is not reachable")]
    TokenUnavailable,
    /// The unit's device key is not on the token.
    #[error("the token has no device key of unit {unit}; it is another unit's token, or was cleared")]
    DeviceKeyMissing {
        /// Name of the unit, as in the labels of its objects.
        unit: String,
    },
    /// An object under the unit's label was not created by the unit.
    #[error(
        "an object of unit {unit} on the token is not the unit's own: {refusal}; who has the token's PIN may have planted it"
    )]
    ObjectInvalid {
        /// Name of the unit, as in the labels of its objects.
        unit: String,
        /// What is wrong with the object.
        refusal: ObjectRefusal,
    },
    /// The two halves of the attestation key do not belong together, or the token does not sign with it.
    #[error(
        "the attestation key of unit {unit} on the token does not sign: who has the token's PIN may have replaced half of it"
    )]
    AttestationKeyInvalid {
        /// Name of the unit, as in the labels of its objects.
        unit: String,
    },
    /// The token returned an error that none of the other variants covers.
    #[error("the token failed: {}", short_text(.0))]
    Token(Error),
}

fn list_labels(labels: &[String]) -> String {
    if labels.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    quoted.join(", ")
}
