//! Keeping a unit's process running: it is started again when it ends by itself, and when it has not reached its keys.

use super::launch::{Down, Launched, Started};
use super::{Fault, Slot, Supervisor, SupervisorError, UnitProcess, signal};
use crate::region::place::Place;
use rustix::process::Signal;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;

/// Pause before a unit that ended by itself is started again: the first one, doubled each time up to the second.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Uptime after which the restart pause is reset.
const STEADY_UPTIME: Duration = Duration::from_secs(30);

/// What a failed start has to be followed by before the next one.
pub(super) enum RetryAfter {
    /// A pause, or healing, whichever comes first.
    Pause,
    /// Healing: more heals than this number of earlier ones.
    Heal(u64),
}

impl Supervisor {
    /// Takes a started unit into the supervisor's care.
    pub(in crate::region) fn adopt(&self, place: Place, launched: Launched) {
        let (unit, wake) = (place.number, Arc::new(Notify::new()));
        let process = UnitProcess {
            unit,
            id: launched.id(),
            socket: self.data.unit_socket(unit),
            pid: None,
            engine: self.engines.of(&place).to_string(),
            place,
            down: None,
            fault: None,
            restarts: 0,
        };
        self.slots().insert(unit, Slot::new(process, Arc::clone(&wake)));
        let supervisor = self.clone();
        let keeper = match launched {
            Launched::Serves(started) => {
                let Ok(child) = self.enter(unit, started) else { return };
                tokio::spawn(supervisor.keep_running(unit, child, wake))
            }
            Launched::Down(down) => {
                let Ok(next) = self.record_down(unit, down) else { return };
                tokio::spawn(async move {
                    if let Some(child) = supervisor.start_again(unit, &wake, Some(next)).await {
                        supervisor.keep_running(unit, child, wake).await;
                    }
                })
            }
        };
        let _ = self.with(unit, |slot| slot.keeper = Some(keeper));
    }

    /// Records a process that serves. It is killed at once if a fault forbids it by now.
    fn enter(&self, unit: u16, started: Box<Started>) -> Result<Child, SupervisorError> {
        let Started { child, orders, engine, .. } = *started;
        let pid = child.id();
        let orders = Arc::new(AsyncMutex::new(orders));
        let (fault, was_down, zone) = self.with(unit, |slot| {
            slot.process.pid = pid;
            slot.process.engine = engine;
            slot.orders = (!slot.ending).then_some(orders);
            (slot.process.fault, slot.process.down.take().is_some(), slot.process.place.zone.clone())
        })?;
        if was_down {
            tracing::info!(unit, zone, pid, "unit process started: the unit reaches its keys again");
        } else {
            tracing::info!(unit, zone, pid, "unit process started");
        }
        if let (Some(Fault::Killed), Some(pid)) = (fault, pid) {
            let _ = signal(unit, pid, Signal::KILL);
        }
        Ok(child)
    }

    /// Records that a unit cannot reach its keys, and logs a reason when it is new.
    fn record_down(&self, unit: u16, down: Down) -> Result<RetryAfter, SupervisorError> {
        let Down { reason, is_retryable, .. } = down;
        let (known, heals) = self.with(unit, |slot| {
            slot.failed_starts += 1;
            (slot.process.down.replace(reason.clone()).is_some_and(|known| known == reason), slot.heals)
        })?;
        match (known, is_retryable) {
            (true, _) => {}
            (false, true) => {
                tracing::warn!(unit, reason, "the unit cannot reach its keys; its start is tried again");
            }
            (false, false) => tracing::error!(
                unit,
                reason,
                "the unit cannot reach its keys; remove the reason, then run: hsm-sim heal unit {unit}"
            ),
        }
        Ok(if is_retryable { RetryAfter::Pause } else { RetryAfter::Heal(heals) })
    }

    async fn keep_running(self, unit: u16, mut child: Child, wake: Arc<Notify>) {
        let mut pause = RESTART_PAUSE.0;
        loop {
            let started = Instant::now();
            let ended = child.wait().await;
            let Ok((ending, fault)) = self.with(unit, |slot| {
                slot.process.pid = None;
                slot.orders = None;
                (slot.ending, slot.process.fault)
            }) else {
                return;
            };
            if ending {
                tracing::info!(unit, "unit process ended");
                return;
            }
            if fault != Some(Fault::Killed) {
                let status = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                tracing::warn!(unit, status, "unit process died by itself; it is started again");
                let _ = self.with(unit, |slot| {
                    slot.process.fault = None;
                    slot.process.restarts += 1;
                });
                pause = if started.elapsed() > STEADY_UPTIME { RESTART_PAUSE.0 } else { pause };
                pause = pause_or_wake(pause, &wake).await;
            }
            let Some(next) = self.start_again(unit, &wake, None).await else { return };
            child = next;
        }
    }

    /// Starts a unit once no fault forbids it, until it serves; `None` when the unit is to end. `after`: what an earlier
    /// failed start has to be followed by.
    async fn start_again(&self, unit: u16, wake: &Notify, mut after: Option<RetryAfter>) -> Option<Child> {
        let mut pause = RESTART_PAUSE.0;
        loop {
            let (ending, fault, heals, place) = self
                .with(unit, |slot| (slot.ending, slot.process.fault, slot.heals, slot.process.place.clone()))
                .ok()?;
            if ending {
                return None;
            }
            match after {
                // A wake-up without a heal is left over from before.
                Some(RetryAfter::Heal(earlier)) if heals == earlier => {
                    wake.notified().await;
                    continue;
                }
                Some(RetryAfter::Pause) => {
                    after = None;
                    pause = pause_or_wake(pause, wake).await;
                    continue;
                }
                Some(RetryAfter::Heal(_)) | None => {}
            }
            if fault == Some(Fault::Killed) {
                wake.notified().await;
                continue;
            }
            match self.clone().launch(place).await {
                Ok(Launched::Serves(started)) => return self.enter(unit, started).ok(),
                Ok(Launched::Down(down)) => after = Some(self.record_down(unit, down).ok()?),
                Err(e) => {
                    tracing::error!(unit, error = &e as &dyn Error, "unit process not started; trying again");
                    pause_or_wake(RESTART_PAUSE.1, wake).await;
                }
            }
        }
    }
}

/// Waits for `pause` or a wake-up, whichever comes first; returns the next pause.
async fn pause_or_wake(pause: Duration, wake: &Notify) -> Duration {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = wake.notified() => {}
    }
    (pause * 2).min(RESTART_PAUSE.1)
}
