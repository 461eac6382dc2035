//! Removal of keys whose time to be restored is over.

use crate::node::{PATIENCE, SERVICE_CALLER};
use kms::{Call, InstanceId};
use server::KeyService;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;
use wire::text::error_chain;

/// Pause between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Most keys that one sweep removes from an instance.
const MAX_KEYS_PER_SWEEP: usize = 100;

/// Sweeps all instances again and again. A problem is logged when it appears or changes, not at every sweep.
pub(crate) async fn sweep(kms: Arc<KeyService>, instances: Vec<InstanceId>) {
    let mut logged = None;
    loop {
        for instance in &instances {
            let call = Call { instance: *instance, caller: SERVICE_CALLER, deadline: PATIENCE };
            let Err(e) = kms.purge_lapsed(&call, MAX_KEYS_PER_SWEEP).await else { continue };
            let problem = (*instance, error_chain(&e));
            if logged.as_ref() != Some(&problem) {
                warn!(instance = %instance, error = %problem.1, "deleted keys cannot be purged; retrying");
                logged = Some(problem);
            }
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}
