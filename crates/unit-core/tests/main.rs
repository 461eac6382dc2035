//! The crypto unit on the software engine.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

// What the fuzz targets run; they name each other from their crate's root.
#[path = "../fuzz/bodies/administration.rs"]
mod administration;
#[path = "../fuzz/bodies/blob.rs"]
mod blob;
#[path = "../fuzz/bodies/fixture.rs"]
mod fixture;
#[path = "../fuzz/bodies/unit_request.rs"]
mod unit_request;

mod administrators;
mod attacks;
mod blobs;
mod commands;
mod corpus;
mod crash;
mod earlier_slots;
mod key_parts;
mod leaks;
mod model;
mod operator;
mod prop;
mod rsa_administrators;
mod secrets;
mod self_test;
mod transport;
