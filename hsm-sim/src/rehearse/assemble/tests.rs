//! Verdicts.

use super::Recorded;
use super::{agrees, assemble};
use crate::rehearse::checks::CheckResult;
use crate::rehearse::history::{History, Kind};
use crate::rehearse::model::sample::recorded;
use crate::rehearse::model::{Report, Verdict};
use crate::rehearse::plan::Scenario;
use crate::rehearse::samples::{attempt, failed};

fn judged(change: impl FnOnce(&mut Recorded)) -> Report {
    let mut recorded = recorded();
    change(&mut recorded);
    assemble(recorded).unwrap()
}

fn verdict(change: impl FnOnce(&mut Recorded)) -> (Verdict, String) {
    let report = judged(change);
    (report.verdict, report.reasons.join("; "))
}

#[test]
fn a_run_that_meets_its_objective_passes_with_its_numbers() {
    let report = judged(|_| {});
    assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, &[][..]));
    let measured = &report.measured;
    assert_eq!(measured.uses.unwrap().recovered_ms, Some(2040));
    assert_eq!(measured.changes.unwrap().recovered_ms, Some(4150));
    assert_eq!(measured.changes_after_order_ms, Some(150));
    assert_eq!((measured.full_ms, measured.lost_changes), (Some(12_000), Some(0)));
    assert_eq!(measured.uses_in_return.unwrap().failed, 0);
}

#[test]
fn a_missed_objective_fails() {
    let (found, why) = verdict(|run| run.plan.objective.rto_use_ms = 2039);
    assert_eq!(found, Verdict::Fail);
    assert!(why.contains("keys can be used again: after 2.0 s"), "{why}");
    assert_eq!(verdict(|run| run.found.marks.full_us = None).0, Verdict::Fail);
    assert_eq!(verdict(|run| run.found.failures.push("refused".to_owned())).0, Verdict::Fail);
    // A key that was acknowledged is gone, and the objective allows no loss that old.
    let (found, why) = verdict(|run| run.history.found.as_mut().unwrap().truncate(7));
    assert_eq!(found, Verdict::Fail);
    assert!(why.contains("acknowledged-before-fault"), "{why}");
}

#[test]
fn what_the_objective_allows_is_an_exception() {
    let (found, why) = verdict(|run| {
        run.plan.objective.rpo_ms = 9000;
        run.history.found.as_mut().unwrap().truncate(7);
    });
    assert_eq!(found, Verdict::PassWithExceptions);
    assert!(why.contains("the objective allows it"), "{why}");
    let (found, why) = verdict(|run| run.found.before.as_mut().unwrap().is_ready = false);
    assert_eq!(found, Verdict::PassWithExceptions);
    assert!(why.contains("not ready before the fault"), "{why}");
}

#[test]
fn a_run_that_proves_nothing_is_void() {
    for (change, part) in [
        (
            (|run: &mut Recorded| run.found.marks.fault_in_us = None) as fn(&mut Recorded),
            "did not take effect",
        ),
        (|run| run.found.marks.fault_asked_us = None, "not reached"),
        (|run| run.found.void.push("it was interrupted".to_owned()), "interrupted"),
        (|run| run.identity.clock_difference_ms = -1001, "clock jumped"),
        (|run| run.history.attempts.retain(|attempt| attempt.kind != Kind::Wrap), "the load was too small"),
    ] {
        let (found, why) = verdict(change);
        assert_eq!(found, Verdict::Void, "{part}");
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn a_report_agrees_with_its_history_and_no_other() {
    let run = recorded();
    let history = run.history.clone();
    let report = assemble(run).unwrap();
    assert_eq!(agrees(&report, &history), Vec::<String>::new());
    // The checks that need more than the history are those that the report has.
    assert!(report.checks.iter().all(|check| check.result == CheckResult::Passed));
    let mut other = History { ..history };
    other.attempts.push(attempt(Kind::Wrap, 13_000_000, failed()));
    let wrong = agrees(&report, &other);
    assert!(wrong.iter().any(|wrong| wrong.contains("uses-after-routing")), "{wrong:?}");
}

#[test]
fn canary_a_use_that_fails_in_both_regions_of_duplicate_keys() {
    let fails_at = |is_last| {
        verdict(|run| {
            run.plan.scenario = Scenario::DuplicateKeys;
            run.plan.objective.failed_uses = Some(0);
            // As in the region that lives.
            run.history.attempts.retain(|attempt| attempt.outcome.is_done());
            let mut failed = attempt(Kind::Unwrap, 11_000_000, failed());
            failed.is_last = is_last;
            run.history.attempts.push(failed);
        })
    };
    assert_eq!(fails_at(false).0, Verdict::Pass);
    let (found, why) = fails_at(true);
    assert!(found == Verdict::Fail && why.contains("failed-uses"), "{why}");
}
