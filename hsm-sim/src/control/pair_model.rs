//! Requests and responses of the control API about pairs of regions.

use super::model::ClockStatus;
use crate::pair::timeline::TimelineEntry;
use serde::{Deserialize, Serialize};

/// What a region of a pair reports about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionReport {
    /// Name of the region.
    pub name: String,
    /// `home` or `standby`.
    pub role: String,
    /// State of the pair as this region sees it: `normal`, `lost`, `promoted` or `returning`.
    pub state: String,
    /// Epoch that it acts by.
    pub epoch: u64,
    /// Whether it accepts changes.
    pub writes: bool,
    /// Why it does not; empty if it does.
    pub writes_refused: String,
    /// Whether keys can be used in it.
    pub serves: bool,
    /// Whether it is taking over.
    pub taking_over: bool,
    /// Whether changes of the other region are coming in.
    pub is_connected: bool,
    /// Its data: `incomplete`, `complete`, `behind` or `diverged`.
    pub data: String,
    /// Changes of the other region that are not here, as far as is known.
    pub lag_revisions: u64,
    /// For how long it has not had everything that the other region had, in seconds; `None` if it never had.
    pub lag_seconds: Option<f64>,
    /// What it had and the other region had not when it began to follow.
    pub given_up: Option<GivenUp>,
    /// Since when the other region has been lost.
    pub lost_since: Option<String>,
    /// When time enables writing here.
    pub write_enable_at: Option<String>,
    /// For how long the other region has not been heard, in seconds.
    pub unheard_seconds: f64,
    /// What has happened since its process started, the oldest first.
    pub events: Vec<RegionEvent>,
}

/// Changes that a region has acknowledged, or may have, and that the other one did not have when it took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Number of changes; `None` if it is not known.
    pub changes: Option<u64>,
    /// Identifiers of the keys that they were about, as far as they are known.
    pub keys: Vec<String>,
}

/// Something that has happened to a region of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionEvent {
    /// When, by the region's clock, RFC 3339 in UTC.
    pub clock: String,
    /// Kind of event, one word.
    pub event: String,
    /// The event in words.
    pub text: String,
}

/// Body of `POST /region/promote` and `POST /pair/promote`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromoteRequest {
    /// The operator states that the home is down and cannot write.
    pub home_is_down: bool,
    /// The operator accepts data that differ from the home's.
    pub accept_divergence: bool,
}

/// Whether a change is in both regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicatedReport {
    /// The change: the header `hsm-revision` of its answer.
    pub revision: String,
    /// Whether both regions have it.
    pub replicated: bool,
    /// Why it is not known to be in both; empty if it is.
    pub reason: String,
}

/// Query of `GET /region/replicated/REVISION` and `GET /pair/replicated/REVISION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicatedQuery {
    /// How long to wait for the change, in milliseconds.
    pub wait_ms: u64,
}

/// Body of `POST /pair/fault`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "lowercase", deny_unknown_fields)]
pub enum PairFault {
    /// Everything in a region dies.
    Lose {
        /// Name of the region.
        region: String,
    },
    /// A region lives, and reaches nothing outside.
    Isolate {
        /// Name of the region.
        region: String,
    },
    /// Nothing is carried between two parties.
    Cut {
        /// Name of a region, `witness` or `front`.
        from: String,
        /// Another one.
        to: String,
        /// Whether only what `from` sends to `to` is dropped.
        #[serde(default)]
        one_way: bool,
    },
}

/// Body of `POST /pair/heal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PairHeal {
    /// A region that was lost or isolated, by name.
    Region(String),
    /// A link between two parties.
    Link(String, String),
}

/// Status of a pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairStatus {
    /// Profile that it was started with.
    pub profile: String,
    /// What stops a region before the other one may write: `operator`, `witness` or `none`.
    pub fence: String,
    /// What enables changes in a standby: `operator`, `timer` or `operator-or-timer`.
    pub changes_enabled_by: String,
    /// Name of the home.
    pub home: String,
    /// Name of the standby.
    pub standby: String,
    /// `normal`, `lost`, `promoted` or `returning`; `unknown` if no region reports.
    pub state: String,
    /// Highest epoch that a region acts by.
    pub epoch: u64,
    /// Who accepts changes: `home`, `standby`, `none`; `both` only without a fence.
    pub writes: String,
    /// Region that the front sends requests to.
    pub requests_go_to: Option<String>,
    /// For how long the region that follows has not had everything, in seconds.
    pub lag_seconds: Option<f64>,
    /// Changes that it does not have yet, as far as is known.
    pub lag_revisions: Option<u64>,
    /// Since when a region has been lost.
    pub lost_since: Option<String>,
    /// When time enables writing in the region that follows.
    pub write_enable_at: Option<String>,
    /// Whether the region that does not have the right to write could serve if the other one was lost now.
    pub ready: bool,
    /// Why not; empty if it could.
    pub reason: String,
    /// The regions, home first.
    pub regions: Vec<PairRegion>,
    /// Links that are cut.
    pub cut: Vec<CutLink>,
    /// What exceeds an objective of the switches `slo.rpo` and `slo.rto`.
    pub alarms: Vec<String>,
    /// The clock of all regions.
    pub clock: ClockStatus,
}

/// What the loss of a region would do now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it would be survived.
    pub ready: bool,
    /// Why not; empty if it would.
    pub reason: String,
    /// Region that would serve requests.
    pub would_serve: Option<String>,
    /// Changes that it does not have yet, as far as is known: they would be lost.
    pub lag_revisions: Option<u64>,
    /// For how long it has not had everything, in seconds.
    pub lag_seconds: Option<f64>,
    /// What enables changes there: `operator`, `timer` or `operator-or-timer`.
    pub changes_enabled_by: String,
    /// What exceeds an objective.
    pub alarms: Vec<String>,
}

impl PairStatus {
    /// What the loss of the region that accepts changes, or is to, would do now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let owner = regions::Epoch::from_number(self.epoch).owner();
        let other = if owner == regions::Side::Home { &self.standby } else { &self.home };
        Readiness {
            ready: self.ready,
            reason: self.reason.clone(),
            would_serve: self.ready.then(|| other.clone()),
            lag_revisions: self.lag_revisions,
            lag_seconds: self.lag_seconds,
            changes_enabled_by: self.changes_enabled_by.clone(),
            alarms: self.alarms.clone(),
        }
    }
}

/// A region in the status of its pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairRegion {
    /// Name of the region.
    pub name: String,
    /// `home` or `standby`.
    pub role: String,
    /// `running`, `starting` or `lost`.
    pub process: String,
    /// Process ID while it runs.
    pub pid: Option<u32>,
    /// Number of restarts after the process ended by itself.
    pub restarts: u32,
    /// Whether it is cut off from everything outside.
    pub isolated: bool,
    /// What it reports; `None` while it does not.
    pub report: Option<RegionReport>,
}

/// A direction in which a link carries nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutLink {
    /// Who sends.
    pub from: String,
    /// Who does not receive.
    pub to: String,
}

/// Addresses of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairEndpoints {
    /// Base of the Key Protect API that stays the same whichever region serves.
    pub public: String,
    /// Private base of the region that requests go to, to which clients may have to be pointed by hand.
    pub private: String,
    /// Whether the private address follows the public one by itself.
    pub private_is_automatic: bool,
    /// Each region's own addresses.
    pub regions: Vec<RegionEndpoints>,
}

/// Addresses of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionEndpoints {
    /// Name of the region.
    pub name: String,
    /// `home` or `standby`.
    pub role: String,
    /// Its own base of the Key Protect API.
    pub rest_url: String,
    /// Base of the administration of its crypto units.
    pub tke_url: String,
    /// Base of health and metrics.
    pub operator_url: String,
    /// Whether the front sends requests to it.
    pub is_routed: bool,
}

/// The timeline of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairLog {
    /// What has happened, the oldest first.
    pub events: Vec<TimelineEntry>,
}
