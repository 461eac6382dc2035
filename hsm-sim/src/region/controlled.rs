//! What can be done to a running region by command.

use super::ceremony::{CeremonyError, DevelopmentCeremony, SocketPort};
use super::clock::SimClock;
use super::identity::Identity;
use super::look::{Look, is_imprint, lifecycle, look_at};
use super::service::Service;
use super::state;
use super::supervisor::{Supervisor, SupervisorError, UnitProcess};
use crate::unit::Order;
use std::sync::Arc;
use tke_crypto::PublicKey;
use unit_api::{Condition, UnitError, VerificationPattern};

/// A running region, as its control API works on it.
pub struct ControlledRegion {
    /// Who it is.
    pub identity: Identity,
    /// Its unit processes.
    pub supervisor: Supervisor,
    /// Its services.
    pub service: Arc<Service>,
    /// The service's clock.
    pub clock: Arc<SimClock>,
    /// What brings units into service, where the region itself does.
    pub(super) development: Option<DevelopmentCeremony>,
    /// The manufacturer of the units' modules.
    pub(super) root: PublicKey,
}

/// What a unit says of itself.
#[derive(Clone, Debug)]
pub struct UnitReport {
    /// Number of the unit.
    pub unit: u16,
    /// `reserved`, `claimed`, `initialized`, `kms-initialized`, `error` or `unreachable`.
    pub lifecycle: &'static str,
    /// Whether it is in imprint mode; none while it does not answer, as below.
    pub imprint: Option<bool>,
    /// Administrators installed.
    pub administrators: Option<u8>,
    /// Signatures that most commands need.
    pub signature_threshold: Option<u8>,
    /// Signatures that removing an administrator needs.
    pub revocation_threshold: Option<u8>,
    /// Pattern of its Current master key.
    pub current: Option<VerificationPattern>,
    /// Why it does not answer.
    pub silent: Option<String>,
}

impl ControlledRegion {
    /// Verification pattern of the master key that keys are, or are to be, served under.
    #[must_use]
    pub fn pattern(&self) -> Option<VerificationPattern> {
        self.service.pattern().or(self.development.as_ref().map(DevelopmentCeremony::pattern))
    }

    /// `unkeyed`, `locked`, `degraded` or `ready`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        state::of(&self.service, self.service.host().is_some())
    }

    /// Whether the region itself brings units into service.
    #[must_use]
    pub const fn heals_keys(&self) -> bool {
        self.development.is_some()
    }

    /// What every unit says of itself at this moment.
    pub async fn reports(&self) -> Vec<UnitReport> {
        let serving = self.service.host().map(host::Host::units).unwrap_or_default();
        let report = |Look { process, status }: Look| {
            let serves = serving.iter().any(|view| view.number == process.unit && view.in_use);
            let said = status.as_ref().ok();
            UnitReport {
                unit: process.unit,
                lifecycle: lifecycle(&status, serves),
                imprint: said.map(is_imprint),
                administrators: said.map(|said| said.administrators),
                signature_threshold: said.map(|said| said.signature_threshold),
                revocation_threshold: said.map(|said| said.revocation_threshold),
                current: said.and_then(|said| said.current),
                silent: status.as_ref().err().cloned(),
            }
        };
        look_at(self.supervisor.units()).await.into_iter().map(report).collect()
    }

    /// Zeroizes a unit at its module's level, as only its operator can: administrators and master keys are gone.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn zeroize(&self, unit: u16) -> Result<(), SupervisorError> {
        self.supervisor.order(unit, Order::Zeroize).await
    }

    /// Has a unit's module notice tampering.
    ///
    /// # Errors
    /// [`SupervisorError`].
    pub async fn tamper(&self, unit: u16) -> Result<(), SupervisorError> {
        self.supervisor.order(unit, Order::Tamper).await
    }

    /// Brings a unit into service, where the region itself does that; nothing where people do.
    ///
    /// A unit whose stored state is lost to it, as one of before there were administrators, is zeroized first: there is
    /// nothing in it that the key parts would not give again.
    ///
    /// # Errors
    /// [`CeremonyError`]; a unit that holds another master key is left alone.
    pub async fn bring_into_service(&self, unit: u16) -> Result<(), CeremonyError> {
        let Some(ceremony) = &self.development else { return Ok(()) };
        let process = self.supervisor.unit(unit)?;
        if let Some(host) = self.service.host()
            && (host.next_pattern().is_some() || !host.pattern().is_of_same_key(&ceremony.pattern()))
        {
            // Nothing that these parts could do is right; a unit that holds a legal master key needs nothing.
            let (stored, next) = (host.pattern(), host.next_pattern());
            let legal = |held: VerificationPattern| {
                held.is_of_same_key(&stored) || next.is_some_and(|next| held.is_of_same_key(&next))
            };
            let looks = look_at([process]).await;
            let held = looks.iter().filter_map(|look| look.status.as_ref().ok()?.current);
            return match held.map(legal).next() {
                Some(true) => Ok(()),
                _ => Err(CeremonyError::OtherParts { stored, parts: ceremony.pattern() }),
            };
        }
        if let Some(code) = error_state(&process).await {
            if code != UnitError::StateInvalid.code() {
                return Err(CeremonyError::Broken(code));
            }
            eprintln!(
                "hsm-sim: unit {unit} cannot use its stored state, as after an upgrade: it is zeroized, and gets \
                 administrators and the master key again"
            );
            self.zeroize(unit).await?;
        }
        let port = SocketPort(process.socket.clone());
        ceremony.converge(process.listed(), port, &self.root).await
    }
}

/// Why a unit answers only queries and zeroize, if so.
async fn error_state(process: &UnitProcess) -> Option<u16> {
    let looks = look_at([process.clone()]).await;
    match looks.first()?.status.as_ref().ok()?.condition {
        Condition::Error(code) => Some(code),
        Condition::Operational => None,
    }
}
