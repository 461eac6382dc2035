//! All units of an instance side by side, and every single difference between them.

use crate::{Listed, Snapshot, UnitKind};
use std::collections::BTreeMap;
use std::fmt;
use unit_api::admin::{ControlPoint, Permissions};
use unit_api::{Condition, NewRegister, VerificationPattern};
use wire::text::encode_hex;

/// What is compared, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Whether the unit works.
    Condition,
    /// The service instance that the unit belongs to.
    Instance,
    /// Signature threshold.
    SignatureThreshold,
    /// Revocation threshold.
    RevocationThreshold,
    /// Administrators, by key.
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

    /// As headings say it.
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

    /// The aspect of one unit, in a form that is equal exactly where the units are alike.
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

/// The 28 bytes of a pattern that count, in hexadecimal.
fn digits(pattern: &VerificationPattern) -> String {
    pattern.to_string().chars().take(56).collect()
}

/// One aspect in which units differ: every value with the numbers of the units that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In what.
    pub aspect: Aspect,
    /// Value and units, by value.
    pub values: BTreeMap<String, Vec<u16>>,
}

/// A unit among others: as it is listed, and as it says it is.
#[derive(Clone, Debug)]
pub struct Compared {
    /// As listed.
    pub listed: Listed,
    /// As it says.
    pub snapshot: Snapshot,
}

/// Units side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// In the order of their numbers.
    pub units: Vec<Compared>,
    /// Every difference.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Compares units.
    #[must_use]
    pub fn of(mut units: Vec<Compared>) -> Self {
        units.sort_by_key(|unit| unit.listed.number);
        let mut differences = Vec::new();
        for aspect in Aspect::ALL {
            // Units of different kinds are meant to have different permissions.
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

    /// Whether the units are configured alike.
    #[must_use]
    pub fn alike(&self) -> bool {
        self.differences.is_empty()
    }

    /// The pattern that every unit has in a valid Current, if so.
    #[must_use]
    pub fn common_current(&self) -> Option<VerificationPattern> {
        let first = self.units.first()?.snapshot.current?;
        let same = |unit: &Compared| unit.snapshot.current.is_some_and(|p| p.is_of_same_key(&first));
        self.units.iter().all(same).then_some(first)
    }

    /// Units in imprint mode.
    #[must_use]
    pub fn in_imprint_mode(&self) -> Vec<u16> {
        let imprint = |unit: &&Compared| unit.snapshot.attributes.imprint();
        self.units.iter().filter(imprint).map(|unit| unit.listed.number).collect()
    }

    /// The verdict in one line.
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

/// Permissions that a unit of this kind is given.
#[must_use]
pub const fn permissions_of(kind: UnitKind) -> Permissions {
    match kind {
        UnitKind::Operational | UnitKind::Failover => Permissions::operational(),
        UnitKind::Recovery => Permissions::recovery(),
    }
}

#[cfg(test)]
mod tests;
