//! A store in one file on one machine, on redb.
//!
//! Reads use the newest committed state, in the caller's task. Changes are queued for one committer, which takes up to
//! [`MAX_BATCH`] of them, applies each in order to one write transaction, commits it, and answers all.

mod committer;
mod disk;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod open;
mod options;
mod pin;
mod record;
mod secrets;
mod stats;
mod store;
mod view;
mod write_batch;

pub use open::StoreOpenError;
pub use options::RedbOptions;
pub use pin::{Accepted, PinMark, StorePin};
pub use stats::{CommitStats, FLUSH_BOUNDS};
pub use store::{RedbStore, RedbWatch};

/// Most changes in one commit.
const MAX_BATCH: usize = 128;
/// Most changes that wait for the committer. Further callers wait until there is room.
const MAX_QUEUE: usize = 1024;
