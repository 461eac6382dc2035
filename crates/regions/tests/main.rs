//! Pairs of regions on a simulated network, with faults drawn from a seed, and in every order of a small model.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a trace of a failing seed")]

mod explore;
mod sim;
