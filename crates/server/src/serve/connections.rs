//! The open connections of a port, and which of them makes room when there are too many.

use super::ServeLimits;
use super::activity::Activity;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

/// Time between two warnings that a port has too many connections.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// The open connections of a port.
pub(super) struct Connections {
    limits: ServeLimits,
    open: Mutex<Open>,
    /// A connection has ended, or has come to wait for its client.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_number: BTreeMap<u64, Arc<Activity>>,
    warned: Option<Instant>,
}

/// The place of one connection; freed on drop.
pub(super) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    activity: Arc<Activity>,
}

impl Connections {
    pub(super) fn new(limits: ServeLimits) -> Self {
        Self { limits, open: Mutex::default(), changed: Arc::default() }
    }

    /// A slot for a connection that was accepted. If there is none, the connection that has waited longest for its client
    /// is ended; while the service works on requests of all of them, this one waits.
    pub(super) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Slot {
        loop {
            if let Some(slot) = self.try_admit(peer) {
                return slot;
            }
            // The only waiter: a notification since the attempt is kept for it.
            self.changed.notified().await;
        }
    }

    fn try_admit(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let mut open = self.open();
        let strangers = open.staying().filter(|open| open.is_stranger_from(peer)).count();
        if strangers >= self.limits.strangers_per_peer {
            open.evict(peer, |open| open.is_stranger_from(peer));
        }
        if open.staying().count() >= self.limits.connections {
            open.evict(peer, |_| true);
        }
        // The slot of an evicted connection is free once its task has ended and its descriptor is closed.
        if open.by_number.len() >= self.limits.connections {
            return None;
        }
        let number = open.next;
        open.next += 1;
        let activity = Arc::new(Activity::new(peer, Arc::clone(&self.changed)));
        open.by_number.insert(number, Arc::clone(&activity));
        Some(Slot { connections: Arc::clone(self), number, activity })
    }

    /// Ends the connection that has waited longest for its client: the process has no descriptor left.
    pub(super) fn make_room(&self) {
        let mut open = self.open();
        if open.staying().count() == open.by_number.len() {
            open.evict(IpAddr::from([0, 0, 0, 0]), |_| true);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Connections that were not told to end.
    fn staying(&self) -> impl Iterator<Item = &Arc<Activity>> {
        self.by_number.values().filter(|open| !open.is_evicted())
    }

    /// Ends one of the connections that wait for their clients: the one that has waited longest among those without an
    /// authenticated request, else among all.
    fn evict(&mut self, newcomer: IpAddr, eligible: impl Fn(&Activity) -> bool) {
        let waiting = self.by_number.values().filter(|open| open.is_evictable() && eligible(open));
        let Some(victim) = waiting.min_by_key(|open| (open.is_authenticated(), open.waiting_since())) else {
            return;
        };
        victim.evict();
        let now = Instant::now();
        if self.warned.is_none_or(|warned| now - warned > WARNING_PAUSE) {
            self.warned = Some(now);
            let connections = self.by_number.len();
            warn!(
                connections, %newcomer,
                "too many connections: the ones that have waited longest for their clients are closed"
            );
        }
    }
}

impl Slot {
    pub(super) const fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
        self.connections.changed.notify_one();
    }
}
