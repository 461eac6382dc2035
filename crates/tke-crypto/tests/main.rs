//! Signatures, certificates and sealed key parts.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod certificates;
mod corpus;
mod kat;
mod keys;
mod prop;
mod sealed_part;
