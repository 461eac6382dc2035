//! The next step that brings a unit closer to its goal. A pure function of the state that the unit reports.

use crate::admin_policy::{self, AdminPolicy, NoPath};
use crate::{AdminOperation, Snapshot};
use unit_api::admin::ControlPoints;
use unit_api::{Condition, NewRegister, VerificationPattern};

/// The wanted state of a unit.
#[derive(Clone, Debug)]
pub struct UnitGoal {
    /// Administrators, thresholds and permissions.
    pub policy: AdminPolicy,
    /// Control points; `None` leaves them as they are.
    pub control_points: Option<ControlPoints>,
    /// Content of the master-key registers.
    pub master_key: MasterKeyGoal,
}

/// Wanted content of the master-key registers.
#[derive(Clone, Copy, Debug)]
pub enum MasterKeyGoal {
    /// Leave both registers as they are.
    AsItIs,
    /// This master key in the current register, the new one empty.
    Current(VerificationPattern),
    /// Rotation before activation: the old master key in the current register, the new one committed in the new register.
    Rotating {
        /// Master key in the current register.
        old: VerificationPattern,
        /// Master key in the new register.
        new: VerificationPattern,
    },
    /// This master key committed in the new register, the current one empty.
    Committed(VerificationPattern),
}

/// The next step with a unit.
#[derive(Clone, Debug)]
pub enum ConvergeStep {
    /// The unit has reached its goal.
    Done,
    /// Execute this operation.
    Do(AdminOperation),
    /// Load this master key into the new register, from parts or from another unit.
    Load(VerificationPattern),
}

/// Reason why no step is taken automatically.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConvergeError {
    /// The unit is in its error state, with this error code.
    #[error("the crypto unit is in its error state (0x{0:04x}): zeroize it, then set it up again")]
    ErrorState(u16),
    /// No sequence of operations leads to the policy.
    #[error(transparent)]
    NoPath(#[from] NoPath),
    /// The unit holds another master key than the goal.
    #[error(
        "the crypto unit holds another master key ({found}) than the planned one ({expected}). It is not replaced, since \
         keys may depend on it: clear its current register only if none does, or rotate"
    )]
    OtherMasterKey {
        /// Master key in the unit.
        found: VerificationPattern,
        /// Master key of the goal.
        expected: VerificationPattern,
    },
    /// The unit has activated the new master key of a rotation already.
    #[error(
        "the crypto unit has activated the new master key ({0}) already: the rotation can only be completed"
    )]
    AlreadyActivated(VerificationPattern),
}

/// The next step towards the goal.
///
/// # Errors
/// [`ConvergeError`].
pub fn next_step(unit: &Snapshot, goal: &UnitGoal) -> Result<ConvergeStep, ConvergeError> {
    if let Condition::Error(code) = unit.condition {
        return Err(ConvergeError::ErrorState(code));
    }
    if let Some(operation) = admin_policy::operations(unit, &goal.policy)?.into_iter().next() {
        return Ok(ConvergeStep::Do(operation));
    }
    if let Some(points) = goal.control_points.filter(|points| *points != unit.control_points) {
        return Ok(ConvergeStep::Do(AdminOperation::SetControlPoints(points)));
    }
    key_step(unit, goal.master_key)
}

fn key_step(unit: &Snapshot, goal: MasterKeyGoal) -> Result<ConvergeStep, ConvergeError> {
    match goal {
        MasterKeyGoal::AsItIs => Ok(ConvergeStep::Done),
        MasterKeyGoal::Current(key) => match unit.current {
            Some(current) if current.is_of_same_key(&key) => Ok(match unit.new {
                NewRegister::Empty => ConvergeStep::Done,
                NewRegister::FullUncommitted(_) | NewRegister::FullCommitted(_) => {
                    ConvergeStep::Do(AdminOperation::ClearNew)
                }
            }),
            Some(found) => Err(ConvergeError::OtherMasterKey { found, expected: key }),
            None => Ok(match new_step(unit.new, key) {
                NewStep::Ready => ConvergeStep::Do(AdminOperation::Activate(key)),
                NewStep::Next(step) => step,
            }),
        },
        MasterKeyGoal::Committed(key) => match unit.current {
            Some(found) => Err(ConvergeError::OtherMasterKey { found, expected: key }),
            None => Ok(match new_step(unit.new, key) {
                NewStep::Ready => ConvergeStep::Done,
                NewStep::Next(step) => step,
            }),
        },
        MasterKeyGoal::Rotating { old, new } => match unit.current {
            Some(current) if current.is_of_same_key(&old) => Ok(match new_step(unit.new, new) {
                NewStep::Ready => ConvergeStep::Done,
                NewStep::Next(step) => step,
            }),
            Some(current) if current.is_of_same_key(&new) => Err(ConvergeError::AlreadyActivated(new)),
            Some(found) => Err(ConvergeError::OtherMasterKey { found, expected: old }),
            // The old master key is lost here; the new one does not open keys that are under the old one.
            None => Ok(match new_step(unit.new, old) {
                NewStep::Ready => ConvergeStep::Do(AdminOperation::Activate(old)),
                NewStep::Next(step) => step,
            }),
        },
    }
}

enum NewStep {
    /// The new register holds the key, committed.
    Ready,
    Next(ConvergeStep),
}

fn new_step(new: NewRegister, key: VerificationPattern) -> NewStep {
    match new {
        NewRegister::Empty => NewStep::Next(ConvergeStep::Load(key)),
        NewRegister::FullUncommitted(found) if found.is_of_same_key(&key) => {
            NewStep::Next(ConvergeStep::Do(AdminOperation::Commit(key)))
        }
        NewRegister::FullCommitted(found) if found.is_of_same_key(&key) => NewStep::Ready,
        // Left over from another ceremony; loading needs an empty register.
        NewRegister::FullUncommitted(_) | NewRegister::FullCommitted(_) => {
            NewStep::Next(ConvergeStep::Do(AdminOperation::ClearNew))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConvergeError, ConvergeStep, MasterKeyGoal, key_step};
    use crate::{AdminOperation, Snapshot};
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

    fn apply(unit: &mut Snapshot, step: &ConvergeStep) {
        match step {
            ConvergeStep::Load(key) => unit.new = NewRegister::FullUncommitted(*key),
            ConvergeStep::Do(AdminOperation::Commit(key)) => unit.new = NewRegister::FullCommitted(*key),
            ConvergeStep::Do(AdminOperation::ClearNew) => unit.new = NewRegister::Empty,
            ConvergeStep::Do(AdminOperation::Activate(key)) => {
                unit.current = Some(*key);
                unit.new = NewRegister::Empty;
            }
            other => panic!("{other:?}"),
        }
    }

    /// From every state to every goal: the goal or a refusal, and the key in the current register is never lost.
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
            MasterKeyGoal::AsItIs,
            MasterKeyGoal::Current(OLD),
            MasterKeyGoal::Committed(OLD),
            MasterKeyGoal::Rotating { old: OLD, new: NEW },
        ];
        let (mut reached, mut refused) = (0, 0);
        for current in currents {
            for new in &news {
                for goal in goals {
                    let mut unit = unit(current, *new);
                    let mut steps = 0;
                    loop {
                        match key_step(&unit, goal) {
                            Ok(ConvergeStep::Done) => {
                                reached += 1;
                                break;
                            }
                            Ok(step) => apply(&mut unit, &step),
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
        assert!(matches!(
            key_step(&unit, MasterKeyGoal::Rotating { old: OLD, new: NEW }),
            Err(ConvergeError::AlreadyActivated(_))
        ));
        assert!(matches!(
            key_step(&unit, MasterKeyGoal::Current(OLD)),
            Err(ConvergeError::OtherMasterKey { .. })
        ));
    }
}
