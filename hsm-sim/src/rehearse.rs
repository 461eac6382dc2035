//! Rehearsals: something is broken under load, on purpose, and a signed report states the result.
//!
//! | module | has |
//! |---|---|
//! | [`plan`] | what is decided before the run: objective, load, steps; the same seed gives the same plan |
//! | [`history`], [`measure`], [`checks`] | what clients saw, numbers from it, and invariants over it: pure functions |
//! | [`model`], [`chain`], [`seal`] | the report, the hashes over its timeline, its signature |
//! | [`verify`] | checks of a report that was written earlier |
//! | `simulator`, `load`, `drive`, `observe` | the run: processes, clients, faults and orders |
//! | `render` | pages for people |
//!
//! What it deliberately does not do: change what it measures. It uses the public API and the control API as anyone can, and
//! a run that did not break what it was to break is void, whatever the numbers are.

pub mod args;
mod assemble;
pub mod chain;
pub mod checks;
mod client;
mod customer;
mod drive;
mod duplicates;
pub mod history;
mod journal;
mod load;
pub mod measure;
pub mod model;
mod observe;
pub mod plan;
mod progress;
pub mod random;
mod render;
#[cfg(test)]
mod samples;
pub mod seal;
mod simulator;
mod twin;
pub mod verify;

pub use args::{RehearseArgs, RehearseCommand, VerifyArgs};
pub use model::{Report, Verdict};
pub use plan::{Plan, Scenario};
pub use simulator::SimulatorError;

use crate::files;
use assemble::{Recorded, assemble};
use chain::{Chain, shown};
use customer::Customer;
use drive::Drive;
use jiff::Timestamp;
use journal::{Journal, Screen};
use load::Recorder;
use model::{Identity, Machine};
use plan::Wanted;
use progress::Progress;
use seal::{SealKey, SealKeyError};
use sha2::{Digest, Sha256};
use simulator::Simulator;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::time::Instant;
use twin::Twin;
use uuid::Uuid;
use wire::text::{encode_hex, error_chain};

const PLAN: &str = "plan.json";
const TIMELINE: &str = "timeline.jsonl";
const HISTORY: &str = "history.jsonl";
const REPORT: &str = "report.json";
const LOG: &str = "simulator.log";
const TOOL_LOG: &str = "tool.log";
const TWIN_LOG: &str = "simulator-one.log";

/// The files that are signed, or made from what is signed.
const FILES: [&str; 5] = [REPORT, HISTORY, "report.md", "report.html", "report.svg"];

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The folder has a report already.
    #[error("{} holds a report already: name another folder with --report", .0.display())]
    Taken(PathBuf),
    /// A file of the report cannot be written.
    #[error("{} cannot be written", .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("the system's random number generator failed")]
    Random(#[source] getrandom::Error),
    /// The key that signs cannot be used.
    #[error(transparent)]
    Key(#[from] SealKeyError),
    /// The simulator that was named cannot be used.
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
    /// The simulator that was named is another kind than the rehearsal needs.
    #[error("a rehearsal of {scenario} needs {needed}: leave --data out, or name another one")]
    OtherKind {
        /// What is rehearsed.
        scenario: Scenario,
        /// What it needs.
        needed: &'static str,
    },
    /// Something has no form in JSON.
    #[error("the report cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// A rehearsal that has not begun.
pub struct Rehearsal {
    plan: Plan,
    args: RehearseArgs,
    attached: Option<Simulator>,
}

/// A rehearsal that has ended.
pub struct Rehearsed {
    /// The report, as it was written.
    pub report: Report,
    /// Whether it was interrupted.
    pub was_interrupted: bool,
}

impl Rehearsal {
    /// Makes the plan. Nothing is started.
    ///
    /// # Errors
    /// [`RehearseError`] if the simulator that was named cannot be used.
    pub fn new(scenario: Scenario, args: &RehearseArgs) -> Result<Self, RehearseError> {
        let attached = args.data.as_deref().map(Simulator::attach).transpose()?;
        let mut regions = ["us-south", "us-east"].map(str::to_owned);
        let own = match scenario {
            Scenario::Rotation => Some("a region whose administrators' keys it makes itself"),
            Scenario::DuplicateKeys => Some("two regions that it starts itself"),
            Scenario::RegionLoss | Scenario::Failback | Scenario::ZoneLoss => None,
        };
        if let Some(needed) = own.filter(|_| attached.is_some()) {
            return Err(RehearseError::OtherKind { scenario, needed });
        }
        if let Some(simulator) = &attached {
            let needed = match (scenario.needs_pair(), simulator.ready.regions.as_slice()) {
                (true, [home, standby]) => {
                    regions = [home.name.clone(), standby.name.clone()];
                    None
                }
                (true, _) => Some("a pair of regions"),
                (false, []) => None,
                (false, _) => Some("a single region"),
            };
            if let Some(needed) = needed {
                return Err(RehearseError::OtherKind { scenario, needed });
            }
        }
        let seed = match args.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(RehearseError::Random)? >> 32,
        };
        let plan = Plan::of(&Wanted {
            scenario,
            seed,
            profile: args.profile.map(|profile| profile.name().to_owned()),
            set: args.set.clone(),
            quick: args.quick,
            regions,
            clients: args.clients,
            rate: args.rate,
            request_timeout: args.request_timeout,
            objective: args.objective(),
        });
        Ok(Self { plan, args: args.clone(), attached })
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Carries the plan out, and writes the report to `folder`. When `interrupted` resolves, the run ends, and the report
    /// says so.
    ///
    /// # Errors
    /// [`RehearseError`] if no report could be written.
    pub async fn run(
        self,
        folder: &Path,
        interrupted: impl Future<Output = ()>,
    ) -> Result<Rehearsed, RehearseError> {
        let report_folder = ReportFolder::open(folder)?;
        let key = match &self.args.signing_key {
            Some(path) => SealKey::open(path)?,
            None => SealKey::for_one_report()?,
        };
        let report_id = Uuid::from_bytes(random_bytes()?).to_string();
        let canonical = self.plan.canonical()?;
        // The objective is on the disk before anything runs.
        report_folder.write(PLAN, &serde_json::to_vec_pretty(&self.plan)?)?;
        let (began, began_running) = (Timestamp::now(), Instant::now());
        let screen = Screen::new(self.plan.expected(), self.args.json);
        let timeline = report_folder.append(TIMELINE)?;
        let journal = Journal::new(Chain::begin(&report_id, &canonical), timeline, began, screen);
        let journal = Arc::new(journal);
        let recorder = Arc::new(Recorder::new(began_running, self.plan.scenario != Scenario::DuplicateKeys));
        let progress = Arc::new(Progress::default());
        let objective = format!("{}; {PLAN} has the objective", self.plan.scenario.fault());
        journal.note("rehearsal", "planned", &format!("{objective}, seed {}", self.plan.seed));

        let parts = Parts { journal: &journal, recorder: &recorder, progress: &progress };
        let mut simulator = self.attached;
        let was_interrupted = tokio::select! {
            () = run_on(&mut simulator, &self.plan, &report_folder, &parts) => false,
            () = interrupted => true,
        };
        if was_interrupted {
            journal.note("rehearsal", "interrupted", "the run ends before its plan does");
            progress.add_void("it was interrupted".to_owned());
        }
        if let Some(simulator) = simulator {
            journal.show_step("the simulator stops", began_running.elapsed());
            simulator.stop().await;
        }
        let ended = Timestamp::now();
        let difference = ended.duration_since(began).as_millis()
            - i128::try_from(began_running.elapsed().as_millis()).unwrap_or_default();
        let identity = Identity {
            report_id,
            schema: plan::SCHEMA,
            program: concat!("hsm-sim ", env!("CARGO_PKG_VERSION")).to_owned(),
            program_sha256: tokio::task::spawn_blocking(program_digest).await.unwrap_or_default(),
            plan_sha256: encode_hex(&Sha256::digest(&canonical)),
            started_by: ["USER", "LOGNAME"]
                .iter()
                .find_map(|name| std::env::var(name).ok())
                .unwrap_or_default(),
            reason: self.args.reason,
            kind: "simulated".to_owned(),
            machine: machine(),
            began: shown(began),
            ended: shown(ended),
            clock_difference_ms: i64::try_from(difference).unwrap_or(i64::MAX),
        };
        let history = std::mem::take(&mut *recorder.history());
        let lines = history.to_lines()?;
        let mut report = assemble(Recorded { identity, plan: self.plan, found: progress.found(), history })?;
        note_measured(&journal, &report);
        journal.note("rehearsal", "verdict", &report.verdict.to_string());
        journal.end_show();
        (report.timeline, report.evidence.chain_head) = journal.events();
        key.sign(&mut report)?;
        report_folder.write(HISTORY, &lines)?;
        for page in render::pages(&report) {
            report_folder.write(page.name, page.content.as_bytes())?;
        }
        // Last: with it, the report is whole.
        report_folder.write(REPORT, &serde_json::to_vec_pretty(&report)?)?;
        Ok(Rehearsed { report, was_interrupted })
    }
}

impl Rehearsed {
    /// The report for a terminal.
    #[must_use]
    pub fn summary(&self) -> String {
        render::summary(&self.report)
    }
}

/// What a run writes to.
struct Parts<'a> {
    journal: &'a Arc<Journal>,
    recorder: &'a Arc<Recorder>,
    progress: &'a Arc<Progress>,
}

/// Starts a simulator if there is none, and carries the plan out on it. The simulator stays in `simulator`, so that it is
/// stopped in order even after an interruption.
async fn run_on(simulator: &mut Option<Simulator>, plan: &Plan, folder: &ReportFolder, parts: &Parts<'_>) {
    let Parts { journal, recorder, progress } = parts;
    if simulator.is_none() {
        journal.show_step("the simulator starts", std::time::Duration::ZERO);
        match Simulator::start(&simulator_arguments(plan), &folder.path(LOG)).await {
            Ok(started) => *simulator = Some(started),
            Err(error) => {
                let why = error_chain(&error);
                journal.note("rehearsal", "ended-early", &why);
                progress.add_void(why);
                return;
            }
        }
    }
    if let Some(simulator) = simulator {
        let serves = format!("{} serves", simulator.ready.region);
        journal.note("rehearsal", "simulator", &serves);
        let disturbed_us = AtomicU64::new(0);
        let customer = match plan.scenario {
            Scenario::Rotation => {
                journal.show_step("administrators set the units up", std::time::Duration::ZERO);
                match Customer::set_up(&simulator.ready.data, &folder.path(TOOL_LOG)).await {
                    Ok(customer) => Some(customer),
                    Err(error) => {
                        let why = error_chain(&error);
                        journal.note("rehearsal", "ended-early", &why);
                        progress.add_void(why);
                        return;
                    }
                }
            }
            Scenario::RegionLoss | Scenario::Failback | Scenario::ZoneLoss | Scenario::DuplicateKeys => None,
        };
        let customer = customer.as_ref();
        let twin = match plan.scenario {
            Scenario::DuplicateKeys => {
                match Twin::start(simulator_arguments(plan), folder.path(TWIN_LOG)).await {
                    Ok(twin) => Some(twin),
                    Err(error) => {
                        let why = error_chain(&error);
                        journal.note("rehearsal", "ended-early", &why);
                        progress.add_void(why);
                        return;
                    }
                }
            }
            Scenario::RegionLoss | Scenario::Failback | Scenario::ZoneLoss | Scenario::Rotation => None,
        };
        let one = twin.as_ref();
        Drive { plan, simulator, twin: one, customer, journal, recorder, progress, disturbed_us }.run().await;
        if let Some(twin) = twin {
            twin.stop().await;
        }
    }
}

/// What `up` is told.
fn simulator_arguments(plan: &Plan) -> Vec<String> {
    let mut arguments = vec!["--profile".to_owned(), plan.profile.clone()];
    for switch in &plan.set {
        arguments.extend(["--set".to_owned(), switch.clone()]);
    }
    if plan.scenario == Scenario::Rotation {
        arguments.extend(["--ceremony", "manual", "--recovery-units", "2"].map(str::to_owned));
    }
    if plan.scenario.needs_pair() {
        arguments.extend(["--home", "us-south", "--standby", "us-east"].map(str::to_owned));
    }
    arguments
}

/// Adds what the history shows to the timeline.
fn note_measured(journal: &Journal, report: &Report) {
    let measured = &report.measured;
    let Some(fault_us) = measured.marks.fault_asked_us else { return };
    for (class, recovery) in [("use", &measured.uses), ("change", &measured.changes)] {
        let Some(recovery) = recovery else { continue };
        let note = |ms: Option<u64>, event: &str, text: String| {
            let Some(ms) = ms else { return };
            let after = i64::try_from(fault_us / 1000 + ms).unwrap_or(i64::MAX);
            let at = journal.began() + jiff::SignedDuration::from_millis(after);
            journal.note_at(at, "load", event, &text);
        };
        note(recovery.first_failure_ms, "first-failure", format!("the first {class} that failed"));
        note(recovery.last_failure_ms, "last-failure", format!("the last {class} that failed"));
        if recovery.failed > 0 {
            let text = format!("the first {class} that succeeded after it");
            note(recovery.recovered_ms, "recovered", text);
        }
    }
}

/// The folder of a report.
struct ReportFolder(PathBuf);

impl ReportFolder {
    fn open(folder: &Path) -> Result<Self, RehearseError> {
        let file = |source| RehearseError::File { path: folder.to_owned(), source };
        if folder.join(REPORT).exists() || folder.join(PLAN).exists() {
            return Err(RehearseError::Taken(folder.to_owned()));
        }
        std::fs::create_dir_all(folder).map_err(file)?;
        Ok(Self(folder.to_owned()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), RehearseError> {
        let path = self.path(name);
        files::write_private(&path, content).map_err(|source| RehearseError::File { path, source })
    }

    fn append(&self, name: &str) -> Result<std::fs::File, RehearseError> {
        let path = self.path(name);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.map_err(|source| RehearseError::File { path, source })
    }
}

fn random_bytes() -> Result<[u8; 16], RehearseError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(RehearseError::Random)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
}

/// SHA-256 of the program's file, in hexadecimal; empty if it cannot be read.
fn program_digest() -> String {
    let digest = || {
        let mut file = std::fs::File::open(std::env::current_exe()?)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok::<_, io::Error>(encode_hex(&hash.finalize())),
                read => hash.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    };
    digest().unwrap_or_default()
}

fn machine() -> Machine {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from) as u64;
    let platform = format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH);
    Machine { platform, processors, host: host.trim().to_owned() }
}
