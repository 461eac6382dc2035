//! What is said over the control API.

use crate::cli::{TargetArgs, TargetKind};
use serde::{Deserialize, Serialize};

/// Whom a fault or a healing is for.
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

impl TryFrom<&TargetArgs> for Target {
    type Error = String;

    fn try_from(args: &TargetArgs) -> Result<Self, String> {
        let name = args.name.clone().unwrap_or_default();
        match args.kind {
            TargetKind::Unit => {
                name.parse().map(Self::Unit).map_err(|_| format!("`{name}` is no number of a unit"))
            }
            TargetKind::Zone => Ok(Self::Zone(name)),
            TargetKind::All => Ok(Self::All),
        }
    }
}

/// What to do to units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// SIGKILL, and no new start until healed.
    Kill,
    /// SIGSTOP.
    Pause,
    /// Longer over every command.
    Slow,
    /// No administrators and no master key any more, by the operator's order.
    Zeroize,
    /// The same, because the module notices tampering.
    Tamper,
}

/// Body of `POST /fault`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// What to do.
    pub fault: FaultKind,
    /// To whom.
    pub target: Target,
    /// With `slow`: how much longer a command takes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_by_ms: Option<u64>,
}

/// Body of `POST /clock/advance`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvanceRequest {
    /// By how much.
    pub seconds: u64,
}

/// The service's clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClockStatus {
    /// Its time, RFC 3339 in UTC.
    pub now: String,
    /// How far it is ahead of real time, in seconds.
    pub ahead_s: u64,
}

/// A region at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Name.
    pub region: String,
    /// `ready` when every operational unit serves, `degraded` when some do, `locked` when none does, `unkeyed` when there
    /// is no instance yet that one could serve.
    pub state: String,
    /// Why no keys are served yet; none once an instance is there.
    pub waiting_for: Option<String>,
    /// The service instance that the units belong to.
    pub instance: String,
    /// Who brings the units into service: `development` or `manual`.
    pub ceremony: String,
    /// Zones.
    pub zones: Vec<String>,
    /// Verification pattern of the region's master key, in hexadecimal, once it is settled.
    pub pattern: Option<String>,
    /// Units, in order.
    pub units: Vec<UnitStatus>,
    /// Clock.
    pub clock: ClockStatus,
}

/// A crypto unit at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Number, from 1.
    pub unit: u16,
    /// `OPERATIONAL`, `RECOVERY` or `FAILOVER`.
    pub kind: String,
    /// `[region].[zone].[module].[domain]`.
    pub location: String,
    /// Zone.
    pub zone: String,
    /// Where its keys are: `software`, or the token in words for people.
    pub engine: String,
    /// `reserved` (in imprint mode), `claimed` (has administrators), `initialized` (has a master key), `kms-initialized`
    /// (and serves), `error`, `unreachable`.
    pub lifecycle: String,
    /// Whether it is in imprint mode; none while it does not answer, as with what follows.
    pub imprint_mode: Option<bool>,
    /// Administrators installed.
    pub administrators: Option<u8>,
    /// Signatures that most commands need.
    pub signature_threshold: Option<u8>,
    /// Signatures that removing an administrator needs.
    pub revocation_threshold: Option<u8>,
    /// Process, while it runs.
    pub pid: Option<u32>,
    /// How the host sees it: `eligible`, `warming`, `checking`, `ejected`, `fenced`, …; `unknown` while there is no
    /// instance to serve, `standby` for a unit that is not there to serve.
    pub state: String,
    /// Why it does not serve; empty when it does.
    pub reason: String,
    /// What was done to it by command.
    pub fault: Option<String>,
    /// Times it was started again after it ended by itself.
    pub restarts: u32,
    /// Pattern of its Current master key, in hexadecimal.
    pub pattern: Option<String>,
    /// Requests it has answered.
    pub served: u64,
    /// Requests it has not answered, or answered with a failure of its own.
    pub failed: u64,
    /// Requests under way.
    pub outstanding: u32,
    /// Median of its latency, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of its latency, in microseconds.
    pub p99_us: u64,
    /// Socket it listens on.
    pub socket: String,
}

impl UnitStatus {
    /// Whether it is there to serve.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.kind == "OPERATIONAL"
    }

    /// Whether it takes part in serving.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.state.as_str(), "eligible" | "warming")
    }
}
