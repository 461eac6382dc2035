//! The session of one engine, which recovery may replace at any time between two calls.

use cryptoki::session::Session;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// One engine's handle to its session. The token keeps a weak reference, to open sessions again after a loss.
#[derive(Clone)]
pub(crate) struct EngineSession(pub(super) Arc<SessionSlot>);

/// The place of an engine's session; the session in it is replaced when it is lost.
pub(super) struct SessionSlot {
    pub(super) current: Mutex<CurrentSession>,
    /// Whether the engine could find all its keys again in a new session.
    recoverable: AtomicBool,
}

pub(super) struct CurrentSession {
    /// `None` while the connection is being re-established, and after that failed.
    pub(super) session: Option<Session>,
    /// Number of the session, unique per token. Object handles of another generation are invalid.
    pub(super) generation: u64,
}

impl SessionSlot {
    pub(super) const fn new(session: Session, generation: u64) -> Self {
        let current = Mutex::new(CurrentSession { session: Some(session), generation });
        Self { current, recoverable: AtomicBool::new(false) }
    }

    /// Whether the session can be replaced without losing a key.
    pub(super) fn is_recoverable(&self) -> bool {
        self.recoverable.load(Ordering::Relaxed)
    }
}

impl EngineSession {
    /// Records whether the engine could find all its keys again in a new session.
    pub(crate) fn set_recoverable(&self, recoverable: bool) {
        self.0.recoverable.store(recoverable, Ordering::Relaxed);
    }
}
