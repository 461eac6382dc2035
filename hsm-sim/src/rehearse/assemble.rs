//! The report, from what was recorded: pure functions.

use super::checks::{self, Check, CheckResult, Facts};
use super::history::{Class, History, Kind};
use super::measure::{self, Marks, Recovery};
use super::model::{Evidence, Identity, Lost, Measured, Report, Verdict};
use super::plan::{Objective, Plan, Scenario, shown};
use super::progress::Found;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use wire::text::encode_hex;

/// Uses that have to succeed before the fault.
const LEAST_USES: usize = 30;
/// Changes that have to succeed before the fault.
const LEAST_CHANGES: usize = 5;
/// Largest difference of the clocks over the run, in milliseconds.
const MOST_CLOCK_DIFFERENCE_MS: i64 = 1000;

/// What a report is made of.
pub(super) struct Recorded {
    pub(super) identity: Identity,
    pub(super) plan: Plan,
    pub(super) found: Found,
    pub(super) history: History,
}

/// Makes the report, without its timeline and signature.
pub(super) fn assemble(recorded: Recorded) -> serde_json::Result<Report> {
    let Recorded { identity, plan, found, history } = recorded;
    let seen = seen_by_clients(plan.scenario, &history);
    let measured = measured(&plan, &found, &history);
    let facts = Facts {
        scenario: plan.scenario,
        objective: &plan.objective,
        history: &seen,
        marks: &found.marks,
        ending: found.ending.as_ref(),
    };
    let checks = checks::all(&facts);
    let (verdict, reasons) = judge(&plan.objective, &found, &history, &measured, &checks, &identity);
    let evidence = Evidence {
        history_sha256: encode_hex(&Sha256::digest(history.to_lines()?)),
        requests: history.attempts.len() as u64,
        ..Evidence::default()
    };
    Ok(Report {
        verdict,
        reasons,
        identity,
        plan,
        before: found.before,
        measured,
        checks,
        timeline: Vec::new(),
        evidence,
    })
}

/// Checks that a report says of its history what the history gives: measured numbers and checks.
pub(super) fn agrees(report: &Report, history: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    let found =
        Found { marks: report.measured.marks, human: report.measured.human.clone(), ..Found::default() };
    if measured(&report.plan, &found, history) != report.measured {
        wrong.push("the measured numbers are not those of history.jsonl".to_owned());
    }
    let facts = Facts {
        scenario: report.plan.scenario,
        objective: &report.plan.objective,
        history: &seen_by_clients(report.plan.scenario, history),
        marks: &report.measured.marks,
        ending: None,
    };
    let again = checks::all(&facts);
    for check in &report.checks {
        // The state at the end is not part of the history.
        let is_same = again.iter().any(|again| again == check);
        if !is_same && check.check != "as-before" {
            wrong.push(format!("the check {} gives another result over history.jsonl", check.check));
        }
    }
    wrong
}

/// What counts for objective and checks: every attempt, but with duplicate keys only the last one of each use. There, a client
/// that fails in one region tries the other one, and that is what is rehearsed.
fn seen_by_clients(scenario: Scenario, history: &History) -> Cow<'_, History> {
    match scenario {
        Scenario::RegionLoss | Scenario::Failback | Scenario::ZoneLoss | Scenario::Rotation => {
            Cow::Borrowed(history)
        }
        Scenario::DuplicateKeys => {
            let attempts = history.attempts.iter().filter(|attempt| attempt.is_last).cloned().collect();
            let (found, last_uses) = (history.found.clone(), history.last_uses.clone());
            Cow::Owned(History { attempts, found, last_uses, writers: history.writers.clone() })
        }
    }
}

fn measured(plan: &Plan, found: &Found, all: &History) -> Measured {
    let history = &*seen_by_clients(plan.scenario, all);
    let marks = &found.marks;
    let end = marks.repair_us.or(marks.end_us).unwrap_or(u64::MAX);
    let recovered =
        |class| marks.fault_asked_us.map(|fault| measure::recovery(&history.attempts, class, fault, end));
    let after_fault = |mark: Option<u64>| Some(mark?.saturating_sub(marks.fault_asked_us?) / 1000);
    let after_order = marks
        .decided_us
        .filter(|_| marks.repair_us.is_none_or(|repair| marks.decided_us < Some(repair)))
        .and_then(|decided| measure::first_success_ms(&history.attempts, Class::Change, decided));
    let run_end = marks.end_us.unwrap_or(u64::MAX);
    let in_return = |class| {
        marks.returned_us.map(|returned| measure::recovery(&history.attempts, class, returned, run_end))
    };
    let lost = measure::lost_changes(history);
    let split = lost.map(|lost| checks::split_at_fault(lost, marks));
    let shown_lost = |(before, after): &(Vec<_>, Vec<_>)| -> Vec<Lost> {
        let of = |lost: &[measure::LostChange], is_before_fault| -> Vec<Lost> {
            let one = |change: &measure::LostChange| Lost {
                change: change.kind,
                key: change.key.clone(),
                revision: change.revision.clone(),
                acknowledged_ms: change.acknowledged_us / 1000,
                is_before_fault,
            };
            lost.iter().map(one).collect()
        };
        [of(before, true), of(after, false)].concat()
    };
    let load = plan.load;
    let first_retrying = load.clients.saturating_sub(load.retrying_clients);
    let tried = history.attempts.iter().filter(|attempt| attempt.kind == Kind::UseDisabled).count();
    Measured {
        uses: recovered(Class::Use),
        changes: recovered(Class::Change),
        changes_after_order_ms: after_order,
        uses_in_return: in_return(Class::Use),
        changes_in_return: in_return(Class::Change),
        full_ms: full_ms(history, marks),
        detected_ms: after_fault(marks.detected_us),
        routed_ms: after_fault(marks.routed_us),
        lost_changes: split.as_ref().map(|(before, _)| before.len() as u64),
        lost_ms: split.as_ref().map(|(before, _)| checks::rpo_ms(before, marks)),
        lost: split.as_ref().map(shown_lost).unwrap_or_default(),
        uses_after_disable: checks::uses_after_disable(history).len() as u64,
        uses_of_disabled_keys_attempted: tried as u64,
        windows: measure::windows(history, marks),
        errors: measure::errors(all),
        clients: measure::client_view(history, 0..first_retrying),
        retrying_clients: measure::client_view(history, first_retrying..load.clients),
        human: found.human.clone(),
        marks: *marks,
        series: measure::series(all),
    }
}

/// RTO-full: until the simulator reports that all is as before, and clients have seen it too.
fn full_ms(history: &History, marks: &Marks) -> Option<u64> {
    let (fault, full, end) = (marks.fault_asked_us?, marks.full_us?, marks.end_us.unwrap_or(u64::MAX));
    let seen = |class| measure::recovery(&history.attempts, class, fault, end).recovered_ms;
    let reported = full.saturating_sub(fault) / 1000;
    Some(reported.max(seen(Class::Use)?).max(seen(Class::Change)?))
}

fn judge(
    objective: &Objective,
    found: &Found,
    history: &History,
    measured: &Measured,
    checks: &[Check],
    identity: &Identity,
) -> (Verdict, Vec<String>) {
    let void = void(found, history, identity);
    let failures = failures(objective, found, measured, checks);
    let exceptions = exceptions(found, checks);
    let verdict = if !void.is_empty() {
        Verdict::Void
    } else if !failures.is_empty() {
        Verdict::Fail
    } else if !exceptions.is_empty() {
        Verdict::PassWithExceptions
    } else {
        Verdict::Pass
    };
    // What would have been a failure or an exception proves nothing in a void run.
    let reasons = if void.is_empty() { [failures, exceptions].concat() } else { void };
    (verdict, reasons)
}

fn void(found: &Found, history: &History, identity: &Identity) -> Vec<String> {
    let mut void = found.void.clone();
    let marks: &Marks = &found.marks;
    match marks.fault_asked_us {
        None if void.is_empty() => void.push("the fault was not reached".to_owned()),
        Some(_) if marks.fault_in_us.is_none() && void.is_empty() => {
            void.push("the fault did not take effect".to_owned());
        }
        _ => {}
    }
    if let Some(fault) = marks.fault_asked_us
        && !is_load_enough(history, fault)
    {
        let (uses, changes) = load_until(history, fault);
        void.push(format!(
            "the load was too small: {uses} uses and {changes} changes before the fault, {LEAST_USES} and \
             {LEAST_CHANGES} are needed"
        ));
    }
    let difference = identity.clock_difference_ms;
    if difference.abs() > MOST_CLOCK_DIFFERENCE_MS {
        void.push(format!("the machine's clock jumped by {difference} ms during the run"));
    }
    void
}

/// Uses and changes that were acknowledged until then.
fn load_until(history: &History, until_us: u64) -> (usize, usize) {
    let done = |class| {
        let attempts = history.attempts.iter().filter(|attempt| attempt.kind.class() == class);
        attempts.filter(|attempt| attempt.outcome.is_done() && attempt.end_us <= until_us).count()
    };
    (done(Class::Use), done(Class::Change))
}

/// Whether the load until then is large enough for the run to prove something.
pub(super) fn is_load_enough(history: &History, until_us: u64) -> bool {
    let (uses, changes) = load_until(history, until_us);
    uses >= LEAST_USES && changes >= LEAST_CHANGES
}

fn failures(objective: &Objective, found: &Found, measured: &Measured, checks: &[Check]) -> Vec<String> {
    let mut failures = found.failures.clone();
    let recovered = |recovery: &Option<Recovery>| recovery.as_ref().and_then(|found| found.recovered_ms);
    for (what, took, at_most) in [
        ("keys can be used again", recovered(&measured.uses), objective.rto_use_ms),
        ("keys can be changed again", recovered(&measured.changes), objective.rto_change_ms),
        ("all is as before", measured.full_ms, objective.rto_full_ms),
    ] {
        match took {
            None => failures.push(format!("{what}: never, objective {}", shown(at_most))),
            Some(took) if took > at_most => {
                failures.push(format!("{what}: after {}, objective {}", shown(took), shown(at_most)));
            }
            Some(_) => {}
        }
    }
    for check in checks.iter().filter(|check| check.result == CheckResult::Failed) {
        failures.push(format!("{}: {} times not so that {}", check.check, check.violations, check.holds));
    }
    failures
}

fn exceptions(found: &Found, checks: &[Check]) -> Vec<String> {
    let mut exceptions = Vec::new();
    if let Some(before) = found.before.as_ref().filter(|before| !before.is_ready) {
        exceptions.push(format!("not ready before the fault: {}", before.reason));
    }
    for check in checks {
        match check.result {
            CheckResult::Allowed => exceptions.push(format!(
                "{}: {} times not so that {}; the objective allows it",
                check.check, check.violations, check.holds
            )),
            CheckResult::NotEvaluated => {
                let why = check.examples.first().map_or("", String::as_str);
                exceptions.push(format!("{}: not evaluated, {why}", check.check));
            }
            CheckResult::Passed | CheckResult::Failed => {}
        }
    }
    exceptions
}

#[cfg(test)]
mod tests;
