//! Connections, admission, probes, ejection: what the cluster does with units besides giving them work.

use crate::health::HealthEvent;
use crate::request::RetryCost;
use crate::unit::{Identity, Link, Talk, Unit};
use crate::{
    Action, Cluster, Ejection, FenceReason, Health, Instant, ProofOutcome, RequestId, Transition, UnitNumber,
    tuning,
};
use core::time::Duration;
use std::collections::VecDeque;
use unit_api::{Condition, UnitMark, UnitStatus, VerificationPattern};

/// Most changes of units' states that wait to be reported.
const MAX_TRANSITIONS: usize = 256;
/// Most units whose marks are remembered.
const MAX_IDENTITIES: usize = 1024;

impl Cluster {
    /// A connection is there.
    pub fn handle_connected(&mut self, now: Instant, unit: UnitNumber) {
        let Some(at) = self.index(unit) else { return };
        let Some(unit) = self.units.get_mut(at).filter(|u| matches!(u.link, Link::Connecting { .. })) else {
            return;
        };
        unit.link = Link::Up;
        unit.late_probes = 0;
        unit.talk = Talk::Idle { until: now };
        self.change(now, at, &HealthEvent::Connected);
        self.settle(now);
    }

    /// A connection could not be made, or is gone. `unsent` are the copies of which not a byte was written.
    pub fn handle_disconnected(&mut self, now: Instant, unit: UnitNumber, unsent: &[(RequestId, u8)]) {
        let Some(at) = self.index(unit) else { return };
        if self.units.get(at).is_some_and(|unit| !matches!(unit.link, Link::Down { .. })) {
            self.lose(now, at, unsent);
            self.settle(now);
        }
    }

    /// A unit has said who it is. Not every unit that says the right things is admitted: see [`Self::handle_proof`].
    pub fn handle_status(&mut self, now: Instant, unit: UnitNumber, status: &UnitStatus) {
        let Some(at) = self.index(unit) else { return };
        let Some(unit) = self.units.get_mut(at) else { return };
        if !unit.is_up() || !matches!(unit.talk, Talk::Status { .. }) {
            return;
        }
        let identity = Identity { unit: status.unit, domain_index: status.domain_index };
        unit.identity = Some(identity);
        unit.pattern = status.current;
        if let Err(reason) = self.judge_status(at, identity, status) {
            // A unit without the master key has come as far as it says, too: a zeroized one must not come back.
            if matches!(reason, FenceReason::NoMasterKey | FenceReason::WrongPattern { .. }) {
                self.remember(identity, status.mark());
            }
            self.fence(now, at, reason);
        } else {
            self.remember(identity, status.mark());
            let shown = status.current.map(|pattern| pattern.wkid());
            if self.units.get(at).is_some_and(|unit| unit.admitted.is_some() && unit.admitted != shown) {
                // It has gone on to the other legal master key, which it has yet to prove.
                self.change(now, at, &HealthEvent::Doubted);
            }
            if let (Some(unit), Some(wkid)) = (self.units.get_mut(at), shown) {
                unit.status_at = now.plus(tuning::STATUS_PERIOD);
                if matches!(unit.health, Health::Checking | Health::Fenced(_)) {
                    unit.talk = Talk::Proof { late_at: now.plus(tuning::TALK_TIMEOUT) };
                    self.actions.push_back(Action::Prove { unit: unit.number, wkid });
                } else {
                    unit.talk = Talk::Idle { until: now.plus(tuning::PROBE_PERIOD) };
                }
            }
        }
        self.settle(now);
    }

    /// A unit has shown that it holds the master key, or has not.
    pub fn handle_proof(&mut self, now: Instant, unit: UnitNumber, outcome: ProofOutcome) {
        let Some(at) = self.index(unit) else { return };
        let first = self.in_use() == 0;
        let legal = self.legal;
        let Some(unit) = self.units.get_mut(at) else { return };
        if !unit.is_up() || !matches!(unit.talk, Talk::Proof { .. }) {
            return;
        }
        let refusal = match outcome {
            ProofOutcome::Passed if !unit.pattern.is_some_and(|shown| legal.permits(&shown)) => {
                // What it was asked to prove is legal no longer.
                unit.talk = Talk::Idle { until: now };
                return self.settle(now);
            }
            ProofOutcome::Passed => {
                unit.talk = Talk::Idle { until: now.plus(tuning::PROBE_PERIOD) };
                let moved_on = unit.admitted.is_some() && unit.admitted != unit.wkid();
                (unit.admitted, unit.asked_again) = (unit.wkid(), false);
                // A first unit has to take everything, and one that has only changed its master key is warm already.
                let ramp = if first || moved_on { Duration::ZERO } else { tuning::ADMISSION_RAMP };
                self.change(now, at, &HealthEvent::Admitted { ramp });
                return self.settle(now);
            }
            ProofOutcome::Wrong => None,
            ProofOutcome::Refused(refusal)
                if legal.next.is_some() && refusal.is_key_mismatch() && !unit.asked_again =>
            {
                // Its master key may have changed since it said which it has.
                unit.asked_again = true;
                unit.talk = Talk::Idle { until: now };
                self.change(now, at, &HealthEvent::Doubted);
                return self.settle(now);
            }
            ProofOutcome::Refused(refusal) => Some(refusal),
        };
        let reported = unit.pattern.unwrap_or(legal.current);
        self.fence(now, at, FenceReason::ProofFailed { reported, refusal });
        self.settle(now);
    }

    /// A unit has answered a probe, rightly or not.
    pub fn handle_probe(&mut self, now: Instant, unit: UnitNumber, passed: bool) {
        let Some(at) = self.index(unit) else { return };
        let Some(unit) = self.units.get_mut(at).filter(|unit| unit.is_up()) else { return };
        if !passed {
            self.doubt(now, at);
            return self.settle(now);
        }
        unit.late_probes = 0;
        let mut next = now.plus(tuning::PROBE_PERIOD);
        if let Health::Ejected { until, .. } = unit.health {
            unit.good_probes += 1;
            next = now.plus(tuning::FIRST_PROBE);
            if unit.good_probes >= tuning::GOOD_PROBES && until <= now {
                self.change(now, at, &HealthEvent::Recovered { ramp: tuning::RECOVERY_RAMP });
            } else if unit.good_probes >= tuning::GOOD_PROBES {
                next = next.max(until);
            }
        }
        if let Some(unit) = self.units.get_mut(at)
            && matches!(unit.talk, Talk::Probe { .. })
        {
            unit.talk = Talk::Idle { until: next };
        }
        self.settle(now);
    }

    /// Changes which master keys units may have: the instance's, and the next one while it is being rotated.
    ///
    /// A unit that has proved one of them goes on serving. Any other is asked at once which it has, and gets no work until
    /// it has proved a legal one: it may have gone on to another since it was asked last.
    pub fn set_patterns(
        &mut self,
        now: Instant,
        current: VerificationPattern,
        next: Option<VerificationPattern>,
    ) {
        (self.legal.current, self.legal.next) = (current, next);
        for at in 0..self.units.len() {
            let Some(unit) = self.units.get_mut(at) else { continue };
            let idle = matches!(unit.health, Health::Fenced(_) | Health::Checking);
            if idle && unit.is_up() {
                unit.talk = Talk::Idle { until: now };
            } else if unit.pattern.is_some_and(|found| !self.legal.permits(&found)) {
                self.doubt(now, at);
            }
        }
        self.settle(now);
    }

    /// Does what is due for the units.
    pub(crate) fn settle(&mut self, now: Instant) {
        for at in 0..self.units.len() {
            // Each turn moves the unit's next time beyond now, after two at most.
            while self.units.get(at).and_then(Unit::due).is_some_and(|due| due <= now) {
                self.tend(now, at);
            }
        }
        self.dispatch(now);
    }

    fn tend(&mut self, now: Instant, at: usize) {
        let Some(unit) = self.units.get_mut(at) else { return };
        let late_at = now.plus(tuning::TALK_TIMEOUT);
        match (&unit.link, &unit.talk) {
            (Link::Down { .. }, _) => {
                unit.link = Link::Connecting { give_up_at: late_at };
                self.actions.push_back(Action::Connect { unit: unit.number });
            }
            (Link::Connecting { .. }, _) => self.hang_up(now, at),
            (Link::Up, _) if matches!(unit.health, Health::Warming { since, ramp } if since.plus(ramp) <= now) =>
            {
                self.change(now, at, &HealthEvent::Warmed);
            }
            (Link::Up, Talk::Status { .. } | Talk::Proof { .. }) => self.hang_up(now, at),
            (Link::Up, Talk::Probe { .. }) => self.miss_probe(now, at),
            (Link::Up, Talk::Idle { .. }) => {
                let number = unit.number;
                let again = unit.health.is_in_use() && unit.status_at <= now;
                let status = again || matches!(unit.health, Health::Checking | Health::Fenced(_));
                let (talk, action) = match unit.admitted {
                    Some(wkid) if !status => (Talk::Probe { late_at }, Action::Probe { unit: number, wkid }),
                    _ => (Talk::Status { late_at }, Action::AskStatus { unit: number }),
                };
                unit.talk = talk;
                self.actions.push_back(action);
            }
        }
    }

    fn miss_probe(&mut self, now: Instant, at: usize) {
        let Some(unit) = self.units.get_mut(at) else { return };
        unit.late_probes += 1;
        unit.good_probes = 0;
        let pause =
            if unit.health.is_in_use() { Duration::ZERO } else { unit.next_pause(tuning::LONGEST_PROBE) };
        unit.talk = Talk::Idle { until: now.plus(pause) };
        if unit.late_probes >= tuning::SILENT_PROBES {
            self.hang_up(now, at);
        } else if unit.late_probes >= tuning::LATE_PROBES {
            self.trouble(now, at, Ejection::Silent);
        }
    }

    pub(crate) fn hang_up(&mut self, now: Instant, at: usize) {
        if let Some(unit) = self.units.get(at) {
            self.actions.push_back(Action::Disconnect { unit: unit.number });
        }
        self.lose(now, at, &[]);
    }

    fn lose(&mut self, now: Instant, at: usize, unsent: &[(RequestId, u8)]) {
        let cost = self.cost_of_losing(now, at);
        let Some(unit_pause) = self.units.get_mut(at).map(|unit| unit.next_pause(tuning::LONGEST_RECONNECT))
        else {
            return;
        };
        let pause = self.rng.between(unit_pause * 3 / 4, unit_pause * 5 / 4);
        if let Some(unit) = self.units.get_mut(at) {
            unit.link = Link::Down { retry_at: now.plus(pause) };
            unit.talk = Talk::Idle { until: now };
            unit.identity = None;
            (unit.admitted, unit.asked_again) = (None, false);
        }
        self.change(now, at, &HealthEvent::Lost);
        self.take_back(now, at, unsent, cost);
    }

    /// Moving what one unit had under way is free; when several are lost together it costs the same as any retry.
    fn cost_of_losing(&mut self, now: Instant, at: usize) -> RetryCost {
        let recent = |unit: &Unit| unit.last_lost.is_some_and(|lost| now.since(lost) < tuning::LOSS_WINDOW);
        let several = self.units.iter().enumerate().any(|(i, unit)| i != at && recent(unit));
        if let Some(unit) = self.units.get_mut(at).filter(|unit| unit.health.is_in_use()) {
            unit.last_lost = Some(now);
        }
        if several { RetryCost::Token } else { RetryCost::Free }
    }

    pub(crate) fn fence(&mut self, now: Instant, at: usize, reason: FenceReason) {
        let cost = self.cost_of_losing(now, at);
        if let Some(unit) = self.units.get_mut(at) {
            unit.talk = Talk::Idle { until: now.plus(tuning::FENCED_PERIOD) };
            (unit.admitted, unit.asked_again) = (None, false);
        }
        self.change(now, at, &HealthEvent::Refused(reason));
        self.take_back(now, at, &[], cost);
    }

    /// The unit must show again that it holds the master key, before it gets more work.
    pub(crate) fn doubt(&mut self, now: Instant, at: usize) {
        if self.change(now, at, &HealthEvent::Doubted)
            && let Some(unit) = self.units.get_mut(at)
        {
            unit.talk = Talk::Idle { until: now };
            self.tend(now, at);
        }
    }

    pub(crate) fn time_out(&mut self, now: Instant, at: usize) {
        let Some(unit) = self.units.get_mut(at) else { return };
        unit.timeouts_in_row += 1;
        if unit.timeouts_in_row >= tuning::TIMEOUTS_IN_ROW {
            self.trouble(now, at, Ejection::TimedOut);
        }
    }

    pub(crate) fn check_failures(&mut self, now: Instant, at: usize) {
        if self.units.get(at).is_some_and(|unit| unit.failures.at_least_half(tuning::MIN_ANSWERS)) {
            self.trouble(now, at, Ejection::Failing);
        }
    }

    pub(crate) fn check_speed(&mut self, now: Instant, at: usize) {
        let slow = self.is_slow(at);
        let Some(unit) = self.units.get_mut(at) else { return };
        unit.slow_since = slow.then(|| unit.slow_since.unwrap_or(now));
        if unit.slow_since.is_some_and(|since| now.since(since) >= tuning::SLOW_FOR) {
            self.trouble(now, at, Ejection::Slow);
        }
    }

    fn is_slow(&self, at: usize) -> bool {
        let average = self.units.get(at).and_then(|unit| unit.average.over(tuning::MIN_ANSWERS));
        let Some(average) = average.filter(|average| *average > tuning::SLOW_FLOOR) else { return false };
        let peers = self.units.iter().enumerate().filter(|(i, unit)| *i != at && unit.health.is_in_use());
        let best = peers.filter_map(|(_, unit)| unit.average.over(tuning::MIN_ANSWERS)).min();
        best.is_some_and(|best| average > best * tuning::SLOW_FACTOR)
    }

    /// Ejects a unit for a while, unless it is the last in use: a slow answer beats none.
    fn trouble(&mut self, now: Instant, at: usize, cause: Ejection) {
        if !self.others_in_use(at) {
            return;
        }
        let Some(unit) = self.units.get_mut(at).filter(|unit| unit.health.is_in_use()) else { return };
        let until = now.plus(unit.next_ejection(now));
        (unit.good_probes, unit.attempts) = (0, 0);
        if matches!(unit.talk, Talk::Idle { .. }) {
            let pause = unit.next_pause(tuning::LONGEST_PROBE);
            unit.talk = Talk::Idle { until: now.plus(pause) };
        }
        self.change(now, at, &HealthEvent::Troubled { cause, until });
    }

    pub(crate) fn others_in_use(&self, at: usize) -> bool {
        self.units.iter().enumerate().any(|(i, unit)| i != at && unit.health.is_in_use())
    }

    fn remember(&mut self, identity: Identity, mark: UnitMark) {
        let has_room = self.seen.len() < MAX_IDENTITIES || self.seen.contains_key(&identity);
        if has_room && self.seen.insert(identity, mark) != Some(mark) {
            self.marks.push_back((identity, mark));
        }
    }

    fn judge_status(&self, at: usize, identity: Identity, status: &UnitStatus) -> Result<(), FenceReason> {
        if let Condition::Error(code) = status.condition {
            return Err(FenceReason::ErrorState(code));
        }
        let same = |(i, unit): &(usize, &Unit)| {
            *i != at
                && unit.is_up()
                && unit.identity == Some(identity)
                && !matches!(unit.health, Health::Fenced(_))
        };
        if let Some((_, other)) = self.units.iter().enumerate().find(same) {
            return Err(FenceReason::DuplicateIdentity { unit: status.unit, other: other.number });
        }
        if let Some(seen) = self.seen.get(&identity) {
            seen.may_become(&status.mark()).map_err(FenceReason::RolledBack)?;
        }
        match status.current {
            None => Err(FenceReason::NoMasterKey),
            Some(found) if self.legal.permits(&found) => Ok(()),
            Some(found) => {
                let (expected, next) = (self.legal.current, self.legal.next);
                Err(FenceReason::WrongPattern { expected, next, found })
            }
        }
    }

    pub(crate) fn change(&mut self, now: Instant, at: usize, event: &HealthEvent) -> bool {
        let Some(unit) = self.units.get_mut(at) else { return false };
        let Some(next) = unit.health.after(event, now) else { return false };
        if unit.health.name() != next.name() {
            unit.since = now;
            self.changes += 1;
            match next {
                Health::Ejected { cause, .. } => {
                    for (_, count) in unit.ejections.iter_mut().filter(|(counted, _)| *counted == cause) {
                        *count += 1;
                    }
                }
                Health::Fenced(_) => unit.fences += 1,
                Health::Checking | Health::Warming { .. } | Health::Eligible | Health::Draining => {}
            }
            Self::report(&mut self.transitions, unit, next);
        } else if unit.health.to_string() != next.to_string() {
            self.changes += 1;
            Self::report(&mut self.transitions, unit, next);
        }
        if matches!(next, Health::Warming { .. }) {
            unit.clear_record();
        }
        unit.health = next;
        true
    }

    /// Keeps the latest changes only, where no driver takes them.
    fn report(transitions: &mut VecDeque<Transition>, unit: &Unit, to: Health) {
        if transitions.len() >= MAX_TRANSITIONS {
            transitions.pop_front();
        }
        transitions.push_back(Transition { unit: unit.number, from: unit.health, to });
    }
}
