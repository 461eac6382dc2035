//! What every operation is told of the request it serves.

use std::time::{Duration, Instant};

use keystore::Deadline;

use crate::{InstanceId, KmsError};

/// One request of one caller.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The instance it is about.
    pub instance: InstanceId,
    /// Who asks: the caller's `iam_id`, authenticated.
    pub caller: &'a str,
    /// How long the caller still waits.
    pub deadline: Duration,
}

/// A deadline that runs while an operation takes its steps. By the machine's clock, which nobody moves.
#[derive(Clone, Copy)]
pub(crate) struct Budget(Option<Instant>);

impl Budget {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self(Instant::now().checked_add(deadline))
    }

    /// What remains.
    ///
    /// # Errors
    /// [`KmsError::DeadlineExceeded`] when nothing does.
    pub(crate) fn remaining(self) -> Result<Duration, KmsError> {
        match self.0 {
            None => Ok(Duration::MAX),
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Err(KmsError::DeadlineExceeded),
                left => Ok(left),
            },
        }
    }

    pub(crate) fn store(self) -> Result<Deadline, KmsError> {
        self.remaining().map(Deadline)
    }
}
