//! AES key wrap against published vectors, an independent implementation and laws.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod diff;
mod kat;
mod prop;
