//! Between the cluster's state machine and the world: one lock, taken once per event.

use crate::call::{Call, Frames, Outcome, classify, copy_of};
use crate::endpoint::Endpoint;
use crate::error::{HostError, UnavailableUnit};
use crate::health_check::HealthCheck;
use crate::link::{Arrived, CloseReason, Inbox, Outbox, ReplyFrame};
use crate::memory::SharedMemory;
use crate::proof::{ChallengeCheck, MasterKeyProof};
use crate::view::UnitView;
use crate::{connection, health_check};
use cluster::{
    Action, AdditionRefused, Answer, Cluster, DrainRefused, Ejection, Failure, Health, Identity, Instant,
    RequestId, RetryStats, Transition, UnitNumber, Verdict,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info, warn};
use unit_api::{Command, CommandKind, Envelope, Request, UnitMark, VariantKeys, Wkid};

/// Numbers of the host's own exchanges have this bit.
const CHECK: u64 = 1 << 63;
/// How long a unit may take over a check, in milliseconds: late answers are welcome, the cluster keeps the time.
const CHECK_DEADLINE_MS: u32 = 60_000;
/// Most checks that one connection is still to answer; more than the late probes after which it is given up. Beyond
/// them the oldest is taken for lost, so that a unit that loses single answers does not gather them here for ever.
const MAX_CHECKS: usize = 16;

pub(crate) struct Driver {
    pub(crate) changes: watch::Sender<u64>,
    started: tokio::time::Instant,
    next_request: AtomicU64,
    runtime: Handle,
    /// Something is due earlier than the timer's task knows.
    earlier: Notify,
    memory: SharedMemory,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pub(crate) proofs: Proofs,
    /// By the commitment to the secret that they come from: of the first unit that opened it.
    pub(crate) canaries: BTreeMap<[u8; 32], ChallengeCheck>,
    calls: BTreeMap<RequestId, Call>,
    endpoints: BTreeMap<UnitNumber, Endpoint>,
    wires: BTreeMap<UnitNumber, Wire>,
    /// How each unit's last connection ended.
    endings: BTreeMap<UnitNumber, CloseReason>,
    tasks: JoinSet<()>,
    next_number: u64,
    /// What the timer's task sleeps until.
    armed: Option<Instant>,
    stopped: bool,
}

/// What units must prove: that they hold the instance's master key, or the next one while it is being rotated.
#[derive(Clone)]
pub(crate) struct Proofs {
    pub(crate) current: Arc<MasterKeyProof>,
    pub(crate) next: Option<Arc<MasterKeyProof>>,
}

impl Proofs {
    /// The proof of a master key, as long as that key is legal.
    fn of(&self, wkid: Wkid) -> Option<Arc<MasterKeyProof>> {
        std::iter::once(&self.current).chain(&self.next).find(|proof| proof.pattern.wkid() == wkid).cloned()
    }
}

/// A connection, or the attempt to make one. What belongs to an earlier generation is ignored.
struct Wire {
    generation: u64,
    task: AbortHandle,
    outbox: Option<Arc<Outbox>>,
    checks: BTreeMap<u64, oneshot::Sender<ReplyFrame>>,
}

/// An outbox with something new in it, and whether that is all that is under way there.
type Kick = (Arc<Outbox>, bool);

impl Driver {
    pub(crate) fn new(
        cluster: Cluster,
        proof: MasterKeyProof,
        endpoints: BTreeMap<UnitNumber, Endpoint>,
        memory: SharedMemory,
    ) -> Self {
        let state = State {
            cluster,
            proofs: Proofs { current: Arc::new(proof), next: None },
            canaries: BTreeMap::new(),
            calls: BTreeMap::new(),
            endpoints,
            wires: BTreeMap::new(),
            endings: BTreeMap::new(),
            tasks: JoinSet::new(),
            next_number: 0,
            armed: None,
            stopped: false,
        };
        Self {
            changes: watch::Sender::new(0),
            started: tokio::time::Instant::now(),
            next_request: AtomicU64::new(1),
            runtime: Handle::current(),
            earlier: Notify::new(),
            memory,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not take every call with it; each event leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::after_start(self.started.elapsed())
    }

    /// Tells the cluster of one event and does what it wants done.
    pub(crate) fn tell<R>(self: &Arc<Self>, event: impl FnOnce(&mut State, Instant) -> R) -> R {
        let mut state = self.lock();
        let now = self.now();
        let result = event(&mut state, now);
        let kicks = self.act(&mut state, now);
        let changes = state.cluster.changes();
        let transitions = state.take_transitions();
        let marks: Vec<_> = std::iter::from_fn(|| state.cluster.poll_mark()).collect();
        let due = state.cluster.poll_timeout();
        let earlier = due.is_some_and(|due| state.armed.is_none_or(|armed| due < armed));
        if earlier {
            state.armed = due;
        }
        drop(state);
        // System calls come after the lock.
        for (outbox, alone) in kicks {
            if alone { outbox.write_now() } else { outbox.write_soon() }
        }
        if earlier {
            self.earlier.notify_one();
        }
        if !marks.is_empty() {
            self.keep(marks);
        }
        for (transition, ending) in transitions {
            log(&transition, ending.as_ref());
        }
        self.changes.send_if_modified(|seen| std::mem::replace(seen, changes) != changes);
        result
    }

    /// Keeps how far units have come, without holding up anything.
    fn keep(&self, marks: Vec<(Identity, UnitMark)>) {
        let memory = Arc::clone(&self.memory);
        self.runtime.spawn_blocking(move || {
            for (unit, mark) in marks {
                if let Err(error) = memory.keep(unit, mark) {
                    warn!(
                        unit = %unit.unit,
                        error = &*error as &dyn std::error::Error,
                        "how far the unit has come is not kept: after a restart of the host, an earlier state of it would \
                         not be noticed"
                    );
                }
            }
        });
    }

    /// [`Self::tell`], if the connection is still the one that the event is about.
    pub(crate) fn tell_of(
        self: &Arc<Self>,
        unit: UnitNumber,
        generation: u64,
        event: impl FnOnce(&mut State, Instant),
    ) {
        self.tell(|state, now| {
            if state.wires.get(&unit).is_some_and(|wire| wire.generation == generation) {
                event(state, now);
            }
        });
    }

    fn act(self: &Arc<Self>, state: &mut State, now: Instant) -> Vec<Kick> {
        let mut kicks = Vec::new();
        while let Some(action) = state.cluster.poll_action() {
            if state.stopped {
                continue;
            }
            match action {
                Action::Send { unit, request, attempt, variant } => {
                    let outbox = state.wires.get(&unit).and_then(|wire| wire.outbox.as_ref());
                    if let (Some(outbox), Some(call)) = (outbox, state.calls.get(&request)) {
                        call.queue(now, request, attempt, variant, outbox);
                        kicks.push((Arc::clone(outbox), state.cluster.outstanding(unit) <= 1));
                    }
                }
                Action::Fail { request, failure } => {
                    if let Some(call) = state.calls.remove(&request) {
                        let error = match failure {
                            Failure::NoEligibleUnit => {
                                HostError::NoEligibleUnit { units: state.unavailable(now) }
                            }
                            Failure::DeadlineExceeded => HostError::DeadlineExceeded(call.allowed()),
                            Failure::UnitLost => HostError::UnitLost,
                            Failure::Overloaded => HostError::Overloaded,
                        };
                        call.end(Err(error));
                    }
                }
                Action::Connect { unit } => {
                    let Some(endpoint) = state.endpoints.get(&unit).cloned() else { continue };
                    let generation = state.fresh_number();
                    let run = connection::run(Arc::clone(self), unit, generation, endpoint);
                    let task = self.spawn(state, run);
                    let wire = Wire { generation, task, outbox: None, checks: BTreeMap::new() };
                    state.wires.insert(unit, wire);
                }
                Action::Disconnect { unit } => {
                    state.endings.insert(unit, CloseReason::Silent);
                    if let Some(wire) = state.wires.remove(&unit) {
                        wire.task.abort();
                    }
                }
                Action::AskStatus { unit } => self.send_on(state, unit, HealthCheck::Status),
                Action::Prove { unit, wkid } => self.send_on(state, unit, HealthCheck::Prove(wkid)),
                Action::Probe { unit, wkid } => self.send_on(state, unit, HealthCheck::Probe(wkid)),
            }
        }
        kicks
    }

    fn send_on(self: &Arc<Self>, state: &mut State, unit: UnitNumber, check: HealthCheck) {
        if let Some(generation) = state.wires.get(&unit).map(|wire| wire.generation) {
            self.spawn(state, health_check::run(Arc::clone(self), unit, generation, check));
        }
    }

    fn spawn(&self, state: &mut State, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn_on(task, &self.runtime)
    }

    /// Starts the timer, and with it everything.
    pub(crate) fn start(self: &Arc<Self>) {
        let timer = Arc::clone(self).keep_time();
        self.spawn(&mut self.lock(), timer);
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let due = {
                let mut state = self.lock();
                state.armed = state.cluster.poll_timeout();
                state.armed
            };
            let elapsed = async {
                match due {
                    Some(due) => {
                        tokio::time::sleep_until(self.started + Duration::from_nanos(due.nanos())).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = elapsed => {
                    // If the machine stood still, answers are waiting to be read: they go before any time-out.
                    tokio::task::yield_now().await;
                    self.tell(|state, now| state.cluster.handle_timeout(now));
                }
                () = self.earlier.notified() => {}
            }
        }
    }

    pub(crate) fn fresh_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a call to the cluster.
    pub(crate) fn submit(
        self: &Arc<Self>,
        id: RequestId,
        kind: CommandKind,
        keys: VariantKeys,
        frames: Frames,
        allowed: Duration,
    ) -> Result<Outcome, HostError> {
        self.tell(|state, now| {
            if state.stopped {
                return Err(HostError::ShutDown);
            }
            let (call, outcome) = Call::new(frames, now, allowed);
            let deadline = call.deadline();
            state.calls.insert(id, call);
            state.cluster.submit(now, id, kind.into(), keys, deadline);
            Ok(outcome)
        })
    }

    /// The caller has gone.
    pub(crate) fn cancel(self: &Arc<Self>, id: RequestId) {
        self.tell(|state, _| {
            if state.calls.remove(&id).is_some() {
                state.cluster.cancel(id);
            }
        });
    }

    /// Gives the replies that came to those who wait for them.
    pub(crate) fn take_replies(
        self: &Arc<Self>,
        unit: UnitNumber,
        generation: u64,
        inbox: &mut Inbox,
    ) -> Result<(), CloseReason> {
        let Some(first) = inbox.next()? else { return Ok(()) };
        let mut result = Ok(());
        self.tell_of(unit, generation, |state, now| {
            let mut next = Some(first);
            while let Some(arrived) = next {
                state.take_reply(now, unit, arrived);
                next = inbox.next().unwrap_or_else(|reason| {
                    result = Err(reason);
                    None
                });
            }
        });
        result
    }

    pub(crate) fn connected(self: &Arc<Self>, unit: UnitNumber, generation: u64, outbox: &Arc<Outbox>) {
        self.tell_of(unit, generation, |state, now| {
            if let Some(wire) = state.wires.get_mut(&unit) {
                wire.outbox = Some(Arc::clone(outbox));
            }
            state.cluster.handle_connected(now, unit);
        });
    }

    pub(crate) fn disconnected(self: &Arc<Self>, unit: UnitNumber, generation: u64, reason: CloseReason) {
        self.tell_of(unit, generation, |state, now| {
            state.endings.insert(unit, reason);
            let Some(wire) = state.wires.remove(&unit) else { return };
            let unsent = wire.outbox.map(|outbox| outbox.unsent()).unwrap_or_default();
            let unsent: Vec<_> =
                unsent.into_iter().filter(|number| number & CHECK == 0).map(copy_of).collect();
            state.cluster.handle_disconnected(now, unit, &unsent);
            wire.task.abort();
        });
    }

    /// Sends one unit a command of the host itself; `None` if the connection ends first.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        unit: UnitNumber,
        generation: u64,
        command: Command<'_>,
    ) -> Option<ReplyFrame> {
        let (sender, answer) = oneshot::channel();
        let outbox = {
            let mut state = self.lock();
            let number = CHECK | state.fresh_number();
            let wire = state.wires.get_mut(&unit).filter(|wire| wire.generation == generation)?;
            let outbox = wire.outbox.clone()?;
            let request =
                Request { number, deadline_ms: CHECK_DEADLINE_MS, envelope: Envelope::plain(command) };
            outbox.push(&request).ok()?;
            while wire.checks.len() >= MAX_CHECKS {
                wire.checks.pop_first();
            }
            wire.checks.insert(number, sender);
            outbox
        };
        outbox.write_soon();
        answer.await.ok()
    }

    pub(crate) fn proofs(&self) -> Proofs {
        self.lock().proofs.clone()
    }

    pub(crate) fn set_proofs(self: &Arc<Self>, current: MasterKeyProof, next: Option<MasterKeyProof>) {
        self.tell(|state, now| {
            let patterns = (current.pattern, next.as_ref().map(|next| next.pattern));
            state.proofs = Proofs { current: Arc::new(current), next: next.map(Arc::new) };
            state.cluster.set_patterns(now, patterns.0, patterns.1);
        });
    }

    /// The proof of a master key, and the canary's key if a unit has opened the secret that it comes from.
    pub(crate) fn proof_of(&self, wkid: Wkid) -> Option<(Arc<MasterKeyProof>, Option<ChallengeCheck>)> {
        let state = self.lock();
        let proof = state.proofs.of(wkid)?;
        let canary = state.canaries.get(&proof.commitment).cloned();
        Some((proof, canary))
    }

    pub(crate) fn units(&self) -> Vec<UnitView> {
        let state = self.lock();
        state.views(self.now())
    }

    pub(crate) fn add_unit(
        self: &Arc<Self>,
        unit: UnitNumber,
        zone: String,
        endpoint: Endpoint,
    ) -> Result<(), AdditionRefused> {
        self.tell(|state, now| {
            // The endpoint first: the cluster asks for a connection at once.
            state.cluster.check_addition(unit)?;
            state.endpoints.insert(unit, endpoint);
            state.endings.remove(&unit);
            state.cluster.add_unit(now, unit, zone)
        })
    }

    pub(crate) fn remove_unit(self: &Arc<Self>, unit: UnitNumber, force: bool) -> Result<(), DrainRefused> {
        self.tell(|state, now| {
            state.cluster.remove_unit(now, unit, force)?;
            state.endpoints.remove(&unit);
            Ok(())
        })
    }

    pub(crate) fn outstanding(&self, unit: UnitNumber) -> u32 {
        self.lock().cluster.outstanding(unit)
    }

    pub(crate) fn endpoints(&self) -> BTreeMap<UnitNumber, Endpoint> {
        self.lock().endpoints.clone()
    }

    pub(crate) fn retry_stats(&self) -> RetryStats {
        self.lock().cluster.retry_stats()
    }

    /// Ends every call and every task. What is waiting gets [`HostError::ShutDown`].
    pub(crate) fn stop(&self) -> JoinSet<()> {
        let mut state = self.lock();
        state.stopped = true;
        for (id, call) in std::mem::take(&mut state.calls) {
            state.cluster.cancel(id);
            call.end(Err(HostError::ShutDown));
        }
        state.wires.clear();
        state.tasks.abort_all();
        std::mem::take(&mut state.tasks)
    }
}

/// Reports a unit's change of state: one line, with the reason.
fn log(transition: &Transition, ending: Option<&CloseReason>) {
    let Transition { unit, from, to } = transition;
    let (unit, from, state) = (unit.0, from.name(), to.name());
    match to {
        Health::Ejected { cause: Ejection::Lost, .. } => match ending {
            Some(ending) => warn!(unit, from, state, reason = %ending, "unit ejected: connection lost"),
            None => warn!(unit, from, state, reason = "connection lost", "unit ejected: connection lost"),
        },
        Health::Ejected { .. } => warn!(unit, from, state, reason = %to, "unit ejected"),
        Health::Fenced(_) => warn!(unit, from, state, reason = %to, "unit fenced"),
        Health::Warming { .. } => info!(unit, from, state, "unit admitted"),
        Health::Draining => info!(unit, from, state, "unit draining"),
        Health::Checking | Health::Eligible => debug!(unit, from, state, "unit changed state"),
    }
}

impl State {
    /// The changes of units' states that were not logged yet, each with how the unit's last connection ended.
    fn take_transitions(&mut self) -> Vec<(Transition, Option<CloseReason>)> {
        std::iter::from_fn(|| self.cluster.poll_transition())
            .map(|transition| (transition, self.endings.get(&transition.unit).cloned()))
            .collect()
    }

    fn fresh_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn take_reply(&mut self, now: Instant, unit: UnitNumber, arrived: Arrived) {
        let Arrived { number, refusal, frame } = arrived;
        if number & CHECK != 0 {
            let check = self.wires.get_mut(&unit).and_then(|wire| wire.checks.remove(&number));
            if let Some(check) = check {
                let _ = check.send(frame);
            }
            return;
        }
        let (id, attempt) = copy_of(number);
        let answer = match refusal.filter(|_| self.calls.contains_key(&id)) {
            Some(refusal) => classify(refusal),
            None => Answer::Final,
        };
        if self.cluster.handle_reply(now, unit, id, attempt, answer) == Verdict::Deliver
            && let Some(call) = self.calls.remove(&id)
        {
            call.end(refusal.map_or(Ok(frame), |refusal| Err(HostError::Refused(refusal))));
        }
    }

    fn views(&self, now: Instant) -> Vec<UnitView> {
        let view = |view: cluster::UnitView| {
            let ending = self.endings.get(&view.number);
            UnitView::new(view, now, ending)
        };
        self.cluster.units().into_iter().map(view).collect()
    }

    fn unavailable(&self, now: Instant) -> Vec<UnavailableUnit> {
        let unit =
            |unit: UnitView| UnavailableUnit { number: unit.number, state: unit.state, reason: unit.reason };
        self.views(now).into_iter().map(unit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Driver, MAX_CHECKS, Outbox, Wire};
    use crate::MasterKeyProof;
    use cluster::{Cluster, Config, UnitNumber};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use unit_api::{Command, VerificationPattern};

    #[tokio::test]
    async fn a_unit_that_loses_answers_costs_a_bounded_number_of_checks() {
        let proof = MasterKeyProof {
            pattern: VerificationPattern::from_bytes([0; 32]),
            root_blob: Vec::new(),
            iv: [0; 12],
            sealed_secret: [0; 48],
            commitment: [0; 32],
            canary_blob: Vec::new(),
        };
        let unit = UnitNumber(1);
        let cluster = Cluster::new(Config::new(proof.pattern, "", [(unit, String::new())]), 1);
        let driver =
            Arc::new(Driver::new(cluster, proof, BTreeMap::new(), Arc::new(crate::memory::NoMemory)));
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let outbox = Some(Arc::new(Outbox::new(tokio::io::sink())));
        let wire = Wire { generation: 1, task, outbox, checks: BTreeMap::new() };
        driver.lock().wires.insert(unit, wire);
        let ask = || {
            let driver = Arc::clone(&driver);
            tokio::spawn(async move { driver.ask(unit, 1, Command::Status).await.is_some() })
        };
        let lost: Vec<_> = (0..3 * MAX_CHECKS).map(|_| ask()).collect();
        let given_up = 2 * MAX_CHECKS;
        for check in lost.into_iter().take(given_up) {
            assert!(!check.await.unwrap());
        }
        assert_eq!(driver.lock().wires[&unit].checks.len(), MAX_CHECKS);
    }
}
