//! Stores against the contract, damaged files, failing disks and kills.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod conformance;
mod crash;
mod faults;
mod file;
mod kill;
mod pin;
mod secrets;
