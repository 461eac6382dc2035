//! Invariants, checked over a history: pure functions. Each has a test with a history that breaks it.

use super::history::{Attempt, Class, History, Kind, Outcome};
use super::measure::{LostChange, Marks, keys_of, lost_changes, recovery};
use super::plan::{Objective, Scenario};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Counterexamples that a report shows of each check; all are counted.
const MAX_EXAMPLES: usize = 10;

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// No counterexample.
    Passed,
    /// There are counterexamples, each of which the objective allows.
    Allowed,
    /// There are counterexamples.
    Failed,
    /// What it needs was not recorded.
    NotEvaluated,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Name of the check, such as `one-writer`.
    pub check: String,
    /// What has to hold.
    pub holds: String,
    /// Whether it holds.
    pub result: CheckResult,
    /// Number of counterexamples.
    pub violations: u64,
    /// The first counterexamples, or why the check was not evaluated.
    pub examples: Vec<String>,
}

/// The pair or region at the end, as it reports itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whether it is as it was before: writing at home and both regions ready, or every unit serving.
    pub is_as_before: bool,
    /// What is not.
    pub remark: String,
}

/// What the checks are about.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What is rehearsed.
    pub scenario: Scenario,
    /// What is to be achieved.
    pub objective: &'a Objective,
    /// What was recorded.
    pub history: &'a History,
    /// Moments of the run.
    pub marks: &'a Marks,
    /// State at the end.
    pub ending: Option<&'a Ending>,
}

/// Every check of the scenario.
#[must_use]
pub fn all(facts: &Facts<'_>) -> Vec<Check> {
    let mut checks = vec![
        acknowledged_before(facts),
        acknowledged_after(facts),
        unwraps_are_right(facts),
        disabled_keys_are_not_used(facts),
        refused_changes_have_no_effect(facts),
        every_key_unwraps(facts),
    ];
    if facts.scenario.needs_pair() {
        checks.push(one_writer(facts));
    }
    match facts.scenario {
        Scenario::RegionLoss => checks.push(uses_after_routing(facts)),
        Scenario::Failback | Scenario::ZoneLoss | Scenario::Rotation | Scenario::DuplicateKeys => {}
    }
    if facts.objective.failed_uses.is_some() {
        checks.push(failed_uses(facts));
    }
    checks.push(served_at_the_end(facts));
    checks.push(as_before(facts));
    checks
}

/// Splits lost changes at the fault: those acknowledged before it was in effect, and later ones.
#[must_use]
pub fn split_at_fault(lost: Vec<LostChange>, marks: &Marks) -> (Vec<LostChange>, Vec<LostChange>) {
    let fault = marks.fault_in_us.or(marks.fault_asked_us).unwrap_or(u64::MAX);
    lost.into_iter().partition(|change| change.acknowledged_us <= fault)
}

/// How long before the fault the oldest lost change was acknowledged, in milliseconds; 0 if none was lost.
#[must_use]
pub fn rpo_ms(lost_before: &[LostChange], marks: &Marks) -> u64 {
    let fault = marks.fault_in_us.or(marks.fault_asked_us).unwrap_or_default();
    let age = |change: &LostChange| fault.saturating_sub(change.acknowledged_us);
    lost_before.iter().map(age).max().unwrap_or_default().div_ceil(1000)
}

fn acknowledged_before(facts: &Facts<'_>) -> Check {
    let holds = "a change acknowledged before the fault is there at the end";
    let name = "acknowledged-before-fault";
    let Some(lost) = lost_changes(facts.history) else {
        return not_evaluated(name, holds, "the keys were not listed at the end");
    };
    let (lost, _) = split_at_fault(lost, facts.marks);
    let allowed = rpo_ms(&lost, facts.marks) <= facts.objective.rpo_ms;
    checked(name, holds, lost.iter().map(|change| (describe(change), allowed)).collect())
}

fn acknowledged_after(facts: &Facts<'_>) -> Check {
    let holds = "a change acknowledged after the fault is there at the end";
    let name = "acknowledged-after-fault";
    let Some(lost) = lost_changes(facts.history) else {
        return not_evaluated(name, holds, "the keys were not listed at the end");
    };
    let (_, after) = split_at_fault(lost, facts.marks);
    checked(name, holds, after.iter().map(|change| (describe(change), false)).collect())
}

fn describe(change: &LostChange) -> String {
    let LostChange { kind, key, revision, acknowledged_us } = change;
    let revision = if revision.is_empty() { String::new() } else { format!(", revision {revision}") };
    format!("{} of {key}, acknowledged at {}{revision}", kind.name(), seconds(*acknowledged_us))
}

fn unwraps_are_right(facts: &Facts<'_>) -> Check {
    let attempts = facts.history.attempts.iter();
    let last = facts.history.last_uses.iter().filter(|last| last.outcome == Outcome::Wrong);
    let wrong = attempts.filter(|attempt| attempt.outcome == Outcome::Wrong).map(example);
    let wrong = wrong.chain(last.map(|last| format!("the last unwrap under {}", last.key)));
    let holds = "an unwrap that is acknowledged returns the data key that was wrapped";
    checked("unwraps-are-right", holds, wrong.map(|example| (example, false)).collect())
}

/// Uses of a key that began after its disabling was acknowledged and were acknowledged themselves.
#[must_use]
pub fn uses_after_disable(history: &History) -> Vec<&Attempt> {
    let mut disabled: BTreeMap<&str, u64> = BTreeMap::new();
    for attempt in &history.attempts {
        if attempt.kind == Kind::Disable && attempt.outcome.is_done() {
            let at = disabled.entry(&attempt.key).or_insert(attempt.end_us);
            *at = attempt.end_us.min(*at);
        }
    }
    let is_after = |attempt: &&Attempt| {
        matches!(attempt.kind, Kind::Wrap | Kind::Unwrap | Kind::UseDisabled)
            && attempt.outcome.is_done()
            && disabled.get(attempt.key.as_str()).is_some_and(|at| *at < attempt.start_us)
    };
    history.attempts.iter().filter(is_after).collect()
}

fn disabled_keys_are_not_used(facts: &Facts<'_>) -> Check {
    let (lost, _) = split_at_fault(lost_changes(facts.history).unwrap_or_default(), facts.marks);
    let is_within = rpo_ms(&lost, facts.marks) <= facts.objective.rpo_ms;
    let disables: BTreeSet<&str> =
        lost.iter().filter(|change| change.kind == Kind::Disable).map(|change| change.key.as_str()).collect();
    let uses = uses_after_disable(facts.history);
    let uses = uses
        .into_iter()
        .map(|attempt| (example(attempt), is_within && disables.contains(attempt.key.as_str())));
    let holds = "a key is not used after its disabling was acknowledged";
    checked("disabled-keys-are-not-used", holds, uses.collect())
}

/// Whether the service stated that each of the attempts to do this had no effect.
fn none_may_have_an_effect<'a>(mut attempts: impl Iterator<Item = &'a Attempt>) -> bool {
    attempts.all(|attempt| attempt.outcome.states_no_effect())
}

fn refused_changes_have_no_effect(facts: &Facts<'_>) -> Check {
    let holds = "a change that the service states to have refused changed nothing";
    let name = "refused-changes-have-no-effect";
    let Some(found) = &facts.history.found else {
        return not_evaluated(name, holds, "the keys were not listed at the end");
    };
    let mut changes: BTreeMap<(Kind, &str), Vec<&Attempt>> = BTreeMap::new();
    for attempt in facts.history.attempts.iter().filter(|attempt| attempt.kind.class() == Class::Change) {
        changes.entry((attempt.kind, attempt.key.as_str())).or_default().push(attempt);
    }
    let names: BTreeSet<&str> = found.iter().map(|key| key.name.as_str()).collect();
    let rotated: BTreeSet<&str> =
        found.iter().filter(|key| key.is_rotated).map(|key| key.id.as_str()).collect();
    let disabled: BTreeSet<&str> =
        found.iter().filter(|key| key.is_disabled).map(|key| key.id.as_str()).collect();
    let took_effect = |(kind, key): &(Kind, &str)| match kind {
        Kind::Create => names.contains(key),
        Kind::Rotate => rotated.contains(key),
        Kind::Disable => disabled.contains(key),
        Kind::Wrap | Kind::Unwrap | Kind::UseDisabled | Kind::List => false,
    };
    let refused = changes.iter().filter(|(_, attempts)| none_may_have_an_effect(attempts.iter().copied()));
    let wrong = refused
        .filter(|(change, _)| took_effect(change))
        .filter_map(|(_, attempts)| Some((example(attempts.first()?), false)));
    checked(name, holds, wrong.collect())
}

fn every_key_unwraps(facts: &Facts<'_>) -> Check {
    let holds = "at the end, each key that is not disabled unwraps what was wrapped under it";
    let name = "every-key-unwraps";
    let Some(lost) = facts.history.found.as_ref().and(lost_changes(facts.history)) else {
        return not_evaluated(name, holds, "the end was not reached");
    };
    if facts.history.last_uses.is_empty() {
        return not_evaluated(name, holds, "no key had a wrapped data key");
    }
    let (lost, _) = split_at_fault(lost, facts.marks);
    let is_within = rpo_ms(&lost, facts.marks) <= facts.objective.rpo_ms;
    let keys = keys_of(&lost);
    let failed = facts.history.last_uses.iter().filter(|last| !last.outcome.is_done());
    let failed = failed.map(|last| {
        let example = format!("the last unwrap under {}: {}", last.key, last.outcome.label());
        // What was wrapped under a version that was lost cannot be unwrapped.
        (example, is_within && keys.contains(last.key.as_str()) && last.outcome != Outcome::Wrong)
    });
    checked(name, holds, failed.collect())
}

fn one_writer(facts: &Facts<'_>) -> Check {
    let holds = "at most one region accepts changes at a time";
    let samples = &facts.history.writers;
    if samples.is_empty() {
        return not_evaluated("one-writer", holds, "the regions never reported");
    }
    let both = samples.iter().filter(|sample| sample.writes == "both");
    checked(
        "one-writer",
        holds,
        both.map(|sample| (format!("both did at {}", seconds(sample.at_us)), false)).collect(),
    )
}

fn uses_after_routing(facts: &Facts<'_>) -> Check {
    let holds = "once the front sends requests to the standby, no use fails until the repair";
    let name = "uses-after-routing";
    let Some(routed) = facts.marks.routed_us else {
        return not_evaluated(name, holds, "the front was not seen to send requests elsewhere");
    };
    let until = facts.marks.repair_us.unwrap_or(u64::MAX);
    let failed = facts.history.attempts.iter().filter(|attempt| {
        attempt.kind.class() == Class::Use
            && attempt.outcome.is_failure()
            && attempt.start_us > routed
            && attempt.end_us < until
    });
    checked(name, holds, failed.map(|attempt| (example(attempt), false)).collect())
}

fn failed_uses(facts: &Facts<'_>) -> Check {
    let budget = facts.objective.failed_uses.unwrap_or(u64::MAX);
    let failed: Vec<&Attempt> = facts
        .history
        .attempts
        .iter()
        .filter(|attempt| attempt.kind.class() == Class::Use && attempt.outcome.is_failure())
        .collect();
    let allowed = failed.len() as u64 <= budget;
    let holds = format!("at most {budget} uses fail in the whole run, without any retry");
    checked("failed-uses", &holds, failed.into_iter().map(|attempt| (example(attempt), allowed)).collect())
}

fn served_at_the_end(facts: &Facts<'_>) -> Check {
    let holds = "at the end uses and changes succeed: after the last one that failed comes one that did not";
    let name = "served-at-the-end";
    let (Some(fault), Some(end)) = (facts.marks.fault_asked_us, facts.marks.end_us) else {
        return not_evaluated(name, holds, "the end was not reached");
    };
    let is_down =
        |class: &Class| recovery(&facts.history.attempts, *class, fault, end).recovered_ms.is_none();
    let down = [Class::Use, Class::Change].into_iter().filter(is_down);
    checked(name, holds, down.map(|class| (format!("the last {} failed", class.name()), false)).collect())
}

fn as_before(facts: &Facts<'_>) -> Check {
    let holds = if facts.scenario.needs_pair() {
        "at the end writing is at home, both regions have every change, and either could be lost"
    } else {
        "at the end every crypto unit serves"
    };
    match facts.ending {
        None => not_evaluated("as-before", holds, "the end was not reached"),
        Some(Ending { is_as_before: true, .. }) => checked("as-before", holds, Vec::new()),
        Some(Ending { remark, .. }) => checked("as-before", holds, vec![(remark.clone(), false)]),
    }
}

/// A check with these counterexamples, each with whether it is allowed.
fn checked(check: &str, holds: &str, found: Vec<(String, bool)>) -> Check {
    let result = match found.iter().map(|(_, allowed)| *allowed).reduce(|one, other| one && other) {
        None => CheckResult::Passed,
        Some(true) => CheckResult::Allowed,
        Some(false) => CheckResult::Failed,
    };
    let violations = found.len() as u64;
    let mut found = found;
    // What is not allowed comes first.
    found.sort_by_key(|(_, allowed)| *allowed);
    let examples = found.into_iter().take(MAX_EXAMPLES).map(|(example, _)| example).collect();
    Check { check: check.to_owned(), holds: holds.to_owned(), result, violations, examples }
}

fn not_evaluated(check: &str, holds: &str, why: &str) -> Check {
    Check {
        check: check.to_owned(),
        holds: holds.to_owned(),
        result: CheckResult::NotEvaluated,
        violations: 0,
        examples: vec![why.to_owned()],
    }
}

fn example(attempt: &Attempt) -> String {
    let Attempt { client, operation, attempt: number, kind, key, start_us, end_us, outcome, .. } = attempt;
    format!(
        "{} of {key} by client {client} (operation {operation}, attempt {number}), {} to {}: {}",
        kind.name(),
        seconds(*start_us),
        seconds(*end_us),
        outcome.label()
    )
}

/// A moment, in seconds since the rehearsal began.
fn seconds(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1000)
}

#[cfg(test)]
mod tests;
