//! Background jobs. Those whose work must not be done twice run under a [`Claim`](claim::Claim).

mod backup;
mod claim;
mod follower;
mod membership;
mod rotation;
mod sweeper;
mod unit_audit;

use crate::backup::Backups;
use crate::metrics::JobMetrics;
use crate::node::WritableStore;
use crate::ports::UnitDirectory;
use crate::unit_audit::UnitAudit;
use host::Host;
use kms::InstanceId;
use server::KeyService;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};
use wire::text::error_chain;

use claim::{Claim, Job};
pub(crate) use rotation::{ROTATION_CALLER, has_batches};

/// The times that background jobs go by: real time, not the clock of keys.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct JobTiming {
    /// Duration of the lease under which a node does a job; a node that dies is replaced within it.
    pub lease: Duration,
    /// Pause between two removals of lapsed keys.
    pub sweep_pause: Duration,
    /// Pause between two fetches of the crypto units' audit records.
    pub audit_pause: Duration,
    /// Pause before something that failed, or a claim that another node holds, is tried again.
    pub retry_pause: Duration,
}

/// 10 s for the lease, a sweep every minute, audit records every 30 s, retries after 500 ms.
impl Default for JobTiming {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            sweep_pause: Duration::from_secs(60),
            audit_pause: Duration::from_secs(30),
            retry_pause: Duration::from_millis(500),
        }
    }
}

/// What the jobs of a node work with.
#[derive(Clone)]
pub(crate) struct JobContext {
    /// Name of the node, the holder of its claims.
    pub(crate) name: Arc<str>,
    pub(crate) store: WritableStore,
    pub(crate) kms: Arc<KeyService>,
    pub(crate) host: Host,
    pub(crate) directory: Arc<dyn UnitDirectory>,
    pub(crate) instances: Arc<[InstanceId]>,
    /// The instance whose header has the units' master-key proofs.
    pub(crate) proven_by: InstanceId,
    pub(crate) timing: JobTiming,
    pub(crate) unit_audit: Option<UnitAudit>,
    pub(crate) backups: Option<Arc<Backups>>,
    pub(crate) metrics: JobMetrics,
    /// Notified when a rotation may have batches to process.
    pub(crate) rotation_wake: Arc<Notify>,
}

/// The running jobs. Dropped, they end at once, and their claims end with their leases.
pub(crate) struct Jobs {
    claiming: JoinSet<()>,
    following: JoinSet<()>,
    handles: Vec<AbortHandle>,
    stop: watch::Sender<bool>,
    patience: Duration,
}

/// Whether the jobs are to end.
type Stopped = watch::Receiver<bool>;

impl Jobs {
    pub(crate) fn start(context: &JobContext) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut claiming, mut following) = (JoinSet::new(), JoinSet::new());
        let mut handles = vec![
            claiming.spawn(sweeper::run(context.clone(), stopped.clone())),
            claiming.spawn(rotation::run(context.clone(), stopped.clone())),
        ];
        if let Some(backups) = context.backups.clone() {
            handles.push(claiming.spawn(backup::run(context.clone(), backups, stopped)));
        }
        handles.push(following.spawn(membership::run(context.clone())));
        if let Some(audit) = context.unit_audit.clone() {
            handles.push(following.spawn(unit_audit::run(context.clone(), audit)));
        }
        for instance in context.instances.iter().copied() {
            handles.push(following.spawn(follower::run(context.clone(), instance)));
        }
        Self { claiming, following, handles, stop, patience: context.timing.lease }
    }

    /// Whether no job has ended. None ends by itself; a panic ends one.
    pub(crate) fn all_run(&self) -> bool {
        self.handles.iter().all(|job| !job.is_finished())
    }

    /// Ends the jobs and releases their claims.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.claiming.join_next().await.is_some() {} };
        // A claim that cannot be released in time ends with its lease.
        let _ = tokio::time::timeout(self.patience, ended).await;
        self.following.shutdown().await;
    }
}

impl JobContext {
    /// Does `work` under the claim on `job`: waits for the claim, starts again if it is lost, and releases it at the end.
    /// `None` when the jobs are to end first.
    async fn under_claim<T, F: Future<Output = T>>(
        &self,
        job: Job,
        stopped: &mut Stopped,
        work: impl Fn() -> F,
    ) -> Option<T> {
        loop {
            let claim = tokio::select! {
                claim = self.claim(job) => claim,
                () = until(stopped) => return None,
            };
            self.metrics.claimed(job.name(), true);
            let done = tokio::select! {
                done = claim.run(work()) => done,
                () = until(stopped) => {
                    claim.release(self.timing.lease).await;
                    return None;
                }
            };
            self.metrics.claimed(job.name(), false);
            if done.is_some() {
                claim.release(self.timing.lease).await;
                return done;
            }
            warn!(
                job = job.name(),
                "the claim on a job was lost; its work stops until the job is claimed again"
            );
        }
    }

    /// Waits until this node has the claim on a job.
    async fn claim(&self, job: Job) -> Claim {
        loop {
            match Claim::acquire(&self.store, job, &self.name, &self.timing).await {
                Ok(Some(claim)) => {
                    debug!(job = job.name(), "the job is claimed");
                    return claim;
                }
                Ok(None) => {}
                Err(error) => {
                    debug!(job = job.name(), error = %error_chain(&error), "the job cannot be claimed")
                }
            }
            tokio::time::sleep(self.timing.retry_pause).await;
        }
    }
}

async fn until(stopped: &mut Stopped) {
    // An error means that the jobs were dropped, which ends them too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
