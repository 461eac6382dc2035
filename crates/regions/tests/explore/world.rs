//! The model: two regions, a witness, messages, an operator, and all that can happen next.

use super::region::{Region, Write};
use regions::{
    Action, Epoch, Event, Instant, LeaseReply, LeaseRequest, Means, PairConfig, PeerMessage, Side, TakeOver,
    Witness, WitnessRecord,
};
use std::fmt;
use std::hash::{Hash, Hasher};

/// A planted fault that the search must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    /// The operator states that a region is down that is not.
    WrongOperator,
    /// The home's clock runs at half the rate: it relies on a lease for longer than that was granted.
    SlowClock,
    /// Nothing is durable that a region saves.
    LostSaves,
    /// A region says that it has every change, and has not.
    IncompleteCatchUp,
}

/// How often each thing may happen in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) ticks: u8,
    /// Times that a region does what is due by its clock, such as sending a poll.
    pub(super) timeouts: u8,
    pub(super) writes: u8,
    pub(super) orders: u8,
    pub(super) crashes: u8,
    pub(super) repeated: u8,
    pub(super) witness_restarts: u8,
}

/// From where a search starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The home writes, the standby follows.
    Normal,
    /// The standby writes after a handover, the home follows.
    Promoted,
    /// The standby has taken over with the fence; the home is down, with a write that the standby never got.
    Diverged,
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) config: PairConfig,
    pub(super) start: Start,
    pub(super) budget: Budget,
    /// Messages on their way at once; more are lost.
    pub(super) in_flight: usize,
    pub(super) sabotage: Sabotage,
    /// Of every so many states, one is healed to see that the pair writes again; 0 for none.
    pub(super) heal_each: usize,
}

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Tick,
    Timeout(Side),
    Deliver(u8),
    Repeat(u8),
    Replicate(Side),
    BeginWrite(Side),
    CommitWrite(Side, u8),
    Crash(Side),
    Start(Side),
    RestartWitness,
    Order(Side),
}

/// What is decided within a step: for each message that is sent whether it is lost, and before each save whether the region
/// crashes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    bits: u32,
    used: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Packet {
    Peer { to: Side, message: PeerMessage },
    ToWitness(LeaseRequest),
    FromWitness { to: Side, reply: LeaseReply },
}

#[derive(Clone)]
pub(super) struct World {
    now: u64,
    regions: [Region; 2],
    witness: Witness,
    /// In the order of sending, which does not tell states apart.
    net: Vec<Packet>,
    budget: Budget,
    written: Write,
    /// Writes that were acknowledged, by number.
    acknowledged: Set,
    /// Acknowledged writes that a region did not have when it took over with a fence.
    lost: Set,
    /// The epoch of the last acknowledgement.
    last: Epoch,
}

/// Numbers below 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Set(u16);

/// What a step has to do with besides the world.
pub(super) struct Course<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) choices: Choices,
    /// Whether every message arrives and no region crashes before a save.
    calm: bool,
    pub(super) taken: Vec<(Side, Means)>,
    /// A line for everything that happened, if anyone reads it.
    pub(super) log: Option<Vec<String>>,
}

/// How far time goes in one step.
const TICK_MS: u64 = 3;
const SIDES: [Side; 2] = [Side::Home, Side::Standby];

impl Choices {
    fn choose(&mut self) -> bool {
        let chosen = self.bits >> self.used & 1 == 1;
        self.used += 1;
        chosen
    }

    /// The choices after these, which have been used; `None` after the last.
    pub(super) fn next(self) -> Option<Self> {
        let at = (0..self.used).rev().find(|at| self.bits >> at & 1 == 0)?;
        Some(Self { bits: self.bits & ((1 << at) - 1) | 1 << at, used: 0 })
    }

    pub(super) const fn again(self) -> Self {
        Self { used: 0, ..self }
    }
}

impl<'a> Course<'a> {
    pub(super) const fn new(scenario: &'a Scenario, choices: Choices) -> Self {
        Self { scenario, choices, calm: false, taken: Vec::new(), log: None }
    }

    const fn calm(scenario: &'a Scenario) -> Self {
        Self { scenario, choices: Choices { bits: 0, used: 0 }, calm: true, taken: Vec::new(), log: None }
    }

    fn choose(&mut self) -> bool {
        !self.calm && self.choices.choose()
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(text());
        }
    }

    fn pace(&self, side: Side) -> u64 {
        course_pace(self.scenario, side)
    }
}

/// Milliseconds of real time for each that a region's clock shows.
fn course_pace(scenario: &Scenario, side: Side) -> u64 {
    if scenario.sabotage == Sabotage::SlowClock && side == Side::Home { 2 } else { 1 }
}

const fn index(side: Side) -> usize {
    match side {
        Side::Home => 0,
        Side::Standby => 1,
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.now.hash(state);
        self.regions.hash(state);
        self.witness.hash(state);
        self.budget.hash(state);
        (self.written, self.acknowledged, self.lost, self.last).hash(state);
        let mut net: Vec<u64> = self.net.iter().map(super::search::hash).collect();
        net.sort_unstable();
        net.hash(state);
    }
}

impl World {
    /// The world at the start of a search.
    pub(super) fn start(scenario: &Scenario) -> Self {
        let witness = Witness::new(
            WitnessRecord { epoch: Epoch::FIRST },
            scenario.config.lease,
            Instant::from_millis(0),
        );
        let mut world = Self {
            now: 0,
            regions: SIDES.map(Region::new),
            witness,
            net: Vec::new(),
            budget: Budget {
                ticks: u8::MAX,
                timeouts: u8::MAX,
                writes: 0,
                orders: 0,
                crashes: 0,
                repeated: 0,
                witness_restarts: 0,
            },
            written: 0,
            acknowledged: Set::default(),
            lost: Set::default(),
            last: Epoch::FIRST,
        };
        let calm = Scenario { in_flight: 64, sabotage: Sabotage::None, ..scenario.clone() };
        let mut course = Course::calm(&calm);
        for side in SIDES {
            world.regions[index(side)].start(0, &scenario.config);
        }
        world.prepare(&mut course, scenario.start).unwrap();
        world.net.clear();
        world.budget = scenario.budget;
        world
    }

    fn prepare(&mut self, course: &mut Course<'_>, start: Start) -> Result<(), String> {
        self.run_calmly(course, 6)?;
        if start == Start::Diverged {
            self.apply(course, Step::BeginWrite(Side::Home))?;
            self.apply(course, Step::CommitWrite(Side::Home, 0))?;
            self.apply(course, Step::Crash(Side::Home))?;
            self.net.clear();
            while self.regions[1].may_write(self.now, 1).is_none() {
                self.net.retain(|packet| !matches!(packet, Packet::Peer { .. }));
                self.order(course, Side::Standby, false)?;
                self.run_calmly(course, 1)?;
            }
        }
        if start == Start::Promoted {
            self.order(course, Side::Standby, false)?;
            self.run_calmly(course, 6)?;
        }
        Ok(())
    }

    /// Time passes, and everything arrives and is done at once.
    fn run_calmly(&mut self, course: &mut Course<'_>, ticks: u32) -> Result<(), String> {
        for _ in 0..ticks {
            self.apply(course, Step::Tick)?;
            for side in SIDES {
                if self.regions[index(side)].is_due(self.now, course.pace(side)) {
                    self.apply(course, Step::Timeout(side))?;
                }
            }
            loop {
                if !self.net.is_empty() {
                    self.apply(course, Step::Deliver(0))?;
                    continue;
                }
                let steps = self.steps(course.scenario);
                let quiet = |step: &&Step| matches!(step, Step::CommitWrite(..) | Step::Replicate(_));
                let Some(step) = steps.iter().find(quiet) else { break };
                self.apply(course, *step)?;
            }
        }
        Ok(())
    }

    /// Everything that can happen next.
    pub(super) fn steps(&self, scenario: &Scenario) -> Vec<Step> {
        let mut steps = Vec::with_capacity(16);
        let budget = self.budget;
        if budget.ticks > 0 {
            steps.push(Step::Tick);
        }
        for at in 0..u8::try_from(self.net.len()).unwrap() {
            steps.push(Step::Deliver(at));
            if budget.repeated > 0 {
                steps.push(Step::Repeat(at));
            }
        }
        for side in SIDES {
            let region = &self.regions[index(side)];
            let Some(process) = &region.process else {
                steps.push(Step::Start(side));
                continue;
            };
            let partner = &self.regions[index(side.other())];
            if partner.process.is_some() && region.can_replicate(&partner.log) {
                steps.push(Step::Replicate(side));
            }
            if budget.timeouts > 0 && region.is_due(self.now, course_pace(scenario, side)) {
                steps.push(Step::Timeout(side));
            }
            let pace = course_pace(scenario, side);
            if budget.writes > 0 && region.may_write(self.now, pace).is_some() {
                steps.push(Step::BeginWrite(side));
            }
            for at in 0..u8::try_from(process.writing.len()).unwrap() {
                steps.push(Step::CommitWrite(side, at));
            }
            if budget.crashes > 0 {
                steps.push(Step::Crash(side));
            }
            if budget.orders > 0 {
                steps.push(Step::Order(side));
            }
        }
        if budget.witness_restarts > 0 {
            steps.push(Step::RestartWitness);
        }
        steps
    }

    /// Takes a step.
    ///
    /// # Errors
    /// What must never happen, and has.
    pub(super) fn apply(&mut self, course: &mut Course<'_>, step: Step) -> Result<(), String> {
        match step {
            Step::Tick => {
                self.now += if course.calm { 1 } else { TICK_MS };
                self.budget.ticks -= 1;
            }
            Step::Timeout(side) => {
                self.budget.timeouts = self.budget.timeouts.saturating_sub(1);
                self.timeout(course, side)?;
            }
            Step::Deliver(at) => {
                let packet = self.net.remove(usize::from(at));
                self.deliver(course, packet)?;
            }
            Step::Repeat(at) => {
                self.budget.repeated -= 1;
                self.deliver(course, self.net[usize::from(at)])?;
            }
            Step::Replicate(side) => {
                let source = self.regions[index(side.other())].log.clone();
                self.regions[index(side)].replicate(&source);
                self.act(course, side)?;
            }
            Step::BeginWrite(side) => {
                let epoch = self.regions[index(side)].may_write(self.now, course.pace(side)).unwrap();
                self.budget.writes = self.budget.writes.saturating_sub(1);
                self.written += 1;
                let write = self.written;
                self.regions[index(side)].process.as_mut().unwrap().writing.push((write, epoch));
            }
            Step::CommitWrite(side, at) => {
                self.commit(course, side, usize::from(at))?;
                self.act(course, side)?;
            }
            Step::Crash(side) => self.crash(side),
            Step::Start(side) => {
                self.regions[index(side)].start(self.now, &course.scenario.config);
                self.act(course, side)?;
            }
            Step::RestartWitness => {
                self.budget.witness_restarts -= 1;
                let now = Instant::from_millis(self.now);
                self.witness = Witness::new(self.witness.record(), course.scenario.config.lease, now);
            }
            Step::Order(side) => self.order(course, side, false)?,
        }
        self.check(course)
    }

    fn timeout(&mut self, course: &mut Course<'_>, side: Side) -> Result<(), String> {
        let pace = course.pace(side);
        let region = &mut self.regions[index(side)];
        region.tell_facts(self.now, pace);
        let now = region.now(self.now, pace);
        if let Some(process) = &mut region.process {
            process.site.handle_timeout(now);
        }
        self.act(course, side)
    }

    fn crash(&mut self, side: Side) {
        self.budget.crashes = self.budget.crashes.saturating_sub(1);
        self.regions[index(side)].process = None;
    }

    fn deliver(&mut self, course: &mut Course<'_>, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Peer { to, message } => {
                let region = &mut self.regions[index(to)];
                let now = region.now(self.now, course.pace(to));
                if let Some(process) = &mut region.process {
                    process.site.handle_message(now, message);
                }
                self.act(course, to)
            }
            Packet::ToWitness(request) => {
                let reply = self.witness.handle_request(Instant::from_millis(self.now), request);
                self.send(course, Packet::FromWitness { to: request.side, reply });
                Ok(())
            }
            Packet::FromWitness { to, reply } => {
                let region = &mut self.regions[index(to)];
                let now = region.now(self.now, course.pace(to));
                if let Some(process) = &mut region.process {
                    process.site.handle_lease_reply(now, reply);
                }
                self.act(course, to)
            }
        }
    }

    fn send(&mut self, course: &mut Course<'_>, packet: Packet) {
        let lost = self.net.len() >= course.scenario.in_flight || course.choose();
        course.note(|| format!("{} {packet:?}", if lost { "lost:" } else { "sent:" }));
        if !lost {
            self.net.push(packet);
        }
    }

    /// Carries out what a site wants. A crash matters before a save alone: before a message it has the effect of the loss of
    /// that message and of those after it.
    fn act(&mut self, course: &mut Course<'_>, side: Side) -> Result<(), String> {
        loop {
            self.take_notice(course, side)?;
            let Some(process) = &mut self.regions[index(side)].process else { return Ok(()) };
            let Some(action) = process.site.poll_action() else {
                if self.finish(course, side) {
                    continue;
                }
                return Ok(());
            };
            match action {
                Action::Save(record) => {
                    if self.budget.crashes > 0 && course.choose() {
                        course.note(|| format!("{side}: crashes before it saves"));
                        self.crash(side);
                        return Ok(());
                    }
                    course.note(|| format!("{side}: saves {record:?}"));
                    if course.scenario.sabotage != Sabotage::LostSaves {
                        self.regions[index(side)].saved = record;
                    }
                }
                Action::Send(message) => self.send(course, Packet::Peer { to: side.other(), message }),
                Action::Ask(request) => self.send(course, Packet::ToWitness(request)),
                other => {
                    course.note(|| format!("{side}: {other:?}"));
                    process.act(other);
                }
            }
        }
    }

    /// Ends work of a region as soon as it can be ended, and tells the site. That it may take longer has the effect of a message
    /// that is late. Whether there was any.
    fn finish(&mut self, course: &Course<'_>, side: Side) -> bool {
        let partner = &self.regions[index(side.other())];
        let source = partner.process.is_some().then(|| partner.log.clone());
        let lies = course.scenario.sabotage == Sabotage::IncompleteCatchUp;
        let region = &mut self.regions[index(side)];
        let (now, last) = (region.now(self.now, course.pace(side)), region.mark(region.log.len()));
        let caught_up = region.has_caught_up(source.as_deref(), lies);
        let Some(process) = &mut region.process else { return false };
        if let Some(epoch) = process.opening.take() {
            process.open_for = Some(epoch);
            process.site.handle_taken_over(epoch);
        } else if let Some(handover) = process.freezing.take_if(|_| process.writing.is_empty()) {
            process.site.handle_frozen(handover, last);
        } else if let (Some((handover, _)), Some(has_all)) = (process.catching_up, caught_up) {
            process.catching_up = None;
            process.site.handle_caught_up(now, handover, has_all);
        } else {
            return false;
        }
        true
    }

    fn take_notice(&mut self, course: &mut Course<'_>, side: Side) -> Result<(), String> {
        let region = &mut self.regions[index(side)];
        let has = Set::of(&region.log);
        while let Some(event) = region.process.as_mut().and_then(|process| process.site.poll_event()) {
            course.note(|| format!("{side}: {event:?}"));
            let Event::TookOver { means, .. } = event else { continue };
            course.taken.push((side, means));
            let missing = self.acknowledged.without(has).without(self.lost);
            if means == Means::Handover && !missing.is_empty() {
                return Err(format!("a handover has lost acknowledged writes: {missing:?}"));
            }
            self.lost = self.lost.and(missing);
        }
        Ok(())
    }

    fn commit(&mut self, course: &mut Course<'_>, side: Side, at: usize) -> Result<(), String> {
        let region = &mut self.regions[index(side)];
        let now = region.now(self.now, course.pace(side)).instant;
        let process = region.process.as_mut().unwrap();
        let (write, epoch) = process.writing.remove(at);
        // The store's epoch is a condition of every write.
        if process.open_for != Some(epoch) {
            return Ok(());
        }
        region.log.push(write);
        if !process.site.may_acknowledge(now, epoch) {
            return Ok(());
        }
        course.note(|| format!("{side}: acknowledges write {write} under epoch {epoch}"));
        if epoch < self.last {
            return Err(format!(
                "write {write} acknowledged under epoch {epoch} after one under {}",
                self.last
            ));
        }
        self.last = epoch;
        self.acknowledged = self.acknowledged.and(Set::of(&[write]));
        Ok(())
    }

    /// An operator asks a region to take over, and says that its partner is down if that is so.
    fn order(&mut self, course: &mut Course<'_>, side: Side, accept_divergence: bool) -> Result<(), String> {
        let partner = &self.regions[index(side.other())];
        let (runs, epoch) = (partner.process.is_some(), partner.saved.epoch);
        let pace = course.pace(side);
        let region = &mut self.regions[index(side)];
        region.tell_facts(self.now, pace);
        let now = region.now(self.now, pace);
        let Some(process) = &mut region.process else { return Ok(()) };
        let is_down = !runs && epoch <= process.site.epoch();
        let partner_is_down = is_down || course.scenario.sabotage == Sabotage::WrongOperator;
        let order = TakeOver { partner_is_down, accept_divergence };
        course.note(|| format!("{side}: {order:?}"));
        match process.site.take_over(now, order) {
            Ok(()) => self.budget.orders = self.budget.orders.saturating_sub(1),
            Err(refused) => course.note(|| format!("refused: {refused}")),
        }
        self.act(course, side)
    }

    fn check(&self, course: &Course<'_>) -> Result<(), String> {
        let kept = Set::of(&self.regions[0].log).and(Set::of(&self.regions[1].log)).and(self.lost);
        if !self.acknowledged.without(kept).is_empty() {
            return Err("an acknowledged write is in no region, and no one counted it".to_owned());
        }
        let mut writer = None;
        for side in SIDES {
            let region = &self.regions[index(side)];
            let Some(epoch) = region.may_write(self.now, course.pace(side)) else { continue };
            if let Some(other) = writer.replace(epoch) {
                return Err(format!("two regions may write, under epochs {other} and {epoch}"));
            }
            let missing = self.acknowledged.without(Set::of(&region.log)).without(self.lost);
            if !missing.is_empty() {
                return Err(format!(
                    "the {side} writes without acknowledged writes that no one counted: {missing:?}"
                ));
            }
        }
        Ok(())
    }

    /// Faults end: everything starts again, messages arrive. Some region must write after a while.
    pub(super) fn heal(mut self, course: &mut Course<'_>) -> Result<(), String> {
        let calm = Scenario { in_flight: 64, ..course.scenario.clone() };
        let mut calmly = Course { log: course.log.take(), ..Course::calm(&calm) };
        self.budget = Budget {
            ticks: u8::MAX,
            timeouts: u8::MAX,
            writes: 0,
            orders: 0,
            crashes: 0,
            repeated: 0,
            witness_restarts: 0,
        };
        let result = self.heal_calmly(&mut calmly);
        course.log = calmly.log;
        result
    }

    fn heal_calmly(&mut self, course: &mut Course<'_>) -> Result<(), String> {
        for side in SIDES {
            if self.regions[index(side)].process.is_none() {
                self.apply(course, Step::Start(side))?;
            }
        }
        for _ in 0..60 {
            self.run_calmly(course, 1)?;
            if SIDES
                .iter()
                .any(|side| self.regions[index(*side)].may_write(self.now, course.pace(*side)).is_some())
            {
                return Ok(());
            }
        }
        Err("no region writes long after all faults have ended".to_owned())
    }

    /// A step, in words.
    pub(super) fn describe(&self, step: Step) -> String {
        match step {
            Step::Deliver(at) => format!("at {} ms arrives {:?}", self.now, self.net[usize::from(at)]),
            Step::Repeat(at) => {
                format!("at {} ms arrives, not for the last time, {:?}", self.now, self.net[usize::from(at)])
            }
            other => format!("at {} ms {other:?}", self.now),
        }
    }
}

impl Set {
    fn of(writes: &[Write]) -> Self {
        Self(writes.iter().fold(0, |set, write| set | 1 << write))
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == 0 { Ok(()) } else { write!(f, " (choices {:b})", self.bits) }
    }
}
