//! The ceremony of a development region: two administrators for every unit, and one master key from two parts.

use super::keys::{self, ClearKeyPart};
use super::port::SocketPort;
use crate::region::{DataError, SupervisorError};
use std::path::Path;
use tke::admin_policy::AdminPolicy;
use tke::ceremony::{Ceremony, KeySource};
use tke::compare::permissions_of;
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::holder::SignatureKey;
use tke::part::KeyPartHolder;
use tke::quorum::Quorum;
use tke::trust::ModuleTrust;
use tke::{AdminUnit, AdminUnitError, Administrator, UnitDescriptor, UnitKind};
use tke_crypto::{CERTIFICATE_BUFFER_LEN, write_administrator_certificate};
use unit_api::VerificationPattern;

/// Both administrators have to sign, so that a development region has the thresholds of dual control.
const THRESHOLD: u32 = 2;

/// Why a unit could not be brought into service.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The unit does not exist, or an order to its process failed.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The unit could not be reached or authenticated.
    #[error(transparent)]
    Unit(#[from] AdminUnitError),
    /// The key parts are not those of the keystore's master key.
    #[error(
        "keys are served under master key {stored}, or it is being rotated; the parts in the ceremony folder are of another \
         master key, {parts}: replace them by the parts of the keystore's master key, or set up the unit with `hsm-sim tke`"
    )]
    OtherParts {
        /// Verification pattern of the keystore's master key.
        stored: VerificationPattern,
        /// Verification pattern of the master key of the parts.
        parts: VerificationPattern,
    },
    /// The unit is in its error state, with this code.
    #[error("the unit is in its error state (0x{0:04x}): zeroize it, then heal it")]
    Broken(u16),
    /// A step of the ceremony failed.
    #[error(transparent)]
    Ceremony(#[from] tke::ceremony::CeremonyError),
}

/// Signature keys and key parts of a development region.
pub struct DevelopmentCeremony {
    quorum: Quorum,
    administrators: Vec<Administrator>,
    parts: Vec<ClearKeyPart>,
    pattern: VerificationPattern,
}

impl DevelopmentCeremony {
    /// Opens the ceremony whose keys are in `folder`; generates them if there are none.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let (keys, parts) = keys::open(folder)?;
        let mut administrators = Vec::new();
        for key in &keys {
            let mut buffer = [0; CERTIFICATE_BUFFER_LEN];
            let certificate = write_administrator_certificate(key.expose(), key.name(), &mut buffer)
                .map_err(|_| DataError::Damaged(folder.to_owned()))?
                .to_vec();
            administrators.push(Administrator {
                name: key.name().as_str().to_owned(),
                ski: key.ski(),
                certificate,
            });
        }
        let pattern = keys::combined_pattern(&parts);
        let boxed = keys.into_iter().map(|key| Box::new(key) as Box<dyn SignatureKey>);
        Ok(Self { quorum: Quorum::new(boxed.collect()), administrators, parts, pattern })
    }

    /// Verification pattern of the master key that the parts combine to.
    #[must_use]
    pub const fn pattern(&self) -> VerificationPattern {
        self.pattern
    }

    /// The signature keys of all administrators.
    #[must_use]
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// The parts of the master key.
    #[must_use]
    pub fn parts(&self) -> Vec<&dyn KeyPartHolder> {
        self.parts.iter().map(|part| part as _).collect()
    }

    /// Target state of a unit of this kind.
    #[must_use]
    pub fn goal(&self, kind: UnitKind) -> UnitGoal {
        UnitGoal {
            policy: self.policy(kind),
            control_points: None,
            master_key: MasterKeyGoal::Current(self.pattern),
        }
    }

    /// Administrators, thresholds and permissions of a unit of this kind.
    #[must_use]
    pub fn policy(&self, kind: UnitKind) -> AdminPolicy {
        AdminPolicy {
            administrators: self.administrators.clone(),
            signature_threshold: THRESHOLD,
            revocation_threshold: THRESHOLD,
            permissions: permissions_of(kind),
        }
    }

    /// Sets up a unit from any state: installs the administrators and loads the master key into its current register.
    ///
    /// A unit with another master key or other administrators is not changed. A unit that has this master key and is not
    /// in imprint mode is set up already, whatever its other settings.
    ///
    /// # Errors
    /// [`CeremonyError`]. A repeated call continues after the last completed step.
    pub async fn converge(
        &self,
        listed: UnitDescriptor,
        port: SocketPort,
        trust: &ModuleTrust,
    ) -> Result<(), CeremonyError> {
        let goal = self.goal(listed.kind);
        let parts = self.parts();
        let unit = AdminUnit::authenticate(listed, port, trust).await?;
        let now = unit.snapshot().await?;
        let holds_it = now.current.is_some_and(|current| current.is_of_same_key(&self.pattern));
        if holds_it && !now.attributes.imprint() {
            return Ok(());
        }
        let mut record = ();
        let mut ceremony = Ceremony { quorum: &self.quorum, record: &mut record };
        ceremony.converge(&unit, &goal, &KeySource::Parts(&parts)).await?;
        Ok(())
    }
}
