//! Why a call gave no answer.

use std::fmt;
use std::time::Duration;
use unit_api::Refusal;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The unit refused the command, and so would every other, or every retry was refused too.
    #[error("the crypto unit refused")]
    Refused(#[source] Refusal),
    /// The deadline passed while no unit could take the command. A unit that was lost before may have carried it out.
    #[error("no crypto unit can serve the instance: {}", unit_list(units))]
    NoEligibleUnit {
        /// Every unit of the instance.
        units: Vec<UnavailableUnit>,
    },
    /// The deadline passed before an answer came. A unit may have carried the command out.
    #[error("no crypto unit answered within {0:?}")]
    DeadlineExceeded(Duration),
    /// Every unit that got the command was lost before it answered, as often as is tried.
    #[error("every crypto unit that got the command was lost before it answered")]
    UnitLost,
    /// As many commands as may be wait for a unit already. Nothing was done.
    #[error("too many commands wait for a crypto unit")]
    Overloaded,
    /// The command does not fit a frame.
    #[error("the command does not fit a frame of {} bytes", unit_api::MAX_FRAME_LEN)]
    RequestTooLong,
    /// Administration is for one unit, by [`crate::UnitClient`]: a host never repeats it.
    #[error("{0} is an administrative command, which is for one unit: send it with a `UnitClient`")]
    AdministrativeCommand(&'static str),
    /// The host was shut down.
    #[error("the host was shut down")]
    ShutDown,
}

impl HostError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::NoEligibleUnit { .. } | Self::DeadlineExceeded(_) | Self::UnitLost | Self::Overloaded => {
                true
            }
            Self::RequestTooLong | Self::AdministrativeCommand(_) | Self::ShutDown => false,
        }
    }
}

/// A unit that gets no commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableUnit {
    /// Number of the unit in its instance.
    pub number: u16,
    /// State of the unit, as in [`UnitView::state`](crate::UnitView::state).
    pub state: &'static str,
    /// Reason of the state; empty where the state explains itself.
    pub reason: String,
}

impl fmt::Display for UnavailableUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit {} is {}", self.number, self.state)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}

fn unit_list(units: &[UnavailableUnit]) -> String {
    let units: Vec<String> = units.iter().map(ToString::to_string).collect();
    if units.is_empty() { "the host has no crypto unit".to_owned() } else { units.join("; ") }
}
