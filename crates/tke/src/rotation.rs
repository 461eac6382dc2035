//! Rotation of the master key while every key stays in use: the customer's part, driven by the service's advice.
//!
//! A rotation has two sides. The service re-enciphers keys and knows, from its journal and from what units report, which
//! step comes next. Administrators load, commit and activate the new master key on the units. [`Rotation`] does the
//! administrators' steps and asks the service for its own, until nothing is left. An interrupted rotation is completed by
//! running it again.
//!
//! | service's advice | [`Rotation::run`] |
//! |---|---|
//! | `nothing` | ends |
//! | `begin` | asks the service to begin |
//! | `reencipher`, `remove-old-forms`, `remove-new-forms` | asks the service to continue, and waits for all keys |
//! | `begin-activation` | asks the service to leave the phase in which a rotation can be cancelled |
//! | `load`, `commit` | brings the new master key into the new register of every unit that lacks it, committed |
//! | `activate` | activates it on every unit that has it committed |
//! | `finish` | asks the service to make it the instance's master key |
//! | `reach` | with excluded units: takes the step that the service would advise without them; else fails |
//! | `clear-new`, `cancel`, `reload`, `restore-old`, `contradiction` | fails with the advice: an operator has to decide |

use crate::admin_policy::AdminPolicy;
use crate::ceremony::{Ceremony, CeremonyError, KeySource};
use crate::converge::{MasterKeyGoal, UnitGoal};
use crate::part::KeyPartHolder;
use crate::unit::{AdminUnitError, PortError, UnitPort, VerifiedUnit};
use crate::{AdminOperation, UnitDescriptor, UnitKind};
use std::time::Duration;
use unit_api::VerificationPattern;
use wire::tke::{Pattern, RotationAction, RotationPhase, RotationStatus, RotationStep};

/// Steps after which a rotation that does not end is given up. A rotation has fewer than ten.
const MAX_STEPS: usize = 32;
/// Time between two questions how many keys are processed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The port to the service's part of a rotation: [`wire::tke`] has its protocol.
pub trait RotationService: Send + Sync {
    /// Reports how far the rotation is, and what to do next.
    fn status(&self) -> impl Future<Output = Result<RotationStatus, PortError>> + Send;

    /// Takes a step of the service's. Every step can be repeated.
    fn act(&self, action: &RotationAction) -> impl Future<Output = Result<RotationStatus, PortError>> + Send;
}

/// The port that is told what happens: for display, and for going on after an interruption.
pub trait RotationObserver: Send {
    /// A recovery unit is about to generate the new master key. Returns once that is durable.
    ///
    /// # Errors
    /// The reason why it could not be stored; nothing is generated then.
    fn key_generation_begins(&mut self) -> Result<(), PortError>;

    /// The new master key was generated. Returns once its pattern is durable: it is what `generated` of
    /// [`Rotation::distribute`] is given after an interruption.
    ///
    /// # Errors
    /// The reason why it could not be stored; the rotation stops then.
    fn key_generated(&mut self, pattern: VerificationPattern) -> Result<(), PortError>;

    /// Work on a unit begins.
    fn unit_begins(&mut self, unit: &UnitDescriptor);

    /// Work on a unit has ended.
    fn unit_ended(&mut self, unit: &UnitDescriptor, result: Result<UnitChange, CeremonyError>);

    /// The service has processed `status.done` of `status.total` key versions of the present phase.
    fn keys_processed(&mut self, status: &RotationStatus);
}

/// Effect of a rotation step on one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitChange {
    /// The unit holds the new master key in its new register, committed.
    HoldsNew,
    /// The new register was cleared.
    Cleared,
    /// The unit did not hold the new master key; nothing was changed.
    Unchanged,
}

/// Reason why a rotation did not end. What was done stays done; run it again once the reason is removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// The service did not answer, or refused.
    #[error(transparent)]
    Service(PortError),
    /// A command to a unit failed.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// A unit did not report its state.
    #[error(transparent)]
    Unit(#[from] AdminUnitError),
    /// The observer could not store the state of the rotation.
    #[error("the state of the rotation could not be stored")]
    Store(#[source] PortError),
    /// The next step is an operator's decision. The text is the service's advice.
    #[error("the rotation needs a decision: {0}")]
    Decision(String),
    /// There is no rotation that could be cancelled.
    #[error("no rotation is under way")]
    NotUnderWay,
    /// No unit holds a current master key.
    #[error("no crypto unit holds a master key that could be rotated")]
    NoMasterKey,
    /// There is no recovery unit to generate the new master key in.
    #[error("no recovery crypto unit is among the units: a new master key can be generated only there")]
    NoRecoveryUnit,
    /// A recovery unit generated a master key and did not report its pattern.
    #[error("crypto unit {0} did not report the pattern of the master key that it generated")]
    PatternNotReported(u16),
    /// Some units did not get the new master key; the observer was told which, and why.
    #[error("{failed} of {total} crypto units did not get the new master key")]
    Incomplete {
        /// Units that failed or were not tried.
        failed: usize,
        /// All units of the rotation.
        total: usize,
    },
    /// The service keeps advising steps that were taken.
    #[error("the rotation does not end: the service advises steps that were taken already (last: {0})")]
    NoProgress(RotationStep),
}

/// A rotation of one instance's master key.
///
/// ```
/// use tke::rotation::{Rotation, RotationService};
/// use tke::unit::{UnitPort, VerifiedUnit};
///
/// fn prepare<'a, S: RotationService, P: UnitPort>(
///     service: &'a S,
///     units: &'a [VerifiedUnit<P>],
/// ) -> Rotation<'a, S, P> {
///     // Unit 3 is destroyed: it is loaded again later.
///     Rotation::new(service, units).excluding(&[3])
/// }
/// ```
pub struct Rotation<'a, S, P> {
    service: &'a S,
    units: &'a [VerifiedUnit<P>],
    parts: &'a [&'a dyn KeyPartHolder],
    exclude: &'a [u16],
    poll_interval: Duration,
}

impl<'a, S: RotationService, P: UnitPort> Rotation<'a, S, P> {
    /// A rotation over `units`: every unit of the instance but those that are excluded. A unit that is left out without
    /// being excluded would serve nothing after the rotation.
    pub const fn new(service: &'a S, units: &'a [VerifiedUnit<P>]) -> Self {
        Self { service, units, parts: &[], exclude: &[], poll_interval: POLL_INTERVAL }
    }

    /// Gives the parts of the new master key, for units that lack it where no recovery unit holds it.
    #[must_use]
    pub const fn with_parts(self, parts: &'a [&'a dyn KeyPartHolder]) -> Self {
        Self { parts, ..self }
    }

    /// Excludes units, by number: they have to be loaded again before they can serve.
    #[must_use]
    pub const fn excluding(self, exclude: &'a [u16]) -> Self {
        Self { exclude, ..self }
    }

    /// Sets the time between two questions how many keys are processed; 100 ms by default.
    #[must_use]
    pub const fn polling_every(self, poll_interval: Duration) -> Self {
        Self { poll_interval, ..self }
    }

    /// Generates a new master key in a recovery unit and brings it into the new register of every unit, committed.
    ///
    /// `generated` is the key that an earlier, interrupted call generated. It is used as long as a recovery unit holds
    /// it: never is a second key generated once keys may depend on the first.
    ///
    /// # Errors
    /// [`RotationError`]; [`RotationError::Incomplete`] once every unit was tried.
    pub async fn distribute(
        &self,
        ceremony: &mut Ceremony<'_>,
        observer: &mut dyn RotationObserver,
        generated: Option<VerificationPattern>,
    ) -> Result<VerificationPattern, RotationError> {
        let holder = match generated {
            Some(pattern) => self.holder_of(pattern).await?.map(|unit| (unit, pattern)),
            None => None,
        };
        let mut recovery = self.units.iter().filter(|unit| unit.listed().kind == UnitKind::Recovery);
        let source =
            holder.map(|(unit, _)| unit).or_else(|| recovery.next()).ok_or(RotationError::NoRecoveryUnit)?;
        let old = source.unit.snapshot().await?.current.ok_or(RotationError::NoMasterKey)?;
        observer.unit_begins(source.listed());
        let new = match holder {
            Some((_, pattern)) => pattern,
            None => {
                observer.key_generation_begins().map_err(RotationError::Store)?;
                let response = ceremony.execute(&source.unit, &AdminOperation::GenerateMasterKey).await?;
                let pattern = <[u8; 32]>::try_from(response.output.as_slice())
                    .map(VerificationPattern::from_bytes)
                    .map_err(|_| RotationError::PatternNotReported(source.number()))?;
                observer.key_generated(pattern).map_err(RotationError::Store)?;
                pattern
            }
        };
        let others = self.units.iter().filter(|unit| unit.number() != source.number());
        let mut done = 0;
        for unit in std::iter::once(source).chain(others) {
            if unit.number() != source.number() {
                observer.unit_begins(unit.listed());
            }
            let from = if unit.number() == source.number() {
                KeySource::None
            } else {
                KeySource::Unit { source: &source.unit, new: true }
            };
            let result = bring(ceremony, unit, old, new, &from).await;
            let stops = result.as_ref().is_err_and(CeremonyError::stops_ceremony);
            done += usize::from(result.is_ok());
            observer.unit_ended(unit.listed(), result.map(|()| UnitChange::HoldsNew));
            if stops {
                break;
            }
        }
        let total = self.units.len();
        if done == total { Ok(new) } else { Err(RotationError::Incomplete { failed: total - done, total }) }
    }

    /// Takes the advised steps until nothing is left, and returns the pattern of the new master key if it is known.
    ///
    /// `loaded` is the master key that was loaded for this rotation: it is what the service is asked to begin with.
    ///
    /// # Errors
    /// [`RotationError`].
    pub async fn run(
        &self,
        ceremony: &mut Ceremony<'_>,
        observer: &mut dyn RotationObserver,
        loaded: Option<VerificationPattern>,
    ) -> Result<Option<VerificationPattern>, RotationError> {
        let mut new = None;
        let mut last = RotationStep::Nothing;
        for _ in 0..MAX_STEPS {
            let status = self.service.status().await.map_err(RotationError::Service)?;
            new = status.new.map(pattern_of).or(new).or(loaded);
            last = self.effective_step(&status);
            if let Some(rotated) = new
                && self.has_ended(&status, rotated).await?
            {
                return Ok(new);
            }
            match last {
                RotationStep::Nothing => return Ok(new),
                RotationStep::Begin => {
                    let pattern = Pattern::new(*new.ok_or_else(|| decision(&status))?.as_bytes());
                    self.act(&RotationAction::Begin { exclude: self.exclude.to_vec(), pattern }).await?;
                }
                RotationStep::Reencipher | RotationStep::RemoveOldForms | RotationStep::RemoveNewForms => {
                    self.act(&RotationAction::Reencipher {}).await?;
                    self.wait_for_keys(observer).await?;
                }
                RotationStep::BeginActivation => {
                    self.act(&RotationAction::Activate { exclude: self.exclude.to_vec() }).await?;
                }
                RotationStep::Finish => {
                    self.act(&RotationAction::Finish { exclude: self.exclude.to_vec() }).await?;
                }
                RotationStep::Activate => {
                    let new = new.ok_or_else(|| decision(&status))?;
                    // The service advises again what a unit does not do now; only a failure of a unit ends the loop.
                    for unit in self.units {
                        if unit.unit.snapshot().await?.has_committed(new) {
                            ceremony.execute(&unit.unit, &AdminOperation::Activate(new)).await?;
                        }
                    }
                }
                RotationStep::Load | RotationStep::Commit => {
                    let old = status.old.map(pattern_of).ok_or_else(|| decision(&status))?;
                    let new = new.ok_or_else(|| decision(&status))?;
                    self.bring_everywhere(ceremony, old, new).await?;
                }
                RotationStep::Reach
                | RotationStep::ClearNew
                | RotationStep::Cancel
                | RotationStep::Reload
                | RotationStep::RestoreOld
                | RotationStep::Contradiction => return Err(decision(&status)),
            }
        }
        Err(RotationError::NoProgress(last))
    }

    /// Cancels the rotation and clears the new register of every unit that holds the new master key.
    ///
    /// # Errors
    /// [`RotationError`]; [`RotationError::Service`] if it is too late to cancel, [`RotationError::Incomplete`] once every
    /// unit was tried.
    pub async fn cancel(
        &self,
        ceremony: &mut Ceremony<'_>,
        observer: &mut dyn RotationObserver,
    ) -> Result<(), RotationError> {
        let status = self.service.status().await.map_err(RotationError::Service)?;
        let new = status.new.map(pattern_of).ok_or(RotationError::NotUnderWay)?;
        self.act(&RotationAction::Cancel {}).await?;
        self.wait_for_keys(observer).await?;
        let mut done = 0;
        for unit in self.units {
            observer.unit_begins(unit.listed());
            let result = clear_new(ceremony, unit, new).await;
            let stops = result.as_ref().is_err_and(CeremonyError::stops_ceremony);
            done += usize::from(result.is_ok());
            observer.unit_ended(unit.listed(), result);
            if stops {
                break;
            }
        }
        let total = self.units.len();
        if done == total { Ok(()) } else { Err(RotationError::Incomplete { failed: total - done, total }) }
    }

    /// Whether the rotation to this master key has ended and only excluded units lack it. The service, which knows nothing
    /// of excluded units, advises to reach or reload them.
    async fn has_ended(
        &self,
        status: &RotationStatus,
        new: VerificationPattern,
    ) -> Result<bool, RotationError> {
        let concerns_units = matches!(status.next, RotationStep::Reach | RotationStep::Reload);
        let under_way = !matches!(status.phase, None | Some(RotationPhase::Done));
        if self.exclude.is_empty() || !concerns_units || under_way {
            return Ok(false);
        }
        for unit in self.units {
            let current = unit.unit.snapshot().await?.current;
            if !current.is_some_and(|current| current.is_of_same_key(&new)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The step to take now. The service knows nothing of excluded units until it is told: it advises to reach them.
    fn effective_step(&self, status: &RotationStatus) -> RotationStep {
        if status.next != RotationStep::Reach || self.exclude.is_empty() {
            return status.next;
        }
        match status.phase {
            None | Some(RotationPhase::Done) => RotationStep::Begin,
            Some(RotationPhase::ReEnciphering) => RotationStep::Reencipher,
            Some(RotationPhase::ReEnciphered) => RotationStep::BeginActivation,
            Some(RotationPhase::Activating) => RotationStep::Finish,
            Some(RotationPhase::Finishing | RotationPhase::Cancelling) => RotationStep::Reach,
        }
    }

    async fn act(&self, action: &RotationAction) -> Result<RotationStatus, RotationError> {
        self.service.act(action).await.map_err(RotationError::Service)
    }

    /// Waits until the service has processed all keys of the present phase.
    async fn wait_for_keys(&self, observer: &mut dyn RotationObserver) -> Result<(), RotationError> {
        loop {
            let status = self.service.status().await.map_err(RotationError::Service)?;
            observer.keys_processed(&status);
            if !status.phase.is_some_and(RotationPhase::processes_keys) {
                return Ok(());
            }
            tokio::time::sleep(self.poll_interval).await;
        }
    }

    /// The recovery unit that holds `pattern` in its new register, if there is one.
    async fn holder_of(
        &self,
        pattern: VerificationPattern,
    ) -> Result<Option<&'a VerifiedUnit<P>>, RotationError> {
        for unit in self.units.iter().filter(|unit| unit.listed().kind == UnitKind::Recovery) {
            if unit.unit.snapshot().await?.holds_new(pattern) {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// Brings the new master key into every unit that does not have it as its current one yet.
    async fn bring_everywhere(
        &self,
        ceremony: &mut Ceremony<'_>,
        old: VerificationPattern,
        new: VerificationPattern,
    ) -> Result<(), RotationError> {
        let holder = self.holder_of(new).await?;
        for unit in self.units {
            let current = unit.unit.snapshot().await?.current;
            if current.is_some_and(|current| current.is_of_same_key(&new)) {
                continue;
            }
            let from = match holder {
                Some(holder) if holder.number() != unit.number() => {
                    KeySource::Unit { source: &holder.unit, new: true }
                }
                _ if !self.parts.is_empty() => KeySource::Parts(self.parts),
                _ => KeySource::None,
            };
            bring(ceremony, unit, old, new, &from).await?;
        }
        Ok(())
    }
}

/// Brings the new master key into the new register of a unit, committed.
async fn bring<P: UnitPort>(
    ceremony: &mut Ceremony<'_>,
    unit: &VerifiedUnit<P>,
    old: VerificationPattern,
    new: VerificationPattern,
    from: &KeySource<'_, P>,
) -> Result<(), CeremonyError> {
    let goal = UnitGoal {
        policy: AdminPolicy::of(&unit.snapshot),
        control_points: None,
        master_key: MasterKeyGoal::Rotating { old, new },
    };
    ceremony.converge(&unit.unit, &goal, from).await.map(drop)
}

/// Clears the new register of a unit if it holds the new master key.
async fn clear_new<P: UnitPort>(
    ceremony: &mut Ceremony<'_>,
    unit: &VerifiedUnit<P>,
    new: VerificationPattern,
) -> Result<UnitChange, CeremonyError> {
    if !unit.unit.snapshot().await?.holds_new(new) {
        return Ok(UnitChange::Unchanged);
    }
    ceremony.execute(&unit.unit, &AdminOperation::ClearNew).await?;
    Ok(UnitChange::Cleared)
}

fn pattern_of(pattern: Pattern) -> VerificationPattern {
    VerificationPattern::from_bytes(*pattern.as_bytes())
}

fn decision(status: &RotationStatus) -> RotationError {
    RotationError::Decision(status.advice.clone())
}
