//! AES key wrap against published vectors, an independent implementation and laws.
//!
//! One binary for all of these tests: one per file would link the crate and its dependencies once more each.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod diff;
mod kat;
mod prop;
