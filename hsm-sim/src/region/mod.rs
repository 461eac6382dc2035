//! A region on one machine: its data, its units, and the services in front of them.

mod ceremony;
mod clock;
mod controlled;
mod data;
mod engines;
mod identity;
mod look;
mod place;
mod ready;
mod rotation;
mod service;
mod state;
mod supervisor;
mod tke_service;
mod up;
mod waiting;
mod wire;

pub use ceremony::{CeremonyError, CeremonyKind, DevelopmentCeremony, SocketPort, SocketPortError};
pub use clock::SimClock;
pub use controlled::{ControlledRegion, UnitReport};
pub use data::{DataDir, DataError};
pub use engines::{Engines, EnginesError};
pub use identity::{Identity, Wanted};
pub use place::{Place, UnitCounts, ZONES, places};
pub use ready::{ReadyFile, ReadyUnit};
pub use service::{Service, ServiceError};
pub use supervisor::{Fault, Supervisor, SupervisorError, UnitProcess};
pub use up::{Region, UpError, UpOptions};
