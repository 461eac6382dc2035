#![doc = include_str!("../README.md")]

mod call;
mod client;
mod connection;
mod driver;
mod endpoint;
mod error;
mod health_check;
mod host;
mod link;
mod memory;
mod proof;
mod view;
mod wipe;

pub use client::{LinkError, UnitClient};
pub use cluster::{AdditionRefused, DrainRefused, Ejection, Identity, MAX_TRIES, RetryStats, placement};
pub use endpoint::Endpoint;
pub use error::{HostError, UnavailableUnit};
pub use host::{Host, HostConfig, HostSnapshot, UnitAddress};
pub use link::{CloseReason, ReplyFrame};
pub use memory::{SharedMemory, UnitMemory};
pub use proof::MasterKeyProof;
pub use view::UnitView;
