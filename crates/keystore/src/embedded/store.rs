//! The store itself: reads here, changes through the committer.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::StorageBackend;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::committer::{Committer, Core, WeakCommitter};
use super::open::{self, OpenError};
use super::options::RedbOptions;
use super::view::Published;
use super::write_batch::Request;
use crate::lease::Expiries;
use crate::watch::Cursor;
use crate::{
    Commit, Deadline, Freshness, Key, Keystore, Lease, LeaseId, Page, Revision, Snapshot, StoreError,
    StoreIdentity, Txn, WatchEvent, WatchStream, limits,
};

/// A store in one file, for one machine and one process at a time.
///
/// - Every acknowledged commit survives the end of the process and the loss of power.
/// - After a write or a flush of the disk has failed nothing more is committed: [`StoreError::Corrupt`], or
///   [`StoreError::Full`] when there was no room. Close it, see to the disk, open it again.
/// - The file is private to its owner. Beside it stand `.lock`, with the holder's process ID, and `.last`, with
///   the revision at the last clean stop: a file older than that was put back, and gets a new identity.
/// - Opening checks every page of the file first, in the calling task and without changing a byte: a second for some
///   hundred MiB.
///
/// Dropping the handle finishes what is queued and closes the file, which blocks for a flush or two;
/// [`RedbStore::close`] also says whether that went well.
pub struct RedbStore {
    /// None only while it is being closed.
    committer: Option<Committer>,
    published: Arc<Published>,
    tip: watch::Receiver<Revision>,
    identity: StoreIdentity,
    options: RedbOptions,
    expiries: Arc<Expiries>,
    expirer: AbortHandle,
}

/// A watch of a [`RedbStore`].
pub struct RedbWatch(Cursor<Published>);

impl RedbStore {
    /// Opens the store at a path; makes it, with a new identity, if there is no file.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong, whose business it is and what to do; an existing file is as it was.
    pub async fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let core = open::open_file(path, options.clone())?;
        Self::start(core, options).map_err(|source| OpenError::Io {
            path: path.into(),
            doing: "serve",
            source,
        })
    }

    /// Opens the store on any storage, such as a simulated disk; makes it if that is empty. Nothing is locked
    /// or noted beside it, and the integrity of what is found is redb's word.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub async fn open_with_backend(
        backend: impl StorageBackend,
        options: RedbOptions,
    ) -> Result<Self, OpenError> {
        let core = open::open_backend(backend, options.clone())?;
        Self::start(core, options).map_err(|source| OpenError::Io {
            path: "(storage)".into(),
            doing: "serve",
            source,
        })
    }

    fn start(core: Core, options: RedbOptions) -> std::io::Result<Self> {
        let published = core.published();
        let tip = core.watch_tip();
        let identity = core.header().identity;
        let expiries = Arc::new(Expiries::default());
        for (id, ttl) in core.leases().map_err(|fault| std::io::Error::other(fault.text()))? {
            expiries.begin(id, ttl);
        }
        let committer = Committer::start(core)?;
        let expirer = tokio::spawn(expire(Arc::clone(&expiries), committer.downgrade())).abort_handle();
        Ok(Self { committer: Some(committer), published, tip, identity, options, expiries, expirer })
    }

    /// Finishes what is queued and closes the file. Watches end.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the last words could not be written. What was acknowledged is there.
    pub async fn close(mut self) -> Result<(), StoreError> {
        self.expirer.abort();
        self.committer.take().map_or(Ok(()), Committer::close)
    }

    async fn submit(&self, request: Request, d: Deadline) -> Result<Commit, StoreError> {
        match &self.committer {
            Some(committer) => committer.submit(request, d).await,
            None => Err(StoreError::unavailable(Duration::from_secs(1), "the store is being closed")),
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.expirer.abort();
        if let Some(committer) = self.committer.take() {
            let _reported_by_close = committer.close();
        }
    }
}

impl Keystore for RedbStore {
    type Watch = RedbWatch;

    fn identity(&self) -> StoreIdentity {
        self.identity
    }

    async fn get(&self, keys: &[Key], f: Freshness, _: Deadline) -> Result<Snapshot, StoreError> {
        limits::check_keys(keys)?;
        let view = self.published.view()?;
        view.check_reached(f)?;
        Ok(view.get(keys)?)
    }

    async fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        _: Deadline,
    ) -> Result<Page, StoreError> {
        limits::check_page(limit)?;
        let view = self.published.view()?;
        view.check_reached(f)?;
        let at = at.unwrap_or(view.header.revision);
        view.check_kept(at)?;
        Ok(view.scan(&range, limit, at)?)
    }

    async fn commit(&self, txn: Txn, d: Deadline) -> Result<Commit, StoreError> {
        limits::check_txn(&txn)?;
        self.submit(Request::Commit(txn), d).await
    }

    async fn watch(&self, range: Range<Key>, after: Revision) -> Result<RedbWatch, StoreError> {
        self.published.view()?.check_kept(after)?;
        Ok(RedbWatch(Cursor::new(Arc::clone(&self.published), self.tip.clone(), range, after)))
    }

    async fn grant(&self, ttl: Duration, d: Deadline) -> Result<Lease, StoreError> {
        limits::check_ttl(ttl)?;
        let mut bytes = [0; 8];
        (self.options.random)(&mut bytes).map_err(|_| {
            StoreError::unavailable(Duration::from_secs(1), "no random bytes for a lease's name")
        })?;
        // Half of the numbers, and never 0, so that every engine can hold them.
        let id = LeaseId((u64::from_be_bytes(bytes) >> 1).max(1));
        let ttl_ms = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let ttl = Duration::from_millis(ttl_ms);
        // Its time runs from here: if this future is dropped later, the lease still ends.
        self.expiries.begin(id, ttl);
        let granted = self.submit(Request::Grant { id, ttl_ms }, d).await;
        if granted.is_err() && granted != Err(StoreError::Unknown) {
            self.expiries.forget(id);
        }
        granted.map(|_| Lease { id, ttl })
    }

    async fn renew(&self, lease: LeaseId, _: Deadline) -> Result<Lease, StoreError> {
        self.expiries.renew(lease)
    }

    async fn revoke(&self, lease: LeaseId, d: Deadline) -> Result<(), StoreError> {
        self.submit(Request::Revoke(vec![lease]), d).await?;
        self.expiries.forget(lease);
        Ok(())
    }
}

impl WatchStream for RedbWatch {
    async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        self.0.next().await
    }
}

/// Ends leases in their time, as long as the store is open.
async fn expire(expiries: Arc<Expiries>, committer: WeakCommitter) {
    loop {
        let ended = expiries.ended().await;
        if !committer.submit(Request::Revoke(ended)).await {
            return;
        }
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedbWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedbWatch")
    }
}
