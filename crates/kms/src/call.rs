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

    /// What remains, if anything does.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some(until) => until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
        }
    }

    /// A part of what remains, for a step after which there is another way.
    pub(crate) fn share(self, part: u32) -> Self {
        self.remaining().map_or(self, |left| Self::new(left / part))
    }

    /// What remains for a step in the keystore.
    ///
    /// # Errors
    /// [`KmsError::DeadlineExceeded`] when nothing does.
    pub(crate) fn for_store(self) -> Result<Deadline, KmsError> {
        self.remaining().map(Deadline).ok_or(KmsError::DeadlineExceeded)
    }
}
