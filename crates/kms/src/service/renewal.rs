//! A new instance secret with each rotation of the master key.
//!
//! The new secret is drawn when the new master key becomes the instance's. From then on everything is sealed under it, and the
//! phase that removes the forms under the old master key also seals again what is still under the previous secret. The
//! header holds the previous secret, encrypted under the new one, until that phase ends.

use keystore::{Cond, Entry, Key as StoreKey, Keystore, Write};
use unit_api::VerificationPattern;

use super::count::open_counts;
use super::master_key::{Batch, Rotating, drop_forms};
use super::{Kms, OpenInstance, invalid};
use crate::call::TimeBudget;
use crate::header::{MasterKeyProof, prove};
use crate::index::{Bucket, Item};
use crate::record::{Record, encode};
use crate::rotation::Journal;
use crate::seal::{Handover, InstanceKeys, Sealed};
use crate::{Call, KmsError, RecordError, Units, layout};
use unit_api::proof::InstanceSecret;

/// Values of one batch. Each may have a bucket of its own; with header and journal they are within the store's limits.
const BATCH: usize = 44;
/// Bytes of the values of one batch, so that they fit a transaction together with their buckets.
const BATCH_LEN: usize = layout::MAX_TXN_LEN / 2;

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Draws a new instance secret by units, which have this master key. Returns its keys, its proof, and what it takes over.
    pub(super) async fn renew_secret(
        &self,
        call: &Call<'_>,
        open: &OpenInstance,
        pattern: VerificationPattern,
        budget: TimeBudget,
    ) -> Result<(InstanceKeys, MasterKeyProof, Handover), KmsError> {
        let previous = open.header.open_secret(&self.units, budget).await?;
        let previous = previous.as_deref().and_then(|bytes| InstanceSecret::from_slice(bytes));
        let previous =
            previous.ok_or_else(|| invalid(&layout::header(call.instance), RecordError::Forged))?;
        let (keys, proof) = prove(&self.units, pattern, budget).await?;
        let handover = keys.hand_over(&open.keys, previous, &mut self.options.rng.clone())?;
        Ok((keys, proof, handover))
    }

    /// Prepares the next batch of the last phase: each value is sealed again, and blob records keep the form under the new
    /// master key alone. `None` when something has changed since the instance was read.
    pub(super) async fn renewal_batch(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        now: &Rotating,
        journal: &Journal,
    ) -> Result<Option<Batch>, KmsError> {
        let mut range = layout::instance(call.instance);
        range.start = journal.position.clone().unwrap_or_else(|| layout::aliases(call.instance).start);
        let page = self.scan(range, BATCH, now.at, budget).await?;
        let (taken, next) = first_batch(&page.entries, page.next);
        let names: Vec<StoreKey> = taken.iter().map(|entry| entry.key.clone()).collect();
        // Again, with the buckets that list them: nothing that was put back is sealed again.
        let view = self.view(call, budget, &names).await?;
        if view.header_at != now.header_at {
            return Ok(None);
        }
        let mut batch = Batch { next, index: view.index, ..Batch::default() };
        for entry in view.entries.iter().flatten() {
            batch.seen += u64::from(layout::record_of_blob(call.instance, &entry.key).is_some());
            if let Some(write) = self.renewed(call, budget, &view.instance, entry).await? {
                batch.conds.push(Cond::Unchanged(entry.key.clone(), entry.modified));
                batch.writes.push(write);
            }
        }
        Ok(Some(batch))
    }

    /// The same value under the instance's present secret; `None` if it stays as it is.
    async fn renewed(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        open: &OpenInstance,
        entry: &Entry,
    ) -> Result<Option<Write>, KmsError> {
        let place = entry.key.clone();
        if layout::record_of_blob(call.instance, &place).is_some() {
            let opened = self.open_any_blob(budget, open, entry).await?;
            let Some((mut blob, own)) = opened else { return Ok(None) };
            drop_forms(&mut blob, open.header.pattern().wkid());
            return self.put_blob(&own, place, &blob).map(Some);
        }
        if let Some(number) = layout::bucket_of(&place) {
            if Bucket::decode(&entry.value, &place, &open.keys).is_ok() {
                return Ok(None);
            }
            let before = self.seen(call.instance).before([number], None);
            let found = (&place, Some(&entry.value));
            let bucket = open.seen.bucket(number, found, open.all_keys(), (open.generation(), &before));
            let bucket = bucket.map_err(|why| invalid(&place, why))?;
            let value = bucket.successor().encode(&place, &open.keys).into();
            return Ok(Some(Write::Put { key: place, value, lease: None }));
        }
        match Item::of(&place) {
            Some(item) if item.is_counts() => {
                let Some(own) = self.own_key_of(budget, open, entry).await? else { return Ok(None) };
                let counts = open_counts(&own, Some(entry))?;
                self.put_own(&own, Sealed::Counts, place, &encode(&counts)).map(Some)
            }
            Some(item) if item.record_id().is_some() => {
                let opened = self.open_record(budget, open, entry).await?;
                let Some((record, own)) = opened else { return Ok(None) };
                self.put_own(&own, Sealed::Record, place, &encode::<Record>(&record)).map(Some)
            }
            Some(_) => {
                let plain = open.open(Sealed::Record, entry)?;
                let value = open.keys.seal(Sealed::Record, &place, &plain, &mut self.options.rng.clone())?;
                Ok(Some(Write::Put { key: place, value: value.into(), lease: None }))
            }
            // Header and journal, which are under the present secret already.
            None if [layout::header(call.instance), layout::journal(call.instance)].contains(&place) => {
                Ok(None)
            }
            None => Err(invalid(&place, RecordError::Malformed)),
        }
    }
}

/// The entries at the front of a page that one transaction can write, and where the next batch starts. Buckets are in batches
/// without records, whose buckets would be written twice.
fn first_batch(entries: &[Entry], next: Option<StoreKey>) -> (&[Entry], Option<StoreKey>) {
    let is_bucket = |entry: &Entry| layout::bucket_of(&entry.key).is_some();
    let starts_with_buckets = entries.first().is_some_and(is_bucket);
    let mut len = 0;
    let fits = |(n, entry): &(usize, &Entry)| {
        len += entry.value.len();
        (*n == 0 || len <= BATCH_LEN) && is_bucket(entry) == starts_with_buckets
    };
    let count = entries.iter().enumerate().take_while(fits).count();
    let (taken, rest) = entries.split_at_checked(count).unwrap_or((entries, &[]));
    (taken, rest.first().map(|entry| entry.key.clone()).or(next))
}
