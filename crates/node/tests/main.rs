//! Nodes over real crypto units in this process, and over one store.
//!
//! One binary for all of these tests, so that the crate is linked once.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod embed;
mod health;
mod jobs;
mod logs;
mod membership;
mod metrics;
mod region;
