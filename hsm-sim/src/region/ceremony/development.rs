//! The ceremony of a development region: every unit under two administrators, with one master key from two parts.

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
use tke::{AdminUnit, AdminUnitError, Administrator, UnitDescriptor, UnitKind};
use tke_crypto::{CERTIFICATE_BUFFER_LEN, PublicKey, write_administrator_certificate};
use unit_api::VerificationPattern;

/// Both administrators have to sign: what is tried on a development region meets the counts that dual control has, and
/// their keys lie side by side anyway.
const THRESHOLD: u32 = 2;

/// Why a unit could not be brought into service.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// There is no such unit, or its process could not be ordered.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The unit is not believed, or not reached.
    #[error(transparent)]
    Unit(#[from] AdminUnitError),
    /// The parts are of another master key than the keystore.
    #[error(
        "keys are served under master key {stored}, or it is being rotated; the parts in the ceremony folder make {parts}: \
         put in the parts of the keystore's master key, or bring the unit into service with `hsm-sim tke`"
    )]
    OtherParts {
        /// The keystore's.
        stored: VerificationPattern,
        /// The parts'.
        parts: VerificationPattern,
    },
    /// The unit does not work.
    #[error("the unit is in its error state (0x{0:04x}): zeroize it, then heal it")]
    Broken(u16),
    /// The ceremony got stuck.
    #[error(transparent)]
    Ceremony(#[from] tke::ceremony::CeremonyError),
}

/// Signature keys and key parts of a development region, ready to be used.
pub struct DevelopmentCeremony {
    quorum: Quorum,
    administrators: Vec<Administrator>,
    parts: Vec<ClearKeyPart>,
    pattern: VerificationPattern,
}

impl DevelopmentCeremony {
    /// The ceremony whose keys are in `folder`, made there if there are none.
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

    /// The pattern of the master key that the parts make, worked out without any unit.
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

    /// What a unit of this kind is brought to.
    #[must_use]
    pub fn goal(&self, kind: UnitKind) -> UnitGoal {
        UnitGoal {
            policy: self.policy(kind),
            control_points: None,
            master_key: MasterKeyGoal::Current(self.pattern),
        }
    }

    /// Who rules a unit of this kind, and how.
    #[must_use]
    pub fn policy(&self, kind: UnitKind) -> AdminPolicy {
        AdminPolicy {
            administrators: self.administrators.clone(),
            signature_threshold: THRESHOLD,
            revocation_threshold: THRESHOLD,
            permissions: permissions_of(kind),
        }
    }

    /// Brings a unit under the administrators, and the parts' master key into its Current, whatever state it is in.
    ///
    /// A unit that holds another master key is left alone, and so is one that obeys other administrators. One that holds
    /// this master key and obeys somebody is what it should be, whatever its administrators have made of the rest.
    ///
    /// # Errors
    /// [`CeremonyError`]; called again, it goes on where it stopped.
    pub async fn converge(
        &self,
        listed: UnitDescriptor,
        port: SocketPort,
        root: &PublicKey,
    ) -> Result<(), CeremonyError> {
        let goal = self.goal(listed.kind);
        let parts = self.parts();
        let unit = AdminUnit::authenticate(listed, port, root).await?;
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
