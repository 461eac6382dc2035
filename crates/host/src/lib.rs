//! Drives the cluster of crypto units: sockets, timers, admission by proof, calls.
//!
//! [`Host`] is for work that any unit of the instance can do. [`UnitClient`] is for one unit: ceremonies,
//! administration, inspection.
//!
//! What this crate deliberately does not know: keys of customers, where the header comes from, and every rule of
//! routing, retry and ejection – those are `cluster`'s, where they can be simulated.
//!
//! Invariants:
//! - The lock round the state is held for one event at a time, never across a system call on a socket or an await.
//! - A unit serves only after it has opened the instance's secret and answered a fresh challenge.
//! - Frames are wiped when they have been written, handed over, or given up.

mod call;
mod client;
mod connection;
mod driver;
mod endpoint;
mod error;
mod health_check;
mod host;
mod link;
mod proof;
mod view;
mod wipe;

pub use client::{LinkError, UnitClient};
pub use cluster::{AdditionRefused, DrainRefused, Ejection, RetryStats, placement};
pub use endpoint::Endpoint;
pub use error::{HostError, UnavailableUnit};
pub use host::{Host, HostConfig, HostSnapshot, UnitAddress};
pub use link::{CloseReason, ReplyFrame};
pub use proof::MasterKeyProof;
pub use view::UnitView;
