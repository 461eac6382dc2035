//! Refusing and counting writes.

use super::site::Region;
use keystore::{StoreError, WriteGate};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Writes under way.
#[derive(Debug, Default)]
pub(super) struct WritesUnderWay {
    count: AtomicUsize,
    none_left: Notify,
}

impl WritesUnderWay {
    /// Waits until none is left. New ones must be refused already.
    pub(super) async fn ended(&self) {
        loop {
            let notified = self.none_left.notified();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl WriteGate for Region {
    fn enter(&self) -> Result<(), StoreError> {
        // Counted before it is permitted: a freeze refuses first and then waits for the count.
        self.writes.count.fetch_add(1, Ordering::SeqCst);
        let permitted = self.may_write();
        if permitted.is_err() {
            self.exit();
        }
        permitted
    }

    fn exit(&self) {
        if self.writes.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.writes.none_left.notify_waiters();
        }
    }

    fn is_open(&self) -> bool {
        self.may_write().is_ok()
    }
}

impl Region {
    /// Whether a write may begin, or be acknowledged, now.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        let Some(refused) = self.writes_refused() else { return Ok(()) };
        let (epoch, refused) = refused;
        let retry_after = match refused {
            Some(regions::WritesRefused::Frozen { remaining }) => remaining.min(Duration::from_secs(5)),
            Some(regions::WritesRefused::TakingOver) => Duration::from_secs(1),
            Some(
                regions::WritesRefused::Follows { .. }
                | regions::WritesRefused::Unconfirmed
                | regions::WritesRefused::NoLease,
            )
            | None => Duration::from_secs(30),
        };
        let reason = match refused {
            Some(refused) => refused.to_string(),
            None => "read-only: this region has just started".to_owned(),
        };
        Err(StoreError::ReadOnly { epoch, retry_after, reason: reason.into() })
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("side", &self.settings.side).finish_non_exhaustive()
    }
}
