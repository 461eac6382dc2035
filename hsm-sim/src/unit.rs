//! One crypto unit as a process of its own: [`unit_server`] on a Unix socket, and what a region adds to it.
//!
//! A region starts its units `supervised` and holds their standard input: orders (faults, and what only the operator of a
//! module may do) come in by it, and a unit ends when it does, so that no unit outlives its region. Certificates of modules
//! come from a simulated manufacturer.

mod announcement;
mod factory;
mod orders;
mod process;

pub use announcement::{Announced, Announcement, AnnouncementInvalid};
pub(crate) use factory::REVOCATION_FILE;
pub use factory::{Factory, FactoryFolder};
pub use orders::{Order, order_line, parse_answer};
pub use process::{UnitOptions, run};
