//! What can be done to a running region by command.

use super::ceremony::{self, CeremonyError, KeyParts};
use super::clock::SimClock;
use super::supervisor::Supervisor;
use host::Host;
use std::sync::Arc;
use unit_api::VerificationPattern;

/// A running region, as its control API works on it.
pub struct ControlledRegion {
    /// Its name.
    pub name: String,
    /// Its unit processes.
    pub supervisor: Supervisor,
    /// The host that routes to them.
    pub host: Host,
    /// The service's clock.
    pub clock: Arc<SimClock>,
    pub(super) parts: KeyParts,
}

impl ControlledRegion {
    /// Verification pattern of the region's master key.
    #[must_use]
    pub fn pattern(&self) -> VerificationPattern {
        self.parts.pattern()
    }

    /// Empties a unit of its master keys, as its administrators could.
    ///
    /// # Errors
    /// [`CeremonyError`] when it cannot be reached or refuses.
    pub async fn zeroize(&self, unit: u16) -> Result<(), CeremonyError> {
        ceremony::zeroize(&self.supervisor.unit(unit)?.socket).await
    }

    /// Loads the region's master key into a unit that has none.
    ///
    /// # Errors
    /// [`CeremonyError`]; a unit that holds another master key is left alone.
    pub async fn load_master_key(&self, unit: u16) -> Result<(), CeremonyError> {
        ceremony::converge(&self.supervisor.unit(unit)?.socket, &self.parts).await
    }
}
