//! The host's view of its crypto units, as one state machine without IO: membership, health, admission, routing,
//! ejection, retry, hedging.
//!
//! [`Cluster`] takes events and the time (`handle_*`, `submit`, `cancel`) and gives actions (`poll_action`) and the time
//! of the next thing to do (`poll_timeout`). The same events with the same seed give the same actions.
//!
//! What this crate deliberately does not know: sockets, clocks, entropy, threads, the content of requests and answers.
//!
//! Invariants:
//! - A fenced unit gets no request.
//! - A unit is in use only with a master key that is legal and that it has proved to have: the instance's, or the next
//!   one while that is being rotated.
//! - A request ends by its deadline, once.
//! - A request goes to no unit twice while another is left, and to units [`MAX_TRIES`] times at most.
//! - Retries that answer trouble of units, and hedges, are paid for by requests: 0.2 and 0.05 each, 100 and 50 at once.
//!   What one lost or fenced unit had under way moves to others for nothing, so that a killed unit costs no request;
//!   when several units are lost within a second, moving costs the same as any retry. That a unit turns out
//!   to have gone on to the next master key costs a request neither a try nor a token, once for each unit.

mod action;
mod budget;
mod cluster;
mod config;
mod eligible;
mod health;
mod latency;
mod membership;
pub mod placement;
mod policy;
mod request;
mod rng;
mod route;
mod time;
mod tuning;
mod unit;
mod watch;

pub use action::{Action, Answer, Failure, ProofOutcome, RequestId, UnitNumber, UnitView, Verdict};
pub use budget::RetryStats;
pub use cluster::Cluster;
pub use config::Config;
pub use health::{Ejection, FenceReason, Health, Transition};
pub use membership::{AdditionRefused, DrainRefused};
pub use policy::Policy;
pub use time::Instant;
pub use tuning::{MAX_TRIES, MAX_UNITS, MAX_WAITING};
pub use unit::Identity;
