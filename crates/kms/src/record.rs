//! Records of keys before sealing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use unit_api::{BlobHeader, Wkid};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::seal::Sealed;
use crate::state::{Denial, permit};
use crate::time::Millis;
use crate::{
    Deletion, KeyAction, KeyId, KeyKind, KeyMetadata, KeyOrigin, KeyState, KeyVersion, KmsError, RecordError,
    Timers, VersionId,
};

/// Most versions of one key, so that its record fits the longest value of the store.
pub(crate) const MAX_VERSIONS: usize = 2000;

/// The record of one key. Fields are never moved or removed; another layout needs a new format number.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) standard: bool,
    pub(crate) imported: bool,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) expires_at: Option<Millis>,
    pub(crate) created_at: Millis,
    pub(crate) created_by: String,
    pub(crate) updated_at: Millis,
    pub(crate) rotated_at: Option<Millis>,
    /// The last disable, enable, delete or restore, with its operation id.
    pub(crate) last_action: Option<LastAction>,
    pub(crate) lifecycle: Lifecycle,
    /// Oldest first, never empty.
    pub(crate) versions: Vec<Version>,
    /// MAC of the request that created the key, to recognise a repeated request.
    pub(crate) request: [u8; 32],
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LastAction {
    pub(crate) at: Millis,
    pub(crate) op: [u8; 16],
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) id: [u8; 16],
    pub(crate) created_at: Millis,
}

/// The stored part of the state; the clock decides whether a key has expired.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Lifecycle {
    /// Not destroyed.
    Live(Live),
    /// Destroyed, with the state that a restore restores.
    Destroyed { was: Live, at: Millis, by: String },
    /// Being removed in several transactions; callers no longer find it.
    Purging,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Live {
    Enabled,
    Disabled,
}

/// The record of a key version, beside the record of its key.
pub(crate) struct BlobRecord {
    /// Key blob of the version; of a standard key, blob of the key that encrypts its material. During a rotation of the
    /// master key, one blob under each master key; each blob names its master key.
    pub(crate) blobs: Vec<Vec<u8>>,
    /// A standard key's material.
    pub(crate) payload: Option<EncryptedPayload>,
}

/// Format 1: a record with one blob.
#[derive(Serialize, Deserialize)]
struct OneBlob {
    blob: Vec<u8>,
    payload: Option<EncryptedPayload>,
}

/// Format 2: a record with several blobs.
#[derive(Serialize, Deserialize)]
struct SeveralBlobs {
    blobs: Vec<Vec<u8>>,
    payload: Option<EncryptedPayload>,
}

impl BlobRecord {
    /// The kind of sealing, and the bytes to seal.
    pub(crate) fn encode(&self) -> (Sealed, Zeroizing<Vec<u8>>) {
        match self.blobs.as_slice() {
            [blob] => (Sealed::Blob, encode(&(blob, &self.payload))),
            blobs => (Sealed::Blobs, encode(&(blobs, &self.payload))),
        }
    }

    pub(crate) fn decode(sealed: Sealed, bytes: &[u8]) -> Result<Self, RecordError> {
        let (blobs, payload) = match sealed {
            Sealed::Blobs => decode(bytes).map(|SeveralBlobs { blobs, payload }| (blobs, payload))?,
            Sealed::Blob | Sealed::Record | Sealed::Counts => {
                decode(bytes).map(|OneBlob { blob, payload }| (vec![blob], payload))?
            }
        };
        if blobs.is_empty() { Err(RecordError::Malformed) } else { Ok(Self { blobs, payload }) }
    }

    /// The blob under this master key.
    pub(crate) fn under(&self, wkid: Wkid) -> Option<&[u8]> {
        self.blobs.iter().find(|blob| BlobHeader::claimed_wkid(blob) == Some(&wkid)).map(Vec::as_slice)
    }
}

/// A standard key's material, encrypted by a unit.
#[derive(Serialize, Deserialize)]
pub(crate) struct EncryptedPayload {
    pub(crate) iv: [u8; engine::AES_GCM_IV_LEN],
    pub(crate) ciphertext: Vec<u8>,
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(postcard::to_allocvec(value).expect("records hold nothing that postcard has no form for"))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(RecordError::Malformed),
    }
}

impl Record {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = decode(bytes)?;
        if record.versions.is_empty() { Err(RecordError::Malformed) } else { Ok(record) }
    }

    pub(crate) const fn kind(&self) -> KeyKind {
        if self.standard { KeyKind::Standard } else { KeyKind::Root }
    }

    /// The present state; `None` after the key was purged.
    pub(crate) fn state(&self, now: Timestamp, timers: &Timers) -> Option<KeyState> {
        match &self.lifecycle {
            Lifecycle::Live(Live::Disabled) => Some(KeyState::Suspended),
            Lifecycle::Live(Live::Enabled) if self.is_expired(now) => Some(KeyState::Deactivated),
            Lifecycle::Live(Live::Enabled) => Some(KeyState::Active),
            Lifecycle::Destroyed { at, .. } if at.after(timers.purged_after) <= now.into() => None,
            Lifecycle::Destroyed { .. } => Some(KeyState::Destroyed),
            Lifecycle::Purging => None,
        }
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now.into())
    }

    /// Refuses an action that the key's kind or state does not permit.
    pub(crate) fn check(&self, action: KeyAction, state: KeyState) -> Result<(), KmsError> {
        permit(self.kind(), state, action).map_err(|denial| match (denial, &self.lifecycle) {
            (Denial::RootKeyRequired, _) => KmsError::RootKeyRequired { action },
            (Denial::Deleted, Lifecycle::Destroyed { at, .. }) => {
                KmsError::KeyDeleted { action, at: at.timestamp() }
            }
            (Denial::Deleted | Denial::WrongState, _) => KmsError::WrongState { action, state },
        })
    }

    /// Refuses an action during the pause after the last lifecycle action.
    pub(crate) fn check_pause(
        &self,
        action: KeyAction,
        now: Timestamp,
        timers: &Timers,
    ) -> Result<(), KmsError> {
        match self.last_action.map(|last| last.at.after(timers.lifecycle_pause)) {
            Some(from) if Millis::from(now) < from => {
                Err(KmsError::TooEarly { action, allowed_from: from.timestamp() })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn latest(&self) -> Version {
        *self.versions.last().expect("decode refuses a record without versions, and nothing removes one")
    }

    pub(crate) fn has_version(&self, id: VersionId) -> bool {
        self.versions.iter().any(|version| version.id() == id)
    }

    /// Whether this operation was the last change of the state.
    pub(crate) fn was_last_changed_by(&self, op: &[u8; 16]) -> bool {
        self.last_action.is_some_and(|last| last.op == *op)
    }

    pub(crate) fn metadata(
        &self,
        id: KeyId,
        state: KeyState,
        now: Timestamp,
        timers: &Timers,
    ) -> KeyMetadata {
        KeyMetadata {
            id,
            kind: self.kind(),
            origin: if self.imported { KeyOrigin::Imported } else { KeyOrigin::Generated },
            name: self.name.clone(),
            description: self.description.clone(),
            aliases: self.aliases.clone(),
            tags: self.tags.clone(),
            state,
            expires_at: self.expires_at.map(Millis::timestamp),
            created_at: self.created_at.timestamp(),
            created_by: self.created_by.clone(),
            updated_at: self.updated_at.timestamp(),
            rotated_at: self.rotated_at.map(Millis::timestamp),
            latest_version: self.latest().shown(),
            version_count: self.versions.len(),
            deletion: match &self.lifecycle {
                Lifecycle::Destroyed { at, by, .. } => Some(self.deletion(*at, by, now, timers)),
                Lifecycle::Live(_) | Lifecycle::Purging => None,
            },
        }
    }

    fn deletion(&self, at: Millis, by: &str, now: Timestamp, timers: &Timers) -> Deletion {
        let now_ms = Millis::from(now);
        let restorable_until = at.after(timers.restore_within);
        let purgeable_from = at.after(timers.purge_after);
        Deletion {
            at: at.timestamp(),
            by: by.to_owned(),
            restorable_until: restorable_until.timestamp(),
            restorable: now_ms <= restorable_until && !self.is_expired(now),
            purgeable_from: purgeable_from.timestamp(),
            purgeable: now_ms >= purgeable_from,
            purged_at: at.after(timers.purged_after).timestamp(),
        }
    }
}

impl Version {
    pub(crate) const fn new(id: VersionId, created_at: Millis) -> Self {
        Self { id: id.0.into_bytes(), created_at }
    }

    pub(crate) const fn id(&self) -> VersionId {
        VersionId(Uuid::from_bytes(self.id))
    }

    pub(crate) fn shown(&self) -> KeyVersion {
        KeyVersion { id: self.id(), created_at: self.created_at.timestamp() }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        BlobRecord, EncryptedPayload, LastAction, Lifecycle, Live, MAX_VERSIONS, Record, Version, encode,
    };
    use crate::seal::Sealed;
    use crate::time::Millis;
    use jiff::Timestamp;

    /// Existing stores depend on these bytes.
    #[test]
    fn wire_a_blob_record_is_as_ever_unless_it_has_two_forms() {
        let payload = || EncryptedPayload { iv: [9; 12], ciphertext: vec![7, 8] };
        let plain = [3, 1, 2, 3, 0];
        let with_payload = [&[3, 1, 2, 3, 1][..], &[9; 12], &[2, 7, 8]].concat();
        for (payload, bytes) in [(None, &plain[..]), (Some(payload()), &with_payload)] {
            let record = BlobRecord { blobs: vec![vec![1, 2, 3]], payload };
            let (kind, encoded) = record.encode();
            assert!(matches!(kind, Sealed::Blob));
            assert_eq!(encoded.as_slice(), bytes);
            assert_eq!(BlobRecord::decode(kind, bytes).unwrap().blobs, [[1, 2, 3]]);
        }
        let record = BlobRecord { blobs: vec![vec![1], vec![2]], payload: Some(payload()) };
        let (kind, encoded) = record.encode();
        assert!(matches!(kind, Sealed::Blobs));
        assert_eq!(encoded.as_slice(), [&[2, 1, 1, 1, 2, 1][..], &[9; 12], &[2, 7, 8]].concat());
        assert_eq!(BlobRecord::decode(kind, &encoded).unwrap().blobs, [[1], [2]]);
        assert!(BlobRecord::decode(Sealed::Blobs, &[0, 0]).is_err(), "a record without a blob");
    }

    #[test]
    fn the_largest_record_fits_a_value_of_the_store() {
        let now = Millis::from(Timestamp::MAX);
        let wide = |chars: usize| "\u{10ffff}".repeat(chars);
        let record = Record {
            standard: false,
            imported: true,
            name: wide(90),
            description: Some(wide(240)),
            aliases: vec![wide(90); 5],
            tags: vec![wide(30); 30],
            expires_at: Some(now),
            created_at: now,
            created_by: wide(1000),
            updated_at: now,
            rotated_at: Some(now),
            last_action: Some(LastAction { at: now, op: [0xff; 16] }),
            lifecycle: Lifecycle::Destroyed { was: Live::Enabled, at: now, by: wide(1000) },
            versions: vec![Version { id: [0xff; 16], created_at: now }; MAX_VERSIONS],
            request: [0xff; 32],
        };
        assert!(encode(&record).len() + 64 < keystore::MAX_VALUE_LEN, "{}", encode(&record).len());
    }
}
