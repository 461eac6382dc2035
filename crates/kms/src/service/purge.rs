//! Removing keys for good.

use keystore::{Cond, Freshness, Keystore, OpId, Txn, Write};

use super::{Attempt, Kms, Loaded, MAX_ATTEMPTS};
use crate::call::Budget;
use crate::record::{Lifecycle, Record, Version};
use crate::{Action, Call, KeyMetadata, KeyRef, KmsError, RecordError, Units, layout};

/// Most blobs removed in one transaction: with header, record and aliases they are within the store's limit.
const BLOBS_PER_TXN: usize = 80;

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Removes a destroyed key, its versions and its aliases. Gives what was known of it.
    ///
    /// Of a key with very many versions, what is still there when the deadline passes is removed by
    /// [`Self::purge_lapsed`]; for callers the key is gone from the first step on.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::TooEarly`] within four hours of the deletion.
    pub async fn purge(&self, call: &Call<'_>, op: OpId, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        let budget = Budget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let loaded = self.load(call, budget, key, |_| Vec::new()).await?;
            loaded.instance.check_writable()?;
            loaded.record.check(Action::Purge, loaded.state)?;
            let metadata = self.shown(&loaded);
            if let Some(deletion) = metadata.deletion.as_ref().filter(|deletion| !deletion.purgeable) {
                let allowed_from = deletion.purgeable_from;
                return Err(KmsError::TooEarly { action: Action::Purge, allowed_from });
            }
            let op = loaded.scoped(call, op, Action::Purge);
            match self.remove(call, budget, op, loaded).await? {
                Attempt::Applied | Attempt::Replayed => return Ok(metadata),
                Attempt::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Removes keys that were deleted so long ago that nobody can restore or purge them any more, and what an
    /// interrupted purge has left; at most `limit` keys. Gives how many. Harmless to do twice, or on two hosts.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn purge_lapsed(&self, call: &Call<'_>, limit: usize) -> Result<usize, KmsError> {
        let budget = Budget::new(call.deadline);
        let mut range = layout::records(call.instance);
        let mut removed = 0;
        loop {
            let view = self.view(call, budget, &[]).await?;
            view.instance.check_writable()?;
            let (page_len, from) = (keystore::MAX_PAGE_ENTRIES, range.clone());
            let page =
                self.store.scan(from, page_len, None, Freshness::Linearizable, budget.for_store()?).await?;
            for entry in &page.entries {
                let record = view.instance.open_record(entry)?;
                let now = self.now();
                if record.state(now, &self.options.timers).is_some() {
                    continue;
                }
                if removed == limit {
                    return Ok(removed);
                }
                let id = layout::record_id(&entry.key)
                    .ok_or_else(|| super::invalid(&entry.key, RecordError::Malformed))?;
                let loaded = Loaded {
                    instance: std::sync::Arc::clone(&view.instance),
                    header_at: view.header_at,
                    id,
                    record,
                    record_at: entry.modified,
                    now,
                    state: crate::KeyState::Destroyed,
                    blobs: Vec::new(),
                };
                if let Attempt::Applied = self.remove(call, budget, self.random_op()?, loaded).await? {
                    removed += 1;
                }
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(removed),
            }
        }
    }

    /// Removes a key as it was read. With more blobs than one transaction takes, its record first says that it is
    /// being removed, so that no restore finds it half there.
    async fn remove(
        &self,
        call: &Call<'_>,
        budget: Budget,
        op: OpId,
        mut loaded: Loaded,
    ) -> Result<Attempt, KmsError> {
        let (rest, last) = match loaded.record.versions.len().checked_sub(BLOBS_PER_TXN) {
            None | Some(0) => (&[][..], loaded.record.versions.as_slice()),
            Some(beyond) => loaded.record.versions.split_at(beyond),
        };
        let last = deletions(call, &loaded, last);
        if rest.is_empty() {
            let writes = last.chain(whole(call, &loaded)).collect();
            return self.try_commit(loaded.txn(call, op, writes), budget).await;
        }
        let (rest, last) = (rest.to_vec(), last.collect());
        loaded.record.lifecycle = Lifecycle::Purging;
        let writes = vec![self.put_record(call, &loaded)?];
        match self.try_commit(loaded.txn(call, op, writes), budget).await? {
            Attempt::Applied => {}
            other @ (Attempt::Replayed | Attempt::Lost) => return Ok(other),
        }
        // From here on the key is gone for callers, and what fails is left to the next sweep.
        let _ = self.remove_rest(call, budget, &loaded, &rest, last).await;
        Ok(Attempt::Applied)
    }

    async fn remove_rest(
        &self,
        call: &Call<'_>,
        budget: Budget,
        loaded: &Loaded,
        rest: &[Version],
        last: Vec<Write>,
    ) -> Result<(), KmsError> {
        let batches = rest.chunks(BLOBS_PER_TXN).map(|versions| deletions(call, loaded, versions).collect());
        let last = last.into_iter().chain(whole(call, loaded)).collect();
        for writes in batches.chain([last]) {
            let conds = vec![Cond::Unchanged(layout::header(call.instance), loaded.header_at)];
            let txn = Txn { op: self.random_op()?, conds, writes };
            if let Attempt::Lost = self.try_commit(txn, budget).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn deletions(call: &Call<'_>, loaded: &Loaded, versions: &[Version]) -> impl Iterator<Item = Write> {
    let (instance, id) = (call.instance, loaded.id);
    let names: Vec<_> = versions.iter().map(|version| layout::blob(instance, id, version.id())).collect();
    names.into_iter().map(Write::Delete)
}

/// The record and the aliases.
fn whole(call: &Call<'_>, loaded: &Loaded) -> impl Iterator<Item = Write> {
    let Record { aliases, .. } = &loaded.record;
    let aliases: Vec<_> = aliases
        .iter()
        .map(|alias| layout::alias(call.instance, &loaded.instance.keys.alias_mac(alias)))
        .collect();
    std::iter::once(layout::record(call.instance, loaded.id)).chain(aliases).map(Write::Delete)
}
