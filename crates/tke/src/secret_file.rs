//! A password-protected container for one secret: a JSON file that may be copied and backed up.
//!
//! ```text
//! {"format": "hsm-sim secret file", "version": 1, "purpose": "key-part", "public": {"name": …},
//!  "kdf": {"algorithm": "argon2id", "memory_kib": 65536, "passes": 3, "lanes": 1, "salt": base64},
//!  "cipher": {"algorithm": "aes-256-gcm", "nonce": base64}, "ciphertext": base64}
//! ```
//!
//! Argon2id, version 1.3 (RFC 9106), derives a key from the password. AES-256-GCM encrypts the secret under it, and all
//! other fields are associated data, so that every field is protected. Unknown fields are refused.

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
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const FORMAT: &str = "hsm-sim secret file";
const VERSION: u32 = 1;
const KDF: &str = "argon2id";
const CIPHER: &str = "aes-256-gcm";
const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Longest file that is read, in bytes.
pub const MAX_SECRET_FILE_LEN: usize = 256 * 1024;

/// A password, zeroized on drop, never printed. A new file needs one of at least [`Password::MIN_LEN`] bytes.
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Shortest password of a new file, in bytes.
    pub const MIN_LEN: usize = 8;

    /// Takes ownership of the text without a copy.
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

/// Whether two entries of one password, PIN or key part are the same. Time depends on their lengths alone.
#[must_use]
pub fn same_entry(first: &str, second: &str) -> bool {
    first.as_bytes().ct_eq(second.as_bytes()).into()
}

/// Reason why a container was not created, read or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Error of the file system; on creation, also if the file exists.
    #[error("{}", path.display())]
    Disk {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Another format, or an unknown version. No password was tried.
    #[error("not a secret file that this program can read: {0}")]
    InvalidFormat(&'static str),
    /// A container of another kind of secret. No password was tried.
    #[error("this file holds a {found}, not a {expected}")]
    WrongPurpose {
        /// Expected purpose.
        expected: &'static str,
        /// Purpose that the file names.
        found: String,
    },
    /// Wrong password, or the file was changed; the two are not distinguished.
    #[error("wrong password, or the file was changed")]
    WrongPassword,
    /// The password is shorter than [`Password::MIN_LEN`].
    #[error("a password has at least {} characters", Password::MIN_LEN)]
    PasswordTooShort,
    /// The operating system provided no randomness, or no memory.
    #[error("the operating system provided no randomness or no memory")]
    System,
}

impl SecretFileError {
    pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
    }

    /// Whether the file was not created because it exists.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Fields that are readable without the password. Not secret, and authenticated when the container is opened.
pub type PublicFields = BTreeMap<String, String>;

/// A closed container, with the bytes of its file.
pub struct SecretFile {
    bytes: Vec<u8>,
    stored: StoredContainer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredContainer {
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
    /// Encrypts `secret` under `password`, in memory. Blocks the calling thread for the time that `cost` takes.
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
        let mut stored = StoredContainer {
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

    /// Decrypts a container with this `purpose`. Blocks the calling thread for the time that its cost takes.
    ///
    /// # Errors
    /// [`SecretFileError::WrongPurpose`] before a password is tried; [`SecretFileError::WrongPassword`] for a wrong password
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
        let cost =
            KdfCost::stored(kdf.memory_kib, kdf.passes, kdf.lanes).ok_or(SecretFileError::WrongPassword)?;
        let salt: [u8; SALT_LEN] = decode(&kdf.salt)?;
        let nonce: [u8; NONCE_LEN] = decode(&self.stored.cipher.nonce)?;
        let sealed = BASE64.decode(&self.stored.ciphertext).map_err(|_| SecretFileError::WrongPassword)?;
        let (secret, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(SecretFileError::WrongPassword)?;
        let key = cost.derive(password, &salt).ok_or(SecretFileError::System)?;
        let mut secret = Zeroizing::new(secret.to_vec());
        Aes256Gcm::new((&*key).into())
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                &self.stored.associated_data(),
                secret.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| SecretFileError::WrongPassword)?;
        Ok(secret)
    }

    /// Decodes a container.
    ///
    /// # Errors
    /// [`SecretFileError::InvalidFormat`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, SecretFileError> {
        if bytes.len() > MAX_SECRET_FILE_LEN {
            return Err(SecretFileError::InvalidFormat("it is too long"));
        }
        let stored: StoredContainer = serde_json::from_slice(&bytes)
            .map_err(|_| SecretFileError::InvalidFormat("it is not the expected JSON"))?;
        if stored.format != FORMAT {
            return Err(SecretFileError::InvalidFormat("it has another format"));
        }
        if stored.version != VERSION || stored.kdf.algorithm != KDF || stored.cipher.algorithm != CIPHER {
            return Err(SecretFileError::InvalidFormat("its version is not supported"));
        }
        Ok(Self { bytes, stored })
    }

    /// Reads a container from a file.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`], [`SecretFileError::InvalidFormat`].
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        let bytes = private_file::read(path, MAX_SECRET_FILE_LEN).map_err(SecretFileError::disk(path))?;
        Self::parse(bytes)
    }

    /// Writes the container to a new file of mode 0600. Durable on return; on failure there is no file.
    ///
    /// # Errors
    /// [`SecretFileError::Disk`]; see [`SecretFileError::already_exists`].
    pub fn write_new(&self, path: &Path) -> Result<(), SecretFileError> {
        private_file::create(path, &self.bytes).map_err(SecretFileError::disk(path))
    }

    /// The public fields. Not authenticated until [`Self::open`] has succeeded.
    #[must_use]
    pub fn public(&self) -> &PublicFields {
        &self.stored.public
    }

    /// The kind of secret that the container names.
    #[must_use]
    pub fn purpose(&self) -> &str {
        &self.stored.purpose
    }

    /// Whether the password can be guessed with less work than for a new file: the file is older, from elsewhere, or from a
    /// test.
    #[must_use]
    pub fn has_weak_kdf(&self) -> bool {
        let kdf = &self.stored.kdf;
        KdfCost::stored(kdf.memory_kib, kdf.passes, kdf.lanes).is_some_and(KdfCost::is_weak)
    }

    /// Logs a warning that names `path` if [`Self::has_weak_kdf`].
    pub(crate) fn warn_if_weak(&self, path: &Path) {
        if self.has_weak_kdf() {
            tracing::warn!(
                file = %path.display(),
                memory_kib = self.stored.kdf.memory_kib,
                passes = self.stored.kdf.passes,
                "the password of this file can be guessed: its key derivation is weak; replace the file by a new one"
            );
        }
    }

    /// The bytes of the file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the file: an identifier that is independent of the secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

/// Purpose and public fields.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("purpose", &self.stored.purpose)
            .field("public", &self.stored.public)
            .finish_non_exhaustive()
    }
}

impl StoredContainer {
    /// Every field except nonce and ciphertext, each preceded by its length in four bytes, so that the encoding is unique.
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
    BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(SecretFileError::WrongPassword)
}
