//! A unit process as its supervisor sees it.

use crate::region::place::Place;
use crate::unit::Order;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tke::{UnitDescriptor, UnitKind};
use unit_api::UnitId;
use unit_api::admin::InstanceId;

/// A fault of a unit process. It lasts until the unit is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Ended with SIGKILL, and not started again.
    Killed,
    /// Stopped with SIGSTOP: connected, and silent.
    Paused,
    /// Every command takes this much longer.
    Slow(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::Paused => f.write_str("paused"),
            Self::Slow(by) => write!(f, "slow by {} ms", by.as_millis()),
        }
    }
}

/// Why a unit process could not be started, faulted, healed or ended.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The region has no unit of this number.
    #[error("there is no unit {unit}; this region has {}", listed(.units))]
    NoSuchUnit {
        /// Number that was asked for.
        unit: u16,
        /// Numbers of the region's units.
        units: Vec<u16>,
    },
    /// The process could not be started, signalled or written to.
    #[error("unit {unit}: its process could not be {what}")]
    Process {
        /// Number of the unit.
        unit: u16,
        /// What was attempted, as a participle.
        what: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// The process does not run.
    #[error("unit {0} is not running; heal it first")]
    NotRunning(u16),
    /// The unit cannot reach its keys.
    #[error("unit {unit} does not start: {reason}")]
    Down {
        /// Number of the unit.
        unit: u16,
        /// The reason that the unit announced.
        reason: String,
    },
    /// The unit did not carry out an order.
    #[error("unit {unit} did not carry out the order `{order}`: {reason}")]
    OrderFailed {
        /// Number of the unit.
        unit: u16,
        /// The order.
        order: Order,
        /// The unit's answer.
        reason: String,
    },
}

fn listed(units: &[u16]) -> String {
    match units {
        [] => "no unit".to_owned(),
        [only] => format!("unit {only}"),
        several => {
            format!("units {}", several.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A unit process.
#[derive(Clone, Debug)]
pub struct UnitProcess {
    /// Number, from 1.
    pub unit: u16,
    /// Kind and location.
    pub place: Place,
    /// Module, as the unit announced it at its first start.
    pub id: UnitId,
    /// Socket that the unit listens on.
    pub socket: PathBuf,
    /// Process ID while it runs.
    pub pid: Option<u32>,
    /// Description of its engine by the unit, or the choice of engine before the unit has served.
    pub engine: String,
    /// Why it cannot reach its keys, while it cannot.
    pub down: Option<String>,
    /// Present fault.
    pub fault: Option<Fault>,
    /// Number of restarts after the process ended by itself.
    pub restarts: u32,
}

impl UnitProcess {
    /// Whether it is there to serve requests.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.place.kind == UnitKind::Operational
    }

    /// The unit as it is listed for customers, who know the region's service instance.
    #[must_use]
    pub fn listed(&self, instance: InstanceId) -> UnitDescriptor {
        let Place { kind, location, .. } = &self.place;
        UnitDescriptor { number: self.unit, kind: *kind, location: location.clone(), unit: self.id, instance }
    }
}

#[cfg(test)]
mod tests {
    use super::SupervisorError;

    #[test]
    fn an_unknown_number_is_answered_with_those_that_exist() {
        for (units, text) in [
            (vec![1, 2, 5], "there is no unit 4; this region has units 1, 2, 5"),
            (vec![1], "there is no unit 4; this region has unit 1"),
            (vec![], "there is no unit 4; this region has no unit"),
        ] {
            assert_eq!(SupervisorError::NoSuchUnit { unit: 4, units }.to_string(), text);
        }
    }
}
