//! The file of a card: its content, its lock, and its PIN tries.

use super::{CardError, Serial, ZoneId};
use crate::private_file;
use crate::secret_file::{
    KdfCost, MAX_SECRET_FILE_LEN, Password, PublicFields, SecretFile, SecretFileError, random,
};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wire::text::decode_hex;
use zeroize::Zeroizing;

const FORMAT: &str = "hsm-sim smart card";
const VERSION: u32 = 1;
const PIN_PURPOSE: &str = "PIN of a smart card";
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// Kind of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Ca,
    Ep11,
}

impl Kind {
    /// Number of wrong PINs until the card is blocked.
    const fn tries(self) -> u8 {
        match self {
            Self::Ca => 5,
            Self::Ep11 => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Ep11 => "ep11",
        }
    }

    const fn blocked(self) -> CardError {
        match self {
            Self::Ca => CardError::PermanentlyBlocked,
            Self::Ep11 => CardError::Blocked,
        }
    }
}

/// Key under which the content of a card is encrypted. Stored under the PIN, and on EP11 cards also under the unblocking
/// key of the zone.
pub(super) type ContentKey = Zeroizing<[u8; 32]>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCardFile {
    format: String,
    version: u32,
    kind: Kind,
    serial: String,
    zone: String,
    tries_left: u8,
    /// Simulates the secret that the hardware of a real card combines with the PIN.
    device_secret: String,
    /// The content key under the PIN; `None` once a CA card is blocked.
    pin: Option<serde_json::Value>,
    /// The content key, sealed for the unblocking key of the zone; `None` on a CA card.
    unblock: Option<String>,
    nonce: String,
    content: String,
}

/// An inserted card. No other process can insert it until it is dropped.
pub(super) struct Store {
    path: PathBuf,
    stored: StoredCardFile,
    pub(super) serial: Serial,
    pub(super) zone: ZoneId,
    _lock: File,
}

/// Content of a new card.
pub(super) struct NewCard<'a> {
    pub(super) kind: Kind,
    pub(super) serial: Serial,
    pub(super) zone: ZoneId,
    pub(super) pins: &'a [u8],
    pub(super) cost: KdfCost,
    pub(super) content_key: &'a ContentKey,
    pub(super) unblock: Option<Vec<u8>>,
    pub(super) content: &'a [u8],
}

impl Store {
    /// Creates a card in a new file.
    pub(super) fn create(path: &Path, new: &NewCard<'_>) -> Result<(), CardError> {
        let device_secret = BASE64.encode(random::<32>()?);
        let mut stored = StoredCardFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            kind: new.kind,
            serial: new.serial.to_string(),
            zone: new.zone.to_string(),
            tries_left: new.kind.tries(),
            pin: Some(wrap(&device_secret, new.pins, new.cost, new.content_key)?),
            device_secret,
            unblock: new.unblock.as_ref().map(|sealed| BASE64.encode(sealed)),
            nonce: String::new(),
            content: String::new(),
        };
        stored.seal_content(new.content_key, new.content)?;
        private_file::create(path, &stored.to_bytes()?).map_err(disk_error(path))
    }

    /// Inserts a card.
    pub(super) fn insert(path: &Path, kind: Kind) -> Result<Self, CardError> {
        // A change replaces the file of the card, so that the lock has to be on another file.
        let lock_path = private_file::folder(path).join(lock_name(path)?);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(disk_error(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CardError::InUse),
            Err(TryLockError::Error(source)) => return Err(disk_error(&lock_path)(source)),
        }
        let bytes = private_file::read(path, MAX_SECRET_FILE_LEN).map_err(disk_error(path))?;
        let stored: StoredCardFile = serde_json::from_slice(&bytes)
            .map_err(|_| CardError::InvalidFormat("it is not the expected JSON"))?;
        if stored.format != FORMAT || stored.version != VERSION {
            return Err(CardError::InvalidFormat("it has another format or version"));
        }
        if stored.kind != kind {
            return Err(CardError::InvalidFormat("it is a card of the other kind"));
        }
        let serial = decode_hex(&stored.serial).map(|bytes| Serial(*bytes)).ok_or(CardError::Damaged)?;
        let zone = decode_hex(&stored.zone).map(|bytes| ZoneId(*bytes)).ok_or(CardError::Damaged)?;
        Ok(Self { path: path.to_owned(), stored, serial, zone, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn tries_left(&self) -> u8 {
        self.stored.tries_left
    }

    /// Counts one try, durably, and returns the card for a check of its PIN.
    pub(super) fn count_try(mut self) -> Result<Counted, CardError> {
        let Some(left) = self.stored.tries_left.checked_sub(1) else {
            self.erase_if_permanently_blocked()?;
            return Err(self.stored.kind.blocked());
        };
        self.stored.tries_left = left;
        self.save()?;
        Ok(Counted(self))
    }

    /// Erases the wrapped content key of a CA card that has no try left.
    fn erase_if_permanently_blocked(&mut self) -> Result<(), CardError> {
        if self.stored.kind == Kind::Ca && self.stored.pin.is_some() {
            self.stored.pin = None;
            self.save()?;
        }
        Ok(())
    }

    /// The content key, sealed for the unblocking key of the zone.
    pub(super) fn unblock_wrap(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.stored.unblock.as_ref()?).ok()
    }

    /// Sets a new PIN and restores all tries.
    pub(super) fn renew_pin(&mut self, pin: &[u8], cost: KdfCost, key: &ContentKey) -> Result<(), CardError> {
        self.stored.pin = Some(wrap(&self.stored.device_secret, pin, cost, key)?);
        self.stored.tries_left = self.stored.kind.tries();
        self.save()
    }

    pub(super) fn open_content(&self, key: &ContentKey) -> Result<Zeroizing<Vec<u8>>, CardError> {
        self.stored.open_content(key).ok_or(CardError::Damaged)
    }

    /// Replaces the content. On failure the card is unchanged, on disk and in memory.
    pub(super) fn replace_content(&mut self, key: &ContentKey, content: &[u8]) -> Result<(), CardError> {
        let before = (self.stored.nonce.clone(), self.stored.content.clone());
        let saved = self.stored.seal_content(key, content).and_then(|()| self.save());
        if saved.is_err() {
            (self.stored.nonce, self.stored.content) = before;
        }
        saved
    }

    fn save(&self) -> Result<(), CardError> {
        private_file::replace(&self.path, &self.stored.to_bytes()?).map_err(disk_error(&self.path))
    }
}

/// A card for which one try was counted.
pub(super) struct Counted(Store);

impl Counted {
    /// Checks the PIN. The correct one restores all tries, durably, before anything is decrypted.
    pub(super) fn check(self, pins: &[u8]) -> Result<(Store, ContentKey), CardError> {
        let Self(mut store) = self;
        let wrapped = store.stored.pin.as_ref().ok_or(CardError::Damaged)?;
        let file = SecretFile::parse(serde_json::to_vec(wrapped).map_err(|_| CardError::Damaged)?)?;
        match unwrap(&store.stored.device_secret, pins, &file)? {
            Some(key) => {
                file.warn_if_weak(&store.path);
                store.stored.tries_left = store.stored.kind.tries();
                store.save()?;
                Ok((store, key))
            }
            None => {
                let tries_left = store.stored.tries_left;
                if tries_left == 0 {
                    store.erase_if_permanently_blocked()?;
                }
                Err(CardError::WrongPin { tries_left })
            }
        }
    }
}

impl StoredCardFile {
    fn seal_content(&mut self, key: &ContentKey, content: &[u8]) -> Result<(), CardError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(content.len().saturating_add(TAG_LEN)));
        sealed.extend_from_slice(content);
        let tag = Aes256Gcm::new((&**key).into())
            .encrypt_inout_detached(&Nonce::from(nonce), &self.header(), sealed.as_mut_slice().into())
            .map_err(|_| CardError::System)?;
        sealed.extend_from_slice(&tag);
        self.nonce = BASE64.encode(nonce);
        self.content = BASE64.encode(&*sealed);
        Ok(())
    }

    fn open_content(&self, key: &ContentKey) -> Option<Zeroizing<Vec<u8>>> {
        let nonce: [u8; NONCE_LEN] = BASE64.decode(&self.nonce).ok()?.try_into().ok()?;
        let sealed = BASE64.decode(&self.content).ok()?;
        let (content, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut content = Zeroizing::new(content.to_vec());
        Aes256Gcm::new((&**key).into())
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                &self.header(),
                content.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(content)
    }

    /// Associated data of the content: the identity of the card.
    fn header(&self) -> Vec<u8> {
        [self.format.as_str(), self.kind.name(), &self.serial, &self.zone].join("\0").into_bytes()
    }

    fn to_bytes(&self) -> Result<Vec<u8>, CardError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|_| CardError::System)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn wrap(
    device_secret: &str,
    pins: &[u8],
    cost: KdfCost,
    key: &ContentKey,
) -> Result<serde_json::Value, CardError> {
    let password = password(device_secret, pins);
    let file = SecretFile::seal(PIN_PURPOSE, PublicFields::new(), &password, cost, key.as_slice())?;
    serde_json::from_slice(file.as_bytes()).map_err(|_| CardError::System)
}

/// The content key, or `None` if the PIN is wrong.
fn unwrap(device_secret: &str, pins: &[u8], file: &SecretFile) -> Result<Option<ContentKey>, CardError> {
    match file.open(PIN_PURPOSE, &password(device_secret, pins)) {
        Ok(key) => {
            let key = key.as_slice().try_into().map_err(|_| CardError::Damaged)?;
            Ok(Some(Zeroizing::new(key)))
        }
        Err(SecretFileError::WrongPassword) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Device secret and PINs have fixed lengths, so that no two pairs give the same password.
fn password(device_secret: &str, pins: &[u8]) -> Password {
    let mut bytes = Zeroizing::new(Vec::with_capacity(device_secret.len().saturating_add(pins.len())));
    bytes.extend_from_slice(device_secret.as_bytes());
    bytes.extend_from_slice(pins);
    Password::from_bytes(bytes)
}

fn lock_name(path: &Path) -> Result<std::ffi::OsString, CardError> {
    let name = path.file_name().ok_or(CardError::InvalidFormat("a card is a file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".inserted");
    Ok(hidden)
}

pub(super) fn disk_error(path: &Path) -> impl FnOnce(std::io::Error) -> CardError {
    let path = path.to_owned();
    move |source| CardError::Disk { path, source }
}

/// Errors of the container that wraps the content key.
impl From<SecretFileError> for CardError {
    fn from(error: SecretFileError) -> Self {
        match error {
            SecretFileError::Disk { path, source } => Self::Disk { path, source },
            SecretFileError::InvalidFormat(_)
            | SecretFileError::WrongPurpose { .. }
            | SecretFileError::WrongPassword
            | SecretFileError::PasswordTooShort => Self::Damaged,
            SecretFileError::System => Self::System,
        }
    }
}
