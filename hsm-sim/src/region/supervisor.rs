//! The unit processes of a region: started, watched, faulted, healed, ended.

mod keep;
mod launch;
mod order_pipe;
mod process;

pub use process::{Fault, SupervisorError, UnitProcess};

use super::data::DataDir;
use super::engines::Engines;
use super::identity::Identity;
use super::place::Place;
use crate::unit::Order;
pub(super) use launch::Launched;
use launch::START_TIMEOUT;
use order_pipe::OrderPipe;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::JoinHandle;
use unit_api::admin::InstanceId;

/// How long a unit may take over an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a unit may take to end before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A unit and the task that keeps it running.
struct Slot {
    process: UnitProcess,
    /// Dropped to end the process.
    orders: Option<Arc<AsyncMutex<OrderPipe>>>,
    /// Wakes the task that keeps the unit running.
    wake: Arc<Notify>,
    /// Notified on every change of the slot.
    changed: Arc<Notify>,
    /// The task that keeps the unit running.
    keeper: Option<JoinHandle<()>>,
    /// Whether the unit is to end for good.
    ending: bool,
    /// Number of starts that did not reach the unit's keys.
    failed_starts: u64,
    /// Number of times the unit was healed.
    heals: u64,
}

impl Slot {
    fn new(process: UnitProcess, wake: Arc<Notify>) -> Self {
        Self {
            process,
            orders: None,
            wake,
            changed: Arc::default(),
            keeper: None,
            ending: false,
            failed_starts: 0,
            heals: 0,
        }
    }
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
    /// Starts units in `places` for a region's first instance and returns once each one serves.
    ///
    /// A unit whose token is away is not waited for: its start is tried again until the token is back.
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

    /// Starts the process of a new unit. [`Self::adopt`] makes it a unit of the region; dropped, the process ends.
    ///
    /// # Errors
    /// [`SupervisorError::Process`]; [`SupervisorError::Down`] if the unit cannot reach its keys.
    pub(super) async fn launch_new(&self, place: Place) -> Result<Launched, SupervisorError> {
        match self.clone().launch(place.clone()).await? {
            Launched::Down(down) => Err(SupervisorError::Down { unit: place.number, reason: down.reason }),
            launched @ Launched::Serves(_) => Ok(launched),
        }
    }

    /// Ends a unit's process, and forgets the unit.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchUnit`].
    pub(super) async fn remove(&self, unit: u16) -> Result<(), SupervisorError> {
        self.begin_end(unit)?;
        self.await_end(unit).await;
        // It may be starting the process again, which must end before another unit gets the number and the folder.
        if let Some(keeper) = self.with(unit, |slot| slot.keeper.take())? {
            keeper.abort();
            let _ = keeper.await;
        }
        let removed = self.slots().remove(&unit);
        if let Some(slot) = removed {
            slot.changed.notify_waiters();
        }
        Ok(())
    }

    /// All units, in the order of their numbers.
    #[must_use]
    pub fn units(&self) -> Vec<UnitProcess> {
        self.slots().values().map(|slot| slot.process.clone()).collect()
    }

    /// One unit.
    ///
    /// # Errors
    /// [`SupervisorError::NoSuchUnit`].
    pub fn unit(&self, unit: u16) -> Result<UnitProcess, SupervisorError> {
        self.with(unit, |slot| slot.process.clone())
    }

    /// Gives an order to a unit and returns once it has been carried out.
    ///
    /// # Errors
    /// [`SupervisorError`]. After [`SupervisorError::Process`] the order may have been carried out.
    pub async fn order(&self, unit: u16, order: Order) -> Result<(), SupervisorError> {
        let failed = |source| SupervisorError::Process { unit, what: "given an order", source };
        let pipe = self.with(unit, |slot| slot.orders.clone())?.ok_or(SupervisorError::NotRunning(unit))?;
        let ordered = async { pipe.lock().await.order(order).await };
        match tokio::time::timeout(ORDER_TIMEOUT, ordered).await {
            Ok(Ok(Ok(()))) => {
                tracing::info!(unit, %order, "order carried out");
                Ok(())
            }
            Ok(Ok(Err(reason))) => Err(SupervisorError::OrderFailed { unit, order, reason }),
            Ok(Err(e)) => Err(failed(e)),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Sets a fault and returns once it is in effect. A new fault replaces an earlier one.
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
                // The process has ended: it is not started again.
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
                self.wait_until(unit, |slot| slot.process.pid.is_none()).await?;
            }
            Fault::Paused => {
                signal(unit, pid, Signal::STOP)?;
                self.with(unit, |slot| slot.process.fault = Some(fault))?;
            }
            Fault::Slow(by) => {
                self.order(unit, Order::Slow(by)).await?;
                self.with(unit, |slot| slot.process.fault = Some(fault))?;
            }
        }
        tracing::warn!(unit, %fault, "fault set by command");
        Ok(())
    }

    /// Ends a unit's fault and returns once its process serves. A unit without a fault is no error.
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
        if let Some(fault) = process.fault {
            tracing::info!(unit, %fault, "fault healed by command");
        }
        let failed_before = self.with(unit, |slot| {
            slot.process.fault = None;
            slot.heals += 1;
            slot.wake.notify_one();
            slot.failed_starts
        })?;
        let settled =
            self.wait_until(unit, |slot| slot.process.pid.is_some() || slot.failed_starts > failed_before);
        match tokio::time::timeout(START_TIMEOUT, settled).await {
            Ok(done) => match (done, self.unit(unit)?) {
                (Ok(()), UnitProcess { pid: None, down: Some(reason), .. }) => {
                    Err(SupervisorError::Down { unit, reason })
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

    /// Ends all units and returns once their processes are gone.
    pub async fn stop(&self) {
        let units: Vec<u16> = self.slots().keys().copied().collect();
        for unit in &units {
            let _ = self.begin_end(*unit);
        }
        for unit in units {
            self.await_end(unit).await;
        }
    }

    /// Has a unit end for good: the end of its standard input is its end. A paused process is killed, since it does not
    /// see that.
    fn begin_end(&self, unit: u16) -> Result<(), SupervisorError> {
        self.with(unit, |slot| {
            slot.ending = true;
            slot.orders = None;
            if let (Some(Fault::Paused), Some(pid)) = (slot.process.fault, slot.process.pid) {
                let _ = signal(unit, pid, Signal::KILL);
            }
            slot.wake.notify_one();
        })
    }

    /// Waits for the end of a unit's process; kills one that takes too long.
    async fn await_end(&self, unit: u16) {
        let gone = self.wait_until(unit, |slot| slot.process.pid.is_none());
        if tokio::time::timeout(END_TIMEOUT, gone).await.is_err()
            && let Ok(UnitProcess { pid: Some(pid), .. }) = self.unit(unit)
        {
            tracing::warn!(unit, pid, "unit process did not end in time; it is killed");
            let _ = signal(unit, pid, Signal::KILL);
            let _ = self.wait_until(unit, |slot| slot.process.pid.is_none()).await;
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<u16, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, unit: u16, change: impl FnOnce(&mut Slot) -> R) -> Result<R, SupervisorError> {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(&unit) else {
            return Err(SupervisorError::NoSuchUnit { unit, units: slots.keys().copied().collect() });
        };
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
}

fn signal(unit: u16, pid: u32, signal: Signal) -> Result<(), SupervisorError> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or(SupervisorError::NotRunning(unit))?;
    match kill_process(process, signal) {
        // `SRCH`: the process ended by itself a moment ago.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(SupervisorError::Process { unit, what: "signalled", source: e.into() }),
    }
}
