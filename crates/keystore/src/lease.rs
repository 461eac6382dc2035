//! When leases end. What hangs on them is the stores' own business.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Lease, LeaseId, StoreError};

/// Longest lease that can be granted.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(366 * 24 * 3600);

/// The ends of all leases that are alive, by tokio's clock.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    live: Mutex<BTreeMap<LeaseId, (Instant, Duration)>>,
    changed: Notify,
}

impl Expiries {
    /// Starts a lease's time, whether it is new or was found at the start.
    pub(crate) fn begin(&self, id: LeaseId, ttl: Duration) {
        self.lock().insert(id, (Instant::now() + ttl, ttl));
        self.changed.notify_one();
    }

    pub(crate) fn renew(&self, id: LeaseId) -> Result<Lease, StoreError> {
        let mut live = self.lock();
        let (end, ttl) = live.get_mut(&id).ok_or(StoreError::LeaseGone)?;
        *end = Instant::now() + *ttl;
        Ok(Lease { id, ttl: *ttl })
    }

    pub(crate) fn forget(&self, id: LeaseId) {
        self.lock().remove(&id);
    }

    /// Waits until leases have ended and takes them out: from here on none of them can be renewed.
    pub(crate) async fn ended(&self) -> Vec<LeaseId> {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut live = self.lock();
                let now = Instant::now();
                let ended: Vec<_> =
                    live.iter().filter(|(_, (end, _))| *end <= now).map(|(id, _)| *id).collect();
                for id in &ended {
                    live.remove(id);
                }
                if !ended.is_empty() {
                    return ended;
                }
                live.values().map(|(end, _)| *end).min()
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
        // Every critical section leaves the map whole, so a panic elsewhere in one does not matter.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
