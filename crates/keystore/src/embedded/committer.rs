//! The one writer: a queue, a thread, one commit for many.

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

use super::disk::Fault;
use super::open::{self, Held};
use super::record::{Header, LEASES, OPS};
use super::view::{Published, View};
use super::write_batch::{Batch, Request};
use super::{MAX_BATCH, MAX_QUEUE};
use crate::{Commit, Deadline, LeaseId, OpId, RedbOptions, Revision, StoreError};

type Answer = Result<Commit, StoreError>;

/// A request in the queue. Whoever sets `claimed` first decides: the committer that it will be done, the
/// caller that it will not.
pub(super) struct Job {
    request: Request,
    claimed: Arc<AtomicBool>,
    answer: oneshot::Sender<Answer>,
}

/// The database with everything that a commit changes beside it.
pub(super) struct Core {
    /// None once closed.
    db: Option<Database>,
    header: Header,
    published: Arc<Published>,
    tip: watch::Sender<Revision>,
    options: RedbOptions,
    /// Set by the first failure; from then on nothing is committed.
    failed: Option<Failed>,
    /// Where the last revision is noted at a clean stop.
    side_file: Option<PathBuf>,
    /// Held as long as the database is open; dropped after it.
    _held: Option<Held>,
}

/// What is left to say after a failure.
struct Failed {
    error: StoreError,
    /// Operations that failed in the act: a restart may show that they were applied.
    doubtful: BTreeSet<OpId>,
}

/// Why a batch did not become durable.
enum Failure {
    /// Before the commit began.
    Before(Fault),
    /// While it went on: it may be there after a restart.
    During(Fault),
}

impl<F: Into<Fault>> From<F> for Failure {
    fn from(fault: F) -> Self {
        Self::Before(fault.into())
    }
}

impl Core {
    pub(super) fn new(
        db: Database,
        options: RedbOptions,
        side_file: Option<PathBuf>,
        held: Option<Held>,
    ) -> Result<Self, Fault> {
        let view = View::open(&db)?;
        let header = view.header;
        let published = Arc::new(Published::default());
        published.set(Some(view));
        let tip = watch::Sender::new(header.revision);
        Ok(Self { db: Some(db), header, published, tip, options, failed: None, side_file, _held: held })
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    pub(super) fn watch_tip(&self) -> watch::Receiver<Revision> {
        self.tip.subscribe()
    }

    /// The leases that were there when the store was opened.
    pub(super) fn leases(&self) -> Result<Vec<(LeaseId, Duration)>, Fault> {
        let Some(db) = &self.db else { return Ok(Vec::new()) };
        let table = db.begin_read()?.open_table(LEASES)?;
        let mut leases = Vec::new();
        for item in table.iter()? {
            let (id, ttl_ms) = item?;
            leases.push((LeaseId(id.value()), Duration::from_millis(ttl_ms.value())));
        }
        Ok(leases)
    }

    /// Does the requests in order, commits once, and gives an answer for each.
    fn run(&mut self, requests: &[&Request]) -> Vec<Answer> {
        if let Some(failed) = &self.failed {
            return requests.iter().map(|request| self.answer_after(failed, request)).collect();
        }
        match self.commit(requests) {
            Ok(answers) => answers,
            Err(failure) => {
                let (fault, in_the_act) = match failure {
                    Failure::Before(fault) => (fault, false),
                    Failure::During(fault) => (fault, true),
                };
                let error = if fault.is_full() { StoreError::Full } else { fault.into() };
                let doubtful = requests.iter().filter(|_| in_the_act).filter_map(|r| r.op()).collect();
                let now = if in_the_act { StoreError::Unknown } else { error.clone() };
                self.failed = Some(Failed { error, doubtful });
                requests.iter().map(|_| Err(now.clone())).collect()
            }
        }
    }

    /// What a failure leaves to say. Whatever was applied, or may have been, is not refused as if it were not.
    fn answer_after(&self, failed: &Failed, request: &Request) -> Answer {
        let Some(op) = request.op() else { return Err(failed.error.clone()) };
        if failed.doubtful.contains(&op) {
            return Err(StoreError::Unknown);
        }
        match self.applied(op) {
            Ok(Some(at)) => Ok(Commit::Applied { at, replayed: true }),
            Ok(None) | Err(_) => Err(failed.error.clone()),
        }
    }

    fn applied(&self, op: OpId) -> Result<Option<Revision>, Fault> {
        let Some(db) = &self.db else { return Ok(None) };
        Ok(db.begin_read()?.open_table(OPS)?.get(&op.0)?.map(|at| Revision(at.value())))
    }

    fn commit(&mut self, requests: &[&Request]) -> Result<Vec<Answer>, Failure> {
        let Some(db) = &self.db else { return Err(Fault::from(redb::StorageError::DatabaseClosed).into()) };
        let full = self.is_full()?;
        let mut txn = db.begin_write()?;
        // What redb calls immediate is its default; all three are said because all three are promised.
        txn.set_durability(Durability::Immediate).map_err(|e| Fault::Redb(e.into()))?;
        txn.set_two_phase_commit(true);
        txn.set_quick_repair(false);
        let mut batch = Batch::open(&txn, self.header, self.options.wall.now_ms())?;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(if full && !request.only_deletes() {
                batch.refuse_for_want_of_room(request)?
            } else {
                batch.run(request)?
            });
        }
        let Some(header) = batch.finish()? else {
            txn.abort()?;
            return Ok(answers);
        };
        txn.commit().map_err(|e| Failure::During(e.into()))?;
        // Readers see it before anybody is told.
        let view = View::open(db).map_err(Failure::During)?;
        self.published.set(Some(view));
        self.header = header;
        self.tip.send_if_modified(|tip| std::mem::replace(tip, header.revision) != header.revision);
        Ok(answers)
    }

    fn is_full(&self) -> Result<bool, Fault> {
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
            // A caller that has gone away does not want to know.
            let _gone = job.answer.send(answer);
        }
    }

    /// Closes the file in good order and notes how far it got.
    pub(super) fn close(&mut self) -> Result<(), Fault> {
        self.published.set(None);
        let Some(db) = self.db.take() else { return Ok(()) };
        db.close()?;
        if self.failed.is_none()
            && let Some(path) = &self.side_file
        {
            open::write_side_file(path, &self.header).map_err(redb::StorageError::from)?;
        }
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Only `RedbStore::close` reports; what is committed is safe either way.
        let _reported_by_close = self.close();
    }
}

/// The way to the one writer.
pub(super) enum Committer {
    Thread { queue: mpsc::Sender<Job>, thread: JoinHandle<Result<(), Fault>> },
    Inline(Arc<Mutex<Core>>),
}

/// A way to the writer that does not keep it alive.
pub(super) enum WeakCommitter {
    Thread(mpsc::WeakSender<Job>),
    Inline(Weak<Mutex<Core>>),
}

impl Committer {
    pub(super) fn start(mut core: Core) -> std::io::Result<Self> {
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

    /// Hands a request to the writer and waits for its answer, or until the deadline.
    pub(super) async fn submit(&self, request: Request, d: Deadline) -> Answer {
        let queue = match self {
            Self::Inline(core) => return run_inline(core, &request),
            Self::Thread { queue, .. } => queue,
        };
        let end = Instant::now().checked_add(d.0);
        let place = within(end, queue.reserve()).await;
        let place = place.ok_or_else(|| busy("the queue of changes is full"))?.map_err(|_| stopped())?;
        let claimed = Arc::new(AtomicBool::new(false));
        let (answer, answered) = oneshot::channel();
        place.send(Job { request, claimed: Arc::clone(&claimed), answer });
        match within(end, answered).await {
            Some(Ok(answer)) => answer,
            // The writer died with the job in its hands.
            Some(Err(_)) => Err(StoreError::Unknown),
            None if claimed.swap(true, Ordering::AcqRel) => Err(StoreError::Unknown),
            None => Err(busy("the deadline passed before the change was begun")),
        }
    }

    pub(super) fn downgrade(&self) -> WeakCommitter {
        match self {
            Self::Thread { queue, .. } => WeakCommitter::Thread(queue.downgrade()),
            Self::Inline(core) => WeakCommitter::Inline(Arc::downgrade(core)),
        }
    }

    /// Waits until everything queued is done and the file is closed.
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
    /// Hands over a request for which there is no hurry. False when the store is closed.
    pub(super) async fn submit(&self, mut request: Request) -> bool {
        match self {
            Self::Inline(core) => core.upgrade().map(|core| run_inline(&core, &request)).is_some(),
            Self::Thread(queue) => loop {
                let (answer, answered) = oneshot::channel();
                let job = Job { request, claimed: Arc::new(AtomicBool::new(false)), answer };
                // The strong sender lives for this line only: kept across an await, it would hold up a close.
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

fn run_inline(core: &Mutex<Core>, request: &Request) -> Answer {
    let mut core = core.lock().map_err(|_| stopped())?;
    core.run(&[request]).pop().unwrap_or(Err(StoreError::Unknown))
}

/// None when the time is up. A deadline beyond all time is none.
async fn within<T>(end: Option<Instant>, wait: impl Future<Output = T>) -> Option<T> {
    match end {
        Some(end) => tokio::time::timeout_at(end, wait).await.ok(),
        None => Some(wait.await),
    }
}

fn busy(why: &'static str) -> StoreError {
    StoreError::unavailable(Duration::from_millis(50), why)
}

fn stopped() -> StoreError {
    StoreError::Corrupt("the committer has stopped by a failure of its own; restart the service".into())
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Committer")
    }
}
