//! Documents of a ceremony: its script, its record, and the separation of owners.
//!
//! [`ScriptPlan`] generates the script that is printed before a ceremony. [`CeremonyRecord`] records events as they happen,
//! and [`VerifiedRecord`] turns them into a document that witnesses sign. [`check_separate_owners`] checks that signature
//! keys and key parts have different owners.
//!
//! A record never contains a key part, a password or a PIN: no field of an entry has such a type, and entered text is
//! refused if it looks like a key part.

mod dual_control;
mod entry;
mod plan;
mod record;
mod render;
mod text;

pub use dual_control::{DualControl, DualControlViolation, Held, Holding, check_separate_owners};
pub use entry::{CommandEntry, Entry, EntryKind, PartEntry, Participant, ParticipantRole};
pub use plan::{KeyMethod, ScriptPlan, ScriptPlanInvalid, ScriptStep};
pub use record::{CeremonyRecord, RecordError, VerifiedRecord};
pub use text::{Hex32, RecordText, RecordTextInvalid};
