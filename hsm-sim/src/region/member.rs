//! A region's part in a pair, when it has one.

use super::identity::Identity;
use crate::pair::part::{PartError, PeerAddress, Ports, RegionPart};
use node::region::{PairSettings, Place};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What a region of a pair has from its pair.
#[derive(Clone)]
pub struct PairMember {
    /// Instances and credentials, and the name of this region.
    pub identity: Identity,
    /// Directory of the customer's keys and of the manufacturer.
    pub shared: PathBuf,
    /// Who the others are, and what the pair does.
    pub settings: PairSettings,
    /// Ports that it had before, so that its addresses stay.
    pub ports: Ports,
    /// How far the clock is ahead of real time, at least.
    pub ahead: Duration,
}

impl PairMember {
    /// As the pair's file says.
    ///
    /// # Errors
    /// [`MemberError`].
    pub fn of(part: &RegionPart) -> Result<Self, MemberError> {
        let place = |peer: &PeerAddress| Place { name: peer.name.clone(), address: peer.address.to_string() };
        let switches = part.switches()?;
        let settings = PairSettings {
            config: switches.pair,
            acknowledge: switches.acknowledge,
            side: part.side(),
            name: part.identity.region.clone(),
            partner: place(&part.partner),
            witness: part.witness.as_ref().map(place),
            tls: part.tls.read()?,
        };
        Ok(Self {
            identity: part.identity.clone(),
            shared: part.shared.clone(),
            settings,
            ports: part.ports,
            ahead: Duration::from_millis(part.ahead_ms),
        })
    }
}

/// Why a region does not know its part in a pair.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The file is refused.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The certificates are refused.
    #[error(transparent)]
    Certificates(#[from] crate::pair::certificates::CertificatesError),
}

/// Without the credentials.
impl fmt::Debug for PairMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairMember").field("settings", &self.settings).finish_non_exhaustive()
    }
}
