//! The next step of a rotation, decided from the stored state and the state of the units alone.

use std::fmt;

use unit_api::{NewRegister, VerificationPattern};

use super::RotationPhase;

/// The state of a unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitState {
    /// Number of the unit in the instance.
    pub number: u16,
    /// Current and New; `None` while the unit is unreachable.
    pub registers: Option<(Option<VerificationPattern>, NewRegister)>,
    /// Whether the unit was excluded by decision: it is ignored, and must not serve until it is reloaded.
    pub excluded: bool,
}

/// The stored position of a rotation.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Verification pattern in the instance's header.
    pub header: VerificationPattern,
    /// The journal of a rotation that is not done.
    pub journal: Option<JournalState>,
}

/// The journal of a rotation.
#[derive(Clone, Copy, Debug)]
pub struct JournalState {
    /// The present phase; of several instances, the earliest one.
    pub phase: RotationPhase,
    /// Verification pattern of the old master key.
    pub old: VerificationPattern,
    /// Verification pattern of the new master key.
    pub new: VerificationPattern,
    /// Whether the rotation can still be cancelled.
    pub cancellable: bool,
}

/// One step. Each can be repeated after an interruption.
#[derive(Clone, Debug)]
pub enum Step {
    /// No step: no rotation is in progress, and the units have the right master key.
    Nothing,
    /// Make the units reachable, or exclude them by decision.
    Reach {
        /// The units.
        units: Vec<u16>,
    },
    /// Load this master key into New, from the same parts as on the other units.
    LoadNew {
        /// The units.
        units: Vec<u16>,
        /// Verification pattern of the master key.
        pattern: VerificationPattern,
    },
    /// Commit New.
    CommitNew {
        /// The units.
        units: Vec<u16>,
        /// Verification pattern of the master key.
        pattern: VerificationPattern,
    },
    /// Clear New, which no key needs.
    ClearNew {
        /// The units.
        units: Vec<u16>,
    },
    /// Begin the rotation.
    Begin {
        /// Verification pattern of the new master key.
        new: VerificationPattern,
    },
    /// Continue re-enciphering keys.
    Reencipher,
    /// Record that units will be activated; afterwards the rotation cannot be cancelled.
    BeginActivation,
    /// Activate New.
    Activate {
        /// The units.
        units: Vec<u16>,
        /// Verification pattern of the master key.
        pattern: VerificationPattern,
    },
    /// Make the new master key the instance's.
    Finish,
    /// Continue removing forms under the old master key.
    RemoveOldForms,
    /// Cancel the rotation.
    Cancel,
    /// Continue removing forms under the new master key of a cancelled rotation.
    RemoveNewForms,
    /// Exclude the units and load this master key into Current.
    Reload {
        /// The units.
        units: Vec<u16>,
        /// Verification pattern of the master key.
        pattern: VerificationPattern,
    },
    /// No unit can re-encipher the remaining keys: one unit needs the old master key in Current again, and the new one in
    /// New.
    RestoreOld {
        /// The units to choose from.
        units: Vec<u16>,
        /// Verification pattern for Current.
        old: VerificationPattern,
        /// Verification pattern for New.
        new: VerificationPattern,
    },
    /// The stored state contradicts itself; the keystore must be restored.
    Contradiction(&'static str),
}

/// The next step and its alternatives.
#[derive(Clone, Debug)]
pub struct Advice {
    /// The next step.
    pub next: Step,
    /// Other permitted steps; no step beyond these is permitted.
    pub also: Vec<Step>,
}

/// The registers of a unit in relation to a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Excluded by decision.
    Excluded,
    Unreachable,
    /// Current is the new master key.
    Moved,
    /// Current is the old one, New the new one and committed.
    Ready,
    /// Current is the old one, New the new one and not committed.
    Uncommitted,
    /// Current is the old one, New is empty.
    Behind,
    /// Current is the old one, New is a different one: the unit serves and cannot re-encipher.
    Astray,
    /// Current is empty or another, New the new one and committed.
    Approved,
    /// Anything else: the unit does not serve and takes no part in the rotation.
    Stale,
}

/// Decides the next step of a rotation.
///
/// | journal | units | next | also |
/// |---|---|---|---|
/// | none or done | all Current = header, New empty | nothing | – |
/// | none or done | New full on some, empty on others | load the rest | clear New |
/// | none or done | New full on all, not committed on some | commit the rest | clear New |
/// | none or done | New differs among units | clear New | – |
/// | none or done | New committed on all | begin | clear New |
/// | none or done | Current other than header, New = header | commit or activate it there | – |
/// | none or done | Current other than header, New other | reload | – |
/// | re-enciphering | some lack New | load, commit | cancel |
/// | re-enciphering | at least one can re-encipher | re-encipher | cancel, while none has been activated |
/// | re-enciphering | none can, all answer | bring the old master key back | – |
/// | re-enciphered | some lack New | load, commit | cancel, while none has been activated |
/// | re-enciphered | all that count are ready | begin the activation | cancel, while none has been activated |
/// | activating | some are ready | activate them | – |
/// | activating | some lack New | load, commit | – |
/// | activating | all that count have the new master key | finish | – |
/// | finishing | any | remove old forms | reload those left behind |
/// | cancelling | any | remove new forms | clear New |
///
/// New is never cleared or replaced while keys may depend on it, and a random master key is never requested.
///
/// Source: the rows are the states in which HPCS can leave an interrupted rotation.
#[must_use]
pub fn resume(position: &Position, units: &[UnitState]) -> Advice {
    let Some(journal) = position.journal.filter(|journal| journal.phase != RotationPhase::Done) else {
        return without_journal(position.header, units);
    };
    let is_new = position.header.is_of_same_key(&journal.new);
    let is_old = position.header.is_of_same_key(&journal.old);
    if journal.old.is_of_same_key(&journal.new) {
        return only(Step::Contradiction("the journal leads from a master key to the same"));
    }
    match journal.phase {
        RotationPhase::Finishing | RotationPhase::Done if !is_new => only(Step::Contradiction(
            "the journal is finishing, and the header is not under the new master key",
        )),
        RotationPhase::Finishing | RotationPhase::Done => {
            let also = strays(position.header, units);
            Advice { next: Step::RemoveOldForms, also }
        }
        _ if !is_old => only(Step::Contradiction(
            "the journal is not finishing, and the header is not under the old master key",
        )),
        RotationPhase::ReEnciphering => Stands::new(&journal, units).re_enciphering(),
        RotationPhase::ReEnciphered => Stands::new(&journal, units).re_enciphered(),
        RotationPhase::Activating => Stands::new(&journal, units).activating(),
        RotationPhase::Cancelling => Stands::new(&journal, units).cancelling(),
    }
}

const fn only(next: Step) -> Advice {
    Advice { next, also: Vec::new() }
}

fn without_journal(header: VerificationPattern, units: &[UnitState]) -> Advice {
    let counted = || units.iter().filter(|unit| !unit.excluded);
    let unreachable: Vec<u16> =
        counted().filter(|unit| unit.registers.is_none()).map(|unit| unit.number).collect();
    // Units that serve, with what New holds and whether it is committed.
    let serving: Vec<(u16, Option<(VerificationPattern, bool)>)> = counted()
        .filter_map(|unit| match unit.registers {
            Some((Some(current), new)) if current.is_of_same_key(&header) => Some((unit.number, full(new))),
            _ => None,
        })
        .collect();
    let mut strays = strays(header, units);
    let patterns: Vec<VerificationPattern> =
        serving.iter().filter_map(|(_, new)| new.map(|(pattern, _)| pattern)).collect();
    let Some(new) = patterns.first().copied() else {
        let next = if !strays.is_empty() {
            strays.remove(0)
        } else if unreachable.is_empty() {
            Step::Nothing
        } else {
            Step::Reach { units: unreachable }
        };
        return Advice { next, also: strays };
    };
    let those = |wanted: fn(&Option<(VerificationPattern, bool)>) -> bool| -> Vec<u16> {
        serving.iter().filter(|(_, new)| wanted(new)).map(|(number, _)| *number).collect()
    };
    let clear = Step::ClearNew { units: those(Option::is_some) };
    if !patterns.iter().all(|pattern| pattern.is_of_same_key(&new)) {
        return Advice { next: clear, also: strays };
    }
    let (empty, uncommitted) = (those(Option::is_none), those(|new| new.is_some_and(|(_, yes)| !yes)));
    let next = if !empty.is_empty() {
        Step::LoadNew { units: empty, pattern: new }
    } else if !uncommitted.is_empty() {
        Step::CommitNew { units: uncommitted, pattern: new }
    } else if !unreachable.is_empty() {
        Step::Reach { units: unreachable }
    } else if !strays.is_empty() {
        strays.remove(0)
    } else {
        Step::Begin { new }
    };
    strays.push(clear);
    Advice { next, also: strays }
}

/// The steps for units whose Current is not the instance's master key, outside a rotation.
fn strays(header: VerificationPattern, units: &[UnitState]) -> Vec<Step> {
    let (mut activate, mut commit, mut reload) = (Vec::new(), Vec::new(), Vec::new());
    for unit in units.iter().filter(|unit| !unit.excluded) {
        let Some((current, new)) = unit.registers else { continue };
        if current.is_some_and(|current| current.is_of_same_key(&header)) {
            continue;
        }
        match full(new).filter(|(pattern, _)| pattern.is_of_same_key(&header)) {
            Some((_, true)) => activate.push(unit.number),
            Some((_, false)) => commit.push(unit.number),
            None => reload.push(unit.number),
        }
    }
    let pattern = header;
    [
        (!activate.is_empty()).then_some(Step::Activate { units: activate, pattern }),
        (!commit.is_empty()).then_some(Step::CommitNew { units: commit, pattern }),
        (!reload.is_empty()).then_some(Step::Reload { units: reload, pattern }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The pattern of New, and whether it is committed.
const fn full(new: NewRegister) -> Option<(VerificationPattern, bool)> {
    match new {
        NewRegister::Empty => None,
        NewRegister::FullUncommitted(pattern) => Some((pattern, false)),
        NewRegister::FullCommitted(pattern) => Some((pattern, true)),
    }
}

/// The units in relation to a rotation in progress.
struct Stands<'a> {
    journal: &'a JournalState,
    units: Vec<(u16, Stand)>,
    /// Units whose Current is the old master key and whose New is full.
    loaded: Vec<u16>,
}

impl<'a> Stands<'a> {
    fn new(journal: &'a JournalState, units: &[UnitState]) -> Self {
        let is_loaded = |unit: &&UnitState| {
            matches!(unit.registers, Some((Some(current), new))
                if current.is_of_same_key(&journal.old) && full(new).is_some())
        };
        Self {
            journal,
            units: units.iter().map(|unit| (unit.number, stand(journal, unit))).collect(),
            loaded: units.iter().filter(is_loaded).map(|unit| unit.number).collect(),
        }
    }

    fn those(&self, wanted: &[Stand]) -> Vec<u16> {
        self.units.iter().filter(|(_, stand)| wanted.contains(stand)).map(|(number, _)| *number).collect()
    }

    fn any(&self, wanted: &[Stand]) -> bool {
        !self.those(wanted).is_empty()
    }

    /// The step for these units, if there are any.
    fn step(&self, wanted: &[Stand], step: impl FnOnce(Vec<u16>) -> Step) -> Option<Step> {
        Some(self.those(wanted)).filter(|units| !units.is_empty()).map(step)
    }

    fn load(&self) -> Option<Step> {
        let pattern = self.journal.new;
        self.step(&[Stand::Behind], |units| Step::LoadNew { units, pattern })
    }

    fn commit(&self) -> Option<Step> {
        let pattern = self.journal.new;
        self.step(&[Stand::Uncommitted], |units| Step::CommitNew { units, pattern })
    }

    fn reach(&self) -> Option<Step> {
        self.step(&[Stand::Unreachable], |units| Step::Reach { units })
    }

    fn reload(&self, wanted: &[Stand], pattern: VerificationPattern) -> Option<Step> {
        self.step(wanted, |units| Step::Reload { units, pattern })
    }

    /// As long as no unit has been activated.
    fn cancel(&self) -> Option<Step> {
        (self.journal.cancellable && !self.any(&[Stand::Moved])).then_some(Step::Cancel)
    }

    fn advise(next: Step, also: [Option<Step>; 2]) -> Advice {
        Advice { next, also: also.into_iter().flatten().collect() }
    }

    fn re_enciphering(&self) -> Advice {
        let (old, new) = (self.journal.old, self.journal.new);
        // A unit that serves and cannot re-encipher would refuse its share of the commands.
        let next = self.load().or_else(|| self.commit());
        let next = next.or_else(|| self.reload(&[Stand::Astray], old));
        let next = next.or_else(|| self.any(&[Stand::Ready]).then_some(Step::Reencipher));
        let next = next.or_else(|| self.reach()).unwrap_or_else(|| {
            let units = self.those(&[Stand::Moved, Stand::Approved, Stand::Stale]);
            Step::RestoreOld { units, old, new }
        });
        let stale = [Stand::Stale, Stand::Approved];
        let reload = if matches!(next, Step::RestoreOld { .. }) { None } else { self.reload(&stale, old) };
        Self::advise(next, [self.cancel(), reload])
    }

    fn re_enciphered(&self) -> Advice {
        let stale = [Stand::Stale, Stand::Astray, Stand::Approved];
        let reload = self.reload(&stale, self.journal.old);
        let next = self.load().or_else(|| self.commit()).or_else(|| self.reach());
        match (next, reload) {
            (Some(next), reload) => Self::advise(next, [self.cancel(), reload]),
            // Every unit that is not excluded must take part.
            (None, Some(reload)) => Self::advise(reload, [self.cancel(), None]),
            (None, None) if self.any(&[Stand::Ready, Stand::Moved]) => {
                Self::advise(Step::BeginActivation, [self.cancel(), None])
            }
            (None, None) => {
                Self::advise(Step::Reach { units: self.those(&[Stand::Excluded]) }, [self.cancel(), None])
            }
        }
    }

    fn activating(&self) -> Advice {
        let pattern = self.journal.new;
        let activate = self.step(&[Stand::Ready, Stand::Approved], |units| Step::Activate { units, pattern });
        let stale = self.reload(&[Stand::Stale, Stand::Astray], pattern);
        let mut steps: Vec<Step> =
            [activate, self.commit(), self.load(), stale, self.reach()].into_iter().flatten().collect();
        if steps.is_empty() && self.any(&[Stand::Moved]) {
            return only(Step::Finish);
        }
        if steps.is_empty() {
            return only(Step::Reach { units: self.those(&[Stand::Excluded]) });
        }
        let next = steps.remove(0);
        Advice { next, also: steps }
    }

    fn cancelling(&self) -> Advice {
        let clear = Some(self.loaded.clone()).filter(|units| !units.is_empty());
        let stale = [Stand::Moved, Stand::Stale, Stand::Approved];
        let clear = clear.map(|units| Step::ClearNew { units });
        Self::advise(Step::RemoveNewForms, [clear, self.reload(&stale, self.journal.old)])
    }
}

fn stand(journal: &JournalState, unit: &UnitState) -> Stand {
    if unit.excluded {
        return Stand::Excluded;
    }
    let Some((current, new)) = unit.registers else { return Stand::Unreachable };
    let is = |found: Option<VerificationPattern>, pattern: &VerificationPattern| {
        found.is_some_and(|found| found.is_of_same_key(pattern))
    };
    let ours = full(new).filter(|(pattern, _)| pattern.is_of_same_key(&journal.new)).map(|(_, yes)| yes);
    if is(current, &journal.new) {
        return Stand::Moved;
    }
    match (is(current, &journal.old), ours, new) {
        (true, Some(true), _) => Stand::Ready,
        (true, Some(false), _) => Stand::Uncommitted,
        (true, None, NewRegister::Empty) => Stand::Behind,
        (false, Some(true), _) => Stand::Approved,
        (true, None, _) => Stand::Astray,
        (false, _, _) => Stand::Stale,
    }
}

/// The numbers of units as text.
struct Numbers<'a>(&'a [u16]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "unit " } else { "units " })?;
        for (i, number) in self.0.iter().enumerate() {
            write!(f, "{}{number}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no step is needed"),
            Self::Reach { units } => write!(f, "make {} reachable, or exclude them", Numbers(units)),
            Self::LoadNew { units, pattern } => {
                write!(f, "load the key parts of {pattern} into {}", Numbers(units))
            }
            Self::CommitNew { units, pattern } => {
                write!(f, "commit the new master key {pattern} on {}", Numbers(units))
            }
            Self::ClearNew { units } => write!(f, "clear the new master key of {}", Numbers(units)),
            Self::Begin { new } => write!(f, "begin the rotation to {new}"),
            Self::Reencipher => f.write_str("continue re-enciphering keys"),
            Self::BeginActivation => {
                f.write_str("begin the activation; after it the rotation cannot be cancelled")
            }
            Self::Activate { units, pattern } => write!(f, "activate {pattern} on {}", Numbers(units)),
            Self::Finish => f.write_str("finish: make the new master key the instance's"),
            Self::RemoveOldForms => f.write_str("continue removing the forms under the old master key"),
            Self::Cancel => f.write_str("cancel the rotation"),
            Self::RemoveNewForms => f.write_str("continue removing the forms under the cancelled master key"),
            Self::Reload { units, pattern } => {
                write!(f, "exclude {} and load, commit and activate {pattern} there", Numbers(units))
            }
            Self::RestoreOld { units, old, new } => write!(
                f,
                "load {old} into the current and {new} into the new register of one of {}",
                Numbers(units)
            ),
            Self::Contradiction(what) => write!(f, "restore the keystore: {what}"),
        }
    }
}

#[cfg(test)]
mod tests;
