//! The service's clock: real time, moved forward by command.

use super::data::DataError;
use crate::files;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Farthest the clock can be ahead: a thousand years, so that every date still prints.
const MAX_AHEAD: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// Real time plus all it was ever advanced by, also across restarts. It never goes back.
///
/// Only timers of keys follow it. Tokens expire by real time, or moving the clock would log every client out.
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
    /// The clock whose advance is kept in `file`.
    ///
    /// # Errors
    /// [`DataError`] when the file cannot be read or makes no sense.
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

    /// How far it is ahead of real time.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead_ms.load(Ordering::Acquire))
    }

    /// Its time, since 1970.
    #[must_use]
    pub fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.ahead()
    }

    /// Moves it forward, durably, before anybody sees the new time.
    ///
    /// # Errors
    /// [`DataError`] when the advance cannot be saved; the clock has not moved then.
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
