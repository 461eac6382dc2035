//! Signature key files of the Hyper Protect Crypto Services tools, for import.
//!
//! JSON with `ski`, `seaSalt`, `enckey` and `keyType` (`p521ec`). The private key is under AES-256-GCM with a key of
//! PBKDF2-HMAC-SHA-256 in 4096 rounds; the nonce precedes the ciphertext. That protects little against password
//! guessing: such files are imported, never written.
//!
//! Binary fields may be hexadecimal or base64, and the private key a bare scalar, a SEC 1 or a PKCS#8 structure. The
//! result has to be the key that `ski` identifies.

use crate::private_file;
use crate::secret_file::Password;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Header, Reader, SliceReader};
use serde::Deserialize;
use sha2::Sha256;
use std::io;
use std::path::Path;
use tke_crypto::{SCALAR_LEN, SigningKey, Ski};
use zeroize::Zeroizing;

const KEY_TYPE: &str = "p521ec";
const ROUNDS: u32 = 4096;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// Longest file that is read, in bytes.
const MAX_LEN: usize = 16 * 1024;

/// Reason why a signature key file of HPCS was not read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HpcsKeyFileError {
    /// Error of the file system.
    #[error("the file cannot be read")]
    Disk(#[from] io::Error),
    /// Another format, or a key of another type. No password was tried.
    #[error("not a signature key file of HPCS: {0}")]
    InvalidFormat(&'static str),
    /// Wrong password, or the file was changed; the two are not distinguished.
    #[error("wrong password, or the file was changed")]
    WrongPassword,
}

/// A closed signature key file of HPCS.
#[derive(Debug)]
pub struct HpcsKeyFile {
    ski: Ski,
    salt: Vec<u8>,
    sealed: Vec<u8>,
}

#[derive(Deserialize)]
struct HpcsJson {
    ski: String,
    #[serde(rename = "seaSalt")]
    salt: String,
    #[serde(rename = "enckey")]
    sealed: String,
    #[serde(rename = "keyType")]
    kind: String,
}

impl HpcsKeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`HpcsKeyFileError::Disk`], [`HpcsKeyFileError::InvalidFormat`].
    pub fn read(path: &Path) -> Result<Self, HpcsKeyFileError> {
        Self::parse(&private_file::read(path, MAX_LEN)?)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`HpcsKeyFileError::InvalidFormat`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HpcsKeyFileError> {
        use HpcsKeyFileError::InvalidFormat;
        let stored: HpcsJson =
            serde_json::from_slice(bytes).map_err(|_| InvalidFormat("it is not the expected JSON"))?;
        if stored.kind != KEY_TYPE {
            return Err(InvalidFormat("its key is not on P-521"));
        }
        let ski = binary(&stored.ski).and_then(|ski| ski.try_into().ok()).map(Ski);
        Ok(Self {
            ski: ski.ok_or(InvalidFormat("its ski is not 32 bytes"))?,
            salt: binary(&stored.salt)
                .ok_or(InvalidFormat("its seaSalt is neither hexadecimal nor base64"))?,
            sealed: binary(&stored.sealed)
                .ok_or(InvalidFormat("its enckey is neither hexadecimal nor base64"))?,
        })
    }

    /// Identifier that the file names; the key has to match it.
    #[must_use]
    pub const fn ski(&self) -> Ski {
        self.ski
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`HpcsKeyFileError::WrongPassword`].
    pub fn open(&self, password: &Password) -> Result<SigningKey, HpcsKeyFileError> {
        self.unseal(password)
            .and_then(|plaintext| private_key(&plaintext))
            .filter(|key| key.public().ski() == self.ski)
            .ok_or(HpcsKeyFileError::WrongPassword)
    }

    fn unseal(&self, password: &Password) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = self.sealed.split_first_chunk::<NONCE_LEN>()?;
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.expose(), &self.salt, ROUNDS, &mut *key);
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        Aes256Gcm::new((&*key).into())
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                &[],
                plaintext.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(plaintext)
    }
}

/// Decodes hexadecimal, else base64.
fn binary(text: &str) -> Option<Vec<u8>> {
    wire::text::decode_hex_vec(text).map(|bytes| bytes.to_vec()).or_else(|| BASE64.decode(text).ok())
}

/// The private key, in any of its encodings.
fn private_key(plaintext: &[u8]) -> Option<SigningKey> {
    let scalar = match sec1(plaintext).or_else(|| pkcs8(plaintext).and_then(sec1)) {
        Some(scalar) => scalar,
        None => plaintext,
    };
    let mut padded = Zeroizing::new([0; SCALAR_LEN]);
    let start = SCALAR_LEN.checked_sub(scalar.len())?;
    padded.get_mut(start..)?.copy_from_slice(scalar);
    SigningKey::from_scalar(&padded).ok()
}

/// `ECPrivateKey ::= SEQUENCE { version INTEGER 1, privateKey OCTET STRING, … }` (RFC 5915 §3).
fn sec1(der: &[u8]) -> Option<&[u8]> {
    let mut content = content_of_sequence(der)?;
    let version = u8::decode(&mut content).ok()?;
    let key = <&OctetStringRef>::decode(&mut content).ok()?;
    (version == 1).then_some(key.as_bytes())
}

/// `PrivateKeyInfo ::= SEQUENCE { version INTEGER 0, algorithm, privateKey OCTET STRING, … }` (RFC 5208 §5).
fn pkcs8(der: &[u8]) -> Option<&[u8]> {
    let mut content = content_of_sequence(der)?;
    let version = u8::decode(&mut content).ok()?;
    let _algorithm = AnyRef::decode(&mut content).ok()?;
    let key = <&OctetStringRef>::decode(&mut content).ok()?;
    (version == 0).then_some(key.as_bytes())
}

fn content_of_sequence(der: &[u8]) -> Option<SliceReader<'_>> {
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let content = reader.read_slice(header.length()).ok()?;
    let whole = header.tag() == der::Tag::Sequence && reader.is_finished();
    SliceReader::new(content).ok().filter(|_| whole)
}
