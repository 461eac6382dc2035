//! Looks at a simulator: what it reports, and which of its processes are alive.

use super::checks::Ending;
use super::journal::Journal;
use super::load::Recorder;
use super::model::{Readiness, ReadyUnit};
use super::plan::{Plan, Scenario};
use super::progress::Progress;
use super::simulator::Simulator;
use crate::control::pair_model::PairStatus;
use crate::control::{ControlClient, ControlError, Status};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use wire::text::error_chain;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Records who accepts changes, and what a pair notes, in the background.
pub(super) struct Observer {
    ending: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Observer {
    pub(super) fn start(
        simulator: &Simulator,
        journal: &Arc<Journal>,
        recorder: &Arc<Recorder>,
        progress: &Arc<Progress>,
        plan: &Plan,
    ) -> Self {
        let (ending, mut ended) = watch::channel(false);
        let watching = Watching {
            control: simulator.control.clone(),
            journal: Arc::clone(journal),
            recorder: Arc::clone(recorder),
            progress: Arc::clone(progress),
        };
        let task = plan.scenario.needs_pair().then(|| {
            tokio::spawn(async move {
                let mut seen = 0;
                loop {
                    watching.look(&mut seen).await;
                    tokio::select! {
                        _ = ended.wait_for(|ended| *ended) => break,
                        () = sleep(LOOK) => {}
                    }
                }
                // What was noted since.
                watching.look(&mut seen).await;
            })
        });
        Self { ending, task }
    }

    /// Takes a last look.
    pub(super) async fn end(mut self) {
        self.ending.send_replace(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Watching {
    control: ControlClient,
    journal: Arc<Journal>,
    recorder: Arc<Recorder>,
    progress: Arc<Progress>,
}

impl Watching {
    async fn look(&self, seen: &mut usize) {
        if let Ok(status) = self.control.pair_status().await {
            self.recorder.add_writer(status.writes);
        }
        let Ok(log) = self.control.pair_log().await else { return };
        // The log is in the order of time, and a region may report late: an entry may come before ones that were seen.
        let began = self.journal.began();
        let known: Vec<_> = log.events.into_iter().filter(|entry| is_since(&entry.at, began)).collect();
        let (noted, _) = self.journal.events();
        if known.len() <= *seen {
            return;
        }
        *seen = known.len();
        for entry in known {
            let is_noted = noted.iter().any(|chained| {
                let event = &chained.event;
                event.at == entry.at && event.source == entry.region && event.event == entry.event
            });
            if is_noted {
                continue;
            }
            let Some(at) = self.journal.note_entry(&entry) else { continue };
            let us = u64::try_from(at.duration_since(began).as_micros()).unwrap_or_default();
            self.progress.mark(|marks| {
                let is_after_fault = marks.fault_asked_us.is_some_and(|fault| us >= fault);
                match entry.event.as_str() {
                    "routed" if is_after_fault => {
                        marks.routed_us.get_or_insert(us);
                    }
                    "lost" if is_after_fault => {
                        marks.detected_us.get_or_insert(us);
                    }
                    _ => {}
                }
            });
        }
    }
}

fn is_since(at: &str, began: Timestamp) -> bool {
    at.parse::<Timestamp>().is_ok_and(|at| at >= began)
}

/// What a loss would do, and the processes that it would end.
pub(super) struct Before {
    pub(super) readiness: Readiness,
    /// Process IDs, each with its region or zone.
    processes: Vec<(String, u32)>,
}

impl Before {
    /// Process IDs of a region or zone.
    pub(super) fn pids(&self, place: &str) -> Vec<u32> {
        self.processes.iter().filter(|(of, _)| of == place).map(|(_, pid)| *pid).collect()
    }
}

/// What a report cannot say yet, because nothing measures it.
fn not_evaluated() -> Vec<String> {
    ["age of the newest backup", "last test of a restore", "end of certificates"].map(str::to_owned).to_vec()
}

pub(super) async fn pair_readiness(simulator: &Simulator) -> Result<Before, ControlError> {
    let status = simulator.control.pair_status().await?;
    let mut units = Vec::new();
    let mut processes = Vec::new();
    for region in &status.regions {
        processes.extend(region.pid.map(|pid| (region.name.clone(), pid)));
        let control = simulator.control.clone().in_region(Some(&region.name));
        match control.status().await {
            Ok(status) => {
                units.extend(ready_units(&status));
                let pids = status.units.iter().filter_map(|unit| unit.pid);
                processes.extend(pids.map(|pid| (region.name.clone(), pid)));
            }
            Err(error) => tracing::warn!(region = region.name, error = %error_chain(&error), "no status"),
        }
    }
    let millis = |seconds: f64| (seconds * 1000.0) as u64;
    let PairStatus { state, epoch, fence, writes, ready, reason, lag_revisions, lag_seconds, alarms, .. } =
        status;
    let readiness = Readiness {
        is_ready: ready,
        reason,
        state: format!("{state}, epoch {epoch}, changes: {writes}, fence {fence}"),
        lag_changes: lag_revisions,
        lag_ms: lag_seconds.map(millis),
        alarms,
        units,
        not_evaluated: not_evaluated(),
    };
    Ok(Before { readiness, processes })
}

pub(super) async fn region_readiness(simulator: &Simulator) -> Result<Before, ControlError> {
    let status = simulator.control.status().await?;
    let processes = status.units.iter().filter_map(|unit| Some((unit.zone.clone(), unit.pid?))).collect();
    let serving = status.units.iter().filter(|unit| is_serving(&unit.kind, &unit.state)).count();
    let is_ready = serving >= 2;
    let readiness = Readiness {
        is_ready,
        reason: if is_ready { String::new() } else { format!("{serving} crypto units serve") },
        state: status.state.clone(),
        units: ready_units(&status),
        not_evaluated: not_evaluated(),
        ..Readiness::default()
    };
    Ok(Before { readiness, processes })
}

fn ready_units(status: &Status) -> Vec<ReadyUnit> {
    let unit = |unit: &crate::control::UnitStatus| ReadyUnit {
        region: status.region.clone(),
        zone: unit.zone.clone(),
        unit: unit.unit,
        state: unit.state.clone(),
        pattern: unit.pattern.clone().unwrap_or_default(),
    };
    status.units.iter().map(unit).collect()
}

fn is_serving(kind: &str, state: &str) -> bool {
    kind == "OPERATIONAL" && state == "eligible"
}

pub(super) async fn is_pair_ready(simulator: &Simulator) -> bool {
    let status = simulator.control.pair_status().await;
    status.is_ok_and(|status| {
        let writer = match status.writes.as_str() {
            "home" => &status.home,
            "standby" => &status.standby,
            _ => return false,
        };
        // A change that clients send is accepted only where requests go.
        status.ready && status.lag_revisions == Some(0) && status.requests_go_to.as_ref() == Some(writer)
    })
}

pub(super) async fn is_every_unit_serving(simulator: &Simulator) -> bool {
    let status = simulator.control.status().await;
    status.is_ok_and(|status| {
        let mut operational = status.units.iter().filter(|unit| unit.kind == "OPERATIONAL");
        operational.all(|unit| is_serving(&unit.kind, &unit.state))
    })
}

/// Whether all is as before, as the simulator reports it.
pub(super) async fn ending(simulator: &Simulator, scenario: Scenario) -> Ending {
    if !scenario.needs_pair() {
        let is_as_before = is_every_unit_serving(simulator).await;
        let remark = if is_as_before { String::new() } else { "a crypto unit does not serve".to_owned() };
        return Ending { is_as_before, remark };
    }
    match simulator.control.pair_status().await {
        Err(error) => Ending { is_as_before: false, remark: error_chain(&error) },
        Ok(status) => {
            let is_as_before = status.ready && status.state == "normal" && status.writes == "home";
            let remark = if is_as_before {
                String::new()
            } else {
                format!("state {}, changes: {}, {}", status.state, status.writes, status.reason)
            };
            Ending { is_as_before, remark }
        }
    }
}

/// Whether a process runs.
pub(super) fn is_alive(pid: u32) -> bool {
    let Some(process) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    if rustix::process::test_kill_process(process).is_err() {
        return false;
    }
    // A process that has ended and waits for its parent to notice does not run. Its state follows its name, in brackets.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
