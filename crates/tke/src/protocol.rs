//! The paper of a ceremony: the script before it, the record of it, and who may hold what.
//!
//! [`ScriptPlan`] writes the script that is printed before a ceremony. [`CeremonyRecord`] writes down what happens as it
//! happens, and [`VerifiedRecord`] turns that into a document that witnesses sign. [`check_separate_owners`] keeps
//! signature keys and key parts in different hands.
//!
//! A record never holds a key part, a password or a PIN: nothing in an entry has the type of one, and text that people
//! type is refused where it looks like a key part.

mod dual_control;
mod entry;
mod plan;
mod record;
mod render;
mod text;

pub use dual_control::{DualControl, Held, Holding, SharedOwner, check_separate_owners};
pub use entry::{CommandEntry, Entry, Happening, PartEntry, Person, Role};
pub use plan::{Method, PlanInvalid, ScriptPlan, ScriptStep};
pub use record::{CeremonyRecord, RecordError, VerifiedRecord};
pub use text::{Hash, Text, TextInvalid};
