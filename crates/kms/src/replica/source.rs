//! The side that is mirrored: what it has, then what changes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keystore::{
    Batch, Deadline, Freshness, Key, Keystore, MAX_PAGE_ENTRIES, Revision, SecretId, SecretOwner, StoreError,
    StoreIdentity, WatchEvent, WatchStream,
};

use super::digest::Digest;
use super::event::{CopiedEntry, CopyPage, CopyReason, Event, NamedSecret, SourceChange, SourceTxn};
use super::secrets::secrets_named;
use super::{SourceError, SourcePosition};
use crate::{Clock, SystemClock, layout};

/// Between two digests.
const DIGEST_EVERY: Duration = Duration::from_secs(60);
/// Between two reports of the newest revision, also while there are changes.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Options of a source. The default is the clock of the operating system, a digest each minute, and 30 s for a call of the
/// store.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceOptions {
    /// The clock of reported times.
    pub clock: Arc<dyn Clock>,
    /// Time between two digests.
    pub digest_every: Duration,
    /// Longest time for one call of the store.
    pub call: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), digest_every: DIGEST_EVERY, call: Duration::from_secs(30) }
    }
}

impl SourceOptions {
    /// Sets the clock of reported times.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the time between two digests.
    #[must_use]
    pub fn with_digest_every(self, digest_every: Duration) -> Self {
        Self { digest_every, ..self }
    }
}

/// Reads the events of one store for one mirror.
///
/// It reads the store only, so that several sources can read one store, and ends with the connection to its mirror. Secrets
/// are in the events as long as these live.
pub struct Source<S: Keystore> {
    store: S,
    identity: StoreIdentity,
    options: SourceOptions,
    state: State<S::Watch>,
    digest_wanted: bool,
    last_digest: Timestamp,
    last_progress: Timestamp,
}

enum State<W> {
    /// Everything is to be copied.
    Beginning(CopyReason),
    /// The copy at a revision is at this key; `None`: it is complete, and its end is to be told.
    Copying { at: Revision, from: Option<Key> },
    /// The changes after a revision are to be watched.
    Starting(Revision),
    Following {
        watch: W,
        /// The revision that the mirror has reached when it has applied what was returned.
        sent: Revision,
        /// Nothing between `sent` and here is replicated.
        passed: Revision,
        /// A transaction that was received from the watch and not yet returned.
        pending: Option<Batch>,
    },
}

impl<S: Keystore> Source<S> {
    /// A source for a mirror that has come to this position; `None` to have everything copied.
    #[must_use]
    pub fn new(store: S, from: Option<SourcePosition>, options: SourceOptions) -> Self {
        let identity = store.identity();
        let state = match from {
            None => State::Beginning(CopyReason::FirstTime),
            Some(from) if from.source == identity => State::Starting(from.revision),
            Some(_) => State::Beginning(CopyReason::OtherStore),
        };
        let last_digest = options.clock.now();
        let last_progress = Timestamp::MIN;
        Self { store, identity, options, state, digest_wanted: false, last_digest, last_progress }
    }

    /// Sends a digest as soon as possible.
    pub const fn request_digest(&mut self) {
        self.digest_wanted = true;
    }

    /// Waits for the next event, at most about a second without changes. Dropping the future loses no event.
    ///
    /// # Errors
    /// [`SourceError`]; the next call continues where this one failed.
    pub async fn next(&mut self) -> Result<Event, SourceError> {
        let identity = self.store.identity();
        if identity != self.identity {
            self.identity = identity;
            self.state = State::Beginning(CopyReason::OtherStore);
        }
        match self.step().await {
            // The store keeps the changes of an hour at least; a copy at a revision may take longer than that, too.
            Err(StoreError::Compacted { .. }) => self.state = State::Beginning(CopyReason::Compacted),
            Err(StoreError::IdentityChanged { now }) => {
                self.identity = now;
                self.state = State::Beginning(CopyReason::OtherStore);
            }
            outcome => return Ok(outcome?),
        }
        Ok(self.step().await?)
    }

    async fn step(&mut self) -> Result<Event, StoreError> {
        loop {
            match &self.state {
                State::Beginning(why) => {
                    let why = *why;
                    let at = self.newest().await?;
                    self.state = State::Copying { at, from: Some(layout::replicated().start) };
                    return Ok(Event::CopyBegins { at: self.at(at), why });
                }
                State::Copying { at, from: Some(from) } => {
                    let (at, from) = (*at, from.clone());
                    let page = self.page(at, from).await?;
                    let is_last = page.until == layout::replicated().end;
                    let from = (!is_last).then(|| page.until.clone());
                    self.state = State::Copying { at, from };
                    return Ok(Event::CopyPage(page));
                }
                State::Copying { at, from: None } => {
                    let at = *at;
                    self.state = State::Starting(at);
                    return Ok(Event::CopyEnds { at: self.at(at) });
                }
                State::Starting(after) => {
                    let sent = *after;
                    let watch = self.store.watch(layout::replicated(), sent).await?;
                    self.state = State::Following { watch, sent, passed: sent, pending: None };
                }
                State::Following { .. } => {
                    if let Some(event) = self.follow().await? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    async fn newest(&self) -> Result<Revision, StoreError> {
        Ok(self.store.get(&[], Freshness::Linearizable, self.deadline()).await?.at)
    }

    async fn page(&self, at: Revision, from: Key) -> Result<CopyPage, StoreError> {
        copy_page(&self.store, at, from..layout::replicated().end, self.deadline()).await
    }

    /// The next event after the copy; `None` after something that is not replicated.
    async fn follow(&mut self) -> Result<Option<Event>, StoreError> {
        let (source, deadline, now) = (self.identity, self.deadline(), self.options.clock.now());
        let State::Following { watch, sent, passed, pending } = &mut self.state else { return Ok(None) };
        // Between two transactions.
        if pending.is_none() {
            if self.digest_wanted || is_due(self.last_digest, self.options.digest_every, now) {
                let digest = Digest::of(&self.store, Some(*sent), deadline, |_| ()).await?;
                (self.digest_wanted, self.last_digest) = (false, now);
                return Ok(Some(Event::Digest { at: SourcePosition { source, revision: *sent }, digest }));
            }
            let newest = if is_due(self.last_progress, PROGRESS_EVERY, now) {
                Some(self.store.get(&[], Freshness::Linearizable, deadline).await?.at)
            } else {
                match watch.next().await? {
                    WatchEvent::Batch(batch) => {
                        *pending = Some(batch);
                        None
                    }
                    WatchEvent::Progress(reached) => {
                        *passed = reached;
                        Some(reached)
                    }
                }
            };
            if let Some(newest) = newest {
                self.last_progress = now;
                let after = std::mem::replace(sent, *passed);
                let at = SourcePosition { source, revision: *sent };
                let time_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
                return Ok(Some(Event::Progress { after, at, newest, time_ms }));
            }
        }
        self.pending_txn().await
    }

    /// The pending transaction, unless nothing of it is replicated. It stays pending until its secrets are read.
    async fn pending_txn(&mut self) -> Result<Option<Event>, StoreError> {
        let State::Following { pending: Some(batch), sent, .. } = &self.state else { return Ok(None) };
        let (after, at) = (*sent, batch.at);
        let changes = batch.changes.iter().filter(|change| layout::is_replicated(&change.key));
        let changes: Vec<_> = changes
            .map(|change| {
                let value = change.now.as_ref().map(|entry| Arc::clone(&entry.value));
                SourceChange { key: change.key.clone(), value }
            })
            .collect();
        let written = changes.iter().filter_map(|change| Some((&change.key, change.value.as_ref()?)));
        let secrets = secrets_of(&self.store, secrets_named(written), self.deadline()).await?;
        let is_replicated = !changes.is_empty();
        if let State::Following { pending, sent, passed, .. } = &mut self.state {
            (*pending, *passed) = (None, at);
            if is_replicated {
                *sent = at;
            }
        }
        let txn = SourceTxn { after, at: self.at(at), changes, secrets };
        Ok(is_replicated.then_some(Event::Txn(txn)))
    }

    const fn at(&self, revision: Revision) -> SourcePosition {
        SourcePosition { source: self.identity, revision }
    }

    const fn deadline(&self) -> Deadline {
        Deadline(self.options.call)
    }
}

/// The next page of a copy of a range, as it was at a revision, with the secrets that its values name.
pub(crate) async fn copy_page<S: Keystore>(
    store: &S,
    at: Revision,
    range: Range<Key>,
    deadline: Deadline,
) -> Result<CopyPage, StoreError> {
    let from = range.start.clone();
    let page =
        store.scan(range.clone(), MAX_PAGE_ENTRIES, Some(at), Freshness::Linearizable, deadline).await?;
    let until = page.next.unwrap_or(range.end);
    let entries = page.entries.into_iter().filter(|entry| layout::is_replicated(&entry.key));
    let entries: Vec<_> = entries.map(|entry| CopiedEntry { key: entry.key, value: entry.value }).collect();
    let named = secrets_named(entries.iter().map(|entry| (&entry.key, &entry.value)));
    let secrets = secrets_of(store, named, deadline).await?;
    Ok(CopyPage { from, until, entries, secrets })
}

async fn secrets_of<S: Keystore>(
    store: &S,
    named: BTreeMap<SecretId, SecretOwner>,
    deadline: Deadline,
) -> Result<Vec<NamedSecret>, StoreError> {
    let mut secrets = Vec::new();
    for id in named.into_keys() {
        let secret = store.secret(id, deadline).await?;
        secrets.push(NamedSecret { id, secret });
    }
    Ok(secrets)
}

/// Whether it is time again. A clock that was set back makes it time.
fn is_due(last: Timestamp, every: Duration, now: Timestamp) -> bool {
    now < last || now.duration_since(last).unsigned_abs() >= every
}

/// Identity and state only.
impl<S: Keystore> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Beginning(_) => "beginning a copy",
            State::Copying { .. } => "copying",
            State::Starting(_) | State::Following { .. } => "following",
        };
        f.debug_struct("Source")
            .field("identity", &self.identity)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
