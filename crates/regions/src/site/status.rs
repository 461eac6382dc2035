//! What a site shows.

use core::fmt;
use core::time::Duration;

use super::{Copy, Site};
use crate::{Epoch, Instant, Side, WallTime};

/// The state of a pair, as one site sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PairState {
    /// The home writes, and the standby follows.
    Normal,
    /// The region that has the right to write is unreachable, and its partner serves read-only.
    Lost,
    /// The standby writes.
    Promoted,
    /// The home follows the standby, to take writing back.
    Returning,
}

/// What a site shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteStatus {
    /// The state of the pair.
    pub state: PairState,
    /// The epoch that the site acts by.
    pub epoch: Epoch,
    /// Which side has the right to write.
    pub writer: Side,
    /// Whether this site may write now.
    pub writes: bool,
    /// Since when the partner has been lost.
    pub lost_since: Option<WallTime>,
    /// When time enables writing here.
    pub write_enable_at: Option<WallTime>,
    /// The site's data.
    pub copy: Copy,
    /// For how long the partner has not been heard; since the start if it never was.
    pub unheard_for: Duration,
    /// How long the lease on writing still runs, if the fence needs one.
    pub lease: Duration,
    /// Whether this site is taking over.
    pub taking_over: bool,
}

impl Site {
    /// What it shows.
    #[must_use]
    pub fn status(&self, now: Instant) -> SiteStatus {
        let writer = self.record.epoch.owner();
        let state = match (writer, self.side) {
            _ if self.lost => PairState::Lost,
            (Side::Home, _) => PairState::Normal,
            (Side::Standby, Side::Home) => PairState::Returning,
            (Side::Standby, Side::Standby) if self.frozen.is_some() => PairState::Returning,
            (Side::Standby, Side::Standby) => PairState::Promoted,
        };
        let enable = |since: WallTime| since.plus(self.config.write_after);
        SiteStatus {
            state,
            epoch: self.record.epoch,
            writer,
            writes: self.may_write(now).is_ok(),
            lost_since: self.record.lost_since,
            write_enable_at: self.record.lost_since.filter(|_| self.config.has_timer()).map(enable),
            copy: self.facts.copy,
            unheard_for: self.unheard_for(now),
            lease: self.lease.remaining(now),
            taking_over: self.attempt.is_some(),
        }
    }
}

/// `normal`, `lost`, `promoted` or `returning`.
impl fmt::Display for PairState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Lost => "lost",
            Self::Promoted => "promoted",
            Self::Returning => "returning",
        })
    }
}
