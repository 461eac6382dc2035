//! A region on one machine: its data, its supervised crypto units, and the node in front of them.

mod access;
mod ceremony;
mod clock;
mod controlled;
mod data;
mod directory;
mod engines;
mod identity;
mod member;
mod membership;
mod place;
mod ready;
mod region_file;
mod supervisor;
mod unit_memory;
mod up;
mod upgrade;

pub use ceremony::{CeremonyError, CeremonyKind, DevelopmentCeremony, SocketPort};
pub use clock::SimClock;
pub use controlled::{ControlledRegion, UnitReport};
pub use data::{DataDir, DataError, end_upgrade};
pub use engines::{Engines, EnginesError};
pub(crate) use identity::random_hex;
pub use identity::{Identity, Wanted};
pub use member::{MemberError, PairMember};
pub use membership::MembershipError;
pub use place::{Place, UnitCounts, ZONES, places};
pub(crate) use ready::ReadyFiles;
pub use ready::{ReadyFile, ReadyRegion, ReadyUnit};
pub use region_file::RegionFile;
pub use supervisor::{Fault, Supervisor, SupervisorError, UnitProcess};
pub(crate) use up::remove_stale;
pub use up::{Region, UpError, UpOptions};
pub use upgrade::UpgradeError;
