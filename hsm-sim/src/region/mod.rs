//! A region on one machine: its data, its units, and the services in front of them.

mod ceremony;
mod clock;
mod controlled;
mod data;
mod identity;
mod ready;
mod service;
mod supervisor;
mod up;

pub use ceremony::CeremonyError;
pub use clock::SimClock;
pub use controlled::ControlledRegion;
pub use data::{DataDir, DataError};
pub use identity::Identity;
pub use ready::{ReadyFile, ReadyUnit};
pub use supervisor::{Fault, Supervisor, SupervisorError, UnitProcess};
pub use up::{Region, UpError, UpOptions};

/// The zones of a region; units are placed in them in turn.
pub const ZONES: [&str; 3] = ["az1", "az2", "az3"];

/// The zone of the unit with this number, counted from 1.
#[must_use]
pub fn zone_of(unit: u16) -> &'static str {
    let at = usize::from(unit.saturating_sub(1)) % ZONES.len();
    ZONES.get(at).copied().unwrap_or("az1")
}
