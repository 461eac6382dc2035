//! Options for opening a file.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Accepted, WallClock};

/// Fills a buffer with random bytes.
pub(super) type Random = Arc<dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync>;
/// Returns the free bytes of the file system.
type FreeSpace = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// Options of a [`RedbStore`](crate::RedbStore). The defaults suit a service.
#[derive(Clone)]
pub struct RedbOptions {
    pub(crate) wall: WallClock,
    pub(crate) random: Random,
    pub(crate) free_space: Option<FreeSpace>,
    pub(crate) reserve: u64,
    pub(crate) cache: usize,
    pub(crate) restored: bool,
    pub(crate) threads: bool,
    pub(crate) pin: Option<PathBuf>,
    pub(crate) must_exist: bool,
    pub(crate) accepted: Accepted,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self {
            wall: WallClock::system(),
            random: Arc::new(|bytes| getrandom::fill(bytes).map_err(io::Error::other)),
            free_space: None,
            reserve: 64 * 1024 * 1024,
            cache: 256 * 1024 * 1024,
            restored: false,
            threads: true,
            pin: None,
            must_exist: false,
            accepted: Accepted::default(),
        }
    }
}

impl RedbOptions {
    /// Clock that measures the age of history. Default: the system clock.
    #[must_use]
    pub fn wall_clock(mut self, wall: WallClock) -> Self {
        self.wall = wall;
        self
    }

    /// Source of random identities and lease identifiers. Default: the OS.
    #[must_use]
    pub fn random(mut self, fill: impl Fn(&mut [u8]) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.random = Arc::new(fill);
        self
    }

    /// Replaces the check of free space, which asks the file system by default.
    #[must_use]
    pub fn free_space(mut self, free: impl Fn() -> io::Result<u64> + Send + Sync + 'static) -> Self {
        self.free_space = Some(Arc::new(free));
        self
    }

    /// Free bytes below which only deletions are accepted. Deletions write too, so the reserve is for them. Default: 64 MiB.
    #[must_use]
    pub const fn reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// Memory for the page cache, in bytes. Default: 256 MiB.
    #[must_use]
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache = bytes;
        self
    }

    /// Whether the file was restored from a backup; the store then gets a new identity.
    #[must_use]
    pub const fn restored(mut self, restored: bool) -> Self {
        self.restored = restored;
        self
    }

    /// Path of the store's [pin](crate::StorePin), outside of its file. A store that is missing, older than its pin or another
    /// one is refused. A store without a pin gets one. Default: no pin.
    #[must_use]
    pub fn pin(mut self, path: impl Into<PathBuf>) -> Self {
        self.pin = Some(path.into());
        self
    }

    /// Whether a missing file is refused if there is no pin either, and a missing pin if the store has had one, because the
    /// caller knows that there was a store.
    #[must_use]
    pub const fn must_exist(mut self, must_exist: bool) -> Self {
        self.must_exist = must_exist;
        self
    }

    /// Deviations from the pin that are accepted this time; the pin is then set to the store as it is.
    #[must_use]
    pub const fn accept(mut self, accepted: Accepted) -> Self {
        self.accepted = accepted;
        self
    }

    /// Commits in the caller's task, one change at a time, instead of in a thread. For simulations with paused time and
    /// reproducible order.
    #[must_use]
    pub const fn without_threads(mut self) -> Self {
        self.threads = false;
        self
    }
}

impl fmt::Debug for RedbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbOptions")
            .field("reserve", &self.reserve)
            .field("cache", &self.cache)
            .field("restored", &self.restored)
            .field("threads", &self.threads)
            .field("pin", &self.pin)
            .field("must_exist", &self.must_exist)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}
