//! A pair of regions, as state machines without IO: which region may write, when the other one takes over, how writing
//! returns, and where requests go.
//!
//! | machine | runs in | decides |
//! |---|---|---|
//! | [`Site`] | a node of each region of the pair | whether this region may write; promotion and return |
//! | [`Witness`] | a third place, if the fence needs one | which region holds the lease on writing |
//! | [`Front`] | where clients connect | which region gets their requests |
//!
//! Each takes events and the time (`handle_*`) and gives actions (`poll_action`) and the time of the next thing to do
//! (`poll_timeout`). The same events give the same actions.
//!
//! What this crate deliberately does not know: sockets, clocks, disks, records of keys, how they are copied.
//!
//! Invariants:
//! - An [`Epoch`] is a right to write, and belongs to one region. It is passed on by the region that has it, or taken
//!   with a fence that has stopped that region first ([`Fence`]).
//! - A region never writes before it has made durable that it may, and not after it has learnt of a higher epoch, also
//!   across restarts: a region that starts writes only once its partner, the witness or an operator has confirmed that
//!   nothing higher exists.
//! - With a witness, a region that is cut off from both the witness and its partner stops writing before either of them
//!   gives the right to the partner, as long as their clocks run at rates that differ by less than a tenth.
//! - A handover loses nothing: the region that takes over has applied the last change of the one that hands over.

mod config;
mod epoch;
mod front;
mod message;
mod record;
mod site;
mod time;
mod witness;

pub use config::{ConfigError, Failback, Fence, PairConfig, WriteEnable};
pub use epoch::{Epoch, Side};
pub use front::{Front, FrontConfig, SiteAnswer};
pub use message::{FreezeId, HandoverId, HandoverRefusal, LeaseReply, LeaseRequest, PeerMessage, StoreMark};
pub use record::SiteRecord;
pub use site::{
    Action, Cause, Copy, Event, Facts, Means, PairState, Site, SiteStatus, TakeOver, TakeOverRefused,
    WritesRefused,
};
pub use time::{Instant, Now, WallTime};
pub use witness::{Witness, WitnessRecord};
