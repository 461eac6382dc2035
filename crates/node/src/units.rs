//! Connects the key service to crypto units: through the host, or to one unit before there is a host.

use host::{Host, HostError, LinkError, UnitClient};
use kms::{NoEligibleUnit, UnavailableUnit, UnitReply, Units, UnitsError};
use std::time::{Duration, Instant};
use tracing::debug;
use unit_api::{Envelope, UnitError, Variants};
use wire::text::error_chain;

/// How long a caller is asked to wait when too many are waiting already.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The key service's port to units, served by a host.
#[derive(Clone)]
pub struct HostUnits(Host);

impl HostUnits {
    /// The units that `host` keeps connected and checked.
    #[must_use]
    pub const fn new(host: Host) -> Self {
        Self(host)
    }
}

// A command that encrypts is counted for every unit that it may be sent to.
const _: () = assert!(host::MAX_TRIES as u64 <= kms::INVOCATIONS_PER_COMMAND);

impl Units for HostUnits {
    async fn execute(&self, variants: &Variants<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        let (command, began) = (variants.first.command.name(), Instant::now());
        let outcome = self.0.execute(variants, deadline).await;
        let elapsed_us = began.elapsed().as_micros();
        match outcome {
            Ok(frame) => {
                debug!(command, elapsed_us, "unit command completed");
                Ok(UnitReply::from_body(frame.into_body()))
            }
            Err(error) => {
                debug!(command, elapsed_us, error = %error_chain(&error), "unit command failed");
                Err(units_error(error))
            }
        }
    }
}

/// One unit, asked directly: before there is a proof by which a host could admit it.
pub(crate) struct OneUnit(pub(crate) UnitClient);

impl Units for OneUnit {
    async fn execute(&self, variants: &Variants<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        match self.0.call(&Envelope::plain(variants.first.command), deadline).await {
            Ok(frame) => Ok(UnitReply::from_body(frame.into_body())),
            Err(LinkError::DeadlineExceeded(_)) => Err(UnitsError::DeadlineExceeded),
            Err(e) => Err(UnitsError::NoEligibleUnit(NoEligibleUnit::Unreachable(error_chain(&e)))),
        }
    }
}

fn units_error(error: HostError) -> UnitsError {
    match error {
        HostError::Refused(refusal) => UnitsError::Refused(refusal),
        HostError::NoEligibleUnit { units } => {
            let unit = |unit: host::UnavailableUnit| UnavailableUnit {
                number: unit.number,
                state: unit.state,
                reason: unit.reason,
            };
            UnitsError::NoEligibleUnit(NoEligibleUnit::Unavailable(units.into_iter().map(unit).collect()))
        }
        HostError::DeadlineExceeded(_) => UnitsError::DeadlineExceeded,
        HostError::Overloaded => UnitsError::Busy { retry_after: BUSY_PAUSE },
        HostError::RequestTooLong => UnitsError::Refused(UnitError::FrameTooLong.into()),
        // Units keep nothing for callers, so a command that may have been executed has changed nothing either.
        HostError::UnitLost => UnitsError::NoEligibleUnit(NoEligibleUnit::Lost),
        HostError::ShutDown => UnitsError::NoEligibleUnit(NoEligibleUnit::ShutDown),
        // The key service causes none of these; errors that the host may add later mean that no unit served.
        other => UnitsError::NoEligibleUnit(NoEligibleUnit::Unreachable(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::units_error;
    use host::{HostError, UnavailableUnit};
    use kms::UnitsError;
    use std::time::Duration;

    #[test]
    fn retryable_errors_of_the_host_stay_retryable() {
        let unit = || UnavailableUnit { number: 1, state: "fenced", reason: "no master key".to_owned() };
        for error in [
            HostError::NoEligibleUnit { units: vec![unit()] },
            HostError::DeadlineExceeded(Duration::from_secs(1)),
            HostError::UnitLost,
            HostError::Overloaded,
        ] {
            assert!(error.is_retryable() && units_error(error.clone()).is_retryable(), "{error}");
        }
        assert!(!units_error(HostError::RequestTooLong).is_retryable());
        let error = units_error(HostError::NoEligibleUnit { units: vec![unit()] });
        let UnitsError::NoEligibleUnit(reason) = error else { panic!("{error}") };
        assert_eq!(reason.to_string(), "unit 1 is fenced (no master key)");
    }
}
