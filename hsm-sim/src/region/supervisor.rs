//! The unit processes of a region: started, watched, faulted, healed, ended.

use super::data::DataDir;
use super::zone_of;
use crate::unit::Order;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Notify;

/// A unit that has not said `ready` by then does not start.
const START_PATIENCE: Duration = Duration::from_secs(20);
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
}

/// A unit process as its supervisor sees it.
#[derive(Clone, Debug)]
pub struct UnitProcess {
    /// Number, from 1.
    pub unit: u16,
    /// Zone it stands in.
    pub zone: &'static str,
    /// Socket it listens on.
    pub socket: PathBuf,
    /// Process ID while it runs.
    pub pid: Option<u32>,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// How often it was started again after it died by itself.
    pub restarts: u32,
}

struct Slot {
    process: UnitProcess,
    orders: Option<ChildStdin>,
    /// Wakes the task that keeps the unit running.
    wake: Arc<Notify>,
    /// Wakes whoever waits for the process to be up or gone.
    changed: Arc<Notify>,
    ending: bool,
}

/// The unit processes of a region. Cheap to clone; [`Supervisor::stop`] ends them all.
#[derive(Clone)]
pub struct Supervisor {
    program: PathBuf,
    data: Arc<DataDir>,
    slots: Arc<Mutex<BTreeMap<u16, Slot>>>,
}

impl Supervisor {
    /// Starts units 1 to `units` and returns once every one serves.
    ///
    /// # Errors
    /// [`SupervisorError::Process`] with the first unit that does not start; the others are ended.
    pub async fn start(program: PathBuf, data: Arc<DataDir>, units: u16) -> Result<Self, SupervisorError> {
        let supervisor = Self { program, data, slots: Arc::default() };
        let mut starting = Vec::new();
        for unit in 1..=units {
            starting.push((unit, tokio::spawn(supervisor.clone().launch(unit))));
        }
        for (unit, started) in starting {
            let (child, orders) = match started.await {
                Ok(Ok(started)) => started,
                Ok(Err(e)) => {
                    supervisor.stop().await;
                    return Err(e);
                }
                Err(e) => {
                    supervisor.stop().await;
                    return Err(SupervisorError::Process {
                        unit,
                        what: "started",
                        source: io::Error::other(e),
                    });
                }
            };
            supervisor.adopt(unit, child, orders);
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
                self.wait_until(unit, |process| process.pid.is_none()).await
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
        self.with(unit, |slot| {
            slot.process.fault = None;
            slot.wake.notify_one();
        })?;
        let up = self.wait_until(unit, |process| process.pid.is_some());
        match tokio::time::timeout(START_PATIENCE, up).await {
            Ok(done) => done,
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
            let gone = self.wait_until(unit, |process| process.pid.is_none());
            if tokio::time::timeout(Duration::from_secs(3), gone).await.is_err()
                && let Ok(UnitProcess { pid: Some(pid), .. }) = self.unit(unit)
            {
                let _ = signal(unit, pid, Signal::KILL);
                let _ = self.wait_until(unit, |process| process.pid.is_none()).await;
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

    async fn wait_until(
        &self,
        unit: u16,
        holds: impl Fn(&UnitProcess) -> bool,
    ) -> Result<(), SupervisorError> {
        let changed = self.with(unit, |slot| Arc::clone(&slot.changed))?;
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if holds(&self.unit(unit)?) {
                return Ok(());
            }
            notified.await;
        }
    }

    async fn order(&self, unit: u16, order: Order) -> Result<(), SupervisorError> {
        let Some(mut orders) = self.with(unit, |slot| slot.orders.take())? else {
            return Err(SupervisorError::NotRunning(unit));
        };
        let sent = orders.write_all(format!("{order}\n").as_bytes()).await;
        self.with(unit, |slot| slot.orders = Some(orders))?;
        sent.map_err(|source| SupervisorError::Process { unit, what: "given an order", source })
    }

    /// Starts a unit's process and waits until it serves.
    async fn launch(self, unit: u16) -> Result<(Child, ChildStdin), SupervisorError> {
        let failed = |source| SupervisorError::Process { unit, what: "started", source };
        let mut child = Command::new(&self.program)
            .arg("unit")
            .arg("--supervised")
            .args(["--serial", &format!("SIM{unit:05}")])
            .arg("--state")
            .arg(self.data.unit_dir(unit))
            .arg("--socket")
            .arg(self.data.unit_socket(unit))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C is for the region, which ends its units in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let orders = child.stdin.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let output = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let first_line = async { BufReader::new(output).lines().next_line().await };
        match tokio::time::timeout(START_PATIENCE, first_line).await {
            Ok(Ok(Some(line))) if line == "ready" => Ok((child, orders)),
            Ok(Ok(_)) => {
                let why = io::Error::other("it ended before it served; its message stands above");
                Err(failed(why))
            }
            Ok(Err(e)) => Err(failed(e)),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Takes a process that serves into care: when it ends by itself it is started again.
    fn adopt(&self, unit: u16, child: Child, orders: ChildStdin) {
        let wake = Arc::new(Notify::new());
        let slot = Slot {
            process: UnitProcess {
                unit,
                zone: zone_of(unit),
                socket: self.data.unit_socket(unit),
                pid: child.id(),
                fault: None,
                restarts: 0,
            },
            orders: Some(orders),
            wake: Arc::clone(&wake),
            changed: Arc::default(),
            ending: false,
        };
        self.slots().insert(unit, slot);
        tokio::spawn(self.clone().keep_running(unit, child, wake));
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
            let Some(next) = self.start_again(unit, &wake).await else { return };
            child = next;
        }
    }

    /// Starts a unit once no fault forbids it; `None` when the region ends.
    async fn start_again(&self, unit: u16, wake: &Notify) -> Option<Child> {
        loop {
            let (ending, fault) = self.with(unit, |slot| (slot.ending, slot.process.fault)).ok()?;
            if ending {
                return None;
            }
            if fault == Some(Fault::Killed) {
                wake.notified().await;
                continue;
            }
            match self.clone().launch(unit).await {
                Ok((child, orders)) => {
                    let pid = child.id();
                    let unwanted = self
                        .with(unit, |slot| {
                            slot.process.pid = pid;
                            slot.orders = (!slot.ending).then_some(orders);
                            slot.process.fault == Some(Fault::Killed)
                        })
                        .ok()?;
                    if let (true, Some(pid)) = (unwanted, pid) {
                        let _ = signal(unit, pid, Signal::KILL);
                    }
                    return Some(child);
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
