//! The batches of a rotation of the master key: re-enciphering, and removal of key forms that are no longer needed.

use super::claim::Job;
use super::{JobContext, Stopped, until};
use crate::metrics::JobMetrics;
use crate::node::PATIENCE;
use kms::rotation::{RegionError, RegionRotation, RegionStatus};
use kms::{Call, InstanceId, RotationPhase, RotationStatus};
use server::ServiceUnits;
use std::collections::BTreeMap;
use tracing::{debug, error, info, warn};
use wire::text::error_chain;

/// Caller of operations of a rotation.
pub(crate) const ROTATION_CALLER: &str = "key-service rotation";

pub(super) async fn run(context: JobContext, mut stopped: Stopped) {
    loop {
        let has_batches = tokio::select! {
            has_batches = context.has_batches() => has_batches,
            () = until(&mut stopped) => return,
        };
        match has_batches {
            Ok(false) => {}
            Ok(true) => {
                if context.under_claim(Job::Rotation, &mut stopped, || process(&context)).await.is_none() {
                    return;
                }
            }
            // For example, no unit serves. Whether anything is delayed is not known yet.
            Err(e) => {
                debug!(error = %error_chain(&e), "the status of the rotation is not known; retrying");
                tokio::select! {
                    () = tokio::time::sleep(context.timing.retry_pause) => continue,
                    () = until(&mut stopped) => return,
                }
            }
        }
        tokio::select! {
            () = context.rotation_wake.notified() => {}
            () = until(&mut stopped) => return,
        }
    }
}

/// Processes all batches of the present phase, or as many as there are before a failure that does not pass by itself.
///
/// An obstacle is logged when it appears or changes.
async fn process(context: &JobContext) {
    let mut logged = String::new();
    let mut progress = Progress::new(context).await;
    loop {
        let why = match context.rotation().run(|instance, status| progress.made(instance, status)).await {
            Ok(status) => match context.renew_proofs().await {
                Ok(()) if has_batches(&status) => continue,
                Ok(()) => {
                    info!("the present phase of the rotation of the master key has no batches left");
                    return;
                }
                Err(e) => error_chain(&e),
            },
            Err(e) if !is_retryable(&e) => {
                error!(error = %error_chain(&e), "the rotation of the master key has stopped");
                return;
            }
            Err(e) => error_chain(&e),
        };
        if why != logged {
            warn!(error = %why, "the rotation of the master key is delayed; retrying");
            logged = why;
        }
        tokio::time::sleep(context.timing.retry_pause).await;
    }
}

/// Counts what this node processes. It alone does, as it holds the claim.
struct Progress<'a> {
    metrics: &'a JobMetrics,
    /// The phase of each instance, and the key versions processed in it.
    seen: BTreeMap<InstanceId, (RotationPhase, u64)>,
}

impl<'a> Progress<'a> {
    async fn new(context: &'a JobContext) -> Self {
        let statuses = context.rotation().status().await.map(|status| status.instances).unwrap_or_default();
        let seen = |(instance, status): (InstanceId, Option<RotationStatus>)| {
            status.map(|status| (instance, (status.phase, status.done)))
        };
        Self { metrics: &context.metrics, seen: statuses.into_iter().filter_map(seen).collect() }
    }

    fn made(&mut self, instance: InstanceId, status: &RotationStatus) {
        let (phase, before) =
            self.seen.insert(instance, (status.phase, status.done)).unwrap_or((status.phase, 0));
        // The end of a phase with batches shows the number of that phase.
        let continues = phase == status.phase || !status.phase.has_batches();
        let processed = status.done.saturating_sub(if continues { before } else { 0 });
        self.metrics.processed(instance, processed);
        self.metrics.rotation(instance, status.done, status.total);
    }
}

impl JobContext {
    fn rotation(&self) -> RegionRotation<'_, crate::node::WritableStore, ServiceUnits> {
        let call =
            Call { instance: self.proven_by, caller: ROTATION_CALLER, deadline: PATIENCE, changed_at: None };
        RegionRotation::new(&self.kms, &self.instances, call)
    }

    /// Whether the present phase of a rotation has batches. Updates the metrics of its progress.
    async fn has_batches(&self) -> Result<bool, RegionError> {
        let status = self.rotation().status().await?;
        for (instance, rotation) in &status.instances {
            let under_way = rotation.filter(|rotation| rotation.phase != RotationPhase::Done);
            let (done, total) = under_way.map_or((0, 0), |rotation| (rotation.done, rotation.total));
            self.metrics.rotation(*instance, done, total);
        }
        Ok(has_batches(&status))
    }
}

/// Whether a failure may pass without anybody doing anything.
fn is_retryable(error: &RegionError) -> bool {
    matches!(error, RegionError::Instance { source, .. } if source.is_retryable())
}

pub(crate) fn has_batches(status: &RegionStatus) -> bool {
    status.position.journal.is_some_and(|journal| RotationPhase::has_batches(journal.phase))
}
