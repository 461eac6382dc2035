//! Watches over a log of transactions, for every store that keeps one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::{Batch, Key, Revision, StoreError, WatchEvent};

/// How often a watch without changes sends [`WatchEvent::Progress`].
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The transactions of a store, in order.
pub(crate) trait Log: Send + Sync + 'static {
    /// Reads the next transactions after `after`. Returns those that change the range, and the revision up to which it read.
    fn read(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), StoreError>;
}

/// A position in a log. Past and new transactions are read from the same log, so none is missed between them.
#[derive(Debug)]
pub(crate) struct Cursor<L> {
    log: Arc<L>,
    /// The newest revision, to be woken by changes; closed with the store.
    tip: watch::Receiver<Revision>,
    range: Range<Key>,
    delivered: Revision,
    pending: VecDeque<Batch>,
    read_up_to: Revision,
}

impl<L: Log> Cursor<L> {
    /// Starts after `after`. The caller has checked that the history since then is kept.
    pub(crate) fn new(
        log: Arc<L>,
        tip: watch::Receiver<Revision>,
        range: Range<Key>,
        after: Revision,
    ) -> Self {
        Self { log, tip, range, delivered: after, pending: VecDeque::new(), read_up_to: after }
    }

    // Cancellation-safe: nothing is taken out of `self` before an await.
    pub(crate) async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        loop {
            if let Some(batch) = self.pending.pop_front() {
                self.delivered = batch.at;
                return Ok(WatchEvent::Batch(batch));
            }
            if self.read_up_to > self.delivered {
                self.delivered = self.read_up_to;
                return Ok(WatchEvent::Progress(self.delivered));
            }
            // Marked as seen before the log is read, so that a commit in between ends the wait below.
            self.tip.borrow_and_update();
            (self.pending, self.read_up_to) = self.log.read(&self.range, self.delivered)?;
            if self.read_up_to > self.delivered {
                continue;
            }
            tokio::select! {
                biased;
                changed = self.tip.changed() => {
                    if changed.is_err() {
                        return Err(StoreError::unavailable(Duration::from_secs(1), "the store has been closed"));
                    }
                }
                () = tokio::time::sleep(PROGRESS_INTERVAL) => return Ok(WatchEvent::Progress(self.delivered)),
            }
        }
    }
}
