//! One crypto unit in one process, on a Unix socket.
//!
//! The process keeps its state in a folder of its own: `device` (identity and device secret) and two slots that
//! [`unit_core`] writes in turn. A parent that started it `supervised` holds its standard input: orders come in
//! by it, and its end is the unit's end, so that no unit outlives its region.

mod device;
mod link;
mod orders;
mod process;
mod storage;

pub use device::Device;
pub use orders::Order;
pub use process::{UnitError, UnitOptions, run};
pub use storage::FileStorage;
