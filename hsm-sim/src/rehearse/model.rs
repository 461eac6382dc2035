//! The report of a rehearsal. Times are whole milliseconds, so that a report has one form in JSON.

use super::chain::ChainedEvent;
use super::checks::Check;
use super::history::Kind;
use super::measure::{ClientView, ErrorCount, Marks, Recovery, Series, Window};
use super::plan::Plan;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a rehearsal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The objective was met, and every check passed.
    Pass,
    /// The objective was met, with the exceptions listed.
    PassWithExceptions,
    /// The objective was missed, or a check failed.
    Fail,
    /// The rehearsal proves nothing: the fault did not take effect, the load was too small, a clock jumped, or it was
    /// interrupted.
    Void,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::PassWithExceptions => "pass with exceptions",
            Self::Fail => "fail",
            Self::Void => "void",
        })
    }
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What a rehearsal came to.
    pub verdict: Verdict,
    /// Why it is not a plain pass, the gravest reason first.
    pub reasons: Vec<String>,
    /// What was rehearsed, where, and by whom.
    pub identity: Identity,
    /// The plan with the objective, written before the run.
    pub plan: Plan,
    /// What a loss would have done just before; `None` if the simulator did not come that far.
    pub before: Option<Readiness>,
    /// What was measured.
    pub measured: Measured,
    /// Results of the invariants.
    pub checks: Vec<Check>,
    /// What happened, in the order in which it was recorded.
    pub timeline: Vec<ChainedEvent>,
    /// What shows that the report is as it was written.
    pub evidence: Evidence,
}

/// What was rehearsed, where, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Identifier of the report, a UUID.
    pub report_id: String,
    /// Version of the report's form.
    pub schema: u32,
    /// Version of the program.
    pub program: String,
    /// SHA-256 of the program's file, in hexadecimal; empty if it could not be read.
    pub program_sha256: String,
    /// SHA-256 of the plan in its canonical form, in hexadecimal.
    pub plan_sha256: String,
    /// User who started it.
    pub started_by: String,
    /// Why, in the words of that user.
    pub reason: String,
    /// `simulated`: the regions are processes of one machine.
    pub kind: String,
    /// The machine.
    pub machine: Machine,
    /// When it began, RFC 3339 in UTC.
    pub began: String,
    /// When it ended.
    pub ended: String,
    /// Difference between the real time and the clock that only runs forward, over the run, in milliseconds.
    pub clock_difference_ms: i64,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and processor.
    pub platform: String,
    /// Processors that the program may use.
    pub processors: u64,
    /// Name of the machine.
    pub host: String,
}

/// What a loss would have done just before the fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it would have been survived.
    pub is_ready: bool,
    /// Why not.
    pub reason: String,
    /// State, epoch and fence of the pair, or state of the region.
    pub state: String,
    /// Changes that the standby did not have.
    pub lag_changes: Option<u64>,
    /// For how long it had not had everything, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Alarms that were raised.
    pub alarms: Vec<String>,
    /// Crypto units.
    pub units: Vec<ReadyUnit>,
    /// What was not evaluated.
    pub not_evaluated: Vec<String>,
}

/// A crypto unit before the fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyUnit {
    /// Region of the unit.
    pub region: String,
    /// Zone of the unit.
    pub zone: String,
    /// Number of the unit in its region.
    pub unit: u16,
    /// State as its host sees it.
    pub state: String,
    /// Verification pattern of its master key, in hexadecimal; empty if it does not tell.
    pub pattern: String,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// RTO-use: how uses came back. `None`: there was no fault.
    pub uses: Option<Recovery>,
    /// RTO-change: how changes came back.
    pub changes: Option<Recovery>,
    /// How long after the operator's first order changes succeeded, in milliseconds.
    pub changes_after_order_ms: Option<u64>,
    /// How uses came through the return of writing to the home, from its order on; `None` if it was not ordered.
    pub uses_in_return: Option<Recovery>,
    /// How changes came through it.
    pub changes_in_return: Option<Recovery>,
    /// RTO-full: from the fault until everything was as before, in milliseconds.
    pub full_ms: Option<u64>,
    /// From the fault until a region noticed it, in milliseconds.
    pub detected_ms: Option<u64>,
    /// From the fault until the front sent requests elsewhere, in milliseconds.
    pub routed_ms: Option<u64>,
    /// RPO in changes: those acknowledged before the fault that are missing at the end; `None` if the end was not reached.
    pub lost_changes: Option<u64>,
    /// RPO in time: how long before the fault the oldest of them was acknowledged, in milliseconds.
    pub lost_ms: Option<u64>,
    /// Acknowledged changes that are missing at the end.
    pub lost: Vec<Lost>,
    /// Uses of a key that began after its disabling was acknowledged, and succeeded.
    pub uses_after_disable: u64,
    /// Uses of disabled keys that were attempted.
    pub uses_of_disabled_keys_attempted: u64,
    /// Latencies and failures before, during and after.
    pub windows: Vec<Window>,
    /// Errors by kind, over every attempt.
    pub errors: Vec<ErrorCount>,
    /// What clients saw that never retry.
    pub clients: ClientView,
    /// What clients saw that retry.
    pub retrying_clients: ClientView,
    /// Steps that a person takes.
    pub human: Human,
    /// Moments, in microseconds since the rehearsal began.
    pub marks: Marks,
    /// Requests in each second.
    pub series: Series,
}

/// An acknowledged change that is missing at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Kind of the change.
    pub change: Kind,
    /// Identifier of the key.
    pub key: String,
    /// Header `hsm-revision` of the answer, or empty.
    pub revision: String,
    /// When it was acknowledged, in milliseconds since the rehearsal began.
    pub acknowledged_ms: u64,
    /// Whether that was before the fault.
    pub is_before_fault: bool,
}

/// Steps that a person takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Human {
    /// The orders, in the order in which they were given.
    pub steps: Vec<HumanStep>,
    /// Time in which a person decides, as planned, and in which orders run, in milliseconds.
    pub total_ms: u64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HumanStep {
    /// The order.
    pub order: String,
    /// Time for the decision: planned, not measured, since no person takes part.
    pub decision_ms: u64,
    /// From the order until it had its effect.
    pub took_ms: u64,
}

/// What shows that the report is as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Last hash of the timeline, in hexadecimal.
    pub chain_head: String,
    /// SHA-256 of the file `history.jsonl`, in hexadecimal.
    pub history_sha256: String,
    /// Requests in it.
    pub requests: u64,
    /// Algorithm of the signature.
    pub algorithm: String,
    /// Public key, in hexadecimal.
    pub public_key: String,
    /// Whether the key was read from a file that is kept; else it was made for this report, and was not kept.
    pub is_key_kept: bool,
    /// Signature over all the rest, in hexadecimal.
    pub signature: String,
}

impl Report {
    /// The events in the order of time.
    #[must_use]
    pub fn events(&self) -> Vec<&ChainedEvent> {
        let mut events: Vec<_> = self.timeline.iter().collect();
        events.sort_by_key(|chained| chained.event.at_ms);
        events
    }
}

#[cfg(test)]
pub(super) use sample::sample;

#[cfg(test)]
pub(super) mod sample;
