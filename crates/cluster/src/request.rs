//! One request as the cluster knows it.

use crate::{Instant, Policy, tuning};
use unit_api::{VariantKeys, Wkid};

/// A copy of a request that was sent to a unit and is neither answered nor lost.
pub(crate) struct Try {
    /// Index of the unit.
    pub(crate) unit: usize,
    pub(crate) attempt: u8,
    /// The unit's master key, if the variant was chosen by it.
    pub(crate) under: Option<Wkid>,
    pub(crate) sent_at: Instant,
    pub(crate) late_at: Instant,
    /// Its time is up; its answer is still welcome.
    pub(crate) late: bool,
}

impl Try {
    /// When its unit is taken to have lost it.
    pub(crate) fn abandoned_at(&self) -> Instant {
        self.late_at.plus(tuning::ABANDONED)
    }
}

pub(crate) enum Phase {
    /// No copy is under way. Wants a unit: the next that has room, or none before the moment given.
    Waiting { not_before: Option<Instant>, cost: RetryCost },
    /// Copies are under way.
    Open,
    /// Over for the caller; copies are still under way, and their units still judged by them.
    Done,
}

/// What the next copy costs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryCost {
    /// It is the first, or the last one failed for a reason that does not multiply.
    Free,
    /// A token of the retry budget.
    Token,
}

pub(crate) struct Request {
    pub(crate) policy: Policy,
    pub(crate) keys: VariantKeys,
    pub(crate) deadline: Instant,
    pub(crate) phase: Phase,
    pub(crate) tries: Vec<Try>,
    /// Units that got a copy, as a mask.
    pub(crate) tried: u64,
    /// Copies handed out so far: numbers the next.
    pub(crate) sends: u8,
    /// Copies that count against the limit.
    pub(crate) counted: u8,
    /// Units, as a mask, that turned out to have gone on to the next master key: once each, at no cost.
    pub(crate) moved_on: u64,
    /// The pause before a unit's second copy is over.
    pub(crate) paused: bool,
    pub(crate) hedge_at: Option<Instant>,
    /// When an overdue request looks for another unit again.
    pub(crate) again_at: Option<Instant>,
    /// Where it stands among the timers.
    pub(crate) timer: Option<Instant>,
}

impl Request {
    pub(crate) const fn new(policy: Policy, keys: VariantKeys, deadline: Instant) -> Self {
        Self {
            policy,
            keys,
            deadline,
            phase: Phase::Waiting { not_before: None, cost: RetryCost::Free },
            tries: Vec::new(),
            tried: 0,
            sends: 0,
            counted: 0,
            moved_on: 0,
            paused: false,
            hedge_at: None,
            again_at: None,
            timer: None,
        }
    }

    /// When there is something to do for this request even if nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        let late = || self.tries.iter().filter(|t| !t.late).map(|t| t.late_at).min();
        match self.phase {
            Phase::Waiting { not_before, .. } => {
                Some(not_before.map_or(self.deadline, |at| at.min(self.deadline)))
            }
            Phase::Open => {
                [late(), self.hedge_at, self.again_at].into_iter().flatten().chain([self.deadline]).min()
            }
            Phase::Done => self.tries.iter().map(|t| if t.late { t.abandoned_at() } else { t.late_at }).min(),
        }
    }
}
