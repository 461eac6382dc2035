//! The newest committed state, for reads.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, ReadOnlyTable, ReadableDatabase};

use super::disk::DiskError;
use super::record::{DATA, DataRecord, HEADER, HISTORY, Header, HistoryRecord, LOG, LogRecord, META};
use crate::watch::Log;
use crate::{Batch, Change, Entry, Freshness, Key, MAX_PAGE_LEN, Page, Revision, Snapshot, StoreError};

/// Log records that a watch reads at once.
const LOG_CHUNK: usize = 64;

/// One committed state. The open tables keep its pages; they are opened once, not for each read.
pub(super) struct View {
    pub(super) header: Header,
    data: ReadOnlyTable<&'static [u8], &'static [u8]>,
    history: ReadOnlyTable<(&'static [u8], u64), &'static [u8]>,
    log: ReadOnlyTable<u64, &'static [u8]>,
}

/// The newest view, set by the committer; `None` when the store is closed.
#[derive(Default)]
pub(super) struct LatestView(RwLock<Option<Arc<View>>>);

impl LatestView {
    pub(super) fn set(&self, view: Option<View>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = view.map(Arc::new);
    }

    pub(super) fn view(&self) -> Result<Arc<View>, StoreError> {
        let view = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        view.ok_or_else(|| StoreError::unavailable(Duration::from_secs(1), "the store has been closed"))
    }
}

impl View {
    pub(super) fn open(db: &Database) -> Result<Self, DiskError> {
        let txn = db.begin_read()?;
        let header = txn.open_table(META)?.get(HEADER)?;
        let header = header.and_then(|h| Header::decode(h.value())).ok_or(DiskError::Record("header"))?;
        Ok(Self {
            header,
            data: txn.open_table(DATA)?,
            history: txn.open_table(HISTORY)?,
            log: txn.open_table(LOG)?,
        })
    }

    /// Checks that the revision was reached; a later one belongs to another identity.
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

    pub(super) fn get(&self, keys: &[Key]) -> Result<Snapshot, DiskError> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            entries.push(match self.data.get(&*key.0)? {
                Some(bytes) => Some(
                    DataRecord::decode(bytes.value()).ok_or(DiskError::Record("data"))?.entry(key.clone()),
                ),
                None => None,
            });
        }
        Ok(Snapshot { at: self.header.revision, entries })
    }

    pub(super) fn scan(&self, range: &Range<Key>, limit: usize, at: Revision) -> Result<Page, DiskError> {
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

    /// The entries of a range at a revision: current ones written by then, and past ones replaced later.
    fn entries_at(
        &self,
        range: &Range<Key>,
        at: Revision,
    ) -> Result<impl Iterator<Item = Result<Entry, DiskError>> + use<>, DiskError> {
        let (start, end) = (&*range.start.0, &*range.end.0);
        let live = self.data.range(start..end)?.filter_map(move |item| {
            let decode = || {
                let (key, bytes) = item?;
                let live = DataRecord::decode(bytes.value()).ok_or(DiskError::Record("data"))?;
                Ok((live.modified <= at).then(|| live.entry(Key::from(key.value()))))
            };
            decode().transpose()
        });
        // The history has versions replaced after `at` only if there was a transaction since.
        let history =
            (at < self.header.revision).then(|| self.history.range((start, 0)..(end, 0))).transpose()?;
        let past = history.into_iter().flatten().filter_map(move |item| {
            let decode = || {
                let (entry, bytes) = item?;
                let (key, modified) = entry.value();
                let past = HistoryRecord::decode(bytes.value()).ok_or(DiskError::Record("history"))?;
                let is_version_at = modified <= at.0 && at < past.until;
                Ok(is_version_at.then(|| past.entry(Key::from(key), Revision(modified))))
            };
            decode().transpose()
        });
        Ok(Merged { live: live.peekable(), past: past.peekable() })
    }

    /// The entry of a key as a transaction wrote it.
    fn entry_of(&self, key: &[u8], at: Revision) -> Result<Entry, DiskError> {
        if let Some(bytes) = self.data.get(key)? {
            let live = DataRecord::decode(bytes.value()).ok_or(DiskError::Record("data"))?;
            if live.modified == at {
                return Ok(live.entry(Key::from(key)));
            }
        }
        let bytes = self.history.get((key, at.0))?.ok_or(DiskError::Record("history"))?;
        Ok(HistoryRecord::decode(bytes.value())
            .ok_or(DiskError::Record("history"))?
            .entry(Key::from(key), at))
    }

    fn batches(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), DiskError> {
        let mut batches = VecDeque::new();
        let mut records = self.log.range(after.0.saturating_add(1)..)?;
        let mut reached = after;
        for item in records.by_ref().take(LOG_CHUNK) {
            let (at, bytes) = item?;
            reached = Revision(at.value());
            let record = LogRecord::decode(bytes.value()).ok_or(DiskError::Record("log"))?;
            let mut changes = Vec::new();
            for changed in record.changes().ok_or(DiskError::Record("log"))? {
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

/// Merges two iterators that are ordered by key and have no key in common.
struct Merged<A: Iterator, B: Iterator> {
    live: Peekable<A>,
    past: Peekable<B>,
}

impl<A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = Result<Entry, DiskError>>,
    B: Iterator<Item = Result<Entry, DiskError>>,
{
    type Item = Result<Entry, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.live.peek(), self.past.peek()) {
            (Some(Ok(live)), Some(Ok(past))) if past.key < live.key => self.past.next(),
            (None, Some(_)) | (Some(Ok(_)), Some(Err(_))) => self.past.next(),
            _ => self.live.next(),
        }
    }
}

impl Log for LatestView {
    fn read(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), StoreError> {
        let view = self.view()?;
        view.check_kept(after)?;
        Ok(view.batches(range, after)?)
    }
}
