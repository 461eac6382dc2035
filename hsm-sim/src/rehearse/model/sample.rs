//! A report for tests, with text from outside that would be markup.

use super::{Evidence, Identity, Machine, Readiness, ReadyUnit, Report};
use crate::rehearse::assemble::{Recorded, assemble};
use crate::rehearse::chain::{Chain, Event};
use crate::rehearse::checks::Ending;
use crate::rehearse::history::{Attempt, FoundKey, History, Kind, LastUse, Outcome, WriterSample};
use crate::rehearse::measure::Marks;
use crate::rehearse::model::HumanStep;
use crate::rehearse::plan::{ObjectiveWanted, Plan, Scenario, Wanted};
use crate::rehearse::progress::Found;
use crate::rehearse::samples::{attempt, done, failed, refused};

const SECOND: u64 = 1_000_000;

/// What was recorded of a run that passes: uses fail for two seconds, changes until an order four seconds after the fault.
pub(in crate::rehearse) fn recorded() -> Recorded {
    let plan = Plan::of(&Wanted {
        scenario: Scenario::RegionLoss,
        seed: 7,
        profile: None,
        set: vec!["slo.rto=1h".to_owned()],
        quick: true,
        regions: ["us-south".to_owned(), "us-east".to_owned()],
        clients: 8,
        rate: 15,
        request_timeout: std::time::Duration::from_secs(5),
        objective: ObjectiveWanted::default(),
    });
    let marks = Marks {
        fault_asked_us: Some(10 * SECOND),
        fault_in_us: Some(10 * SECOND),
        detected_us: Some(11 * SECOND),
        routed_us: Some(12 * SECOND),
        decided_us: Some(14 * SECOND),
        repair_us: Some(20 * SECOND),
        returned_us: Some(21 * SECOND),
        full_us: Some(22 * SECOND),
        end_us: Some(25 * SECOND),
    };
    let found = Found {
        marks,
        before: Some(Readiness {
            is_ready: true,
            state: "normal, epoch 1".to_owned(),
            lag_changes: Some(0),
            lag_ms: Some(100),
            units: vec![ReadyUnit {
                region: "us-south".to_owned(),
                zone: "az1".to_owned(),
                unit: 1,
                state: "eligible".to_owned(),
                pattern: "0f3c".to_owned(),
            }],
            ..Readiness::default()
        }),
        ending: Some(Ending { is_as_before: true, remark: String::new() }),
        ..Found::default()
    };
    let mut found = found;
    found.human.steps.push(HumanStep { order: "promote".to_owned(), decision_ms: 2000, took_ms: 100 });
    found.human.total_ms = 2100;
    Recorded { identity: identity(&plan), plan, found, history: history() }
}

fn history() -> History {
    let of = |key: &str, kind, at, outcome| Attempt { key: key.to_owned(), ..attempt(kind, at, outcome) };
    let mut attempts = Vec::new();
    for number in 0..8 {
        let created =
            Outcome::Done { revision: Some(format!("00-{number}")), id: Some(format!("k{number}")) };
        attempts.push(of(&format!("n{number}"), Kind::Create, SECOND + number, created));
    }
    attempts.extend((0..60).map(|number| of("k0", Kind::Wrap, 2 * SECOND + number * 100_000, done())));
    attempts.push(of("k0", Kind::Wrap, 10 * SECOND + 500_000, failed()));
    attempts.push(of("k0", Kind::Unwrap, 12 * SECOND, failed()));
    attempts.push(of("k0", Kind::Unwrap, 12 * SECOND + 40_000, done()));
    attempts.push(of("n8", Kind::Create, 13 * SECOND, refused(503, true)));
    attempts.push(of("k1", Kind::Rotate, 14 * SECOND + 150_000, done()));
    attempts.push(of("k0", Kind::Wrap, 23 * SECOND, done()));
    let found = (0..8).map(|number| FoundKey {
        id: format!("k{number}"),
        name: format!("n{number}"),
        is_disabled: false,
        is_rotated: number == 1,
    });
    History {
        attempts,
        found: Some(found.collect()),
        last_uses: vec![LastUse { key: "k0".to_owned(), outcome: done() }],
        writers: vec![WriterSample { at_us: SECOND, writes: "home".to_owned() }],
    }
}

fn identity(plan: &Plan) -> Identity {
    Identity {
        report_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        schema: plan.schema,
        program: "hsm-sim".to_owned(),
        program_sha256: "00".to_owned(),
        plan_sha256: "11".to_owned(),
        started_by: "<script>alert(1)</script> | `x` \u{1b}[2K".to_owned(),
        reason: "a & b".to_owned(),
        kind: "simulated".to_owned(),
        machine: Machine { platform: "linux".to_owned(), processors: 2, host: "vm".to_owned() },
        began: "2026-01-01T00:00:00.000Z".to_owned(),
        ended: "2026-01-01T00:00:25.000Z".to_owned(),
        clock_difference_ms: 0,
    }
}

/// The report of that run, not signed.
pub(in crate::rehearse) fn sample() -> Report {
    let mut report = assemble(recorded()).unwrap();
    let plan = report.plan.canonical().unwrap();
    let mut chain = Chain::begin(&report.identity.report_id, &plan);
    let event = |at_ms, event: &str| Event {
        at: "2026-01-01T00:00:00.000Z".to_owned(),
        at_ms,
        source: "pair".to_owned(),
        event: event.to_owned(),
        text: "<b>bold</b>".to_owned(),
    };
    report.timeline = [(12_000, "routed"), (10_000, "lost")]
        .map(|(at_ms, name)| chain.add(event(at_ms, name)).unwrap())
        .to_vec();
    report.evidence = Evidence { chain_head: chain.head(), ..report.evidence };
    report
}
