//! What must be so before a ceremony begins, every point of it looked at and reported.

use crate::compare::{Compared, Comparison};
use crate::quorum::Quorum;
use crate::{Snapshot, UnitKind};
use serde::Serialize;
use unit_api::{Condition, NewRegister, VerificationPattern};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What must be so.
    pub what: &'static str,
    /// Nothing, or what is not so and what to do.
    pub problem: Option<String>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether the ceremony may begin.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.problem.is_none())
    }

    /// What stands in the way.
    pub fn problems(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.problem.is_some())
    }
}

/// Which step of a rotation is to be taken.
#[derive(Clone, Copy, Debug)]
pub enum RotationStage {
    /// The new master key is about to be loaded from its parts.
    Load,
    /// The new master key is about to be generated in a recovery unit and copied to all others.
    LoadAutomatically,
    /// Blobs are about to be re-enciphered and units activated, to this key where it is known.
    Rotate(Option<VerificationPattern>),
}

/// What must be so before a master key is rotated. `listed` is how many units the instance has, `keystore` the pattern that the
/// keystore is under.
#[must_use]
pub fn rotation(
    comparison: &Comparison,
    listed: usize,
    quorum: &Quorum,
    stage: RotationStage,
    keystore: Option<VerificationPattern>,
) -> Report {
    let units = &comparison.units;
    let current = comparison.common_current();
    let mut checks = vec![
        check("all units of the instance are selected", || {
            (units.len() != listed)
                .then(|| format!("{} of {listed} are: select the others with `cryptounit-add`", units.len()))
        }),
        check("all units work", || {
            numbers(units, |u| u.condition != Condition::Operational).map(|n| {
                format!("units {n} are in their error state: zeroize them and copy the master key back")
            })
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
                "they differ or are empty: see `cryptounit-compare`; copy the right key with `auto-mk-recover`, or load it"
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
                    format!("not on units {n}: clear it with `cryptounit-mk-clrnew`, or go on with `resume`")
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
            (!one).then(|| "not so: load and commit the same new master key on every unit first".to_owned())
        }),
    });
    if matches!(stage, RotationStage::LoadAutomatically) {
        checks.push(check("a recovery unit is among them", || {
            (!units.iter().any(|unit| unit.listed.kind == UnitKind::Recovery)).then(|| {
                "none is: rotate with key parts instead (`cryptounit-mk-load`, `-mk-commit`, `-mk-rotate`)".to_owned()
            })
        }));
    }
    Report { checks }
}

/// Where an automatic initialization may begin: everywhere nothing, or at least one recovery unit with the master key
/// and the others empty or equal. Anything else is reported, never guessed.
#[must_use]
pub fn automatic(comparison: &Comparison, listed: usize, keystore: Option<VerificationPattern>) -> Report {
    let units = &comparison.units;
    let recovery = |unit: &&Compared| unit.listed.kind == UnitKind::Recovery;
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
        check("all units work", || {
            numbers(units, |u| u.condition != Condition::Operational)
                .map(|n| format!("units {n} are in their error state: zeroize them"))
        }),
        check("no unit holds a key that no recovery unit holds", || {
            let other =
                held.iter().any(|pattern| source.is_none_or(|source| !source.is_of_same_key(pattern)));
            other.then(|| {
                "at least one does, and nothing is guessed: see `cryptounit-compare`. Zeroize units only if the \
                 keystore holds nothing under their key"
                    .to_owned()
            })
        }),
        check("the keystore is empty, or under the recovery unit's key", || match (keystore, source) {
            (None, _) => None,
            (Some(stored), Some(source)) if stored.is_of_same_key(&source) => None,
            (Some(stored), _) => Some(format!(
                "it is under {stored}, which no recovery unit holds: a fresh master key would make every key in it \
                 unusable. Load the old one from its parts"
            )),
        }),
    ];
    Report { checks }
}

/// Whether activating `pattern` may go ahead over a keystore: never over one under another key.
#[must_use]
pub fn activation(pattern: VerificationPattern, keystore: Option<VerificationPattern>) -> Report {
    let checks = vec![check("the keystore is empty, or under this master key", || {
        keystore.filter(|stored| !stored.is_of_same_key(&pattern)).map(|stored| {
            format!(
                "it is under {stored}, not under {pattern}: activating would make every key in it unusable. \
                 Load the old key, or rotate with `cryptounit-mk-rotate`"
            )
        })
    })];
    Report { checks }
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

/// The numbers of the units of which it is so, if there are any.
fn numbers(units: &[Compared], so: impl Fn(&Snapshot) -> bool) -> Option<String> {
    let numbers: Vec<String> =
        units.iter().filter(|unit| so(&unit.snapshot)).map(|unit| unit.listed.number.to_string()).collect();
    (!numbers.is_empty()).then(|| numbers.join(", "))
}

fn alike<T: PartialEq>(units: &[Compared], of: impl Fn(&Snapshot) -> T) -> bool {
    units.windows(2).all(|pair| match pair {
        [a, b] => of(&a.snapshot) == of(&b.snapshot),
        _ => true,
    })
}

#[cfg(test)]
mod tests;
