//! Removal of an instance, without units.

use std::ops::Range;
use std::time::Duration;

use keystore::{
    Commit, Cond, Entry, Freshness, Key as StoreKey, Keystore, MAX_PAGE_ENTRIES, OpId, Page, Revision,
    StoreError, Txn, Write,
};
use rand_core::TryCryptoRng;

use super::secrets::owner;
use crate::call::TimeBudget;
use crate::rng::random_array;
use crate::{InstanceId, RandomFailed, layout};

/// Removals in one transaction; the header, on which all of them hold, is one more key.
const BATCH: usize = layout::MAX_KEYS_PER_TXN - 1;

/// Reason why an instance was not removed, or not completely.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// The instance was changed after it was read. The change is kept.
    #[error("instance {0} was changed after it was read; read it again")]
    Changed(InstanceId),
    /// The deadline passed. A repeat finds the rest.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The keystore failed. A repeat finds the rest.
    #[error("the keystore failed")]
    Store(#[from] StoreError),
    /// The source of random bytes failed.
    #[error("no random bytes are available")]
    Random(#[from] RandomFailed),
}

impl RemovalError {
    /// Whether reading and removing again may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Changed(_) | Self::DeadlineExceeded | Self::Random(_) => true,
        }
    }
}

/// An instance in the store, as far as it can be read without units.
///
/// The caller decides whether the instance may be removed. Only what was read is removed: a key that was written since is
/// kept, and so is the header.
#[derive(Clone, Copy, Debug)]
pub struct StoredInstance {
    /// The instance.
    pub instance: InstanceId,
    /// Number of keys in any state; only a unit could open their records and show their states.
    pub records: usize,
    /// Revision of the header; `None` if there is no header.
    header_at: Option<Revision>,
    /// The revision that was read.
    at: Revision,
}

impl StoredInstance {
    /// Reads an instance of the store, which need not exist.
    ///
    /// # Errors
    /// [`RemovalError::Store`], [`RemovalError::DeadlineExceeded`].
    pub async fn look<S: Keystore>(
        store: &S,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Self, RemovalError> {
        let budget = TimeBudget::new(deadline);
        let header = layout::header(instance);
        let found = store.get(&[header], Freshness::Linearizable, left(budget)?).await?;
        let header_at = found.entries.into_iter().flatten().next().map(|entry| entry.modified);
        let (mut range, mut records) = (layout::records(instance), 0_usize);
        loop {
            let page = page(store, range.clone(), Some(found.at), budget).await?;
            records = records.saturating_add(page.entries.len());
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(Self { instance, records, header_at, at: found.at }),
            }
        }
    }

    /// Whether the store has the instance.
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.header_at.is_some()
    }

    /// Removes the instance: keys, blobs, aliases, the journal of a rotation, and at the end its header. Returns the number of
    /// removed entries.
    ///
    /// No unit is needed. Every batch depends on the header, so that only one caller removes the instance; after the removal of
    /// the header, the store refuses every write of a service. After an interruption the header still exists: read and remove
    /// again. A partly removed key has no record.
    ///
    /// # Errors
    /// [`RemovalError`]; [`RemovalError::Changed`] when the instance was changed after it was read.
    pub async fn remove<S: Keystore>(
        self,
        store: &S,
        rng: &mut (impl TryCryptoRng + Send),
        deadline: Duration,
    ) -> Result<usize, RemovalError> {
        let mut removal = Removal { seen: self, store, rng, budget: TimeBudget::new(deadline) };
        let whole = layout::instance(self.instance);
        let mut removed = 0;
        if let Some(header_at) = self.header_at {
            let as_seen = Cond::Unchanged(layout::header(self.instance), header_at);
            for range in [layout::records(self.instance), whole.clone()] {
                removed += removal.clear(range, &as_seen, Some(self.at)).await?;
            }
            let names = [layout::journal(self.instance), layout::header(self.instance)];
            removal.commit(vec![as_seen], names.map(Write::Delete).into()).await?;
            removed += 1;
        }
        // Entries of a write just before the removal of the header.
        let gone = Cond::Absent(layout::header(self.instance));
        removed += removal.clear(whole, &gone, None).await?;
        store.erase_owner(owner(self.instance), left(removal.budget)?).await?;
        Ok(removed)
    }
}

struct Removal<'a, S, R> {
    seen: StoredInstance,
    store: &'a S,
    rng: &'a mut R,
    budget: TimeBudget,
}

impl<S: Keystore, R: TryCryptoRng + Send> Removal<'_, S, R> {
    /// Removes the entries of a range except header and journal. None of them may be newer than `since`.
    async fn clear(
        &mut self,
        mut range: Range<StoreKey>,
        holds: &Cond,
        since: Option<Revision>,
    ) -> Result<usize, RemovalError> {
        let instance = self.seen.instance;
        let last = [layout::header(instance), layout::journal(instance)];
        let mut removed = 0;
        loop {
            let page = page(self.store, range.clone(), None, self.budget).await?;
            let entries: Vec<&Entry> =
                page.entries.iter().filter(|entry| !last.contains(&entry.key)).collect();
            if since.is_some_and(|since| entries.iter().any(|entry| entry.modified > since)) {
                return Err(RemovalError::Changed(instance));
            }
            for batch in entries.chunks(BATCH) {
                let unchanged = batch.iter().map(|entry| Cond::Unchanged(entry.key.clone(), entry.modified));
                let conds = std::iter::once(holds.clone()).chain(unchanged).collect();
                let writes = batch.iter().map(|entry| Write::Delete(entry.key.clone())).collect();
                self.commit(conds, writes).await?;
                removed += batch.len();
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(removed),
            }
        }
    }

    async fn commit(&mut self, conds: Vec<Cond>, writes: Vec<Write>) -> Result<(), RemovalError> {
        let txn = Txn { op: OpId(random_array(self.rng)?), conds, writes };
        match self.store.commit(txn, left(self.budget)?).await? {
            Commit::Applied { .. } => Ok(()),
            Commit::Refused { .. } => Err(RemovalError::Changed(self.seen.instance)),
        }
    }
}

async fn page<S: Keystore>(
    store: &S,
    range: Range<StoreKey>,
    at: Option<Revision>,
    budget: TimeBudget,
) -> Result<Page, RemovalError> {
    Ok(store.scan(range, MAX_PAGE_ENTRIES, at, Freshness::Linearizable, left(budget)?).await?)
}

fn left(budget: TimeBudget) -> Result<keystore::Deadline, RemovalError> {
    budget.remaining().map(keystore::Deadline).ok_or(RemovalError::DeadlineExceeded)
}
