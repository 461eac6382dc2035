//! The timers of leases. Stores delete the keys of ended leases themselves.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Lease, LeaseId, StoreError};

/// Longest TTL of a lease.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(366 * 24 * 3600);

/// The ends of all leases, by tokio's clock.
#[derive(Debug, Default)]
pub(crate) struct LeaseTimers {
    ends: Mutex<BTreeMap<LeaseId, (Instant, Duration)>>,
    changed: Notify,
}

impl LeaseTimers {
    /// Starts the timer of a lease that was granted, or was found when the store was opened.
    pub(crate) fn start(&self, id: LeaseId, ttl: Duration) {
        self.lock().insert(id, (Instant::now() + ttl, ttl));
        self.changed.notify_one();
    }

    pub(crate) fn renew(&self, id: LeaseId) -> Result<Lease, StoreError> {
        let mut ends = self.lock();
        let (end, ttl) = ends.get_mut(&id).ok_or(StoreError::LeaseGone)?;
        *end = Instant::now() + *ttl;
        Ok(Lease { id, ttl: *ttl })
    }

    pub(crate) fn stop(&self, id: LeaseId) {
        self.lock().remove(&id);
    }

    /// Waits until at least one lease has ended. The leases returned can no longer be renewed.
    pub(crate) async fn wait_for_ended(&self) -> Vec<LeaseId> {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut ends = self.lock();
                let now = Instant::now();
                let ended: Vec<_> =
                    ends.iter().filter(|(_, (end, _))| *end <= now).map(|(id, _)| *id).collect();
                for id in &ended {
                    ends.remove(id);
                }
                if !ended.is_empty() {
                    return ended;
                }
                ends.values().map(|(end, _)| *end).min()
            };
            match next {
                Some(end) => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(end) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LeaseId, (Instant, Duration)>> {
        // The map is consistent after every statement, so a poisoned lock can be used.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
