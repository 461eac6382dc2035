//! A pair of regions on one machine: two trees of processes, a witness, the front that clients use, and the links between
//! them, which can be cut.
//!
//! | module | has |
//! |---|---|
//! | [`profile`], [`plan`] | what the pair is configured to do, and whether there is one |
//! | [`process`] | the processes, kept running |
//! | [`links`] | every connection between regions, witness and front, through a relay of this process |
//! | [`timeline`] | what has happened |
//!
//! What it deliberately does not decide: which region may write, and which one serves. The regions do, as the crate
//! `regions` says; this module starts, breaks and shows them.

pub mod links;
pub mod plan;
pub mod process;
pub mod profile;
pub mod timeline;
