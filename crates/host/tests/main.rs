//! The host against units that are only as good as a test lets them be.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod client;
mod host;
mod membership;
mod rotation;
