//! Rotating the master key under a region's instances, as far as the service has a part in it.

use super::look::look_at;
use super::service::{PATIENCE, Service, ServiceError, instances};
use crate::cli::with_causes;
use kms::rotation::{Advice, RegionError, RegionRotation, RegionStatus, Step, UnitState, resume};
use kms::{Call, RotationPhase};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use unit_api::VerificationPattern;

/// Who is named where an operation asks for a caller.
const ROTATION: &str = "hsm-sim rotation";
/// Pause before a batch that could not be done is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Why a step of a rotation was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum RotationFailed {
    /// There is no instance yet whose master key could be rotated.
    #[error("no instance is open yet: {0}")]
    NotOpen(String),
    /// Something else is to be done first.
    #[error("not now: {advice}")]
    NotNow {
        /// What.
        advice: Box<Step>,
    },
    /// As the key service says.
    #[error("the rotation did not go on")]
    Other(#[from] RegionError),
    /// The step is taken, but the host could not be told.
    #[error("the step was taken, but the units could not be told apart anew: repeat it")]
    Proof(#[from] ServiceError),
}

/// Whether a failure passes by itself.
pub(super) fn is_retryable(error: &RegionError) -> bool {
    matches!(error, RegionError::Instance { source, .. } if source.is_retryable())
}

/// Whether somebody goes through the batches already.
#[derive(Default)]
pub(super) struct Runner(AtomicBool);

type Standing = Result<(RegionStatus, Advice), RotationFailed>;

impl Service {
    /// How far a rotation is, and what to do next, where the units in `excluded` do not count.
    pub(super) async fn rotation(&self, excluded: &[u16]) -> Standing {
        let status = self.with_rotation(async |rotation| rotation.status().await).await?;
        let advice = resume(&status.position, &self.registers(excluded).await);
        Ok((status, advice))
    }

    /// Begins a rotation; re-enciphering goes on by itself.
    pub(super) async fn begin_rotation(
        self: &Arc<Self>,
        new: VerificationPattern,
        excluded: &[u16],
    ) -> Standing {
        let (_, advice) = self.rotation(excluded).await?;
        match advice.next {
            Step::Begin { new: ready } if ready.is_of_same_key(&new) => {}
            // It has begun, and is repeated: what was interrupted is made good.
            Step::Reencipher | Step::BeginActivation => {}
            advice => return Err(RotationFailed::NotNow { advice: Box::new(advice) }),
        }
        self.with_rotation(async |rotation| rotation.begin(new).await).await?;
        self.go_on(excluded).await
    }

    /// Goes on with what was interrupted.
    pub(super) async fn go_on_rotating(self: &Arc<Self>) -> Standing {
        self.go_on(&[]).await
    }

    /// Says that units are about to be activated.
    pub(super) async fn begin_activation(self: &Arc<Self>, excluded: &[u16]) -> Standing {
        let (_, advice) = self.rotation(excluded).await?;
        if !matches!(advice.next, Step::BeginActivation | Step::Activate { .. } | Step::Finish) {
            return Err(RotationFailed::NotNow { advice: Box::new(advice.next) });
        }
        self.with_rotation(async |rotation| rotation.begin_activation().await).await?;
        self.go_on(excluded).await
    }

    /// Makes the new master key that of the instances; what is under the old one is removed by itself.
    pub(super) async fn finish_rotation(self: &Arc<Self>, excluded: &[u16]) -> Standing {
        let units = self.registers(excluded).await;
        self.with_rotation(async |rotation| rotation.finish(&units).await).await?;
        self.go_on(excluded).await
    }

    /// Gives the rotation up; what is under the new master key is removed by itself.
    pub(super) async fn cancel_rotation(self: &Arc<Self>) -> Standing {
        self.with_rotation(async |rotation| rotation.cancel().await).await?;
        self.go_on(&[]).await
    }

    /// Tells the host which master keys are legal now, and goes through batches where the phase has some.
    async fn go_on(self: &Arc<Self>, excluded: &[u16]) -> Standing {
        self.renew_proofs().await?;
        let standing = self.rotation(excluded).await?;
        if has_batches(&standing.0) {
            self.run_batches();
        }
        Ok(standing)
    }

    /// Goes on in the background with the batches that an earlier process has left.
    pub(super) fn run_batches(self: &Arc<Self>) {
        if self.runner().0.swap(true, Ordering::AcqRel) {
            return;
        }
        let service = Arc::downgrade(self);
        tokio::spawn(async move {
            // What keeps the rotation from going on is said once; a region that stops ends the loop.
            let mut said = String::new();
            while let Some(service) = service.upgrade() {
                let why = match service.with_rotation(async |rotation| rotation.run(|_, _| {}).await).await {
                    Ok(status) => match service.renew_proofs().await {
                        Ok(()) if has_batches(&status) => continue,
                        Ok(()) => break,
                        Err(e) => with_causes(&e),
                    },
                    Err(RotationFailed::Other(e)) if !is_retryable(&e) => {
                        eprintln!("hsm-sim: the rotation of the master key has stopped: {}", with_causes(&e));
                        break;
                    }
                    Err(e) => with_causes(&e),
                };
                if why != said {
                    eprintln!("hsm-sim: the rotation of the master key waits: {why}");
                    said = why;
                }
                drop(service);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            if let Some(service) = service.upgrade() {
                service.runner().0.store(false, Ordering::Release);
            }
        });
    }

    async fn with_rotation<F>(&self, act: F) -> Result<RegionStatus, RotationFailed>
    where
        F: AsyncFnOnce(
            RegionRotation<'_, super::service::Store, server::HostUnits>,
        ) -> Result<RegionStatus, RegionError>,
    {
        let instances = instances(self.identity());
        let kms =
            self.kms().ok_or_else(|| RotationFailed::NotOpen(self.waiting_for().unwrap_or_default()))?;
        let [first, _] = instances;
        let call = Call { instance: first, caller: ROTATION, deadline: PATIENCE };
        Ok(act(RegionRotation::new(kms, &instances, call)).await?)
    }

    /// The registers of all units, recovery and failover units too: one left behind is useless when it is needed.
    async fn registers(&self, excluded: &[u16]) -> Vec<UnitState> {
        let looks = look_at(self.supervisor().units()).await;
        let state = |look: super::look::Look| UnitState {
            number: look.process.unit,
            registers: look.status.ok().map(|status| (status.current, status.new)),
            excluded: excluded.contains(&look.process.unit),
        };
        looks.into_iter().map(state).collect()
    }
}

fn has_batches(status: &RegionStatus) -> bool {
    status.position.journal.is_some_and(|journal| RotationPhase::has_batches(journal.phase))
}
