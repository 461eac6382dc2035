//! From one set of administrators and thresholds to another, in an order that no rule of the unit forbids.

use crate::{Administrator, Order, Snapshot};
use tke_crypto::Ski;
use unit_api::admin::{Attributes, MAX_ADMINISTRATORS, MODE_LEFT_IMPRINT, Permissions};

/// Who is to rule a unit, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All administrators, and no other.
    pub administrators: Vec<Administrator>,
    /// Signatures that most commands need, 1 to 8.
    pub signature_threshold: u32,
    /// Signatures that removing an administrator needs, 1 to 8.
    pub revocation_threshold: u32,
    /// What is permitted.
    pub permissions: Permissions,
}

impl Rule {
    /// The rule of a unit as it is: a goal with it changes neither administrators nor thresholds. The certificates of the
    /// administrators are empty, since a unit does not report them.
    #[must_use]
    pub fn of(unit: &Snapshot) -> Self {
        let administrators = unit.administrators.iter().map(|entry| Administrator {
            name: entry.name().unwrap_or_default().to_owned(),
            ski: Ski(entry.ski),
            certificate: Vec::new(),
        });
        Self {
            administrators: administrators.collect(),
            signature_threshold: unit.attributes.signature_threshold,
            revocation_threshold: unit.attributes.revocation_threshold,
            permissions: unit.attributes.permissions,
        }
    }
}

/// Why there is no way from here to there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// What is wanted, no unit accepts.
    #[error("{0}")]
    Unlawful(&'static str),
    /// Those who stay are too few to sign the change.
    #[error(
        "only {kept} of the administrators installed now are to stay, but a change needs {needed} signatures: \
         keep more of them, and remove the others in a second step"
    )]
    TooFewKept {
        /// Administrators that are installed and stay.
        kept: usize,
        /// The thresholds in force.
        needed: usize,
    },
    /// Every order of steps breaks a rule on the way.
    #[error(
        "no order of steps is legal: the unit would at some point have more than {MAX_ADMINISTRATORS} administrators, \
         or fewer than a threshold asks for; go by an intermediate set"
    )]
    NoOrder,
}

/// The steps from a unit as it is to a rule, none if it is so ruled already.
///
/// # Errors
/// [`NoWay`], before anything was changed.
pub fn administration(unit: &Snapshot, rule: &Rule) -> Result<Vec<Order>, NoWay> {
    lawful(rule)?;
    let wanted = |ski: &[u8; 32]| rule.administrators.iter().any(|a| a.ski.as_bytes() == ski);
    let removed: Vec<Ski> =
        unit.administrators.iter().filter(|e| !wanted(&e.ski)).map(|e| Ski(e.ski)).collect();
    let added: Vec<Administrator> =
        rule.administrators.iter().filter(|a| !unit.has_administrator(&a.ski)).cloned().collect();
    let kept = unit.administrators.len() - removed.len();
    let now = unit.attributes;
    let to = Attributes {
        signature_threshold: rule.signature_threshold,
        revocation_threshold: rule.revocation_threshold,
        permissions: permissions(now, rule.permissions),
        mode: MODE_LEFT_IMPRINT,
    };
    if removed.is_empty() && added.is_empty() && now == to {
        return Ok(Vec::new());
    }
    let changes = Changes { removed, added, now, to };
    if now.imprint() {
        return Ok(changes.orders(&[Stage::Remove, Stage::Add, Stage::Set]));
    }
    let needed =
        now.signature_threshold.max(if changes.removed.is_empty() { 0 } else { now.revocation_threshold });
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    if kept < needed {
        return Err(NoWay::TooFewKept { kept, needed });
    }
    CANDIDATES
        .iter()
        .find(|stages| changes.is_legal(unit.administrators.len(), kept, stages))
        .map(|stages| changes.orders(stages))
        .ok_or(NoWay::NoOrder)
}

fn lawful(rule: &Rule) -> Result<(), NoWay> {
    let count = u32::try_from(rule.administrators.len()).unwrap_or(u32::MAX);
    let thresholds = [rule.signature_threshold, rule.revocation_threshold];
    let mut skis: Vec<_> = rule.administrators.iter().map(|a| a.ski).collect();
    skis.sort_unstable();
    let problem = if thresholds.iter().any(|t| !(1..=8).contains(t)) {
        "a threshold is from 1 to 8"
    } else if count > 8 {
        "a crypto unit has at most 8 administrators"
    } else if thresholds.iter().any(|t| *t > count) {
        "a threshold cannot be above the number of administrators: add administrators, or lower it"
    } else if thresholds.contains(&1) && !rule.permissions.contains(Permissions::ONE_SIGN) {
        "a threshold of 1 needs the permission 1SIGN"
    } else if skis.windows(2).any(|pair| pair.first() == pair.last()) {
        "two administrators have the same key"
    } else {
        return Ok(());
    };
    Err(NoWay::Unlawful(problem))
}

/// The permissions asked for, as far as the unit still lets them be changed: a bit that is locked stays as it is, a
/// change-control bit that is cleared stays cleared.
fn permissions(now: Attributes, wanted: Permissions) -> Permissions {
    let mut to = Permissions(wanted.0 & (now.permissions.0 | !Permissions::change_control().0));
    for (_, bit, control) in Permissions::TABLE {
        if control.is_some_and(|control| !now.permissions.contains(control)) {
            to = to.without(*bit).with(Permissions(now.permissions.0 & bit.0));
        }
    }
    to
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Remove,
    Add,
    SetRevocation,
    SetSignature,
    Set,
}

/// In order of preference: those who are to go lose their say first.
const CANDIDATES: &[&[Stage]] = &[
    &[Stage::Remove, Stage::Add, Stage::Set],
    &[Stage::SetRevocation, Stage::Remove, Stage::Add, Stage::Set],
    &[Stage::SetSignature, Stage::Remove, Stage::Add, Stage::Set],
    &[Stage::Set, Stage::Remove, Stage::Add],
    &[Stage::Add, Stage::Remove, Stage::Set],
    &[Stage::Add, Stage::Set, Stage::Remove],
];

struct Changes {
    removed: Vec<Ski>,
    added: Vec<Administrator>,
    now: Attributes,
    to: Attributes,
}

impl Changes {
    /// The attributes after each stage that sets some.
    fn after(&self, stage: Stage, before: Attributes) -> Attributes {
        match stage {
            Stage::Remove | Stage::Add => before,
            Stage::SetRevocation => {
                Attributes { revocation_threshold: self.to.revocation_threshold, ..before }
            }
            Stage::SetSignature => Attributes { signature_threshold: self.to.signature_threshold, ..before },
            Stage::Set => self.to,
        }
    }

    /// Whether no step of this order breaks a rule. Those who stay sign, and those who come once they are there.
    fn is_legal(&self, installed: usize, kept: usize, stages: &[Stage]) -> bool {
        let (mut count, mut able, mut attributes) = (installed, kept, self.now);
        for stage in stages {
            let sign = usize::try_from(attributes.signature_threshold).unwrap_or(usize::MAX);
            let revoke = usize::try_from(attributes.revocation_threshold).unwrap_or(usize::MAX);
            match stage {
                Stage::Add => {
                    count += self.added.len();
                    if !self.added.is_empty() && (able < sign || count > MAX_ADMINISTRATORS) {
                        return false;
                    }
                    able += self.added.len();
                }
                Stage::Remove => {
                    let fewest = if attributes.permissions.contains(Permissions::ONE_SIGN) { 1 } else { 2 };
                    count -= self.removed.len();
                    let breaks = count < sign || count < revoke || count < fewest;
                    if !self.removed.is_empty() && (able < revoke || breaks) {
                        return false;
                    }
                }
                Stage::SetRevocation | Stage::SetSignature | Stage::Set => {
                    let next = self.after(*stage, attributes);
                    if next == attributes {
                        continue;
                    }
                    let high = next.signature_threshold.max(next.revocation_threshold);
                    let low = next.signature_threshold.min(next.revocation_threshold);
                    let one = low == 1 && !next.permissions.contains(Permissions::ONE_SIGN);
                    if able < sign || usize::try_from(high).map_or(true, |high| high > count) || one {
                        return false;
                    }
                    attributes = next;
                }
            }
        }
        true
    }

    fn orders(&self, stages: &[Stage]) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut attributes = self.now;
        for stage in stages {
            match stage {
                Stage::Remove => orders.extend(self.removed.iter().copied().map(Order::RemoveAdministrator)),
                Stage::Add => orders.extend(self.added.iter().cloned().map(Order::AddAdministrator)),
                set => {
                    let next = self.after(*set, attributes);
                    if next != attributes {
                        orders.push(Order::SetAttributes(next));
                        attributes = next;
                    }
                }
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests;
