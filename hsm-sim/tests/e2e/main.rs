//! End-to-end tests: real clients against the built program.
//!
//! One binary for all of them: every file of its own would link the whole workspace once more. Tests run side by side in
//! one process, so that none changes the environment, the working directory or another thing that a process has once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

mod attack_control;
mod attack_ports;
mod attack_roles;
mod backups;
mod bad_input;
mod crash;
mod earlier_region;
mod engine_mixed;
mod engine_softhsm;
mod faults;
mod keystore_rollback;
mod membership;
mod output;
mod process_protection;
mod region_promises;
mod regions;
mod rehearse;
mod rest_python;
mod rollback;
mod tke_cards;
mod tke_files;
mod tke_frames;
mod tke_recovery;
mod tke_removal;
mod tke_rotation;
mod tke_secrets;
mod tke_service;
mod tke_signing_service;
mod token_probe;
mod unit_audit;
