//! A password-protected container for one secret, as a file of JSON that may be copied and backed up.
//!
//! ```text
//! {"format": "hsm-sim secret file", "version": 1, "purpose": "key-part", "public": {"name": …},
//!  "kdf": {"algorithm": "argon2id", "memory_kib": 65536, "passes": 3, "lanes": 1, "salt": base64},
//!  "cipher": {"algorithm": "aes-256-gcm", "nonce": base64}, "ciphertext": base64}
//! ```
//!
//! The password becomes a key by Argon2id, version 1.3 (RFC 9106); the secret is under AES-256-GCM, and everything
//! that stands in the clear is its associated data. There is no field that is not protected: an unknown one is
//! refused.

mod cost;
mod folder;

pub use cost::{CostOutOfRange, KdfCost};
pub use folder::Folder;

use crate::private_file;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const FORMAT: &str = "hsm-sim secret file";
const VERSION: u32 = 1;
const KDF: &str = "argon2id";
const CIPHER: &str = "aes-256-gcm";
const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Longest container that is read, in bytes.
pub const MAX_SECRET_FILE_LEN: usize = 256 * 1024;

/// A password, zeroized on drop, never printed. What protects a new file has at least
/// [`Password::MIN_LEN`] bytes.
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Shortest password that a new file is protected with, in bytes.
    pub const MIN_LEN: usize = 8;

    /// Takes the text over without copying it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text.into_bytes()))
    }

    pub(crate) fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Why a container was not made, read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// The disk failed, or the file is not there, or (on creation) it already is.
    #[error("{}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Not a container, or of a version that this program does not know. No password was tried.
    #[error("not a secret file that can be read: {0}")]
    NotOne(&'static str),
    /// A container for something else. No password was tried.
    #[error("this file holds a {found}, not a {expected}")]
    WrongPurpose {
        /// What was to be opened.
        expected: &'static str,
        /// What the file says it holds.
        found: String,
    },
    /// Wrong password, or a file that was changed; not told apart.
    #[error("wrong password, or the file was changed")]
    Unopened,
    /// The password is too short to protect anything.
    #[error("a password has at least {} characters", Password::MIN_LEN)]
    PasswordTooShort,
    /// The operating system gave no randomness, or no memory.
    #[error("the operating system gave no randomness or no memory")]
    System,
}

impl SecretFileError {
    pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
    }

    /// Whether a file of that name was there already, and was left alone.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Fields that a container shows without a password; authenticated, not secret.
pub type PublicFields = BTreeMap<String, String>;

/// A closed container, with the bytes it has or will have on disk.
pub struct SecretFile {
    bytes: Vec<u8>,
    stored: Stored,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: String,
    version: u32,
    purpose: String,
    public: PublicFields,
    kdf: StoredKdf,
    cipher: StoredCipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKdf {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCipher {
    algorithm: String,
    nonce: String,
}

impl SecretFile {
    /// Closes `secret` under `password`, in memory. Takes as long as `cost` says, on the calling thread.
    ///
    /// # Errors
    /// [`SecretFileError::PasswordTooShort`]; [`SecretFileError::System`] without randomness or memory.
    pub fn seal(
        purpose: &'static str,
        public: PublicFields,
        password: &Password,
        cost: KdfCost,
        secret: &[u8],
    ) -> Result<Self, SecretFileError> {
        if password.expose().len() < Password::MIN_LEN {
            return Err(SecretFileError::PasswordTooShort);
        }
        let (salt, nonce) = (random::<SALT_LEN>()?, random::<NONCE_LEN>()?);
        let mut stored = Stored {
            format: FORMAT.to_owned(),
            version: VERSION,
            purpose: purpose.to_owned(),
            public,
            kdf: StoredKdf {
                algorithm: KDF.to_owned(),
                memory_kib: cost.memory_kib(),
                passes: cost.passes(),
                lanes: cost.lanes(),
                salt: BASE64.encode(salt),
            },
            cipher: StoredCipher { algorithm: CIPHER.to_owned(), nonce: BASE64.encode(nonce) },
            ciphertext: String::new(),
        };
        let key = cost.derive(password, &salt).ok_or(SecretFileError::System)?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(secret.len() + TAG_LEN));
        sealed.extend_from_slice(secret);
        let tag = Aes256Gcm::new((&*key).into())
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                &stored.associated_data(),
                sealed.as_mut_slice().into(),
            )
            .map_err(|_| SecretFileError::System)?;
        sealed.extend_from_slice(&tag);
        stored.ciphertext = BASE64.encode(&*sealed);
        let mut bytes = serde_json::to_vec_pretty(&stored).map_err(|_| SecretFileError::System)?;
        bytes.push(b'\n');
        Ok(Self { bytes, stored })
    }

    /// Opens the container, which is to be one for `purpose`. Takes as long as its cost says, on the calling thread.
    ///
    /// # Errors
    /// [`SecretFileError::WrongPurpose`] before a password is tried; [`SecretFileError::Unopened`] for a wrong password
    /// and for a changed file alike.
    pub fn open(
        &self,
        purpose: &'static str,
        password: &Password,
    ) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
        if self.stored.purpose != purpose {
            return Err(SecretFileError::WrongPurpose {
                expected: purpose,
                found: self.stored.purpose.clone(),
            });
        }
        let kdf = &self.stored.kdf;
        let cost = KdfCost::stored(kdf.memory_kib, kdf.passes, kdf.lanes).ok_or(SecretFileError::Unopened)?;
        let salt: [u8; SALT_LEN] = decode(&kdf.salt)?;
        let nonce: [u8; NONCE_LEN] = decode(&self.stored.cipher.nonce)?;
        let sealed = BASE64.decode(&self.stored.ciphertext).map_err(|_| SecretFileError::Unopened)?;
        let (secret, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(SecretFileError::Unopened)?;
        let key = cost.derive(password, &salt).ok_or(SecretFileError::System)?;
        let mut secret = Zeroizing::new(secret.to_vec());
        Aes256Gcm::new((&*key).into())
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                &self.stored.associated_data(),
                secret.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| SecretFileError::Unopened)?;
        Ok(secret)
    }

    /// Reads a container from the bytes of a file.
    ///
    /// # Errors
    /// [`SecretFileError::NotOne`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, SecretFileError> {
        if bytes.len() > MAX_SECRET_FILE_LEN {
            return Err(SecretFileError::NotOne("it is too long"));
        }
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|_| SecretFileError::NotOne("it is no such JSON"))?;
        if stored.format != FORMAT {
            return Err(SecretFileError::NotOne("it is of another format"));
        }
        if stored.version != VERSION || stored.kdf.algorithm != KDF || stored.cipher.algorithm != CIPHER {
            return Err(SecretFileError::NotOne("it is of a version that is not known here"));
        }
        Ok(Self { bytes, stored })
    }

    /// Reads a container from a file.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`], [`SecretFileError::NotOne`].
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        let bytes = private_file::read(path, MAX_SECRET_FILE_LEN).map_err(SecretFileError::disk(path))?;
        Self::parse(bytes)
    }

    /// Writes the container to a file that is not there yet, readable by its owner alone. Durable on return; on failure
    /// there is no file.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`]; see [`SecretFileError::is_already_there`].
    pub fn write_new(&self, path: &Path) -> Result<(), SecretFileError> {
        private_file::create(path, &self.bytes).map_err(SecretFileError::disk(path))
    }

    /// What stands in the clear beside the secret. Not to be believed before [`Self::open`] succeeded.
    #[must_use]
    pub fn public(&self) -> &PublicFields {
        &self.stored.public
    }

    /// What the container says it holds.
    #[must_use]
    pub fn purpose(&self) -> &str {
        &self.stored.purpose
    }

    /// The bytes of the file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the file: names the container in audit records and gives nothing of the secret away.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

/// The public fields alone.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("purpose", &self.stored.purpose)
            .field("public", &self.stored.public)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Every field but nonce and ciphertext, each preceded by its length in four bytes, so that no two headers have the
    /// same bytes.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        let mut put = |field: &[u8]| {
            data.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            data.extend_from_slice(field);
        };
        put(self.format.as_bytes());
        put(&self.version.to_be_bytes());
        put(self.purpose.as_bytes());
        put(self.kdf.algorithm.as_bytes());
        put(&self.kdf.memory_kib.to_be_bytes());
        put(&self.kdf.passes.to_be_bytes());
        put(&self.kdf.lanes.to_be_bytes());
        put(self.kdf.salt.as_bytes());
        put(self.cipher.algorithm.as_bytes());
        for (name, value) in &self.public {
            put(name.as_bytes());
            put(value.as_bytes());
        }
        data
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], SecretFileError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| SecretFileError::System)?;
    Ok(bytes)
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], SecretFileError> {
    BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(SecretFileError::Unopened)
}
