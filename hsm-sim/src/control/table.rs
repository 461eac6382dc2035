//! Status and clock as text.

use super::model::{ClockStatus, Status, UnitStatus};
use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};

/// The status of a region: a table of its units, and the meaning of every state in it other than `eligible`.
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
    let upgrade = if status.unconfirmed_upgrade {
        "\nupgrade not confirmed: a copy of the earlier version is kept, with its secrets; stop the region, then \
         `hsm-sim upgrade confirm` or `undo`"
    } else {
        ""
    };
    format!(
        "region {} is {}, {} ceremony, master key {key}{waiting}{upgrade}\n{table}{without}\n{}{}{}",
        status.region,
        status.state,
        status.ceremony,
        legend(&status.units),
        engines(status),
        clock_table(&status.clock)
    )
}

/// The states of units that are not in full service, with their meaning and what the reader should do.
const LEGEND: [(&str, &str); 7] = [
    ("checking", "proves its identity and master key; gets no requests; wait"),
    ("warming", "admitted; its share of requests grows for some seconds; wait"),
    ("ejected", "lost, slow or failing; returns by itself, or heal its fault"),
    ("draining", "taken out by command; `unit resume` brings it back"),
    ("fenced", "must not serve until the cause in its remark is removed"),
    ("standby", "recovery or failover unit; gets no requests; nothing to do"),
    ("unknown", "not given to the host yet, or the ceremony is not finished"),
];

/// A line for each state of `units` that is in [`LEGEND`].
fn legend(units: &[UnitStatus]) -> String {
    let shown = LEGEND.iter().filter(|(state, _)| units.iter().any(|unit| unit.state == *state));
    shown.map(|(state, meaning)| format!("{state}: {meaning}\n")).collect()
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

/// The engines that hold the keys of units, a line for each.
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

/// The first 16 digits of a pattern.
fn short(pattern: impl AsRef<str>) -> String {
    pattern.as_ref().chars().take(16).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{LEGEND, status_table};
    use crate::control::{ClockStatus, Status, UnitStatus};

    fn status(states: &[&str]) -> Status {
        let unit = |(unit, state): (u16, &&str)| UnitStatus {
            unit,
            kind: "OPERATIONAL".to_owned(),
            location: "[us-south].[az1].[01].[00]".to_owned(),
            zone: "az1".to_owned(),
            engine: "software".to_owned(),
            lifecycle: "kms-initialized".to_owned(),
            imprint_mode: Some(false),
            administrators: Some(2),
            signature_threshold: Some(2),
            revocation_threshold: Some(2),
            pid: Some(1),
            state: (*state).to_owned(),
            reason: String::new(),
            fault: None,
            restarts: 0,
            pattern: None,
            served: 0,
            failed: 0,
            outstanding: 0,
            p50_us: 0,
            p99_us: 0,
            socket: String::new(),
        };
        Status {
            region: "us-south".to_owned(),
            state: "ready".to_owned(),
            waiting_for: None,
            instance: String::new(),
            ceremony: "development".to_owned(),
            zones: vec!["az1".to_owned()],
            pattern: None,
            units: (1..).zip(states).map(unit).collect(),
            clock: ClockStatus { now: String::new(), ahead_s: 0 },
            unconfirmed_upgrade: false,
        }
    }

    #[test]
    fn only_states_that_the_table_shows_are_explained() {
        let text = status_table(&status(&["eligible", "fenced", "fenced"]));
        let explained: Vec<&str> = LEGEND
            .iter()
            .map(|(state, _)| *state)
            .filter(|state| text.contains(&format!("{state}: ")))
            .collect();
        assert_eq!(explained, ["fenced"], "{text}");
        assert_eq!(text.matches("fenced: ").count(), 1, "{text}");
    }

    #[test]
    fn the_legend_fits_into_80_columns() {
        let states: Vec<&str> = LEGEND.iter().map(|(state, _)| *state).collect();
        let text = status_table(&status(&states));
        let lines: Vec<&str> =
            text.lines().filter(|line| LEGEND.iter().any(|(s, _)| line.starts_with(s))).collect();
        assert_eq!(lines.len(), LEGEND.len(), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    }
}
