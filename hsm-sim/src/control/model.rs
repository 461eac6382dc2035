//! Requests and responses of the control API.

use crate::cli::{TargetArgs, TargetKind};
use crate::region::SimClock;
use serde::{Deserialize, Serialize};

/// Units that a fault or a heal is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// One unit, by its number from 1.
    Unit(u16),
    /// All units of a zone, by name: `az1`, or `us-east/az1` in another region.
    Zone(String),
    /// All units.
    All,
}

impl Target {
    /// The unit of this number.
    ///
    /// # Errors
    /// It is not a number.
    pub fn unit(number: &str) -> Result<Self, String> {
        number.parse().map(Self::Unit).map_err(|_| format!("invalid unit number `{number}`"))
    }
}

impl TryFrom<&TargetArgs> for Target {
    type Error = String;

    fn try_from(args: &TargetArgs) -> Result<Self, String> {
        let name = args.name.clone().unwrap_or_default();
        match args.kind {
            TargetKind::Unit => Self::unit(&name),
            TargetKind::Zone => Ok(Self::Zone(name)),
            TargetKind::All => Ok(Self::All),
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// SIGKILL; the unit is not restarted until it is healed.
    Kill,
    /// SIGSTOP: the unit stays connected and does not answer.
    Pause,
    /// Every command is delayed.
    Slow,
    /// The operator erases administrators and master keys.
    Zeroize,
    /// The module detects tampering and erases everything.
    Tamper,
}

/// Body of `POST /fault`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// Kind of the fault.
    pub fault: FaultKind,
    /// Units that get the fault.
    pub target: Target,
    /// Delay of each command in milliseconds, with [`FaultKind::Slow`]; 50 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_by_ms: Option<u64>,
}

/// Body of `POST /units`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddUnitRequest {
    /// Zone of the new unit; the first zone without an operational unit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Answer to `POST /units`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddedUnit {
    /// Number of the new unit.
    pub unit: u16,
    /// Status of the region with it.
    pub status: Status,
}

/// Body of `POST /units/{unit}/remove`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveUnitRequest {
    /// Whether to remove the unit even if it cannot be zeroized.
    #[serde(default)]
    pub lost: bool,
}

/// Body of `POST /clock/advance`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvanceRequest {
    /// Seconds to move the clock forward by.
    pub seconds: u64,
}

/// The service's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClockStatus {
    /// Time of the clock, RFC 3339 in UTC.
    pub now: String,
    /// How far the clock is ahead of real time, in seconds.
    pub ahead_s: u64,
}

impl ClockStatus {
    /// The time of a clock.
    #[must_use]
    pub fn of(clock: &SimClock) -> Self {
        let seconds = i64::try_from(clock.since_epoch().as_secs()).unwrap_or(i64::MAX);
        let now = jiff::Timestamp::from_second(seconds);
        Self {
            now: now.map_or_else(|_| "out of range".to_owned(), |now| now.to_string()),
            ahead_s: clock.ahead().as_secs(),
        }
    }
}

/// Status of a region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Name of the region.
    pub region: String,
    /// `ready` if every operational unit serves, `degraded` if some do, `locked` if none does, `rotating` during a rotation
    /// of the master key, `unkeyed` if the units hold no common master key yet.
    pub state: String,
    /// Why no keys are served yet; `None` once the units hold the master key.
    pub waiting_for: Option<String>,
    /// The service instance that the units belong to.
    pub instance: String,
    /// Ceremony that sets the units up: `development` or `manual`.
    pub ceremony: String,
    /// Names of the zones, including those in other regions that have units.
    pub zones: Vec<String>,
    /// Verification pattern of the master key that keys are served under, in hexadecimal, once it is known.
    pub pattern: Option<String>,
    /// Units, in the order of their numbers.
    pub units: Vec<UnitStatus>,
    /// The clock of the service.
    pub clock: ClockStatus,
    /// Whether the data directory has a copy of an earlier version, until the upgrade is confirmed or undone.
    #[serde(default)]
    pub unconfirmed_upgrade: bool,
}

/// Status of a crypto unit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Number, from 1.
    pub unit: u16,
    /// `OPERATIONAL`, `RECOVERY` or `FAILOVER`.
    pub kind: String,
    /// Location, as `[region].[zone].[module].[domain]`.
    pub location: String,
    /// Zone, as faults name it.
    pub zone: String,
    /// Engine that holds its keys: `software`, or a description of the token.
    pub engine: String,
    /// `reserved` (in imprint mode), `claimed` (has administrators), `initialized` (has a master key), `kms-initialized`
    /// (and serves), `error`, `unreachable`.
    pub lifecycle: String,
    /// Whether it is in imprint mode. `None` while it does not answer, as in the next three fields.
    pub imprint_mode: Option<bool>,
    /// Number of administrators installed.
    pub administrators: Option<u8>,
    /// Number of signatures that most commands need.
    pub signature_threshold: Option<u8>,
    /// Number of signatures that the removal of an administrator needs.
    pub revocation_threshold: Option<u8>,
    /// Process ID, while the process runs.
    pub pid: Option<u32>,
    /// Health as the host sees it: `checking`, `warming`, `eligible`, `ejected`, `draining` or `fenced`; `unknown` while
    /// there is no instance to serve; `standby` for a recovery or failover unit.
    pub state: String,
    /// Why it does not serve; empty if it does.
    pub reason: String,
    /// Fault that was injected into it.
    pub fault: Option<String>,
    /// Number of restarts after the process ended by itself.
    pub restarts: u32,
    /// Verification pattern of its current master key, in hexadecimal.
    pub pattern: Option<String>,
    /// Number of requests that it has answered.
    pub served: u64,
    /// Number of requests that it has not answered, or answered with an internal failure.
    pub failed: u64,
    /// Number of requests in progress.
    pub outstanding: u32,
    /// Median latency, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of the latency, in microseconds.
    pub p99_us: u64,
    /// Path of the Unix socket that it listens on.
    pub socket: String,
}

impl UnitStatus {
    /// Whether it is an operational unit, as opposed to a recovery or failover unit.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.kind == "OPERATIONAL"
    }

    /// Whether the host sends it requests.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.state.as_str(), "eligible" | "warming")
    }
}
