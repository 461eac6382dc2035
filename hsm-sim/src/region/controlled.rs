//! A running region, as commands inspect and change it.

use super::ceremony::{CeremonyError, DevelopmentCeremony, SocketPort};
use super::clock::SimClock;
use super::data::DataDir;
use super::directory::{SupervisedUnits, entry};
use super::identity::Identity;
use super::ready::ReadyFiles;
use super::supervisor::{Supervisor, SupervisorError, UnitProcess};
use super::upgrade::{Upgrade, UpgradeState};
use crate::unit::Order;
use node::{Node, QueriedUnit, is_imprint, lifecycle, query_units};
use server::auth::SharedToken;
use std::sync::Arc;
use std::time::Duration;
use tke::trust::ModuleTrust;
use tokio::sync::Mutex as AsyncMutex;
use tracing::warn;
use unit_api::admin::InstanceId;
use unit_api::{Condition, UnitError, VerificationPattern};

/// How long a unit may take to report its status.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// A running region, as its control API works on it.
pub struct ControlledRegion {
    /// Instances, credentials and names.
    pub identity: Identity,
    /// The unit processes.
    pub supervisor: Supervisor,
    /// The node in front of the units.
    pub node: Node,
    /// The clock that the timers of keys follow.
    pub clock: Arc<SimClock>,
    /// Token of the control API.
    pub control_token: SharedToken,
    /// Whether faults and clock changes are allowed, which can lose or expire keys.
    pub faults: bool,
    /// Keys of the development ceremony; `None` with a manual ceremony.
    pub(super) development: Option<DevelopmentCeremony>,
    /// The manufacturer of the units' modules.
    pub(super) trust: ModuleTrust,
    pub(super) data: Arc<DataDir>,
    /// The units as the node sees them.
    pub(super) directory: SupervisedUnits,
    pub(super) ready: ReadyFiles,
    /// Held while units are added, removed, drained, resumed or healed.
    pub(super) changing: AsyncMutex<()>,
}

/// The status that a unit reports.
#[derive(Clone, Debug)]
pub struct UnitReport {
    /// Number of the unit.
    pub unit: u16,
    /// `reserved`, `claimed`, `initialized`, `kms-initialized`, `error` or `unreachable`.
    pub lifecycle: &'static str,
    /// Whether it is in imprint mode. `None` while it does not answer, as in the fields below.
    pub imprint: Option<bool>,
    /// Number of administrators installed.
    pub administrators: Option<u8>,
    /// Signatures that most commands require.
    pub signature_threshold: Option<u8>,
    /// Signatures that the removal of an administrator requires.
    pub revocation_threshold: Option<u8>,
    /// Verification pattern of its current master key.
    pub current: Option<VerificationPattern>,
    /// Why it does not answer.
    pub silent: Option<String>,
}

impl ControlledRegion {
    /// Verification pattern of the master key that keys are served under, or will be.
    #[must_use]
    pub fn pattern(&self) -> Option<VerificationPattern> {
        self.node.pattern().or(self.development.as_ref().map(DevelopmentCeremony::pattern))
    }

    /// `unkeyed`, `locked`, `rotating`, `degraded` or `ready`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.node.state().as_str()
    }

    /// Whether the region sets up units by itself.
    #[must_use]
    pub const fn heals_keys(&self) -> bool {
        self.development.is_some()
    }

    /// Whether the data directory has a copy of an earlier version, until the upgrade is confirmed or undone.
    #[must_use]
    pub fn has_unconfirmed_upgrade(&self) -> bool {
        Upgrade::state(self.data.path()) == UpgradeState::Unconfirmed
    }

    /// The status that every unit reports at this moment.
    pub async fn reports(&self) -> Vec<UnitReport> {
        let serving = self.node.host().as_ref().map(host::Host::units).unwrap_or_default();
        let report = |QueriedUnit { unit, status }: QueriedUnit| {
            let serves = serving.iter().any(|view| view.number == unit.number && view.in_use);
            let said = status.as_ref().ok();
            UnitReport {
                unit: unit.number,
                lifecycle: lifecycle(&status, serves).as_str(),
                imprint: said.map(is_imprint),
                administrators: said.map(|said| said.administrators),
                signature_threshold: said.map(|said| said.signature_threshold),
                revocation_threshold: said.map(|said| said.revocation_threshold),
                current: said.and_then(|said| said.current),
                silent: status.as_ref().err().cloned(),
            }
        };
        query(self.supervisor.units()).await.into_iter().map(report).collect()
    }

    /// Zeroizes a unit at its module's level, as only its operator can: administrators and master keys are erased.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn zeroize(&self, unit: u16) -> Result<(), SupervisorError> {
        self.supervisor.order(unit, Order::Zeroize).await
    }

    /// Makes a unit's module detect tampering.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn tamper(&self, unit: u16) -> Result<(), SupervisorError> {
        self.supervisor.order(unit, Order::Tamper).await
    }

    /// Ends a unit's fault and sets the unit up by the development ceremony, if that is the region's.
    ///
    /// # Errors
    /// [`CeremonyError`]; a unit that holds another master key is not changed.
    pub async fn heal(&self, unit: u16) -> Result<(), CeremonyError> {
        // First, since a change that is under way may be waiting for this unit.
        self.supervisor.heal(unit).await?;
        let _one_at_a_time = self.changing.lock().await;
        self.bring_into_service(unit).await
    }

    /// Sets up a unit by the development ceremony; does nothing with a manual ceremony.
    ///
    /// A unit that cannot use its stored state, for example after an upgrade, is zeroized first: the key parts restore
    /// everything it had.
    ///
    /// # Errors
    /// [`CeremonyError`]; a unit that holds another master key is not changed.
    pub(super) async fn bring_into_service(&self, unit: u16) -> Result<(), CeremonyError> {
        let Some(ceremony) = &self.development else { return Ok(()) };
        let process = self.supervisor.unit(unit)?;
        if let Err(other_parts) = self.check_parts(ceremony) {
            // A unit that holds a legal master key needs nothing.
            let legal = [self.node.pattern(), self.node.host().and_then(|host| host.next_pattern())];
            let queried = query([process]).await;
            let held = queried.iter().find_map(|queried| queried.status.as_ref().ok()?.current);
            let is_legal =
                held.is_some_and(|held| legal.iter().flatten().any(|key| held.is_of_same_key(key)));
            return if is_legal { Ok(()) } else { Err(other_parts) };
        }
        if let Some(code) = error_state(&process).await {
            if code != UnitError::StateInvalid.code() {
                return Err(CeremonyError::Broken(code));
            }
            warn!(
                unit,
                "the unit cannot use its stored state; it is zeroized and gets administrators and the master key again"
            );
            self.zeroize(unit).await?;
        }
        let port = SocketPort(process.socket.clone());
        let instance = InstanceId(*self.identity.instance_id.as_bytes());
        ceremony.converge(process.listed(instance), port, &self.trust).await
    }

    /// Whether the key parts of the ceremony may be loaded: they are those of the only legal master key.
    fn check_parts(&self, ceremony: &DevelopmentCeremony) -> Result<(), CeremonyError> {
        let Some(host) = self.node.host() else { return Ok(()) };
        let (stored, parts) = (host.pattern(), ceremony.pattern());
        if host.next_pattern().is_some() || !stored.is_of_same_key(&parts) {
            return Err(CeremonyError::OtherParts { stored, parts });
        }
        Ok(())
    }
}

async fn query(processes: impl IntoIterator<Item = UnitProcess>) -> Vec<QueriedUnit> {
    query_units(processes.into_iter().map(entry), STATUS_PATIENCE).await
}

/// The code of a unit's error state, if it is in that state.
async fn error_state(process: &UnitProcess) -> Option<u16> {
    let queried = query([process.clone()]).await;
    match queried.first()?.status.as_ref().ok()?.condition {
        Condition::Error(code) => Some(code),
        Condition::Operational => None,
    }
}
