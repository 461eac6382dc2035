//! Errors of the database file, and a read-only view of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::secrets::SecretsError;
use crate::StoreError;

/// A failed access to the disk, or a malformed record on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("the database failed")]
    Redb(#[source] redb::Error),
    #[error("a record of {0} is malformed")]
    Record(&'static str),
}

macro_rules! from_redb {
    ($($error:ident),+) => {
        $(impl From<redb::$error> for DiskError {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        })+
    };
}
from_redb!(StorageError, TableError, TransactionError, CommitError, DatabaseError);

impl DiskError {
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Redb(redb::Error::Io(e)) if matches!(e.kind(), StorageFull | QuotaExceeded))
    }

    /// The message including its cause, in one line.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Redb(error) => error.to_string(),
            Self::Record(_) => self.to_string(),
        }
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match &error {
            DiskError::Redb(redb::Error::DatabaseClosed) => {
                Self::unavailable(Duration::from_secs(1), "the store has been closed")
            }
            _ => Self::Corrupt(format!(
                "{}; stop the service, check the disk, then restart or restore a backup",
                error.text()
            )),
        }
    }
}

impl From<SecretsError> for StoreError {
    fn from(error: SecretsError) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match &error {
            SecretsError::Refused(refused) => refused.clone(),
            SecretsError::Io(e) if matches!(e.kind(), StorageFull | QuotaExceeded) => Self::Full,
            SecretsError::Io(e) => {
                Self::Corrupt(format!("{error}: {e}; stop the service, check the disk, then restart"))
            }
            SecretsError::Lost(_) => Self::Corrupt(format!("{error}; restore it together with the keystore")),
            SecretsError::Failed => {
                Self::Corrupt(format!("{error}; stop the service, check the disk, then restart"))
            }
        }
    }
}

const PAGE: u64 = 4096;

/// A file that is only read: writes are kept in memory. For checking a file without changing it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    state: Mutex<OverlayState>,
}

#[derive(Debug)]
struct OverlayState {
    len: u64,
    /// Length up to which unwritten pages are read from the file.
    file_len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
}

impl Overlay {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, state: Mutex::new(OverlayState { len, file_len: len, pages: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, OverlayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, state: &OverlayState, number: u64) -> io::Result<Box<[u8; PAGE as usize]>> {
        if let Some(page) = state.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE as usize]);
        let available = state.file_len.saturating_sub(number * PAGE).min(PAGE) as usize;
        if let Some(part) = page.get_mut(..available) {
            self.file.read_exact_at(part, number * PAGE)?;
        }
        Ok(page)
    }
}

/// The pages that contain `len` bytes at `offset`: page number, range within the page, range within the buffer.
fn pages(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let part = (PAGE as usize - within).min(len - done);
        let item = (part > 0).then(|| (at / PAGE, within..within + part, done..done + part));
        done += part;
        item
    })
}

fn out_of_bounds() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl redb::StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(out_of_bounds());
        }
        for (number, within, part) in pages(offset, out.len()) {
            let page = self.page(&state, number)?;
            let (to, from) = out.get_mut(part).zip(page.get(within)).ok_or_else(out_of_bounds)?;
            to.copy_from_slice(from);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        if len < state.len {
            state.pages.retain(|number, _| number * PAGE < len);
            if let Some(page) = state.pages.get_mut(&(len / PAGE)) {
                page.iter_mut().skip((len % PAGE) as usize).for_each(|byte| *byte = 0);
            }
            state.file_len = state.file_len.min(len);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        for (number, within, part) in pages(offset, data.len()) {
            let mut page = self.page(&state, number)?;
            let (to, from) = page.get_mut(within).zip(data.get(part)).ok_or_else(out_of_bounds)?;
            to.copy_from_slice(from);
            state.pages.insert(number, page);
        }
        state.len = state.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }
}
