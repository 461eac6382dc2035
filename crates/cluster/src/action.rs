//! What the driver does for the cluster, and what it reports.

use crate::Instant;
use core::fmt;
use core::time::Duration;
use unit_api::{Refusal, UnitId, VerificationPattern, Wkid};

/// A unit's number in its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitNumber(pub u16);

impl fmt::Display for UnitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A request's number, the caller's choice; never the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What to do. Actions are to be carried out in order, and promptly: time-outs are already running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection; answer with `handle_connected` or `handle_disconnected`.
    Connect {
        /// Unit in question.
        unit: UnitNumber,
    },
    /// Close the connection, or give up opening it. There is no answer.
    Disconnect {
        /// Unit in question.
        unit: UnitNumber,
    },
    /// Ask for the unit's status; answer with `handle_status`.
    AskStatus {
        /// Unit in question.
        unit: UnitNumber,
    },
    /// Have the unit open the instance's secret and answer a challenge; answer with `handle_proof`.
    Prove {
        /// Unit in question.
        unit: UnitNumber,
        /// The master key that it shows and is to prove.
        wkid: Wkid,
    },
    /// Have the unit answer a challenge; answer with `handle_probe`, however late.
    Probe {
        /// Unit in question.
        unit: UnitNumber,
        /// The master key that it proved last.
        wkid: Wkid,
    },
    /// Send a copy of a request; answer with `handle_reply`.
    Send {
        /// Unit in question.
        unit: UnitNumber,
        /// Request to send.
        request: RequestId,
        /// Number of the copy, from 0.
        attempt: u8,
        /// Variant to send: 0 the first, 1 the second.
        variant: u8,
    },
    /// End the request without an answer.
    Fail {
        /// Request that fails.
        request: RequestId,
        /// Reason for the caller.
        failure: Failure,
    },
}

impl Action {
    /// Unit that the action is about; `None` for [`Self::Fail`].
    pub(crate) const fn unit(&self) -> Option<UnitNumber> {
        match *self {
            Self::Connect { unit }
            | Self::Disconnect { unit }
            | Self::AskStatus { unit }
            | Self::Prove { unit, .. }
            | Self::Probe { unit, .. }
            | Self::Send { unit, .. } => Some(unit),
            Self::Fail { .. } => None,
        }
    }
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its deadline passed while no unit could take it. One that was lost before may have carried it out.
    NoEligibleUnit,
    /// Its deadline passed. A unit may have carried it out.
    DeadlineExceeded,
    /// Every unit that got it was lost before it answered, as often as may be. One may have carried it out.
    UnitLost,
    /// As many requests as may be wait already.
    Overloaded,
}

/// How a unit answered, as far as the cluster needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did what was asked, or refused what no unit would do.
    Final,
    /// It refused because of its own trouble.
    Trouble,
    /// It has no master key.
    NoMasterKey,
    /// It says that the blob is under another master key than its own; see [`Refusal::is_key_mismatch`].
    WrongMasterKey,
}

/// What to do with an answer.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the caller; the request is over.
    Deliver,
    /// Wipe it: another came first, the caller has gone, or the request goes to another unit.
    Drop,
}

/// Result of a unit's proof of the master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOutcome {
    /// The unit has the master key.
    Passed,
    /// It gave a wrong answer.
    Wrong,
    /// It refused to answer.
    Refused(Refusal),
}

/// A unit as operators see it.
#[derive(Clone, Debug)]
pub struct UnitView {
    /// Its number.
    pub number: UnitNumber,
    /// Its zone.
    pub zone: String,
    /// Its state, with the reason.
    pub health: crate::Health,
    /// Start of the present state.
    pub since: Instant,
    /// Whether there is a connection.
    pub connected: bool,
    /// Its identity, once it said so.
    pub unit: Option<UnitId>,
    /// The pattern of its Current register, as it said last.
    pub pattern: Option<VerificationPattern>,
    /// Tries under way.
    pub outstanding: u32,
    /// Answers given to callers.
    pub served: u64,
    /// Answers that were failures of the unit itself.
    pub failed: u64,
    /// How often it was ejected, by cause.
    pub ejections: [(crate::Ejection, u64); 5],
    /// How often it was fenced.
    pub fences: u64,
    /// Median latency of late; zero before the first answer.
    pub p50: Duration,
    /// 99th percentile of late.
    pub p99: Duration,
}
