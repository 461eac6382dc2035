//! The unit processes of a region: started, watched, faulted, healed, ended.

use super::data::DataDir;
use super::engines::Engines;
use super::identity::Identity;
use super::place::Place;
use super::wire::Wire;
use crate::unit::{Announced, Announcement, Order};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tke::{Listed, UnitKind};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use unit_api::UnitId;
use unit_api::admin::InstanceId;

/// A unit that has not said `ready` by then does not start.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long a unit may take over an order.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a unit that died by itself is started again; doubles up to the second figure.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A unit that lived this long starts again without a grudge.
const STEADY: Duration = Duration::from_secs(30);

/// What was done to a unit process, until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ended with SIGKILL, and kept from starting again.
    Killed,
    /// Stopped with SIGSTOP: connected, and silent.
    Paused,
    /// Takes this much longer over every command.
    Slow(Duration),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::Paused => f.write_str("paused"),
            Self::Slow(by) => write!(f, "slow by {} ms", by.as_millis()),
        }
    }
}

/// Why something could not be done to a unit process.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// No such unit.
    #[error("there is no unit {unit}; this region has units 1 to {units}")]
    NoSuchUnit {
        /// What was asked for.
        unit: u16,
        /// How many there are.
        units: usize,
    },
    /// The process could not be started, signalled or written to.
    #[error("unit {unit}: its process could not be {what}")]
    Process {
        /// Which unit.
        unit: u16,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The process is not there to be faulted.
    #[error("unit {0} is not running; heal it first")]
    NotRunning(u16),
    /// The unit does not get at its keys.
    #[error("unit {unit} does not start: {why}")]
    Down {
        /// Which unit.
        unit: u16,
        /// What it said.
        why: String,
    },
    /// The unit did not do what it was told.
    #[error("unit {unit} did not {order}: {why}")]
    Disobeyed {
        /// Which unit.
        unit: u16,
        /// What it was told.
        order: Order,
        /// What it said.
        why: String,
    },
}

/// A unit process as its supervisor sees it.
#[derive(Clone, Debug)]
pub struct UnitProcess {
    /// Number, from 1.
    pub unit: u16,
    /// What it is for and where it stands.
    pub place: Place,
    /// Its module, as it said at its start; the same ever after.
    pub id: UnitId,
    /// Socket it listens on.
    pub socket: PathBuf,
    /// Process ID while it runs.
    pub pid: Option<u32>,
    /// What its engine is: in its own words once it has served, else as it was chosen.
    pub engine: String,
    /// Why it does not get at its keys, while it does not.
    pub down: Option<String>,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// How often it was started again after it died by itself.
    pub restarts: u32,
}

impl UnitProcess {
    /// Whether it is there to serve requests.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.place.kind == UnitKind::Operational
    }

    /// As it is listed for customers.
    #[must_use]
    pub fn listed(&self) -> Listed {
        let Place { kind, location, .. } = &self.place;
        Listed { number: self.unit, kind: *kind, location: location.clone(), unit: self.id }
    }
}

/// What a unit's process has come to.
enum Launched {
    Serves(Box<Started>),
    Down(Down),
}

/// A process that has said it serves.
struct Started {
    child: Child,
    wire: Wire,
    id: UnitId,
    engine: String,
}

/// A process that has said why it does not, and ended.
struct Down {
    id: UnitId,
    why: String,
    /// Whether to try again by and by.
    may_pass: bool,
}

/// What a try in vain leaves to wait for.
enum Next {
    /// A while, or whoever heals the unit before.
    Pause,
    /// Whoever heals it, after so many times before.
    Heal(u64),
}

struct Slot {
    process: UnitProcess,
    /// Dropped to end the process. Whoever gives an order holds it meanwhile.
    orders: Option<Arc<AsyncMutex<Wire>>>,
    /// Wakes the task that keeps the unit running.
    wake: Arc<Notify>,
    /// Wakes whoever waits for the process to be up or gone.
    changed: Arc<Notify>,
    ending: bool,
    /// How often it was started and did not get at its keys.
    tries_in_vain: u64,
    /// How often it was healed.
    heals: u64,
}

/// The unit processes of a region. Cheap to clone; [`Supervisor::stop`] ends them all.
#[derive(Clone)]
pub struct Supervisor {
    program: PathBuf,
    data: Arc<DataDir>,
    instance: InstanceId,
    engines: Arc<Engines>,
    slots: Arc<Mutex<BTreeMap<u16, Slot>>>,
}

impl Supervisor {
    /// Starts the units of these places for a region's first instance and returns once every one serves.
    ///
    /// One whose token is away is not waited for: it is tried again until it is back, and the others serve meanwhile.
    ///
    /// # Errors
    /// [`SupervisorError::Process`] with the first unit that does not start; the others are ended.
    pub async fn start(
        program: PathBuf,
        data: Arc<DataDir>,
        identity: &Identity,
        places: Vec<Place>,
    ) -> Result<Self, SupervisorError> {
        let instance = InstanceId(*identity.instance_id.as_bytes());
        let engines = Arc::new(identity.engines.clone());
        let supervisor = Self { program, data, instance, engines, slots: Arc::default() };
        let mut starting = Vec::new();
        for place in places {
            let launched = tokio::spawn(supervisor.clone().launch(place.clone()));
            starting.push((place, launched));
        }
        for (place, started) in starting {
            let unit = place.number;
            let failed = match started.await {
                Ok(Ok(started)) => {
                    supervisor.adopt(place, started);
                    continue;
                }
                Ok(Err(e)) => e,
                Err(e) => SupervisorError::Process { unit, what: "started", source: io::Error::other(e) },
            };
            supervisor.stop().await;
            return Err(failed);
        }
        Ok(supervisor)
    }

    /// All units, in order.
    #[must_use]
    pub fn units(&self) -> Vec<UnitProcess> {
        self.slots().values().map(|slot| slot.process.clone()).collect()
    }

    /// One unit.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchUnit`].
    pub fn unit(&self, unit: u16) -> Result<UnitProcess, SupervisorError> {
        let slots = self.slots();
        slots
            .get(&unit)
            .map(|slot| slot.process.clone())
            .ok_or(SupervisorError::NoSuchUnit { unit, units: slots.len() })
    }

    /// Has a unit carry out an order and returns once it has.
    ///
    /// # Errors
    /// [`SupervisorError`]; without an answer the order may have been carried out.
    pub async fn order(&self, unit: u16, order: Order) -> Result<(), SupervisorError> {
        let failed = |source| SupervisorError::Process { unit, what: "given an order", source };
        let wire = self.with(unit, |slot| slot.orders.clone())?.ok_or(SupervisorError::NotRunning(unit))?;
        let ordered = async { wire.lock().await.order(order).await };
        match tokio::time::timeout(ORDER_PATIENCE, ordered).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(SupervisorError::Disobeyed { unit, order, why }),
            Ok(Err(e)) => Err(failed(e)),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Does something to a unit and returns once it is done. A unit has one fault at a time; the last one counts.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn fault(&self, unit: u16, fault: Fault) -> Result<(), SupervisorError> {
        let process = self.unit(unit)?;
        if process.fault == Some(fault) {
            return Ok(());
        }
        let Some(pid) = process.pid else {
            return match fault {
                // It is already down: keep it so.
                Fault::Killed => self.with(unit, |slot| slot.process.fault = Some(fault)),
                _ => Err(SupervisorError::NotRunning(unit)),
            };
        };
        if process.fault.is_some() && fault != Fault::Killed {
            self.heal(unit).await?;
        }
        match fault {
            Fault::Killed => {
                self.with(unit, |slot| slot.process.fault = Some(fault))?;
                signal(unit, pid, Signal::KILL)?;
                self.wait_until(unit, |slot| slot.process.pid.is_none()).await
            }
            Fault::Paused => {
                signal(unit, pid, Signal::STOP)?;
                self.with(unit, |slot| slot.process.fault = Some(fault))
            }
            Fault::Slow(by) => {
                self.order(unit, Order::Slow(by)).await?;
                self.with(unit, |slot| slot.process.fault = Some(fault))
            }
        }
    }

    /// Undoes what was done to a unit's process and returns once the process serves. No fault is no error.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn heal(&self, unit: u16) -> Result<(), SupervisorError> {
        let process = self.unit(unit)?;
        match (process.fault, process.pid) {
            (Some(Fault::Paused), Some(pid)) => signal(unit, pid, Signal::CONT)?,
            (Some(Fault::Slow(_)), Some(_)) => self.order(unit, Order::Slow(Duration::ZERO)).await?,
            _ => {}
        }
        let tried = self.with(unit, |slot| {
            slot.process.fault = None;
            slot.heals += 1;
            slot.wake.notify_one();
            slot.tries_in_vain
        })?;
        let settled = self.wait_until(unit, |slot| slot.process.pid.is_some() || slot.tries_in_vain > tried);
        match tokio::time::timeout(START_PATIENCE, settled).await {
            Ok(done) => match (done, self.unit(unit)?) {
                (Ok(()), UnitProcess { pid: None, down: Some(why), .. }) => {
                    Err(SupervisorError::Down { unit, why })
                }
                (done, _) => done,
            },
            Err(_) => Err(SupervisorError::Process {
                unit,
                what: "started",
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }

    /// Ends all units and returns once they are gone.
    pub async fn stop(&self) {
        let units: Vec<u16> = {
            let mut slots = self.slots();
            for slot in slots.values_mut() {
                slot.ending = true;
                // The end of its orders is a unit's end; one that is stopped does not see it.
                slot.orders = None;
                if let (Some(Fault::Paused), Some(pid)) = (slot.process.fault, slot.process.pid) {
                    let _ = signal(slot.process.unit, pid, Signal::KILL);
                }
                slot.wake.notify_one();
            }
            slots.keys().copied().collect()
        };
        for unit in units {
            let gone = self.wait_until(unit, |slot| slot.process.pid.is_none());
            if tokio::time::timeout(Duration::from_secs(3), gone).await.is_err()
                && let Ok(UnitProcess { pid: Some(pid), .. }) = self.unit(unit)
            {
                let _ = signal(unit, pid, Signal::KILL);
                let _ = self.wait_until(unit, |slot| slot.process.pid.is_none()).await;
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<u16, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, unit: u16, change: impl FnOnce(&mut Slot) -> R) -> Result<R, SupervisorError> {
        let mut slots = self.slots();
        let units = slots.len();
        let slot = slots.get_mut(&unit).ok_or(SupervisorError::NoSuchUnit { unit, units })?;
        let done = change(slot);
        slot.changed.notify_waiters();
        Ok(done)
    }

    async fn wait_until(&self, unit: u16, holds: impl Fn(&Slot) -> bool) -> Result<(), SupervisorError> {
        let changed = self.with(unit, |slot| Arc::clone(&slot.changed))?;
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.slots().get(&unit).is_none_or(&holds) {
                return Ok(());
            }
            notified.await;
        }
    }

    /// Starts a unit's process and waits until it serves.
    async fn launch(self, place: Place) -> Result<Launched, SupervisorError> {
        let failed = |source| SupervisorError::Process { unit: place.number, what: "started", source };
        let mut child = Command::new(&self.program)
            .arg("unit")
            .arg("--supervised")
            .args(["--serial", &place.serial()])
            .args(["--domain", &place.location.domain.to_string()])
            .args(["--instance", &self.instance.to_string()])
            .args(["--engine", &self.engines.of(&place).to_string()])
            .arg("--factory")
            .arg(self.data.factory_dir())
            .arg("--state")
            .arg(self.data.unit_dir(&place))
            .arg("--socket")
            .arg(self.data.unit_socket(place.number))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C is for the region, which ends its units in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let orders = child.stdin.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let output = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut answers = BufReader::new(output).lines();
        let first = match tokio::time::timeout(START_PATIENCE, answers.next_line()).await {
            Ok(first) => first.map_err(failed)?,
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let said = first.as_deref().and_then(|line| line.parse::<Announcement>().ok());
        let Some(said) = said.filter(|said| said.domain_index == place.location.domain) else {
            return Err(failed(io::Error::other("it ended before it served; its message stands above")));
        };
        let id = said.unit;
        Ok(match said.state {
            Announced::Ready(engine) => {
                let wire = Wire::new(orders, answers);
                Launched::Serves(Box::new(Started { child, wire, id, engine }))
            }
            Announced::Away(why) => Launched::Down(Down { id, why, may_pass: true }),
            Announced::Stuck(why) => Launched::Down(Down { id, why, may_pass: false }),
        })
    }

    /// Takes a unit into care: when its process ends by itself, or has not got at its keys, it is started again.
    fn adopt(&self, place: Place, launched: Launched) {
        let (unit, wake) = (place.number, Arc::new(Notify::new()));
        let id = match &launched {
            Launched::Serves(started) => started.id,
            Launched::Down(down) => down.id,
        };
        let slot = Slot {
            process: UnitProcess {
                unit,
                id,
                socket: self.data.unit_socket(unit),
                pid: None,
                engine: self.engines.of(&place).to_string(),
                place,
                down: None,
                fault: None,
                restarts: 0,
            },
            orders: None,
            wake: Arc::clone(&wake),
            changed: Arc::default(),
            ending: false,
            tries_in_vain: 0,
            heals: 0,
        };
        self.slots().insert(unit, slot);
        let supervisor = self.clone();
        match launched {
            Launched::Serves(started) => {
                let Ok(child) = self.enter(unit, started) else { return };
                tokio::spawn(supervisor.keep_running(unit, child, wake));
            }
            Launched::Down(down) => {
                let Ok(next) = self.note_down(unit, down) else { return };
                tokio::spawn(async move {
                    if let Some(child) = supervisor.start_again(unit, &wake, Some(next)).await {
                        supervisor.keep_running(unit, child, wake).await;
                    }
                });
            }
        }
    }

    /// Notes a process that serves, unless it may not any more: then it ends.
    fn enter(&self, unit: u16, started: Box<Started>) -> Result<Child, SupervisorError> {
        let Started { child, wire, engine, .. } = *started;
        let pid = child.id();
        let orders = Arc::new(AsyncMutex::new(wire));
        let (unwanted, was_down) = self.with(unit, |slot| {
            slot.process.pid = pid;
            slot.process.engine = engine;
            slot.orders = (!slot.ending).then_some(orders);
            (slot.process.fault == Some(Fault::Killed), slot.process.down.take().is_some())
        })?;
        if was_down {
            eprintln!("hsm-sim: unit {unit} has its keys again");
        }
        if let (true, Some(pid)) = (unwanted, pid) {
            let _ = signal(unit, pid, Signal::KILL);
        }
        Ok(child)
    }

    /// Notes why a unit does not get at its keys, and says it, once.
    fn note_down(&self, unit: u16, down: Down) -> Result<Next, SupervisorError> {
        let Down { why, may_pass, .. } = down;
        let (known, heals) = self.with(unit, |slot| {
            slot.tries_in_vain += 1;
            (slot.process.down.replace(why.clone()).is_some_and(|known| known == why), slot.heals)
        })?;
        if !known {
            let next = if may_pass {
                "it is tried again until it does".to_owned()
            } else {
                format!("once that is mended: hsm-sim heal unit {unit}")
            };
            eprintln!("hsm-sim: unit {unit} does not get at its keys; {next}: {why}");
        }
        Ok(if may_pass { Next::Pause } else { Next::Heal(heals) })
    }

    async fn keep_running(self, unit: u16, mut child: Child, wake: Arc<Notify>) {
        let mut pause = RESTART_PAUSE.0;
        loop {
            let since = tokio::time::Instant::now();
            let ended = child.wait().await;
            let Ok((ending, fault)) = self.with(unit, |slot| {
                slot.process.pid = None;
                slot.orders = None;
                (slot.ending, slot.process.fault)
            }) else {
                return;
            };
            if ending {
                return;
            }
            if fault != Some(Fault::Killed) {
                let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                eprintln!("hsm-sim: unit {unit} ended by itself ({how}); starting it again");
                let _ = self.with(unit, |slot| {
                    slot.process.fault = None;
                    slot.process.restarts += 1;
                });
                pause = if since.elapsed() > STEADY { RESTART_PAUSE.0 } else { pause };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = wake.notified() => {}
                }
                pause = (pause * 2).min(RESTART_PAUSE.1);
            }
            let Some(next) = self.start_again(unit, &wake, None).await else { return };
            child = next;
        }
    }

    /// Starts a unit once no fault forbids it, again and again until it serves; `None` when the region ends. What an
    /// earlier try in vain has left is waited for first.
    async fn start_again(&self, unit: u16, wake: &Notify, mut next: Option<Next>) -> Option<Child> {
        let mut pause = RESTART_PAUSE.0;
        loop {
            let (ending, fault, heals, place) = self
                .with(unit, |slot| (slot.ending, slot.process.fault, slot.heals, slot.process.place.clone()))
                .ok()?;
            if ending {
                return None;
            }
            match next {
                // Nobody but whoever heals it knows when; a wake-up of before says nothing.
                Some(Next::Heal(before)) if heals == before => {
                    wake.notified().await;
                    continue;
                }
                Some(Next::Pause) => {
                    next = None;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = wake.notified() => {}
                    }
                    pause = (pause * 2).min(RESTART_PAUSE.1);
                    continue;
                }
                Some(Next::Heal(_)) | None => {}
            }
            if fault == Some(Fault::Killed) {
                wake.notified().await;
                continue;
            }
            match self.clone().launch(place).await {
                Ok(Launched::Serves(started)) => return self.enter(unit, started).ok(),
                Ok(Launched::Down(down)) => {
                    next = Some(self.note_down(unit, down).ok()?);
                }
                Err(e) => {
                    eprintln!("hsm-sim: {e}");
                    tokio::select! {
                        () = tokio::time::sleep(RESTART_PAUSE.1) => {}
                        () = wake.notified() => {}
                    }
                }
            }
        }
    }
}

fn signal(unit: u16, pid: u32, signal: Signal) -> Result<(), SupervisorError> {
    let what = "signalled";
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or(SupervisorError::NotRunning(unit))?;
    match kill_process(process, signal) {
        // It ended by itself a moment ago.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(SupervisorError::Process { unit, what, source: e.into() }),
    }
}
