//! Backups at regular times, by the clock of keys.

use super::claim::Job;
use super::{JobContext, Stopped};
use crate::backup::Backups;
use crate::node::{PATIENCE, SERVICE_CALLER};
use crate::units::HostUnits;
use kms::Call;
use server::ServiceUnits;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two looks at the clock, which can be moved.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(60);

pub(super) async fn run(context: JobContext, backups: Arc<Backups>, mut stopped: Stopped) {
    let _ = context.under_claim(Job::Backup, &mut stopped, || make_all(&context, &backups)).await;
}

async fn make_all(context: &JobContext, backups: &Backups) -> Infallible {
    loop {
        let mut pause = LOOK;
        for instance in context.instances.iter().copied() {
            let call = Call { instance, caller: SERVICE_CALLER, deadline: PATIENCE, changed_at: None };
            // Without units there is nothing to make; health tells when that has lasted too long.
            let Ok(header) = context.kms.header(&call).await else { continue };
            if backups.is_due(instance, header.pattern()) {
                let units = ServiceUnits::new(HostUnits::new(context.host.clone()));
                if backups.make(&context.kms, units, instance).await.is_err() {
                    pause = RETRY;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}
