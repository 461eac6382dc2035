//! Rotation: a new version of a root key.

use jiff::Timestamp;
use keystore::{Keystore, OpId, Revision};
use unit_api::{Command, Variants};

use super::{CommitOutcome, Kms, LoadedKey, MAX_ATTEMPTS, MAX_MOVES, OpenInstance};
use crate::ask;
use crate::call::TimeBudget;
use crate::field::check_payload;
use crate::record::{BlobRecord, MAX_VERSIONS, Record, Version};
use crate::{
    Call, KeyAction, KeyKind, KeyMetadata, KeyRef, KmsError, Payload, Timers, Units, VersionId, layout,
};

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Makes a new version of a root key. The new version wraps from then on, and every older version still unwraps. A
    /// generated key gets generated material, an imported key the given payload.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::RotationTooEarly`] within an hour of the last rotation. A repeat with the same `op` and
    /// material succeeds; with other material it is [`KmsError::OpIdReused`].
    pub async fn rotate(
        &self,
        call: &Call<'_>,
        op: OpId,
        key: &KeyRef,
        payload: Option<Payload>,
    ) -> Result<KeyMetadata, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        // A blob is under the master key in the header, so that it stays usable while the header is unchanged.
        let mut made: Option<(Revision, BlobRecord)> = None;
        for _ in 0..MAX_ATTEMPTS {
            let mut loaded = self.load(call, budget, key, |_| Vec::new()).await?;
            let version = new_version(&loaded, call, op, payload.as_ref());
            if loaded.record.has_version(version) {
                self.note_change(call, loaded.record_at);
                return Ok(self.shown(&loaded));
            }
            loaded.instance.check_writable()?;
            loaded.record.check(KeyAction::Rotate, loaded.state)?;
            self.check_rotation_profile(&loaded.instance, "rotating a key")?;
            loaded.record.check_rotation(payload.as_ref(), loaded.now, &self.options.timers)?;
            let blob = match made.take().filter(|(at, _)| *at == loaded.header_at) {
                Some((_, blob)) => blob,
                None => match self.root_blobs(&loaded.instance, payload.as_ref(), budget).await {
                    Ok(blobs) => BlobRecord { blobs, payload: None },
                    Err(_) if self.has_moved(call, budget, loaded.header_at).await => continue,
                    Err(error) => return Err(error),
                },
            };
            let now = loaded.now.into();
            loaded.record.versions.push(Version::new(version, now));
            loaded.record.rotated_at = Some(now);
            loaded.record.updated_at = now;
            let place = layout::blob(call.instance, loaded.id, version);
            let writes = vec![self.put_record(call, &loaded)?, self.put_blob(&loaded.own, place, &blob)?];
            let op = loaded.scoped(call, op, KeyAction::Rotate);
            match self.commit_key(call, budget, &loaded, op, writes).await? {
                CommitOutcome::Applied(at) => {
                    self.log_change(call, loaded.id, KeyAction::Rotate, at);
                    return loaded.metadata(&self.options.timers).ok_or_else(|| super::not_found(loaded.id));
                }
                CommitOutcome::Replayed(at) => {
                    self.note_change(call, at);
                    let loaded = self.load(call, budget, key, |_| Vec::new()).await?;
                    // If the version is missing, the operation made one with other material.
                    let this = loaded.record.has_version(version);
                    return if this { Ok(self.shown(&loaded)) } else { Err(KmsError::OpIdReused) };
                }
                CommitOutcome::Lost => made = Some((loaded.header_at, blob)),
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// The blobs of a new version of a root key, with this material or generated.
    pub(super) async fn root_blobs(
        &self,
        instance: &OpenInstance,
        payload: Option<&Payload>,
        budget: TimeBudget,
    ) -> Result<Vec<Vec<u8>>, KmsError> {
        let command = match payload.map(Payload::expose) {
            None => Command::GenerateKey { spec: ask::cipher_key(32) },
            Some(value) => {
                // The length was checked to be 16, 24 or 32.
                let spec = ask::cipher_key(u16::try_from(value.len()).unwrap_or(u16::MAX));
                Command::ImportKey { spec, value }
            }
        };
        self.new_blobs(instance, command, budget).await
    }

    /// The blobs of the key that this command makes: one, or one under each master key during a rotation. Under the new master
    /// key alone only while units are being activated, and no unit that can re-encipher is left.
    pub(super) async fn new_blobs(
        &self,
        instance: &OpenInstance,
        command: Command<'_>,
        budget: TimeBudget,
    ) -> Result<Vec<Vec<u8>>, KmsError> {
        let header = &instance.header;
        let current = header.pattern().wkid();
        let Some(next) = &header.next else {
            return Ok(vec![ask::blob_under(&self.units, &Variants::of(command), current, budget).await?]);
        };
        let new = next.proof.pattern.wkid();
        let under_current = Variants::under(current, command);
        if !next.activating {
            let blob = ask::blob_under(&self.units, &under_current, current, budget).await?;
            let second = self.reencipher(&blob, new, budget).await?;
            return Ok(vec![blob, second]);
        }
        let mut tries = 1;
        loop {
            let (blob, wkid) = ask::blob(&self.units, &under_current.else_under(new), budget).await?;
            if wkid == new {
                return Ok(vec![blob]);
            }
            // The unit that could re-encipher may be activated first; then its blob is discarded and another one made. The
            // whole deadline must not be spent on it.
            match self.reencipher(&blob, new, budget.share(4)).await {
                Ok(second) => return Ok(vec![blob, second]),
                Err(_) if tries < MAX_MOVES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The id of the new version, derived from the request, so that a repeat has the same id.
fn new_version(loaded: &LoadedKey, call: &Call<'_>, op: OpId, payload: Option<&Payload>) -> VersionId {
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
