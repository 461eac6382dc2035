//! The customer's side: ceremonies, and keys, cards, parts and records on disk.
//!
//! One binary for all of these tests: every file of its own would link the crate and what it needs once more.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod sample_service;
mod world;

mod attacks;
mod ceremonies;
mod holders_cards;
mod holders_keys;
mod holders_parts;
mod holders_protocol;
mod holders_secret_file;
mod holders_service;
mod rotation;

use tke::secret_file::KdfCost;

/// Cost of a password guess for files of the tests. A release has no weak one.
#[cfg(debug_assertions)]
const WEAK: KdfCost = KdfCost::danger_weak();
#[cfg(not(debug_assertions))]
const WEAK: KdfCost = KdfCost::STANDARD;
