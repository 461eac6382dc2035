//! The store: reads directly, changes through the committer.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::StorageBackend;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::committer::{Committer, CommitterCore, WeakCommitter};
use super::open::{self, StoreOpenError};
use super::options::RedbOptions;
use super::pin::StorePin;
use super::secrets::{SecretFile, SecretsError};
use super::stats::{CommitCounters, CommitStats};
use super::view::LatestView;
use super::write_batch::Request;
use crate::lease::LeaseTimers;
use crate::watch::Cursor;
use crate::{
    AdoptedSecret, Commit, Deadline, Freshness, Key, Keystore, Lease, LeaseId, Page, Revision, Secret,
    SecretId, SecretOwner, SlotInUse, Snapshot, StoreError, StoreIdentity, Txn, UnnamedSecrets, WatchEvent,
    WatchStream, limits,
};

/// Longest time that the pin is behind the store.
const PIN_PAUSE: Duration = Duration::from_secs(1);

/// A store in one file, for one machine and one process at a time.
///
/// - Every acknowledged commit survives the end of the process and a loss of power.
/// - After a failed write or flush, nothing more is committed: calls return [`StoreError::Corrupt`], or
///   [`StoreError::Full`] if the disk was full. Close the store, repair the disk, open the store again.
/// - The file can be read by its owner only. Next to it are `.lock`, with the process ID of the holder, and `.last`, with
///   the revision at the last clean close: a file older than that was restored from a copy and gets a new identity.
/// - Opening first checks every page of the file, in the calling task and without changing it. That takes about a second
///   for some hundred MiB.
///
/// Dropping the store completes the queued changes and closes the file, which blocks for one or two flushes.
/// [`RedbStore::close`] does the same and returns errors.
pub struct RedbStore {
    /// `None` only while the store is being closed.
    committer: Option<Committer>,
    latest_view: Arc<LatestView>,
    tip: watch::Receiver<Revision>,
    identity: StoreIdentity,
    options: RedbOptions,
    counters: Arc<CommitCounters>,
    lease_timers: Arc<LeaseTimers>,
    lease_task: AbortHandle,
    secrets: Arc<SecretFile>,
    pin: Option<Arc<StorePin>>,
    pin_task: Option<AbortHandle>,
}

/// A watch on a [`RedbStore`].
pub struct RedbWatch(Cursor<LatestView>);

impl RedbStore {
    /// Opens the store in the file at `path`, or creates it with a new identity.
    ///
    /// # Errors
    /// [`StoreOpenError`]. An existing file is unchanged.
    pub async fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, StoreOpenError> {
        let path = path.as_ref();
        let core = open::open_file(path, options.clone())?;
        Self::start(core, options).map_err(|source| StoreOpenError::Io {
            path: path.into(),
            operation: "serve",
            source,
        })
    }

    /// Opens the store on any two storages, such as simulated disks, or creates it if they are empty: the database, and the
    /// secrets. Uses no lock and no side file, and does not check every page.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub async fn open_with_backends(
        backend: impl StorageBackend,
        secrets: impl StorageBackend,
        options: RedbOptions,
    ) -> Result<Self, StoreOpenError> {
        let core = open::open_backend(backend, secrets, options.clone())?;
        Self::start(core, options).map_err(|source| StoreOpenError::Io {
            path: "(storage)".into(),
            operation: "serve",
            source,
        })
    }

    fn start(core: CommitterCore, options: RedbOptions) -> std::io::Result<Self> {
        let latest_view = core.latest_view();
        let tip = core.watch_tip();
        let identity = core.header().identity;
        let counters = core.counters();
        let lease_timers = Arc::new(LeaseTimers::default());
        for (id, ttl) in core.leases().map_err(|error| std::io::Error::other(error.text()))? {
            lease_timers.start(id, ttl);
        }
        let secrets = core.secrets();
        let pin = core.pin();
        let pin_task = pin.clone().map(|pin| tokio::spawn(follow(pin, tip.clone())).abort_handle());
        let committer = Committer::start(core)?;
        let lease_task = tokio::spawn(revoke_ended_leases(Arc::clone(&lease_timers), committer.downgrade()));
        let lease_task = lease_task.abort_handle();
        Ok(Self {
            committer: Some(committer),
            latest_view,
            tip,
            identity,
            options,
            counters,
            lease_timers,
            lease_task,
            secrets,
            pin,
            pin_task,
        })
    }

    /// Statistics of commits since the store was opened.
    #[must_use]
    pub fn commit_stats(&self) -> CommitStats {
        self.counters.read()
    }

    /// The store's pin, if it was opened with one.
    #[must_use]
    pub fn pin(&self) -> Option<Arc<StorePin>> {
        self.pin.clone()
    }

    /// Completes the queued changes and closes the file. Watches end.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the file could not be closed cleanly. Acknowledged commits are durable even then.
    pub async fn close(mut self) -> Result<(), StoreError> {
        self.end_tasks();
        self.committer.take().map_or(Ok(()), Committer::close)
    }

    fn end_tasks(&self) {
        self.lease_task.abort();
        self.pin_task.iter().for_each(AbortHandle::abort);
    }

    /// Works on the file of secrets, which blocks for a flush.
    async fn on_secrets<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SecretFile, &RedbOptions) -> Result<T, SecretsError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.options.threads {
            return Ok(work(&self.secrets, &self.options)?);
        }
        let (secrets, options) = (Arc::clone(&self.secrets), self.options.clone());
        let done = tokio::task::spawn_blocking(move || work(&secrets, &options)).await;
        Ok(done.map_err(|_| StoreError::Corrupt("the file of secrets failed; restart the service".into()))??)
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
        self.end_tasks();
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
        let view = self.latest_view.view()?;
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
        let view = self.latest_view.view()?;
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
        self.latest_view.view()?.check_kept(after)?;
        Ok(RedbWatch(Cursor::new(Arc::clone(&self.latest_view), self.tip.clone(), range, after)))
    }

    async fn grant(&self, ttl: Duration, d: Deadline) -> Result<Lease, StoreError> {
        limits::check_ttl(ttl)?;
        let mut bytes = [0; 8];
        (self.options.random)(&mut bytes).map_err(|_| {
            StoreError::unavailable(Duration::from_secs(1), "no random bytes for a lease identifier")
        })?;
        // Positive as an i64, so that any database can store it.
        let id = LeaseId((u64::from_be_bytes(bytes) >> 1).max(1));
        let ttl_ms = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let ttl = Duration::from_millis(ttl_ms);
        // Started first: the lease ends even if this future is dropped after the grant.
        self.lease_timers.start(id, ttl);
        let granted = self.submit(Request::Grant { id, ttl_ms }, d).await;
        if granted.is_err() && granted != Err(StoreError::Unknown) {
            self.lease_timers.stop(id);
        }
        granted.map(|_| Lease { id, ttl })
    }

    async fn renew(&self, lease: LeaseId, _: Deadline) -> Result<Lease, StoreError> {
        self.lease_timers.renew(lease)
    }

    async fn revoke(&self, lease: LeaseId, d: Deadline) -> Result<(), StoreError> {
        self.submit(Request::Revoke(vec![lease]), d).await?;
        self.lease_timers.stop(lease);
        Ok(())
    }

    async fn draw_secret(&self, owner: SecretOwner, _: Deadline) -> Result<(SecretId, Secret), StoreError> {
        self.on_secrets(move |secrets, options| secrets.draw(owner, &options.random)).await
    }

    fn release_secret(&self, owner: SecretOwner, id: SecretId) {
        self.secrets.release(owner, id);
    }

    async fn secret(&self, id: SecretId, _: Deadline) -> Result<Option<Secret>, StoreError> {
        Ok(self.secrets.get(id)?)
    }

    async fn erase_secrets(&self, ids: &[SecretId], _: Deadline) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.on_secrets(move |secrets, _| secrets.erase(ids)).await
    }

    async fn erase_owner(&self, owner: SecretOwner, _: Deadline) -> Result<(), StoreError> {
        self.on_secrets(move |secrets, _| secrets.erase(secrets.of_owner(owner, false)?)).await
    }

    async fn inherited_secrets(&self, owner: SecretOwner, _: Deadline) -> Result<Vec<SecretId>, StoreError> {
        Ok(self.secrets.of_owner(owner, true)?)
    }

    async fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        _: Deadline,
    ) -> Result<(), StoreError> {
        limits::check_adopted(&secrets)?;
        self.on_secrets(move |file, _| file.adopt(&secrets, in_use)).await
    }

    async fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        _: Deadline,
    ) -> Result<usize, StoreError> {
        let named = named.clone();
        self.on_secrets(move |file, _| file.erase_unnamed(which, &named)).await
    }
}

impl WatchStream for RedbWatch {
    async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        self.0.next().await
    }
}

/// Revokes leases when they end, until the store is closed.
async fn revoke_ended_leases(timers: Arc<LeaseTimers>, committer: WeakCommitter) {
    loop {
        let ended = timers.wait_for_ended().await;
        if !committer.submit(Request::Revoke(ended)).await {
            return;
        }
    }
}

/// Has the pin follow the store, until the store is closed.
async fn follow(pin: Arc<StorePin>, mut tip: watch::Receiver<Revision>) {
    while tip.changed().await.is_ok() {
        // Many changes share one write, and the marks of this one are raised by then.
        tokio::time::sleep(PIN_PAUSE).await;
        let at = *tip.borrow_and_update();
        let pin = Arc::clone(&pin);
        // A failure is repeated with the next change, and reported when the store is closed.
        let _ = tokio::task::spawn_blocking(move || pin.follow(at)).await;
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
