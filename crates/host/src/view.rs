//! Units as operators see them.

use crate::CloseReason;
use cluster::{Ejection, Health};
use std::time::Duration;
use unit_api::{UnitId, VerificationPattern};

/// A unit as operators see it.
#[derive(Clone, Debug)]
pub struct UnitView {
    /// Its number in the instance.
    pub number: u16,
    /// Its zone.
    pub zone: String,
    /// Its identity, once it said so over its present connection.
    pub unit: Option<UnitId>,
    /// `checking`, `warming`, `eligible`, `ejected`, `draining` or `fenced`.
    pub state: &'static str,
    /// Whether it gets work.
    pub in_use: bool,
    /// Why it is ejected or fenced; empty in other states.
    pub reason: String,
    /// The verification pattern of its Current register, as it said last.
    pub pattern: Option<VerificationPattern>,
    /// Commands under way.
    pub outstanding: u32,
    /// Answers that callers got from it.
    pub served: u64,
    /// Answers that were failures of the unit itself.
    pub failed: u64,
    /// How often it was ejected, by cause.
    pub ejections: [(Ejection, u64); 5],
    /// How often it was fenced.
    pub fences: u64,
    /// Median latency of late; zero before the first answer.
    pub p50: Duration,
    /// 99th percentile of late.
    pub p99: Duration,
    /// How long it has been in its state.
    pub since: Duration,
}

impl UnitView {
    pub(crate) fn new(view: cluster::UnitView, now: cluster::Instant, ending: Option<&CloseReason>) -> Self {
        let reason = match (&view.health, ending) {
            (Health::Ejected { cause: cause @ Ejection::Lost, .. }, Some(ending)) => {
                format!("{cause}: {ending}")
            }
            (Health::Ejected { .. } | Health::Fenced(_), _) => view.health.to_string(),
            _ => String::new(),
        };
        Self {
            number: view.number.0,
            zone: view.zone,
            unit: view.unit,
            state: view.health.name(),
            in_use: view.health.is_in_use(),
            reason,
            pattern: view.pattern,
            outstanding: view.outstanding,
            served: view.served,
            failed: view.failed,
            ejections: view.ejections,
            fences: view.fences,
            p50: view.p50,
            p99: view.p99,
            since: now.since(view.since),
        }
    }
}
