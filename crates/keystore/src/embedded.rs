//! One file on one machine: redb under a single committer.
//!
//! Reads go straight to the newest committed state, in the caller's task. Changes queue up for one committer, which
//! takes up to [`MAX_BATCH`] of them, checks each in order against the open write transaction, commits once
//! and answers all.

mod committer;
mod disk;
mod open;
mod options;
mod record;
mod store;
mod view;
mod write_batch;

pub use open::OpenError;
pub use options::RedbOptions;
pub use store::{RedbStore, RedbWatch};

/// Most changes that share one commit.
const MAX_BATCH: usize = 128;
/// Most changes that wait for the committer; who comes later waits for a place.
const MAX_QUEUE: usize = 1024;
