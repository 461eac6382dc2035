//! The world of a run: time, network, clients, operator, faults and checkers.

use super::site_process::{SiteProcess, WriteId};
use regions::{
    Action, Epoch, Event, Failback, Fence, Front, FrontConfig, Instant, LeaseReply, LeaseRequest, Means,
    PairConfig, PeerMessage, Side, SiteAnswer, TakeOver, Witness, WitnessRecord, WriteEnable,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    WrongOperator,
    SlowClock,
    LostSaves,
    ForgetfulWitness,
    IncompleteCatchUp,
    NoSecondLook,
    DeafAfterHealing,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) fence: Fence,
    pub(crate) write_enable: WriteEnable,
    pub(crate) faults: bool,
    pub(crate) sabotage: Sabotage,
}

/// What runs have seen, so that a test can tell whether they were worth anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) promotions: u64,
    pub(crate) returns: u64,
    pub(crate) seizures: u64,
    pub(crate) lost_writes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) crashes: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.promotions += other.promotions;
        self.returns += other.returns;
        self.seizures += other.seizures;
        self.lost_writes += other.lost_writes;
        self.acknowledged += other.acknowledged;
        self.crashes += other.crashes;
    }
}

enum Packet {
    Peer { to: Side, message: PeerMessage },
    ToWitness(LeaseRequest),
    FromWitness { to: Side, reply: LeaseReply },
}

/// A direction of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    HomeToStandby,
    StandbyToHome,
    HomeWitness,
    StandbyWitness,
    HomeFront,
    StandbyFront,
}

const CUTS: [Cut; 6] = [
    Cut::HomeToStandby,
    Cut::StandbyToHome,
    Cut::HomeWitness,
    Cut::StandbyWitness,
    Cut::HomeFront,
    Cut::StandbyFront,
];

pub(crate) struct World {
    scenario: Scenario,
    config: PairConfig,
    rng: u64,
    now: u64,
    sites: [SiteProcess; 2],
    witness: Option<Witness>,
    witness_saved: WitnessRecord,
    front: Front,
    /// By the time of arrival, then in the order of sending.
    net: BTreeMap<(u64, u64), Packet>,
    sent: u64,
    cuts: BTreeSet<Cut>,
    next_write: WriteId,
    acknowledged: Vec<(WriteId, Epoch)>,
    /// Acknowledged writes that a site did not have when it took over with a fence.
    lost: BTreeSet<WriteId>,
    healed: bool,
    seen: Seen,
    tracing: bool,
}

const LENGTH: u64 = 400_000;
const HEALED_AT: u64 = 250_000;
const TICK: u64 = 100;

fn index(side: Side) -> usize {
    match side {
        Side::Home => 0,
        Side::Standby => 1,
    }
}

impl World {
    pub(crate) fn run(scenario: Scenario) -> Result<Seen, String> {
        let config = PairConfig {
            fence: scenario.fence,
            write_enable: scenario.write_enable,
            write_after: Duration::from_secs(20),
            failback: Failback::AfterReady(Duration::from_secs(40)),
            ..PairConfig::default()
        };
        let mut rng = scenario.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        let mut rate = || 960 + next(&mut rng) % 81;
        let mut rates = [rate(), rate()];
        if scenario.sabotage == Sabotage::SlowClock {
            rates[0] = 300;
        }
        let mut world = Self {
            scenario,
            config,
            rng,
            now: 0,
            sites: [SiteProcess::new(Side::Home, rates[0]), SiteProcess::new(Side::Standby, rates[1])],
            witness: None,
            witness_saved: WitnessRecord { epoch: Epoch::FIRST },
            front: Front::new(FrontConfig::default(), Instant::from_millis(0)),
            net: BTreeMap::new(),
            sent: 0,
            cuts: BTreeSet::new(),
            next_write: 0,
            acknowledged: Vec::new(),
            lost: BTreeSet::new(),
            healed: false,
            seen: Seen::default(),
            tracing: std::env::var_os("SIM_TRACE").is_some(),
        };
        world.start_witness();
        for side in [Side::Home, Side::Standby] {
            world.start(side);
        }
        while world.now < LENGTH {
            world.step()?;
        }
        world.check_end()?;
        world.seen.acknowledged = world.acknowledged.len() as u64;
        world.seen.lost_writes = world.lost.len() as u64;
        Ok(world.seen)
    }

    /// Prints what happens, if `SIM_TRACE` is set.
    fn trace(&self, text: impl Fn() -> String) {
        if self.tracing {
            eprintln!("{:>7} {}", self.now, text());
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        next(&mut self.rng) % below
    }

    fn chance(&mut self, per: u64) -> bool {
        self.random(per) == 0
    }

    fn start(&mut self, side: Side) {
        let boot = next(&mut self.rng);
        let (now, config) = (self.now, self.config.clone());
        self.sites[index(side)].start(now, &config, boot);
        self.trace(|| format!("{side}: starts"));
    }

    fn start_witness(&mut self) {
        let forgets = self.scenario.sabotage == Sabotage::ForgetfulWitness;
        let lease = if forgets { Duration::ZERO } else { self.config.lease };
        self.witness = Some(Witness::new(self.witness_saved, lease, Instant::from_millis(self.now)));
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += TICK;
        if !self.healed && self.now >= HEALED_AT {
            self.heal();
        }
        self.inject();
        self.deliver();
        self.replicate();
        for side in [Side::Home, Side::Standby] {
            let real = self.now;
            let linked = !self.cuts.contains(&Cut::HomeToStandby) && !self.cuts.contains(&Cut::StandbyToHome);
            let partner = &self.sites[index(side.other())];
            let source = (linked && partner.running.is_some()).then(|| partner.log.clone());
            self.sites[index(side)].tell_facts(real, source.as_deref());
            let now = self.sites[index(side)].now(real);
            if let Some(running) = &mut self.sites[index(side)].running
                && now.instant >= running.site.poll_timeout()
            {
                running.site.handle_timeout(now);
            }
            self.write(side)?;
            self.act(side)?;
        }
        self.probe();
        self.operate();
        self.check()
    }

    fn inject(&mut self) {
        if !self.scenario.faults || self.healed {
            return;
        }
        if self.chance(300) {
            let cut = CUTS[usize::try_from(self.random(CUTS.len() as u64)).unwrap()];
            if !self.cuts.remove(&cut) {
                self.cuts.insert(cut);
            }
        }
        if self.chance(600) {
            // A whole region is cut off.
            self.cuts.extend([Cut::HomeToStandby, Cut::StandbyToHome, Cut::HomeWitness, Cut::HomeFront]);
        }
        if self.chance(400) {
            self.cuts.clear();
        }
        for side in [Side::Home, Side::Standby] {
            if self.chance(900) {
                self.crash(side);
            }
            if self.sites[index(side)].running.is_none() && self.chance(300) {
                self.start(side);
            }
        }
        if self.chance(1500) {
            self.witness = None;
        }
        if self.witness.is_none() && self.chance(200) {
            self.start_witness();
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.cuts.clear();
        for side in [Side::Home, Side::Standby] {
            if self.sites[index(side)].running.is_none() {
                self.start(side);
            }
        }
        if self.witness.is_none() {
            self.start_witness();
        }
        if self.scenario.sabotage == Sabotage::DeafAfterHealing {
            self.cuts.extend(CUTS);
            for side in [Side::Home, Side::Standby] {
                self.crash(side);
                self.start(side);
            }
        }
    }

    fn crash(&mut self, side: Side) {
        let site = &mut self.sites[index(side)];
        if site.running.take().is_some() {
            eprintln_if(self.tracing, self.now, side, site.saved);
            self.seen.crashes += 1;
            // A write that was not answered is in the store or not.
            if self.scenario.sabotage == Sabotage::LostSaves {
                site.saved = site.saved_before;
            }
        }
    }

    fn send(&mut self, packet: Packet) {
        let faulty = self.scenario.faults && !self.healed;
        if faulty && self.chance(20) {
            return;
        }
        let copies = if faulty && self.chance(30) { 2 } else { 1 };
        let mut packet = Some(packet);
        for copy in 0..copies {
            let delay = if faulty && self.chance(20) { self.random(60_000) } else { self.random(150) };
            let packet = if copy + 1 == copies { packet.take() } else { packet.as_ref().map(Packet::copy) };
            self.sent += 1;
            self.net.insert((self.now + delay, self.sent), packet.unwrap());
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.net.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Packet::Peer { to, message } => {
                    let cut = match to {
                        Side::Home => Cut::StandbyToHome,
                        Side::Standby => Cut::HomeToStandby,
                    };
                    if self.cuts.contains(&cut) {
                        continue;
                    }
                    let site = &mut self.sites[index(to)];
                    let now = site.now(self.now);
                    if let Some(running) = &mut site.running {
                        running.site.handle_message(now, message);
                    }
                }
                Packet::ToWitness(request) => {
                    if self.cuts.contains(&witness_link(request.side)) {
                        continue;
                    }
                    let Some(witness) = &mut self.witness else { continue };
                    let reply = witness.handle_request(Instant::from_millis(self.now), request);
                    self.witness_saved = witness.record();
                    self.send(Packet::FromWitness { to: request.side, reply });
                }
                Packet::FromWitness { to, reply } => {
                    if self.cuts.contains(&witness_link(to)) {
                        continue;
                    }
                    let site = &mut self.sites[index(to)];
                    let now = site.now(self.now);
                    if let Some(running) = &mut site.running {
                        running.site.handle_lease_reply(now, reply);
                    }
                }
            }
        }
    }

    /// Copies changes from one store to the other.
    fn replicate(&mut self) {
        for side in [Side::Home, Side::Standby] {
            let linked = !self.cuts.contains(&Cut::HomeToStandby) && !self.cuts.contains(&Cut::StandbyToHome);
            let partner_runs = self.sites[index(side.other())].running.is_some();
            let lie = self.scenario.sabotage == Sabotage::IncompleteCatchUp;
            let lag = !self.healed && !self.chance(8);
            let source = self.sites[index(side.other())].log.clone();
            let now = self.sites[index(side)].now(self.now);
            let site = &mut self.sites[index(side)];
            let Some(running) = &mut site.running else { continue };
            let applies = running.following.is_some() || running.catching_up.is_some();
            if applies && linked && partner_runs && !lag {
                let common = site.log.iter().zip(&source).take_while(|(a, b)| a == b).count();
                if common == site.log.len() {
                    let step = if site.complete { 6 } else { 200 };
                    let upto = source.len().min(site.log.len() + step);
                    site.log = source[..upto].to_vec();
                    site.complete = site.complete || upto == source.len();
                } else if running.following == Some(true) {
                    // It has what the partner does not have: it copies everything again.
                    site.complete = false;
                    site.log.truncate(common);
                }
            }
            if let Some((handover, mark)) = running.catching_up {
                let revision = usize::try_from(mark.revision).unwrap();
                if site.log.len() >= revision || lie {
                    running.catching_up = None;
                    // A store that has more has everything, too.
                    let equal = lie || site.mark(revision) == mark;
                    let running = site.running.as_mut().unwrap();
                    running.site.handle_caught_up(now, handover, equal);
                }
            }
        }
    }

    /// Clients write at a site, whichever they reach.
    fn write(&mut self, side: Side) -> Result<(), String> {
        let real = self.now;
        if self.chance(4)
            && let Some(epoch) = self.sites[index(side)].may_write(real)
        {
            self.next_write += 1;
            let slow = self.random(10) == 0;
            let stuck = self.scenario.sabotage == Sabotage::NoSecondLook && self.random(4) == 0;
            let takes = match (stuck, slow) {
                (true, _) => 60_000,
                (_, true) => self.random(2_500),
                _ => self.random(30),
            };
            let id = self.next_write;
            self.sites[index(side)].running.as_mut().unwrap().writing.push((id, epoch, real + takes));
        }
        let site = &mut self.sites[index(side)];
        let instant = site.now(real).instant;
        let Some(running) = &mut site.running else { return Ok(()) };
        let open_for = running.open_for;
        let due: Vec<_> = running.writing.extract_if(.., |(_, _, at)| *at <= real).collect();
        for (id, epoch, _) in due {
            // The header's epoch is a condition of every write.
            if open_for != Some(epoch) && self.scenario.sabotage != Sabotage::NoSecondLook {
                continue;
            }
            site.log.push(id);
            if running.site.may_acknowledge(instant, epoch)
                || self.scenario.sabotage == Sabotage::NoSecondLook
            {
                if let Some((_, last)) = self.acknowledged.last()
                    && *last > epoch
                {
                    return Err(format!(
                        "write {id} acknowledged under epoch {epoch} after one under {last}"
                    ));
                }
                self.acknowledged.push((id, epoch));
            }
        }
        Ok(())
    }

    /// Carries actions out; a crash may come between any two.
    fn act(&mut self, side: Side) -> Result<(), String> {
        loop {
            if self.scenario.faults && !self.healed && self.chance(3000) {
                self.crash(side);
            }
            let at = index(side);
            let Some(running) = &mut self.sites[at].running else { return Ok(()) };
            while let Some(action) = running.site.poll_action() {
                running.queue.push_back(action);
            }
            self.drain_events(side)?;
            let site = &mut self.sites[at];
            let running = site.running.as_mut().unwrap();
            if let Some(handover) = running.freezing
                && running.writing.is_empty()
            {
                running.freezing = None;
                let mark = site.mark(site.log.len());
                site.running.as_mut().unwrap().site.handle_frozen(handover, mark);
                continue;
            }
            let running = site.running.as_mut().unwrap();
            let Some(action) = running.queue.pop_front() else { return Ok(()) };
            match action {
                Action::Save(record) => {
                    site.saved_before = site.saved;
                    site.saved = record;
                }
                Action::Send(message) => self.send(Packet::Peer { to: side.other(), message }),
                Action::Ask(request) => self.send(Packet::ToWitness(request)),
                Action::Follow { replace, .. } => {
                    running.open_for = None;
                    running.writing.clear();
                    running.following = Some(replace);
                    running.freezing = None;
                }
                Action::StopFollowing => {
                    running.following = None;
                    running.open_for = None;
                    running.writing.clear();
                    running.catching_up = None;
                }
                Action::Freeze(handover) => running.freezing = Some(handover),
                Action::CatchUp { handover, mark } => running.catching_up = Some((handover, mark)),
                Action::TakeOver(epoch) => {
                    running.open_for = Some(epoch);
                    running.site.handle_taken_over(epoch);
                }
            }
        }
    }

    fn drain_events(&mut self, side: Side) -> Result<(), String> {
        let at = index(side);
        while let Some(event) = self.sites[at].running.as_mut().and_then(|running| running.site.poll_event())
        {
            self.trace(|| format!("{side}: {event:?}"));
            let Event::TookOver { means, .. } = event else { continue };
            match side {
                Side::Home => self.seen.returns += 1,
                Side::Standby => self.seen.promotions += 1,
            }
            let has: BTreeSet<_> = self.sites[at].log.iter().copied().collect();
            let missing: Vec<_> = self
                .acknowledged
                .iter()
                .map(|(id, _)| *id)
                .filter(|id| !has.contains(id) && !self.lost.contains(id))
                .collect();
            match means {
                Means::Handover if !missing.is_empty() => {
                    return Err(format!("a handover has lost {} acknowledged writes", missing.len()));
                }
                Means::Handover => {}
                Means::Fence => self.seen.seizures += 1,
            }
            self.lost.extend(missing);
        }
        Ok(())
    }

    fn probe(&mut self) {
        if !self.now.is_multiple_of(1000) {
            return;
        }
        let at = Instant::from_millis(self.now);
        for side in [Side::Home, Side::Standby] {
            let cut = match side {
                Side::Home => Cut::HomeFront,
                Side::Standby => Cut::StandbyFront,
            };
            let highest = self.front.highest();
            let unreachable_for = self.front.unreachable_for(at, side.other());
            let site = &mut self.sites[index(side)];
            let now = site.now(self.now);
            let answer = site.running.as_mut().filter(|_| !self.cuts.contains(&cut)).map(|running| {
                running.site.handle_front_report(now, 0, unreachable_for, highest);
                let status = running.site.status(now.instant);
                let serves = running.site.may_use();
                SiteAnswer { epoch: status.epoch, serves, partner_lost: status.lost_since.is_some() }
            });
            self.front.handle_probe(at, side, answer);
        }
    }

    /// Promotes and returns now and then, and states that a region is down only if it is.
    fn operate(&mut self) {
        let rarely = if self.scenario.faults { 250 } else { 700 };
        if self.healed && self.scenario.faults || !self.chance(rarely) {
            // After healing, an operator still helps where only an operator can.
            if !(self.healed && self.now.is_multiple_of(20_000) && self.now < LENGTH - 60_000) {
                return;
            }
        }
        let none_writes = [0, 1].iter().all(|at| self.sites[*at].may_write(self.now).is_none());
        if self.healed && !none_writes {
            return;
        }
        for side in [Side::Home, Side::Standby] {
            let partner = &self.sites[index(side.other())];
            let own = self.sites[index(side)].running.as_ref().map(|running| running.site.epoch());
            let partner_runs = partner.running.is_some() || own.is_some_and(|own| partner.saved.epoch > own);
            let wrong = self.scenario.sabotage == Sabotage::WrongOperator;
            let site = &mut self.sites[index(side)];
            let now = site.now(self.now);
            if let Some(running) = &mut site.running {
                let partner_is_down = wrong || !partner_runs;
                // Where nothing else helps, an operator decides which data remain.
                let accept_divergence = self.healed && self.now > HEALED_AT + 60_000;
                let order = TakeOver { partner_is_down, accept_divergence };
                if running.site.take_over(now, order).is_ok() {
                    return;
                }
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        // Costs much, and what is gone does not come back.
        if self.now.is_multiple_of(2000) {
            self.check_kept()?;
        }
        let writers: Vec<_> = self.sites.iter().filter_map(|site| site.may_write(self.now)).collect();
        if writers.len() > 1 {
            return Err(format!("two regions may write at {} ms, under epochs {writers:?}", self.now));
        }
        Ok(())
    }

    /// Every acknowledged write is in some region, or was counted as lost.
    fn check_kept(&self) -> Result<(), String> {
        let kept: BTreeSet<_> = self.sites.iter().flat_map(|site| &site.log).collect();
        if let Some((id, epoch)) =
            self.acknowledged.iter().find(|(id, _)| !kept.contains(id) && !self.lost.contains(id))
        {
            return Err(format!("write {id} of epoch {epoch} is in no region, and no one counted it"));
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), String> {
        let Some(writer) = self.sites.iter().find(|site| site.may_write(self.now).is_some()) else {
            return Err(format!("no region writes {} s after healing", (LENGTH - HEALED_AT) / 1000));
        };
        if self.scenario.faults && writer.side != Side::Home {
            return Err("writing has not returned to the home".to_owned());
        }
        if self.front.route() != Some(writer.side) {
            return Err(format!("requests go to {:?}, and {} writes", self.front.route(), writer.side));
        }
        let has: BTreeSet<_> = writer.log.iter().copied().collect();
        let missing = self.acknowledged.iter().find(|(id, _)| !has.contains(id) && !self.lost.contains(id));
        match missing {
            Some((id, epoch)) => Err(format!("write {id} of epoch {epoch} has gone without being counted")),
            None => Ok(()),
        }
    }
}

impl Packet {
    const fn copy(&self) -> Self {
        match self {
            Self::Peer { to, message } => Self::Peer { to: *to, message: *message },
            Self::ToWitness(request) => Self::ToWitness(*request),
            Self::FromWitness { to, reply } => Self::FromWitness { to: *to, reply: *reply },
        }
    }
}

const fn witness_link(side: Side) -> Cut {
    match side {
        Side::Home => Cut::HomeWitness,
        Side::Standby => Cut::StandbyWitness,
    }
}

fn eprintln_if(tracing: bool, now: u64, side: Side, saved: regions::SiteRecord) {
    if tracing {
        eprintln!("{now:>7} {side}: crashes with {saved:?}");
    }
}

/// The next number of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
