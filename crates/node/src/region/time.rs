//! The two clocks of a region.

use kms::Clock;
use regions::{Instant, Now, WallTime};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;

/// A clock that runs forward only, also while the machine is suspended, and the region's calendar.
#[derive(Clone)]
pub(super) struct Clocks {
    calendar: Arc<dyn Clock>,
    /// The first clock at the start.
    started_ms: u64,
}

impl Clocks {
    pub(super) fn new(calendar: Arc<dyn Clock>) -> Self {
        Self { calendar, started_ms: boot_ms() }
    }

    pub(super) fn now(&self) -> Now {
        let wall = WallTime::from_millis(self.calendar.now().as_millisecond());
        Now { instant: Instant::from_millis(boot_ms().saturating_sub(self.started_ms)), wall }
    }

    pub(super) fn calendar(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.calendar)
    }

    pub(super) fn timestamp(&self) -> jiff::Timestamp {
        self.calendar.now()
    }
}

/// Milliseconds since the machine was started. A lease that was granted before a suspend must not look valid after it.
fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}
