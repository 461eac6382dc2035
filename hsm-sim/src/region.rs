//! A region on one machine: its data, its supervised crypto units, and the node in front of them.

mod access;
mod ceremony;
mod clock;
mod controlled;
mod data;
mod directory;
mod engines;
mod identity;
mod membership;
mod place;
mod ready;
mod region_file;
mod supervisor;
mod unit_memory;
mod up;

pub use ceremony::{CeremonyError, CeremonyKind, DevelopmentCeremony, SocketPort};
pub use clock::SimClock;
pub use controlled::{ControlledRegion, UnitReport};
pub use data::{DataDir, DataError};
pub use engines::{Engines, EnginesError};
pub use identity::{Identity, Wanted};
pub use membership::MembershipError;
pub use place::{Place, UnitCounts, ZONES, places};
pub use ready::{ReadyFile, ReadyUnit};
pub use region_file::RegionFile;
pub use supervisor::{Fault, Supervisor, SupervisorError, UnitProcess};
pub use up::{Region, UpError, UpOptions};
