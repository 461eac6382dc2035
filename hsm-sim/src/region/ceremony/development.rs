//! The ceremony of a development region: every unit under two administrators, with one master key from two parts.

use super::keys::{self, ClearKeyPart};
use super::port::SocketPort;
use crate::region::{DataError, SupervisorError};
use std::path::Path;
use tke::ceremony::{Ceremony, KeySource};
use tke::compare::permissions_of;
use tke::converge::{Goal, KeyGoal, Stuck};
use tke::holder::SignatureKey;
use tke::part::KeyPartHolder;
use tke::plan::Rule;
use tke::quorum::Quorum;
use tke::{AdminUnit, Administrator, Listed, UnitFault, UnitKind};
use tke_crypto::{CERTIFICATE_BUFFER_LEN, PublicKey, write_administrator_certificate};
use unit_api::{UnitError, VerificationPattern};

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
    Unit(#[from] UnitFault),
    /// The ceremony got stuck.
    #[error(transparent)]
    Ceremony(#[from] tke::ceremony::CeremonyError),
}

impl CeremonyError {
    /// Whether the unit's stored state is lost to it, so that there is nothing in it that zeroizing could take away.
    #[must_use]
    pub const fn is_lost_state(&self) -> bool {
        use tke::ceremony::CeremonyError as Inner;
        const LOST: u16 = UnitError::StateInvalid.code();
        matches!(self, Self::Ceremony(Inner::Stuck { source: Stuck::Broken(LOST), .. }))
    }
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

    /// Who rules a unit of this kind, and how.
    #[must_use]
    pub fn rule(&self, kind: UnitKind) -> Rule {
        Rule {
            administrators: self.administrators.clone(),
            signature_threshold: THRESHOLD,
            revocation_threshold: THRESHOLD,
            permissions: permissions_of(kind),
        }
    }

    /// Brings a unit under the administrators, and the parts' master key into its Current, whatever state it is in.
    ///
    /// A unit that holds another master key is left alone, and so is one that obeys other administrators.
    ///
    /// # Errors
    /// [`CeremonyError`]; called again, it goes on where it stopped.
    pub async fn converge(
        &self,
        listed: Listed,
        port: SocketPort,
        root: &PublicKey,
    ) -> Result<(), CeremonyError> {
        let goal = Goal {
            rule: self.rule(listed.kind),
            control_points: None,
            master_key: KeyGoal::Current(self.pattern),
        };
        let parts: Vec<&dyn KeyPartHolder> = self.parts.iter().map(|part| part as _).collect();
        let unit = AdminUnit::meet(listed, port, root).await?;
        let mut record = ();
        let mut ceremony = Ceremony { quorum: &self.quorum, record: &mut record };
        ceremony.converge(&unit, &goal, &KeySource::Parts(&parts)).await?;
        Ok(())
    }
}
