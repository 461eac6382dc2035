//! High-water marks: how far each instance has come, kept outside of the store.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::InstanceId;

/// How far an instance has come. A later state of an instance has a higher mark; so has an instance that was removed and
/// created again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceMark {
    /// Creation of the instance, in microseconds since 1970.
    pub born: u64,
    /// Changes of header and index since then.
    pub changes: u64,
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
