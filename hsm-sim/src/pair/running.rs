//! A running pair, as commands inspect, break and heal it.

use super::links::{LinkFaults, Links, Party};
use super::member::KnownRegion;
use super::plan::PairPlan;
use super::process::{Process, ProcessError};
use super::profile::{PrivateFailover, fence_name, write_enable_name};
use super::timeline::{Timeline, TimelineEntry, shown};
use crate::control::pair_model::{
    CutLink, PairEndpoints, PairFault, PairHeal, PairRegion, PairStatus, PromoteRequest, RegionEndpoints,
    RegionReport, ReplicatedReport,
};
use crate::control::{ClockStatus, ControlClient, ControlError};
use crate::region::{DataDir, DataError, SimClock};
use jiff::{SignedDuration, Timestamp};
use regions::Side;
use server::auth::SharedToken;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long a region may take to report about itself.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);

/// How long the home may take to have the standby's changes before it is asked to take over.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at that.
const LOOK: Duration = Duration::from_millis(100);

/// Why a command about a pair was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The pair has no such region.
    #[error("there is no region `{name}`; this pair has {home} and {standby}")]
    NoSuchRegion {
        /// Name that was asked for.
        name: String,
        /// Its home.
        home: String,
        /// Its standby.
        standby: String,
    },
    /// The pair has no party of this name.
    #[error("there is no `{name}` in this pair; it has {parties}")]
    NoSuchParty {
        /// Name that was asked for.
        name: String,
        /// Those that there are.
        parties: String,
    },
    /// There is no link between them.
    #[error("there is no link between {0} and {1}")]
    NoLink(String, String),
    /// The region's processes were ended by command.
    #[error("{name} is lost: heal it first, with `hsm-sim heal region {name}`")]
    Lost {
        /// Name of the region.
        name: String,
    },
    /// The region does not serve its control API.
    #[error("{name} is starting; repeat the command in a moment")]
    Starting {
        /// Name of the region.
        name: String,
    },
    /// A process did not start or end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The region did not carry the command out.
    #[error(transparent)]
    Region(#[from] ControlError),
    /// The advance of the clock could not be stored.
    #[error(transparent)]
    Clock(#[from] DataError),
}

/// A region and what is known of it.
pub struct Member {
    pub(super) side: Side,
    pub(super) process: Process,
    pub(super) known: Arc<KnownRegion>,
    pub(super) seen: Mutex<Seen>,
}

/// What was collected from a region.
#[derive(Default)]
pub(super) struct Seen {
    /// Process that it was collected from.
    pid: Option<u32>,
    events: Vec<crate::control::pair_model::RegionEvent>,
}

/// A running pair, as its control API works on it.
pub struct RunningPair {
    pub(super) data: DataDir,
    pub(super) plan: PairPlan,
    pub(super) links: Arc<Links>,
    pub(super) clock: Arc<SimClock>,
    pub(super) members: [Member; 2],
    pub(super) witness: Option<Process>,
    /// Where the front sends requests.
    pub(super) route: watch::Receiver<Option<Side>>,
    pub(super) timeline: Timeline,
    /// Base of the front's address.
    pub(super) public: String,
    /// Token of the control API.
    pub control_token: SharedToken,
    /// Whether faults and clock changes are allowed, which can lose or expire keys.
    pub faults: bool,
}

impl RunningPair {
    /// The region of this name.
    ///
    /// # Errors
    /// [`PairError::NoSuchRegion`].
    pub fn side(&self, name: &str) -> Result<Side, PairError> {
        self.plan.side(name).ok_or_else(|| PairError::NoSuchRegion {
            name: name.to_owned(),
            home: self.plan.home.clone(),
            standby: self.plan.standby.clone(),
        })
    }

    /// A client of a region's control API.
    ///
    /// # Errors
    /// [`PairError::Lost`], [`PairError::Starting`].
    pub fn client(&self, side: Side) -> Result<ControlClient, PairError> {
        let member = self.member(side);
        let state = member.process.state();
        let name = || self.plan.name(side).to_owned();
        let ready = member.known.ready().filter(|_| state.serves);
        match ready {
            Some(ready) => Ok(ControlClient::at(&ready.control_url, &ready.control_token)?),
            None if state.is_lost => Err(PairError::Lost { name: name() }),
            None => Err(PairError::Starting { name: name() }),
        }
    }

    /// Carries out a fault.
    ///
    /// # Errors
    /// [`PairError`].
    pub async fn fault(&self, fault: &PairFault) -> Result<(), PairError> {
        match fault {
            PairFault::Lose { region } => {
                let side = self.side(region)?;
                self.collect(side).await;
                // First, so that no other party sees its connections end.
                self.links.change(|faults| faults.lost.extend([side]));
                self.note(
                    region,
                    "fault-lose",
                    "every process of the region was killed by command".to_owned(),
                );
                self.member(side).process.lose().await?;
            }
            PairFault::Isolate { region } => {
                let side = self.side(region)?;
                self.links.change(|faults| faults.isolated.extend([side]));
                self.note(region, "fault-isolate", "cut off from everything by command".to_owned());
            }
            PairFault::Cut { from, to, one_way } => {
                let (one, other) = (self.party(from)?, self.party(to)?);
                let no_link = |_| PairError::NoLink(from.clone(), to.clone());
                self.links.cut(one, other, *one_way).map_err(no_link)?;
                let how = if *one_way { "one way" } else { "both ways" };
                self.note("pair", "fault-cut", format!("{from} to {to} cut {how} by command"));
            }
        }
        Ok(())
    }

    /// Heals a region or a link. Returns once the region serves.
    ///
    /// # Errors
    /// [`PairError`].
    pub async fn heal(&self, heal: &PairHeal) -> Result<(), PairError> {
        match heal {
            PairHeal::Region(name) => {
                let side = self.side(name)?;
                self.links.change(|faults| {
                    faults.lost.remove(&side);
                    faults.isolated.remove(&side);
                });
                self.note(name, "heal", "healed by command".to_owned());
                self.member(side).process.heal().await?;
            }
            PairHeal::Link(from, to) => {
                let (one, other) = (self.party(from)?, self.party(to)?);
                self.links.mend(one, other).map_err(|_| PairError::NoLink(from.clone(), to.clone()))?;
                self.note("pair", "heal", format!("link between {from} and {to} healed by command"));
            }
        }
        Ok(())
    }

    /// Heals every region and link.
    ///
    /// # Errors
    /// [`PairError`] of the first region that does not start; the other one is healed.
    pub async fn heal_all(&self) -> Result<(), PairError> {
        self.links.change(|faults| *faults = LinkFaults::default());
        self.note("pair", "heal", "everything healed by command".to_owned());
        let [home, standby] = &self.members;
        let (home, standby) = tokio::join!(home.process.heal(), standby.process.heal());
        home.and(standby)?;
        Ok(())
    }

    /// Has the standby take the right to write.
    ///
    /// # Errors
    /// [`PairError`].
    pub async fn promote(&self, request: PromoteRequest) -> Result<RegionReport, PairError> {
        let client = self.client(Side::Standby)?;
        self.note("pair", "promote", "an operator promotes the standby".to_owned());
        let report = client.promote(&request).await?;
        self.collect(Side::Standby).await;
        Ok(report)
    }

    /// Has the home take the right to write back.
    ///
    /// # Errors
    /// [`PairError`].
    pub async fn return_home(&self) -> Result<RegionReport, PairError> {
        let client = self.client(Side::Home)?;
        self.note("pair", "return", "an operator returns writing to the home".to_owned());
        self.until_following(Side::Home).await?;
        let report = client.promote(&PromoteRequest::default()).await?;
        self.collect(Side::Home).await;
        Ok(report)
    }

    /// Waits until a change is in both regions, as the one that has the right to write sees it.
    ///
    /// # Errors
    /// [`PairError`].
    pub async fn replicated(&self, revision: &str, wait: Duration) -> Result<ReplicatedReport, PairError> {
        let (home, standby) = tokio::join!(self.collect(Side::Home), self.collect(Side::Standby));
        let has_right = |report: Option<RegionReport>| report.filter(owns).map_or(0, |report| report.epoch);
        let side = if has_right(standby) > has_right(home) { Side::Standby } else { Side::Home };
        Ok(self.client(side)?.replicated(revision, wait).await?)
    }

    /// Waits until a region that has just started or been healed has its partner's changes, so that it is not refused at once.
    async fn until_following(&self, side: Side) -> Result<(), PairError> {
        let deadline = Instant::now() + FOLLOW_PATIENCE;
        loop {
            let report = self.collect(side).await;
            let has_all = |report: &RegionReport| report.is_connected && report.data == "complete";
            if report.as_ref().is_some_and(|report| report.writes || has_all(report)) {
                return Ok(());
            }
            // Its own refusal says more than a wait that was in vain.
            if Instant::now() > deadline || self.client(side).is_err() {
                return self.client(side).map(drop);
            }
            sleep(LOOK).await;
        }
    }

    /// The time of the pair's clock.
    #[must_use]
    pub fn clock(&self) -> ClockStatus {
        ClockStatus::of(&self.clock)
    }

    /// Moves the clock of every region forward. A region that does not run catches up when it starts.
    ///
    /// # Errors
    /// [`PairError`]; regions that were not reached catch up later.
    pub async fn advance(&self, by: Duration) -> Result<ClockStatus, PairError> {
        for side in [Side::Home, Side::Standby] {
            // Times of events are told from the clock as it is now.
            self.collect(side).await;
        }
        self.clock.advance(by)?;
        for side in [Side::Home, Side::Standby] {
            if let Ok(client) = self.client(side) {
                self.catch_up(&client).await?;
            }
        }
        Ok(self.clock())
    }

    /// Moves a region's clock to where the pair's is.
    pub(super) async fn catch_up(&self, client: &ControlClient) -> Result<(), PairError> {
        let behind = self.clock.ahead().as_secs().saturating_sub(client.clock().await?.ahead_s);
        if behind > 0 {
            client.advance(behind).await?;
        }
        Ok(())
    }

    /// Collects what a region reports, and adds its events to the timeline.
    pub(crate) async fn collect(&self, side: Side) -> Option<RegionReport> {
        let client = self.client(side).ok()?;
        let pid = self.member(side).process.state().pid;
        let report = timeout(REPORT_PATIENCE, client.region_report()).await.ok()?.ok()?;
        let mut seen = self.member(side).seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.pid != pid {
            *seen = Seen { pid, events: Vec::new() };
        }
        for event in new_events(&seen.events, &report.events) {
            let clock: Timestamp = event.clock.parse().unwrap_or_else(|_| Timestamp::now());
            let ahead = SignedDuration::try_from(self.clock.ahead()).unwrap_or_default();
            self.timeline.add(TimelineEntry {
                at: shown(clock.checked_sub(ahead).unwrap_or(clock)),
                clock: event.clock.clone(),
                region: self.plan.name(side).to_owned(),
                event: event.event.clone(),
                text: event.text.clone(),
            });
        }
        seen.events.clone_from(&report.events);
        Some(report)
    }

    /// Everything that has happened.
    pub async fn timeline(&self) -> Vec<TimelineEntry> {
        tokio::join!(self.collect(Side::Home), self.collect(Side::Standby));
        self.timeline.entries()
    }

    /// The addresses of the pair.
    #[must_use]
    pub fn endpoints(&self) -> PairEndpoints {
        let route = *self.route.borrow();
        let regions: Vec<RegionEndpoints> = self
            .members
            .iter()
            .filter_map(|member| {
                let ready = member.known.ready()?;
                Some(RegionEndpoints {
                    name: self.plan.name(member.side).to_owned(),
                    role: member.side.to_string(),
                    rest_url: ready.rest_url,
                    tke_url: ready.tke_url,
                    operator_url: ready.operator_url,
                    is_routed: route == Some(member.side),
                })
            })
            .collect();
        let private_is_automatic = self.plan.switches.private_failover == PrivateFailover::Automatic;
        let own = regions.iter().find(|region| region.is_routed).or(regions.first());
        let own = own.filter(|_| !private_is_automatic).map(|region| region.rest_url.clone());
        PairEndpoints {
            public: self.public.clone(),
            private: own.unwrap_or_else(|| self.public.clone()),
            private_is_automatic,
            regions,
        }
    }

    /// The status of the pair.
    pub async fn status(&self) -> PairStatus {
        let (home, standby) = tokio::join!(self.collect(Side::Home), self.collect(Side::Standby));
        let faults = self.links.faults();
        let name = |side: Side| self.plan.name(side).to_owned();
        let region = |side: Side, report: Option<RegionReport>| {
            let state = self.member(side).process.state();
            let process = match (state.is_lost, state.serves) {
                (true, _) => "lost",
                (false, true) => "running",
                (false, false) => "starting",
            };
            PairRegion {
                name: name(side),
                role: side.to_string(),
                process: process.to_owned(),
                pid: state.pid,
                restarts: state.restarts,
                isolated: faults.isolated.contains(&side),
                report,
            }
        };
        let regions = vec![region(Side::Home, home), region(Side::Standby, standby)];
        let view = view_of(&regions);
        let follower =
            regions.iter().filter_map(|region| region.report.as_ref()).find(|report| !owns(report));
        let writes: Vec<&str> = regions
            .iter()
            .filter(|region| region.report.as_ref().is_some_and(|report| report.writes))
            .map(|region| region.role.as_str())
            .collect();
        let reason = not_ready(&regions, &faults);
        let switches = &self.plan.switches;
        let rpo =
            follower.and_then(|report| report.lag_seconds).filter(|lag| *lag > switches.rpo.as_secs_f64());
        let rpo = rpo.map(|lag| format!("the lag, {lag:.0} s, exceeds slo.rpo"));
        let lost_since = regions.iter().filter_map(|r| r.report.as_ref()?.lost_since.clone()).min();
        let rto = lost_since.as_ref().filter(|since| self.has_passed(since, switches.rto));
        let rto = rto.map(|since| format!("no changes since {since}, which exceeds slo.rto"));
        PairStatus {
            profile: self.plan.profile.to_string(),
            fence: fence_name(switches.pair.fence).to_owned(),
            changes_enabled_by: write_enable_name(switches.pair.write_enable).to_owned(),
            home: name(Side::Home),
            standby: name(Side::Standby),
            state: view.map_or("unknown", |report| report.state.as_str()).to_owned(),
            epoch: view.map_or(0, |report| report.epoch),
            writes: match writes.as_slice() {
                [] => "none",
                [only] => only,
                _ => "both",
            }
            .to_owned(),
            requests_go_to: self.route.borrow().map(name),
            lag_seconds: follower.and_then(|report| report.lag_seconds),
            lag_revisions: follower.map(|report| report.lag_revisions),
            write_enable_at: regions.iter().find_map(|r| r.report.as_ref()?.write_enable_at.clone()),
            lost_since,
            ready: reason.is_empty(),
            reason,
            cut: faults
                .cut
                .iter()
                .map(|(from, to)| CutLink { from: self.party_name(*from), to: self.party_name(*to) })
                .collect(),
            alarms: rpo.into_iter().chain(rto).collect(),
            regions,
            clock: self.clock(),
        }
    }

    fn has_passed(&self, since: &str, limit: Duration) -> bool {
        let Ok(since) = since.parse::<Timestamp>() else { return false };
        let since = Duration::try_from(since.as_duration()).unwrap_or_default();
        self.clock.since_epoch().saturating_sub(since) > limit
    }

    pub(super) fn member(&self, side: Side) -> &Member {
        let [home, standby] = &self.members;
        match side {
            Side::Home => home,
            Side::Standby => standby,
        }
    }

    /// Adds to the timeline what a command or a process of this pair did.
    pub(super) fn note(&self, region: &str, event: &str, text: String) {
        tracing::info!(region, event, "{text}");
        let clock = Timestamp::from_duration(
            SignedDuration::try_from(self.clock.since_epoch()).unwrap_or(SignedDuration::MAX),
        );
        self.timeline.add(TimelineEntry {
            at: shown(Timestamp::now()),
            clock: shown(clock.unwrap_or(Timestamp::MAX)),
            region: region.to_owned(),
            event: event.to_owned(),
            text,
        });
    }

    fn party(&self, name: &str) -> Result<Party, PairError> {
        let has_witness = self.witness.is_some();
        match name {
            "front" => Ok(Party::Front),
            "witness" if has_witness => Ok(Party::Witness),
            _ => self.plan.side(name).map(Party::Region).ok_or_else(|| {
                let mut parties = vec![self.plan.home.as_str(), &self.plan.standby, "front"];
                parties.extend(has_witness.then_some("witness"));
                PairError::NoSuchParty { name: name.to_owned(), parties: parties.join(", ") }
            }),
        }
    }

    fn party_name(&self, party: Party) -> String {
        match party {
            Party::Region(side) => self.plan.name(side).to_owned(),
            Party::Witness | Party::Front => party.to_string(),
        }
    }

    /// Ends every process.
    pub(super) async fn stop(&self) {
        let [home, standby] = &self.members;
        tokio::join!(home.process.stop(), standby.process.stop());
        if let Some(witness) = &self.witness {
            witness.stop().await;
        }
    }
}

/// Whether a region has the right to write, by its own account.
fn owns(report: &RegionReport) -> bool {
    let owner = regions::Epoch::from_number(report.epoch).owner();
    owner.to_string() == report.role
}

/// The report that tells most about the pair: of the region that acts by the highest epoch and is not cut off.
fn view_of(regions: &[PairRegion]) -> Option<&RegionReport> {
    let severity = |state: &str| ["normal", "returning", "promoted", "lost"].iter().position(|s| *s == state);
    let reports = regions.iter().filter_map(|region| Some((region, region.report.as_ref()?)));
    let best =
        reports.max_by_key(|(region, report)| (report.epoch, !region.isolated, severity(&report.state)));
    best.map(|(_, report)| report)
}

/// Why the region without the right to write could not serve if the other one was lost; empty if it could.
fn not_ready(regions: &[PairRegion], faults: &LinkFaults) -> String {
    for region in regions {
        let name = &region.name;
        if region.process != "running" {
            return format!("{name} is {}", region.process);
        }
        if region.isolated {
            return format!("{name} is cut off");
        }
    }
    let reports = regions.iter().filter_map(|region| region.report.as_ref());
    let Some(follower) = reports.clone().find(|report| !owns(report)) else {
        let silent = regions.iter().find(|region| region.report.is_none());
        return silent.map_or_else(
            || "no region follows the other one".to_owned(),
            |region| format!("{} does not report", region.name),
        );
    };
    let name = &follower.name;
    match (follower.data.as_str(), follower.is_connected, follower.serves) {
        ("incomplete", ..) => format!("the copy of the data in {name} is not complete"),
        ("diverged", ..) => format!("the data in {name} differ from those of the other region"),
        (_, false, _) => format!("no changes reach {name}"),
        (_, true, false) => format!("no crypto unit in {name} serves"),
        (_, true, true) if !faults.cut.is_empty() => "a link is cut".to_owned(),
        (_, true, true) => String::new(),
    }
}

/// The events of `now` that were not in `before`. A region forgets its oldest ones.
fn new_events<'a, T: PartialEq>(before: &[T], now: &'a [T]) -> &'a [T] {
    let known = (0..=before.len()).find_map(|forgotten| {
        let kept = before.get(forgotten..)?;
        now.starts_with(kept).then_some(kept.len())
    });
    now.get(known.unwrap_or_default()..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::new_events;

    #[test]
    fn only_new_events_are_added() {
        assert_eq!(new_events::<u8>(&[], &[1, 2]), [1, 2]);
        assert_eq!(new_events(&[1, 2], &[1, 2, 3]), [3]);
        assert_eq!(new_events(&[1, 2, 3], &[2, 3, 4]), [4]);
        assert_eq!(new_events(&[1, 1], &[1, 1]), [0_u8; 0]);
        // After a gap nothing is left out.
        assert_eq!(new_events(&[1, 2], &[7, 8]), [7, 8]);
    }
}
