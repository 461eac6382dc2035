//! The ports of a unit to its surroundings.

use crate::Storage;
use engine::Engine;
use tke_crypto::PublicKey;
use unit_api::UnitId;
use unit_api::admin::InstanceId;

/// The surroundings of one unit: engine, module, storage, clock.
pub trait Env {
    /// Holds keys and runs mechanisms.
    type Engine: Engine;
    /// Keeps two slots of bytes durably.
    type Storage: Storage;
    /// Certifies the unit's responses to administrators.
    type Module: Module;
    /// Gives the time of audit records.
    type Clock: Clock;
}

/// The identity of a unit, the same at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitIdentity {
    /// Identifier of the module.
    pub unit: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
    /// The service instance that the unit was assigned to.
    pub instance: InstanceId,
}

/// The module that a unit is a domain of: what its manufacturer gave it. It signs with its engine's attestation key.
pub trait Module {
    /// Certificate of the attestation key (DER, at most 12 KiB), issued by the manufacturer's root.
    fn certificate(&self) -> &[u8];

    /// Public key of the manufacturer's root, which verifies other modules' certificates.
    fn root(&self) -> &PublicKey;
}

/// A clock, used for the times of audit records only.
pub trait Clock {
    /// Milliseconds since 1970-01-01 UTC; 0 where the time is unknown.
    fn now_ms(&mut self) -> u64;
}
