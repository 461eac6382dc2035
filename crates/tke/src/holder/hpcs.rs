//! Signature key files as the tools of Hyper Protect Crypto Services make them, so that customers can bring theirs.
//!
//! JSON with `ski`, `seaSalt`, `enckey` and `keyType` (`p521ec`). The private key is under AES-256-GCM with a key of
//! PBKDF2-HMAC-SHA-256 in 4096 rounds; the nonce precedes the ciphertext. That is little work for whoever guesses
//! passwords, so such files are read and imported, never made.
//!
//! Binary fields are taken in hexadecimal and in base64, the private key as a bare scalar and as SEC 1's or PKCS#8's
//! structure: whichever it is, what comes out must be the key that `ski` names.

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
/// Much longer than any such file.
const MAX_LEN: usize = 16 * 1024;

/// Why a signature key file of HPCS was not read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HpcsKeyFileError {
    /// The disk failed, or the file is not there.
    #[error("cannot be read")]
    Disk(#[from] io::Error),
    /// Not such a file, or a key of another kind. No password was tried.
    #[error("not a signature key file of HPCS: {0}")]
    NotOne(&'static str),
    /// Wrong password, or a file that was changed; not told apart.
    #[error("wrong password, or the file was changed")]
    Unopened,
}

/// A closed signature key file of HPCS.
#[derive(Debug)]
pub struct HpcsKeyFile {
    ski: Ski,
    salt: Vec<u8>,
    sealed: Vec<u8>,
}

#[derive(Deserialize)]
struct Stored {
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
    /// [`HpcsKeyFileError::Disk`], [`HpcsKeyFileError::NotOne`].
    pub fn read(path: &Path) -> Result<Self, HpcsKeyFileError> {
        Self::parse(&private_file::read(path, MAX_LEN)?)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`HpcsKeyFileError::NotOne`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HpcsKeyFileError> {
        use HpcsKeyFileError::NotOne;
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| NotOne("it is no such JSON"))?;
        if stored.kind != KEY_TYPE {
            return Err(NotOne("its key is not on P-521"));
        }
        let ski = binary(&stored.ski).and_then(|ski| ski.try_into().ok()).map(Ski);
        Ok(Self {
            ski: ski.ok_or(NotOne("its ski is not 32 bytes"))?,
            salt: binary(&stored.salt).ok_or(NotOne("its seaSalt is no binary data"))?,
            sealed: binary(&stored.sealed).ok_or(NotOne("its enckey is no binary data"))?,
        })
    }

    /// The identifier that the key is to have.
    #[must_use]
    pub const fn ski(&self) -> Ski {
        self.ski
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`HpcsKeyFileError::Unopened`].
    pub fn open(&self, password: &Password) -> Result<SigningKey, HpcsKeyFileError> {
        self.unseal(password)
            .and_then(|plaintext| private_key(&plaintext))
            .filter(|key| key.public().ski() == self.ski)
            .ok_or(HpcsKeyFileError::Unopened)
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

/// Hexadecimal or base64, whichever it is; what is both is hexadecimal.
fn binary(text: &str) -> Option<Vec<u8>> {
    wire::text::decode_hex_vec(text).map(|bytes| bytes.to_vec()).or_else(|| BASE64.decode(text).ok())
}

/// The private key, in any of the forms it may have.
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
