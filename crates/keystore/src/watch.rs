//! One way to follow a log, for every store that has one at hand.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::{Batch, Key, Revision, StoreError, WatchEvent};

/// How often an idle watch says that it is alive.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Where a store keeps its transactions in order.
pub(crate) trait Log: Send + Sync + 'static {
    /// The next few transactions after `after` that touch the range, and the revision up to which they are all.
    fn read(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), StoreError>;
}

/// A cursor in a log. The log is the only source, so nothing can be lost between past and present.
#[derive(Debug)]
pub(crate) struct Cursor<L> {
    log: Arc<L>,
    /// The newest revision, for waking up; closed with the store.
    tip: watch::Receiver<Revision>,
    range: Range<Key>,
    delivered: Revision,
    read: VecDeque<Batch>,
    read_to: Revision,
}

impl<L: Log> Cursor<L> {
    /// Starts after a revision that the caller has found to be within the history.
    pub(crate) fn new(
        log: Arc<L>,
        tip: watch::Receiver<Revision>,
        range: Range<Key>,
        after: Revision,
    ) -> Self {
        Self { log, tip, range, delivered: after, read: VecDeque::new(), read_to: after }
    }

    // Nothing is taken out of `self` before an await, so the future can be dropped at any time.
    pub(crate) async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        loop {
            if let Some(batch) = self.read.pop_front() {
                self.delivered = batch.at;
                return Ok(WatchEvent::Batch(batch));
            }
            if self.read_to > self.delivered {
                self.delivered = self.read_to;
                return Ok(WatchEvent::Progress(self.delivered));
            }
            // Marked as seen before the log is read: what comes in between wakes the wait below.
            self.tip.borrow_and_update();
            (self.read, self.read_to) = self.log.read(&self.range, self.delivered)?;
            if self.read_to > self.delivered {
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
