//! Checks before a ceremony begins. Every check is made and reported, even after one has failed.

use crate::compare::{ComparedUnit, Comparison};
use crate::quorum::Quorum;
use crate::{Snapshot, UnitKind};
use serde::Serialize;
use unit_api::{Condition, NewRegister, VerificationPattern};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The condition that is checked.
    pub what: &'static str,
    /// `None` if it holds, else the problem and what to do about it.
    pub problem: Option<String>,
}

/// The result of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrecheckReport {
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl PrecheckReport {
    /// Whether the ceremony may begin.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.problem.is_none())
    }

    /// The checks that failed.
    pub fn problems(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.problem.is_some())
    }
}

/// The step of a rotation that is about to begin.
#[derive(Clone, Copy, Debug)]
pub enum RotationStage {
    /// The new master key is about to be loaded from its parts.
    Load,
    /// The new master key is about to be generated in a recovery unit and copied to all others.
    LoadAutomatically,
    /// Keys are about to be re-enciphered and units activated, under this master key if it is known.
    Rotate(Option<VerificationPattern>),
}

/// Checks before a master key is rotated. `listed` is the number of units that take part, `keystore` the pattern of the
/// master key that the keystore is under.
#[must_use]
pub fn rotation(
    comparison: &Comparison,
    listed: usize,
    quorum: &Quorum,
    stage: RotationStage,
    keystore: Option<VerificationPattern>,
) -> PrecheckReport {
    let units = &comparison.units;
    let current = comparison.common_current();
    let mut checks = vec![
        check("all units of the instance are selected", || {
            (units.len() != listed)
                .then(|| format!("{} of {listed} are: select the others with `cryptounit-add`", units.len()))
        }),
        check("no unit is in its error state", || {
            numbers(units, |u| u.condition != Condition::Operational)
                .map(|n| format!("units {n} are: zeroize them, and copy the master key to them again"))
        }),
        check("no unit is in imprint mode", || {
            numbers(units, |u| u.attributes.imprint())
                .map(|n| format!("units {n} are: initialize them as the others first"))
        }),
        check("the signature threshold is the same everywhere", || {
            (!alike(units, |u| u.attributes.signature_threshold))
                .then(|| "it differs: set it with `cryptounit-thrhld-set`".to_owned())
        }),
        check("the selected signature keys reach the threshold on every unit", || {
            let short = numbers(units, |u| {
                let able = quorum.keys().filter(|key| u.has_administrator(&key.ski())).count();
                able < usize::try_from(u.attributes.signature_threshold).unwrap_or(usize::MAX)
            });
            short.map(|n| {
                format!("not on units {n}: select more keys with `sigkey-sel`, or add them as administrators")
            })
        }),
        check("every current register is valid, with one pattern", || {
            current.is_none().then(|| {
                "they differ or are empty: see `cryptounit-compare`; copy the master key with `auto-mk-recover`, or load it"
                    .to_owned()
            })
        }),
        check("the keystore is under that pattern", || match (keystore, current) {
            (Some(stored), Some(current)) if !stored.is_of_same_key(&current) => {
                Some(format!("it is under {stored}, the units hold {current}"))
            }
            _ => None,
        }),
    ];
    checks.push(match stage {
        RotationStage::Load | RotationStage::LoadAutomatically => {
            check("every new register is empty", || {
                numbers(units, |u| !matches!(u.new, NewRegister::Empty)).map(|n| {
                    format!(
                        "not on units {n}: clear it with `cryptounit-mk-clrnew`, or continue with `resume`"
                    )
                })
            })
        }
        RotationStage::Rotate(expected) => check("every new register is committed, with one pattern", || {
            let patterns: Option<Vec<_>> = units.iter().map(|unit| committed(&unit.snapshot)).collect();
            let first = patterns.as_ref().and_then(|patterns| patterns.first().copied());
            let wanted = expected.or(first);
            let one = patterns.zip(wanted).is_some_and(|(patterns, wanted)| {
                patterns.iter().all(|pattern| pattern.is_of_same_key(&wanted))
            });
            (!one).then(|| "load and commit the same new master key on every unit first".to_owned())
        }),
    });
    if matches!(stage, RotationStage::LoadAutomatically) {
        checks.push(check("a recovery unit is among them", || {
            (!units.iter().any(|unit| unit.listed.kind == UnitKind::Recovery)).then(|| {
                "none is: rotate with key parts instead (`cryptounit-mk-load`, `-mk-commit`, `-mk-rotate`)".to_owned()
            })
        }));
    }
    PrecheckReport { checks }
}

/// Checks before an automatic initialization. Either no unit holds a master key, or at least one recovery unit holds it and
/// the others are empty or hold the same.
#[must_use]
pub fn automatic(
    comparison: &Comparison,
    listed: usize,
    keystore: Option<VerificationPattern>,
) -> PrecheckReport {
    let units = &comparison.units;
    let recovery = |unit: &&ComparedUnit| unit.listed.kind == UnitKind::Recovery;
    let held: Vec<VerificationPattern> = units.iter().filter_map(|unit| unit.snapshot.current).collect();
    let source = units.iter().filter(recovery).find_map(|unit| unit.snapshot.current);
    let checks = vec![
        check("all units of the instance are included", || {
            (units.len() != listed)
                .then(|| format!("{} of {listed} are: the automatic method takes all", units.len()))
        }),
        check("a recovery unit is among them", || {
            (!units.iter().any(|unit| recovery(&unit)))
                .then(|| "none is: use key parts or smart cards instead".to_owned())
        }),
        check("no unit is in its error state", || {
            numbers(units, |u| u.condition != Condition::Operational)
                .map(|n| format!("units {n} are: zeroize them"))
        }),
        check("no unit holds a key that no recovery unit holds", || {
            let other =
                held.iter().any(|pattern| source.is_none_or(|source| !source.is_of_same_key(pattern)));
            other.then(|| {
                "at least one does: see `cryptounit-compare`. Zeroize units only if no key of the keystore is under their \
                 master key"
                    .to_owned()
            })
        }),
        check("the keystore is empty, or under the recovery unit's key", || match (keystore, source) {
            (None, _) => None,
            (Some(stored), Some(source)) if stored.is_of_same_key(&source) => None,
            (Some(stored), _) => Some(format!(
                "it is under {stored}, which no recovery unit holds: a new master key would make every key in it unusable. \
                 Load the old one from its parts"
            )),
        }),
    ];
    PrecheckReport { checks }
}

/// Checks before the master key `pattern` is activated: the keystore must not be under another one.
#[must_use]
pub fn activation(pattern: VerificationPattern, keystore: Option<VerificationPattern>) -> PrecheckReport {
    let checks = vec![check("the keystore is empty, or under this master key", || {
        keystore.filter(|stored| !stored.is_of_same_key(&pattern)).map(|stored| {
            format!(
                "it is under {stored}, not under {pattern}: activating would make every key in it unusable. \
                 Load the old key, or rotate with `cryptounit-mk-rotate`"
            )
        })
    })];
    PrecheckReport { checks }
}

fn check(what: &'static str, problem: impl FnOnce() -> Option<String>) -> Check {
    Check { what, problem: problem() }
}

fn committed(unit: &Snapshot) -> Option<VerificationPattern> {
    match unit.new {
        NewRegister::FullCommitted(pattern) => Some(pattern),
        NewRegister::Empty | NewRegister::FullUncommitted(_) => None,
    }
}

/// Numbers of the units that meet a condition, if there are any.
fn numbers(units: &[ComparedUnit], condition: impl Fn(&Snapshot) -> bool) -> Option<String> {
    let numbers: Vec<String> = units
        .iter()
        .filter(|unit| condition(&unit.snapshot))
        .map(|unit| unit.listed.number.to_string())
        .collect();
    (!numbers.is_empty()).then(|| numbers.join(", "))
}

fn alike<T: PartialEq>(units: &[ComparedUnit], of: impl Fn(&Snapshot) -> T) -> bool {
    units.windows(2).all(|pair| match pair {
        [a, b] => of(&a.snapshot) == of(&b.snapshot),
        _ => true,
    })
}

#[cfg(test)]
mod tests;
