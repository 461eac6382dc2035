//! One serving process of a region: keystore, host, key service, front ends and background jobs, put together.
//!
//! A [`Node`] is built over a store, a [`UnitDirectory`] and a clock. It answers from the beginning, so that customers'
//! tools can bring a master key into the crypto units. It opens once they hold one: instances that the store does not
//! have are created, those that it has are found, and keys are served from then on.
//!
//! What it deliberately does not know: how crypto units are started, where their operator keeps them, command lines,
//! faults and simulated time.
//!
//! Invariants:
//! - a node keeps no state that another node over the same store could miss;
//! - once open, a node stays open, whatever becomes of its units, unless it copies the data of another region;
//! - a background job does each item once, however many nodes there are: they claim jobs by leases of the store.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use node::{Instance, Node, ServiceKind, StoreConfig, UnitList};
//! use std::sync::Arc;
//!
//! let instance = Instance {
//!     id: kms::InstanceId(uuid::Uuid::from_u128(1)),
//!     region: "us-south".to_owned(),
//!     account: "account".to_owned(),
//!     kind: ServiceKind::HyperProtect,
//! };
//! let units = UnitList::default();
//! let store = StoreConfig::Memory.open().await?;
//! let node = Node::builder(store, units.clone(), Arc::new(kms::SystemClock));
//! let node = node.instance(instance).start().await?;
//! // It serves keys as soon as units with a master key are in the list.
//! assert!(node.waiting_for().is_some_and(|why| why.contains("no operational crypto unit")));
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod audit;
pub mod backup;
mod builder;
mod config;
mod front_ends;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod health;
mod instance_state;
mod invocation_ledger;
mod jobs;
mod metrics;
mod node;
mod opening;
mod pinned_marks;
mod ports;
pub mod region;
mod rotation;
mod tke;
mod unit_audit;
mod unit_link;
mod unit_status;
mod units;

pub use audit::AuditLog;
pub use backup::BackupSettings;
pub use builder::NodeBuilder;
pub use config::StoreConfig;
pub use host::Host;
pub use invocation_ledger::FileLedger;
pub use jobs::JobTiming;
pub use kms::Clock;
pub use node::{Node, NodeError, Store};
pub use ports::{StaticDirectory, UnitDirectory, UnitEntry, UnitList};
pub use server::rest::{Instance, ServiceKind};
pub use server::tke::{InstanceState, UnitKind, UnitLifecycle};
pub use unit_audit::UnitAudit;
pub use unit_link::administer;
pub use unit_status::{QueriedUnit, is_imprint, lifecycle, query_units};
pub use units::HostUnits;
