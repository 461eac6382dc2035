//! Removing an instance, when no unit opens anything of it any more.

use std::ops::Range;
use std::time::Duration;

use keystore::{
    Commit, Cond, Entry, Freshness, Key as StoreKey, Keystore, MAX_KEYS_PER_TXN, MAX_PAGE_ENTRIES, OpId,
    Page, Revision, StoreError, Txn, Write,
};
use rand_core::TryCryptoRng;

use crate::call::Budget;
use crate::rng::random_array;
use crate::{InstanceId, RandomFailed, layout};

/// Removals in one transaction; the header, on which all of them hold, is one more key.
const BATCH: usize = MAX_KEYS_PER_TXN - 1;

/// Why an instance was not removed, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// Somebody has written to the instance since it was looked at. What he wrote is there.
    #[error("instance {0} was changed after it had been looked at: look again")]
    Changed(InstanceId),
    /// The deadline passed. What is left is found by the next look.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The keystore failed. What is left, if anything, is found by the next look.
    #[error("the keystore did not serve")]
    Store(#[from] StoreError),
    /// Random bytes could not be had.
    #[error("no random bytes")]
    Random(#[from] RandomFailed),
}

impl RemovalError {
    /// Whether looking and removing anew may succeed a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Changed(_) | Self::DeadlineExceeded | Self::Random(_) => true,
        }
    }
}

/// What a store has of an instance, as far as it shows without any unit.
///
/// Whoever has looked decides whether the instance may go, and what is removed then is what was looked at: a key that
/// was written since is left, and the header with it.
#[derive(Clone, Copy, Debug)]
pub struct StoredInstance {
    /// Which.
    pub instance: InstanceId,
    /// Records of keys in whatever state; which of them are destroyed, only their text tells, and a unit opens that.
    pub records: usize,
    /// When the header was written; none where there is no header.
    header_at: Option<Revision>,
    /// The revision that was looked at.
    at: Revision,
}

impl StoredInstance {
    /// Looks at an instance of the store. There being nothing of it is no error.
    ///
    /// # Errors
    /// [`RemovalError::Store`], [`RemovalError::DeadlineExceeded`].
    pub async fn look<S: Keystore>(
        store: &S,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Self, RemovalError> {
        let budget = Budget::new(deadline);
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

    /// Removes the instance: keys, blobs, aliases, the journal of a rotation, and at the end its header. Gives how many
    /// entries that were.
    ///
    /// Nothing is asked of a unit. Every batch holds on the header, so that it is removed once and by one; once it is gone,
    /// no write of a service goes through any more. After an interruption the header is still there: look and remove
    /// again. A key that is not whole any more has no record either.
    ///
    /// # Errors
    /// [`RemovalError`]; [`RemovalError::Changed`] when the instance is not as it was looked at.
    pub async fn remove<S: Keystore>(
        self,
        store: &S,
        rng: &mut (impl TryCryptoRng + Send),
        deadline: Duration,
    ) -> Result<usize, RemovalError> {
        let mut removal = Removal { seen: self, store, rng, budget: Budget::new(deadline) };
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
        // What a writer that was faster than the header's removal has left: nothing opens it any more.
        let gone = Cond::Absent(layout::header(self.instance));
        Ok(removed + removal.clear(whole, &gone, None).await?)
    }
}

struct Removal<'a, S, R> {
    seen: StoredInstance,
    store: &'a S,
    rng: &'a mut R,
    budget: Budget,
}

impl<S: Keystore, R: TryCryptoRng + Send> Removal<'_, S, R> {
    /// Removes what is in a range but header and journal, where nothing may have been written `since`.
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
    budget: Budget,
) -> Result<Page, RemovalError> {
    Ok(store.scan(range, MAX_PAGE_ENTRIES, at, Freshness::Linearizable, left(budget)?).await?)
}

fn left(budget: Budget) -> Result<keystore::Deadline, RemovalError> {
    budget.remaining().map(keystore::Deadline).ok_or(RemovalError::DeadlineExceeded)
}
