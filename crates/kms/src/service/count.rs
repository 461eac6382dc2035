//! Counting the AES-GCM invocations of key versions, before they are made.

use keystore::{Cond, Entry, Keystore, StoreError, Txn};
use tracing::warn;

use super::{CommitOutcome, Kms, LoadedKey, MAX_ATTEMPTS, invalid, not_found};
use crate::call::TimeBudget;
use crate::invocations::{Counts, InvocationCount, InvocationStats};
use crate::record::encode;
use crate::replica::is_following;
use crate::seal::{OwnKey, Sealed};
use crate::{Call, KeyRef, KmsError, Mode, Units, VersionId, layout};

impl<S: Keystore, U: Units> Kms<S, U> {
    /// The counts of a key's versions, of those that have one, in the order of their first use.
    ///
    /// # Errors
    /// [`KmsError`].
    pub async fn invocations(&self, call: &Call<'_>, key: &KeyRef) -> Result<Vec<InvocationCount>, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        let id = self.resolve(call, budget, key).await?;
        let names = [layout::record(call.instance, id), layout::counts(call.instance, id)];
        let view = self.view(call, budget, &names).await?;
        let mut entries = view.entries.into_iter();
        let not_found = || KmsError::KeyNotFound(key.clone());
        let record = entries.next().flatten().ok_or_else(not_found)?;
        let opened = self.open_record(budget, &view.instance, &record).await?;
        let (record, own) = opened.ok_or_else(not_found)?;
        record.state(self.now(), &self.options.timers).ok_or_else(not_found)?;
        Ok(open_counts(&own, entries.next().flatten().as_ref())?.all().collect())
    }

    /// What this process has seen of counts, for metrics.
    #[must_use]
    pub fn invocation_stats(&self) -> InvocationStats {
        self.counters.stats(self.options.invocations)
    }

    /// Counts the invocations of one command that encrypts under this version, before the command is sent.
    pub(super) async fn count_command(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        version: VersionId,
    ) -> Result<(), KmsError> {
        let counter = self.counters.of(call.instance, version);
        if counter.take() {
            return Ok(());
        }
        let _leasing = counter.leasing.lock().await;
        if counter.take() {
            return Ok(());
        }
        let leased = match loaded.instance.header.mode {
            Mode::ReadWrite => self.lease_block(call, budget, loaded, version).await,
            Mode::ReadOnly | Mode::Frozen => self.take_set_aside(call, loaded, version),
        };
        match leased {
            Ok((block, leased)) => {
                counter.note_leased(leased);
                counter.add(block);
                // The block has the invocations of one command at least.
                counter.take();
                Ok(())
            }
            Err(error) => {
                if let KmsError::InvocationsExhausted { .. } | KmsError::SetAsideExhausted { .. } = error {
                    self.counters.note_refusal();
                }
                Err(error)
            }
        }
    }

    /// Makes a block durable. Returns its size, and what is leased of the version now.
    async fn lease_block(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        version: VersionId,
    ) -> Result<(u64, u64), KmsError> {
        let limits = self.options.invocations;
        let names = [
            layout::position(),
            layout::record(call.instance, loaded.id),
            layout::counts(call.instance, loaded.id),
        ];
        for _ in 0..MAX_ATTEMPTS {
            let view = self.view(call, budget, &names).await?;
            let mut entries = view.entries.into_iter();
            let position = entries.next().flatten();
            // In a mirror the replica alone writes: a count of its own would be lost, and its store no mirror any more.
            let follows = position.as_ref().is_some_and(|entry| is_following(&entry.value));
            if follows || view.instance.check_writable().is_err() {
                return self.take_set_aside(call, loaded, version);
            }
            let record = entries.next().flatten().ok_or_else(|| not_found(loaded.id))?;
            let own = self.own_key_of(budget, &view.instance, &record).await?;
            let own = own.ok_or_else(|| not_found(loaded.id))?;
            let mut counts = open_counts(&own, entries.next().flatten().as_ref())?;
            let before = counts.leased(version);
            let Some(block) = limits.next_block(before) else {
                let limit = limits.limit();
                warn!(instance = %call.instance, key = %loaded.id, %version, limit,
                    "wrap refused: the key version has no AES-GCM invocations left; rotate the key");
                return Err(KmsError::InvocationsExhausted { version, limit });
            };
            let leased = before.saturating_add(block);
            counts.set(version, leased);
            let [position_place, record_place, place] = names.clone();
            let conds = vec![
                Cond::Unchanged(layout::header(call.instance), view.header_at),
                Cond::Unchanged(record_place, record.modified),
                match position {
                    Some(entry) => Cond::Unchanged(position_place, entry.modified),
                    None => Cond::Absent(position_place),
                },
            ];
            let writes = vec![self.put_own(&own, Sealed::Counts, place, &encode(&counts))?];
            let txn = Txn { op: self.random_op()?, conds, writes };
            let listed = (&*view.instance, &view.index);
            let committed = match self.commit_listed(call, budget, listed, txn).await {
                // The store's region has no right to write now.
                Err(KmsError::Store(StoreError::ReadOnly { .. })) => {
                    return self.take_set_aside(call, loaded, version);
                }
                committed => committed?,
            };
            match committed {
                CommitOutcome::Applied(_) | CommitOutcome::Replayed(_) => {
                    if leased >= limits.advised() {
                        warn!(instance = %call.instance, key = %loaded.id, %version, leased,
                            limit = limits.limit(),
                            "the key version has used half of its AES-GCM invocations; rotate the key");
                    }
                    return Ok((block, leased));
                }
                CommitOutcome::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Takes a block of what is set aside for stores that accept no writes. The count in the store stays as it is.
    fn take_set_aside(
        &self,
        call: &Call<'_>,
        loaded: &LoadedKey,
        version: VersionId,
    ) -> Result<(u64, u64), KmsError> {
        let limits = self.options.invocations;
        let (block, most) = (limits.ledger_block(), limits.without_writes());
        if self.options.ledger.take(call.instance, version, block, most)? {
            return Ok((block, 0));
        }
        warn!(instance = %call.instance, key = %loaded.id, %version, most,
            "wrap refused: it cannot be counted here, and what is set aside for that is used up");
        Err(KmsError::SetAsideExhausted { version, most })
    }
}

/// The counts in this entry; none if there is no entry.
pub(super) fn open_counts(own: &OwnKey, entry: Option<&Entry>) -> Result<Counts, KmsError> {
    let Some(entry) = entry else { return Ok(Counts::default()) };
    let opened = own.open(Sealed::Counts, &entry.key, &entry.value);
    opened.and_then(|plain| Counts::decode(&plain)).map_err(|why| invalid(&entry.key, why))
}
