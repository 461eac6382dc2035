//! The states of a unit as a host sees it.

use crate::{Instant, UnitNumber};
use core::fmt;
use core::time::Duration;
use unit_api::{Refusal, RolledBack, UnitId, VerificationPattern};

/// Whether a unit gets work, and if not, why.
///
/// | state | connected | admitted | refused | lost | troubled | doubted | warmed | recovered | drained | resumed |
/// |---|---|---|---|---|---|---|---|---|---|---|
/// | `Checking` | · | `Warming` | `Fenced` | `Ejected` | · | · | · | · | `Draining` | · |
/// | `Warming` | · | · | `Fenced` | `Ejected` | `Ejected` | `Checking` | `Eligible` | · | `Draining` | · |
/// | `Eligible` | · | · | `Fenced` | `Ejected` | `Ejected` | `Checking` | · | · | `Draining` | · |
/// | `Ejected`, lost | `Checking` | · | · | · | · | · | · | · | `Draining` | · |
/// | `Ejected`, else | · | · | `Fenced` | `Ejected` | · | `Checking` | · | `Warming` | `Draining` | · |
/// | `Draining` | · | · | · | · | · | · | · | · | · | `Checking` |
/// | `Fenced` | · | `Warming` | `Fenced` | `Ejected` | · | · | · | · | `Draining` | · |
///
/// `·`: nothing changes. `Warming` and `Eligible` get work. `Ejected` gets work only while every unit that is not fenced
/// is ejected for a reason other than a lost connection: a slow answer beats none.
#[derive(Clone, Copy, Debug)]
pub enum Health {
    /// It must show who it is and that it holds the master key.
    Checking,
    /// It gets a growing share.
    Warming {
        /// Start of the ramp.
        since: Instant,
        /// Time until its share is whole.
        ramp: Duration,
    },
    /// It gets its share.
    Eligible,
    /// It gets probes only.
    Ejected {
        /// Reason of the ejection.
        cause: Ejection,
        /// Not before this moment does it get work again.
        until: Instant,
    },
    /// It gets nothing new, by command.
    Draining,
    /// It gets nothing: it cannot serve this instance, or must not.
    Fenced(FenceReason),
}

/// Why a unit is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// No connection.
    Lost,
    /// Several answers in a row did not come in time.
    TimedOut,
    /// It is much slower than its best peer.
    Slow,
    /// Most of its answers are failures of its own.
    Failing,
    /// Several probes in a row were not answered in time.
    Silent,
}

/// Why a unit is fenced.
#[derive(Clone, Copy, Debug)]
pub enum FenceReason {
    /// Its Current master-key register is not valid.
    NoMasterKey,
    /// Its master key is another.
    WrongPattern {
        /// The instance's.
        expected: VerificationPattern,
        /// The one that is to follow it, while the master key is being rotated.
        next: Option<VerificationPattern>,
        /// The unit's.
        found: VerificationPattern,
    },
    /// It reports the instance's pattern, and its answers show that it has another master key, or refuse to show one.
    ProofFailed {
        /// The instance's pattern, which it reports.
        reported: VerificationPattern,
        /// What it said instead of an answer.
        refusal: Option<Refusal>,
    },
    /// It is in its error state.
    ErrorState(u16),
    /// Another connected unit has the same identity.
    DuplicateIdentity {
        /// The identity.
        unit: UnitId,
        /// The unit that had it first.
        other: UnitNumber,
    },
    /// It is not in a state that follows the one that was seen last: an old state was restored, or the unit was copied.
    RolledBack(RolledBack),
}

/// A change of a unit's state or of its reason.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    /// Unit in question.
    pub unit: UnitNumber,
    /// State before.
    pub from: Health,
    /// State after.
    pub to: Health,
}

/// What happens to a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HealthEvent {
    Connected,
    Admitted { ramp: Duration },
    Refused(FenceReason),
    Lost,
    Troubled { cause: Ejection, until: Instant },
    Doubted,
    Warmed,
    Recovered { ramp: Duration },
    Drained,
    Resumed,
}

impl Health {
    /// The state after `event`; `None` where it changes nothing.
    pub(crate) const fn after(&self, event: &HealthEvent, now: Instant) -> Option<Self> {
        use HealthEvent as E;
        let lost = matches!(self, Self::Ejected { cause: Ejection::Lost, .. });
        Some(match (self, event) {
            (Self::Draining, E::Resumed) => Self::Checking,
            (Self::Draining, _) | (_, E::Resumed) => return None,
            (_, E::Drained) => Self::Draining,
            (Self::Ejected { .. }, E::Connected) if lost => Self::Checking,
            (_, E::Connected) => return None,
            _ if lost => return None,
            (_, E::Lost) => Self::Ejected { cause: Ejection::Lost, until: now },
            (_, E::Refused(reason)) => Self::Fenced(*reason),
            (Self::Checking | Self::Fenced(_), E::Admitted { ramp }) => {
                Self::Warming { since: now, ramp: *ramp }
            }
            (Self::Warming { .. } | Self::Eligible, E::Troubled { cause, until }) => {
                Self::Ejected { cause: *cause, until: *until }
            }
            (Self::Warming { .. } | Self::Eligible | Self::Ejected { .. }, E::Doubted) => Self::Checking,
            (Self::Warming { .. }, E::Warmed) => Self::Eligible,
            (Self::Ejected { .. }, E::Recovered { ramp }) => Self::Warming { since: now, ramp: *ramp },
            (_, E::Admitted { .. } | E::Troubled { .. } | E::Doubted | E::Warmed | E::Recovered { .. }) => {
                return None;
            }
        })
    }

    /// Whether the unit gets work.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Warming { .. } | Self::Eligible)
    }

    /// Whether the unit is out, but for no reason that keeps it from answering.
    pub(crate) const fn is_out_softly(&self) -> bool {
        matches!(self, Self::Ejected { cause, .. } if !matches!(cause, Ejection::Lost))
    }

    /// The state's name alone.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Warming { .. } => "warming",
            Self::Eligible => "eligible",
            Self::Ejected { .. } => "ejected",
            Self::Draining => "draining",
            Self::Fenced(_) => "fenced",
        }
    }
}

/// The reason, where the state has one; else the state's name.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ejected { cause, .. } => cause.fmt(f),
            Self::Fenced(reason) => reason.fmt(f),
            Self::Checking | Self::Warming { .. } | Self::Eligible | Self::Draining => {
                f.write_str(self.name())
            }
        }
    }
}

impl Ejection {
    /// Every cause, in the order of the variants.
    pub const ALL: [Self; 5] = [Self::Lost, Self::TimedOut, Self::Slow, Self::Failing, Self::Silent];

    /// The cause as one word, such as a metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::Slow => "slow",
            Self::Failing => "failing",
            Self::Silent => "silent",
        }
    }
}

impl fmt::Display for Ejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "no connection",
            Self::TimedOut => "several answers in a row did not come in time",
            Self::Slow => "it is much slower than its peers",
            Self::Failing => "most of its answers are failures",
            Self::Silent => "it does not answer probes",
        })
    }
}

impl fmt::Display for FenceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMasterKey => f.write_str("it has no valid current master key"),
            Self::WrongPattern { expected, next, found } => {
                write!(
                    f,
                    "its master key is another: verification pattern {found}, the instance's is {expected}"
                )?;
                next.map_or(Ok(()), |next| write!(f, " and will be {next}"))
            }
            Self::ProofFailed { reported, refusal } => {
                write!(
                    f,
                    "it reports verification pattern {reported}, but does not show that it has that master key"
                )?;
                refusal.map_or(Ok(()), |refusal| write!(f, ": {refusal}"))
            }
            Self::ErrorState(code) => write!(f, "it is in its error state (0x{code:04x})"),
            Self::DuplicateIdentity { unit, other } => {
                write!(f, "its identity {unit} is that of unit {other}, which had it first")
            }
            Self::RolledBack(how) => how.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ejection, FenceReason, Health, HealthEvent};
    use crate::Instant;
    use core::time::Duration;

    #[test]
    fn exhaustive_health_follows_its_table() {
        let now = Instant::after_start(Duration::from_secs(7));
        let ramp = Duration::from_secs(3);
        let states = [
            Health::Checking,
            Health::Warming { since: now, ramp },
            Health::Eligible,
            Health::Ejected { cause: Ejection::Lost, until: now },
            Health::Ejected { cause: Ejection::Slow, until: now },
            Health::Draining,
            Health::Fenced(FenceReason::NoMasterKey),
        ];
        let events = [
            HealthEvent::Connected,
            HealthEvent::Admitted { ramp },
            HealthEvent::Refused(FenceReason::ErrorState(1)),
            HealthEvent::Lost,
            HealthEvent::Troubled { cause: Ejection::TimedOut, until: now },
            HealthEvent::Doubted,
            HealthEvent::Warmed,
            HealthEvent::Recovered { ramp },
            HealthEvent::Drained,
            HealthEvent::Resumed,
        ];
        // Read from the table in the doc comment itself, so that neither can change alone.
        let table: Vec<Vec<String>> = include_str!("health.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("/// | `"))
            .map(|row| {
                row.split('|').skip(1).map(|cell| cell.trim().replace('`', "").to_lowercase()).collect()
            })
            .collect();
        assert_eq!(table.len(), states.len());
        for (state, row) in states.iter().zip(table) {
            for (event, expected) in events.iter().zip(row) {
                let found = state.after(event, now).map_or("·", |health| health.name());
                assert_eq!(found, expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_lost_connection_is_never_a_soft_reason() {
        let lost = Health::Ejected { cause: Ejection::Lost, until: Instant::START };
        assert!(!lost.is_out_softly());
        let slow = Health::Ejected { cause: Ejection::Slow, until: Instant::START };
        assert!(slow.is_out_softly());
        assert!(matches!(
            slow.after(&HealthEvent::Lost, Instant::START),
            Some(Health::Ejected { cause: Ejection::Lost, .. })
        ));
    }
}
