//! Samples of the public formats: decoded, and encoded again.
//!
//! One binary for all of these tests, so that the crate is linked once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

// What the fuzz targets run.
#[path = "../fuzz/bodies/region_message.rs"]
mod region_message;
#[path = "../fuzz/bodies/secret_text.rs"]
mod secret_text;

mod corpus;
mod rest;
mod tke;
