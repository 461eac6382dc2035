//! One crypto unit in one process, on a Unix socket.
//!
//! The process keeps its state in a folder of its own: `device` (identity, device secret, the module's key and its
//! certificate by a simulated manufacturer), `engine` (where its keys are), two slots that [`unit_core`] writes in turn,
//! and a SoftHSM token of its own, if its keys are on one. A parent that started it `supervised` holds its standard input:
//! orders come in by it, and its end is the unit's end, so that no unit outlives its region.

mod announcement;
mod device;
mod engine;
mod factory;
mod link;
mod orders;
mod process;
mod storage;
mod token;

pub use announcement::{Announced, Announcement, NoAnnouncement};
pub use device::{Device, DeviceModule, Manufacture};
pub use engine::{EngineChoice, EngineInvalid, KeptEngineError, engine_with_keys};
pub use factory::Factory;
pub use orders::{Order, order_line, parse_answer};
pub use process::{UnitError, UnitOptions, run};
pub use storage::FileStorage;
pub use token::TokenError;
