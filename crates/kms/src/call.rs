//! The context of a request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keystore::Deadline;

use crate::replica::SourcePosition;
use crate::{InstanceId, KmsError};

/// One request of one caller.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The instance that the request concerns.
    pub instance: InstanceId,
    /// The authenticated caller's `iam_id`.
    pub caller: &'a str,
    /// Time that remains for the request.
    pub deadline: Duration,
    /// Where to note at which revision the request's change of a key is in the store.
    pub changed_at: Option<&'a ChangedAt>,
}

/// The revision that a request's change has in the store, once the change is made.
#[derive(Debug, Default)]
pub struct ChangedAt(Mutex<Option<SourcePosition>>);

impl ChangedAt {
    /// The last change; `None` if there was none.
    #[must_use]
    pub fn get(&self) -> Option<SourcePosition> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, at: SourcePosition) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// The time that remains for an operation, by the monotonic clock of the machine.
#[derive(Clone, Copy)]
pub(crate) struct TimeBudget(Option<Instant>);

impl TimeBudget {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self(Instant::now().checked_add(deadline))
    }

    /// The remaining time, if there is any.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some(until) => until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
        }
    }

    /// A part of the remaining time, for a step that has an alternative.
    pub(crate) fn share(self, part: u32) -> Self {
        self.remaining().map_or(self, |left| Self::new(left / part))
    }

    /// The remaining time as the deadline of a keystore operation.
    ///
    /// # Errors
    /// [`KmsError::DeadlineExceeded`] when no time remains.
    pub(crate) fn for_store(self) -> Result<Deadline, KmsError> {
        self.remaining().map(Deadline).ok_or(KmsError::DeadlineExceeded)
    }
}
