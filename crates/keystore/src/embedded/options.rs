//! What can be chosen when a file is opened.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::WallClock;

/// Fills a buffer with random bytes.
type Random = Arc<dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync>;
/// Bytes that can still be written to the file system.
type FreeSpace = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// How a [`RedbStore`](crate::RedbStore) is opened. The default is what a service wants.
#[derive(Clone)]
pub struct RedbOptions {
    pub(crate) wall: WallClock,
    pub(crate) random: Random,
    pub(crate) free_space: Option<FreeSpace>,
    pub(crate) reserve: u64,
    pub(crate) cache: usize,
    pub(crate) restored: bool,
    pub(crate) threads: bool,
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
        }
    }
}

impl RedbOptions {
    /// The clock by which history ages.
    #[must_use]
    pub fn wall_clock(mut self, wall: WallClock) -> Self {
        self.wall = wall;
        self
    }

    /// Where identities and lease names come from.
    #[must_use]
    pub fn random(mut self, fill: impl Fn(&mut [u8]) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.random = Arc::new(fill);
        self
    }

    /// How to find out how many bytes are free, where that isn't the file system's own answer.
    #[must_use]
    pub fn free_space(mut self, free: impl Fn() -> io::Result<u64> + Send + Sync + 'static) -> Self {
        self.free_space = Some(Arc::new(free));
        self
    }

    /// Below how many free bytes only deletions are taken (64 MiB). The rest is what deletions write with.
    #[must_use]
    pub const fn reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// Memory for pages of the file, in bytes (256 MiB).
    #[must_use]
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache = bytes;
        self
    }

    /// Says that the file has been put in place from a backup: the store gets a new identity.
    #[must_use]
    pub const fn restored(mut self, restored: bool) -> Self {
        self.restored = restored;
        self
    }

    /// Commits in the caller's task, one change at a time, instead of in a thread: for simulations, where
    /// time is paused and order must repeat.
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
            .finish_non_exhaustive()
    }
}
