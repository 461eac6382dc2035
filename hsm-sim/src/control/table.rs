//! Status for people.

use super::model::{ClockStatus, Status, UnitStatus};
use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};

/// Units of a region and what is wrong with them.
#[must_use]
pub fn status_table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "unit",
        "location",
        "process",
        "rule",
        "state",
        "master key",
        "served",
        "failed",
        "p50 µs",
        "p99 µs",
        "remark",
    ]);
    for unit in &status.units {
        table.add_row([
            unit.unit.to_string(),
            placed(unit),
            unit.pid.map_or_else(|| "–".to_owned(), |pid| pid.to_string()),
            rule(unit),
            unit.state.clone(),
            unit.pattern.as_deref().map_or_else(|| "–".to_owned(), short),
            unit.served.to_string(),
            unit.failed.to_string(),
            unit.p50_us.to_string(),
            unit.p99_us.to_string(),
            remark(unit),
        ]);
    }
    let empty: Vec<&str> = status
        .zones
        .iter()
        .filter(|z| status.units.iter().all(|u| u.zone != **z))
        .map(String::as_str)
        .collect();
    let without = if empty.is_empty() { String::new() } else { format!("\nno unit in {}", empty.join(", ")) };
    let key = status.pattern.as_ref().map_or_else(|| "none yet".to_owned(), short);
    let waiting = status.waiting_for.as_ref().map_or_else(String::new, |why| format!("\nwaiting: {why}"));
    format!(
        "region {} is {}, {} ceremony, master key {key}{waiting}\n{table}{without}\n{}{}",
        status.region,
        status.state,
        status.ceremony,
        engines(status),
        clock_table(&status.clock)
    )
}

/// The clock in one line.
#[must_use]
pub fn clock_table(clock: &ClockStatus) -> String {
    match clock.ahead_s {
        0 => format!("clock {} (real time)", clock.now),
        s => format!(
            "clock {} ({} d {} h {} min {} s ahead)",
            clock.now,
            s / 86_400,
            s / 3600 % 24,
            s / 60 % 60,
            s % 60
        ),
    }
}

/// Where units' keys are, a line for each engine.
fn engines(status: &Status) -> String {
    let mut engines: Vec<(&str, Vec<String>)> = Vec::new();
    for unit in &status.units {
        match engines.iter_mut().find(|(engine, _)| *engine == unit.engine) {
            Some((_, units)) => units.push(unit.unit.to_string()),
            None => engines.push((&unit.engine, vec![unit.unit.to_string()])),
        }
    }
    match engines.as_slice() {
        [(engine, _)] => format!("engine of all units: {engine}\n"),
        several => several
            .iter()
            .map(|(engine, units)| {
                let plural = if units.len() > 1 { "s" } else { "" };
                format!("engine of unit{plural} {}: {engine}\n", units.join(", "))
            })
            .collect(),
    }
}

fn placed(unit: &UnitStatus) -> String {
    match unit.kind.as_str() {
        "OPERATIONAL" => unit.location.clone(),
        other => format!("{}\n{}", unit.location, other.to_lowercase()),
    }
}

/// Administrators and thresholds; threshold 0 is imprint mode.
fn rule(unit: &UnitStatus) -> String {
    let (Some(administrators), Some(sign), Some(revoke)) =
        (unit.administrators, unit.signature_threshold, unit.revocation_threshold)
    else {
        return "–".to_owned();
    };
    match (administrators, unit.imprint_mode) {
        (0, _) => "imprint mode".to_owned(),
        (count, Some(true)) => format!("imprint mode, {count} administrators"),
        (count, _) => format!("{sign}/{revoke} of {count}"),
    }
}

fn remark(unit: &UnitStatus) -> String {
    let fault = unit.fault.clone().into_iter();
    let reason = (!unit.reason.is_empty()).then(|| unit.reason.clone());
    let restarts = (unit.restarts > 0).then(|| format!("restarted {} times", unit.restarts));
    fault.chain(reason).chain(restarts).collect::<Vec<_>>().join("; ")
}

/// Enough of a pattern to tell two apart.
fn short(pattern: impl AsRef<str>) -> String {
    pattern.as_ref().chars().take(16).chain(['…']).collect()
}
