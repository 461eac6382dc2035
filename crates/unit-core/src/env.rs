//! What surrounds a unit.

use crate::Storage;
use engine::Engine;
use tke_crypto::{PublicKey, Signature, Ski};
use unit_api::UnitId;
use unit_api::admin::InstanceId;

/// The world of one unit: the hardware under it, the module that it is a domain of, where it keeps its state, a clock.
pub trait Env {
    /// Holds keys and runs mechanisms.
    type Engine: Engine;
    /// Keeps two slots of bytes through power loss.
    type Storage: Storage;
    /// Signs what the unit answers to administrators.
    type Module: Module;
    /// Dates audit records.
    type Clock: Clock;
}

/// Who a unit is, from the day it is made; the same at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The module.
    pub unit: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
    /// The service instance that the unit was assigned to.
    pub instance: InstanceId,
}

/// The module under a unit, by its device key.
pub trait Module {
    /// Signs with the device key: ECDSA over P-521 with SHA-512.
    fn sign(&self, message: &[u8]) -> Signature;

    /// Identifier of the device key: SHA-256 over its point.
    fn ski(&self) -> Ski;

    /// The device key's certificate (DER), which the manufacturer's root issued; at most 12 KiB.
    fn certificate(&self) -> &[u8];

    /// The manufacturer's root, by which other modules' certificates are checked.
    fn root(&self) -> &PublicKey;
}

/// A clock that nothing but the dates of audit records depends on.
pub trait Clock {
    /// Milliseconds since 1970; 0 where that is not known.
    fn now_ms(&mut self) -> u64;
}
