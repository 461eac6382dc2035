//! The wall clock: only what outlives a restart is measured by it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a commit can be replayed by its [`OpId`](crate::OpId).
pub const OP_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How far back a watch or a scan can reach.
pub const WATCH_RETENTION: Duration = Duration::from_secs(3600);

/// Time since the Unix epoch, by which history ages. Leases run on tokio's clock instead.
///
/// A clock that jumps ahead shortens what is kept by as much; one that goes back lengthens it.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl WallClock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    /// A clock of the caller's.
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

/// Whether something of `then` is past its `retention`, in milliseconds by the wall clock.
pub(crate) fn is_past(then_ms: u64, retention: Duration, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(then_ms)) > retention.as_millis()
}
