//! Each check passes over a good history, and fails over one that breaks what it is about.

use super::{Check, CheckResult, Ending, Facts, all};
use crate::rehearse::history::{Attempt, FoundKey, History, Kind, LastUse, Outcome, WriterSample};
use crate::rehearse::measure::Marks;
use crate::rehearse::plan::{Objective, Scenario};
use crate::rehearse::samples::{attempt, done, failed, refused};

const SECOND: u64 = 1_000_000;

const OBJECTIVE: Objective =
    Objective { rto_use_ms: 1000, rto_change_ms: 1000, rto_full_ms: 1000, rpo_ms: 0, failed_uses: Some(0) };

/// A key created and rotated before the fault, and disabled after it; another one that stays.
fn good() -> History {
    let of = |key: &str, attempt: Attempt| Attempt { key: key.to_owned(), ..attempt };
    let created = |name: &str, id: &str, at| {
        let outcome = Outcome::Done { revision: Some("00-1".to_owned()), id: Some(id.to_owned()) };
        of(name, attempt(Kind::Create, at, outcome))
    };
    let found = |id: &str, is_rotated, is_disabled| FoundKey {
        id: id.to_owned(),
        name: format!("name of {id}"),
        is_disabled,
        is_rotated,
    };
    History {
        attempts: vec![
            created("name of a", "a", SECOND),
            created("name of b", "b", SECOND),
            of("a", attempt(Kind::Rotate, 2 * SECOND, done())),
            of("b", attempt(Kind::Wrap, 3 * SECOND, done())),
            of("refused", attempt(Kind::Create, 11 * SECOND, refused(503, true))),
            of("a", attempt(Kind::Disable, 12 * SECOND, done())),
            of("a", attempt(Kind::UseDisabled, 13 * SECOND, refused(409, false))),
            of("b", attempt(Kind::Unwrap, 24 * SECOND, done())),
        ],
        found: Some(vec![found("a", true, true), found("b", false, false)]),
        last_uses: vec![LastUse { key: "b".to_owned(), outcome: done() }],
        writers: vec![WriterSample { at_us: SECOND, writes: "home".to_owned() }],
    }
}

const MARKS: Marks = Marks {
    fault_asked_us: Some(10 * SECOND),
    fault_in_us: Some(10 * SECOND),
    detected_us: None,
    routed_us: Some(11 * SECOND),
    decided_us: None,
    repair_us: Some(20 * SECOND),
    returned_us: Some(21 * SECOND),
    full_us: Some(22 * SECOND),
    end_us: Some(30 * SECOND),
};

fn ending(is_as_before: bool) -> Ending {
    Ending { is_as_before, remark: "a region is lost".to_owned() }
}

fn run(history: &History, rpo_ms: u64, marks: Marks, ending: &Ending) -> Vec<Check> {
    let objective = Objective { rpo_ms, ..OBJECTIVE };
    all(&Facts {
        scenario: Scenario::RegionLoss,
        objective: &objective,
        history,
        marks: &marks,
        ending: Some(ending),
    })
}

fn result(checks: &[Check], name: &str) -> CheckResult {
    checks.iter().find(|check| check.check == name).unwrap().result
}

/// The only checks that do not pass.
fn not_passed(history: &History) -> Vec<(String, CheckResult)> {
    let checks = run(history, 0, MARKS, &ending(true));
    let bad = checks.into_iter().filter(|check| check.result != CheckResult::Passed);
    bad.map(|check| (check.check, check.result)).collect()
}

fn fails(history: &History, expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|name| ((*name).to_owned(), CheckResult::Failed)).collect();
    assert_eq!(not_passed(history), expected);
}

#[test]
fn a_good_history_passes_every_check() {
    assert_eq!(not_passed(&good()), []);
}

#[test]
fn canary_a_change_of_each_kind_that_is_lost() {
    let mut history = good();
    // The rotation, before the fault.
    history.found.as_mut().unwrap()[0].is_rotated = false;
    fails(&history, &["acknowledged-before-fault"]);
    let mut history = good();
    // The disabling, after it.
    history.found.as_mut().unwrap()[0].is_disabled = false;
    fails(&history, &["acknowledged-after-fault"]);
    let mut history = good();
    history.found.as_mut().unwrap().pop();
    fails(&history, &["acknowledged-before-fault"]);
}

#[test]
fn a_lost_change_is_allowed_as_far_as_the_objective_says() {
    let mut history = good();
    history.found.as_mut().unwrap()[0].is_rotated = false;
    // It was acknowledged eight seconds before the fault.
    let at = |rpo_ms| result(&run(&history, rpo_ms, MARKS, &ending(true)), "acknowledged-before-fault");
    assert_eq!((at(8000), at(7999)), (CheckResult::Allowed, CheckResult::Failed));
}

#[test]
fn canary_an_unwrap_to_another_data_key() {
    let mut history = good();
    history.attempts.push(attempt(Kind::Unwrap, 3 * SECOND, Outcome::Wrong));
    fails(&history, &["unwraps-are-right", "failed-uses"]);
    let mut history = good();
    history.last_uses[0].outcome = Outcome::Wrong;
    fails(&history, &["unwraps-are-right", "every-key-unwraps"]);
}

#[test]
fn canary_a_use_after_an_acknowledged_disable() {
    let mut history = good();
    history.attempts[6].outcome = done();
    fails(&history, &["disabled-keys-are-not-used"]);
    // A use that began before the acknowledgement may succeed.
    history.attempts[6].start_us = 12 * SECOND - 1;
    assert_eq!(not_passed(&history), []);
}

#[test]
fn a_use_after_a_lost_disable_is_allowed_as_far_as_the_objective_says() {
    let mut history = good();
    history.attempts[5].end_us = 9 * SECOND;
    history.attempts[6].outcome = done();
    history.found.as_mut().unwrap()[0].is_disabled = false;
    let at = |rpo_ms| result(&run(&history, rpo_ms, MARKS, &ending(true)), "disabled-keys-are-not-used");
    assert_eq!((at(1000), at(999)), (CheckResult::Allowed, CheckResult::Failed));
}

#[test]
fn canary_a_refused_change_that_took_effect() {
    let mut history = good();
    history.found.as_mut().unwrap()[1].name = "refused".to_owned();
    fails(&history, &["refused-changes-have-no-effect"]);
    // Without an answer it may have taken effect.
    history.attempts[4].outcome = failed();
    assert_eq!(not_passed(&history), []);
    let mut history = good();
    history
        .attempts
        .push(Attempt { key: "b".to_owned(), ..attempt(Kind::Rotate, 11 * SECOND, refused(503, true)) });
    history.found.as_mut().unwrap()[1].is_rotated = true;
    fails(&history, &["refused-changes-have-no-effect"]);
}

#[test]
fn canary_a_key_that_does_not_unwrap() {
    let mut history = good();
    history.last_uses[0].outcome = refused(500, false);
    fails(&history, &["every-key-unwraps"]);
}

#[test]
fn canary_two_writers() {
    let mut history = good();
    history.writers.push(WriterSample { at_us: 12 * SECOND, writes: "both".to_owned() });
    fails(&history, &["one-writer"]);
}

#[test]
fn canary_a_use_that_fails_after_routing() {
    let mut history = good();
    history.attempts.push(attempt(Kind::Wrap, 12 * SECOND, failed()));
    fails(&history, &["uses-after-routing", "failed-uses"]);
    // Sent before, it had nowhere to go.
    history.attempts.last_mut().unwrap().start_us = 10 * SECOND;
    fails(&history, &["failed-uses"]);
}

#[test]
fn canary_changes_that_are_not_served_at_the_end() {
    let mut history = good();
    history.attempts.push(attempt(Kind::Rotate, 23 * SECOND, refused(503, true)));
    fails(&history, &["served-at-the-end"]);
    history.attempts.push(attempt(Kind::Rotate, 24 * SECOND, done()));
    assert_eq!(not_passed(&history), [("acknowledged-after-fault".to_owned(), CheckResult::Failed)]);
}

#[test]
fn canary_a_region_that_does_not_come_back() {
    let checks = run(&good(), 0, MARKS, &ending(false));
    assert_eq!(result(&checks, "as-before"), CheckResult::Failed);
}

#[test]
fn what_was_not_recorded_is_not_evaluated() {
    let history = History { attempts: good().attempts, ..History::default() };
    let objective = Objective { rpo_ms: 0, ..OBJECTIVE };
    let marks = Marks { routed_us: None, end_us: None, ..MARKS };
    let checks = all(&Facts {
        scenario: Scenario::RegionLoss,
        objective: &objective,
        history: &history,
        marks: &marks,
        ending: None,
    });
    for name in [
        "acknowledged-before-fault",
        "acknowledged-after-fault",
        "refused-changes-have-no-effect",
        "every-key-unwraps",
        "one-writer",
        "uses-after-routing",
        "served-at-the-end",
        "as-before",
    ] {
        assert_eq!(result(&checks, name), CheckResult::NotEvaluated, "{name}");
    }
}
