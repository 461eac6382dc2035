//! Creation: generated or imported, root or standard.

use jiff::Timestamp;
use keystore::{Cond, Keystore, OpId, Revision, SecretId, Txn};
use tracing::debug;
use unit_api::Command;

use super::secrets::owner;
use super::{CommitOutcome, InstanceView, Kms, MAX_ATTEMPTS, OpenInstance, first_16, not_found};
use crate::ask::{self, Encrypted};
use crate::call::TimeBudget;
use crate::record::{BlobRecord, EncryptedPayload, Lifecycle, Live, Record, Version, encode};
use crate::seal::{OwnKey, Sealed};
use crate::time::Millis;
use crate::{Call, KeyId, KeyKind, KeyMetadata, KmsError, NewKey, Payload, Units, layout};

/// Length of the material of a standard key that is not imported, in bytes.
const GENERATED_STANDARD_LEN: u16 = 32;

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Creates an active key. Repeated creations by one caller with one `op` create one key.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::AliasNotUnique`], [`KmsError::OpIdReused`] when `op` has created a different key.
    pub async fn create_key(&self, call: &Call<'_>, op: OpId, new: NewKey) -> Result<KeyMetadata, KmsError> {
        let mut drawn = None;
        let outcome = self.create_within(call, op, new, &mut drawn).await;
        if let Some(secret) = drawn.filter(|_| !matches!(outcome, Err(KmsError::OutcomeUnknown(_)))) {
            self.store.release_secret(owner(call.instance), secret);
        }
        outcome
    }

    /// `drawn` is the secret of the new key, unless it is, or may be, in use.
    async fn create_within(
        &self,
        call: &Call<'_>,
        op: OpId,
        new: NewKey,
        drawn: &mut Option<SecretId>,
    ) -> Result<KeyMetadata, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        new.check(self.now())?;
        // A blob is under the master key in the header, so that it stays usable while the header is unchanged.
        let mut made: Option<(Revision, BlobRecord)> = None;
        let mut instance = match self.known(call.instance) {
            Some(instance) => instance,
            None => self.view(call, budget, &[]).await?.instance,
        };
        for _ in 0..MAX_ATTEMPTS {
            let id = KeyId(instance.uuid(&[b"key", &op.0, call.caller.as_bytes()]));
            let request = new.request(&instance);
            let names = places(call, &instance, id, &new);
            let view = self.view(call, budget, &names).await?;
            if view.instance.header.proof.commitment != instance.header.proof.commitment {
                // The instance was created again since it was opened, so that all names have changed.
                instance = view.instance;
                continue;
            }
            if let Some(found) = self.find_created(budget, &view, id, &request).await? {
                // The key may have changed since, so that this is the newest revision that may be meant.
                self.note_change(call, view.at);
                return Ok(found);
            }
            view.instance.check_writable()?;
            self.check_rotation_profile(&view.instance, "creating a key")?;
            if let Some((alias, _)) =
                new.aliases.iter().zip(view.entries.iter().skip(1)).find(|(_, owner)| owner.is_some())
            {
                return Err(KmsError::AliasNotUnique { alias: alias.clone() });
            }
            let blob = match made.take().filter(|(at, _)| *at == view.header_at) {
                Some((_, blob)) => blob,
                None => match self.material(call, &view.instance, id, &new, budget).await {
                    Ok(blob) => blob,
                    Err(_) if self.has_moved(call, budget, view.header_at).await => continue,
                    Err(error) => return Err(error),
                },
            };
            let now = self.now();
            let record = new.record(id, call.caller, now, request);
            // Derived again with each attempt: the instance may have a new secret.
            let own = match *drawn {
                Some(secret) => self.own_key(budget, &view.instance, secret).await?,
                None => Some(self.draw_own_key(call, budget, &view.instance).await?),
            };
            let own = own.ok_or(KmsError::InstanceNotFound(call.instance))?;
            *drawn = Some(own.id());
            let txn = self.creation(call, op, (&view, &own), id, (&record, &blob, &names))?;
            match self.commit_listed(call, budget, (&view.instance, &view.index), txn).await? {
                CommitOutcome::Applied(at) => {
                    *drawn = None;
                    debug!(instance = %call.instance, key = %id, revision = at.0, "key created");
                    self.note_change(call, at);
                    let timers = &self.options.timers;
                    let state = record.state(now, timers).ok_or_else(|| not_found(id))?;
                    return Ok(record.metadata(id, state, now, timers));
                }
                CommitOutcome::Replayed(at) => {
                    // The store may have applied it with this key.
                    *drawn = None;
                    self.note_change(call, at);
                    return self.metadata_within(call, budget, &id.into()).await;
                }
                CommitOutcome::Lost => made = Some((view.header_at, blob)),
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// The key that an earlier attempt has created, if any.
    async fn find_created(
        &self,
        budget: TimeBudget,
        view: &InstanceView,
        id: KeyId,
        request: &[u8; 32],
    ) -> Result<Option<KeyMetadata>, KmsError> {
        let Some(entry) = view.entries.first().and_then(Option::as_ref) else { return Ok(None) };
        let opened = self.open_record(budget, &view.instance, entry).await?;
        let (record, _) = opened.ok_or_else(|| not_found(id))?;
        if record.request != *request {
            return Err(KmsError::OpIdReused);
        }
        let (now, timers) = (self.now(), &self.options.timers);
        let state = record.state(now, timers).ok_or_else(|| not_found(id))?;
        Ok(Some(record.metadata(id, state, now, timers)))
    }

    fn creation(
        &self,
        call: &Call<'_>,
        op: OpId,
        (view, own): (&InstanceView, &OwnKey),
        id: KeyId,
        (record, blob, names): (&Record, &BlobRecord, &[keystore::Key]),
    ) -> Result<Txn, KmsError> {
        let instance = &view.instance;
        let op = OpId(first_16(&instance.keys.name(&[b"create", &op.0, call.caller.as_bytes()])));
        let mut conds = vec![Cond::Unchanged(layout::header(call.instance), view.header_at)];
        conds.extend(names.iter().cloned().map(Cond::Absent));
        let blob_place = layout::blob(call.instance, id, id.first_version());
        let mut writes = vec![self.put_blob(own, blob_place, blob)?];
        let mut places = names.iter().cloned();
        if let Some(place) = places.next() {
            writes.push(self.put_own(own, Sealed::Record, place, &encode(record))?);
        }
        for alias in places {
            writes.push(self.put_alias(instance, alias, id)?);
        }
        Ok(Txn { op, conds, writes })
    }

    async fn material(
        &self,
        call: &Call<'_>,
        instance: &OpenInstance,
        id: KeyId,
        new: &NewKey,
        budget: TimeBudget,
    ) -> Result<BlobRecord, KmsError> {
        match new.kind {
            KeyKind::Root => {
                let blobs = self.root_blobs(instance, new.payload.as_ref(), budget).await?;
                Ok(BlobRecord { blobs, payload: None })
            }
            KeyKind::Standard => {
                let generate = Command::GenerateKey { spec: ask::cipher_key(32) };
                let blobs = self.new_blobs(instance, generate, budget).await?;
                let generated = match &new.payload {
                    Some(_) => None,
                    None => Some(ask::random(&self.units, GENERATED_STANDARD_LEN, budget).await?),
                };
                let material = match (&new.payload, &generated) {
                    (Some(payload), _) => payload.expose(),
                    (None, Some(generated)) => generated,
                    (None, None) => &[],
                };
                let aad = payload_aad(call, id);
                let key = instance.header.serving(&blobs);
                let Encrypted { iv, ciphertext } =
                    ask::encrypt(&self.units, key, &aad, material, budget).await?;
                Ok(BlobRecord { blobs, payload: Some(EncryptedPayload { iv, ciphertext }) })
            }
        }
    }
}

/// Binds a standard key's material to its place.
pub(super) fn payload_aad(call: &Call<'_>, id: KeyId) -> Vec<u8> {
    let place = layout::blob(call.instance, id, id.first_version());
    [&b"hsm-sim standard key v1"[..], &place.0].concat()
}

/// The names that must be free: of the record, then of the aliases.
fn places(call: &Call<'_>, instance: &OpenInstance, id: KeyId, new: &NewKey) -> Vec<keystore::Key> {
    let aliases = new.aliases.iter().map(|alias| instance.keys.alias_mac(alias));
    std::iter::once(layout::record(call.instance, id))
        .chain(aliases.map(|mac| layout::alias(call.instance, &mac)))
        .collect()
}

impl NewKey {
    /// A MAC over the whole request.
    fn request(&self, instance: &OpenInstance) -> [u8; 32] {
        let standard = self.kind == KeyKind::Standard;
        let expires_at = self.expires_at.map(Millis::from);
        let text = (&self.name, &self.description, &self.aliases, &self.tags);
        let open = encode(&(standard, self.payload.is_some(), expires_at, text));
        // The material is not encoded with the rest, because a growing buffer leaves copies behind.
        let material = self.payload.as_ref().map_or(&[][..], Payload::expose);
        instance.keys.name(&[b"creation", &open, material])
    }

    fn record(&self, id: KeyId, caller: &str, now: Timestamp, request: [u8; 32]) -> Record {
        let at = now.into();
        Record {
            standard: self.kind == KeyKind::Standard,
            imported: self.payload.is_some(),
            name: self.name.clone(),
            description: self.description.clone(),
            aliases: self.aliases.clone(),
            tags: self.tags.clone(),
            expires_at: self.expires_at.map(Millis::from),
            created_at: at,
            created_by: caller.to_owned(),
            updated_at: at,
            rotated_at: None,
            last_action: None,
            lifecycle: Lifecycle::Live(Live::Enabled),
            versions: vec![Version::new(id.first_version(), at)],
            request,
        }
    }
}
