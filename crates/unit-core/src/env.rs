//! What surrounds a unit.

use crate::Storage;
use engine::Engine;
use unit_api::UnitId;

/// The world of one unit: the hardware under it, and where it keeps its state.
pub trait Env {
    /// Holds keys and runs mechanisms.
    type Engine: Engine;
    /// Keeps two slots of bytes through power loss.
    type Storage: Storage;
}

/// Who a unit is, from the day it is made; the same at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The module.
    pub unit: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
}
