//! What to do next, decided from what is stored and what the units show; never from what somebody remembers.

use std::fmt;

use unit_api::{NewRegister, VerificationPattern};

use super::RotationPhase;

/// A unit as the one who asks sees it.
#[derive(Clone, Copy, Debug)]
pub struct UnitState {
    /// Its number in the instance.
    pub number: u16,
    /// Its Current and New registers; none while it cannot be reached.
    pub registers: Option<(Option<VerificationPattern>, NewRegister)>,
    /// It was taken out by decision: it does not count, and must not serve until it is reloaded.
    pub excluded: bool,
}

/// Where a rotation stands, by what is stored.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// The pattern in the instance's header.
    pub header: VerificationPattern,
    /// The journal, if there is one of a rotation that is not done.
    pub journal: Option<JournalState>,
}

/// What the journal of a rotation says.
#[derive(Clone, Copy, Debug)]
pub struct JournalState {
    /// How far the rotation has come; of several instances, the one furthest behind.
    pub phase: RotationPhase,
    /// The pattern that it began with.
    pub old: VerificationPattern,
    /// The pattern that it leads to.
    pub new: VerificationPattern,
    /// Whether it can still be cancelled.
    pub cancellable: bool,
}

/// One thing to do. Each can be repeated, and left half done.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing: no rotation is under way, and the units are as they should be.
    Nothing,
    /// Make the units answer, or exclude them by decision.
    Reach {
        /// Which.
        units: Vec<u16>,
    },
    /// Load this master key, from the same parts as on the others, into New. Never another, never a random one.
    LoadNew {
        /// Into which.
        units: Vec<u16>,
        /// What it has to be.
        pattern: VerificationPattern,
    },
    /// Commit New.
    CommitNew {
        /// On which.
        units: Vec<u16>,
        /// What it has to be.
        pattern: VerificationPattern,
    },
    /// Clear New. Nothing is lost with it.
    ClearNew {
        /// On which.
        units: Vec<u16>,
    },
    /// Begin the rotation.
    Begin {
        /// To which master key.
        new: VerificationPattern,
    },
    /// Go on re-enciphering keys.
    Reencipher,
    /// Say that units will be activated: the last moment to cancel.
    BeginActivation,
    /// Activate New.
    Activate {
        /// On which.
        units: Vec<u16>,
        /// What it has to be.
        pattern: VerificationPattern,
    },
    /// Make the new master key the instance's.
    Finish,
    /// Go on removing what is under the old master key.
    RemoveOldForms,
    /// Give the rotation up.
    Cancel,
    /// Go on removing what is under the master key that was given up.
    RemoveNewForms,
    /// Take the units out and bring this master key into Current.
    Reload {
        /// Which.
        units: Vec<u16>,
        /// What it has to be.
        pattern: VerificationPattern,
    },
    /// No unit can re-encipher what is left: one has to get the old master key back into Current, and the new one into
    /// New.
    RestoreOld {
        /// Which could.
        units: Vec<u16>,
        /// Into Current.
        old: VerificationPattern,
        /// Into New.
        new: VerificationPattern,
    },
    /// What is stored contradicts itself; nothing is safe but to restore the keystore.
    Contradiction(&'static str),
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Advice {
    /// First.
    pub next: Step,
    /// What may be done as well, or instead; nothing else may.
    pub also: Vec<Step>,
}

/// How a unit's registers stand to a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Does not count.
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
    /// Current is the old one, New is another than the new one: it serves, and cannot re-encipher.
    Astray,
    /// Current is empty or another, New the new one and committed.
    Approved,
    /// Anything else: it serves nothing, and is no part of this rotation.
    Stale,
}

/// Decides what to do next.
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
/// New is never cleared, and never loaded with anything else, while keys may depend on it; a random master key is never
/// asked for.
///
/// Source: the rows are those in which HPCS leaves an interrupted rotation, told there by what its tool had printed.
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

/// What to do about units whose Current is not the instance's master key, where no rotation waits for them.
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

/// What New holds, and whether it is committed.
const fn full(new: NewRegister) -> Option<(VerificationPattern, bool)> {
    match new {
        NewRegister::Empty => None,
        NewRegister::FullUncommitted(pattern) => Some((pattern, false)),
        NewRegister::FullCommitted(pattern) => Some((pattern, true)),
    }
}

/// The units as they stand to a rotation that has begun.
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
        // A unit that serves and cannot re-encipher would refuse its share of the work.
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
            // Every unit that counts has to take part.
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

/// The units' numbers, as a person says them.
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
            Self::Nothing => f.write_str("nothing is to be done"),
            Self::Reach { units } => write!(f, "make {} answer, or exclude them", Numbers(units)),
            Self::LoadNew { units, pattern } => {
                write!(f, "load the key parts of {pattern} into {}", Numbers(units))
            }
            Self::CommitNew { units, pattern } => {
                write!(f, "commit the new master key {pattern} on {}", Numbers(units))
            }
            Self::ClearNew { units } => write!(f, "clear the new master key of {}", Numbers(units)),
            Self::Begin { new } => write!(f, "begin the rotation to {new}"),
            Self::Reencipher => f.write_str("go on re-enciphering keys"),
            Self::BeginActivation => {
                f.write_str("begin the activation; after it the rotation cannot be cancelled")
            }
            Self::Activate { units, pattern } => write!(f, "activate {pattern} on {}", Numbers(units)),
            Self::Finish => f.write_str("finish: make the new master key the instance's"),
            Self::RemoveOldForms => f.write_str("go on removing what is under the old master key"),
            Self::Cancel => f.write_str("cancel the rotation"),
            Self::RemoveNewForms => {
                f.write_str("go on removing what is under the master key that was given up")
            }
            Self::Reload { units, pattern } => {
                write!(f, "take {} out and load, commit and activate {pattern} there", Numbers(units))
            }
            Self::RestoreOld { units, old, new } => write!(
                f,
                "bring {old} back into the current and {new} into the new register of one of {}",
                Numbers(units)
            ),
            Self::Contradiction(what) => write!(f, "restore the keystore: {what}"),
        }
    }
}

#[cfg(test)]
mod tests;
