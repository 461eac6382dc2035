//! What the key service needs from its surroundings: units and a clock.

use std::time::Duration;

use jiff::Timestamp;
use unit_api::{Refusal, Response, Variants};
use zeroize::Zeroizing;

/// Crypto units that hold an instance's master key, as one: a command is executed by any of them.
///
/// The implementation routes, fails over and retries by the rules of each command; the caller sees one answer.
pub trait Units: Send + Sync + 'static {
    /// Executes a command on an eligible unit within `deadline`, in the variant for that unit's master key.
    ///
    /// The key service sends no administrative command.
    ///
    /// # Errors
    /// What kept every eligible unit from answering, or the refusal of the one that answered.
    fn execute(
        &self,
        variants: &Variants<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<UnitReply, UnitsError>> + Send;
}

impl<U: Units> Units for std::sync::Arc<U> {
    fn execute(
        &self,
        variants: &Variants<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<UnitReply, UnitsError>> + Send {
        U::execute(self, variants, deadline)
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
    /// No unit could serve the command.
    #[error("no crypto unit can serve the instance")]
    NoEligibleUnit(#[source] NoEligibleUnit),
    /// The deadline passed before a unit answered.
    #[error("no crypto unit answered within the deadline")]
    DeadlineExceeded,
    /// More requests are under way than the units take.
    #[error("the crypto units are busy; try again in {retry_after:?}")]
    Busy {
        /// How long to wait at least.
        retry_after: Duration,
    },
    /// The unit refused the command.
    #[error("a crypto unit refused")]
    Refused(#[source] Refusal),
    /// The unit's answer does not decode.
    #[error("a crypto unit's answer does not decode")]
    Malformed(#[source] unit_api::CodecError),
    /// The unit's response is not one of this command.
    #[error("a crypto unit answered {command} with {found}")]
    Unexpected {
        /// Name of the command.
        command: &'static str,
        /// Name of the response.
        found: &'static str,
    },
}

/// Why no unit could serve a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEligibleUnit {
    /// No unit was in a state in which it gets commands before the deadline passed.
    #[error("{}", unit_list(.0))]
    Unavailable(Vec<UnavailableUnit>),
    /// Every unit that got the command was lost before it answered.
    #[error("every crypto unit that got the command was lost before it answered")]
    Lost,
    /// The host that reaches the units was shut down.
    #[error("the host was shut down")]
    ShutDown,
    /// The one unit that was asked cannot be reached.
    #[error("the crypto unit cannot be reached: {0}")]
    Unreachable(String),
}

/// A unit that gets no commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableUnit {
    /// Number of the unit in its instance.
    pub number: u16,
    /// State of the unit, such as `ejected` or `fenced`.
    pub state: &'static str,
    /// Reason of the state; empty where the state explains itself.
    pub reason: String,
}

fn unit_list(units: &[UnavailableUnit]) -> String {
    let unit = |unit: &UnavailableUnit| match unit.reason.as_str() {
        "" => format!("unit {} is {}", unit.number, unit.state),
        reason => format!("unit {} is {} ({reason})", unit.number, unit.state),
    };
    let units: Vec<String> = units.iter().map(unit).collect();
    if units.is_empty() { "the instance has no crypto unit".to_owned() } else { units.join("; ") }
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
