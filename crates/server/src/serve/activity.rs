//! What a connection does at this moment: whether the service works for it, or waits for its client.

use axum::http::Extensions;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// In place of a time: the service works on a request.
const WORKING: u64 = u64::MAX;

/// The activity of one connection, shared by its task, its stream and the table of connections.
pub(super) struct Activity {
    peer: IpAddr,
    opened: Instant,
    /// Since when the service waits for the client, in microseconds after the connection was opened, or [`WORKING`].
    waiting_since: AtomicU64,
    /// When the present request began, in microseconds after the connection was opened.
    request_began: AtomicU64,
    /// Requests begun.
    requests: AtomicU64,
    in_request: AtomicBool,
    authenticated: AtomicBool,
    evicted: AtomicBool,
    task: OnceLock<AbortHandle>,
    /// Told when the service starts to wait for the client, so that the connection may be evicted.
    changed: Arc<Notify>,
}

impl Activity {
    pub(super) fn new(peer: IpAddr, changed: Arc<Notify>) -> Self {
        Self {
            peer: network(peer),
            opened: Instant::now(),
            waiting_since: AtomicU64::new(0),
            request_began: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            in_request: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            task: OnceLock::new(),
            changed,
        }
    }

    /// When the connection was accepted.
    pub(super) const fn opened(&self) -> Instant {
        self.opened
    }

    /// Requests whose header was received.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a request's header was received and there is no answer to it yet.
    pub(super) fn in_request(&self) -> bool {
        self.in_request.load(Ordering::Relaxed)
    }

    /// Whether a request of the connection was authenticated.
    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    /// Since when the service waits for the client; `None` while it works on a request.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let since = self.waiting_since.load(Ordering::Relaxed);
        (since != WORKING).then(|| self.opened + Duration::from_micros(since))
    }

    /// The header of a request was received.
    pub(super) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.request_began.store(self.now(), Ordering::Relaxed);
        self.in_request.store(true, Ordering::Relaxed);
        self.waiting_since.store(WORKING, Ordering::Relaxed);
    }

    /// The request's body is awaited. A client that sends it byte by byte waits since the beginning of its request.
    pub(super) fn await_body(&self) {
        self.wait_since(self.request_began.load(Ordering::Relaxed));
    }

    /// A part of the request's body was received.
    pub(super) fn receive_body(&self) {
        if self.in_request() {
            self.waiting_since.store(WORKING, Ordering::Relaxed);
        }
    }

    /// There is an answer: its client has to take it, and to send another request.
    pub(super) fn end_request(&self) {
        self.in_request.store(false, Ordering::Relaxed);
        self.wait_since(self.now());
    }

    fn wait_since(&self, since: u64) {
        self.waiting_since.store(since, Ordering::Relaxed);
        self.changed.notify_one();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(WORKING).min(WORKING - 1)
    }

    /// The connection's task, which can be ended from now on.
    pub(super) fn run_in(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Whether the connection is of this peer and none of its requests was authenticated.
    pub(super) fn is_stranger_from(&self, peer: IpAddr) -> bool {
        self.peer == network(peer) && !self.is_authenticated()
    }

    /// Whether the connection was told to end.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Whether the connection can be ended without work being lost.
    pub(super) fn is_evictable(&self) -> bool {
        !self.is_evicted() && self.task.get().is_some() && self.waiting_since().is_some()
    }

    pub(super) fn evict(&self) {
        self.evicted.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// The part of an address that one peer has to itself: an IPv6 network of 64 bits is one peer's as a rule.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Extension of every request that is served by [`serve`](super::serve()).
#[derive(Clone)]
pub(super) struct OfConnection(pub(super) Arc<Activity>);

/// Notes that a request was authenticated. Its connection is kept longer than one of an unknown client, idle or when
/// there are too many.
pub fn mark_authenticated(request: &Extensions) {
    if let Some(OfConnection(activity)) = request.get() {
        activity.authenticated.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, network};
    use std::net::IpAddr;
    use std::sync::Arc;

    #[test]
    fn peers_are_told_apart_by_what_one_peer_has() {
        let of = |text: &str| network(text.parse::<IpAddr>().unwrap());
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn a_body_that_comes_byte_by_byte_does_not_renew_the_wait() {
        let activity = Activity::new([127, 0, 0, 1].into(), Arc::default());
        activity.begin_request();
        assert_eq!(activity.waiting_since(), None);
        activity.await_body();
        let since = activity.waiting_since();
        assert!(since.is_some());
        activity.receive_body();
        assert_eq!(activity.waiting_since(), None);
        activity.await_body();
        assert_eq!(activity.waiting_since(), since);
        activity.end_request();
        assert!(activity.waiting_since() >= since && !activity.in_request());
    }
}
