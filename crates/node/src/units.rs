//! Connects the key service to crypto units: through the host, or to one unit before there is a host.

use host::{Host, HostError, LinkError, UnitClient};
use kms::{Form, Forms, UnitReply, Units, UnitsError};
use std::time::{Duration, Instant};
use tracing::debug;
use unit_api::{Command, Envelope, UnitError};
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

impl Units for HostUnits {
    async fn execute(&self, command: &Command<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        self.execute_forms(&Forms::of(*command), deadline).await
    }

    async fn execute_forms(&self, forms: &Forms<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        let (command, began) = (forms.first.command.name(), Instant::now());
        let outcome = self.0.call_forms(&host_forms(forms), deadline).await;
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
    async fn execute(&self, command: &Command<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        match self.0.call(&Envelope::plain(*command), deadline).await {
            Ok(frame) => Ok(UnitReply::from_body(frame.into_body())),
            Err(LinkError::DeadlineExceeded(_)) => Err(UnitsError::DeadlineExceeded),
            Err(e) => Err(UnitsError::NoEligibleUnit(error_chain(&e))),
        }
    }
}

fn host_forms<'a>(forms: &Forms<'a>) -> host::Forms<'a> {
    let mut made = match forms.first {
        Form { command, under: None } => host::Forms::of(command),
        Form { command, under: Some(wkid) } => host::Forms::under(wkid, command),
    };
    made = match forms.second {
        None => made,
        Some(Form { command, under: None }) => made.or(command),
        Some(Form { command, under: Some(wkid) }) => made.or_under(wkid, command),
    };
    if forms.prefer_first { made.first_if_possible() } else { made }
}

fn units_error(error: HostError) -> UnitsError {
    match error {
        HostError::Refused(refusal) => UnitsError::Refused(refusal),
        HostError::NoEligibleUnit { reasons } => UnitsError::NoEligibleUnit(reasons.to_string()),
        HostError::DeadlineExceeded(_) => UnitsError::DeadlineExceeded,
        HostError::Overloaded => UnitsError::Busy { retry_after: BUSY_PAUSE },
        HostError::RequestTooLong => UnitsError::Refused(UnitError::FrameTooLong.into()),
        // Units keep nothing for callers, so a command that may have been executed has changed nothing either.
        HostError::UnitLost | HostError::ShutDown => UnitsError::NoEligibleUnit(error.to_string()),
        // The key service causes none of these; errors that the host may add later mean that no unit served.
        other => UnitsError::NoEligibleUnit(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::units_error;
    use host::{HostError, Reasons};
    use kms::UnitsError;
    use std::time::Duration;

    #[test]
    fn what_a_caller_may_repeat_stays_so() {
        for error in [
            HostError::NoEligibleUnit { reasons: Reasons(vec![(1, "suspect", "no master key".to_owned())]) },
            HostError::DeadlineExceeded(Duration::from_secs(1)),
            HostError::UnitLost,
            HostError::Overloaded,
        ] {
            assert!(error.is_retryable() && units_error(error.clone()).is_retryable(), "{error}");
        }
        assert!(!units_error(HostError::RequestTooLong).is_retryable());
        let reasons = Reasons(vec![(1, "suspect", "no master key".to_owned())]);
        let UnitsError::NoEligibleUnit(why) = units_error(HostError::NoEligibleUnit { reasons }) else {
            panic!()
        };
        assert_eq!(why, "unit 1 is suspect (no master key)");
    }
}
