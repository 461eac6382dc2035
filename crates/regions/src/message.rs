//! What sites tell each other, and what they ask the witness.

use crate::{Epoch, Side};

/// Identifies an attempt to take over, and distinguishes it from all earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandoverId {
    /// Random number of the start of the site that attempts it.
    pub boot: u64,
    /// Number of the attempt since then.
    pub number: u64,
}

/// Identifies the freeze that answers an attempt to take over. Only who has heard of it can end it with a commit, so that a
/// message that is left over from an earlier attempt never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreezeId {
    /// Random number of the start of the site that stands still.
    pub boot: u64,
    /// Number of the freeze since then.
    pub number: u64,
}

/// The last change of a store that is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreMark {
    /// Its revision.
    pub revision: u64,
    /// Digest of the replicated range at that revision.
    pub digest: [u8; 32],
}

/// Why a site does not hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandoverRefusal {
    /// It does not know yet whether it has the right to write, because it has just started.
    NotReady,
    /// It is taking over itself.
    TakingOver,
    /// It is no longer frozen for this attempt: the time was over.
    Late,
}

/// A message between the two sites of a pair. It may be lost, delayed, repeated and reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage {
    /// Sent by both sides, again and again.
    Poll {
        /// The sender's epoch.
        epoch: Epoch,
        /// Number of this message since the sender's start.
        ping: u64,
        /// Random number of the sender's start.
        boot: u64,
    },
    /// The answer to a poll.
    Heard {
        /// The sender's epoch.
        epoch: Epoch,
        /// Number of the poll.
        ping: u64,
        /// Random number of the start of the site that polled; the answer to an earlier life of it counts for nothing.
        boot: u64,
        /// Whether the sender promises not to take the right to write for the duration of a lease.
        promised: bool,
    },
    /// Asks the site that has the right to write to freeze and hand over.
    Freeze {
        /// The attempt.
        handover: HandoverId,
    },
    /// The sender is frozen; this is its last change.
    Frozen {
        /// The attempt.
        handover: HandoverId,
        /// The freeze.
        freeze: FreezeId,
        /// The last change.
        mark: StoreMark,
    },
    /// The sender does not hand over.
    Refused {
        /// The attempt.
        handover: HandoverId,
        /// The reason.
        why: HandoverRefusal,
    },
    /// The sender has applied the last change: give it the right to write.
    Commit {
        /// The attempt.
        handover: HandoverId,
        /// The freeze of the receiver that it belongs to.
        freeze: FreezeId,
    },
    /// The sender has given its right away for good.
    Committed {
        /// The attempt.
        handover: HandoverId,
        /// The new epoch, of the site that gets the right.
        epoch: Epoch,
    },
    /// The sender gives up: write on.
    Cancel {
        /// The attempt.
        handover: HandoverId,
    },
}

/// A request for the lease on writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRequest {
    /// Who asks.
    pub side: Side,
    /// The epoch that it wants to write under, its own.
    pub epoch: Epoch,
    /// Number of this request since the sender's start.
    pub ping: u64,
    /// Random number of the sender's start.
    pub boot: u64,
    /// Whether the sender gives back the lease on this epoch, or an earlier one, instead.
    pub release: bool,
}

/// The answer of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseReply {
    /// Number of the request.
    pub ping: u64,
    /// Random number of the start of the site that asked.
    pub boot: u64,
    /// Whether the lease on the requested epoch was granted.
    pub granted: bool,
    /// The highest epoch that the witness has granted.
    pub epoch: Epoch,
}
