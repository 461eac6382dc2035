//! Tests of the HTTP APIs.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod attack;
mod refusals;
mod rest;
mod roles;
mod rotation;
mod serve;
