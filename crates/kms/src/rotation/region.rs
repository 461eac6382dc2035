//! One rotation over all instances that share their units.

use keystore::Keystore;
use unit_api::VerificationPattern;

use super::{Advice, JournalState, Position, RotationPhase, resume};
use crate::{Call, InstanceId, Kms, KmsError, RotationError, RotationStatus, UnitState, Units};

/// A rotation of all instances whose keys are under the master key of the same units.
///
/// It has no state: every call reads the position of each instance, carries out the step where it is missing, and can be
/// repeated after any failure, also by another process.
pub struct RegionRotation<'a, S, U> {
    kms: &'a Kms<S, U>,
    instances: &'a [InstanceId],
    call: Call<'a>,
}

/// The rotation of all instances.
#[derive(Clone, Debug)]
pub struct RegionStatus {
    /// Their common position, for [`resume`].
    pub position: Position,
    /// The rotation of each instance, if it has one.
    pub instances: Vec<(InstanceId, Option<RotationStatus>)>,
}

/// Reason why a step was not carried out in every instance; completed steps are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The step failed in one instance.
    #[error("instance {instance}")]
    Instance {
        /// The instance.
        instance: InstanceId,
        /// The cause.
        source: RotationError,
    },
    /// The instances are not under one master key, or not in one rotation.
    #[error("the instances disagree: {0}")]
    Disagreement(&'static str),
    /// No instance exists.
    #[error("there is no instance")]
    NoInstance,
}

impl<'a, S: Keystore, U: Units> RegionRotation<'a, S, U> {
    /// A rotation of these instances; `call` has the caller, and the deadline of each step.
    #[must_use]
    pub const fn new(kms: &'a Kms<S, U>, instances: &'a [InstanceId], call: Call<'a>) -> Self {
        Self { kms, instances, call }
    }

    /// The common position of the instances.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn status(&self) -> Result<RegionStatus, RegionError> {
        let mut seen = Vec::with_capacity(self.instances.len());
        for call in self.calls() {
            let failed = |error: KmsError| failed(call.instance, error.into());
            let header = self.kms.rotation_position(&call).await.map_err(failed)?.header;
            seen.push((header, self.kms.rotation(&call).await.map_err(failed)?));
        }
        let position = combine(&seen).map_err(|error| match error {
            None => RegionError::NoInstance,
            Some(what) => RegionError::Disagreement(what),
        })?;
        let statuses = seen.into_iter().map(|(_, status)| status);
        Ok(RegionStatus { position, instances: self.instances.iter().copied().zip(statuses).collect() })
    }

    /// The next step.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn resume(&self, units: &[UnitState]) -> Result<Advice, RegionError> {
        Ok(resume(&self.status().await?.position, units))
    }

    /// Begins the rotation in every instance in which it has not begun.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn begin(&self, new: VerificationPattern) -> Result<RegionStatus, RegionError> {
        let status = self.status().await?;
        let under_way = status.under_way().map(|rotation| rotation.id);
        let drawn = self.kms.rotation_id();
        for call in self.calls() {
            let failed = |error| failed(call.instance, error);
            let id = match under_way {
                Some(id) => id,
                None => drawn.map_err(|error| failed(KmsError::from(error).into()))?,
            };
            self.kms.begin_rotation(&call, id, new).await.map_err(failed)?;
        }
        self.status().await
    }

    /// Processes the batches of the present phase in every instance. First begins the rotation in instances that an interrupted
    /// [`Self::begin`] has not reached.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn run(
        &self,
        mut progress: impl FnMut(InstanceId, &RotationStatus) + Send,
    ) -> Result<RegionStatus, RegionError> {
        let status = self.status().await?;
        let phase = status.position.journal.map(|journal| journal.phase);
        let to_begin = status.under_way().filter(|_| phase == Some(RotationPhase::ReEnciphering));
        let to_begin = to_begin.map(|rotation| (rotation.id, rotation.new));
        for call in self.calls() {
            let failed = |error| failed(call.instance, error);
            if let Some((id, new)) = to_begin {
                self.kms.begin_rotation(&call, id, new).await.map_err(failed)?;
            }
            match self.kms.run_rotation(&call, |status| progress(call.instance, status)).await {
                Ok(_) | Err(RotationError::NotUnderWay) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.status().await
    }

    /// Records in every instance that units will be activated, after all keys of all instances have both forms.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn begin_activation(&self) -> Result<RegionStatus, RegionError> {
        let ready = |status: &Option<RotationStatus>| {
            status.is_some_and(|s| matches!(s.phase, RotationPhase::ReEnciphered | RotationPhase::Activating))
        };
        self.check_all(ready, "beginning the activation").await?;
        for call in self.calls() {
            let failed = |error| failed(call.instance, error);
            self.kms.begin_activation(&call).await.map_err(failed)?;
        }
        self.status().await
    }

    /// Makes the new master key the master key of every instance, when every unit that is not excluded shows it.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn finish(&self, units: &[UnitState]) -> Result<RegionStatus, RegionError> {
        for call in self.calls() {
            let failed = |error| failed(call.instance, error);
            self.kms.finish_rotation(&call, units).await.map_err(failed)?;
        }
        self.status().await
    }

    /// Cancels the rotation of every instance before the first activation; [`Self::run`] then removes the new forms.
    ///
    /// # Errors
    /// [`RegionError`].
    pub async fn cancel(&self) -> Result<RegionStatus, RegionError> {
        let cancellable = |status: &Option<RotationStatus>| {
            status.is_none_or(|s| {
                s.phase.is_cancellable() || matches!(s.phase, RotationPhase::Cancelling | RotationPhase::Done)
            })
        };
        self.check_all(cancellable, "cancelling").await?;
        // All instances are marked before anything is removed, so that a cleaned one does not look as if it had to begin.
        for (call, (_, status)) in self.calls().zip(self.status().await?.instances) {
            let failed = |error| failed(call.instance, error);
            if status.is_some_and(|status| status.phase.is_cancellable()) {
                self.kms.cancel_rotation(&call).await.map_err(failed)?;
            }
        }
        self.status().await
    }

    async fn check_all(
        &self,
        is_ready: impl Fn(&Option<RotationStatus>) -> bool,
        doing: &'static str,
    ) -> Result<(), RegionError> {
        for (instance, status) in self.status().await?.instances {
            if !is_ready(&status) {
                let source = status.map_or(RotationError::NotUnderWay, |status| {
                    let instead = "query the next step";
                    RotationError::WrongPhase { doing, phase: status.phase, instead }
                });
                return Err(RegionError::Instance { instance, source });
            }
        }
        Ok(())
    }

    fn calls(&self) -> impl Iterator<Item = Call<'a>> {
        let call = self.call;
        self.instances.iter().map(move |instance| Call { instance: *instance, ..call })
    }
}

impl RegionStatus {
    /// The rotation that is in progress in some instance.
    #[must_use]
    pub fn under_way(&self) -> Option<RotationStatus> {
        let statuses = self.instances.iter().filter_map(|(_, status)| *status);
        statuses.into_iter().find(|status| status.phase != RotationPhase::Done)
    }
}

fn failed(instance: InstanceId, source: RotationError) -> RegionError {
    RegionError::Instance { instance, source }
}

/// The common position of several instances, from the header and journal of each. `Err(None)` without instances.
fn combine(
    instances: &[(VerificationPattern, Option<RotationStatus>)],
) -> Result<Position, Option<&'static str>> {
    use RotationPhase as Phase;
    let active: Vec<RotationStatus> =
        instances.iter().filter_map(|(_, s)| *s).filter(|status| status.phase != Phase::Done).collect();
    let Some(&first) = active.first() else {
        let (header, _) = *instances.first().ok_or(None)?;
        if !instances.iter().all(|(other, _)| other.is_of_same_key(&header)) {
            return Err(Some("they are under different master keys, and no rotation is in progress"));
        }
        return Ok(Position { header, journal: None });
    };
    if !active.iter().all(|status| status.id == first.id) {
        return Err(Some("they are in different rotations"));
    }
    let any = |wanted: Phase| active.iter().any(|status| status.phase == wanted);
    // An instance that is done counts as finishing.
    let is_over = |status: &RotationStatus| status.id == first.id && status.phase == Phase::Done;
    let over = any(Phase::Finishing) || instances.iter().any(|(_, s)| s.as_ref().is_some_and(is_over));
    let begun = |status: &Option<RotationStatus>| status.is_some_and(|status| status.id == first.id);
    let all_begun = instances.iter().all(|(_, status)| begun(status));
    let phase = if any(Phase::Cancelling) {
        Phase::Cancelling
    } else if any(Phase::ReEnciphering) || !all_begun {
        Phase::ReEnciphering
    } else if any(Phase::ReEnciphered) {
        Phase::ReEnciphered
    } else if any(Phase::Activating) {
        Phase::Activating
    } else {
        Phase::Finishing
    };
    let forward = over || any(Phase::Activating);
    match phase {
        Phase::Cancelling if forward => return Err(Some("some are cancelling, others are activating")),
        Phase::ReEnciphering if forward => return Err(Some("some are activating, others lack second forms")),
        Phase::ReEnciphered if over => return Err(Some("some are finishing, others are not activating")),
        _ => {}
    }
    let header = if phase == Phase::Finishing { first.new } else { first.old };
    let cancellable = phase.is_cancellable() && !forward;
    Ok(Position {
        header,
        journal: Some(JournalState { phase, old: first.old, new: first.new, cancellable }),
    })
}

#[cfg(test)]
mod tests {
    use super::{RotationPhase, RotationStatus, combine};
    use crate::RotationId;
    use jiff::Timestamp;
    use unit_api::VerificationPattern;

    const fn pattern(byte: u8) -> VerificationPattern {
        VerificationPattern::from_bytes([byte; 32])
    }

    fn instance(phase: Option<RotationPhase>) -> (VerificationPattern, Option<RotationStatus>) {
        use RotationPhase::{Done, Finishing};
        let header = if matches!(phase, Some(Finishing | Done)) { 2 } else { 1 };
        let status = phase.map(|phase| RotationStatus {
            id: RotationId([7; 16]),
            old: pattern(1),
            new: pattern(2),
            phase,
            done: 0,
            total: 0,
            started_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
        });
        (pattern(header), status)
    }

    /// Every pair of phases: those that an interrupted step can leave, and all others.
    #[test]
    fn exhaustive_two_instances_are_in_the_phase_of_the_one_behind() {
        use RotationPhase::{Activating, Cancelling, Done, Finishing, ReEnciphered, ReEnciphering};
        let all = [None].into_iter().chain(RotationPhase::ALL.map(Some));
        for (a, b) in all.clone().flat_map(|a| all.clone().map(move |b| (a, b))) {
            let found = combine(&[instance(a), instance(b)]);
            let mut pair = [a, b];
            pair.sort();
            let expected = match pair {
                [None, None] | [Some(Done), Some(Done)] => Some((None, false)),
                [None, Some(ReEnciphering | ReEnciphered)]
                | [Some(ReEnciphering), Some(ReEnciphering | ReEnciphered)] => {
                    Some((Some(ReEnciphering), true))
                }
                [Some(ReEnciphered), Some(ReEnciphered)] => Some((Some(ReEnciphered), true)),
                [Some(ReEnciphered), Some(Activating)] => Some((Some(ReEnciphered), false)),
                [Some(Activating), Some(Activating | Finishing | Done)] => Some((Some(Activating), false)),
                [Some(Finishing), Some(Finishing | Done)] => Some((Some(Finishing), false)),
                [None | Some(ReEnciphering | ReEnciphered | Cancelling), Some(Cancelling)] => {
                    Some((Some(Cancelling), false))
                }
                _ => None,
            };
            let found = found.ok().map(|position| {
                let journal = position.journal;
                (journal.map(|j| j.phase), journal.is_some_and(|j| j.cancellable))
            });
            assert_eq!(found, expected, "{a:?} {b:?}");
        }
    }
}
