//! Requests over units.

use crate::budget::{Budget, Failures, RetryStats};
use crate::eligible::{EligibleUnits, LegalKeys};
use crate::latency::Latency;
use crate::request::{Phase, Request, RetryCost, Try};
use crate::rng::Rng;
use crate::unit::{Identity, Unit};
use crate::{
    Action, Answer, Config, Failure, FenceReason, Health, Instant, MAX_TRIES, MAX_UNITS, MAX_WAITING, Policy,
    RequestId, Transition, UnitNumber, UnitView, Verdict, route, tuning,
};
use core::ops::Bound;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use unit_api::{Pace, UnitMark, VariantKeys};

/// See the crate's own page.
pub struct Cluster {
    pub(crate) legal: LegalKeys,
    pub(crate) units: Vec<Unit>,
    /// Highest transaction counter that each identity has shown.
    /// How far each unit had come when it was seen last.
    pub(crate) seen: BTreeMap<Identity, UnitMark>,
    /// Marks that were not reported yet.
    pub(crate) marks: VecDeque<(Identity, UnitMark)>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) rng: Rng,
    pub(crate) changes: u64,
    pub(crate) transitions: VecDeque<Transition>,
    /// Zone of the host.
    pub(crate) zone: String,
    pub(crate) requests: BTreeMap<RequestId, Request>,
    /// The requests that want a unit, oldest first.
    waiting: BTreeSet<RequestId>,
    timers: BTreeSet<(Instant, RequestId)>,
    retries: Budget,
    hedges: Budget,
    fast: Latency,
    medium: Latency,
    failures: Failures,
    sends: u64,
    stats: RetryStats,
}

/// How an attempt to find a unit for a request ended.
#[derive(PartialEq, Eq)]
enum Placed {
    Sent,
    /// Not now, though others may have better luck.
    Postponed,
    /// No unit takes anything.
    NoRoom,
}

impl Cluster {
    /// A cluster that knows nothing of its units yet; the first thing to do is due at [`Instant::START`].
    ///
    /// # Panics
    /// If there are more than [`MAX_UNITS`] units, or two of one number.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let numbers: BTreeSet<UnitNumber> = config.units.iter().map(|(number, _)| *number).collect();
        assert!(numbers.len() == config.units.len(), "every unit has its own number");
        assert!(numbers.len() <= MAX_UNITS, "a cluster has at most {MAX_UNITS} units");
        let unit = |(number, zone): (UnitNumber, String)| {
            let local = zone == config.zone;
            Unit::new(number, zone, local, Instant::START)
        };
        Self {
            legal: LegalKeys { current: config.pattern, next: config.next },
            units: config.units.into_iter().map(unit).collect(),
            transitions: VecDeque::new(),
            zone: config.zone,
            seen: config.seen.into_iter().collect(),
            marks: VecDeque::new(),
            actions: VecDeque::new(),
            rng: Rng::new(seed),
            changes: 0,
            requests: BTreeMap::new(),
            waiting: BTreeSet::new(),
            timers: BTreeSet::new(),
            retries: Budget::full(tuning::RETRY_BUDGET),
            hedges: Budget::full(tuning::HEDGE_BUDGET),
            fast: Latency::new(),
            medium: Latency::new(),
            failures: Failures::default(),
            sends: 0,
            stats: RetryStats::default(),
        }
    }

    /// The next thing to do now, if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next change of a unit's state that was not reported yet: for logs.
    pub fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    /// The next unit that has come further than was reported: to be kept, and given to the next cluster as
    /// [`Config::with_seen`].
    pub fn poll_mark(&mut self) -> Option<(Identity, UnitMark)> {
        self.marks.pop_front()
    }

    /// Retries, hedges and their budgets.
    #[must_use]
    pub const fn retry_stats(&self) -> RetryStats {
        RetryStats {
            retry_budget_millis: self.retries.tokens(),
            hedge_budget_millis: self.hedges.tokens(),
            ..self.stats
        }
    }

    /// When [`Self::handle_timeout`] is to be called next, unless something happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let units = self.units.iter().filter_map(Unit::due);
        self.timers.first().map(|(at, _)| *at).into_iter().chain(units).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
        while let Some((at, id)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(request) = self.requests.get_mut(&id) {
                request.timer = None;
            }
            self.handle_due(now, id);
        }
        self.dispatch(now);
    }

    /// A request has come that is to be answered by `deadline`.
    pub fn submit(
        &mut self,
        now: Instant,
        id: RequestId,
        policy: Policy,
        keys: VariantKeys,
        deadline: Instant,
    ) {
        self.stats.requests += 1;
        self.retries.earn();
        self.hedges.earn();
        self.requests.insert(id, Request::new(policy, keys, deadline));
        self.waiting.insert(id);
        if self.place(now, id) != Placed::Sent {
            if self.waiting.len() > MAX_WAITING {
                self.finish(id, Some(Failure::Overloaded));
            } else {
                self.rearm(id);
            }
        }
    }

    /// The caller has gone. Copies under way go on; their answers will be dropped.
    pub fn cancel(&mut self, id: RequestId) {
        if self.requests.get(&id).is_some_and(|request| !matches!(request.phase, Phase::Done)) {
            self.finish(id, None);
        }
    }

    /// A unit has answered the copy `attempt` of a request.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        unit: UnitNumber,
        id: RequestId,
        attempt: u8,
        answer: Answer,
    ) -> Verdict {
        let Some(at) = self.index(unit) else { return Verdict::Drop };
        let Some(request) = self.requests.get_mut(&id) else { return Verdict::Drop };
        let Some(found) = request.tries.iter().position(|t| t.unit == at && t.attempt == attempt) else {
            return Verdict::Drop;
        };
        let answered = request.tries.swap_remove(found);
        let pace = request.policy.pace;
        let over = matches!(request.phase, Phase::Done);
        // A caller's foreign blob must not cast doubt on any unit: else one client could fence them all.
        let answer = match answer {
            Answer::WrongMasterKey if answered.under.is_none() => Answer::Final,
            answer => answer,
        };
        self.judge_answer(now, at, &answered, pace, answer);
        let verdict = if over {
            self.finish(id, None);
            Verdict::Drop
        } else if answer == Answer::Final {
            if let Some(unit) = self.units.get_mut(at) {
                unit.served += 1;
            }
            self.finish(id, None);
            Verdict::Deliver
        } else {
            self.retry_refused(now, id, at, answer)
        };
        self.dispatch(now);
        verdict
    }

    /// A number that changes whenever the state of a unit does.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Tries under way on a unit.
    #[must_use]
    pub fn outstanding(&self, unit: UnitNumber) -> u32 {
        self.index(unit).and_then(|at| self.units.get(at)).map_or(0, |unit| unit.outstanding)
    }

    /// The units as operators see them.
    #[must_use]
    pub fn units(&self) -> Vec<UnitView> {
        let view = |unit: &Unit| UnitView {
            number: unit.number,
            zone: unit.zone.clone(),
            health: unit.health,
            since: unit.since,
            connected: unit.is_up(),
            unit: unit.identity.map(|identity| identity.unit),
            pattern: unit.pattern,
            outstanding: unit.outstanding,
            served: unit.served,
            failed: unit.failed,
            ejections: unit.ejections,
            fences: unit.fences,
            p50: unit.latency.quantile(50),
            p99: unit.latency.quantile(99),
        };
        self.units.iter().map(view).collect()
    }

    pub(crate) fn index(&self, number: UnitNumber) -> Option<usize> {
        self.units.iter().position(|unit| unit.number == number)
    }

    /// Sends waiting requests to units that have room.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        if self.waiting.is_empty() || route::candidates(&self.units, 0) == 0 {
            return;
        }
        let mut from = Bound::Unbounded;
        while let Some(id) = self.waiting.range((from, Bound::Unbounded)).next().copied() {
            from = Bound::Excluded(id);
            let ready = self
                .requests
                .get(&id)
                .is_some_and(|request| matches!(request.phase, Phase::Waiting { not_before: None, .. }));
            if ready && self.place(now, id) == Placed::NoRoom {
                break;
            }
        }
    }

    /// Takes back what a unit has under way: it is gone, or must not answer any more.
    ///
    /// `unsent` are the copies of which it has not had a byte. Those that the driver has not even been told to send are
    /// withdrawn: several events may come before it carries anything out.
    pub(crate) fn take_back(&mut self, now: Instant, at: usize, unsent: &[(RequestId, u8)], cost: RetryCost) {
        let mut unsent = unsent.to_vec();
        if let Some(number) = self.units.get(at).map(|unit| unit.number) {
            self.actions.retain(|action| match *action {
                Action::Send { unit, request, attempt, .. } if unit == number => {
                    unsent.push((request, attempt));
                    false
                }
                _ => true,
            });
        }
        let on_unit = |(id, request): (&RequestId, &Request)| {
            request.tries.iter().find(|t| t.unit == at).map(|lost| (*id, lost.attempt))
        };
        let lost: Vec<(RequestId, u8)> = self.requests.iter().filter_map(on_unit).collect();
        if let Some(unit) = self.units.get_mut(at) {
            unit.outstanding = 0;
        }
        for (id, attempt) in lost {
            let Some(request) = self.requests.get_mut(&id) else { continue };
            request.tries.retain(|t| t.unit != at);
            let never_sent = unsent.contains(&(id, attempt));
            if never_sent {
                request.counted = request.counted.saturating_sub(1);
            }
            let cost = if never_sent { RetryCost::Free } else { cost };
            match request.phase {
                Phase::Done => self.finish(id, None),
                _ if !request.tries.is_empty() => self.look_again(now, id),
                _ if never_sent || (request.policy.may_retry() && request.counted < MAX_TRIES) => {
                    self.wait(id, cost)
                }
                _ => self.finish(id, Some(Failure::UnitLost)),
            }
        }
        self.dispatch(now);
    }

    /// What an answer says of the unit that gave it.
    fn judge_answer(&mut self, now: Instant, at: usize, answered: &Try, pace: Pace, answer: Answer) {
        let latency = now.since(answered.sent_at);
        let Some(unit) = self.units.get_mut(at) else { return };
        unit.outstanding = unit.outstanding.saturating_sub(1);
        if !answered.late {
            unit.timeouts_in_row = 0;
        }
        unit.latency.record(now, latency);
        unit.average.record(latency);
        unit.failures.record(now, answer == Answer::Trouble);
        unit.failed += u64::from(answer != Answer::Final);
        if unit.health.is_in_use() {
            match pace {
                Pace::Fast => self.fast.record(now, latency),
                Pace::Medium => self.medium.record(now, latency),
                Pace::Slow => {}
            }
        }
        self.failures.record(now, answer != Answer::Final);
        match answer {
            Answer::Final => self.check_speed(now, at),
            Answer::Trouble => self.check_failures(now, at),
            Answer::NoMasterKey => self.fence(now, at, FenceReason::NoMasterKey),
            // What comes after the unit has shown its other master key was sent before.
            Answer::WrongMasterKey if unit.wkid() == answered.under => self.doubt(now, at),
            Answer::WrongMasterKey => {}
        }
    }

    /// After a refusal that another unit might not give.
    fn retry_refused(&mut self, now: Instant, id: RequestId, at: usize, answer: Answer) -> Verdict {
        let Some(request) = self.requests.get_mut(&id) else { return Verdict::Drop };
        let fresh = request.moved_on & route::bit(at) == 0;
        if answer == Answer::WrongMasterKey && request.keys.second.is_some() && fresh {
            // The unit has gone on to the other master key: the same request in its other variant is as good as new to it.
            request.moved_on |= route::bit(at);
            request.counted = request.counted.saturating_sub(1);
            request.tried &= !route::bit(at);
        }
        if !request.tries.is_empty() {
            self.look_again(now, id);
            return Verdict::Drop;
        }
        let may = request.policy.may_retry() && request.counted < MAX_TRIES;
        // A unit without the right master key is out at once: what it refused moves as if it had been lost.
        if !may || (answer == Answer::Trouble && !self.retries.spend()) {
            self.finish(id, None);
            return Verdict::Deliver;
        }
        self.wait(id, RetryCost::Free);
        Verdict::Drop
    }

    /// The request has no copy under way and wants a unit.
    fn wait(&mut self, id: RequestId, cost: RetryCost) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.phase = Phase::Waiting { not_before: None, cost };
            self.waiting.insert(id);
            self.rearm(id);
        }
    }

    /// If every copy still under way is overdue, the request looks for another unit as soon as may be.
    fn look_again(&mut self, now: Instant, id: RequestId) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.again_at = request.tries.iter().all(|t| t.late).then_some(now);
            self.rearm(id);
        }
    }

    /// The time of a request has come.
    fn handle_due(&mut self, now: Instant, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let mut overdue = 0_u64;
        for t in request.tries.iter_mut().filter(|t| !t.late && t.late_at <= now) {
            t.late = true;
            overdue |= route::bit(t.unit);
        }
        let (deadline, idle) = (request.deadline, request.tries.is_empty());
        let waiting = match &mut request.phase {
            Phase::Done => None,
            Phase::Waiting { not_before, .. } => {
                *not_before = not_before.filter(|at| *at > now);
                Some(true)
            }
            Phase::Open => Some(false),
        };
        for at in (0..self.units.len()).filter(|at| overdue & route::bit(*at) != 0) {
            self.failures.record(now, true);
            self.time_out(now, at);
        }
        match waiting {
            None => {
                let lost = |t: &Try| (t.late && t.abandoned_at() <= now).then_some(t.unit);
                match self.requests.get(&id).and_then(|request| request.tries.iter().find_map(lost)) {
                    Some(at) => self.hang_up(now, at),
                    None => self.rearm(id),
                }
            }
            Some(_) if deadline <= now => {
                let no_unit = idle && route::candidates(&self.units, 0) == 0;
                let failure = if no_unit { Failure::NoEligibleUnit } else { Failure::DeadlineExceeded };
                self.finish(id, Some(failure));
            }
            Some(true) => {
                let _ = self.place(now, id);
                self.rearm(id);
            }
            Some(false) => self.hurry(now, id, overdue != 0),
        }
    }

    /// Sends another copy of a request that has waited long enough for its hedge, or too long for its retry.
    fn hurry(&mut self, now: Instant, id: RequestId, overdue: bool) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let hedge = request.hedge_at.is_some_and(|at| at <= now);
        let again = request.again_at.is_some_and(|at| at <= now);
        if hedge {
            request.hedge_at = None;
        }
        if again {
            request.again_at = None;
        }
        let late = request.tries.iter().all(|t| t.late);
        let (tried, counted, repeat) = (request.tried, request.counted, request.policy.may_retry());
        let excluded = tried | !self.eligible(id).all();
        if counted < MAX_TRIES && late && repeat && (overdue || again) {
            let unit = route::choose(&self.units, excluded, now, &mut self.rng);
            match unit.filter(|_| self.retries.spend()) {
                Some(at) => {
                    self.stats.retries += 1;
                    return self.send(now, id, at);
                }
                None => {
                    let pause = self.same_unit_pause();
                    if let Some(request) = self.requests.get_mut(&id) {
                        request.again_at = Some(now.plus(pause));
                    }
                }
            }
        } else if hedge && !late && counted < MAX_TRIES && self.may_hedge() {
            let unit = route::choose(&self.units, excluded, now, &mut self.rng);
            if let Some(at) = unit.filter(|_| self.hedges.spend()) {
                self.stats.hedges += 1;
                return self.send(now, id, at);
            }
        }
        self.rearm(id);
    }

    fn may_hedge(&self) -> bool {
        self.in_use() >= 2 && !self.is_activating() && !self.failures.at_least_half(tuning::MIN_ANSWERS)
    }

    /// Whether units that are in use have different master keys.
    fn is_activating(&self) -> bool {
        let mut shown = self.units.iter().filter(|unit| unit.health.is_in_use()).map(Unit::wkid);
        let first = shown.next();
        shown.any(|other| Some(other) != first)
    }

    fn eligible(&self, id: RequestId) -> EligibleUnits {
        let keys = self.requests.get(&id).map_or(VariantKeys::ANY, |request| request.keys);
        let may_serve = |(_, unit): &(usize, &Unit)| !matches!(unit.health, Health::Fenced(_));
        let shown = self.units.iter().enumerate().filter(may_serve);
        EligibleUnits::new(&keys, &self.legal, shown.map(|(i, unit)| (route::bit(i), unit.known_wkid())))
    }

    pub(crate) fn in_use(&self) -> usize {
        self.units.iter().filter(|unit| unit.health.is_in_use()).count()
    }

    /// Finds a unit for a waiting request, and sends the request there.
    fn place(&mut self, now: Instant, id: RequestId) -> Placed {
        let Some(request) = self.requests.get_mut(&id) else { return Placed::Postponed };
        let Phase::Waiting { not_before: None, cost } = request.phase else { return Placed::Postponed };
        let (tried, paused, keys) = (request.tried, request.paused, request.keys);
        let eligible = self.eligible(id);
        let mut choose = |excluded| route::choose(&self.units, excluded, now, &mut self.rng);
        let preferred = if keys.prefer_first { choose(tried | !eligible.first()) } else { None };
        let fresh = preferred.or_else(|| choose(tried | !eligible.all()));
        let (unit, pause) = match fresh {
            Some(at) => (Some(at), false),
            None => (choose(!eligible.all()), !paused),
        };
        let Some(at) = unit else {
            let no_candidate = route::candidates(&self.units, 0) == 0;
            return if no_candidate { Placed::NoRoom } else { Placed::Postponed };
        };
        let Some(request) = self.requests.get_mut(&id) else { return Placed::Postponed };
        if pause {
            request.paused = true;
        }
        if pause || (cost == RetryCost::Token && !self.retries.spend()) {
            let not_before = Some(now.plus(self.same_unit_pause()));
            if let Some(request) = self.requests.get_mut(&id) {
                request.phase = Phase::Waiting { not_before, cost };
            }
            self.rearm(id);
            return Placed::Postponed;
        }
        if self.requests.get(&id).is_some_and(|request| request.sends > 0) {
            self.stats.retries += 1;
        }
        self.send(now, id, at);
        Placed::Sent
    }

    fn same_unit_pause(&mut self) -> Duration {
        self.rng.between(tuning::SAME_UNIT_PAUSE.0, tuning::SAME_UNIT_PAUSE.1)
    }

    fn send(&mut self, now: Instant, id: RequestId, at: usize) {
        let hedging = self.in_use() >= 2;
        let (variant, by_key) = self.eligible(id).variant(route::bit(at));
        let (Some(request), Some(unit)) = (self.requests.get_mut(&id), self.units.get_mut(at)) else {
            return;
        };
        let attempt = request.sends;
        let Some(sends) = attempt.checked_add(1) else { return self.finish(id, Some(Failure::UnitLost)) };
        let late_at = match request.policy.pace {
            Pace::Fast => now.plus(timeout(&self.fast, tuning::FAST_TIMEOUT, tuning::UNKNOWN_TIMEOUT)),
            Pace::Medium => {
                now.plus(timeout(&self.medium, tuning::MEDIUM_TIMEOUT, tuning::UNKNOWN_MEDIUM_TIMEOUT))
            }
            Pace::Slow => request.deadline,
        };
        if request.sends == 0 && request.policy.may_hedge() && hedging {
            let (least, most) = tuning::HEDGE_WAIT;
            let known = self.fast.answers() >= tuning::MIN_ANSWERS;
            let wait = if known { (self.fast.p95() * 3 / 2).clamp(least, most) } else { most };
            request.hedge_at = Some(now.plus(wait));
        }
        let under = unit.wkid().filter(|_| by_key);
        request.sends = sends;
        request.counted += 1;
        request.tried |= route::bit(at);
        request.paused = false;
        request.phase = Phase::Open;
        request.tries.push(Try { unit: at, attempt, under, sent_at: now, late_at, late: false });
        self.sends += 1;
        unit.outstanding += 1;
        unit.last_used = self.sends;
        self.actions.push_back(Action::Send { unit: unit.number, request: id, attempt, variant });
        self.waiting.remove(&id);
        self.rearm(id);
    }

    /// Ends a request for its caller. It stays known while copies are under way.
    fn finish(&mut self, id: RequestId, failure: Option<Failure>) {
        self.waiting.remove(&id);
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Some(failure) = failure {
            self.actions.push_back(Action::Fail { request: id, failure });
        }
        request.phase = Phase::Done;
        if request.tries.is_empty() {
            if let Some(at) = request.timer {
                self.timers.remove(&(at, id));
            }
            self.requests.remove(&id);
        } else {
            self.rearm(id);
        }
    }

    fn rearm(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let due = request.due();
        if due != request.timer {
            if let Some(at) = request.timer {
                self.timers.remove(&(at, id));
            }
            if let Some(at) = due {
                self.timers.insert((at, id));
            }
            request.timer = due;
        }
    }
}

/// When a try is late: four times the 99th percentile, within reason.
fn timeout(latency: &Latency, (least, most): (Duration, Duration), unknown: Duration) -> Duration {
    if latency.answers() < tuning::MIN_ANSWERS { unknown } else { (latency.p99() * 4).clamp(least, most) }
}
