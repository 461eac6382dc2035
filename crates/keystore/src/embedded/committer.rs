//! The committer: the only writer, which commits queued changes in batches.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, ReadableTable};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::disk::DiskError;
use super::open::{self, FileLock};
use super::pin::StorePin;
use super::record::{Header, LEASES, OPS};
use super::secrets::SecretFile;
use super::stats::CommitCounters;
use super::view::{LatestView, View};
use super::write_batch::{Request, WriteBatch};
use super::{MAX_BATCH, MAX_QUEUE};
use crate::{Commit, Deadline, LeaseId, OpId, RedbOptions, Revision, StoreError};

type Answer = Result<Commit, StoreError>;

/// A queued request. `claimed` is set by the committer when it starts the request, or by the caller when it gives up;
/// whichever is first decides whether the request is done.
pub(super) struct Job {
    request: Request,
    claimed: Arc<AtomicBool>,
    answer: oneshot::Sender<Answer>,
}

/// The database, and the state that changes with every commit.
pub(super) struct CommitterCore {
    /// `None` once closed.
    db: Option<Database>,
    header: Header,
    latest_view: Arc<LatestView>,
    tip: watch::Sender<Revision>,
    options: RedbOptions,
    counters: Arc<CommitCounters>,
    /// Set by the first failure, after which nothing is committed.
    failure: Option<Failure>,
    /// File that records the last revision when the store is closed cleanly.
    side_file: Option<PathBuf>,
    /// What is known of the store outside of its file; follows the last revision.
    pin: Option<Arc<StorePin>>,
    secrets: Arc<SecretFile>,
    /// Declared last, so that the lock is released after the database is closed.
    _lock: Option<FileLock>,
}

/// The files beside the database.
pub(super) struct Beside {
    pub(super) side_file: Option<PathBuf>,
    pub(super) pin: Option<Arc<StorePin>>,
    pub(super) secrets: SecretFile,
}

/// A failure of the disk.
struct Failure {
    /// The answer to further requests.
    error: StoreError,
    /// Operations of the commit that failed, which may have been applied.
    unknown: BTreeSet<OpId>,
}

/// At which point a batch failed.
enum BatchError {
    /// Before the commit began; nothing was applied.
    BeforeCommit(DiskError),
    /// During the commit, which may have been applied.
    DuringCommit(DiskError),
}

impl<E: Into<DiskError>> From<E> for BatchError {
    fn from(error: E) -> Self {
        Self::BeforeCommit(error.into())
    }
}

impl CommitterCore {
    pub(super) fn new(
        db: Database,
        options: RedbOptions,
        Beside { side_file, pin, secrets }: Beside,
        lock: Option<FileLock>,
    ) -> Result<Self, DiskError> {
        let view = View::open(&db)?;
        let header = view.header;
        let latest_view = Arc::new(LatestView::default());
        latest_view.set(Some(view));
        let tip = watch::Sender::new(header.revision);
        let counters = Arc::default();
        Ok(Self {
            db: Some(db),
            header,
            latest_view,
            tip,
            options,
            counters,
            failure: None,
            side_file,
            pin,
            secrets: Arc::new(secrets),
            _lock: lock,
        })
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    pub(super) fn secrets(&self) -> Arc<SecretFile> {
        Arc::clone(&self.secrets)
    }

    pub(super) fn pin(&self) -> Option<Arc<StorePin>> {
        self.pin.clone()
    }

    pub(super) fn latest_view(&self) -> Arc<LatestView> {
        Arc::clone(&self.latest_view)
    }

    pub(super) fn counters(&self) -> Arc<CommitCounters> {
        Arc::clone(&self.counters)
    }

    pub(super) fn watch_tip(&self) -> watch::Receiver<Revision> {
        self.tip.subscribe()
    }

    /// The stored leases.
    pub(super) fn leases(&self) -> Result<Vec<(LeaseId, Duration)>, DiskError> {
        let Some(db) = &self.db else { return Ok(Vec::new()) };
        let table = db.begin_read()?.open_table(LEASES)?;
        let mut leases = Vec::new();
        for item in table.iter()? {
            let (id, ttl_ms) = item?;
            leases.push((LeaseId(id.value()), Duration::from_millis(ttl_ms.value())));
        }
        Ok(leases)
    }

    /// Applies the requests in order, in one commit. Returns the answer to each.
    fn run(&mut self, requests: &[&Request]) -> Vec<Answer> {
        if let Some(failure) = &self.failure {
            return requests.iter().map(|request| self.answer_after(failure, request)).collect();
        }
        match self.commit(requests) {
            Ok(answers) => answers,
            Err(batch_error) => {
                let (error, during_commit) = match batch_error {
                    BatchError::BeforeCommit(error) => (error, false),
                    BatchError::DuringCommit(error) => (error, true),
                };
                let error = if error.is_full() { StoreError::Full } else { error.into() };
                let unknown = requests.iter().filter(|_| during_commit).filter_map(|r| r.op()).collect();
                let answer = if during_commit { StoreError::Unknown } else { error.clone() };
                self.counters.failed(error.clone());
                self.failure = Some(Failure { error, unknown });
                requests.iter().map(|_| Err(answer.clone())).collect()
            }
        }
    }

    /// The answer to a request after a failure. A retry of an operation that was applied, or may have been, is not refused as
    /// if it had not been.
    fn answer_after(&self, failure: &Failure, request: &Request) -> Answer {
        let Some(op) = request.op() else { return Err(failure.error.clone()) };
        if failure.unknown.contains(&op) {
            return Err(StoreError::Unknown);
        }
        match self.applied(op) {
            Ok(Some(at)) => Ok(Commit::Applied { at, replayed: true }),
            Ok(None) | Err(_) => Err(failure.error.clone()),
        }
    }

    fn applied(&self, op: OpId) -> Result<Option<Revision>, DiskError> {
        let Some(db) = &self.db else { return Ok(None) };
        Ok(db.begin_read()?.open_table(OPS)?.get(&op.0)?.map(|at| Revision(at.value())))
    }

    fn commit(&mut self, requests: &[&Request]) -> Result<Vec<Answer>, BatchError> {
        let Some(db) = &self.db else {
            return Err(DiskError::from(redb::StorageError::DatabaseClosed).into());
        };
        let full = self.is_full()?;
        let mut txn = db.begin_write()?;
        // Set explicitly, although some are defaults, because the contract depends on them.
        txn.set_durability(Durability::Immediate).map_err(|e| DiskError::Redb(e.into()))?;
        txn.set_two_phase_commit(true);
        txn.set_quick_repair(false);
        let mut batch = WriteBatch::open(&txn, self.header, self.options.wall.now_ms())?;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(if full && !request.only_deletes() {
                batch.refuse_as_full(request)?
            } else {
                batch.run(request)?
            });
        }
        let Some(header) = batch.finish()? else {
            txn.abort()?;
            return Ok(answers);
        };
        let began = std::time::Instant::now();
        txn.commit().map_err(|e| BatchError::DuringCommit(e.into()))?;
        self.counters.flushed(requests.len(), began.elapsed());
        // Published before the answers are sent, so that a reader sees every acknowledged commit.
        let view = View::open(db).map_err(BatchError::DuringCommit)?;
        self.latest_view.set(Some(view));
        self.header = header;
        self.tip.send_if_modified(|tip| std::mem::replace(tip, header.revision) != header.revision);
        Ok(answers)
    }

    fn is_full(&self) -> Result<bool, DiskError> {
        let Some(free) = &self.options.free_space else { return Ok(false) };
        free().map(|free| free < self.options.reserve).map_err(|e| redb::StorageError::from(e).into())
    }

    fn run_jobs(&mut self, jobs: &mut Vec<Job>) {
        jobs.retain(|job| !job.claimed.swap(true, Ordering::AcqRel));
        if jobs.is_empty() {
            return;
        }
        let answers = self.run(&jobs.iter().map(|job| &job.request).collect::<Vec<_>>());
        for (job, answer) in jobs.drain(..).zip(answers) {
            // Fails if the caller has dropped its future.
            let _ignored = job.answer.send(answer);
        }
    }

    /// Closes the file and records the last revision.
    pub(super) fn close(&mut self) -> Result<(), DiskError> {
        self.latest_view.set(None);
        let Some(db) = self.db.take() else { return Ok(()) };
        db.close()?;
        if self.failure.is_none()
            && let Some(path) = &self.side_file
        {
            open::write_side_file(path, &self.header).map_err(redb::StorageError::from)?;
        }
        // After a failure too: the header is of the last commit that was flushed.
        if let Some(pin) = &self.pin {
            pin.follow(self.header.revision).map_err(redb::StorageError::from)?;
        }
        Ok(())
    }
}

impl Drop for CommitterCore {
    fn drop(&mut self) {
        // Only `RedbStore::close` returns errors; commits are durable either way.
        let _ignored = self.close();
    }
}

/// Handle to the committer.
pub(super) enum Committer {
    Thread { queue: mpsc::Sender<Job>, thread: JoinHandle<Result<(), DiskError>> },
    Inline(Arc<Mutex<CommitterCore>>),
}

/// Handle to the committer that does not keep it alive.
pub(super) enum WeakCommitter {
    Thread(mpsc::WeakSender<Job>),
    Inline(Weak<Mutex<CommitterCore>>),
}

impl Committer {
    pub(super) fn start(mut core: CommitterCore) -> std::io::Result<Self> {
        if !core.options.threads {
            return Ok(Self::Inline(Arc::new(Mutex::new(core))));
        }
        let (queue, mut jobs) = mpsc::channel::<Job>(MAX_QUEUE);
        let thread = std::thread::Builder::new().name("keystore-committer".into()).spawn(move || {
            let mut batch = Vec::with_capacity(MAX_BATCH);
            while jobs.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
                core.run_jobs(&mut batch);
            }
            core.close()
        })?;
        Ok(Self::Thread { queue, thread })
    }

    /// Queues a request and waits for its answer, at most until the deadline.
    pub(super) async fn submit(&self, request: Request, d: Deadline) -> Answer {
        let queue = match self {
            Self::Inline(core) => return run_inline(core, &request),
            Self::Thread { queue, .. } => queue,
        };
        let end = Instant::now().checked_add(d.0);
        let permit = within(end, queue.reserve()).await;
        let permit = permit.ok_or_else(|| busy("the queue of changes is full"))?.map_err(|_| stopped())?;
        let claimed = Arc::new(AtomicBool::new(false));
        let (answer, answered) = oneshot::channel();
        permit.send(Job { request, claimed: Arc::clone(&claimed), answer });
        match within(end, answered).await {
            Some(Ok(answer)) => answer,
            // The committer panicked during the request.
            Some(Err(_)) => Err(StoreError::Unknown),
            None if claimed.swap(true, Ordering::AcqRel) => Err(StoreError::Unknown),
            None => Err(busy("the deadline passed before the change was started")),
        }
    }

    pub(super) fn downgrade(&self) -> WeakCommitter {
        match self {
            Self::Thread { queue, .. } => WeakCommitter::Thread(queue.downgrade()),
            Self::Inline(core) => WeakCommitter::Inline(Arc::downgrade(core)),
        }
    }

    /// Waits until the queued changes are complete and the file is closed.
    pub(super) fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Thread { queue, thread } => {
                drop(queue);
                Ok(thread.join().map_err(|_| stopped())??)
            }
            Self::Inline(core) => Ok(core.lock().unwrap_or_else(PoisonError::into_inner).close()?),
        }
    }
}

impl WeakCommitter {
    /// Queues a request without a deadline. Returns false when the store is closed.
    pub(super) async fn submit(&self, mut request: Request) -> bool {
        match self {
            Self::Inline(core) => core.upgrade().map(|core| run_inline(&core, &request)).is_some(),
            Self::Thread(queue) => loop {
                let (answer, answered) = oneshot::channel();
                let job = Job { request, claimed: Arc::new(AtomicBool::new(false)), answer };
                // The strong sender is dropped before the await, because it would delay closing the store.
                match queue.upgrade().map(|queue| queue.try_send(job)) {
                    Some(Ok(())) => return answered.await.is_ok(),
                    Some(Err(mpsc::error::TrySendError::Full(job))) => request = job.request,
                    Some(Err(mpsc::error::TrySendError::Closed(_))) | None => return false,
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            },
        }
    }
}

fn run_inline(core: &Mutex<CommitterCore>, request: &Request) -> Answer {
    let mut core = core.lock().map_err(|_| stopped())?;
    core.run(&[request]).pop().unwrap_or(Err(StoreError::Unknown))
}

/// `None` when the deadline has passed; without a deadline, waits forever.
async fn within<T>(end: Option<Instant>, wait: impl Future<Output = T>) -> Option<T> {
    match end {
        Some(end) => tokio::time::timeout_at(end, wait).await.ok(),
        None => Some(wait.await),
    }
}

fn busy(reason: &'static str) -> StoreError {
    StoreError::unavailable(Duration::from_millis(50), reason)
}

fn stopped() -> StoreError {
    StoreError::Corrupt("the committer stopped after an internal error; restart the service".into())
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Committer")
    }
}
