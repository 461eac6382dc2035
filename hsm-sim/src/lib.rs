//! A simulated region: crypto units as processes over three zones, ceremonies, faults, a movable clock.
//!
//! It simulates time and faults, never cryptography, protocols or durability: the units are the real core in
//! processes of their own, the link is a real socket, the keystore is on disk.
//!
//! | module | has |
//! |---|---|
//! | [`mod@unit`] | one crypto unit in one process, on a Unix socket |
//! | [`region`] | data directory, development ceremony, supervised unit processes, the services in front of them |
//! | [`pair`] | a pair of regions: the links between them, which can be cut |
//! | [`control`] | faults, healing, the clock and the status, over HTTP on the loopback interface |
//! | [`demo`] | load through the public API while zones are killed and healed |
//! | [`rehearse`] | something is broken under load, and a signed report states the result |
//! | [`mod@tke`] | the customer's commands of `tke-cli`, with regions on this machine |
//! | [`mod@token`] | whether a PKCS#11 token can carry a unit |
//! | [`files`] | files that are whole or absent after a crash, readable by their owner only |

pub mod cli;
pub mod control;
pub mod demo;
pub mod logging;
pub mod output;
pub mod pair;
pub mod region;
pub mod rehearse;
pub mod tke;
pub mod token;
pub mod unit;

pub use unit_server::files;
