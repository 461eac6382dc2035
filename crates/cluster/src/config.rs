//! Configuration of a cluster.

use crate::{Identity, UnitNumber};
use unit_api::{UnitMark, VerificationPattern};

/// The master keys, the zone and the first units of a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Verification pattern of the instance's master key.
    pub pattern: VerificationPattern,
    /// Verification pattern of the next master key, during a rotation.
    pub next: Option<VerificationPattern>,
    /// Zone of the host: units there are used first.
    pub zone: String,
    /// The units and their zones, [`MAX_UNITS`](crate::MAX_UNITS) at most, each number once.
    pub units: Vec<(UnitNumber, String)>,
    /// How far units had come when an earlier cluster saw them last.
    pub seen: Vec<(Identity, UnitMark)>,
}

impl Config {
    /// A cluster of these units, without a rotation of the master key.
    #[must_use]
    pub fn new(
        pattern: VerificationPattern,
        zone: impl Into<String>,
        units: impl IntoIterator<Item = (UnitNumber, String)>,
    ) -> Self {
        Self { pattern, next: None, zone: zone.into(), units: units.into_iter().collect(), seen: Vec::new() }
    }

    /// Makes the master key with this pattern legal too.
    #[must_use]
    pub fn with_next(self, next: Option<VerificationPattern>) -> Self {
        Self { next, ..self }
    }

    /// Fences units that are not in a state that follows one of these.
    #[must_use]
    pub fn with_seen(self, seen: impl IntoIterator<Item = (Identity, UnitMark)>) -> Self {
        Self { seen: seen.into_iter().collect(), ..self }
    }
}
