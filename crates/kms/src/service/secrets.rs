//! The keys of keys: drawn at a creation, erased at a purge.

use std::collections::BTreeSet;
use std::sync::Arc;

use keystore::{Entry, Keystore, Secret, SecretId, SecretOwner, UnnamedSecrets};
use tracing::debug;

use super::{Kms, OpenInstance, invalid, open_blob};
use crate::call::TimeBudget;
use crate::record::{BlobRecord, Record};
use crate::seal::{OwnKey, Sealed, secret_of};
use crate::{Call, InstanceId, KmsError, RecordError, Units};

/// The owner of the secrets of an instance.
pub(crate) const fn owner(id: InstanceId) -> SecretOwner {
    SecretOwner(id.0.into_bytes())
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// The key of a new key.
    pub(super) async fn draw_own_key(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        open: &OpenInstance,
    ) -> Result<Arc<OwnKey>, KmsError> {
        let (id, secret) = self.store.draw_secret(owner(call.instance), budget.for_store()?).await?;
        Ok(Arc::new(open.own_key(id, &secret)))
    }

    /// The key of a key; `None` if its secret was erased.
    pub(super) async fn own_key(
        &self,
        budget: TimeBudget,
        open: &OpenInstance,
        id: SecretId,
    ) -> Result<Option<Arc<OwnKey>>, KmsError> {
        let secret = self.store.secret(id, budget.for_store()?).await?;
        Ok(secret.map(|secret| Arc::new(open.own_key(id, &secret))))
    }

    /// The key under which a value is sealed; `None` if its secret was erased.
    pub(super) async fn own_key_of(
        &self,
        budget: TimeBudget,
        open: &OpenInstance,
        entry: &Entry,
    ) -> Result<Option<Arc<OwnKey>>, KmsError> {
        match (secret_of(&entry.value), entry.value.first()) {
            (Some(id), _) => self.own_key(budget, open, id).await,
            (None, Some(found)) => {
                Err(invalid(&entry.key, RecordError::Format { found: *found, expected: crate::seal::NEWEST }))
            }
            (None, None) => Err(invalid(&entry.key, RecordError::Malformed)),
        }
    }

    /// Opens the record of a key; `None` if its secret was erased.
    pub(super) async fn open_record(
        &self,
        budget: TimeBudget,
        open: &OpenInstance,
        entry: &Entry,
    ) -> Result<Option<(Record, Arc<OwnKey>)>, KmsError> {
        let Some(own) = self.own_key_of(budget, open, entry).await? else { return Ok(None) };
        let opened = own.open(Sealed::Record, &entry.key, &entry.value);
        let record = opened.and_then(|plain| Record::decode(&plain));
        Ok(Some((record.map_err(|why| invalid(&entry.key, why))?, own)))
    }

    /// Opens a blob record without its key's record; `None` if its secret was erased.
    pub(super) async fn open_any_blob(
        &self,
        budget: TimeBudget,
        open: &OpenInstance,
        entry: &Entry,
    ) -> Result<Option<(BlobRecord, Arc<OwnKey>)>, KmsError> {
        let Some(own) = self.own_key_of(budget, open, entry).await? else { return Ok(None) };
        Ok(Some((open_blob(&own, entry)?, own)))
    }

    /// Erases the secret of a key whose records are deleted: no copy of them opens any more.
    pub(super) async fn erase_own_key(&self, budget: TimeBudget, own: &OwnKey) -> Result<(), KmsError> {
        // The records are gone, so that a failure must not be reported as if nothing had changed.
        let erased = self.store.erase_secrets(&[own.id()], budget.for_store()?).await;
        erased.map_err(KmsError::OutcomeUnknown)
    }

    /// Erases the secrets that remain from interrupted creations and purges: those that the index does not list.
    pub(super) async fn erase_orphans(
        &self,
        id: InstanceId,
        listed: &BTreeSet<SecretId>,
        budget: TimeBudget,
    ) -> Result<(), KmsError> {
        let inherited = UnnamedSecrets::Inherited(owner(id));
        let erased = self.store.erase_unnamed(inherited, listed, budget.for_store()?).await?;
        if erased > 0 {
            debug!(instance = %id, secrets = erased, "secrets that no key has, drawn ahead or left by a purge, were erased");
        }
        Ok(())
    }
}

impl OpenInstance {
    /// The key of the key that has this secret.
    pub(super) fn own_key(&self, id: SecretId, secret: &Secret) -> OwnKey {
        self.keys.own_key(self.previous.as_deref(), id, secret)
    }
}
