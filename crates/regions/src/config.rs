//! What a pair is configured to do.

use core::time::Duration;

/// What stops the region that has the right to write before its partner takes it without being given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fence {
    /// An operator states that the region is down.
    Operator,
    /// The region needs a lease, from a witness in a third place or a promise from its partner, and has lost it.
    Witness,
    /// Nothing. Two regions may write at once: for tests of the checkers alone.
    None,
}

/// Who enables writing in the partner of a region that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteEnable {
    /// An operator.
    Operator,
    /// The time, after [`PairConfig::write_after`].
    Timer,
    /// Whichever comes first.
    OperatorOrTimer,
}

/// When the home takes writing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failback {
    /// When an operator says so.
    Operator,
    /// Once it has been ready for so long, by the calendar.
    AfterReady(Duration),
}

/// Configuration of a pair, the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PairConfig {
    /// What stops the other region.
    pub fence: Fence,
    /// Who enables writing after a loss.
    pub write_enable: WriteEnable,
    /// How long a region has been lost, by the calendar, before the time enables writing in its partner.
    pub write_after: Duration,
    /// How long a region has been unreachable before it counts as lost.
    pub lost_after: Duration,
    /// When the home takes writing back.
    pub failback: Failback,
    /// How long writing may stand still during a handover.
    pub freeze: Duration,
    /// Duration of leases and promises; they are renewed six times as often.
    pub lease: Duration,
    /// Pause between two messages to the partner.
    pub poll: Duration,
    /// Whether a region counts as lost only if a front cannot reach it either.
    pub fronts_confirm_loss: bool,
}

/// Why a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The timer would let two regions write.
    #[error(
        "writing cannot be enabled by a timer without a witness: only a witness can tell that the lost region has stopped \
         writing; configure the fence `witness`, or let an operator enable writing"
    )]
    TimerWithoutWitness,
    /// A duration is zero, or too short for another one.
    #[error("the {what} must be at least {at_least:?}")]
    TooShort {
        /// Which duration.
        what: &'static str,
        /// The least that is accepted.
        at_least: Duration,
    },
}

/// As for an instance with a standby that an operator promotes.
impl Default for PairConfig {
    fn default() -> Self {
        Self {
            fence: Fence::Operator,
            write_enable: WriteEnable::Operator,
            write_after: Duration::from_secs(6 * 60 * 60),
            lost_after: Duration::from_secs(20),
            failback: Failback::AfterReady(Duration::from_secs(10 * 60)),
            freeze: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            fronts_confirm_loss: true,
        }
    }
}

impl PairConfig {
    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.write_enable != WriteEnable::Operator && self.fence == Fence::Operator {
            return Err(ConfigError::TimerWithoutWitness);
        }
        let poll = Duration::from_millis(1);
        let at_least = [
            ("pause between messages", self.poll, poll),
            ("time until a region counts as lost", self.lost_after, self.poll * 3),
            ("duration of a lease", self.lease, self.poll * 3),
            ("longest freeze", self.freeze, self.poll * 3),
        ];
        for (what, found, at_least) in at_least {
            if found < at_least {
                return Err(ConfigError::TooShort { what, at_least });
            }
        }
        Ok(())
    }

    /// How long the holder of a lease relies on it: a tenth less than its giver, because their clocks may differ in rate.
    #[must_use]
    pub fn lease_relied_on(&self) -> Duration {
        self.lease - self.lease / 10
    }

    /// Whether time may enable writing.
    #[must_use]
    pub(crate) const fn has_timer(&self) -> bool {
        !matches!(self.write_enable, WriteEnable::Operator)
    }
}

#[cfg(test)]
mod tests {
    use super::{ConfigError, Fence, PairConfig, WriteEnable};
    use core::time::Duration;

    #[test]
    fn a_timer_needs_a_witness() {
        let config = PairConfig { write_enable: WriteEnable::OperatorOrTimer, ..PairConfig::default() };
        assert_eq!(config.check(), Err(ConfigError::TimerWithoutWitness));
        assert_eq!(PairConfig { fence: Fence::Witness, ..config }.check(), Ok(()));
        assert_eq!(PairConfig::default().check(), Ok(()));
    }

    #[test]
    fn a_lease_outlasts_what_its_holder_relies_on() {
        let config = PairConfig::default();
        assert_eq!(config.lease_relied_on(), Duration::from_secs(27));
        let short = PairConfig { lease: Duration::from_secs(1), ..config };
        assert!(matches!(short.check(), Err(ConfigError::TooShort { what: "duration of a lease", .. })));
    }
}
