//! Time as the caller tells it.

use core::time::Duration;

/// A moment: nanoseconds since the caller's start. Never read from a clock here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The caller's start.
    pub const START: Self = Self(0);

    /// The moment `elapsed` after the start.
    #[must_use]
    pub fn after_start(elapsed: Duration) -> Self {
        Self::START.plus(elapsed)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// This moment and `duration`, or the last moment there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this moment; none if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
