//! What a rehearsal has found so far. It outlives a run that is interrupted.

use super::checks::Ending;
use super::measure::Marks;
use super::model::{Human, HumanStep, Readiness};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a rehearsal has found so far.
#[derive(Default)]
pub(super) struct Progress {
    found: Mutex<Found>,
}

/// What a rehearsal has found.
#[derive(Clone, Default)]
pub(super) struct Found {
    pub(super) marks: Marks,
    pub(super) human: Human,
    pub(super) before: Option<Readiness>,
    pub(super) ending: Option<Ending>,
    /// Why the rehearsal proves nothing.
    pub(super) void: Vec<String>,
    /// What did not work after the fault.
    pub(super) failures: Vec<String>,
}

impl Progress {
    pub(super) fn found(&self) -> Found {
        self.lock().clone()
    }

    pub(super) fn mark(&self, mark: impl FnOnce(&mut Marks)) {
        mark(&mut self.lock().marks);
    }

    pub(super) fn marks(&self) -> Marks {
        self.lock().marks
    }

    pub(super) fn is_ready_before(&self, readiness: Readiness) {
        self.lock().before = Some(readiness);
    }

    pub(super) fn ends_as(&self, ending: Ending) {
        self.lock().ending = Some(ending);
    }

    pub(super) fn add_void(&self, why: String) {
        self.lock().void.push(why);
    }

    pub(super) fn add_failure(&self, why: String) {
        self.lock().failures.push(why);
    }

    pub(super) fn add_order(&self, step: HumanStep) {
        let human = &mut self.lock().human;
        human.total_ms += step.decision_ms + step.took_ms;
        human.steps.push(step);
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
