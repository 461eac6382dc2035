//! The journal of a rotation.

use keystore::Key;
use serde::{Deserialize, Serialize};
use unit_api::VerificationPattern;

use super::{RotationId, RotationPhase, RotationStatus};
use crate::RecordError;
use crate::record::{decode, encode};
use crate::seal::InstanceKeys;
use crate::time::Millis;

const FORMAT: u8 = 1;
const TAG_LEN: usize = 32;

/// The journal. Nothing in it is secret; its tag prevents the store from forging it.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) id: RotationId,
    pub(crate) old: VerificationPattern,
    pub(crate) new: VerificationPattern,
    pub(crate) phase: RotationPhase,
    /// First name in the store that the present phase has not processed.
    pub(crate) position: Option<Key>,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) started_at: Millis,
    pub(crate) changed_at: Millis,
}

/// The fields as stored. A new field needs a new format number.
#[derive(Serialize, Deserialize)]
struct StoredJournal {
    id: [u8; 16],
    old: [u8; 32],
    new: [u8; 32],
    phase: u8,
    position: Option<Vec<u8>>,
    done: u64,
    total: u64,
    started_at: Millis,
    changed_at: Millis,
}

impl Journal {
    /// The journal at the beginning of another phase.
    pub(crate) fn in_phase(self, phase: RotationPhase, total: u64, now: Millis) -> Self {
        Self { phase, position: None, done: 0, total, changed_at: now, ..self }
    }

    pub(crate) fn status(&self) -> RotationStatus {
        RotationStatus {
            id: self.id,
            old: self.old,
            new: self.new,
            phase: self.phase,
            done: self.done,
            total: self.total,
            started_at: self.started_at.timestamp(),
            changed_at: self.changed_at.timestamp(),
        }
    }

    /// Format number ‖ body ‖ HMAC-SHA-256 over place and both.
    pub(crate) fn encode(&self, place: &Key, keys: &InstanceKeys) -> Vec<u8> {
        let stored = StoredJournal {
            id: self.id.0,
            old: *self.old.as_bytes(),
            new: *self.new.as_bytes(),
            phase: self.phase as u8,
            position: self.position.as_ref().map(|key| key.0.to_vec()),
            done: self.done,
            total: self.total,
            started_at: self.started_at,
            changed_at: self.changed_at,
        };
        let body = [&[FORMAT][..], &encode(&stored)].concat();
        let tag = keys.header_tag(place, &body);
        [&body[..], &tag].concat()
    }

    pub(crate) fn decode(value: &[u8], place: &Key, keys: &InstanceKeys) -> Result<Self, RecordError> {
        let (body, tag) = value.split_last_chunk::<TAG_LEN>().ok_or(RecordError::Malformed)?;
        let (&format, fields) = body.split_first().ok_or(RecordError::Malformed)?;
        if format != FORMAT {
            return Err(RecordError::Format { found: format, expected: FORMAT });
        }
        if !keys.header_is_authentic(place, body, tag) {
            return Err(RecordError::Forged);
        }
        let stored: StoredJournal = decode(fields)?;
        Ok(Self {
            id: RotationId(stored.id),
            old: VerificationPattern::from_bytes(stored.old),
            new: VerificationPattern::from_bytes(stored.new),
            phase: RotationPhase::from_number(stored.phase).ok_or(RecordError::Malformed)?,
            position: stored.position.map(Key::from),
            done: stored.done,
            total: stored.total,
            started_at: stored.started_at,
            changed_at: stored.changed_at,
        })
    }
}
