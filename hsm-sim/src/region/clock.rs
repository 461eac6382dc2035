//! The service's clock: real time, moved forward by command.

use super::data::DataError;
use crate::files;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum advance: a thousand years, so that every date can be formatted.
const MAX_AHEAD: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// Real time plus the sum of all advances, which survives restarts. The sum never decreases.
///
/// Only the timers of keys follow it. Bearer tokens expire by real time, so that an advance does not log clients out.
#[derive(Debug)]
pub struct SimClock {
    file: PathBuf,
    ahead_ms: AtomicU64,
    saving: Mutex<()>,
}

impl kms::Clock for SimClock {
    fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.since_epoch()).unwrap_or(SignedDuration::MAX);
        Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)
    }
}

impl SimClock {
    /// Opens the clock whose advance is stored in `file`.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be read or is malformed.
    pub fn open(file: PathBuf) -> Result<Self, DataError> {
        let content = files::read_if_present(&file)
            .map_err(|source| DataError::Unusable { path: file.clone(), source })?;
        let ahead_ms = match content {
            None => 0,
            Some(content) => serde_json::from_slice::<serde_json::Value>(&content)
                .ok()
                .and_then(|kept| kept.get("ahead_ms")?.as_u64())
                .ok_or_else(|| DataError::Damaged(file.clone()))?,
        };
        Ok(Self { file, ahead_ms: AtomicU64::new(ahead_ms), saving: Mutex::new(()) })
    }

    /// How far the clock is ahead of real time.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead_ms.load(Ordering::Acquire))
    }

    /// Time of the clock, since the Unix epoch.
    #[must_use]
    pub fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.ahead()
    }

    /// Moves the clock forward to at least `ahead` of real time.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn catch_up(&self, ahead: Duration) -> Result<Duration, DataError> {
        match ahead.saturating_sub(self.ahead()) {
            Duration::ZERO => Ok(self.ahead()),
            by => self.advance(by),
        }
    }

    /// Moves the clock forward. The advance is stored durably before the new time is visible.
    /// Returns how far the clock is ahead of real time.
    ///
    /// # Errors
    /// [`DataError`] if the advance could not be stored; the clock did not move.
    pub fn advance(&self, by: Duration) -> Result<Duration, DataError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ahead = self.ahead().saturating_add(by).min(MAX_AHEAD);
        let ahead_ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        files::write_private(&self.file, format!("{{\"ahead_ms\": {ahead_ms}}}\n").as_bytes())
            .map_err(|source| DataError::Unusable { path: self.file.clone(), source })?;
        self.ahead_ms.store(ahead_ms, Ordering::Release);
        Ok(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::{DataError, SimClock};
    use std::time::Duration;

    const MONTH: Duration = Duration::from_secs(31 * 86_400);

    #[test]
    fn an_advance_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock.json");
        SimClock::open(file.clone()).unwrap().advance(MONTH).unwrap();
        let clock = SimClock::open(file.clone()).unwrap();
        assert_eq!(clock.advance(MONTH).unwrap(), 2 * MONTH);
        assert_eq!(SimClock::open(file).unwrap().ahead(), 2 * MONTH);
    }

    #[test]
    fn a_clock_that_catches_up_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SimClock::open(folder.path().join("clock.json")).unwrap();
        assert_eq!(clock.catch_up(MONTH).unwrap(), MONTH);
        assert_eq!(clock.catch_up(Duration::from_secs(1)).unwrap(), MONTH);
        assert_eq!(clock.ahead(), MONTH);
    }

    #[test]
    fn an_advance_that_cannot_be_saved_does_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SimClock::open(folder.path().join("gone/clock.json")).unwrap();
        assert!(matches!(clock.advance(MONTH), Err(DataError::Unusable { .. })));
        assert_eq!(clock.ahead(), Duration::ZERO);
    }

    #[test]
    fn no_advance_breaks_a_date() {
        let folder = tempfile::tempdir().unwrap();
        let clock = SimClock::open(folder.path().join("clock.json")).unwrap();
        assert!(clock.advance(Duration::MAX).unwrap() < Duration::from_secs(40_000_000_000));
    }
}
