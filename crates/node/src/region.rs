//! A node in a pair of regions: it drives the [`regions`] state machines with real time, messages and stores.
//!
//! | part | does |
//! |---|---|
//! | `site` | drives the region's own state machine, and carries its actions out |
//! | `gate` | refuses and counts writes by what the state machine says |
//! | `follower`, `source` | the two ends of replication |
//! | `raised` | raises the epoch before a restore |
//! | `partner` | knows how far the partner has come |
//! | `accept` | accepts the connections of all of them |
//! | `incoming`, `outgoing` | connections from and to the partner, the front and the witness |
//! | `witness`, `front` | the two other parties, each a service of its own |
//! | `idle` | tells the front when a client waits for nothing |

mod accept;
mod codec;
mod follower;
mod frames;
mod front;
mod gate;
mod given_up;
mod idle;
mod incoming;
mod outgoing;
mod partner;
mod raised;
mod site;
mod source;
mod take_over;
mod time;
mod tls;
mod witness;

pub use front::{FrontSettings, FrontTarget, serve_front};
pub use given_up::GivenUp;
pub use partner::NotReplicated;
pub use raised::EpochRefused;
pub use site::{RegionHandle, RegionStatus, TimedEvent};
pub use tls::{RegionTls, RegionTlsError};
pub use witness::{WitnessSettings, serve_witness};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use codec::check_message;
pub(crate) use site::{Region, RegionFigures};

use regions::{ConfigError, Fence, PairConfig, Side};

/// Name of the witness in its certificate.
pub const WITNESS: &str = "witness";
/// Name of the front in its certificate.
pub const FRONT: &str = "front";

/// Where a node of another region, or the witness, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name, which its certificate has to be for.
    pub name: String,
    /// Its address, `host:port`.
    pub address: String,
}

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// Once this region has it. If the region is lost right afterwards, the change may be lost.
    #[default]
    Local,
    /// At home, once the standby has it too: no acknowledged change is lost with the home. While the standby is not connected,
    /// changes are refused. A standby that has taken over acknowledges once it has the change itself.
    Standby,
}

/// A node's part in a pair of regions.
#[derive(Clone, Debug)]
pub struct PairSettings {
    /// What the pair does; the same on both sides.
    pub config: PairConfig,
    /// This region's part.
    pub side: Side,
    /// When a change is acknowledged.
    pub acknowledge: Acknowledge,
    /// This region's name.
    pub name: String,
    /// The other region's node.
    pub partner: Place,
    /// The witness; needed by [`Fence::Witness`].
    pub witness: Option<Place>,
    /// This region's certificate.
    pub tls: RegionTls,
}

/// Why a node cannot be in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The configuration of the pair is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The fence needs a witness, and none is configured.
    #[error("the fence `witness` needs the address of a witness")]
    NoWitness,
}

impl PairSettings {
    /// Checks that everything is there.
    ///
    /// # Errors
    /// [`PairError`].
    pub fn check(&self) -> Result<(), PairError> {
        self.config.check()?;
        if self.config.fence == Fence::Witness && self.witness.is_none() {
            return Err(PairError::NoWitness);
        }
        Ok(())
    }
}
