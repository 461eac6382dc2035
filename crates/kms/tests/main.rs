//! The key service over units in memory.
//!
//! One binary for all of these tests: one per file would link the crate and its dependencies once more each.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod attack;
mod backup;
mod backup_attack;
mod earlier;
mod erasure;
mod invocations;
mod keys;
mod lifecycle;
mod model;
mod races;
mod remove_instance;
mod replica;
mod replica_attack;
mod rotation;
mod rotation_model;
mod unit;
mod wrap;
