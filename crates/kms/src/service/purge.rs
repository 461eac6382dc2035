//! Removal of destroyed keys.

use keystore::{Cond, Keystore, OpId, Txn, Write};

use super::freshness::{IndexView, PagedRecord};
use super::{CommitOutcome, Kms, LoadedKey, MAX_ATTEMPTS};
use crate::call::TimeBudget;
use crate::record::{Lifecycle, Version};
use crate::{Call, KeyAction, KeyMetadata, KeyRef, KmsError, Units, layout};

/// Most blobs removed in one transaction: with header, record and aliases they are within the store's limit.
const BLOBS_PER_TXN: usize = 80;

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Removes a destroyed key, its versions and its aliases, and returns its metadata. The secret under which its records are
    /// sealed is erased, so that copies in the store's file do not open any more; copies in backups of the store with its
    /// secrets do.
    ///
    /// If a key has so many versions that the deadline passes first, [`Self::purge_lapsed`] removes the rest; callers no longer
    /// find the key after the first step.
    ///
    /// # Errors
    /// [`KmsError`]; [`KmsError::TooEarly`] within four hours of the deletion.
    pub async fn purge(&self, call: &Call<'_>, op: OpId, key: &KeyRef) -> Result<KeyMetadata, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let loaded = self.load(call, budget, key, |_| Vec::new()).await?;
            loaded.instance.check_writable()?;
            loaded.record.check(KeyAction::Purge, loaded.state)?;
            let metadata = self.shown(&loaded);
            if let Some(deletion) = metadata.deletion.as_ref().filter(|deletion| !deletion.purgeable) {
                let allowed_from = deletion.purgeable_from;
                return Err(KmsError::TooEarly { action: KeyAction::Purge, allowed_from });
            }
            let op = loaded.scoped(call, op, KeyAction::Purge);
            match self.remove(call, budget, op, loaded).await? {
                CommitOutcome::Applied(at) | CommitOutcome::Replayed(at) => {
                    self.note_change(call, at);
                    return Ok(metadata);
                }
                CommitOutcome::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Removes keys whose retention after the deletion is over, and remains of interrupted purges; at most `limit` keys.
    /// Returns the number of removed keys. Several hosts may do this at the same time.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn purge_lapsed(&self, call: &Call<'_>, limit: usize) -> Result<usize, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        let mut range = layout::records(call.instance);
        let mut removed = 0;
        loop {
            let before = self.before_scan(call.instance);
            let view = self.view(call, budget, &[]).await?;
            view.instance.check_writable()?;
            let (instance, from) = ((&*view.instance, view.at), range.clone());
            let page = self.record_page(call, budget, instance, from, &before).await?;
            for PagedRecord { id, modified, record, own } in page.records {
                let now = self.now();
                if record.state(now, &self.options.timers).is_some() {
                    continue;
                }
                if removed == limit {
                    return Ok(removed);
                }
                let loaded = LoadedKey {
                    instance: std::sync::Arc::clone(&view.instance),
                    header_at: view.header_at,
                    id,
                    record,
                    record_at: modified,
                    now,
                    state: crate::KeyState::Destroyed,
                    blobs: Vec::new(),
                    index: IndexView::default(),
                    own,
                };
                if let CommitOutcome::Applied(_) =
                    self.remove(call, budget, self.random_op()?, loaded).await?
                {
                    removed += 1;
                }
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(removed),
            }
        }
    }

    /// Removes a key at the revision that was read. If it has more blobs than one transaction can remove, its record is first
    /// marked as being removed, so that it can no longer be restored.
    async fn remove(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        op: OpId,
        mut loaded: LoadedKey,
    ) -> Result<CommitOutcome, KmsError> {
        if !self.read_index(call, budget, &mut loaded).await? {
            return Ok(CommitOutcome::Lost);
        }
        let rest = loaded.record.versions.len().saturating_sub(BLOBS_PER_TXN);
        let (rest, last) = loaded.record.versions.split_at(rest);
        if rest.is_empty() {
            let writes = deletions(call, &loaded, last).chain(whole(call, &loaded)).collect();
            let outcome = self.commit_key(call, budget, &loaded, op, writes).await?;
            // A repeated operation may have removed an earlier key of this id, which had another secret.
            if let CommitOutcome::Applied(_) = outcome {
                self.erase_own_key(budget, &loaded.own).await?;
            }
            return Ok(outcome);
        }
        let (rest, last) = (rest.to_vec(), last.to_vec());
        loaded.record.lifecycle = Lifecycle::Purging;
        let writes = vec![self.put_record(call, &loaded)?];
        let marked = self.commit_key(call, budget, &loaded, op, writes).await?;
        match marked {
            CommitOutcome::Applied(at) => self.log_change(call, loaded.id, KeyAction::Purge, at),
            CommitOutcome::Replayed(_) | CommitOutcome::Lost => return Ok(marked),
        }
        // Callers no longer find the key; the next sweep removes what is left after a failure, and erases its secret.
        let _ = self.remove_rest(call, budget, &loaded, (&rest, &last)).await;
        Ok(marked)
    }

    async fn remove_rest(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        (rest, last): (&[Version], &[Version]),
    ) -> Result<(), KmsError> {
        for versions in rest.chunks(BLOBS_PER_TXN) {
            let conds = vec![Cond::Unchanged(layout::header(call.instance), loaded.header_at)];
            let writes = deletions(call, loaded, versions).collect();
            let txn = Txn { op: self.random_op()?, conds, writes };
            if let CommitOutcome::Lost = self.try_commit(txn, budget).await? {
                return Ok(());
            }
        }
        for _ in 0..MAX_ATTEMPTS {
            let names = indexed_places(call, loaded);
            let view = self.view(call, budget, &names).await?;
            if view.entries.first().is_none_or(Option::is_none) {
                return self.erase_own_key(budget, &loaded.own).await;
            }
            let conds = vec![Cond::Unchanged(layout::header(call.instance), view.header_at)];
            let writes = deletions(call, loaded, last).chain(whole(call, loaded)).collect();
            let txn = Txn { op: self.random_op()?, conds, writes };
            let listed = (&*view.instance, &view.index);
            if let CommitOutcome::Applied(_) | CommitOutcome::Replayed(_) =
                self.commit_listed(call, budget, listed, txn).await?
            {
                return self.erase_own_key(budget, &loaded.own).await;
            }
        }
        Ok(())
    }

    /// Reads the buckets that list the record, the counts and the aliases of a key. Returns false if the key has changed meanwhile.
    async fn read_index(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &mut LoadedKey,
    ) -> Result<bool, KmsError> {
        let view = self.view(call, budget, &indexed_places(call, loaded)).await?;
        let record = view.entries.into_iter().next().flatten();
        loaded.index = view.index;
        Ok(record.is_some_and(|entry| entry.modified == loaded.record_at)
            && view.header_at == loaded.header_at)
    }
}

fn deletions(call: &Call<'_>, loaded: &LoadedKey, versions: &[Version]) -> impl Iterator<Item = Write> {
    let (instance, id) = (call.instance, loaded.id);
    let names: Vec<_> = versions.iter().map(|version| layout::blob(instance, id, version.id())).collect();
    names.into_iter().map(Write::Delete)
}

/// The places of the record, the counts and the aliases.
fn indexed_places(call: &Call<'_>, loaded: &LoadedKey) -> Vec<keystore::Key> {
    let aliases = loaded.record.aliases.iter();
    let aliases = aliases.map(|alias| layout::alias(call.instance, &loaded.instance.keys.alias_mac(alias)));
    let own = [layout::record(call.instance, loaded.id), layout::counts(call.instance, loaded.id)];
    own.into_iter().chain(aliases).collect()
}

/// The record, the counts and the aliases.
fn whole(call: &Call<'_>, loaded: &LoadedKey) -> impl Iterator<Item = Write> {
    indexed_places(call, loaded).into_iter().map(Write::Delete)
}
