//! Trusted key entry: the customer's side of a crypto unit.
//!
//! | module | what it is about |
//! |---|---|
//! | [`holder`], [`part`], [`card`], [`service`], [`secret_file`] | who keeps signature keys and key parts, and how |
//! | [`mod@unit`] | one unit, believed only where its module has signed |
//! | [`order`], [`quorum`], [`ceremony`] | a command to one unit: bound, signed, sent, checked, written down |
//! | [`plan`], [`converge`] | the next step from what a unit is to what it should be |
//! | [`rotation`] | a rotation of the master key over all units of an instance |
//! | [`compare`] | all units of an instance side by side |
//! | [`proposal`] | a command that several people sign at different times |
//! | [`protocol`] | the record of a ceremony |
//!
//! What this crate deliberately does not know: how a unit is reached, command lines, and any key of the service.
//!
//! Invariants:
//! - Nothing that a unit says is believed unless its module has signed it, and the manufacturer the module's key.
//! - A key part leaves its holder only sealed for a unit's importer key.
//! - What is committed is the pattern that the ceremony has worked out, never an echo of the unit.
//! - Nothing is decided from what was sent, only from what units show.

pub mod card;
pub mod ceremony;
pub mod compare;
pub mod converge;
pub mod holder;
pub mod location;
pub mod order;
pub mod part;
pub mod plan;
pub mod precheck;
pub mod private_file;
pub mod proposal;
pub mod protocol;
pub mod quorum;
pub mod rotation;
pub mod secret_file;
pub mod service;
pub mod unit;

pub use location::{Location, LocationInvalid};
pub use order::{Administrator, Order};
pub use unit::{AdminUnit, Listed, Snapshot, UnitFault, UnitKind, UnitPort, VerifiedUnit};
