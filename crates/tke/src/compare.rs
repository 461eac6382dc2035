//! Comparison of the units of an instance: every difference between them.

use crate::{Snapshot, UnitDescriptor, UnitKind};
use std::collections::BTreeMap;
use std::fmt;
use unit_api::admin::{ControlPoint, Permissions};
use unit_api::{Condition, NewRegister, VerificationPattern};
use wire::text::encode_hex;

/// An aspect in which units are compared. The order is the one in which differences are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Operational, or in its error state.
    Condition,
    /// The service instance that the unit belongs to.
    Instance,
    /// Signature threshold.
    SignatureThreshold,
    /// Revocation threshold.
    RevocationThreshold,
    /// Administrators, by subject key identifier.
    Administrators,
    /// New master-key register.
    NewRegister,
    /// Current master-key register.
    CurrentRegister,
    /// Control points.
    ControlPoints,
    /// Permissions, among units of one kind.
    Permissions,
}

impl Aspect {
    /// Every aspect.
    pub const ALL: [Self; 9] = [
        Self::Condition,
        Self::Instance,
        Self::SignatureThreshold,
        Self::RevocationThreshold,
        Self::Administrators,
        Self::NewRegister,
        Self::CurrentRegister,
        Self::ControlPoints,
        Self::Permissions,
    ];

    /// The name in headings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Instance => "service instance",
            Self::SignatureThreshold => "signature threshold",
            Self::RevocationThreshold => "revocation threshold",
            Self::Administrators => "administrators",
            Self::NewRegister => "new master key register",
            Self::CurrentRegister => "current master key register",
            Self::ControlPoints => "control points",
            Self::Permissions => "permissions",
        }
    }

    /// The value of one unit, as text that is equal exactly if two units agree.
    #[must_use]
    pub fn of(self, unit: &Snapshot) -> String {
        match self {
            Self::Condition => match unit.condition {
                Condition::Operational => "operational".to_owned(),
                Condition::Error(code) => format!("error 0x{code:04x}"),
            },
            Self::Instance => unit.instance.to_string(),
            Self::SignatureThreshold => unit.attributes.signature_threshold.to_string(),
            Self::RevocationThreshold => unit.attributes.revocation_threshold.to_string(),
            Self::Administrators => {
                let mut skis: Vec<String> = unit.administrators.iter().map(|e| encode_hex(&e.ski)).collect();
                skis.sort_unstable();
                skis.join(" ")
            }
            Self::NewRegister => match unit.new {
                NewRegister::Empty => "empty".to_owned(),
                NewRegister::FullUncommitted(pattern) => format!("full uncommitted {}", digits(&pattern)),
                NewRegister::FullCommitted(pattern) => format!("full committed {}", digits(&pattern)),
            },
            Self::CurrentRegister => unit
                .current
                .map_or_else(|| "empty".to_owned(), |pattern| format!("valid {}", digits(&pattern))),
            Self::ControlPoints => {
                let on = |point: &&ControlPoint| unit.control_points.is_on(**point);
                ControlPoint::ALL.iter().filter(on).map(|point| point.name()).collect::<Vec<_>>().join(" ")
            }
            Self::Permissions => unit.attributes.permissions.to_string(),
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The 28 bytes of a pattern that are compared, in hexadecimal.
fn digits(pattern: &VerificationPattern) -> String {
    pattern.to_string().chars().take(56).collect()
}

/// One aspect in which units differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The aspect.
    pub aspect: Aspect,
    /// Every value with the numbers of the units that have it.
    pub values: BTreeMap<String, Vec<u16>>,
}

/// A unit to be compared.
#[derive(Clone, Debug)]
pub struct ComparedUnit {
    /// The unit as the service lists it.
    pub listed: UnitDescriptor,
    /// Its state.
    pub snapshot: Snapshot,
}

/// The result of a comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The units, by number.
    pub units: Vec<ComparedUnit>,
    /// All differences.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Compares units.
    #[must_use]
    pub fn of(mut units: Vec<ComparedUnit>) -> Self {
        units.sort_by_key(|unit| unit.listed.number);
        let mut differences = Vec::new();
        for aspect in Aspect::ALL {
            // Permissions differ by design between operational and recovery units.
            let groups: &[&[UnitKind]] = match aspect {
                Aspect::Permissions => &[&[UnitKind::Operational, UnitKind::Failover], &[UnitKind::Recovery]],
                _ => &[&[UnitKind::Operational, UnitKind::Failover, UnitKind::Recovery]],
            };
            for kinds in groups {
                let mut values: BTreeMap<String, Vec<u16>> = BTreeMap::new();
                for unit in units.iter().filter(|unit| kinds.contains(&unit.listed.kind)) {
                    values.entry(aspect.of(&unit.snapshot)).or_default().push(unit.listed.number);
                }
                if values.len() > 1 {
                    differences.push(Difference { aspect, values });
                }
            }
        }
        Self { units, differences }
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn alike(&self) -> bool {
        self.differences.is_empty()
    }

    /// The master key that is the current one of every unit, if there is one.
    #[must_use]
    pub fn common_current(&self) -> Option<VerificationPattern> {
        let first = self.units.first()?.snapshot.current?;
        let same = |unit: &ComparedUnit| unit.snapshot.current.is_some_and(|p| p.is_of_same_key(&first));
        self.units.iter().all(same).then_some(first)
    }

    /// Numbers of the units in imprint mode.
    #[must_use]
    pub fn in_imprint_mode(&self) -> Vec<u16> {
        let imprint = |unit: &&ComparedUnit| unit.snapshot.attributes.imprint();
        self.units.iter().filter(imprint).map(|unit| unit.listed.number).collect()
    }

    /// The result in one line.
    #[must_use]
    pub fn verdict(&self) -> String {
        let count = self.units.len();
        match (self.alike(), self.in_imprint_mode().len()) {
            (true, 0) => format!("All {count} crypto units are configured alike."),
            (true, _) => {
                format!("All {count} crypto units are configured alike, and all are in imprint mode.")
            }
            (false, _) => {
                let mut aspects: Vec<&str> = self.differences.iter().map(|d| d.aspect.name()).collect();
                aspects.dedup();
                format!("WARNING: the crypto units differ in {}.", aspects.join(", "))
            }
        }
    }
}

/// Permissions of a unit of this kind.
#[must_use]
pub const fn permissions_of(kind: UnitKind) -> Permissions {
    match kind {
        UnitKind::Operational | UnitKind::Failover => Permissions::operational(),
        UnitKind::Recovery => Permissions::recovery(),
    }
}

#[cfg(test)]
mod tests;
