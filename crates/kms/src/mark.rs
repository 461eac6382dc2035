//! High-water marks: how far each instance has come, kept outside of the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::InstanceId;

/// How far an instance has come. A later state of an instance has a higher mark; so has an instance that was removed and
/// created again.
///
/// The fields are compared in their order. The epoch is before the number of changes: a store that took over writing counts on
/// from the state that it had, while the one before it may have counted further, in changes that are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceMark {
    /// Creation of the instance, in microseconds since 1970.
    pub born: u64,
    /// Epoch of the header, from 1; 0 in a mark that an earlier version has kept.
    pub epoch: u64,
    /// Changes of header and index since then.
    pub changes: u64,
}

impl InstanceMark {
    /// Whether the state with this mark is older than one whose mark was kept.
    #[must_use]
    pub fn is_older_than(self, kept: Self) -> bool {
        match kept.epoch {
            0 => (self.born, self.changes) < (kept.born, kept.changes),
            _ => self < kept,
        }
    }
}

/// Where the highest mark of each instance is kept.
///
/// The service refuses an instance whose mark is lower than the one kept here. An implementation that keeps the marks
/// outside of the store, and durably, detects a store that was replaced by an older one. The kept mark may be behind the
/// store, at the cost of that much detection; it must never be ahead of what the service has reported.
pub trait HighWaterMarks: Send + Sync + 'static {
    /// The highest mark that was reported, if there is one.
    fn mark(&self, instance: InstanceId) -> Option<InstanceMark>;

    /// Reports a mark, which the store has made durable. A lower one than the kept one is ignored.
    fn raise(&self, instance: InstanceId, mark: InstanceMark);
}

/// Marks in memory: they detect what goes back while the process runs.
#[derive(Debug, Default)]
pub struct VolatileMarks(Mutex<BTreeMap<InstanceId, InstanceMark>>);

impl HighWaterMarks for VolatileMarks {
    fn mark(&self, instance: InstanceId) -> Option<InstanceMark> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&instance).copied()
    }

    fn raise(&self, instance: InstanceId, mark: InstanceMark) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = marks.entry(instance).or_default();
        *kept = (*kept).max(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceMark;

    #[test]
    fn marks_are_compared_by_birth_epoch_and_changes() {
        let mark = |born, epoch, changes| InstanceMark { born, epoch, changes };
        let rising = [mark(1, 1, 9), mark(1, 2, 3), mark(1, 2, 4), mark(2, 1, 1)];
        for (n, one) in rising.iter().enumerate() {
            for (m, other) in rising.iter().enumerate() {
                assert_eq!(one.is_older_than(*other), n < m, "{one:?} {other:?}");
            }
        }
        // Kept by an earlier version: the epoch is not known.
        assert!(mark(1, 1, 8).is_older_than(mark(1, 0, 9)));
        assert!(!mark(1, 1, 9).is_older_than(mark(1, 0, 9)));
        assert!(mark(1, 1, 9) > mark(1, 0, 9));
    }
}
