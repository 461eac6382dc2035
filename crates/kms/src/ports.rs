//! What the key service needs from its surroundings: units and a clock.

use std::time::Duration;

use jiff::Timestamp;
use unit_api::{Command, Refusal, Response};
use zeroize::Zeroizing;

use crate::Forms;

/// Crypto units that hold an instance's master key, whichever of them serves.
///
/// Who stands behind it routes, fails over and repeats by the rules of each command; the caller sees one answer.
pub trait Units: Send + Sync + 'static {
    /// Carries out a command on some eligible unit, waiting no longer than `deadline`.
    ///
    /// Only commands that are not administrative are given.
    ///
    /// # Errors
    /// Whatever kept every eligible unit from answering, or the refusal of the one that did.
    fn execute(
        &self,
        command: &Command<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<UnitReply, UnitsError>> + Send;

    /// Carries out a command in whichever of its forms is for the unit that serves it.
    ///
    /// As it stands, for units whose master key is never rotated: there the first form is as good as any.
    ///
    /// # Errors
    /// As [`Self::execute`].
    fn execute_forms(
        &self,
        forms: &Forms<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<UnitReply, UnitsError>> + Send {
        let command = forms.first.command;
        async move { self.execute(&command, deadline).await }
    }
}

impl<U: Units> Units for std::sync::Arc<U> {
    fn execute(
        &self,
        command: &Command<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<UnitReply, UnitsError>> + Send {
        U::execute(self, command, deadline)
    }

    fn execute_forms(
        &self,
        forms: &Forms<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<UnitReply, UnitsError>> + Send {
        U::execute_forms(self, forms, deadline)
    }
}

/// A unit's answer: the encoded body of a [`unit_api::Reply`] frame, zeroized on drop.
pub struct UnitReply(Zeroizing<Vec<u8>>);

impl UnitReply {
    /// Takes over a frame's body, without its length bytes and without copying it.
    #[must_use]
    pub const fn from_body(body: Zeroizing<Vec<u8>>) -> Self {
        Self(body)
    }

    /// What the unit answered, borrowed from the body.
    ///
    /// # Errors
    /// [`UnitsError::Refused`] when it refused, [`UnitsError::Malformed`] when the body is no reply.
    pub fn response(&self) -> Result<Response<'_>, UnitsError> {
        let reply = unit_api::decode_reply(&self.0).map_err(UnitsError::Malformed)?;
        reply.result.map_err(UnitsError::Refused)
    }
}

/// The name alone: an answer may hold secrets.
impl std::fmt::Debug for UnitReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnitReply")
    }
}

/// Why no unit carried out a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitsError {
    /// No unit at present holds the instance's master key; says what stands in the way and what to do.
    #[error("no crypto unit can serve the instance: {0}")]
    NoEligibleUnit(String),
    /// The deadline passed before a unit answered.
    #[error("no crypto unit answered within the deadline")]
    DeadlineExceeded,
    /// More requests are under way than the units take.
    #[error("the crypto units are busy; try again in {retry_after:?}")]
    Busy {
        /// How long to wait at least.
        retry_after: Duration,
    },
    /// The unit refused, by the number it gave.
    #[error("a crypto unit refused")]
    Refused(#[source] Refusal),
    /// The unit's answer does not decode.
    #[error("a crypto unit's answer does not decode")]
    Malformed(#[source] unit_api::CodecError),
    /// The unit answered another question than the one asked.
    #[error("a crypto unit answered {command} with {found}")]
    Unexpected {
        /// What was asked.
        command: &'static str,
        /// The variant that came.
        found: &'static str,
    },
}

impl UnitsError {
    /// Whether a unit reported that the blob is not, or no longer, under its master key.
    pub(crate) fn is_key_mismatch(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_key_mismatch())
    }

    /// Whether the same command may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoEligibleUnit(_) | Self::DeadlineExceeded | Self::Busy { .. } => true,
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Malformed(_) | Self::Unexpected { .. } => false,
        }
    }
}

/// The clock of states, timers and dates, never of deadlines. Tests and the simulator can move it.
pub trait Clock: Send + Sync + 'static {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
