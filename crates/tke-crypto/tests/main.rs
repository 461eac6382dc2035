//! Signatures, certificates and sealed key parts.
//!
//! One binary for all of these tests: one per file would link the crate and its dependencies once more each.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod certificates;
mod corpus;
mod kat;
mod keys;
mod prop;
mod sealed_part;
