//! Drives the cluster of crypto units: sockets, timers, admission by proof, calls.

mod client;
mod link;
mod proof;
mod wipe;

pub use client::{LinkError, UnitClient};
pub use link::{CloseReason, ReplyFrame};
pub use proof::MasterKeyProof;
