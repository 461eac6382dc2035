//! The head of a backup: what can be read without a unit, and the encrypted key of the body.

use engine::{AES_GCM_IV_LEN, AES_GCM_TAG_LEN};
use jiff::Timestamp;
use keystore::{Revision, StoreIdentity};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use unit_api::VerificationPattern;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::BackupError;
use crate::call::TimeBudget;
use crate::record::{decode, encode};
use crate::replica::SourcePosition;
use crate::variants::BlobVariants;
use crate::{InstanceHeader, InstanceId, InstanceMark, Units, UnitsError, ask};

const MAGIC: [u8; 8] = *b"hsm-bkup";
const FORMAT: u32 = 1;
/// Magic number, format number, length of the fields.
pub(super) const FRONT_LEN: usize = MAGIC.len() + 4 + 4;
/// Longest fields: two key blobs, and a name.
const MAX_FIELDS_LEN: usize = 16 * 1024;
const KEY_LEN: usize = 32;
const SEALED_KEY_LEN: usize = KEY_LEN + AES_GCM_TAG_LEN;
const CHECKSUM_LEN: usize = 32;
/// What follows the fields: IV and encrypted key, checksum.
const END_LEN: usize = AES_GCM_IV_LEN + SEALED_KEY_LEN + CHECKSUM_LEN;
/// Precedes the hash of the fields in the associated data of the encrypted key.
const KEY_LABEL: &[u8] = b"hsm-sim backup key v1";
/// Longest name of a region, in bytes.
pub const MAX_REGION_LEN: usize = 64;

/// What anyone can read of a backup. Authentic only once units have opened the key of the backup.
#[derive(Clone, Debug)]
pub struct BackupHeader {
    /// The instance.
    pub instance: InstanceId,
    /// Name of the region in which it was made.
    pub region: String,
    /// Store and revision whose state it has.
    pub at: SourcePosition,
    /// When it was made, by the service's clock, in whole milliseconds.
    pub made_at: Timestamp,
    /// How far the instance had come, with its epoch.
    pub mark: InstanceMark,
    /// Number of keys, including destroyed ones.
    pub keys: u64,
    /// Number of entries of the store.
    pub entries: u64,
    /// SHA-256 over the entries in order, each key and value preceded by its length in 8 bytes.
    pub sha256: [u8; 32],
    /// Verification pattern of the master key.
    pub pattern: VerificationPattern,
    /// Verification pattern of the master key that a rotation led to. Either opens the backup.
    pub next_pattern: Option<VerificationPattern>,
    /// The instance's root key under these master keys.
    pub(super) root_blob: Vec<u8>,
    pub(super) next_root_blob: Option<Vec<u8>>,
}

/// The fields as stored. A new field needs a new format number.
#[derive(Serialize, Deserialize)]
struct StoredFields {
    instance: [u8; 16],
    region: String,
    store: [u8; 16],
    revision: u64,
    made_at_ms: i64,
    born: u64,
    epoch: u64,
    changes: u64,
    keys: u64,
    entries: u64,
    sha256: [u8; 32],
    pattern: [u8; 32],
    root_blob: Vec<u8>,
    next: Option<([u8; 32], Vec<u8>)>,
}

/// The key of a backup's body, AES-256. Zeroized on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct BodyKey(Box<[u8; KEY_LEN]>);

impl BodyKey {
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new([0; KEY_LEN]));
        if bytes.len() != KEY_LEN {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    pub(super) const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// A key that a unit has drawn.
    pub(super) async fn draw<U: Units>(units: &U, budget: TimeBudget) -> Result<Self, UnitsError> {
        let drawn = ask::random(units, KEY_LEN as u16, budget).await?;
        Ok(Self::from_slice(&drawn).expect("a unit gives as many bytes as it is asked for"))
    }
}

/// The key of the body, encrypted by a unit.
#[derive(Clone, Debug)]
pub(super) struct SealedKey {
    iv: [u8; AES_GCM_IV_LEN],
    ciphertext: [u8; SEALED_KEY_LEN],
}

/// Header, encrypted key, and the checksum that the parts of the body are bound to.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) header: BackupHeader,
    key: SealedKey,
    pub(super) checksum: [u8; CHECKSUM_LEN],
}

impl BackupHeader {
    fn encode(&self) -> Vec<u8> {
        let stored = StoredFields {
            instance: self.instance.0.into_bytes(),
            region: self.region.clone(),
            store: self.at.source.0,
            revision: self.at.revision.0,
            made_at_ms: self.made_at.as_millisecond(),
            born: self.mark.born,
            epoch: self.mark.epoch,
            changes: self.mark.changes,
            keys: self.keys,
            entries: self.entries,
            sha256: self.sha256,
            pattern: *self.pattern.as_bytes(),
            root_blob: self.root_blob.clone(),
            next: self.next_pattern.map(|pattern| *pattern.as_bytes()).zip(self.next_root_blob.clone()),
        };
        let fields = encode(&stored);
        let len = u32::try_from(fields.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&MAGIC[..], &FORMAT.to_be_bytes(), &len, &fields].concat()
    }

    fn decode(fields: &[u8]) -> Option<Self> {
        let stored: StoredFields = decode(fields).ok()?;
        let (next_pattern, next_root_blob) = stored.next.unzip();
        Some(Self {
            instance: InstanceId(Uuid::from_bytes(stored.instance)),
            region: Some(stored.region).filter(|region| is_name(region))?,
            at: SourcePosition { source: StoreIdentity(stored.store), revision: Revision(stored.revision) },
            made_at: Timestamp::from_millisecond(stored.made_at_ms).ok()?,
            mark: InstanceMark { born: stored.born, epoch: stored.epoch, changes: stored.changes },
            keys: stored.keys,
            entries: stored.entries,
            sha256: stored.sha256,
            pattern: VerificationPattern::from_bytes(stored.pattern),
            next_pattern: next_pattern.map(VerificationPattern::from_bytes),
            root_blob: stored.root_blob,
            next_root_blob,
        })
    }

    /// Whether a unit with this master key opens the backup.
    #[must_use]
    pub fn is_under(&self, held: VerificationPattern) -> bool {
        held.is_of_same_key(&self.pattern) || self.next_pattern.is_some_and(|next| held.is_of_same_key(&next))
    }

    /// The blobs of the root key.
    fn root(&self) -> BlobVariants<'_> {
        BlobVariants { first: &self.root_blob, second: self.next_root_blob.as_deref() }
    }

    /// As the header of the instance says which root key there is.
    pub(super) fn set_root(&mut self, header: &InstanceHeader) {
        self.pattern = header.pattern();
        self.root_blob.clone_from(&header.proof.root_blob);
        self.next_pattern = header.next.as_ref().map(|next| next.proof.pattern);
        self.next_root_blob = header.next.as_ref().map(|next| next.proof.root_blob.clone());
    }
}

/// Whether a region can have this name: it is shown to people.
pub(super) fn is_name(region: &str) -> bool {
    (1..=MAX_REGION_LEN).contains(&region.len()) && region.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Head {
    /// Encrypts the key of the body for this header by a unit. Returns the head and its bytes.
    pub(super) async fn seal<U: Units>(
        header: BackupHeader,
        key: &BodyKey,
        units: &U,
        budget: TimeBudget,
    ) -> Result<(Self, Vec<u8>), UnitsError> {
        let bytes = header.encode();
        let sealed = ask::encrypt(units, header.root(), &key_aad(&bytes), key.expose(), budget).await?;
        let found = "a ciphertext of another length";
        let ciphertext =
            sealed.ciphertext.try_into().map_err(|_| UnitsError::Unexpected { command: "Encrypt", found })?;
        let mut head =
            Self { header, key: SealedKey { iv: sealed.iv, ciphertext }, checksum: [0; CHECKSUM_LEN] };
        head.checksum = Self::checksum_of(&head.body());
        let bytes = head.encode();
        Ok((head, bytes))
    }

    /// What the checksum is over.
    fn body(&self) -> Vec<u8> {
        [&self.header.encode()[..], &self.key.iv, &self.key.ciphertext].concat()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.body()[..], &self.checksum].concat()
    }

    pub(super) fn checksum_of(body: &[u8]) -> [u8; CHECKSUM_LEN] {
        Sha256::digest(body).into()
    }

    /// Length of the head, by its first bytes.
    pub(super) fn len(front: &[u8; FRONT_LEN]) -> Result<usize, BackupError> {
        let (magic, rest) = front.split_first_chunk::<8>().ok_or(BackupError::NotABackup)?;
        let (format, len) = rest.split_first_chunk::<4>().ok_or(BackupError::NotABackup)?;
        if *magic != MAGIC {
            return Err(BackupError::NotABackup);
        }
        let found = u32::from_be_bytes(*format);
        if found != FORMAT {
            return Err(BackupError::Format { found, expected: FORMAT });
        }
        let len = len.first_chunk().map_or(usize::MAX, |len| u32::from_be_bytes(*len) as usize);
        if len > MAX_FIELDS_LEN { Err(BackupError::HeaderDamaged) } else { Ok(FRONT_LEN + len + END_LEN) }
    }

    /// Decodes a head. The checksum finds damage, not forgery: that is found when a unit opens the key.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        let damaged = || BackupError::HeaderDamaged;
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(BackupError::Truncated)?;
        let front = body.first_chunk::<FRONT_LEN>().ok_or(BackupError::Truncated)?;
        if Self::len(front)? != bytes.len() || Self::checksum_of(body) != *checksum {
            return Err(damaged());
        }
        let (rest, ciphertext) = body.split_last_chunk().ok_or_else(damaged)?;
        let (fields, iv) = rest.split_last_chunk().ok_or_else(damaged)?;
        let fields = fields.get(FRONT_LEN..).ok_or_else(damaged)?;
        let header = BackupHeader::decode(fields).ok_or_else(damaged)?;
        let key = SealedKey { iv: *iv, ciphertext: *ciphertext };
        // As it is written: one header has one form.
        let head = Self { header, key, checksum: *checksum };
        if head.header.encode().get(FRONT_LEN..) == Some(fields) { Ok(head) } else { Err(damaged()) }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of_nothing() -> Self {
        let header = BackupHeader {
            instance: InstanceId(Uuid::nil()),
            region: "us-south".to_owned(),
            at: SourcePosition { source: StoreIdentity([1; 16]), revision: Revision(2) },
            made_at: Timestamp::UNIX_EPOCH,
            mark: InstanceMark { born: 3, epoch: 4, changes: 5 },
            keys: 6,
            entries: 7,
            sha256: [8; 32],
            pattern: VerificationPattern::from_bytes([9; 32]),
            next_pattern: None,
            root_blob: vec![10; 3],
            next_root_blob: None,
        };
        let key = SealedKey { iv: [11; AES_GCM_IV_LEN], ciphertext: [12; SEALED_KEY_LEN] };
        let mut head = Self { header, key, checksum: [0; CHECKSUM_LEN] };
        head.checksum = Self::checksum_of(&head.body());
        head
    }

    /// Opens the key of the body by a unit.
    pub(super) async fn open_key<U: Units>(
        &self,
        units: &U,
        budget: TimeBudget,
    ) -> Result<BodyKey, BackupError> {
        let aad = key_aad(&self.header.encode());
        let SealedKey { iv, ciphertext } = &self.key;
        let opened = ask::decrypt(units, self.header.root(), *iv, &aad, ciphertext, budget).await;
        let opened: Option<Zeroizing<Vec<u8>>> = match opened {
            // The blob of the root key is not what a unit made of it.
            Err(UnitsError::Refused(refusal)) if !refusal.is_retryable() && !refusal.is_key_mismatch() => {
                None
            }
            opened => opened?,
        };
        opened.and_then(|key| BodyKey::from_slice(&key)).ok_or(BackupError::KeyInvalid)
    }
}

fn key_aad(fields: &[u8]) -> Vec<u8> {
    [KEY_LABEL, &Sha256::digest(fields)[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::Head;
    use sha2::{Digest, Sha256};

    /// Existing backups depend on these bytes.
    #[test]
    fn wire_the_head_is_the_documented_one() {
        let head = Head::of_nothing();
        let fields = [
            &[0; 16][..],
            &[8],
            b"us-south",
            &[1; 16],
            &[2, 0, 3, 4, 5, 6, 7],
            &[8; 32],
            &[9; 32],
            &[3, 10, 10, 10],
            &[0],
        ]
        .concat();
        let front = [&b"hsm-bkup"[..], &[0, 0, 0, 1], &(fields.len() as u32).to_be_bytes()].concat();
        let body = [&front[..], &fields, &[11; 12], &[12; 48]].concat();
        assert_eq!(head.encode(), [&body[..], &Sha256::digest(&body)].concat());
        let read = Head::decode(&head.encode()).unwrap();
        assert_eq!(read.encode(), head.encode());
        let aad = [&b"hsm-sim backup key v1"[..], &Sha256::digest([&front[..], &fields].concat())].concat();
        assert_eq!(super::key_aad(&head.header.encode()), aad);
    }
}
