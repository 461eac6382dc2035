//! A domain in one life: administrators, permissions, master keys.

use crate::administrators::Administrators;
use crate::registers::Registers;
use unit_api::UnitError;
use unit_api::admin::{Attributes, ControlPoints, Permissions};

/// Everything that zeroize removes, and the number of the life.
#[derive(Clone)]
pub(crate) struct Domain {
    /// Number of the life (EP11: domain instance); 0 while it is unknown.
    pub(crate) instance: u32,
    pub(crate) attributes: Attributes,
    pub(crate) administrators: Administrators,
    pub(crate) control_points: ControlPoints,
    pub(crate) registers: Registers,
}

impl Domain {
    /// The beginning of a life: imprint mode, without administrators and master keys.
    pub(crate) fn new(instance: u32) -> Self {
        Self {
            instance,
            attributes: Attributes::first(),
            administrators: Administrators::none(),
            control_points: ControlPoints::first(),
            registers: Registers::Empty,
        }
    }

    /// Whether the administrators permit the export of a master key, or can still permit it in this life. A master key that
    /// is made while this is false never leaves the engine.
    pub(crate) const fn may_ever_export(&self) -> bool {
        let permissions = self.attributes.permissions;
        permissions.contains(Permissions::WK_EXPORT) || permissions.contains(Permissions::CHG_WK_EXPORT)
    }

    /// The next life, without anything of this one.
    pub(crate) fn next_life(&self) -> Result<Self, UnitError> {
        // After 2³² − 1 lives no unused number is left.
        self.instance.checked_add(1).map(Self::new).ok_or(UnitError::ErrorState)
    }
}
