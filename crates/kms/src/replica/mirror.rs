//! The side that mirrors: applies what the source sends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use keystore::{
    AdoptedSecret, Commit, Cond, Deadline, Entry, Freshness, Key, Keystore, MAX_PAGE_ENTRIES, OpId, Revision,
    Secret, SecretId, SecretOwner, SlotInUse, StoreError, Txn, UnnamedSecrets, Write,
};
use tracing::{info, warn};

use super::digest::{Digest, yield_now};
use super::event::{CopiedEntry, CopyPage, Event, NamedSecret, SourceTxn};
use super::position::Stored;
use super::secrets::{secret_named, secrets_named};
use super::{EventError, ReplicaError, ReplicaState, SourcePosition};
use crate::join::join_all;
use crate::rng::random_array;
use crate::{SharedRng, layout};

/// Transactions of a copy that are committed together, with one flush.
const COPY_TXNS: usize = 8;
/// A position without changes is made durable after this time of the source, so that its history is not compacted before.
const SAVE_PROGRESS_MS: u64 = 60_000;
/// Reports of the source's newest revision that are remembered for the lag.
const MAX_REPORTS: usize = 256;

/// Options of a replica. The default is the generator of the operating system, and 30 s for a call of the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaOptions {
    /// Random bytes for the identifiers of transactions.
    pub rng: SharedRng,
    /// Longest time for one call of the store.
    pub call: Duration,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self { rng: SharedRng::default(), call: Duration::from_secs(30) }
    }
}

impl ReplicaOptions {
    /// Sets the generator of identifiers.
    #[must_use]
    pub fn with_rng(self, rng: SharedRng) -> Self {
        Self { rng, ..self }
    }
}

/// Applies the events of a [`Source`](super::Source) to a store.
///
/// Everything that it needs to know is in the store: after a crash, another replica continues. Two replicas over one store
/// do no harm; one of them gets [`ReplicaError::Superseded`].
pub struct Replica<S> {
    store: S,
    options: ReplicaOptions,
    state: ReplicaState,
    /// The record of the position, and its revision here.
    stored: Option<(Stored, Revision)>,
    /// Up to here the mirror is complete: the stored position, or a later one without changes.
    reached: Revision,
    copy: Option<Copy>,
    lag: LagView,
    /// A failure may have left the store ahead of the fields above.
    is_stale: bool,
}

/// A copy under way.
#[derive(Debug)]
struct Copy {
    at: SourcePosition,
    /// Start of the next page.
    next: Key,
}

/// What an event has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// A copy has begun or has continued; the mirror must not be used.
    Copying,
    /// The copy is complete.
    Copied,
    /// The transaction was applied.
    Applied,
    /// The transaction had been applied before.
    Skipped,
    /// There was nothing to apply.
    Progress,
    /// Mirror and source have the same digest.
    Equal {
        /// Number of entries.
        entries: u64,
        /// Keys whose secret is erased: their deletion is under way. A number that stays is a sign of lost secrets.
        without_secret: u64,
    },
}

/// How far a mirror is behind its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Revisions of the source that the mirror has not reached, as far as it knows.
    pub revisions: u64,
    /// The mirror has everything that the source had at this time of the source, in milliseconds since 1970; `None` before
    /// the source has said so.
    pub complete_ms: Option<u64>,
    /// The last time of the source that was received, in milliseconds since 1970.
    pub heard_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct LagView {
    lag: Lag,
    newest: Revision,
    /// Newest revision of the source at a time, in ascending order, for those that were not reached yet.
    reports: VecDeque<(Revision, u64)>,
}

impl LagView {
    fn report(&mut self, newest: Revision, time_ms: u64, reached: Revision) {
        self.newest = newest;
        self.lag.heard_ms = Some(time_ms);
        if self.reports.len() == MAX_REPORTS {
            // A later report says as much, if less exactly.
            self.reports.pop_back();
        }
        self.reports.push_back((newest, time_ms));
        self.reach(reached);
    }

    fn reach(&mut self, reached: Revision) {
        while let Some((newest, time_ms)) = self.reports.front().copied()
            && newest <= reached
        {
            self.reports.pop_front();
            self.lag.complete_ms = Some(time_ms);
        }
        self.lag.revisions = self.newest.0.saturating_sub(reached.0);
    }
}

impl<S: Keystore> Replica<S> {
    /// Opens the replica of a store, and completes an erasure that was interrupted. Changes nothing else.
    ///
    /// # Errors
    /// [`ReplicaError::Store`], [`ReplicaError::PositionInvalid`].
    pub async fn open(store: S, options: ReplicaOptions) -> Result<Self, ReplicaError> {
        let mut replica = Self {
            store,
            options,
            state: ReplicaState::Empty,
            stored: None,
            reached: Revision(0),
            copy: None,
            lag: LagView::default(),
            is_stale: true,
        };
        replica.refresh().await?;
        Ok(replica)
    }

    /// The state of the store.
    #[must_use]
    pub const fn state(&self) -> ReplicaState {
        self.state
    }

    /// Where a [`Source`](super::Source) has to start; `None` to copy everything.
    #[must_use]
    pub const fn position(&self) -> Option<SourcePosition> {
        match self.state {
            ReplicaState::Following(SourcePosition { source, .. }) => {
                Some(SourcePosition { source, revision: self.reached })
            }
            ReplicaState::Empty | ReplicaState::Copying | ReplicaState::Own(_) => None,
        }
    }

    /// How far the mirror is behind, by the last events.
    #[must_use]
    pub const fn lag(&self) -> Lag {
        self.lag.lag
    }

    /// Applies an event. What is acknowledged is durable.
    ///
    /// # Errors
    /// [`ReplicaError`]; the event may be applied again if it is [retryable](ReplicaError::is_retryable). After any other
    /// error, start the source again at [`Self::position`], or without one if
    /// [a copy is needed](ReplicaError::needs_copy).
    pub async fn apply(&mut self, event: &Event) -> Result<Applied, ReplicaError> {
        event.check()?;
        if self.is_stale {
            self.refresh().await?;
        }
        self.is_stale = true;
        let outcome = match event {
            Event::CopyBegins { at, .. } => self.begin_copy(*at).await,
            Event::CopyPage(page) => self.page(page).await,
            Event::CopyEnds { at } => self.end_copy(*at).await,
            Event::Txn(txn) => self.txn(txn).await,
            Event::Progress { after, at, newest, time_ms } => {
                self.progress(*after, *at, (*newest, *time_ms)).await
            }
            Event::Digest { at, digest } => self.compare(*at, *digest).await,
        };
        // A failed call of the store, or a future that was dropped, leaves it open what is stored.
        self.is_stale = matches!(
            outcome,
            Err(ReplicaError::Store(_) | ReplicaError::Superseded | ReplicaError::Random(_))
        );
        outcome
    }

    /// Makes the mirror a store of its own, which follows no source any more. Returns the position at which it took over: what
    /// the source has done after it is not here.
    ///
    /// # Errors
    /// [`ReplicaError::Incomplete`] for a mirror that is empty or being copied, [`ReplicaError::Own`] for a store of its own.
    pub async fn take_over(&mut self) -> Result<SourcePosition, ReplicaError> {
        self.refresh().await?;
        match self.state {
            ReplicaState::Following(at) => {
                self.save(Stored::Own { source: at.source.0, revision: at.revision.0 }).await?;
                self.state = ReplicaState::Own(Some(at));
                info!(source = %at.source, revision = at.revision.0, "the mirror has taken over");
                Ok(at)
            }
            ReplicaState::Empty | ReplicaState::Copying => Err(ReplicaError::Incomplete),
            ReplicaState::Own(_) => Err(ReplicaError::Own),
        }
    }

    /// Permits a source to overwrite this store of its own, or this copy of another store: what it has, and the source has not,
    /// is lost with the next copy. From now on the store must not be used before it was copied.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn danger_replace(&mut self) -> Result<(), ReplicaError> {
        self.refresh().await?;
        match self.state {
            ReplicaState::Own(_) | ReplicaState::Following(_) => {
                self.save(Stored::Copying).await?;
                self.state = ReplicaState::Copying;
                warn!("the store will be overwritten by that of its source");
            }
            ReplicaState::Empty | ReplicaState::Copying => {}
        }
        Ok(())
    }

    /// Reads the position, and erases what the last transaction has left to erase.
    async fn refresh(&mut self) -> Result<(), ReplicaError> {
        self.is_stale = true;
        let (state, stored) = Stored::read(&self.store, self.deadline()).await?;
        // Otherwise a copy under way, and progress without changes, go on.
        if stored.is_none() || stored != self.stored {
            (self.copy, self.reached) = (None, Revision(0));
        }
        (self.state, self.stored) = (state, stored);
        if let ReplicaState::Following(at) = self.state {
            self.reached = self.reached.max(at.revision);
        }
        if let Some((Stored::Following { erase, .. }, _)) = &self.stored
            && !erase.is_empty()
        {
            let erase: Vec<_> = erase.iter().copied().map(SecretId).collect();
            self.store.erase_secrets(&erase, self.deadline()).await?;
        }
        self.is_stale = false;
        Ok(())
    }

    async fn begin_copy(&mut self, at: SourcePosition) -> Result<Applied, ReplicaError> {
        match self.state {
            ReplicaState::Own(_) => return Err(ReplicaError::Own),
            ReplicaState::Following(SourcePosition { source, .. }) if source != at.source => {
                return Err(ReplicaError::OtherSource { kept: source, found: at.source });
            }
            ReplicaState::Copying => {}
            ReplicaState::Empty | ReplicaState::Following(_) => {
                self.save(Stored::Copying).await?;
                self.state = ReplicaState::Copying;
            }
        }
        info!(source = %at.source, revision = at.revision.0, "a copy of the source begins");
        self.copy = Some(Copy { at, next: layout::replicated().start });
        self.lag = LagView::default();
        Ok(Applied::Copying)
    }

    /// Makes a range equal to the source's.
    async fn page(&mut self, page: &CopyPage) -> Result<Applied, ReplicaError> {
        let copy = self.copy.as_ref().ok_or(ReplicaError::OutOfOrder)?;
        if copy.next != page.from || page.until <= page.from {
            return Err(ReplicaError::OutOfOrder);
        }
        let values = page.entries.iter().map(|entry| (&entry.key, &entry.value));
        self.adopt(&secrets_named(values), &page.secrets, SlotInUse::Replace).await?;
        let mut range = page.from.clone()..page.until.clone();
        let mut at = None;
        let mut theirs = page.entries.as_slice();
        loop {
            let (fresh, deadline) = (Freshness::Linearizable, self.deadline());
            let here = self.store.scan(range.clone(), MAX_PAGE_ENTRIES, at, fresh, deadline).await?;
            at = Some(here.at);
            let end = here.next.as_ref().unwrap_or(&range.end);
            let (within, rest) = theirs.split_at(theirs.partition_point(|entry| entry.key < *end));
            theirs = rest;
            self.write(differences(&here.entries, within)).await?;
            match here.next {
                Some(next) => range.start = next,
                None => break,
            }
        }
        if let Some(copy) = &mut self.copy {
            copy.next = page.until.clone();
        }
        Ok(Applied::Copying)
    }

    /// Commits writes of a copy, in as few transactions as possible.
    async fn write(&self, writes: Vec<Write>) -> Result<(), ReplicaError> {
        let unchanged = self.unchanged();
        let mut txns = Vec::new();
        for writes in chunks(writes) {
            let op = OpId(random_array(&mut self.options.rng.clone())?);
            txns.push(Txn { op, conds: vec![unchanged.clone()], writes });
        }
        while !txns.is_empty() {
            let now = txns.split_off(txns.len().saturating_sub(COPY_TXNS));
            for outcome in join_all(now.into_iter().map(|txn| self.commit(txn))).await {
                outcome?;
            }
        }
        Ok(())
    }

    async fn end_copy(&mut self, at: SourcePosition) -> Result<Applied, ReplicaError> {
        match &self.copy {
            Some(copy) if copy.at == at && copy.next == layout::replicated().end => {}
            Some(_) | None => return Err(ReplicaError::OutOfOrder),
        }
        let (secrets, erased) = self.erase_unnamed().await?;
        self.save(Stored::following(at, 0, &[])).await?;
        (self.state, self.reached, self.copy) = (ReplicaState::Following(at), at.revision, None);
        info!(source = %at.source, revision = at.revision.0, secrets, erased, "the copy of the source is complete");
        Ok(Applied::Copied)
    }

    /// Erases the secrets that no record names. Returns how many are named, and how many were erased.
    async fn erase_unnamed(&self) -> Result<(usize, usize), ReplicaError> {
        let mut named = BTreeSet::new();
        let (mut range, mut at) = (layout::replicated(), None);
        loop {
            let (fresh, deadline) = (Freshness::Linearizable, self.deadline());
            let page = self.store.scan(range.clone(), MAX_PAGE_ENTRIES, at, fresh, deadline).await?;
            at = Some(page.at);
            named.extend(page.entries.iter().filter_map(|e| Some(secret_named(&e.key, &e.value)?.0)));
            match page.next {
                Some(next) => range.start = next,
                None => break,
            }
            yield_now().await;
        }
        let erased = self.store.erase_unnamed(UnnamedSecrets::All, &named, self.deadline()).await?;
        Ok((named.len(), erased))
    }

    async fn txn(&mut self, txn: &SourceTxn) -> Result<Applied, ReplicaError> {
        self.check_source(txn.at)?;
        if txn.at.revision <= self.reached {
            return Ok(Applied::Skipped);
        }
        self.check_gap(txn.after)?;
        let written = txn.changes.iter().filter_map(|change| Some((&change.key, change.value.as_ref()?)));
        let named = secrets_named(written);
        self.adopt(&named, &txn.secrets, SlotInUse::Refuse).await?;
        let erase = self.left_unnamed(txn, &named).await?;
        let mut writes: Vec<_> = txn
            .changes
            .iter()
            .map(|change| match &change.value {
                Some(value) => Write::Put { key: change.key.clone(), value: value.clone(), lease: None },
                None => Write::Delete(change.key.clone()),
            })
            .collect();
        let stored = Stored::following(txn.at, self.lag.lag.complete_ms.unwrap_or_default(), &erase);
        writes.push(put_position(&stored));
        let op = OpId(random_array(&mut self.options.rng.clone())?);
        let here = self.commit(Txn { op, conds: vec![self.unchanged()], writes }).await?;
        self.stored = Some((stored, here));
        self.state = ReplicaState::Following(txn.at);
        self.reached = txn.at.revision;
        self.lag.reach(self.reached);
        if !erase.is_empty() {
            self.store.erase_secrets(&erase, self.deadline()).await?;
        }
        Ok(Applied::Applied)
    }

    /// The secrets that records of keys named before a transaction, and no longer name after it.
    async fn left_unnamed(
        &self,
        txn: &SourceTxn,
        named: &BTreeMap<SecretId, SecretOwner>,
    ) -> Result<Vec<SecretId>, ReplicaError> {
        let records = txn.changes.iter().map(|change| &change.key);
        let records: Vec<_> = records.filter(|key| layout::record_of(key).is_some()).cloned().collect();
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.get(&records, Freshness::Linearizable, self.deadline()).await?;
        let before = found.entries.iter().flatten().filter_map(|e| Some(secret_named(&e.key, &e.value)?.0));
        Ok(before.filter(|id| !named.contains_key(id)).collect())
    }

    async fn progress(
        &mut self,
        after: Revision,
        at: SourcePosition,
        (newest, time_ms): (Revision, u64),
    ) -> Result<Applied, ReplicaError> {
        self.check_source(at)?;
        self.check_gap(after)?;
        self.reached = self.reached.max(at.revision);
        self.lag.report(newest, time_ms, self.reached);
        if let (Some((Stored::Following { revision, complete_ms, .. }, _)), Some(now)) =
            (&self.stored, self.lag.lag.complete_ms)
            && self.reached.0 > *revision
            && (now < *complete_ms || now - *complete_ms >= SAVE_PROGRESS_MS)
        {
            let at = SourcePosition { revision: self.reached, ..at };
            self.save(Stored::following(at, now, &[])).await?;
            self.state = ReplicaState::Following(at);
        }
        Ok(Applied::Progress)
    }

    async fn compare(&self, at: SourcePosition, expected: Digest) -> Result<Applied, ReplicaError> {
        self.check_source(at)?;
        if at.revision < self.reached {
            return Ok(Applied::Skipped);
        }
        self.check_gap(at.revision)?;
        let mut named = Vec::new();
        let name = |entry: &Entry| named.extend(secret_named(&entry.key, &entry.value).map(|(id, _)| id));
        let found = Digest::of(&self.store, None, self.deadline(), name).await?;
        if found != expected {
            return Err(ReplicaError::Diverged { at, expected, found });
        }
        let mut without_secret = 0;
        for id in named {
            without_secret += u64::from(self.store.secret(id, self.deadline()).await?.is_none());
        }
        Ok(Applied::Equal { entries: found.entries, without_secret })
    }

    /// Stores the secrets that values name, and notes those that the source has erased.
    async fn adopt(
        &self,
        owners: &BTreeMap<SecretId, SecretOwner>,
        secrets: &[NamedSecret],
        in_use: SlotInUse,
    ) -> Result<(), ReplicaError> {
        let mut erased = Vec::new();
        for NamedSecret { id, .. } in secrets.iter().filter(|named| named.secret.is_none()) {
            // What is here stays until the deletion of its record arrives.
            if !matches!(self.store.secret(*id, self.deadline()).await, Ok(Some(_))) {
                erased.push(*id);
            }
        }
        if !erased.is_empty() {
            self.store.erase_secrets(&erased, self.deadline()).await?;
        }
        let adopted = to_adopt(owners, secrets)?;
        if adopted.is_empty() {
            return Ok(());
        }
        match self.store.adopt_secrets(adopted, in_use, self.deadline()).await {
            // A secret that was drawn here, for a creation that was refused, is in the way.
            Err(StoreError::SecretConflict { .. }) => {
                self.erase_unnamed().await?;
                Ok(self.store.adopt_secrets(to_adopt(owners, secrets)?, in_use, self.deadline()).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    fn check_source(&self, at: SourcePosition) -> Result<(), ReplicaError> {
        match self.state {
            ReplicaState::Following(here) if here.source == at.source => Ok(()),
            ReplicaState::Following(here) => {
                Err(ReplicaError::Foreign { expected: here.source, found: at.source })
            }
            ReplicaState::Own(_) => Err(ReplicaError::Own),
            ReplicaState::Empty | ReplicaState::Copying => Err(ReplicaError::OutOfOrder),
        }
    }

    const fn check_gap(&self, after: Revision) -> Result<(), ReplicaError> {
        if after.0 > self.reached.0 {
            Err(ReplicaError::Gap { reached: self.reached, after })
        } else {
            Ok(())
        }
    }

    /// Writes the position alone.
    async fn save(&mut self, stored: Stored) -> Result<(), ReplicaError> {
        let op = OpId(random_array(&mut self.options.rng.clone())?);
        let txn = Txn { op, conds: vec![self.unchanged()], writes: vec![put_position(&stored)] };
        let here = self.commit(txn).await?;
        self.stored = Some((stored, here));
        Ok(())
    }

    /// That no other replica has changed the position.
    fn unchanged(&self) -> Cond {
        match &self.stored {
            Some((_, at)) => Cond::Unchanged(Stored::place(), *at),
            None => Cond::Absent(Stored::place()),
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, ReplicaError> {
        let outcome = match self.store.commit(txn.clone(), self.deadline()).await {
            // A repetition tells.
            Err(StoreError::Unknown) => self.store.commit(txn, self.deadline()).await,
            outcome => outcome,
        };
        match outcome? {
            Commit::Applied { at, .. } => Ok(at),
            Commit::Refused { .. } => Err(ReplicaError::Superseded),
        }
    }

    const fn deadline(&self) -> Deadline {
        Deadline(self.options.call)
    }
}

/// The secrets that the source has.
pub(crate) fn to_adopt(
    owners: &BTreeMap<SecretId, SecretOwner>,
    secrets: &[NamedSecret],
) -> Result<Vec<AdoptedSecret>, EventError> {
    let here = secrets.iter().filter_map(|named| Some((named.id, named.secret.as_ref()?)));
    let adopted = here.map(|(id, secret)| {
        let owner = *owners.get(&id).ok_or(EventError::Secrets)?;
        Ok(AdoptedSecret { owner, id, secret: Secret::copy_of(secret.expose()) })
    });
    adopted.collect()
}

fn put_position(stored: &Stored) -> Write {
    Write::Put { key: Stored::place(), value: stored.encode().into(), lease: None }
}

/// What turns entries here into those of the source. Both are in ascending order, and of the same range.
pub(crate) fn differences(here: &[Entry], theirs: &[CopiedEntry]) -> Vec<Write> {
    let of_source: BTreeMap<&Key, &keystore::Bytes> =
        theirs.iter().map(|entry| (&entry.key, &entry.value)).collect();
    let of_mirror: BTreeMap<&Key, &keystore::Bytes> =
        here.iter().map(|entry| (&entry.key, &entry.value)).collect();
    let gone = of_mirror.keys().filter(|key| layout::is_replicated(key) && !of_source.contains_key(*key));
    let deletions = gone.map(|key| Write::Delete((*key).clone()));
    let new = of_source.iter().filter(|(key, value)| of_mirror.get(*key) != Some(value));
    let puts =
        new.map(|(key, value)| Write::Put { key: (*key).clone(), value: (*value).clone(), lease: None });
    deletions.chain(puts).collect()
}

/// Splits writes into parts that each fit a transaction.
pub(crate) fn chunks(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut parts: Vec<Vec<Write>> = Vec::new();
    let mut len = 0;
    for write in writes {
        let size = write.key().0.len()
            + match &write {
                Write::Put { value, .. } => value.len(),
                Write::Delete(_) => 0,
            };
        len += size;
        match parts.last_mut() {
            Some(part) if part.len() < layout::MAX_KEYS_PER_TXN && len <= layout::MAX_TXN_LEN => {
                part.push(write)
            }
            Some(_) | None => {
                len = size;
                parts.push(vec![write]);
            }
        }
    }
    parts
}

/// The state only.
impl<S> fmt::Debug for Replica<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("state", &self.state)
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Replica;
    use crate::replica::{Event, Source};
    use keystore::MemoryStore;

    /// Tasks of a runtime with several threads move them.
    #[test]
    fn the_futures_can_be_sent_between_threads() {
        const fn is_send<T: Send>(_: &T) {}
        fn check(source: &mut Source<MemoryStore>, replica: &mut Replica<MemoryStore>, event: &Event) {
            is_send(&source.next());
            is_send(&replica.apply(event));
            is_send(&replica.take_over());
            is_send(&replica.danger_replace());
        }
        let _ = check;
    }
}
