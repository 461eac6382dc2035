//! Numbers from a history: pure functions.

use super::history::{Attempt, Class, History, Kind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Moments of a rehearsal, in microseconds since it began. `None`: it did not come that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Just before the fault was ordered.
    pub fault_asked_us: Option<u64>,
    /// The fault was in effect.
    pub fault_in_us: Option<u64>,
    /// A region noticed the loss of the other one.
    pub detected_us: Option<u64>,
    /// The front sent requests elsewhere.
    pub routed_us: Option<u64>,
    /// Just before the operator's first order after the fault.
    pub decided_us: Option<u64>,
    /// Just before the repair of what was broken, which may itself break something for a moment.
    pub repair_us: Option<u64>,
    /// Just before writing was ordered back to the home.
    pub returned_us: Option<u64>,
    /// Everything was as before.
    pub full_us: Option<u64>,
    /// The load had ended.
    pub end_us: Option<u64>,
}

/// How operations of a class came back after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Attempts that failed from the fault until the repair began.
    pub failed: u64,
    /// End of the first one, in milliseconds after the fault was ordered.
    pub first_failure_ms: Option<u64>,
    /// End of the last one.
    pub last_failure_ms: Option<u64>,
    /// From the fault's order to the end of the first success after the last failure; 0 without a failure, `None` if nothing
    /// succeeded after it.
    pub recovered_ms: Option<u64>,
}

/// Measures how operations of a class came back: over every attempt of all clients that ended between the moment in which
/// the fault was ordered and `until_us`.
#[must_use]
pub fn recovery(attempts: &[Attempt], class: Class, fault_us: u64, until_us: u64) -> Recovery {
    let within = |attempt: &&Attempt| {
        attempt.kind.class() == class && attempt.end_us > fault_us && attempt.end_us <= until_us
    };
    let failures = || attempts.iter().filter(within).filter(|attempt| attempt.outcome.is_failure());
    let first = failures().map(|attempt| attempt.end_us).min();
    let last = failures().map(|attempt| attempt.end_us).max();
    let after = |end_us: u64| (end_us - fault_us) / 1000;
    let recovered_ms = match last {
        None => Some(0),
        Some(last) => attempts
            .iter()
            .filter(|attempt| attempt.kind.class() == class && attempt.end_us > last)
            .filter(|attempt| attempt.outcome.is_done())
            .map(|attempt| attempt.end_us)
            .min()
            .map(after),
    };
    Recovery {
        failed: failures().count() as u64,
        first_failure_ms: first.map(after),
        last_failure_ms: last.map(after),
        recovered_ms,
    }
}

/// From an order to the first acknowledged operation of a class, in milliseconds.
#[must_use]
pub fn first_success_ms(attempts: &[Attempt], class: Class, order_us: u64) -> Option<u64> {
    let of_class = attempts.iter().filter(|attempt| attempt.kind.class() == class);
    let done = of_class.filter(|attempt| attempt.outcome.is_done() && attempt.end_us > order_us);
    done.map(|attempt| (attempt.end_us - order_us) / 1000).min()
}

/// A change that was acknowledged and is missing at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostChange {
    /// Kind of the change.
    pub kind: Kind,
    /// Identifier of the key.
    pub key: String,
    /// Header `hsm-revision` of the answer, or empty.
    pub revision: String,
    /// When it was acknowledged, in microseconds since the rehearsal began.
    pub acknowledged_us: u64,
}

/// Changes that were acknowledged and are missing at the end; `None` if the end was not reached.
#[must_use]
pub fn lost_changes(history: &History) -> Option<Vec<LostChange>> {
    let found: BTreeMap<&str, _> = history.found.as_ref()?.iter().map(|key| (key.id.as_str(), key)).collect();
    let acknowledged = history.attempts.iter().filter_map(|attempt| {
        let super::history::Outcome::Done { revision, id } = &attempt.outcome else { return None };
        let key = id.as_deref().unwrap_or(&attempt.key);
        let holds = match (attempt.kind, found.get(key)) {
            (Kind::Create, found) => found.is_some(),
            (Kind::Rotate, found) => found.is_some_and(|found| found.is_rotated),
            (Kind::Disable, found) => found.is_some_and(|found| found.is_disabled),
            (Kind::Wrap | Kind::Unwrap | Kind::UseDisabled | Kind::List, _) => return None,
        };
        (!holds).then(|| LostChange {
            kind: attempt.kind,
            key: key.to_owned(),
            revision: revision.clone().unwrap_or_default(),
            acknowledged_us: attempt.end_us,
        })
    });
    Some(acknowledged.collect())
}

/// Latencies and failures of a class of operations in a part of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// `before`, `during` (from the fault until the repair) or `after`.
    pub window: String,
    /// Class of the operations.
    pub class: String,
    /// Attempts that began in the window.
    pub attempts: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Median of those that were acknowledged, in microseconds.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The slowest one.
    pub max_us: u64,
    /// Longest time without a success, between two successes or the ends of the window, in milliseconds.
    pub longest_gap_ms: u64,
}

/// Latencies and failures before the fault, until the repair, and after it.
#[must_use]
pub fn windows(history: &History, marks: &Marks) -> Vec<Window> {
    let end = marks.end_us.unwrap_or(u64::MAX);
    let fault = marks.fault_asked_us.unwrap_or(end);
    let repair = marks.repair_us.unwrap_or(end).max(fault);
    let mut rows = Vec::new();
    for (window, from, to) in [("before", 0, fault), ("during", fault, repair), ("after", repair, end)] {
        for class in [Class::Use, Class::Change, Class::Read] {
            let row = one_window(history, class, from, to);
            rows.extend(row.map(|row| Window { window: window.to_owned(), ..row }));
        }
    }
    rows
}

fn one_window(history: &History, class: Class, from: u64, to: u64) -> Option<Window> {
    let attempts: Vec<&Attempt> = history
        .attempts
        .iter()
        .filter(|attempt| attempt.kind.class() == class && (from..to).contains(&attempt.start_us))
        .collect();
    let mut took: Vec<u64> = attempts
        .iter()
        .filter(|attempt| attempt.outcome.is_done())
        .map(|attempt| attempt.end_us.saturating_sub(attempt.start_us))
        .collect();
    took.sort_unstable();
    let mut done: Vec<u64> =
        attempts.iter().filter(|attempt| attempt.outcome.is_done()).map(|attempt| attempt.end_us).collect();
    done.sort_unstable();
    // Clients do not begin at 0 and do not work until the very end.
    let first = attempts.iter().map(|attempt| attempt.start_us).min()?;
    let last = attempts.iter().map(|attempt| attempt.end_us).max()?;
    let ends = std::iter::once(first).chain(done.iter().copied()).chain(std::iter::once(last));
    let gap = ends
        .clone()
        .zip(ends.skip(1))
        .map(|(one, other)| other.saturating_sub(one))
        .max()
        .unwrap_or_default();
    Some(Window {
        window: String::new(),
        class: class.name().to_owned(),
        attempts: attempts.len() as u64,
        failed: attempts.iter().filter(|attempt| attempt.outcome.is_failure()).count() as u64,
        p50_us: percentile(&took, 500),
        p99_us: percentile(&took, 990),
        p999_us: percentile(&took, 999),
        max_us: took.last().copied().unwrap_or_default(),
        longest_gap_ms: gap / 1000,
    })
}

/// The value that `permille` of the sorted values do not exceed; 0 without values.
fn percentile(sorted: &[u64], permille: usize) -> u64 {
    let place = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// HTTP status and code, or `no answer`.
    pub error: String,
    /// Whether another attempt may succeed.
    pub is_retryable: bool,
    /// Number of attempts.
    pub attempts: u64,
}

/// Attempts that were not acknowledged, by error. Uses that had to be refused do not count.
#[must_use]
pub fn errors(history: &History) -> Vec<ErrorCount> {
    let mut counts: BTreeMap<(String, bool), u64> = BTreeMap::new();
    let attempts = history.attempts.iter();
    for attempt in attempts.filter(|attempt| attempt.kind.class() != Class::Forbidden) {
        if !attempt.outcome.is_done() {
            *counts.entry((attempt.outcome.label(), attempt.outcome.is_retryable())).or_default() += 1;
        }
    }
    let count = |((error, is_retryable), attempts)| ErrorCount { error, is_retryable, attempts };
    counts.into_iter().map(count).collect()
}

/// What clients saw, as operations and not as attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Operations that clients began and ended.
    pub operations: u64,
    /// Operations whose last attempt failed.
    pub failed: u64,
    /// Operations that succeeded after a failed attempt.
    pub saved_by_retry: u64,
}

/// What the clients saw that are in `clients`.
#[must_use]
pub fn client_view(history: &History, clients: std::ops::Range<u16>) -> ClientView {
    let mut view = ClientView::default();
    let attempts = history.attempts.iter();
    for last in attempts.filter(|attempt| attempt.is_last && clients.contains(&attempt.client)) {
        view.operations += 1;
        view.failed += u64::from(last.outcome.is_failure());
        view.saved_by_retry += u64::from(last.attempt > 1 && !last.outcome.is_failure());
    }
    view
}

/// Requests of each kind in each second, for the drawing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Acknowledged uses in each second.
    pub uses: Vec<u32>,
    /// Failed uses in each second.
    pub failed_uses: Vec<u32>,
    /// Acknowledged changes in each second.
    pub changes: Vec<u32>,
    /// Failed changes in each second.
    pub failed_changes: Vec<u32>,
}

/// Longest series, in seconds.
const MAX_SERIES: u64 = 3600;

/// Requests in each second.
#[must_use]
pub fn series(history: &History) -> Series {
    let second = |attempt: &Attempt| attempt.end_us / 1_000_000;
    let seconds = history.attempts.iter().map(second).max().map_or(0, |last| (last + 1).min(MAX_SERIES));
    let empty = || vec![0_u32; usize::try_from(seconds).unwrap_or_default()];
    let mut series =
        Series { uses: empty(), failed_uses: empty(), changes: empty(), failed_changes: empty() };
    for attempt in &history.attempts {
        let counts = match (attempt.kind.class(), attempt.outcome.is_done(), attempt.outcome.is_failure()) {
            (Class::Use, true, _) => &mut series.uses,
            (Class::Use, false, true) => &mut series.failed_uses,
            (Class::Change, true, _) => &mut series.changes,
            (Class::Change, false, true) => &mut series.failed_changes,
            (Class::Use | Class::Change, false, false) | (Class::Read | Class::Forbidden, _, _) => continue,
        };
        if let Some(count) = usize::try_from(second(attempt)).ok().and_then(|at| counts.get_mut(at)) {
            *count += 1;
        }
    }
    series
}

/// Keys that appear in lost changes.
#[must_use]
pub fn keys_of(lost: &[LostChange]) -> BTreeSet<&str> {
    lost.iter().map(|change| change.key.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        Marks, client_view, errors, first_success_ms, lost_changes, percentile, recovery, series, windows,
    };
    use crate::rehearse::history::{Class, FoundKey, History, Kind};
    use crate::rehearse::samples::{attempt, done, failed, refused};

    #[test]
    fn recovery_is_from_the_fault_to_the_first_success_after_the_last_failure() {
        let attempts = [
            attempt(Kind::Wrap, 500_000, done()),
            attempt(Kind::Wrap, 1_500_000, failed()),
            attempt(Kind::Unwrap, 1_600_000, done()),
            attempt(Kind::Wrap, 3_000_000, failed()),
            attempt(Kind::Create, 3_100_000, done()),
            attempt(Kind::Wrap, 3_250_000, done()),
            attempt(Kind::Wrap, 9_500_000, failed()),
        ];
        let found = recovery(&attempts, Class::Use, 1_000_000, 9_000_000);
        assert_eq!((found.failed, found.recovered_ms), (2, Some(2250)));
        assert_eq!((found.first_failure_ms, found.last_failure_ms), (Some(500), Some(2000)));
        // Nothing failed; nothing recovered.
        assert_eq!(recovery(&attempts, Class::Change, 1_000_000, 9_000_000).recovered_ms, Some(0));
        assert_eq!(first_success_ms(&attempts, Class::Change, 1_000_000), Some(2100));
        assert_eq!(recovery(&attempts, Class::Use, 1_000_000, 10_000_000).recovered_ms, None);
    }

    #[test]
    fn a_request_that_is_not_possible_does_not_count_as_an_outage() {
        let attempts = [attempt(Kind::Wrap, 2_000_000, refused(404, false))];
        assert_eq!(recovery(&attempts, Class::Use, 1_000_000, 9_000_000).failed, 0);
    }

    #[test]
    fn every_kind_of_change_can_be_lost() {
        let mut history = History {
            attempts: vec![
                attempt(Kind::Create, 1, done()),
                attempt(Kind::Rotate, 2, done()),
                attempt(Kind::Disable, 3, done()),
                attempt(Kind::Wrap, 4, done()),
                attempt(Kind::Rotate, 5, failed()),
            ],
            ..History::default()
        };
        assert_eq!(lost_changes(&history), None);
        history.found = Some(Vec::new());
        let kinds = |history: &History| -> Vec<Kind> {
            lost_changes(history).unwrap().into_iter().map(|lost| lost.kind).collect()
        };
        assert_eq!(kinds(&history), [Kind::Create, Kind::Rotate, Kind::Disable]);
        let mut key =
            FoundKey { id: "key".to_owned(), name: "name".to_owned(), is_disabled: false, is_rotated: true };
        history.found = Some(vec![key.clone()]);
        assert_eq!(kinds(&history), [Kind::Disable]);
        key.is_disabled = true;
        history.found = Some(vec![key]);
        assert_eq!(kinds(&history), []);
    }

    #[test]
    fn windows_errors_and_series_count_every_attempt_once() {
        let history = History {
            attempts: vec![
                attempt(Kind::Wrap, 100_000, done()),
                attempt(Kind::Wrap, 1_600_000, failed()),
                attempt(Kind::Wrap, 2_600_000, done()),
                attempt(Kind::UseDisabled, 2_700_000, refused(409, false)),
                attempt(Kind::Create, 2_800_000, refused(503, true)),
            ],
            ..History::default()
        };
        let marks = Marks {
            fault_asked_us: Some(1_000_000),
            repair_us: Some(2_000_000),
            end_us: Some(3_000_000),
            ..Marks::default()
        };
        let rows = windows(&history, &marks);
        let counts: Vec<_> = rows
            .iter()
            .map(|row| (row.window.as_str(), row.class.as_str(), row.attempts, row.failed))
            .collect();
        assert_eq!(
            counts,
            [
                ("before", "use", 1, 0),
                ("during", "use", 1, 1),
                ("after", "use", 1, 0),
                ("after", "change", 1, 1)
            ]
        );
        let errors = errors(&history);
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|error| error.is_retryable && error.attempts == 1));
        let series = series(&history);
        assert_eq!((series.uses, series.failed_uses), (vec![1, 0, 1], vec![0, 1, 0]));
        assert_eq!(series.failed_changes, [0, 0, 1]);
    }

    #[test]
    fn clients_that_retry_see_fewer_failures() {
        let mut first = attempt(Kind::Wrap, 1, failed());
        first.is_last = false;
        let mut second = attempt(Kind::Wrap, 2, done());
        second.attempt = 2;
        let mut other = attempt(Kind::Wrap, 3, failed());
        other.client = 5;
        let history = History { attempts: vec![first, second, other], ..History::default() };
        let retrying = client_view(&history, 0..4);
        assert_eq!((retrying.operations, retrying.failed, retrying.saved_by_retry), (1, 0, 1));
        assert_eq!(client_view(&history, 4..8).failed, 1);
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let values: Vec<u64> = (1..=1000).collect();
        assert_eq!((percentile(&values, 500), percentile(&values, 999)), (500, 999));
        assert_eq!(percentile(&[], 500), 0);
    }
}
