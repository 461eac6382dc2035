//! Why a call gave no answer.

use std::fmt;
use std::time::Duration;
use unit_api::Refusal;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The unit did the asking right and refused all the same; another unit would not do it either, or several tried.
    #[error("the crypto unit refused")]
    Refused(#[source] Refusal),
    /// The deadline passed while no unit could take the command. A unit that was lost before may have carried it out.
    #[error("no crypto unit can serve the instance: {reasons}")]
    NoEligibleUnit {
        /// Unit by unit.
        reasons: Reasons,
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
    #[error("{0} is an administrative command, which is for one unit and never for whichever gets it")]
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

/// Why each unit cannot serve: its number, its state, and the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(pub Vec<(u16, &'static str, String)>);

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it has none");
        }
        for (i, (number, state, reason)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}unit {number} is {state}")?;
            if !reason.is_empty() {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}
