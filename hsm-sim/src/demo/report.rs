//! The report of the demo.

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;
use std::time::Duration;

/// Results of the whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Number of data keys to wrap.
    pub keys: u32,
    /// Number of data keys whose wrap was acknowledged and whose last unwrap failed.
    pub lost_keys: u32,
    /// Number of requests sent.
    pub requests: u64,
    /// Number of requests that failed.
    pub failed_requests: u64,
    /// Results of each phase, in order.
    pub phases: Vec<PhaseReport>,
    /// Error messages of failed requests, without repetitions.
    pub messages: Vec<String>,
}

/// Results of one phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseReport {
    /// Name of the phase, such as `az1 killed`.
    pub phase: String,
    /// Number of requests sent in the phase.
    pub requests: u64,
    /// Number of them that failed.
    pub failed: u64,
    /// Median latency, in microseconds.
    pub p50_us: u32,
    /// 99th percentile of the latency, in microseconds.
    pub p99_us: u32,
    /// Longest latency, in microseconds.
    pub max_us: u32,
    /// Requests a second.
    pub per_second: u32,
    /// Time from the heal until every unit served again, in milliseconds.
    pub full_service_ms: Option<u64>,
}

impl Report {
    /// Whether no request failed and no key was lost.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost_keys == 0 && self.failed_requests == 0
    }

    /// The report as text.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "phase",
            "requests",
            "failed",
            "per s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "full service after",
        ]);
        for phase in &self.phases {
            table.add_row([
                phase.phase.clone(),
                phase.requests.to_string(),
                phase.failed.to_string(),
                phase.per_second.to_string(),
                millis(phase.p50_us),
                millis(phase.p99_us),
                millis(phase.max_us),
                phase.full_service_ms.map_or_else(String::new, |ms| format!("{ms} ms")),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let messages: String = self.messages.iter().map(|m| format!("\nfailed: {m}")).collect();
        format!(
            "{table}\n{} data keys, {} requests: {} failed requests, {} lost keys{messages}",
            self.keys, self.requests, self.failed_requests, self.lost_keys
        )
    }
}

/// Calculates the results of one phase. Sorts `latencies_us`.
pub(super) fn summarise(
    name: &str,
    length: Duration,
    latencies_us: &mut [u32],
    failed: u64,
    full_service: Option<Duration>,
) -> PhaseReport {
    latencies_us.sort_unstable();
    let requests = latencies_us.len();
    let at = |percent: usize| {
        let place = (requests * percent).div_ceil(100).saturating_sub(1);
        latencies_us.get(place).copied().unwrap_or(0)
    };
    let per_second = requests as f64 / length.as_secs_f64().max(0.001);
    PhaseReport {
        phase: name.to_owned(),
        requests: requests as u64,
        failed,
        p50_us: at(50),
        p99_us: at(99),
        max_us: at(100),
        per_second: per_second as u32,
        full_service_ms: full_service.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn millis(us: u32) -> String {
    format!("{:.1}", f64::from(us) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::{Report, summarise};
    use std::time::Duration;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut latencies: Vec<u32> = (1..=100).rev().collect();
        let phase = summarise("before", Duration::from_secs(2), &mut latencies, 1, None);
        assert_eq!((phase.p50_us, phase.p99_us, phase.max_us), (50, 99, 100));
        assert_eq!((phase.requests, phase.per_second, phase.failed), (100, 50, 1));
        let nothing = summarise("idle", Duration::ZERO, &mut [], 0, None);
        assert_eq!((nothing.p50_us, nothing.max_us), (0, 0));
    }

    #[test]
    fn one_failure_is_enough() {
        let clean = Report {
            keys: 1,
            lost_keys: 0,
            requests: 2,
            failed_requests: 0,
            phases: vec![],
            messages: vec![],
        };
        assert!(clean.is_clean());
        assert!(!Report { lost_keys: 1, ..clean.clone() }.is_clean());
        assert!(!Report { failed_requests: 1, ..clean }.is_clean());
    }
}
