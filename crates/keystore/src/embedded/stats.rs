//! Statistics of commits: their number, the time of their flushes, and the failure that ended them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::StoreError;

/// Upper bounds of the buckets of [`CommitStats::flush_buckets`].
pub const FLUSH_BOUNDS: [Duration; 10] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Statistics of a store's commits since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitStats {
    /// Flushes to stable storage. One flush serves all transactions that wait for it.
    pub flushes: u64,
    /// Transactions, grants and revocations in these flushes.
    pub changes: u64,
    /// Total time of the flushes.
    pub flush_time: Duration,
    /// Number of flushes that took at most the bound of the same position in [`FLUSH_BOUNDS`], and more than the one
    /// before it.
    pub flush_buckets: [u64; FLUSH_BOUNDS.len()],
    /// The failure after which nothing more is committed.
    pub failure: Option<StoreError>,
}

/// [`CommitStats`] as the committer counts them.
#[derive(Debug, Default)]
pub(super) struct CommitCounters {
    flushes: AtomicU64,
    changes: AtomicU64,
    flush_nanos: AtomicU64,
    buckets: [AtomicU64; FLUSH_BOUNDS.len()],
    failure: Mutex<Option<StoreError>>,
}

impl CommitCounters {
    pub(super) fn flushed(&self, changes: usize, took: Duration) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.flush_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some((bucket, _)) = self.buckets.iter().zip(FLUSH_BOUNDS).find(|(_, bound)| took <= *bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self, error: StoreError) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn read(&self) -> CommitStats {
        CommitStats {
            flushes: self.flushes.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
            flush_time: Duration::from_nanos(self.flush_nanos.load(Ordering::Relaxed)),
            flush_buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CommitCounters, FLUSH_BOUNDS};
    use std::time::Duration;

    #[test]
    fn a_flush_counts_in_one_bucket() {
        let counters = CommitCounters::default();
        for took in [Duration::ZERO, FLUSH_BOUNDS[0], FLUSH_BOUNDS[9], Duration::from_secs(3)] {
            counters.flushed(2, took);
        }
        let stats = counters.read();
        assert_eq!((stats.flushes, stats.changes), (4, 8));
        assert_eq!((stats.flush_buckets[0], stats.flush_buckets[9]), (2, 1));
        assert_eq!(stats.flush_buckets.iter().sum::<u64>(), 3);
    }
}
