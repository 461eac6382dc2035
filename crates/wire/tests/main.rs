//! Samples of the public formats: decoded, and encoded again.
//!
//! One binary for all of these tests, so that the crate is linked once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rest;
mod tke;
