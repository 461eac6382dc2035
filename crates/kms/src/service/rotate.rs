//! Rotation: a new version of a root key.

use jiff::Timestamp;
use keystore::{Keystore, OpId, Revision};

use super::{Attempt, Kms, Loaded, MAX_ATTEMPTS};
use crate::ask;
use crate::call::Budget;
use crate::field::check_payload;
use crate::record::{BlobRecord, MAX_VERSIONS, Record, Version, encode};
use crate::seal::Sealed;
use crate::{
    Action, Call, KeyKind, KeyMetadata, KeyRef, KmsError, Payload, Timers, Units, VersionId, layout,
};

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Makes a new version of a root key: what is wrapped from then on is wrapped under it, and every older version
    /// goes on unwrapping. A generated key gets generated material, an imported key the payload given.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::RotationTooEarly`] within an hour of the last rotation. A repeat with the same `op`
    /// finds the version made and succeeds; with other material it is [`KmsError::OpIdReused`].
    pub async fn rotate(
        &self,
        call: &Call<'_>,
        op: OpId,
        key: &KeyRef,
        payload: Option<Payload>,
    ) -> Result<KeyMetadata, KmsError> {
        let budget = Budget::new(call.deadline);
        // A blob is under the master key that the header names, so that it serves as long as the header stays.
        let mut made: Option<(Revision, Vec<u8>)> = None;
        for _ in 0..MAX_ATTEMPTS {
            let mut loaded = self.load(call, budget, key, |_| Vec::new()).await?;
            let version = new_version(&loaded, call, op, payload.as_ref());
            if loaded.record.has_version(version) {
                return Ok(self.shown(&loaded));
            }
            loaded.instance.check_writable()?;
            loaded.record.check(Action::Rotate, loaded.state)?;
            loaded.record.check_rotation(payload.as_ref(), loaded.now, &self.options.timers)?;
            let blob = match made.take().filter(|(at, _)| *at == loaded.header_at) {
                Some((_, blob)) => blob,
                None => self.root_blob(payload.as_ref(), budget).await?,
            };
            let now = loaded.now.into();
            loaded.record.versions.push(Version::new(version, now));
            loaded.record.rotated_at = Some(now);
            loaded.record.updated_at = now;
            let place = layout::blob(call.instance, loaded.id, version);
            let blob = BlobRecord { blob, payload: None };
            let writes = vec![
                self.put_record(call, &loaded)?,
                self.put(&loaded.instance, Sealed::Blob, place, &encode(&blob))?,
            ];
            let op = loaded.scoped(call, op, Action::Rotate);
            match self.try_commit(loaded.txn(call, op, writes), budget).await? {
                Attempt::Applied => {
                    return loaded.metadata(&self.options.timers).ok_or_else(|| super::not_found(loaded.id));
                }
                Attempt::Replayed => {
                    let loaded = self.load(call, budget, key, |_| Vec::new()).await?;
                    // Unless another attempt came between, it made a version with other material.
                    let this = loaded.record.has_version(version);
                    return if this { Ok(self.shown(&loaded)) } else { Err(KmsError::OpIdReused) };
                }
                Attempt::Lost => made = Some((loaded.header_at, blob.blob)),
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// The blob of a root key's version, with this material or with new.
    pub(super) async fn root_blob(
        &self,
        payload: Option<&Payload>,
        budget: Budget,
    ) -> Result<Vec<u8>, KmsError> {
        let blob = match payload.map(Payload::expose) {
            None => ask::generate(&self.units, ask::cipher_key(32), budget).await?,
            Some(material) => {
                // The length was checked to be 16, 24 or 32.
                let spec = ask::cipher_key(u16::try_from(material.len()).unwrap_or(u16::MAX));
                ask::import(&self.units, spec, material, budget).await?
            }
        };
        Ok(blob)
    }
}

/// The id of the version that this request makes; the same for a repeat of it, and for no other request.
fn new_version(loaded: &Loaded, call: &Call<'_>, op: OpId, payload: Option<&Payload>) -> VersionId {
    let material = payload.map_or(&[][..], Payload::expose);
    let parts: [&[u8]; 5] = [b"version", &op.0, call.caller.as_bytes(), loaded.id.0.as_bytes(), material];
    VersionId(loaded.instance.uuid(&parts))
}

impl Record {
    fn check_rotation(
        &self,
        payload: Option<&Payload>,
        now: Timestamp,
        timers: &Timers,
    ) -> Result<(), KmsError> {
        match payload {
            None if self.imported => return Err(KmsError::PayloadRequired),
            Some(_) if !self.imported => return Err(KmsError::PayloadNotAllowed),
            None => {}
            Some(payload) => check_payload(KeyKind::Root, payload)?,
        }
        if let Some(rotated_at) = self.rotated_at {
            let from = rotated_at.after(timers.rotation_interval);
            if from > now.into() {
                let (rotated_at, allowed_from) = (rotated_at.timestamp(), from.timestamp());
                return Err(KmsError::RotationTooEarly { rotated_at, allowed_from });
            }
        }
        if self.versions.len() >= MAX_VERSIONS {
            return Err(KmsError::LimitReached { what: "versions of a key", limit: MAX_VERSIONS });
        }
        Ok(())
    }
}
