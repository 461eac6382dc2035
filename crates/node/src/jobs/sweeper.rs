//! Removal of keys whose time to be restored is over.

use super::claim::Job;
use super::{JobContext, Stopped};
use crate::node::{PATIENCE, SERVICE_CALLER};
use kms::Call;
use std::convert::Infallible;
use tracing::{info, warn};
use wire::text::error_chain;

/// Most keys that one sweep removes from an instance.
const MAX_KEYS_PER_SWEEP: usize = 100;

pub(super) async fn run(context: JobContext, mut stopped: Stopped) {
    let _ = context.under_claim(Job::Sweeper, &mut stopped, || sweep(&context)).await;
}

/// Sweeps all instances again and again. A problem is logged when it appears or changes, not at every sweep.
async fn sweep(context: &JobContext) -> Infallible {
    let mut logged = None;
    loop {
        for instance in context.instances.iter().copied() {
            let call = Call { instance, caller: SERVICE_CALLER, deadline: PATIENCE, changed_at: None };
            let e = match context.kms.purge_lapsed(&call, MAX_KEYS_PER_SWEEP).await {
                Ok(0) => continue,
                Ok(keys) => {
                    info!(%instance, keys, "deleted keys whose time to be restored is over were purged");
                    context.metrics.purged(instance, keys);
                    continue;
                }
                Err(e) => e,
            };
            let problem = (instance, error_chain(&e));
            if logged.as_ref() != Some(&problem) {
                warn!(%instance, error = %problem.1, "deleted keys cannot be purged; retrying");
                logged = Some(problem);
            }
        }
        context.metrics.swept();
        tokio::time::sleep(context.timing.sweep_pause).await;
    }
}
