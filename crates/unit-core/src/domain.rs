//! A domain in one of its lives: who rules it, what is permitted, which master keys it holds.

use crate::administrators::Administrators;
use crate::registers::Registers;
use unit_api::UnitError;
use unit_api::admin::{Attributes, ControlPoints, Permissions};

/// Everything that zeroize does away with, and the number of the life that it belongs to.
#[derive(Clone)]
pub(crate) struct Domain {
    /// Which life of the domain this is; 0 while it is not known.
    pub(crate) instance: u32,
    pub(crate) attributes: Attributes,
    pub(crate) administrators: Administrators,
    pub(crate) control_points: ControlPoints,
    pub(crate) registers: Registers,
}

impl Domain {
    /// At the beginning of a life: imprint mode, nobody rules it, nothing is in it.
    pub(crate) fn born(instance: u32) -> Self {
        Self {
            instance,
            attributes: Attributes::first(),
            administrators: Administrators::none(),
            control_points: ControlPoints::first(),
            registers: Registers::Empty,
        }
    }

    /// Whether a master key may be exported in this life, now or once the administrators permit it again. One that is
    /// made while this does not hold never leaves the engine, whatever the unit is made to ask for.
    pub(crate) const fn may_ever_export(&self) -> bool {
        let permissions = self.attributes.permissions;
        permissions.contains(Permissions::WK_EXPORT) || permissions.contains(Permissions::CHG_WK_EXPORT)
    }

    /// The next life, which keeps nothing of this one.
    pub(crate) fn next_life(&self) -> Result<Self, UnitError> {
        // After 2³² − 1 lives there is none left that was never used before.
        self.instance.checked_add(1).map(Self::born).ok_or(UnitError::ErrorState)
    }
}
