//! Carries out the steps of a plan on a running simulator, while clients use it.

use super::assemble::is_load_enough;
use super::client::{Endpoint, KeyClient};
use super::customer::Customer;
use super::duplicates::DuplicateLoad;
use super::history::{Class, FoundKey, Outcome};
use super::journal::Journal;
use super::load::{ClientSetup, Recorder, RunningLoad};
use super::model::HumanStep;
use super::observe::{self, Observer};
use super::plan::{Condition, Order, Plan, Step};
use super::progress::Progress;
use super::simulator::{Simulator, SimulatorError};
use super::twin::Twin;
use crate::control::pair_model::{PairFault, PairHeal, PromoteRequest};
use crate::control::{ControlError, FaultKind, FaultRequest, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(100);
/// For how long operations have to succeed before they count as served again.
const STEADY: Duration = Duration::from_secs(1);
/// How long processes that were killed may take to be gone.
const DEATH_PATIENCE: Duration = Duration::from_secs(10);
/// How long clients may take for what is needed before the fault, after the time that is planned.
const LOAD_PATIENCE: Duration = Duration::from_secs(120);
/// How long an order may take.
const ORDER_PATIENCE: Duration = Duration::from_secs(120);
/// How long listing all keys may take at the end, repetitions included.
const LIST_PATIENCE: Duration = Duration::from_secs(60);

/// What a run needs.
pub(super) struct Drive<'a> {
    pub(super) plan: &'a Plan,
    pub(super) simulator: &'a Simulator,
    /// The region that is lost, in a rehearsal of duplicate keys.
    pub(super) twin: Option<&'a Twin>,
    /// Who set the units up, in a rehearsal of a rotation.
    pub(super) customer: Option<&'a Customer>,
    pub(super) journal: &'a Arc<Journal>,
    pub(super) recorder: &'a Arc<Recorder>,
    pub(super) progress: &'a Arc<Progress>,
    /// When something was broken or ordered for the last time, in microseconds since the rehearsal began.
    pub(super) disturbed_us: AtomicU64,
}

/// Clients of one service, or of two.
enum AnyLoad {
    Usual(RunningLoad),
    Duplicate(DuplicateLoad),
}

/// Why a step ends the rehearsal early.
#[derive(Debug, thiserror::Error)]
enum StepError {
    /// The control API refused.
    #[error("{step}: refused")]
    Refused { step: String, source: ControlError },
    /// It took too long.
    #[error("{step}: not within {} s", .after.as_secs())]
    TooLate { step: String, after: Duration },
    /// The customer's tool failed.
    #[error("{step}: failed")]
    Tool { step: String, source: SimulatorError },
    /// A fault was reported as done and was not.
    #[error("the fault did not take effect: {0}")]
    NoEffect(String),
}

impl Drive<'_> {
    /// Carries out every step, and looks at what is left at the end.
    pub(super) async fn run(&self) {
        let observer = Observer::start(self.simulator, self.journal, self.recorder, self.progress, self.plan);
        let mut load = None;
        let began = Instant::now();
        for step in &self.plan.steps {
            // Clients come once the simulator is as the plan wants it.
            if load.is_none() && matches!(step, Step::Load { .. }) {
                let clients = self.plan.load.clients;
                load = Some(self.start_load());
                self.journal.note("load", "began", &format!("{clients} clients"));
            }
            self.journal.show_step(&step.to_string(), began.elapsed());
            if let Err(error) = self.step(step).await {
                let why = wire::text::error_chain(&error);
                self.journal.note("rehearsal", "ended-early", &why);
                // What cannot be prepared or broken proves nothing about what would follow.
                if self.progress.marks().fault_in_us.is_none() {
                    self.progress.add_void(why);
                } else {
                    self.progress.add_failure(why);
                }
                break;
            }
        }
        self.journal.show_step("every key is listed and used once more", began.elapsed());
        let last_uses = match load {
            Some(AnyLoad::Usual(load)) => load.finish().await,
            Some(AnyLoad::Duplicate(load)) => load.finish().await,
            None => Vec::new(),
        };
        self.progress.mark(|marks| marks.end_us = Some(self.recorder.now_us()));
        self.journal.note("load", "ended", &format!("{} keys were used once more", last_uses.len()));
        self.recorder.history().last_uses = last_uses;
        self.list().await;
        self.progress.ends_as(observe::ending(self.simulator, self.plan.scenario).await);
        observer.end().await;
    }

    fn start_load(&self) -> AnyLoad {
        let clients = (0..self.plan.load.clients).map(|number| self.client(number));
        match self.twin {
            Some(twin) => {
                let regions = [twin.endpoint.clone(), Endpoint::of(&self.simulator.ready)];
                AnyLoad::Duplicate(DuplicateLoad::start(clients, &regions))
            }
            None => AnyLoad::Usual(RunningLoad::start(clients)),
        }
    }

    fn client(&self, number: u16) -> ClientSetup {
        ClientSetup {
            number,
            // The last ones retry.
            retries: number >= self.plan.load.clients - self.plan.load.retrying_clients,
            seed: self.plan.seed,
            load: self.plan.load,
            endpoint: Endpoint::of(&self.simulator.ready),
            recorder: Arc::clone(self.recorder),
        }
    }

    fn service(&self) -> KeyClient {
        let patience = Duration::from_millis(self.plan.load.request_timeout_ms);
        KeyClient::new(Endpoint::of(&self.simulator.ready), patience)
    }

    async fn list(&self) {
        let deadline = Instant::now() + LIST_PATIENCE;
        loop {
            match self.list_once().await {
                Ok(found) => {
                    self.journal.note("load", "listed", &format!("{} keys are there", found.len()));
                    self.recorder.history().found = Some(found);
                    return;
                }
                Err(outcome) if Instant::now() > deadline => {
                    let why = format!("the keys could not be listed: {}", outcome.label());
                    self.journal.note("load", "listed", &why);
                    return;
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    async fn list_once(&self) -> Result<Vec<FoundKey>, Outcome> {
        let mut found = self.service().list_all().await?;
        if let Some(twin) = self.twin {
            let patience = Duration::from_millis(self.plan.load.request_timeout_ms);
            found.extend(KeyClient::new(twin.endpoint.clone(), patience).list_all().await?);
        }
        Ok(found)
    }

    async fn step(&self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Load { ms } => self.load(Duration::from_millis(*ms)).await,
            Step::LoseRegion { region } => self.lose_region(step, region).await?,
            Step::KillZone { zone } => self.kill_zone(step, zone).await?,
            Step::Prepare { order } => self.order(order).await?,
            Step::HandOver { order } => self.hand_over(step, order).await?,
            Step::RotateMasterKey => self.rotate_master_key(step).await?,
            Step::KillTwin => self.kill_twin(step).await?,
            Step::Decide { after_ms, order } => {
                sleep(Duration::from_millis(*after_ms)).await;
                let now = self.recorder.now_us();
                self.progress.mark(|marks| match order {
                    Order::Promote { .. } => {
                        marks.decided_us.get_or_insert(now);
                    }
                    Order::Return => {
                        marks.returned_us.get_or_insert(now);
                    }
                    Order::HealRegion { .. } | Order::HealZone { .. } | Order::StartTwin => {
                        marks.repair_us.get_or_insert(now);
                    }
                });
                let ordered = Instant::now();
                self.order(order).await?;
                self.progress.add_order(HumanStep {
                    order: order.to_string(),
                    decision_ms: *after_ms,
                    took_ms: millis(ordered.elapsed()),
                });
            }
            Step::Await { condition, at_most_ms } => {
                let at_most = Duration::from_millis(*at_most_ms);
                self.wait(*condition, at_most)
                    .await
                    .ok_or_else(|| StepError::TooLate { step: step.to_string(), after: at_most })?;
            }
        }
        Ok(())
    }

    /// Lets the clients go on; before the fault, until there is enough to compare with.
    async fn load(&self, time: Duration) {
        sleep(time).await;
        let deadline = Instant::now() + LOAD_PATIENCE;
        let is_before_fault = self.progress.marks().fault_asked_us.is_none();
        while is_before_fault
            && !is_load_enough(&self.recorder.history(), self.recorder.now_us())
            && Instant::now() < deadline
        {
            sleep(LOOK).await;
        }
    }

    /// Kills every process of a region, and makes sure that they are gone.
    async fn lose_region(&self, step: &Step, region: &str) -> Result<(), StepError> {
        let refused = |source| StepError::Refused { step: step.to_string(), source };
        let control = &self.simulator.control;
        let before = observe::pair_readiness(self.simulator).await.map_err(refused)?;
        let mut pids = before.pids(region);
        self.progress.is_ready_before(before.readiness);
        if pids.is_empty() {
            return Err(StepError::NoEffect(format!("region {region} has no process")));
        }
        self.begin_fault(step);
        let status =
            control.pair_fault(&PairFault::Lose { region: region.to_owned() }).await.map_err(refused)?;
        let process = status.regions.iter().find(|found| found.name == region);
        if process.is_none_or(|found| found.process != "lost") {
            return Err(StepError::NoEffect(format!("region {region} is not reported as lost")));
        }
        self.until_gone(&mut pids).await?;
        self.fault_is_in("every process of the region is gone");
        Ok(())
    }

    async fn kill_zone(&self, step: &Step, zone: &str) -> Result<(), StepError> {
        let refused = |source| StepError::Refused { step: step.to_string(), source };
        let control = &self.simulator.control;
        let before = observe::region_readiness(self.simulator).await.map_err(refused)?;
        let mut pids = before.pids(zone);
        self.progress.is_ready_before(before.readiness);
        if pids.is_empty() {
            return Err(StepError::NoEffect(format!("zone {zone} has no crypto unit that runs")));
        }
        self.begin_fault(step);
        let target = Target::Zone(zone.to_owned());
        let fault = FaultRequest { fault: FaultKind::Kill, target, slow_by_ms: None };
        control.fault(&fault).await.map_err(refused)?;
        self.until_gone(&mut pids).await?;
        self.fault_is_in("every crypto unit of the zone is gone");
        Ok(())
    }

    /// Kills one of two regions, and makes sure that its processes are gone.
    async fn kill_twin(&self, step: &Step) -> Result<(), StepError> {
        let refused = |source| StepError::Refused { step: step.to_string(), source };
        let Some(twin) = self.twin else {
            return Err(StepError::NoEffect("there is one region only".to_owned()));
        };
        let before = observe::region_readiness(self.simulator).await.map_err(refused)?;
        self.progress.is_ready_before(before.readiness);
        let mut pids = twin.pids().await.map_err(refused)?;
        if pids.is_empty() {
            return Err(StepError::NoEffect("region one has no process".to_owned()));
        }
        self.begin_fault(step);
        twin.kill().await;
        self.until_gone(&mut pids).await?;
        self.fault_is_in("every process of region one is gone");
        Ok(())
    }

    /// An order by which writing stands still. It takes effect when another region accepts changes.
    async fn hand_over(&self, step: &Step, order: &Order) -> Result<(), StepError> {
        let refused = |source| StepError::Refused { step: step.to_string(), source };
        let control = &self.simulator.control;
        let before = observe::pair_readiness(self.simulator).await.map_err(refused)?;
        self.progress.is_ready_before(before.readiness);
        let old = control.pair_status().await.map_err(refused)?;
        self.begin_fault(step);
        let ordered = Instant::now();
        self.order(order).await?;
        let new = control.pair_status().await.map_err(refused)?;
        if new.epoch <= old.epoch || new.writes == old.writes {
            let why = format!("changes are accepted by {} as before, epoch {}", new.writes, new.epoch);
            return Err(StepError::NoEffect(why));
        }
        self.fault_is_in(&format!("changes: {}, epoch {}", new.writes, new.epoch));
        self.progress.add_order(HumanStep {
            order: order.to_string(),
            decision_ms: 0,
            took_ms: millis(ordered.elapsed()),
        });
        Ok(())
    }

    /// Rotates the master key. It takes effect when the region rotates, or has another master key.
    async fn rotate_master_key(&self, step: &Step) -> Result<(), StepError> {
        let refused = |source| StepError::Refused { step: step.to_string(), source };
        let control = &self.simulator.control;
        let Some(customer) = self.customer else {
            return Err(StepError::NoEffect("no administrator is there to rotate the master key".to_owned()));
        };
        let before = observe::region_readiness(self.simulator).await.map_err(refused)?;
        self.progress.is_ready_before(before.readiness);
        let old = control.status().await.map_err(refused)?.pattern;
        self.begin_fault(step);
        let ordered = Instant::now();
        let mut rotation = std::pin::pin!(customer.rotate());
        let rotated = loop {
            tokio::select! {
                rotated = &mut rotation => break rotated,
                () = sleep(LOOK) => {}
            }
            let is_begun = control.status().await.is_ok_and(|status| status.state == "rotating");
            if is_begun && self.progress.marks().fault_in_us.is_none() {
                self.fault_is_in("the region rotates its master key");
            }
        };
        rotated.map_err(|source| StepError::Tool { step: step.to_string(), source })?;
        let status = control.status().await.map_err(refused)?;
        let operational = status.units.iter().filter(|unit| unit.kind == "OPERATIONAL");
        let has_new =
            status.pattern != old && operational.into_iter().all(|unit| unit.pattern == status.pattern);
        if !has_new {
            return Err(StepError::NoEffect("not every unit and key is under a new master key".to_owned()));
        }
        if self.progress.marks().fault_in_us.is_none() {
            self.fault_is_in("every unit and key is under the new master key");
        }
        let pattern = status.pattern.unwrap_or_default();
        let pattern = pattern.get(..8).unwrap_or_default();
        self.journal.note("rehearsal", "rotated", &format!("every key is under master key {pattern}…"));
        self.progress.add_order(HumanStep {
            order: "rotate the master key, with the signatures of two administrators".to_owned(),
            decision_ms: 0,
            took_ms: millis(ordered.elapsed()),
        });
        Ok(())
    }

    fn begin_fault(&self, step: &Step) {
        let now = self.recorder.now_us();
        self.progress.mark(|marks| marks.fault_asked_us = Some(now));
        let text = step.to_string();
        self.journal.note("rehearsal", "fault", text.strip_prefix("FAULT: ").unwrap_or(&text));
    }

    fn fault_is_in(&self, how: &str) {
        let now = self.recorder.now_us();
        self.disturbed_us.store(now, Ordering::Release);
        self.progress.mark(|marks| marks.fault_in_us = Some(now));
        self.journal.note("rehearsal", "fault-in-effect", how);
    }

    async fn until_gone(&self, pids: &mut Vec<u32>) -> Result<(), StepError> {
        let deadline = Instant::now() + DEATH_PATIENCE;
        loop {
            pids.retain(|pid| observe::is_alive(*pid));
            let Some(pid) = pids.first() else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(StepError::NoEffect(format!("process {pid} still runs")));
            }
            sleep(LOOK / 10).await;
        }
    }

    async fn order(&self, order: &Order) -> Result<(), StepError> {
        self.disturbed_us.store(self.recorder.now_us(), Ordering::Release);
        self.journal.note("rehearsal", "order", &order.to_string());
        if *order == Order::StartTwin {
            let started = match self.twin {
                Some(twin) => twin.start_again().await,
                None => Ok(()),
            };
            let failed = |source| StepError::Tool { step: order.to_string(), source };
            return started.map_err(failed);
        }
        let control = &self.simulator.control;
        let carried_out = async {
            match order {
                Order::Promote { home_is_down } => {
                    let request = PromoteRequest { home_is_down: *home_is_down, accept_divergence: false };
                    control.pair_promote(&request).await.map(drop)
                }
                Order::Return => control.pair_return().await.map(drop),
                Order::HealRegion { region } => {
                    control.pair_heal(&PairHeal::Region(region.clone())).await.map(drop)
                }
                Order::HealZone { zone } => control.heal(&Target::Zone(zone.clone())).await.map(drop),
                // Ordered above.
                Order::StartTwin => Ok(()),
            }
        };
        match timeout(ORDER_PATIENCE, carried_out).await {
            Ok(Ok(())) => {
                self.journal.note("rehearsal", "done", &order.to_string());
                Ok(())
            }
            Ok(Err(source)) => Err(StepError::Refused { step: order.to_string(), source }),
            Err(_) => Err(StepError::TooLate { step: order.to_string(), after: ORDER_PATIENCE }),
        }
    }

    async fn wait(&self, condition: Condition, at_most: Duration) -> Option<()> {
        let deadline = Instant::now() + at_most;
        while !self.holds(condition).await {
            if Instant::now() > deadline {
                return None;
            }
            sleep(LOOK).await;
        }
        let now = self.recorder.now_us();
        let marks = self.progress.marks();
        if marks.fault_in_us.is_some() && matches!(condition, Condition::PairReady | Condition::UnitsServe) {
            // The last one counts.
            self.progress.mark(|marks| marks.full_us = Some(now));
        }
        self.journal.note("rehearsal", "reached", &condition.to_string());
        Some(())
    }

    async fn holds(&self, condition: Condition) -> bool {
        let since = self.disturbed_us.load(Ordering::Acquire);
        match condition {
            Condition::UsesServed => self.recorder.has_succeeded_for(Class::Use, since, STEADY),
            Condition::ChangesServed => self.recorder.has_succeeded_for(Class::Change, since, STEADY),
            Condition::PairReady => observe::is_pair_ready(self.simulator).await,
            Condition::UnitsServe => observe::is_every_unit_serving(self.simulator).await,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
