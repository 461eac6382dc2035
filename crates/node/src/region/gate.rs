//! Refusing and counting writes.

use super::Acknowledge;
use super::site::Region;
use keystore::{Acknowledging, Deadline, Keystore as _, Revision, StoreError, Write, WriteGate, WritePermit};
use kms::replica::{SourcePosition, is_replicated};
use regions::{Epoch, Side, WritesRefused};
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
    fn enter(&self, writes: &[Write]) -> Result<WritePermit, StoreError> {
        let awaits_copy = self.awaits_copy(writes);
        // Counted before it is permitted: a freeze refuses first and then waits for the count.
        self.writes.count.fetch_add(1, Ordering::SeqCst);
        let permitted = self.may_write().and_then(|epoch| {
            if awaits_copy && !self.partner.is_connected() { Err(not_followed(epoch)) } else { Ok(epoch) }
        });
        match permitted {
            Ok(epoch) => Ok(WritePermit { epoch, awaits_copy }),
            Err(refused) => {
                self.exit();
                Err(refused)
            }
        }
    }

    fn acknowledge(&self, permit: WritePermit, at: Revision, within: Deadline) -> Acknowledging<'_> {
        Box::pin(async move {
            let at = SourcePosition { source: self.store().identity(), revision: at };
            let elsewhere = !permit.awaits_copy || self.partner_gets(at, within.0).await;
            elsewhere && self.may_acknowledge(Epoch::from_number(permit.epoch))
        })
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
    /// Whether the partner has to have these writes before they are acknowledged. A standby that has taken over has no one
    /// to wait for.
    fn awaits_copy(&self, writes: &[Write]) -> bool {
        let settings = &self.settings;
        (settings.acknowledge, settings.side) == (Acknowledge::Standby, Side::Home)
            && writes.iter().any(|write| is_replicated(write.key()))
    }

    /// Whether a write may begin now; the epoch.
    fn may_write(&self) -> Result<u64, StoreError> {
        let (epoch, refused) = match self.right_to_write() {
            Ok(epoch) => return Ok(epoch),
            Err(refused) => refused,
        };
        let retry_after = match refused {
            Some(WritesRefused::Frozen { remaining }) => remaining.min(Duration::from_secs(5)),
            Some(WritesRefused::TakingOver) => Duration::from_secs(1),
            Some(WritesRefused::Follows { .. } | WritesRefused::Unconfirmed | WritesRefused::NoLease)
            | None => Duration::from_secs(30),
        };
        let reason = match refused {
            Some(refused) => refused.to_string(),
            None => "read-only: this region has just started".to_owned(),
        };
        Err(StoreError::ReadOnly { epoch, retry_after, reason: reason.into() })
    }
}

fn not_followed(epoch: u64) -> StoreError {
    let reason =
        "read-only: changes are acknowledged once the standby region has them, and it is not connected";
    StoreError::ReadOnly { epoch, retry_after: Duration::from_secs(5), reason: reason.into() }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("side", &self.settings.side).finish_non_exhaustive()
    }
}
