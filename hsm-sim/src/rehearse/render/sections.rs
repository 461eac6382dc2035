//! The content of a report as sections, of which every page is made.

use crate::rehearse::checks::CheckResult;
use crate::rehearse::measure::{Recovery, Window};
use crate::rehearse::model::{Report, Verdict};
use crate::rehearse::plan::{Scenario, shown};

/// A section: a heading, sentences, and a table.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lines: Vec<String>,
    pub(super) table: Option<Table>,
}

/// A table. Columns from the first of `numbers` on are numbers.
pub(super) struct Table {
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// What was wanted and what was measured, a row for each number.
fn objective_rows(report: &Report) -> Vec<Vec<String>> {
    let (measured, objective) = (&report.measured, &report.plan.objective);
    let recovered = |found: &Option<Recovery>| {
        found.as_ref().map_or_else(|| "–".to_owned(), |found| time(found.recovered_ms, "never"))
    };
    let row = |what: &str, wanted: String, found: String| vec![what.to_owned(), wanted, found];
    let mut rows = vec![
        row("RTO-use: keys can be used", at_most(objective.rto_use_ms), recovered(&measured.uses)),
        row(
            "RTO-change: keys can be changed",
            at_most(objective.rto_change_ms),
            recovered(&measured.changes),
        ),
        row("RTO-full: all is as before", at_most(objective.rto_full_ms), time(measured.full_ms, "never")),
        row("RPO: age of lost changes", at_most(objective.rpo_ms), time(measured.lost_ms, "not known")),
        row("RPO: lost changes", String::new(), number(measured.lost_changes)),
    ];
    if let Some(failed) = objective.failed_uses {
        let found: u64 = measured.windows.iter().filter(|row| row.class == "use").map(|row| row.failed).sum();
        rows.push(row("failed uses, without any retry", format!("≤ {failed}"), found.to_string()));
    }
    rows
}

/// The report for a terminal.
pub(super) fn summary(report: &Report) -> String {
    let mut text = format!("\n{}: {}\n", report.plan.scenario, report.verdict);
    for reason in &report.reasons {
        text += &indented(reason);
    }
    text.push('\n');
    for row in objective_rows(report) {
        if let [what, wanted, found] = row.as_slice() {
            let wanted = if wanted.is_empty() { String::new() } else { format!("(objective {wanted})") };
            text += &format!("  {what:<34} {found:>10}  {wanted}\n");
        }
    }
    let measured = &report.measured;
    for (what, found) in [
        ("the loss was noticed", measured.detected_ms),
        ("requests went elsewhere", measured.routed_ms),
        ("changes after the operator's order", measured.changes_after_order_ms),
    ] {
        if let Some(ms) = found {
            text += &format!("  {what:<34} {:>10}\n", shown(ms));
        }
    }
    if let (Some(uses), Some(changes)) = (&measured.uses_in_return, &measured.changes_in_return) {
        let (failed, last) = (uses.failed, time(changes.recovered_ms, "never"));
        text += &format!("  {:<34} {failed:>10}\n", "uses that failed in the return");
        text += &format!("  {:<34} {last:>10}\n", "changes served after the return");
    }
    let (failed, retried) = (measured.clients.failed, measured.retrying_clients.failed);
    text += &format!("  {:<34} {failed:>10}\n", "failures shown to plain clients");
    text += &format!("  {:<34} {retried:>10}\n", "failures shown to retrying clients");
    let disabled = measured.uses_after_disable;
    text += &format!("  {:<34} {disabled:>10}\n", "uses after an acknowledged disable");
    let count = |wanted| report.checks.iter().filter(|check| check.result == wanted).count();
    text += &format!(
        "\nchecks: {} passed, {} allowed, {} failed, {} not evaluated",
        count(CheckResult::Passed),
        count(CheckResult::Allowed),
        count(CheckResult::Failed),
        count(CheckResult::NotEvaluated)
    );
    text
}

/// A text in lines of at most 80 characters, indented by two.
fn indented(text: &str) -> String {
    let mut lines = String::new();
    let mut line = " -".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 80 && line.len() > 4 {
            lines += &line;
            lines.push('\n');
            line = "   ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// Every section.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    vec![
        verdict(report),
        objective(report),
        identity(report),
        before(report),
        load(report),
        clients(report),
        errors(report),
        lost(report),
        checks(report),
        human(report),
        plan(report),
        timeline(report),
        evidence(report),
    ]
}

fn verdict(report: &Report) -> Section {
    let says = match report.verdict {
        Verdict::Pass => "The objective was met, and every check passed.",
        Verdict::PassWithExceptions => "The objective was met, with these exceptions:",
        Verdict::Fail => "The objective was missed, or a check failed:",
        Verdict::Void => "The rehearsal proves nothing:",
    };
    let reasons = report.reasons.iter().map(|reason| vec![reason.clone()]).collect::<Vec<_>>();
    let table = (!reasons.is_empty()).then(|| Table { header: vec!["reason"], rows: reasons });
    Section { title: "Verdict", lines: vec![says.to_owned()], table }
}

fn objective(report: &Report) -> Section {
    let measured = &report.measured;
    let mut lines = vec![
        "The objective was written before the run. Times are from the moment in which the fault was ordered."
            .to_owned(),
    ];
    let mut line = |what: &str, ms: Option<u64>| {
        lines.extend(ms.map(|ms| format!("{what}: {}.", shown(ms))));
    };
    line("A region noticed the loss after", measured.detected_ms);
    line("The front sent requests elsewhere after", measured.routed_ms);
    line("Changes succeeded after the operator's order within", measured.changes_after_order_ms);
    for (what, found) in [("uses", &measured.uses_in_return), ("changes", &measured.changes_in_return)] {
        lines.extend(found.as_ref().map(|found| {
            let last = found.recovered_ms.map_or_else(|| "never".to_owned(), shown);
            format!(
                "Return of writing to the home: {} {what} failed, served again after: {last}.",
                found.failed
            )
        }));
    }
    let rows = objective_rows(report);
    let table = Table { header: vec!["what", "objective", "measured"], rows };
    Section { title: "Objective and result", lines, table: Some(table) }
}

fn identity(report: &Report) -> Section {
    let identity = &report.identity;
    let row = |what: &str, value: &str| vec![what.to_owned(), value.to_owned()];
    let machine = &identity.machine;
    let rows = vec![
        row("report", &identity.report_id),
        row("scenario", &report.plan.scenario.to_string()),
        row("seed", &report.plan.seed.to_string()),
        row("plan (SHA-256)", &identity.plan_sha256),
        row("profile", &report.plan.profile),
        row("switches", &report.plan.set.join(", ")),
        row("program", &identity.program),
        row("program file (SHA-256)", &identity.program_sha256),
        row("started by", &identity.started_by),
        row("reason", &identity.reason),
        row("kind", &identity.kind),
        row("machine", &format!("{}, {}, {} processors", machine.host, machine.platform, machine.processors)),
        row("began", &identity.began),
        row("ended", &identity.ended),
        row(
            "real time against the clock that only runs forward",
            &format!("{} ms", identity.clock_difference_ms),
        ),
    ];
    Section {
        title: "Identity",
        lines: Vec::new(),
        table: Some(Table { header: vec!["what", "value"], rows }),
    }
}

fn before(report: &Report) -> Section {
    let title = "Readiness before the fault";
    let Some(before) = &report.before else {
        return Section { title, lines: vec!["It was not evaluated.".to_owned()], table: None };
    };
    let mut lines = vec![match before.is_ready {
        true => format!("The loss would be survived: {}.", before.state),
        false => format!("The loss would not be survived: {} ({}).", before.reason, before.state),
    }];
    if let (Some(changes), Some(ms)) = (before.lag_changes, before.lag_ms) {
        lines.push(format!("Lag: {changes} changes, {}.", shown(ms)));
    }
    lines.extend(before.alarms.iter().map(|alarm| format!("Alarm: {alarm}.")));
    if !before.not_evaluated.is_empty() {
        lines.push(format!("Not evaluated: {}.", before.not_evaluated.join(", ")));
    }
    let rows = before.units.iter().map(|unit| {
        let region = unit.region.clone();
        vec![region, unit.zone.clone(), unit.unit.to_string(), unit.state.clone(), unit.pattern.clone()]
    });
    let header = vec!["region", "zone", "unit", "state", "verification pattern"];
    Section { title, lines, table: Some(Table { header, rows: rows.collect() }) }
}

fn load(report: &Report) -> Section {
    let load = &report.plan.load;
    let mix = &load.mix;
    let lines = vec![
        match report.plan.scenario {
            Scenario::DuplicateKeys => format!(
                "{} clients, which try the other region when one fails, {} operations a second each.",
                load.clients, load.per_second
            ),
            Scenario::RegionLoss | Scenario::Failback | Scenario::ZoneLoss | Scenario::Rotation => format!(
                "{} clients, {} of which retry (three attempts, one second apart, then two), {} operations a \
                 second each.",
                load.clients, load.retrying_clients, load.per_second
            ),
        },
        format!(
            "Of 100 operations: {} wraps, {} unwraps, {} uses of disabled keys, {} lists, {} new keys, {} rotations, {} disables.",
            mix.wrap, mix.unwrap, mix.use_disabled, mix.list, mix.create, mix.rotate, mix.disable
        ),
    ];
    let row = |row: &Window| {
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
        vec![
            row.window.clone(),
            row.class.clone(),
            row.attempts.to_string(),
            row.failed.to_string(),
            ms(row.p50_us),
            ms(row.p99_us),
            ms(row.p999_us),
            ms(row.max_us),
            shown(row.longest_gap_ms),
        ]
    };
    let rows = report.measured.windows.iter().map(row).collect();
    let header =
        vec!["window", "class", "attempts", "failed", "p50", "p99", "p99.9", "slowest", "longest gap"];
    Section { title: "Load and latency", lines, table: Some(Table { header, rows }) }
}

fn clients(report: &Report) -> Section {
    let measured = &report.measured;
    let row = |who: &str, view: &crate::rehearse::measure::ClientView| {
        let numbers = [view.operations, view.failed, view.saved_by_retry].map(|number| number.to_string());
        std::iter::once(who.to_owned()).chain(numbers).collect()
    };
    let rows = vec![row("never retry", &measured.clients), row("retry", &measured.retrying_clients)];
    let header = vec!["clients that", "operations", "failed in the end", "succeeded by a retry"];
    Section { title: "What clients saw", lines: Vec::new(), table: Some(Table { header, rows }) }
}

fn errors(report: &Report) -> Section {
    let rows: Vec<_> = report
        .measured
        .errors
        .iter()
        .map(|error| {
            let retryable = if error.is_retryable { "yes" } else { "no" };
            vec![error.error.clone(), retryable.to_owned(), error.attempts.to_string()]
        })
        .collect();
    let lines = if rows.is_empty() { vec!["None.".to_owned()] } else { Vec::new() };
    let table = (!rows.is_empty()).then(|| Table { header: vec!["error", "retryable", "attempts"], rows });
    Section { title: "Errors, over every attempt", lines, table }
}

fn lost(report: &Report) -> Section {
    let measured = &report.measured;
    let lines = vec![
        match measured.lost_changes {
            None => "Not known: the end was not reached.".to_owned(),
            Some(_) if measured.lost.is_empty() => "None.".to_owned(),
            Some(_) => format!("{}.", measured.lost.len()),
        },
        format!(
            "Uses of a key after its disabling was acknowledged: {} of {} attempted succeeded.",
            measured.uses_after_disable, measured.uses_of_disabled_keys_attempted
        ),
    ];
    let rows: Vec<_> = measured
        .lost
        .iter()
        .map(|lost| {
            let when = if lost.is_before_fault { "before the fault" } else { "after the fault" };
            let at = format!("{}, {when}", shown(lost.acknowledged_ms));
            vec![lost.change.name().to_owned(), lost.key.clone(), lost.revision.clone(), at]
        })
        .collect();
    let header = vec!["change", "key", "revision", "acknowledged at"];
    let table = (!rows.is_empty()).then_some(Table { header, rows });
    Section { title: "Acknowledged changes that are missing at the end", lines, table }
}

fn checks(report: &Report) -> Section {
    let row = |check: &crate::rehearse::checks::Check| {
        let result = match check.result {
            CheckResult::Passed => "passed",
            CheckResult::Allowed => "allowed by the objective",
            CheckResult::Failed => "FAILED",
            CheckResult::NotEvaluated => "not evaluated",
        };
        let examples = check.examples.join("; ");
        vec![
            check.check.clone(),
            check.holds.clone(),
            result.to_owned(),
            check.violations.to_string(),
            examples,
        ]
    };
    let rows = report.checks.iter().map(row).collect();
    let header = vec!["check", "what has to hold", "result", "counterexamples", "the first ones"];
    Section { title: "Checks", lines: Vec::new(), table: Some(Table { header, rows }) }
}

fn human(report: &Report) -> Section {
    let human = &report.measured.human;
    let lines = vec![format!(
        "{} orders, {} in all. The time for decisions is planned: no person took part.",
        human.steps.len(),
        shown(human.total_ms)
    )];
    let row = |step: &crate::rehearse::model::HumanStep| {
        vec![step.order.clone(), shown(step.decision_ms), shown(step.took_ms)]
    };
    let rows: Vec<_> = human.steps.iter().map(row).collect();
    let header = vec!["order", "decision (planned)", "until it had its effect"];
    let table = (!rows.is_empty()).then_some(Table { header, rows });
    Section { title: "Human time", lines, table }
}

fn plan(report: &Report) -> Section {
    let rows = report.plan.steps.iter().enumerate();
    let rows = rows.map(|(at, step)| vec![(at + 1).to_string(), step.to_string()]).collect();
    let lines = vec!["The same seed gives the same plan.".to_owned()];
    Section { title: "Plan", lines, table: Some(Table { header: vec!["step", "what"], rows }) }
}

fn timeline(report: &Report) -> Section {
    let rows = report.events().into_iter().map(|chained| {
        let event = &chained.event;
        let sign = if event.at_ms < 0 { "-" } else { "" };
        let ms = event.at_ms.unsigned_abs();
        let at = format!("{sign}{}.{:03}", ms / 1000, ms % 1000);
        vec![event.at.clone(), at, event.source.clone(), event.event.clone(), event.text.clone()]
    });
    let header = vec!["time", "seconds", "from", "event", "remark"];
    Section { title: "Timeline", lines: Vec::new(), table: Some(Table { header, rows: rows.collect() }) }
}

fn evidence(report: &Report) -> Section {
    let evidence = &report.evidence;
    let key = if evidence.is_key_kept { "kept in a file" } else { "made for this report alone" };
    let row = |what: &str, value: &str| vec![what.to_owned(), value.to_owned()];
    let rows = vec![
        row("last hash of the timeline", &evidence.chain_head),
        row("history.jsonl (SHA-256)", &evidence.history_sha256),
        row("requests in it", &evidence.requests.to_string()),
        row("algorithm", &evidence.algorithm),
        row("public key", &evidence.public_key),
        row("private key", key),
        row("signature", &evidence.signature),
    ];
    let lines = vec!["`hsm-sim rehearse verify` checks hashes, signature, numbers and pages.".to_owned()];
    Section { title: "Evidence", lines, table: Some(Table { header: vec!["what", "value"], rows }) }
}

fn at_most(ms: u64) -> String {
    format!("≤ {}", shown(ms))
}

fn time(ms: Option<u64>, none: &str) -> String {
    ms.map_or_else(|| none.to_owned(), shown)
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "not known".to_owned(), |number| number.to_string())
}
