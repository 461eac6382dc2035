//! The newest committed state, for readers.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, ReadOnlyTable, ReadableDatabase};

use super::disk::Fault;
use super::record::{DATA, HEADER, HISTORY, Header, LOG, Live, Logged, META, Past};
use crate::watch::Log;
use crate::{Batch, Change, Entry, Freshness, Key, MAX_PAGE_LEN, Page, Revision, Snapshot, StoreError};

/// Log records that a watch reads at a time.
const LOG_CHUNK: usize = 64;

/// One committed state. Its tables keep the pages alive; the tables are opened once, not for each read.
pub(super) struct View {
    pub(super) header: Header,
    data: ReadOnlyTable<&'static [u8], &'static [u8]>,
    history: ReadOnlyTable<(&'static [u8], u64), &'static [u8]>,
    log: ReadOnlyTable<u64, &'static [u8]>,
}

/// Where the committer puts the newest view; empty when the store is closed.
#[derive(Default)]
pub(super) struct Published(RwLock<Option<Arc<View>>>);

impl Published {
    pub(super) fn set(&self, view: Option<View>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = view.map(Arc::new);
    }

    pub(super) fn view(&self) -> Result<Arc<View>, StoreError> {
        let view = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        view.ok_or_else(|| StoreError::unavailable(Duration::from_secs(1), "the store has been closed"))
    }
}

impl View {
    pub(super) fn open(db: &Database) -> Result<Self, Fault> {
        let txn = db.begin_read()?;
        let header = txn.open_table(META)?.get(HEADER)?;
        let header = header.and_then(|h| Header::decode(h.value())).ok_or(Fault::Record("header"))?;
        Ok(Self {
            header,
            data: txn.open_table(DATA)?,
            history: txn.open_table(HISTORY)?,
            log: txn.open_table(LOG)?,
        })
    }

    /// A revision that has not happened yet is one of another identity.
    pub(super) fn check_reached(&self, f: Freshness) -> Result<(), StoreError> {
        match f {
            Freshness::AtLeast(at) if at > self.header.revision => {
                Err(StoreError::IdentityChanged { now: self.header.identity })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_kept(&self, at: Revision) -> Result<(), StoreError> {
        self.check_reached(Freshness::AtLeast(at))?;
        if at < self.header.oldest {
            Err(StoreError::Compacted { oldest: self.header.oldest })
        } else {
            Ok(())
        }
    }

    pub(super) fn get(&self, keys: &[Key]) -> Result<Snapshot, Fault> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            entries.push(match self.data.get(&*key.0)? {
                Some(bytes) => {
                    Some(Live::decode(bytes.value()).ok_or(Fault::Record("data"))?.entry(key.clone()))
                }
                None => None,
            });
        }
        Ok(Snapshot { at: self.header.revision, entries })
    }

    pub(super) fn scan(&self, range: &Range<Key>, limit: usize, at: Revision) -> Result<Page, Fault> {
        let mut page = Page { at, entries: Vec::new(), next: None };
        if range.start >= range.end {
            return Ok(page);
        }
        let mut len = 0;
        for entry in self.entries_at(range, at)? {
            let entry = entry?;
            len += entry.key.0.len() + entry.value.len();
            if page.entries.len() == limit || len > MAX_PAGE_LEN {
                page.next = Some(entry.key);
                break;
            }
            page.entries.push(entry);
        }
        Ok(page)
    }

    /// A range as it stood at a revision: what stands since then or before, and what stood until later.
    fn entries_at(
        &self,
        range: &Range<Key>,
        at: Revision,
    ) -> Result<impl Iterator<Item = Result<Entry, Fault>> + use<>, Fault> {
        let (start, end) = (&*range.start.0, &*range.end.0);
        let live = self.data.range(start..end)?.filter_map(move |item| {
            let decode = || {
                let (key, bytes) = item?;
                let live = Live::decode(bytes.value()).ok_or(Fault::Record("data"))?;
                Ok((live.modified <= at).then(|| live.entry(Key::from(key.value()))))
            };
            decode().transpose()
        });
        // Every transaction moves what it replaces to the history: without one since, there is nothing in it.
        let history =
            (at < self.header.revision).then(|| self.history.range((start, 0)..(end, 0))).transpose()?;
        let past = history.into_iter().flatten().filter_map(move |item| {
            let decode = || {
                let (place, bytes) = item?;
                let (key, modified) = place.value();
                let past = Past::decode(bytes.value()).ok_or(Fault::Record("history"))?;
                let stood = modified <= at.0 && at < past.until;
                Ok(stood.then(|| past.entry(Key::from(key), Revision(modified))))
            };
            decode().transpose()
        });
        Ok(Merged { live: live.peekable(), past: past.peekable() })
    }

    /// A key as a transaction left it.
    fn entry_of(&self, key: &[u8], at: Revision) -> Result<Entry, Fault> {
        if let Some(bytes) = self.data.get(key)? {
            let live = Live::decode(bytes.value()).ok_or(Fault::Record("data"))?;
            if live.modified == at {
                return Ok(live.entry(Key::from(key)));
            }
        }
        let bytes = self.history.get((key, at.0))?.ok_or(Fault::Record("history"))?;
        Ok(Past::decode(bytes.value()).ok_or(Fault::Record("history"))?.entry(Key::from(key), at))
    }

    fn batches(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), Fault> {
        let mut batches = VecDeque::new();
        let mut records = self.log.range(after.0.saturating_add(1)..)?;
        let mut reached = after;
        for item in records.by_ref().take(LOG_CHUNK) {
            let (at, bytes) = item?;
            reached = Revision(at.value());
            let logged = Logged::decode(bytes.value()).ok_or(Fault::Record("log"))?;
            let mut changes = Vec::new();
            for changed in logged.changes().ok_or(Fault::Record("log"))? {
                if changed.key < &*range.start.0 || changed.key >= &*range.end.0 {
                    continue;
                }
                let now = if changed.present { Some(self.entry_of(changed.key, reached)?) } else { None };
                changes.push(Change { key: Key::from(changed.key), now });
            }
            if !changes.is_empty() {
                batches.push_back(Batch { at: reached, changes });
            }
        }
        Ok((batches, reached))
    }
}

/// Two ordered runs without a common key, as one.
struct Merged<A: Iterator, B: Iterator> {
    live: Peekable<A>,
    past: Peekable<B>,
}

impl<A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = Result<Entry, Fault>>,
    B: Iterator<Item = Result<Entry, Fault>>,
{
    type Item = Result<Entry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.live.peek(), self.past.peek()) {
            (Some(Ok(live)), Some(Ok(past))) if past.key < live.key => self.past.next(),
            (None, Some(_)) | (Some(Ok(_)), Some(Err(_))) => self.past.next(),
            _ => self.live.next(),
        }
    }
}

impl Log for Published {
    fn read(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), StoreError> {
        let view = self.view()?;
        view.check_kept(after)?;
        Ok(view.batches(range, after)?)
    }
}
