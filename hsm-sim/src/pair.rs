//! A pair of regions on one machine: two trees of processes, a witness, the front that clients use, and the links between
//! them, which can be cut.
//!
//! | module | has |
//! |---|---|
//! | [`profile`], [`plan`] | what the pair is configured to do, and whether there is one |
//! | [`part`], [`certificates`] | what each process is told |
//! | [`process`], [`member`] | the processes, kept running |
//! | [`serve`] | the same processes from the inside |
//! | [`links`] | every connection between regions, witness and front, through a relay of this process |
//! | [`running`] | a running pair, as commands inspect, break and heal it |
//! | [`timeline`] | what has happened |
//! | [`up`] | starting and stopping all of it |
//!
//! What it deliberately does not decide: which region may write, and which one serves. The regions do, as the crate
//! `regions` says; this module starts, breaks and shows them.

pub mod certificates;
pub mod links;
pub mod member;
pub mod part;
pub mod plan;
pub mod process;
pub mod profile;
pub mod running;
pub mod serve;
pub mod timeline;
pub mod up;

pub use plan::{PairPlan, PairWanted, Plan, PlanError};
pub use profile::{Profile, Switches};
pub use running::{PairError, RunningPair};
pub use up::{Pair, PairOptions, PairUpError};
