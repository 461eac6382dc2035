//! Every row of the table, every combination, and that following the advice always leads out.

use unit_api::{NewRegister, VerificationPattern};

use super::{JournalState, Position, RotationPhase, Step, UnitState, resume};

const OLD: VerificationPattern = VerificationPattern::from_bytes([1; 32]);
const NEW: VerificationPattern = VerificationPattern::from_bytes([2; 32]);
const OTHER: VerificationPattern = VerificationPattern::from_bytes([3; 32]);

type Registers = (Option<VerificationPattern>, NewRegister);
/// Phase, units, what is to be done next, and what may be done as well.
type Row<'a> = (Option<RotationPhase>, &'a [Registers], &'a str, &'a [&'a str]);

/// Normal operation.
const S3: Registers = (Some(OLD), NewRegister::Empty);
/// Loaded, not committed.
const S4: Registers = (Some(OLD), NewRegister::FullUncommitted(NEW));
/// Loaded and committed.
const S5: Registers = (Some(OLD), NewRegister::FullCommitted(NEW));
/// Activated: the new master key is in the current register.
const S3_NEW: Registers = (Some(NEW), NewRegister::Empty);

fn units(registers: &[Registers]) -> Vec<UnitState> {
    let unit = |(registers, number): (&Registers, u16)| UnitState {
        number,
        registers: Some(*registers),
        excluded: false,
    };
    registers.iter().zip(1..).map(unit).collect()
}

fn position(phase: Option<RotationPhase>) -> Position {
    use RotationPhase::{Done, Finishing};
    let header = if matches!(phase, Some(Finishing | Done)) { NEW } else { OLD };
    let journal =
        phase.map(|phase| JournalState { phase, old: OLD, new: NEW, cancellable: phase.is_cancellable() });
    Position { header, journal }
}

/// The advice as text, patterns by their first digit.
fn advice(phase: Option<RotationPhase>, units: &[UnitState]) -> (String, Vec<String>) {
    let advice = resume(&position(phase), units);
    let short = |step: &Step| {
        let text = step.to_string();
        [(OLD, "OLD"), (NEW, "NEW"), (OTHER, "OTHER")]
            .iter()
            .fold(text, |text, (pattern, name)| text.replace(&pattern.to_string(), name))
    };
    (short(&advice.next), advice.also.iter().map(short).collect())
}

#[test]
fn each_row_of_the_table_of_interrupted_rotations() {
    use RotationPhase::{Activating, Cancelling, Done, Finishing, ReEnciphered, ReEnciphering};
    let cancel = "cancel the rotation";
    let other = (Some(OLD), NewRegister::FullUncommitted(OTHER));
    let late = (Some(OLD), NewRegister::FullCommitted(NEW));
    let rows: &[Row<'_>] = &[
        (None, &[S3, S3], "no step is needed", &[]),
        // Loading, interrupted.
        (None, &[S4, S3], "load the key parts of NEW into unit 2", &["clear the new master key of unit 1"]),
        (None, &[S5, S3], "load the key parts of NEW into unit 2", &["clear the new master key of unit 1"]),
        (
            None,
            &[S4, S4],
            "commit the new master key NEW on units 1, 2",
            &["clear the new master key of units 1, 2"],
        ),
        (
            None,
            &[S4, S5],
            "commit the new master key NEW on unit 1",
            &["clear the new master key of units 1, 2"],
        ),
        (None, &[S5, other], "clear the new master key of units 1, 2", &[]),
        (None, &[S5, S5], "begin the rotation to NEW", &["clear the new master key of units 1, 2"]),
        // Re-enciphering, interrupted.
        (Some(ReEnciphering), &[S5, S5], "continue re-enciphering keys", &[cancel]),
        (Some(ReEnciphering), &[S5, S3], "load the key parts of NEW into unit 2", &[cancel]),
        (Some(ReEnciphering), &[S5, S4], "commit the new master key NEW on unit 2", &[cancel]),
        (Some(ReEnciphering), &[S5, S3_NEW], "continue re-enciphering keys", &[]),
        (
            Some(ReEnciphering),
            &[S3_NEW, S3_NEW],
            "load OLD into the current and NEW into the new register of one of units 1, 2",
            &[],
        ),
        (
            Some(ReEnciphered),
            &[S5, S5],
            "begin the activation; after it the rotation cannot be cancelled",
            &[cancel],
        ),
        (
            Some(ReEnciphered),
            &[S5, S3_NEW],
            "begin the activation; after it the rotation cannot be cancelled",
            &[],
        ),
        // Activation, interrupted.
        (Some(Activating), &[S5, S5], "activate NEW on units 1, 2", &[]),
        (Some(Activating), &[S3_NEW, S5], "activate NEW on unit 2", &[]),
        (Some(Activating), &[S3_NEW, S3], "load the key parts of NEW into unit 2", &[]),
        (Some(Activating), &[S3_NEW, S3_NEW], "finish: make the new master key the instance's", &[]),
        // After it.
        (Some(Finishing), &[S3_NEW, S3_NEW], "continue removing the forms under the old master key", &[]),
        (
            Some(Finishing),
            &[S3_NEW, S3],
            "continue removing the forms under the old master key",
            &["exclude unit 2 and load, commit and activate NEW there"],
        ),
        (Some(Done), &[S3_NEW, S3_NEW], "no step is needed", &[]),
        (Some(Done), &[S3_NEW, S3], "exclude unit 2 and load, commit and activate NEW there", &[]),
        (Some(Done), &[S3_NEW, late], "activate NEW on unit 2", &[]),
        (Some(Done), &[S3_NEW, S4], "commit the new master key NEW on unit 2", &[]),
        // Cancelled.
        (
            Some(Cancelling),
            &[S5, S4],
            "continue removing the forms under the cancelled master key",
            &["clear the new master key of units 1, 2"],
        ),
    ];
    for (phase, registers, next, also) in rows {
        let found = advice(*phase, &units(registers));
        assert_eq!(
            found,
            ((*next).to_owned(), also.iter().map(|s| (*s).to_owned()).collect()),
            "{phase:?} {registers:?}"
        );
    }
}

#[test]
fn an_unreachable_unit_blocks_the_next_phase_until_it_is_excluded() {
    use RotationPhase::{Activating, ReEnciphered};
    for (phase, registers, then) in [
        (None, S5, "begin the rotation to NEW"),
        (Some(ReEnciphered), S5, "begin the activation; after it the rotation cannot be cancelled"),
        (Some(Activating), S3_NEW, "finish: make the new master key the instance's"),
    ] {
        let mut units = units(&[registers, registers]);
        units[1].registers = None;
        assert_eq!(advice(phase, &units).0, "make unit 2 reachable, or exclude them");
        units[1].excluded = true;
        assert_eq!(advice(phase, &units).0, then);
        units[0].excluded = true;
        assert!(!advice(phase, &units).0.starts_with("finish"), "a rotation must not finish without a unit");
    }
}

/// Every state that registers can be in, with three master keys.
fn all_registers() -> Vec<Option<Registers>> {
    let currents = [None, Some(OLD), Some(NEW), Some(OTHER)];
    let news = [OLD, NEW, OTHER]
        .into_iter()
        .flat_map(|pattern| [NewRegister::FullUncommitted(pattern), NewRegister::FullCommitted(pattern)]);
    let news: Vec<NewRegister> = std::iter::once(NewRegister::Empty).chain(news).collect();
    let states = currents.iter().flat_map(|current| news.iter().map(move |new| Some((*current, *new))));
    // No unit loads what its Current holds.
    let possible = |(current, new): &Registers| match (current, super::full(*new)) {
        (Some(current), Some((new, _))) => !current.is_of_same_key(&new),
        _ => true,
    };
    states.filter(|state| state.as_ref().is_none_or(possible)).chain([None]).collect()
}

#[test]
fn exhaustive_no_advice_loses_a_key() {
    use RotationPhase::{Activating, Cancelling, Done, Finishing, ReEnciphered, ReEnciphering};
    let states = all_registers();
    let phases = [None].into_iter().chain(RotationPhase::ALL.map(Some));
    for phase in phases {
        for (a, b) in states.iter().flat_map(|a| states.iter().map(move |b| (*a, *b))) {
            let units: Vec<UnitState> = [a, b]
                .into_iter()
                .zip(1..)
                .map(|(registers, number)| UnitState { number, registers, excluded: false })
                .collect();
            let advice = resume(&position(phase), &units);
            let moved = [a, b].iter().flatten().any(|(c, _)| c.is_some_and(|c| c.is_of_same_key(&NEW)));
            for step in std::iter::once(&advice.next).chain(&advice.also) {
                let what = || format!("{phase:?} {a:?} {b:?}: {step}");
                let allowed = match step {
                    Step::ClearNew { units: cleared } => {
                        // Never what keys depend on, or a unit waits for.
                        let header = position(phase).header;
                        let safe = cleared.iter().all(|n| {
                            let (current, new) = units[usize::from(*n) - 1].registers.unwrap();
                            current.is_some_and(|c| c.is_of_same_key(&header))
                                && super::full(new).is_some_and(|(p, _)| !p.is_of_same_key(&header))
                        });
                        matches!(phase, None | Some(Done | Cancelling)) && safe
                    }
                    Step::Cancel => matches!(phase, Some(ReEnciphering | ReEnciphered)) && !moved,
                    Step::LoadNew { units: loaded, pattern } => {
                        let empty = |n: &u16| {
                            matches!(units[usize::from(*n) - 1].registers, Some((_, NewRegister::Empty)))
                        };
                        let right = phase.is_none_or(|phase| phase == Done) || pattern.is_of_same_key(&NEW);
                        loaded.iter().all(empty) && right
                    }
                    Step::Activate { units: activated, pattern } => {
                        let approved = |n: &u16| {
                            let registers = units[usize::from(*n) - 1].registers;
                            matches!(registers, Some((_, NewRegister::FullCommitted(p))) if p.is_of_same_key(pattern))
                        };
                        // Before the activation only what the header names already.
                        let early = !matches!(phase, Some(Activating | Finishing | Done));
                        activated.iter().all(approved)
                            && pattern.is_of_same_key(if early { &OLD } else { &NEW })
                            && (!early || phase.is_none())
                    }
                    Step::Begin { new } => {
                        let header = position(phase).header;
                        let ready = |r: &Option<Registers>| {
                            r.is_some_and(|(c, n)| {
                                c.is_some_and(|c| c.is_of_same_key(&header))
                                    && matches!(n, NewRegister::FullCommitted(p) if p.is_of_same_key(new))
                            })
                        };
                        matches!(phase, None | Some(Done)) && [a, b].iter().all(ready)
                    }
                    Step::BeginActivation => phase == Some(ReEnciphered),
                    Step::Finish => {
                        let there = |r: &Option<Registers>| {
                            r.is_some_and(|(c, _)| c.is_some_and(|c| c.is_of_same_key(&NEW)))
                        };
                        phase == Some(Activating) && [a, b].iter().all(there)
                    }
                    Step::Reencipher => phase == Some(ReEnciphering),
                    Step::RemoveOldForms => phase == Some(Finishing),
                    Step::RemoveNewForms => phase == Some(Cancelling),
                    Step::RestoreOld { .. } => phase == Some(ReEnciphering),
                    Step::Reload { pattern, .. } => {
                        let late = matches!(phase, Some(Activating | Finishing | Done));
                        pattern.is_of_same_key(if late { &NEW } else { &OLD })
                    }
                    Step::CommitNew { .. } | Step::Reach { .. } | Step::Nothing => true,
                    Step::Contradiction(_) => false,
                };
                assert!(allowed, "{}", what());
            }
        }
    }
}

/// Carries a step out on a model of units and store.
fn carry_out(step: &Step, phase: &mut Option<RotationPhase>, units: &mut [UnitState]) {
    use RotationPhase::{Activating, Cancelling, Done, Finishing, ReEnciphered, ReEnciphering};
    let mut set = |numbers: &[u16], to: &dyn Fn(Registers) -> Registers| {
        for n in numbers {
            let registers = &mut units[usize::from(*n) - 1].registers;
            // An unreachable unit may turn out to be empty.
            *registers = Some(to(registers.unwrap_or((None, NewRegister::Empty))));
        }
    };
    match step {
        Step::Nothing | Step::Contradiction(_) => {}
        Step::Reach { units } => set(units, &|registers| registers),
        Step::LoadNew { units, pattern } => {
            set(units, &|(current, _)| (current, NewRegister::FullUncommitted(*pattern)));
        }
        Step::CommitNew { units, pattern } => {
            set(units, &|(current, _)| (current, NewRegister::FullCommitted(*pattern)));
        }
        Step::ClearNew { units } => set(units, &|(current, _)| (current, NewRegister::Empty)),
        Step::Activate { units, pattern } | Step::Reload { units, pattern } => {
            set(units, &|_| (Some(*pattern), NewRegister::Empty));
        }
        Step::RestoreOld { units, old, new } => {
            set(&units[..1], &|_| (Some(*old), NewRegister::FullCommitted(*new)));
        }
        Step::Begin { .. } => *phase = Some(ReEnciphering),
        Step::Reencipher => *phase = Some(ReEnciphered),
        Step::BeginActivation => *phase = Some(Activating),
        Step::Finish => *phase = Some(Finishing),
        Step::RemoveOldForms => *phase = Some(Done),
        Step::Cancel => *phase = Some(Cancelling),
        Step::RemoveNewForms => *phase = None,
    }
}

#[test]
fn exhaustive_following_the_advice_leads_to_one_master_key_on_all_units() {
    let states = all_registers();
    let phases = [None].into_iter().chain(RotationPhase::ALL.map(Some));
    for begun in phases {
        for (a, b) in states.iter().flat_map(|a| states.iter().map(move |b| (*a, *b))) {
            let mut phase = begun;
            let mut units: Vec<UnitState> = [a, b]
                .into_iter()
                .zip(1..)
                .map(|(registers, number)| UnitState { number, registers, excluded: false })
                .collect();
            let mut steps = Vec::new();
            loop {
                let position = position(phase);
                let advice = resume(&position, &units);
                steps.push(advice.next.to_string());
                assert!(steps.len() < 20, "{begun:?} {a:?} {b:?}: {steps:#?}");
                if matches!(advice.next, Step::Nothing) {
                    let at_rest = |unit: &UnitState| {
                        matches!(unit.registers, Some((Some(current), NewRegister::Empty))
                            if current.is_of_same_key(&position.header))
                    };
                    // The new register of a unit whose current key is the header's is not checked here.
                    assert!(units.iter().all(at_rest), "{begun:?} {a:?} {b:?}: {steps:#?}");
                    break;
                }
                // A rotation to another master key than the one under test is none of the model's.
                if let Step::Begin { new } = &advice.next
                    && !(new.is_of_same_key(&NEW) && position.header.is_of_same_key(&OLD))
                {
                    break;
                }
                carry_out(&advice.next, &mut phase, &mut units);
            }
        }
    }
}
