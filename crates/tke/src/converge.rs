//! What brings a unit one step nearer to what it should be. Pure: from what the unit says, never from what was sent.

use crate::plan::{self, NoWay, Rule};
use crate::{Order, Snapshot};
use unit_api::admin::ControlPoints;
use unit_api::{Condition, NewRegister, VerificationPattern};

/// What a unit should be.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Who rules it.
    pub rule: Rule,
    /// Control points; as they are where none are given.
    pub control_points: Option<ControlPoints>,
    /// What its registers hold.
    pub master_key: KeyGoal,
}

/// What the registers of a unit should hold.
#[derive(Clone, Copy, Debug)]
pub enum KeyGoal {
    /// Whatever they do.
    AsItIs,
    /// This key in Current, nothing in New.
    Current(VerificationPattern),
    /// The old key in Current, the new one committed in New: half way through a rotation.
    Rotating {
        /// In Current.
        old: VerificationPattern,
        /// In New.
        new: VerificationPattern,
    },
    /// This key in New, committed, and nothing in Current yet.
    Committed(VerificationPattern),
}

/// What to do next with a unit.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing: it is what it should be.
    Done,
    /// One command.
    Do(Order),
    /// Bring the key with this pattern into New, from parts or from another unit.
    Load(VerificationPattern),
}

/// Why nothing should be done to a unit without somebody thinking about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stuck {
    /// The unit does not work.
    #[error("the crypto unit is in its error state (0x{0:04x}): zeroize it, then it can be set up anew")]
    Broken(u16),
    /// There is no legal way to the rule.
    #[error(transparent)]
    NoWay(#[from] NoWay),
    /// The unit holds a master key that is not the goal's.
    #[error(
        "the crypto unit holds another master key ({found}) than this one ({expected}). It is left alone, since blobs \
         may depend on it: clear its current register only if they don't, or rotate"
    )]
    OtherMasterKey {
        /// What it holds.
        found: VerificationPattern,
        /// What it should hold.
        expected: VerificationPattern,
    },
    /// The unit has already taken the step that the goal is still before.
    #[error(
        "the crypto unit has activated the new master key ({0}) already: the rotation can only go forward"
    )]
    Ahead(VerificationPattern),
}

/// The next step for a unit.
///
/// # Errors
/// [`Stuck`].
pub fn next_step(unit: &Snapshot, goal: &Goal) -> Result<Step, Stuck> {
    if let Condition::Error(code) = unit.condition {
        return Err(Stuck::Broken(code));
    }
    if let Some(order) = plan::administration(unit, &goal.rule)?.into_iter().next() {
        return Ok(Step::Do(order));
    }
    if let Some(points) = goal.control_points.filter(|points| *points != unit.control_points) {
        return Ok(Step::Do(Order::SetControlPoints(points)));
    }
    key_step(unit, goal.master_key)
}

fn key_step(unit: &Snapshot, goal: KeyGoal) -> Result<Step, Stuck> {
    match goal {
        KeyGoal::AsItIs => Ok(Step::Done),
        KeyGoal::Current(key) => match unit.current {
            Some(current) if current.is_of_same_key(&key) => Ok(match unit.new {
                NewRegister::Empty => Step::Done,
                NewRegister::FullUncommitted(_) | NewRegister::FullCommitted(_) => Step::Do(Order::ClearNew),
            }),
            Some(found) => Err(Stuck::OtherMasterKey { found, expected: key }),
            None => Ok(match new_step(unit.new, key) {
                NewStep::Ready => Step::Do(Order::Activate(key)),
                NewStep::Next(step) => step,
            }),
        },
        KeyGoal::Committed(key) => match unit.current {
            Some(found) => Err(Stuck::OtherMasterKey { found, expected: key }),
            None => Ok(match new_step(unit.new, key) {
                NewStep::Ready => Step::Done,
                NewStep::Next(step) => step,
            }),
        },
        KeyGoal::Rotating { old, new } => match unit.current {
            Some(current) if current.is_of_same_key(&old) => Ok(match new_step(unit.new, new) {
                NewStep::Ready => Step::Done,
                NewStep::Next(step) => step,
            }),
            Some(current) if current.is_of_same_key(&new) => Err(Stuck::Ahead(new)),
            Some(found) => Err(Stuck::OtherMasterKey { found, expected: old }),
            // Its old key is lost; the new one would not open what is still under the old.
            None => Ok(match new_step(unit.new, old) {
                NewStep::Ready => Step::Do(Order::Activate(old)),
                NewStep::Next(step) => step,
            }),
        },
    }
}

enum NewStep {
    /// New holds the key, committed.
    Ready,
    Next(Step),
}

fn new_step(new: NewRegister, key: VerificationPattern) -> NewStep {
    match new {
        NewRegister::Empty => NewStep::Next(Step::Load(key)),
        NewRegister::FullUncommitted(found) if found.is_of_same_key(&key) => {
            NewStep::Next(Step::Do(Order::Commit(key)))
        }
        NewRegister::FullCommitted(found) if found.is_of_same_key(&key) => NewStep::Ready,
        // Somebody else's leftover; loading needs an empty register.
        NewRegister::FullUncommitted(_) | NewRegister::FullCommitted(_) => {
            NewStep::Next(Step::Do(Order::ClearNew))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyGoal, Step, Stuck, key_step};
    use crate::{Order, Snapshot};
    use unit_api::admin::{Attributes, ControlPoints, InstanceId};
    use unit_api::{Condition, NewRegister, Target, UnitId, VerificationPattern};

    const OLD: VerificationPattern = VerificationPattern::from_bytes([1; 32]);
    const NEW: VerificationPattern = VerificationPattern::from_bytes([2; 32]);
    const OTHER: VerificationPattern = VerificationPattern::from_bytes([3; 32]);

    fn unit(current: Option<VerificationPattern>, new: NewRegister) -> Snapshot {
        Snapshot {
            target: Target { unit: UnitId([1; 16]), domain_index: 0, domain_instance: 1 },
            transaction_counter: 0,
            current,
            new,
            attributes: Attributes::first(),
            control_points: ControlPoints::first(),
            instance: InstanceId([2; 16]),
            condition: Condition::Operational,
            administrators: Vec::new(),
            audit_records: 0,
            audit_head: [0; 32],
        }
    }

    fn carry_out(unit: &mut Snapshot, step: &Step) {
        match step {
            Step::Load(key) => unit.new = NewRegister::FullUncommitted(*key),
            Step::Do(Order::Commit(key)) => unit.new = NewRegister::FullCommitted(*key),
            Step::Do(Order::ClearNew) => unit.new = NewRegister::Empty,
            Step::Do(Order::Activate(key)) => {
                unit.current = Some(*key);
                unit.new = NewRegister::Empty;
            }
            other => panic!("{other:?}"),
        }
    }

    /// From every state to every goal: the goal, or a refusal, in at most four steps; and a key that is held in
    /// Current is never lost on the way.
    #[test]
    fn exhaustive_every_state_converges_or_is_refused_without_loss() {
        let keys = [OLD, NEW, OTHER];
        let currents = [None].into_iter().chain(keys.map(Some));
        let news: Vec<NewRegister> = [NewRegister::Empty]
            .into_iter()
            .chain(keys.map(NewRegister::FullUncommitted))
            .chain(keys.map(NewRegister::FullCommitted))
            .collect();
        let goals = [
            KeyGoal::AsItIs,
            KeyGoal::Current(OLD),
            KeyGoal::Committed(OLD),
            KeyGoal::Rotating { old: OLD, new: NEW },
        ];
        let (mut reached, mut refused) = (0, 0);
        for current in currents {
            for new in &news {
                for goal in goals {
                    let mut unit = unit(current, *new);
                    let mut steps = 0;
                    loop {
                        match key_step(&unit, goal) {
                            Ok(Step::Done) => {
                                reached += 1;
                                break;
                            }
                            Ok(step) => carry_out(&mut unit, &step),
                            Err(_) => {
                                refused += 1;
                                break;
                            }
                        }
                        steps += 1;
                        assert!(steps <= 8, "{current:?} {new:?} {goal:?}");
                        let same = |key: VerificationPattern| {
                            unit.current.is_some_and(|now| now.is_of_same_key(&key))
                        };
                        let held = current.is_none_or(same);
                        assert!(held, "{current:?} was lost on the way to {goal:?}");
                    }
                }
            }
        }
        assert_eq!(reached + refused, 4 * 7 * 4);
        assert!(reached > 40 && refused > 20, "{reached} {refused}");
    }

    #[test]
    fn an_activated_unit_is_not_taken_back() {
        let unit = unit(Some(NEW), NewRegister::Empty);
        assert!(matches!(key_step(&unit, KeyGoal::Rotating { old: OLD, new: NEW }), Err(Stuck::Ahead(_))));
        assert!(matches!(key_step(&unit, KeyGoal::Current(OLD)), Err(Stuck::OtherMasterKey { .. })));
    }
}
