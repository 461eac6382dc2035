//! Trusted key entry: the customer's side of a crypto unit.
//!
//! | module | content |
//! |---|---|
//! | [`holder`], [`part`], [`card`], [`service`], [`secret_file`] | signature keys and key parts, and what keeps them |
//! | [`mod@unit`] | one crypto unit, whose module signs every response |
//! | [`operation`], [`quorum`], [`ceremony`] | a command to one unit: built, signed, sent, checked, recorded |
//! | [`admin_policy`], [`converge`] | the next step from the state of a unit to its goal |
//! | [`rotation`] | a rotation of the master key over all units of an instance |
//! | [`compare`], [`precheck`] | differences between the units of an instance; checks before a ceremony |
//! | [`proposal`] | a command that several people sign at different times |
//! | [`protocol`] | script and record of a ceremony |
//! | [`private_file`] | files that only their owner can read, written durably |
//!
//! The crate does not know how a unit is reached, nor command lines, nor any key of the service.
//!
//! Invariants:
//! - A unit's response is accepted only with the signature of its module, whose key the manufacturer has certified.
//! - A key part leaves its holder only sealed for a unit's importer key.
//! - The pattern that is committed is calculated from the key parts, never taken from the unit.
//! - The next step follows from the state that units report, never from what was sent to them.

pub mod admin_policy;
pub mod card;
pub mod ceremony;
pub mod compare;
pub mod converge;
pub mod holder;
pub mod location;
pub mod operation;
pub mod part;
pub mod precheck;
pub mod private_file;
pub mod proposal;
pub mod protocol;
pub mod quorum;
pub mod rotation;
pub mod secret_file;
pub mod seen;
pub mod service;
pub mod trust;
pub mod unit;

pub use location::{Location, LocationInvalid};
pub use operation::{AdminOperation, Administrator};
pub use unit::{AdminUnit, AdminUnitError, Snapshot, UnitDescriptor, UnitKind, UnitPort, VerifiedUnit};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
