//! Administrators, thresholds and permissions of a unit, and the operations that lead from one set to another.
//!
//! A unit refuses some intermediate states, so that the order of the operations matters.

use crate::{AdminOperation, Administrator, Snapshot};
use tke_crypto::Ski;
use unit_api::admin::{Attributes, MAX_ADMINISTRATORS, MODE_LEFT_IMPRINT, Permissions};

/// Administrators of a unit, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPolicy {
    /// All administrators of the unit.
    pub administrators: Vec<Administrator>,
    /// Number of signatures that most commands need, 1 to 8.
    pub signature_threshold: u32,
    /// Number of signatures that the removal of an administrator needs, 1 to 8.
    pub revocation_threshold: u32,
    /// Permissions of the unit.
    pub permissions: Permissions,
}

impl AdminPolicy {
    /// The present policy of a unit. Used as a goal, it changes nothing. The administrators' certificates are empty, since
    /// a unit does not report them.
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

/// Reason why no sequence of operations leads to a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPath {
    /// No unit accepts the policy.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too few installed administrators are kept to sign the change.
    #[error(
        "a change needs {needed} signatures, and only {kept} of the installed administrators are kept: keep more of them, \
         and remove the others in a second step"
    )]
    TooFewKept {
        /// Number of installed administrators that are kept.
        kept: usize,
        /// Number of signatures that the present thresholds ask for.
        needed: usize,
    },
    /// Every sequence passes through a state that the unit refuses.
    #[error(
        "no sequence of operations is possible: the unit would have more than {MAX_ADMINISTRATORS} administrators in \
         between, or fewer than a threshold; use an intermediate set of administrators"
    )]
    NoSequence,
}

/// The operations that lead from the present state of a unit to a policy; none if the unit has it already.
///
/// # Errors
/// [`NoPath`].
pub fn operations(unit: &Snapshot, policy: &AdminPolicy) -> Result<Vec<AdminOperation>, NoPath> {
    check(policy)?;
    let wanted = |ski: &[u8; 32]| policy.administrators.iter().any(|a| a.ski.as_bytes() == ski);
    let removed: Vec<Ski> =
        unit.administrators.iter().filter(|e| !wanted(&e.ski)).map(|e| Ski(e.ski)).collect();
    let added: Vec<Administrator> =
        policy.administrators.iter().filter(|a| !unit.has_administrator(&a.ski)).cloned().collect();
    let kept = unit.administrators.len() - removed.len();
    let now = unit.attributes;
    let to = Attributes {
        signature_threshold: policy.signature_threshold,
        revocation_threshold: policy.revocation_threshold,
        permissions: permissions(now, policy.permissions),
        mode: MODE_LEFT_IMPRINT,
    };
    if removed.is_empty() && added.is_empty() && now == to {
        return Ok(Vec::new());
    }
    let changes = Changes { removed, added, now, to };
    if now.imprint() {
        return Ok(changes.operations(&[Stage::Remove, Stage::Add, Stage::Set]));
    }
    // Those who are added can sign, too, before a threshold is lowered.
    let lowers = to.revocation_threshold < now.revocation_threshold && changes.added.is_empty();
    let revokes = lowers || !changes.removed.is_empty();
    let needed = now.signature_threshold.max(if revokes { now.revocation_threshold } else { 0 });
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    if kept < needed {
        return Err(NoPath::TooFewKept { kept, needed });
    }
    CANDIDATES
        .iter()
        .find(|stages| changes.is_legal(unit.administrators.len(), kept, stages))
        .map(|stages| changes.operations(stages))
        .ok_or(NoPath::NoSequence)
}

fn check(policy: &AdminPolicy) -> Result<(), NoPath> {
    let count = u32::try_from(policy.administrators.len()).unwrap_or(u32::MAX);
    let thresholds = [policy.signature_threshold, policy.revocation_threshold];
    let mut skis: Vec<_> = policy.administrators.iter().map(|a| a.ski).collect();
    skis.sort_unstable();
    let problem = if thresholds.iter().any(|t| !(1..=8).contains(t)) {
        "a threshold is from 1 to 8"
    } else if count > 8 {
        "a crypto unit has at most 8 administrators"
    } else if thresholds.iter().any(|t| *t > count) {
        "a threshold is above the number of administrators: add administrators, or lower the threshold"
    } else if thresholds.contains(&1) && !policy.permissions.contains(Permissions::ONE_SIGN) {
        "a threshold of 1 needs the permission 1SIGN"
    } else if skis.windows(2).any(|pair| pair.first() == pair.last()) {
        "two administrators have the same key"
    } else {
        return Ok(());
    };
    Err(NoPath::Invalid(problem))
}

/// The wanted permissions, as far as the unit lets them be changed: a locked bit keeps its value, and a change-control bit
/// that is cleared stays cleared.
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

/// In order of preference: removed administrators lose their rights first.
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
    /// The attributes after a stage.
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

    /// Whether the unit accepts every stage of this sequence. Kept administrators sign, and added ones once they are
    /// installed.
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
                    let lowers = next.revocation_threshold < attributes.revocation_threshold;
                    let needed = if lowers { sign.max(revoke) } else { sign };
                    if able < needed || usize::try_from(high).map_or(true, |high| high > count) || one {
                        return false;
                    }
                    attributes = next;
                }
            }
        }
        true
    }

    fn operations(&self, stages: &[Stage]) -> Vec<AdminOperation> {
        let mut operations = Vec::new();
        let mut attributes = self.now;
        for stage in stages {
            match stage {
                Stage::Remove => {
                    operations.extend(self.removed.iter().copied().map(AdminOperation::RemoveAdministrator))
                }
                Stage::Add => {
                    operations.extend(self.added.iter().cloned().map(AdminOperation::AddAdministrator))
                }
                set => {
                    let next = self.after(*set, attributes);
                    if next != attributes {
                        operations.push(AdminOperation::SetAttributes(next));
                        attributes = next;
                    }
                }
            }
        }
        operations
    }
}

#[cfg(test)]
mod tests;
