//! The service's part in a rotation of the master key under a node's instances.

use crate::jobs::{ROTATION_CALLER, has_batches};
use crate::node::{PATIENCE, Shared};
use crate::unit_status::{QueriedUnit, query_units};
use kms::Call;
use kms::rotation::{RegionError, RegionRotation, RegionStatus, Step, UnitState, resume};
use server::ServiceUnits;
use server::tke::{RotationAction, RotationFailure, RotationReport};
use std::time::Duration;
use unit_api::VerificationPattern;

/// How long units may take to report their registers.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

type Report = Result<RotationReport, RotationFailure>;

impl Shared {
    /// Carries out an action of a rotation. What takes long continues in the background.
    pub(crate) async fn rotate(&self, action: RotationAction) -> Report {
        match action {
            RotationAction::Show => self.rotation_report(&[]).await,
            RotationAction::Begin { new, exclude } => self.begin_rotation(new, &exclude).await,
            RotationAction::Continue => self.continue_rotation(&[]).await,
            RotationAction::BeginActivation { exclude } => self.begin_activation(&exclude).await,
            RotationAction::Finish { exclude } => {
                let units = self.registers(&exclude).await;
                self.with_rotation(async |rotation| rotation.finish(&units).await).await?;
                self.continue_rotation(&exclude).await
            }
            RotationAction::Cancel => {
                self.with_rotation(async |rotation| rotation.cancel().await).await?;
                self.continue_rotation(&[]).await
            }
        }
    }

    /// The status and the next step, where the units in `excluded` do not count.
    async fn rotation_report(&self, excluded: &[u16]) -> Report {
        let status = self.with_rotation(async |rotation| rotation.status().await).await?;
        let advice = resume(&status.position, &self.registers(excluded).await);
        Ok(RotationReport { status, advice })
    }

    async fn begin_rotation(&self, new: VerificationPattern, excluded: &[u16]) -> Report {
        match self.rotation_report(excluded).await?.advice.next {
            Step::Begin { new: ready } if ready.is_of_same_key(&new) => {}
            // It has begun. Repeating it completes what an interruption has left.
            Step::Reencipher | Step::BeginActivation => {}
            advice => return Err(RotationFailure::NotNow(Box::new(advice))),
        }
        self.with_rotation(async |rotation| rotation.begin(new).await).await?;
        self.continue_rotation(excluded).await
    }

    async fn begin_activation(&self, excluded: &[u16]) -> Report {
        let advice = self.rotation_report(excluded).await?.advice.next;
        if !matches!(advice, Step::BeginActivation | Step::Activate { .. } | Step::Finish) {
            return Err(RotationFailure::NotNow(Box::new(advice)));
        }
        self.with_rotation(async |rotation| rotation.begin_activation().await).await?;
        self.continue_rotation(excluded).await
    }

    /// Tells the host which master keys are legal now, and starts the batches of the phase if it has any.
    async fn continue_rotation(&self, excluded: &[u16]) -> Report {
        self.renew_proofs().await?;
        let report = self.rotation_report(excluded).await?;
        if has_batches(&report.status)
            && let Some(open) = self.opened()
        {
            open.process_batches();
        }
        Ok(report)
    }

    /// Gives the host the master-key proofs of the present header.
    async fn renew_proofs(&self) -> Result<(), RotationFailure> {
        match self.opened() {
            Some(open) => open.renew_proofs().await.map_err(RotationFailure::Proofs),
            None => Ok(()),
        }
    }

    async fn with_rotation<F>(&self, act: F) -> Result<RegionStatus, RotationFailure>
    where
        F: AsyncFnOnce(
            RegionRotation<'_, crate::node::WritableStore, ServiceUnits>,
        ) -> Result<RegionStatus, RegionError>,
    {
        let instances = self.instance_ids();
        let kms = self.kms().map_err(RotationFailure::NotOpen)?;
        let Some(first) = instances.first() else { return Err(RegionError::NoInstance.into()) };
        let call = Call { instance: *first, caller: ROTATION_CALLER, deadline: PATIENCE, changed_at: None };
        Ok(act(RegionRotation::new(&kms, &instances, call)).await?)
    }

    /// The registers of all units. Recovery and failover units count too: with the old master key they would be useless.
    async fn registers(&self, excluded: &[u16]) -> Vec<UnitState> {
        let queried = query_units(self.parts.directory.units(), STATUS_PATIENCE).await;
        let state = |QueriedUnit { unit, status }: QueriedUnit| UnitState {
            number: unit.number,
            registers: status.ok().map(|status| (status.current, status.new)),
            excluded: excluded.contains(&unit.number),
        };
        queried.into_iter().map(state).collect()
    }
}
