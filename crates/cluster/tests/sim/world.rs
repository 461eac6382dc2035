//! The simulated region: units, network, load, faults, and the driver between them and the cluster.

use crate::checkers::{Checkers, Seen};
use cluster::{
    Action, Answer, Cluster, Config, DrainRefused, Instant, Policy, ProofOutcome, RequestId, UnitNumber,
    Verdict,
};
use std::collections::BTreeMap;
use std::time::Duration;
use unit_api::{
    Condition, NewRegister, Pace, Repetition, UnitError, UnitId, UnitStatus, VariantKeys,
    VerificationPattern, Wkid,
};

const MS: u64 = 1_000_000;
const UNITS: usize = 3;
/// Load runs in this time; every fault begins and ends in it.
const LOAD: (u64, u64) = (500 * MS, 4000 * MS);
const PERIOD: u64 = 3 * MS;
const SERVICE: u64 = 2 * MS;
const DEADLINE: u64 = 3000 * MS;
const END: u64 = 30_000 * MS;
const PATTERN: VerificationPattern = VerificationPattern::from_bytes([7; 32]);
const NEXT: VerificationPattern = VerificationPattern::from_bytes([9; 32]);
const OTHER: VerificationPattern = VerificationPattern::from_bytes([8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies and is started again.
    Kill,
    /// It stands still.
    Pause,
    /// Nothing goes in or comes out, and neither side is told.
    Cut,
    /// It takes 20 times as long.
    Slow,
    /// It has another master key and says so.
    WrongKey,
    /// It has another master key and says it has the right one.
    Lie,
    /// It has none.
    Clear,
}

/// A fault of the driver that a checker must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    UseFenced,
    IgnoreTime,
    SendTwice,
    KillAll,
    AnswerTwice,
    NeverHeal,
    OneForm,
    UseDrained,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) faults: &'static [Fault],
    /// The units go on to another master key, one after the other.
    pub(crate) rotation: bool,
    /// Units are drained and resumed, or leave and join again.
    pub(crate) membership: bool,
    pub(crate) sabotage: Sabotage,
}

#[derive(Clone, Copy)]
enum Message {
    Status,
    Prove(Wkid),
    Probe(Wkid),
    /// Under which master key, if under any.
    Request {
        id: u64,
        attempt: u8,
        under: Option<Wkid>,
    },
}

#[derive(Clone, Copy)]
enum Event {
    Submit(u64),
    Connected {
        unit: usize,
        connection: u64,
        refused: bool,
    },
    /// A message is at the unit.
    AtUnit {
        unit: usize,
        connection: u64,
        message: Message,
    },
    /// The unit has dealt with a message.
    Dealt {
        unit: usize,
        connection: u64,
        message: Message,
    },
    /// An answer is at the host.
    AtHost {
        unit: usize,
        connection: u64,
        message: Message,
        report: Report,
    },
    Broken {
        unit: usize,
        connection: u64,
    },
    Begin {
        unit: usize,
        fault: Fault,
    },
    End {
        unit: usize,
        fault: Fault,
    },
    /// A unit's New becomes its Current.
    Activate(usize),
    /// Only the new master key is legal from now on.
    Finish,
    /// A unit is drained. It is resumed, or removed and added again.
    Drain(usize),
    Resume(usize),
    /// Removed at once, or when it has no requests outstanding.
    Leave {
        unit: usize,
        at_once: bool,
    },
    Join(usize),
    Wake,
}

/// What a unit says, whatever it is asked.
#[derive(Clone, Copy)]
struct Report {
    reported: Option<VerificationPattern>,
    held: bool,
}

struct SimUnit {
    fault: Option<Fault>,
    master: VerificationPattern,
    /// Counts connections; only the last is real.
    connection: u64,
    busy_until: u64,
    /// When the last message arrived here, and the last answer at the host: neither overtakes another.
    last_in: u64,
    last_out: u64,
    /// What waits for the end of a pause.
    held_up: Vec<Event>,
}

pub(crate) struct World {
    scenario: Scenario,
    rng: u64,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    cluster: Cluster,
    units: Vec<SimUnit>,
    /// Which master keys are legal.
    legal: Vec<VerificationPattern>,
    checkers: Checkers,
    digest: u64,
}

impl World {
    /// Runs a scenario to its end; the digest of all that happened, or the first violation.
    pub(crate) fn run(scenario: Scenario) -> Result<u64, String> {
        let zones = ["a", "b", "c"];
        let units = zones.iter().zip(1..).map(|(zone, n)| (UnitNumber(n), (*zone).to_owned()));
        let next = scenario.rotation.then_some(NEXT);
        let config = Config::new(PATTERN, "a", units).with_next(next);
        let mut world = Self {
            scenario,
            rng: scenario.seed.wrapping_mul(0x9e37_79b9).wrapping_add(1),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            cluster: Cluster::new(config, scenario.seed),
            units: (0..UNITS)
                .map(|_| SimUnit {
                    fault: None,
                    master: PATTERN,
                    connection: 0,
                    busy_until: 0,
                    last_in: 0,
                    last_out: 0,
                    held_up: Vec::new(),
                })
                .collect(),
            legal: [PATTERN].into_iter().chain(next).collect(),
            checkers: Checkers::default(),
            digest: 0xcbf2_9ce4_8422_2325,
        };
        world.plan();
        world.drive()
    }

    fn random(&mut self, low: u64, high: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        low + self.rng % (high - low).max(1)
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), event);
    }

    /// After a trip over the network.
    fn soon(&mut self, event: Event) {
        let trip = self.random(50_000, 150_000);
        self.at(self.now + trip, event);
    }

    /// Load, and faults that leave one unit well; one at a time on each of the others.
    fn plan(&mut self) {
        let requests = (LOAD.1 - LOAD.0) / PERIOD;
        for id in 0..requests {
            let jitter = self.random(0, PERIOD);
            self.at(LOAD.0 + id * PERIOD + jitter, Event::Submit(id));
        }
        if self.scenario.rotation {
            let mut time = LOAD.0 + self.random(0, 1000 * MS);
            let first = self.random(0, UNITS as u64) as usize;
            for unit in (0..UNITS).map(|i| (first + i) % UNITS) {
                self.at(time, Event::Activate(unit));
                // Now and then nearly at once, now and then far apart.
                let pause = [MS / 10, 5 * MS, 1000 * MS][self.random(0, 3) as usize];
                time += self.random(0, pause);
            }
            let time = self.random(time, LOAD.1);
            self.at(time, Event::Finish);
        }
        let well = self.random(0, UNITS as u64) as usize;
        let changes = self.scenario.membership;
        for unit in (0..UNITS).filter(|unit| changes && *unit != well) {
            self.change_later(unit);
        }
        for unit in 0..UNITS {
            let mut time = LOAD.0 + self.random(0, 1000 * MS);
            let spared = unit == well && self.scenario.sabotage != Sabotage::KillAll;
            while !spared && !self.scenario.faults.is_empty() {
                let fault = self.scenario.faults[self.random(0, self.scenario.faults.len() as u64) as usize];
                let end = time + self.random(50 * MS, 1500 * MS);
                if end > LOAD.1 {
                    break;
                }
                self.at(time, Event::Begin { unit, fault });
                if self.scenario.sabotage != Sabotage::KillAll
                    && self.scenario.sabotage != Sabotage::NeverHeal
                {
                    self.at(end, Event::End { unit, fault });
                }
                time = end + self.random(100 * MS, 1000 * MS);
            }
        }
    }

    /// Has a unit be drained or removed after some time, if that is undone before the load ends.
    fn change_later(&mut self, unit: usize) {
        let time = self.now.max(LOAD.0) + self.random(0, 600 * MS);
        if time + 1000 * MS < LOAD.1 {
            let event = match self.random(0, 3) {
                0 => Event::Leave { unit, at_once: true },
                _ => Event::Drain(unit),
            };
            self.at(time, event);
        }
    }

    fn drive(mut self) -> Result<u64, String> {
        self.at(0, Event::Wake);
        while let Some(((time, _), event)) = self.queue.pop_first() {
            if time > END {
                break;
            }
            self.now = time;
            self.handle(event)?;
            self.act()?;
            let deaf = self.scenario.sabotage == Sabotage::IgnoreTime && self.now > LOAD.0;
            if let Some(due) = self.cluster.poll_timeout().filter(|_| !deaf) {
                let due = due.nanos().max(self.now);
                // A wake-up that comes for nothing is cheap; one that is missing is the driver's fault.
                if self.queue.first_key_value().is_none_or(|((next, _), _)| *next > due) {
                    self.at(due, Event::Wake);
                }
            }
        }
        self.checkers.at_end(END)?;
        for view in self.cluster.units() {
            // A cut loses answers without ending the connection, so they stay outstanding.
            if view.outstanding != 0 && !self.scenario.faults.contains(&Fault::Cut) {
                return Err(format!("outstanding: unit {} has {} requests", view.number, view.outstanding));
            }
            if !view.health.is_in_use() {
                return Err(format!(
                    "heals: unit {} is {}: {}",
                    view.number,
                    view.health.name(),
                    view.health
                ));
            }
        }
        Ok(self.digest)
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        let now = Instant::after_start(Duration::from_nanos(self.now));
        match event {
            Event::Wake => self.cluster.handle_timeout(now),
            Event::Activate(unit) => self.units[unit].master = NEXT,
            Event::Finish => {
                self.legal = vec![NEXT];
                self.cluster.set_patterns(now, NEXT, None);
            }
            Event::Drain(unit) => match self.cluster.drain(now, number(unit), false) {
                Ok(()) => {
                    self.checkers.leaves(unit);
                    let event = match self.random(0, 2) {
                        0 => Event::Resume(unit),
                        _ => Event::Leave { unit, at_once: false },
                    };
                    let pause = self.random(0, 400 * MS);
                    self.at(self.now + pause, event);
                }
                Err(DrainRefused::LastUnit) => self.change_later(unit),
                Err(refused) => return Err(format!("drain: unit {unit}: {refused}")),
            },
            Event::Resume(unit) => {
                self.checkers.returns(unit);
                let resumed = self.cluster.resume(now, number(unit));
                resumed.map_err(|refused| format!("resume: unit {unit}: {refused}"))?;
                self.change_later(unit);
            }
            Event::Leave { unit, at_once } => match self.cluster.remove_unit(now, number(unit), at_once) {
                Ok(()) => {
                    self.checkers.leaves(unit);
                    let pause = self.random(0, 400 * MS);
                    self.at(self.now + pause, Event::Join(unit));
                }
                // A unit that does not answer its requests in time is removed with them.
                Err(DrainRefused::NotDrained) => {
                    let at_once = self.random(0, 10) == 0;
                    self.at(self.now + 5 * MS, Event::Leave { unit, at_once });
                }
                Err(refused) => return Err(format!("remove: unit {unit}: {refused}")),
            },
            Event::Join(unit) => {
                self.checkers.returns(unit);
                let zone = ["a", "b", "c"][unit].to_owned();
                let added = self.cluster.add_unit(now, number(unit), zone);
                added.map_err(|refused| format!("add: unit {unit}: {refused}"))?;
                self.change_later(unit);
            }
            Event::Submit(id) => {
                let deadline = self.now + DEADLINE;
                self.checkers.requests.insert(id, Seen { deadline, ..Seen::default() });
                let repetition = if id.is_multiple_of(4) { Repetition::Retry } else { Repetition::Hedge };
                let policy = Policy { pace: Pace::Fast, repetition };
                let deadline = Instant::after_start(Duration::from_nanos(deadline));
                self.cluster.submit(now, RequestId(id), policy, self.keys(id), deadline);
            }
            Event::Connected { unit, connection, .. } if self.units[unit].connection != connection => {}
            Event::Connected { unit, refused: true, .. } => {
                self.cluster.handle_disconnected(now, number(unit), &[]);
            }
            Event::Connected { unit, .. } => self.cluster.handle_connected(now, number(unit)),
            Event::AtUnit { unit, connection, message } => self.at_unit(unit, connection, message),
            Event::Dealt { unit, connection, message } => self.dealt(unit, connection, message),
            Event::AtHost { unit, connection, message, report } => {
                if self.units[unit].connection == connection && self.units[unit].fault != Some(Fault::Cut) {
                    self.at_host(now, unit, message, report)?;
                }
            }
            Event::Broken { unit, connection } => {
                if self.units[unit].connection == connection {
                    self.cluster.handle_disconnected(now, number(unit), &[]);
                }
            }
            Event::Begin { unit, fault } => {
                self.units[unit].fault = Some(fault);
                if fault == Fault::Kill {
                    let connection = self.units[unit].connection;
                    self.soon(Event::Broken { unit, connection });
                }
            }
            Event::End { unit, fault } => {
                debug_assert_eq!(self.units[unit].fault, Some(fault));
                self.units[unit].fault = None;
                self.units[unit].busy_until = self.now;
                for event in std::mem::take(&mut self.units[unit].held_up) {
                    self.soon(event);
                }
            }
        }
        Ok(())
    }

    fn at_unit(&mut self, unit: usize, connection: u64, message: Message) {
        let state = &mut self.units[unit];
        match state.fault {
            Some(Fault::Kill | Fault::Cut) => {}
            _ if state.connection != connection => {}
            Some(Fault::Pause) => state.held_up.push(Event::AtUnit { unit, connection, message }),
            fault => {
                let service = if matches!(message, Message::Request { .. }) { SERVICE } else { SERVICE / 10 };
                let service = if fault == Some(Fault::Slow) { service * 20 } else { service };
                state.busy_until = state.busy_until.max(self.now) + service;
                let time = state.busy_until;
                self.at(time, Event::Dealt { unit, connection, message });
            }
        }
    }

    fn dealt(&mut self, unit: usize, connection: u64, message: Message) {
        let state = &mut self.units[unit];
        let master = state.master;
        let opens = match message {
            Message::Prove(wkid) | Message::Probe(wkid) | Message::Request { under: Some(wkid), .. } => {
                wkid == master.wkid()
            }
            Message::Status | Message::Request { under: None, .. } => true,
        };
        let free = matches!(message, Message::Request { under: None, .. });
        let report = match state.fault {
            Some(Fault::Kill | Fault::Cut) => return,
            Some(Fault::Pause) => return state.held_up.push(Event::Dealt { unit, connection, message }),
            // What is under no master key, a unit does with any.
            Some(Fault::WrongKey) => Report { reported: Some(OTHER), held: free },
            Some(Fault::Lie) => Report { reported: Some(master), held: free },
            Some(Fault::Clear) => Report { reported: None, held: false },
            Some(Fault::Slow) | None => Report { reported: Some(master), held: opens },
        };
        let trip = self.random(50_000, 150_000);
        let time = (self.now + trip).max(self.units[unit].last_out + 1);
        self.units[unit].last_out = time;
        self.at(time, Event::AtHost { unit, connection, message, report });
    }

    fn at_host(&mut self, now: Instant, at: usize, message: Message, report: Report) -> Result<(), String> {
        let unit = number(at);
        let legal = |pattern: VerificationPattern| self.legal.iter().any(|l| l.is_of_same_key(&pattern));
        let right = report.reported.is_some_and(legal);
        match message {
            Message::Status => {
                self.checkers.known_bad[at] |= !right;
                self.cluster.handle_status(now, unit, &status(at, report));
            }
            Message::Prove(wkid) => {
                self.checkers.known_bad[at] = !report.held;
                self.checkers.proved[at] = report.held.then_some(wkid);
                let outcome = match report.held {
                    true => ProofOutcome::Passed,
                    false if self.units[at].fault == Some(Fault::Lie) => ProofOutcome::Wrong,
                    false => ProofOutcome::Refused(UnitError::WkidMismatch.into()),
                };
                self.cluster.handle_proof(now, unit, outcome);
            }
            Message::Probe(wkid) => {
                self.checkers.refused(at, wkid, report.held);
                self.cluster.handle_probe(now, unit, report.held);
            }
            Message::Request { id, attempt, under } => {
                let answer = match (report.held, report.reported) {
                    (true, _) => Answer::Final,
                    (false, None) => Answer::NoMasterKey,
                    (false, Some(_)) => Answer::WrongMasterKey,
                };
                match under {
                    Some(wkid) => self.checkers.refused(at, wkid, report.held),
                    None => self.checkers.known_bad[at] |= !report.held,
                }
                if self.cluster.handle_reply(now, unit, RequestId(id), attempt, answer) == Verdict::Deliver {
                    let refused = (answer != Answer::Final).then(|| format!("{answer:?}"));
                    self.checkers.ended(self.now, id, refused)?;
                    if self.scenario.sabotage == Sabotage::AnswerTwice {
                        self.checkers.ended(self.now, id, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Does what the cluster wants done.
    fn act(&mut self) -> Result<(), String> {
        while let Some(action) = self.cluster.poll_action() {
            let line = format!("{} {action:?}", self.now);
            self.record(&line);
            match action {
                Action::Connect { unit } => {
                    let unit = index(unit);
                    self.units[unit].connection += 1;
                    let connection = self.units[unit].connection;
                    if self.units[unit].fault != Some(Fault::Cut) {
                        let refused = self.units[unit].fault == Some(Fault::Kill);
                        self.soon(Event::Connected { unit, connection, refused });
                    }
                }
                Action::Disconnect { unit } => self.units[index(unit)].connection += 1,
                Action::AskStatus { unit } => self.send(index(unit), Message::Status),
                Action::Prove { unit, wkid } => self.send(index(unit), Message::Prove(wkid)),
                Action::Probe { unit, wkid } => self.send(index(unit), Message::Probe(wkid)),
                Action::Send { unit, request, attempt, variant } => {
                    let keys = self.keys(request.0);
                    let under = if variant == 0 { keys.first } else { keys.second };
                    let mut unit = index(unit);
                    if self.scenario.sabotage == Sabotage::UseFenced {
                        unit = (0..UNITS).find(|at| self.checkers.known_bad[*at]).unwrap_or(unit);
                    }
                    if self.scenario.sabotage == Sabotage::UseDrained {
                        unit = (0..UNITS).find(|at| self.checkers.out[*at]).unwrap_or(unit);
                    }
                    let copies = if self.scenario.sabotage == Sabotage::SendTwice { 2 } else { 1 };
                    for _ in 0..copies {
                        self.checkers.sent(request.0, unit)?;
                        self.send(unit, Message::Request { id: request.0, attempt, under });
                    }
                }
                Action::Fail { request, failure } => {
                    self.checkers.ended(self.now, request.0, Some(format!("{failure:?}")))?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, unit: usize, message: Message) {
        let connection = self.units[unit].connection;
        let trip = self.random(50_000, 150_000);
        let time = (self.now + trip).max(self.units[unit].last_in + 1);
        self.units[unit].last_in = time;
        self.at(time, Event::AtUnit { unit, connection, message });
    }

    /// What a request brings: mostly a blob under both master keys, now and then nothing that is under a master key.
    fn keys(&self, id: u64) -> VariantKeys {
        let second =
            (self.scenario.rotation && self.scenario.sabotage != Sabotage::OneForm).then(|| NEXT.wkid());
        let key_faults = [Fault::WrongKey, Fault::Lie, Fault::Clear];
        let free = !self.scenario.faults.iter().any(|fault| key_faults.contains(fault));
        match id % 8 {
            0 if free => VariantKeys::ANY,
            // As a new key is made, under the master key that can still be re-enciphered if there is a unit for it.
            1 => VariantKeys { first: Some(PATTERN.wkid()), second, prefer_first: true },
            _ => VariantKeys { first: Some(PATTERN.wkid()), second, prefer_first: false },
        }
    }

    /// FNV-1a over the log of the run.
    fn record(&mut self, line: &str) {
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn number(at: usize) -> UnitNumber {
    UnitNumber(u16::try_from(at).unwrap() + 1)
}

fn index(number: UnitNumber) -> usize {
    usize::from(number.0) - 1
}

fn status(at: usize, report: Report) -> UnitStatus {
    UnitStatus {
        unit: UnitId([u8::try_from(at).unwrap(); 16]),
        domain_index: 0,
        domain_instance: 1,
        boot_nonce: [0; 16],
        condition: Condition::Operational,
        current: report.reported,
        new: NewRegister::Empty,
        transaction_counter: 1,
        administrators: 0,
        signature_threshold: 0,
        revocation_threshold: 0,
        audit_records: 0,
        audit_head: [0; 32],
    }
}
