//! What a site has done, and is told.

use core::fmt;
use core::time::Duration;

use crate::{Epoch, HandoverId, LeaseRequest, PeerMessage, SiteRecord, StoreMark};

/// Something to carry out for a [`Site`](super::Site), in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make the record durable, before the next action is carried out.
    Save(SiteRecord),
    /// Send a message to the partner. It may be lost.
    Send(PeerMessage),
    /// Send a request to the witness. It may be lost.
    Ask(LeaseRequest),
    /// Apply the changes of the partner from now on.
    Follow {
        /// The epoch that the partner acts by.
        epoch: Epoch,
        /// Whether changes of this site that the partner does not have are given up. If not, and there are any, nothing is
        /// applied, and the copy is [`Copy::Diverged`].
        replace: bool,
    },
    /// Apply no change of the partner any more.
    StopFollowing,
    /// Wait until no write is under way, then tell the last change: [`Site::handle_frozen`](super::Site::handle_frozen).
    Freeze(HandoverId),
    /// Make sure that this site has every change of the partner up to the mark, giving up none of its own, and tell the
    /// outcome: [`Site::handle_caught_up`](super::Site::handle_caught_up).
    CatchUp {
        /// The attempt.
        handover: HandoverId,
        /// The partner's last change.
        mark: StoreMark,
    },
    /// Make the store accept writes under this epoch, then tell: [`Site::handle_taken_over`](super::Site::handle_taken_over). To
    /// be tried until it is done or another action comes.
    TakeOver(Epoch),
}

/// Why a site takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An operator has asked for it.
    Operator,
    /// The partner has been lost for long enough.
    Timer,
    /// The home has been ready again for long enough.
    Failback,
    /// It was given the right before, and ended before it had saved that.
    Resumed,
}

/// How a site has got the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Means {
    /// The partner gave it, and all its changes are here.
    Handover,
    /// A fence has stopped the partner, or an operator has accepted that the data differ. Changes of the partner may be
    /// missing here.
    Fence,
}

/// Something that has happened, for logs and timelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The partner, which has the right to write, is lost.
    Lost,
    /// The lost partner answers again.
    Found,
    /// This site took the right to write.
    TookOver {
        /// Its new epoch.
        epoch: Epoch,
        /// What made it do so.
        cause: Cause,
        /// Whether it was given the right.
        means: Means,
    },
    /// The store accepts writes.
    Writes {
        /// Under this epoch.
        epoch: Epoch,
    },
    /// This site stands still, so that the partner can take over.
    Froze,
    /// The partner did not take over: this site writes on.
    Thawed,
    /// This site gave its right away.
    GaveAway {
        /// The partner's new epoch.
        epoch: Epoch,
    },
    /// This site has learnt of a higher epoch of its partner.
    SteppedDown {
        /// That epoch.
        epoch: Epoch,
    },
    /// An attempt to take over has failed.
    AttemptFailed {
        /// The reason.
        why: &'static str,
    },
}

/// The data of a site, compared with its partner's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Copy {
    /// There are none, or a copy is not complete: not usable.
    #[default]
    Incomplete,
    /// A state of the partner or of its own, and more changes of the partner are missing than can be applied while writing
    /// stands still: usable, and no reason to ask for the right to write yet.
    Behind,
    /// A state of the partner or of its own, though perhaps not the last.
    Complete,
    /// It was compared with the partner's and differs.
    Diverged,
}

/// What a site cannot see itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Whether a unit here holds the instance's master key.
    pub units_ready: bool,
    /// The site's data.
    pub copy: Copy,
}

/// An order to take the right to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TakeOver {
    /// The operator states that the partner is down, so that it cannot write, and has not taken over since it was heard last.
    pub partner_is_down: bool,
    /// The operator accepts that the data differ: what only the partner has is given up.
    pub accept_divergence: bool,
}

/// Why an order to take over is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverRefused {
    /// It writes already.
    #[error("this region writes already")]
    Writes,
    /// It has the right to write, and waits for the partner or the witness to confirm it.
    #[error(
        "this region has the right to write, and will use it as soon as its partner or the witness confirms that neither \
         has taken it"
    )]
    WaitsForConfirmation,
    /// An attempt is under way.
    #[error("this region is taking over already")]
    UnderWay,
    /// The partner cannot be reached and may be writing.
    #[error(
        "the other region does not answer and may still be writing: make sure that it is down and has not taken over \
         meanwhile, and say so; what it acknowledges from now on would be lost"
    )]
    PartnerMayWrite,
    /// No unit here holds the master key.
    #[error("no crypto unit of this region holds the instance's master key; load it first")]
    NoUnit,
    /// The data are not complete.
    #[error("this region does not have a complete copy of the data yet")]
    NotCopied,
    /// Writing would stand still for longer than it may.
    #[error(
        "this region has yet to apply too many changes of the other one for writing to stand still meanwhile; ask again later"
    )]
    Behind,
    /// The data differ.
    #[error(
        "the data of this region differ from those of the other one: to give up what only the other one has, accept that by \
         name; to give up what only this one has, order the other one to take over"
    )]
    Diverged,
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WritesRefused {
    /// The other region has the right to write.
    #[error("{}", if *lost { "read-only: the region that accepts changes is lost, and this one stands in for it" }
        else { "read-only: changes are accepted by the other region" })]
    Follows {
        /// Whether that region is lost.
        lost: bool,
    },
    /// Writing moves to the other region.
    #[error("read-only for a moment: writing moves to the other region")]
    Frozen {
        /// The longest that this takes.
        remaining: Duration,
    },
    /// It is not certain that the other region has not taken over.
    #[error("read-only: this region has started, and must first hear that the other one has not taken over")]
    Unconfirmed,
    /// The lease on writing has run out.
    #[error(
        "read-only: neither the witness nor the other region answers, so that the other region may take over"
    )]
    NoLease,
    /// The store is being made ready.
    #[error("read-only for a moment: this region is taking over")]
    TakingOver,
}

impl Copy {
    /// Whether keys can be used.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Behind | Self::Complete | Self::Diverged)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "an operator asked for it",
            Self::Timer => "the other region has been lost for long enough",
            Self::Failback => "the home has been ready again for long enough",
            Self::Resumed => "an interrupted handover is completed",
        })
    }
}
