//! The signature under a report: Ed25519 over its canonical form.

use super::chain::canonical;
use super::model::Report;
use crate::files;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use wire::text::{decode_hex_vec, encode_hex};
use zeroize::Zeroizing;

/// Begins what is signed, so that the signature is good for nothing else.
const SIGNATURE_LABEL: &[u8] = b"hsm-sim rehearsal report 1\0";

/// Name of the algorithm in reports.
pub const ALGORITHM: &str = "Ed25519";

/// A key that signs reports.
pub struct SealKey {
    key: Ed25519KeyPair,
    is_kept: bool,
}

/// Why a key that signs reports cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The system has no random numbers.
    #[error("the system's random number generator failed")]
    Random,
    /// The file cannot be read or written.
    #[error("the signing key {} cannot be read or written", .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no Ed25519 key in PKCS#8 form (DER)", .0.display())]
    Invalid(PathBuf),
}

/// Why a report is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealInvalid {
    /// The signature does not fit.
    #[error("the signature does not fit the report and the public key in it: one of them was changed")]
    Signature,
    /// Algorithm, key or signature are malformed.
    #[error("the report's signature is malformed, or of another algorithm than {ALGORITHM}")]
    Malformed,
}

impl SealKey {
    /// A key for one report, which is not kept.
    ///
    /// # Errors
    /// [`SealKeyError::Random`].
    pub fn for_one_report() -> Result<Self, SealKeyError> {
        let document = Self::document()?;
        let key = Ed25519KeyPair::from_pkcs8(&document).map_err(|_| SealKeyError::Random)?;
        Ok(Self { key, is_kept: false })
    }

    /// The key in a file, which is made if there is none, readable by its owner only.
    ///
    /// # Errors
    /// [`SealKeyError`].
    pub fn open(path: &Path) -> Result<Self, SealKeyError> {
        let file = |source| SealKeyError::File { path: path.to_owned(), source };
        let document = match files::read_if_present(path).map_err(file)? {
            Some(document) => Zeroizing::new(document),
            None => {
                let document = Self::document()?;
                files::write_private(path, &document).map_err(file)?;
                document
            }
        };
        let key =
            Ed25519KeyPair::from_pkcs8(&document).map_err(|_| SealKeyError::Invalid(path.to_owned()))?;
        Ok(Self { key, is_kept: true })
    }

    fn document() -> Result<Zeroizing<Vec<u8>>, SealKeyError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        Ok(Zeroizing::new(document.map_err(|_| SealKeyError::Random)?.as_ref().to_vec()))
    }

    /// The public key, 32 bytes in hexadecimal.
    #[must_use]
    pub fn public(&self) -> String {
        encode_hex(self.key.public_key().as_ref())
    }

    /// Signs a report: puts algorithm, public key and signature in it.
    ///
    /// # Errors
    /// Never, in practice: every field has a form in JSON.
    pub fn sign(&self, report: &mut Report) -> serde_json::Result<()> {
        let evidence = &mut report.evidence;
        ALGORITHM.clone_into(&mut evidence.algorithm);
        evidence.public_key = self.public();
        evidence.is_key_kept = self.is_kept;
        let message = message(&serde_json::to_value(&*report)?)?;
        report.evidence.signature = encode_hex(self.key.sign(&message).as_ref());
        Ok(())
    }
}

/// Checks the signature of a report as it was read, with fields that this program does not know.
///
/// # Errors
/// [`SealInvalid`].
pub fn verify(report: &Value) -> Result<(), SealInvalid> {
    let text = |name: &str| {
        let found = report.get("evidence").and_then(|evidence| evidence.get(name)).and_then(Value::as_str);
        found.ok_or(SealInvalid::Malformed)
    };
    if text("algorithm")? != ALGORITHM {
        return Err(SealInvalid::Malformed);
    }
    let hex = |text: &str| decode_hex_vec(text).ok_or(SealInvalid::Malformed);
    let (key, signature) = (hex(text("public_key")?)?, hex(text("signature")?)?);
    let message = message(report).map_err(|_| SealInvalid::Malformed)?;
    let key = UnparsedPublicKey::new(&ED25519, key.as_slice());
    key.verify(&message, &signature).map_err(|_| SealInvalid::Signature)
}

/// What is signed: the label, and the report without its signature, as JSON with sorted keys and without spaces.
fn message(report: &Value) -> serde_json::Result<Vec<u8>> {
    let mut report = report.clone();
    if let Some(evidence) = report.get_mut("evidence").and_then(Value::as_object_mut) {
        evidence.remove("signature");
    }
    Ok([SIGNATURE_LABEL, &canonical(&report)?].concat())
}

#[cfg(test)]
mod tests {
    use super::{SealInvalid, SealKey, SealKeyError, verify};
    use crate::rehearse::model::sample;
    use serde_json::{Value, json};

    fn signed() -> Value {
        let mut report = sample();
        SealKey::for_one_report().unwrap().sign(&mut report).unwrap();
        serde_json::to_value(report).unwrap()
    }

    #[test]
    fn a_signed_report_verifies_however_it_is_written() {
        let report = signed();
        assert_eq!(verify(&report), Ok(()));
        let spaced = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(verify(&serde_json::from_str(&spaced).unwrap()), Ok(()));
    }

    #[test]
    fn attack_every_changed_field_breaks_the_signature() {
        let report = signed();
        for (pointer, value) in [
            ("/verdict", json!("fail")),
            ("/measured/uses/recovered_ms", json!(1)),
            ("/plan/objective/rto_use_ms", json!(1)),
            ("/evidence/chain_head", json!("00")),
            ("/evidence/is_key_kept", json!(true)),
        ] {
            let mut changed = report.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(verify(&changed), Err(SealInvalid::Signature), "{pointer}");
        }
        let mut added = report.clone();
        added["remark"] = json!("…");
        assert_eq!(verify(&added), Err(SealInvalid::Signature));
        let mut other = report.clone();
        other["evidence"]["public_key"] = json!(SealKey::for_one_report().unwrap().public());
        assert_eq!(verify(&other), Err(SealInvalid::Signature));
        let mut none = report;
        none["evidence"]["algorithm"] = json!("none");
        assert_eq!(verify(&none), Err(SealInvalid::Malformed));
        assert_eq!(verify(&json!({})), Err(SealInvalid::Malformed));
    }

    #[test]
    fn a_key_that_is_kept_signs_as_the_same_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = SealKey::open(&path).unwrap();
        assert_eq!(SealKey::open(&path).unwrap().public(), first.public());
        std::fs::write(&path, b"no key").unwrap();
        assert!(matches!(SealKey::open(&path), Err(SealKeyError::Invalid(_))));
    }
}
