//! The wall clock, which measures the age of what outlives a restart.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a store remembers the [`OpId`](crate::OpId) of a commit.
pub const OP_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How long a store keeps the history that watches and scans read.
pub const WATCH_RETENTION: Duration = Duration::from_secs(3600);

/// Source of the time since the Unix epoch, for the age of history. Leases use tokio's monotonic clock.
///
/// If the clock jumps ahead, history is kept for a shorter time by as much; if it jumps back, for a longer time.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl WallClock {
    /// The system clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    /// A clock that calls `now`, which returns the time since the Unix epoch.
    #[must_use]
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from((self.0)().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// Whether something written at `then_ms` is older than `retention`. Times are milliseconds of the wall clock.
pub(crate) fn is_past(then_ms: u64, retention: Duration, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(then_ms)) > retention.as_millis()
}
