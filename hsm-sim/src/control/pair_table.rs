//! Status, addresses and timeline of a pair as text.

use super::pair_model::{
    PairEndpoints, PairLog, PairRegion, PairStatus, Readiness, RegionReport, ReplicatedReport,
};
use super::table::clock_table;
use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

/// The status of a pair: one line about the pair, a table of its regions, what is missing, the clock.
#[must_use]
pub fn pair_table(status: &PairStatus) -> String {
    let mut regions = table(&["region", "role", "process", "uses", "changes", "data"]);
    for region in &status.regions {
        let report = region.report.as_ref();
        let yes = |holds: Option<bool>| match holds {
            Some(true) => "yes",
            Some(false) => "no",
            None => "–",
        };
        regions.add_row([
            region.name.as_str(),
            &region.role,
            &region.process,
            yes(report.map(|report| report.serves)),
            yes(report.map(|report| report.writes)),
            report.map_or("–", |report| report.data.as_str()),
        ]);
    }
    let mut text = format!(
        "pair {} → {} is {}, epoch {}, changes: {}, requests go to {}\nprofile {}, fence {}\n{regions}\n",
        status.home,
        status.standby,
        status.state,
        status.epoch,
        status.writes,
        status.requests_go_to.as_deref().unwrap_or("no region"),
        status.profile,
        status.fence,
    );
    let mut line = |line: String| {
        text += &line;
        text.push('\n');
    };
    for region in &status.regions {
        let remark = remark(region);
        if !remark.is_empty() {
            line(format!("{}: {remark}", region.name));
        }
    }
    if let (Some(seconds), Some(revisions)) = (status.lag_seconds, status.lag_revisions) {
        line(format!("lag: {seconds:.1} s, {revisions} changes"));
    }
    if let Some(since) = &status.lost_since {
        line(format!("lost since {since}"));
    }
    if let Some(at) = &status.write_enable_at {
        line(format!("time enables changes at {at}"));
    }
    for cut in &status.cut {
        line(format!("cut: {} to {}", cut.from, cut.to));
    }
    for alarm in &status.alarms {
        line(format!("alarm: {alarm}"));
    }
    line(match status.ready {
        true => "ready: the loss of a region would be survived now".to_owned(),
        false => format!("not ready: {}", status.reason),
    });
    text + &clock_table(&status.clock)
}

fn remark(region: &PairRegion) -> String {
    let isolated = region.isolated.then(|| "isolated".to_owned());
    let restarts = (region.restarts > 0).then(|| format!("restarted {} times", region.restarts));
    let given_up = region
        .report
        .as_ref()
        .and_then(|report| report.given_up.as_ref())
        .filter(|lost| lost.changes != Some(0));
    let given_up = given_up.map(|lost| match lost.changes {
        Some(changes) => format!("gave up {changes} changes of its own"),
        None => "gave up changes of its own, whose number is not known".to_owned(),
    });
    let refused = region.report.as_ref().map(|report| report.writes_refused.clone());
    let refused = refused.filter(|refused| !refused.is_empty());
    isolated.into_iter().chain(restarts).chain(given_up).chain(refused).collect::<Vec<_>>().join("; ")
}

/// What the loss of a region would do now.
#[must_use]
pub fn ready_lines(ready: &Readiness) -> String {
    let mut lines = Vec::new();
    match &ready.would_serve {
        Some(region) => {
            lines.push(format!("ready: {region} would serve requests"));
            lines.push(format!("changes would be accepted there by: {}", ready.changes_enabled_by));
        }
        None => lines.push(format!("not ready: {}", ready.reason)),
    }
    if let (Some(seconds), Some(revisions)) = (ready.lag_seconds, ready.lag_revisions) {
        lines.push(format!("changes that would be lost: {revisions}, of the last {seconds:.1} s"));
    }
    lines.extend(ready.alarms.iter().map(|alarm| format!("alarm: {alarm}")));
    lines.join("\n")
}

/// Whether a change is in both regions, in a line.
#[must_use]
pub fn replicated_line(report: &ReplicatedReport) -> String {
    let ReplicatedReport { revision, replicated, reason } = report;
    if *replicated {
        format!("{revision} is in both regions")
    } else {
        format!("{revision} is not known to be in both regions: {reason}")
    }
}

/// What a region reports after it took over.
#[must_use]
pub fn report_line(report: &RegionReport) -> String {
    format!("{} accepts changes, epoch {}", report.name, report.epoch)
}

/// The addresses of a pair.
#[must_use]
pub fn endpoints_table(endpoints: &PairEndpoints) -> String {
    let mut regions = table(&["region", "role", "requests", "own address", "administration"]);
    for region in &endpoints.regions {
        let routed = if region.is_routed { "yes" } else { "no" };
        regions.add_row([&region.name, &region.role, routed, &region.rest_url, &region.tke_url]);
    }
    let note = match endpoints.private_is_automatic {
        true => "the private address follows the public one",
        false => "clients of the private address have to be pointed to another one by hand",
    };
    format!(
        "public address   {} (the same whichever region serves)\nprivate address  {}\n{note}\n{regions}",
        endpoints.public, endpoints.private
    )
}

/// The timeline of a pair.
#[must_use]
pub fn log_table(log: &PairLog) -> String {
    if log.events.is_empty() {
        return "nothing has happened yet".to_owned();
    }
    let mut events = table(&["time", "region", "event", "remark"]);
    for event in &log.events {
        events.add_row([&event.at, &event.region, &event.event, &event.text]);
    }
    events.to_string()
}

#[cfg(test)]
mod tests {
    use super::{endpoints_table, log_table, pair_table};
    use crate::control::ClockStatus;
    use crate::control::pair_model::{
        CutLink, PairEndpoints, PairLog, PairRegion, PairStatus, RegionEndpoints, RegionReport,
    };
    use crate::pair::timeline::TimelineEntry;

    fn region(name: &str, role: &str, report: Option<RegionReport>) -> PairRegion {
        PairRegion {
            name: name.to_owned(),
            role: role.to_owned(),
            process: if report.is_some() { "running" } else { "lost" }.to_owned(),
            pid: None,
            restarts: 0,
            isolated: false,
            report,
        }
    }

    fn status() -> PairStatus {
        let report = RegionReport {
            name: "us-east".to_owned(),
            role: "standby".to_owned(),
            state: "lost".to_owned(),
            epoch: 1,
            writes: false,
            writes_refused: "read-only: the region that accepts changes is lost".to_owned(),
            serves: true,
            taking_over: false,
            is_connected: false,
            data: "complete".to_owned(),
            lag_revisions: 0,
            lag_seconds: Some(2.25),
            given_up: None,
            lost_since: None,
            write_enable_at: None,
            unheard_seconds: 21.0,
            events: Vec::new(),
        };
        PairStatus {
            profile: "kp-2025".to_owned(),
            fence: "witness".to_owned(),
            changes_enabled_by: "timer".to_owned(),
            home: "us-south".to_owned(),
            standby: "us-east".to_owned(),
            state: "lost".to_owned(),
            epoch: 1,
            writes: "none".to_owned(),
            requests_go_to: Some("us-east".to_owned()),
            lag_seconds: Some(2.25),
            lag_revisions: Some(0),
            lost_since: Some("2026-01-01T00:00:00.000Z".to_owned()),
            write_enable_at: Some("2026-01-01T06:00:00.000Z".to_owned()),
            ready: false,
            reason: "us-south is lost".to_owned(),
            regions: vec![region("us-south", "home", None), region("us-east", "standby", Some(report))],
            cut: vec![CutLink { from: "front".to_owned(), to: "us-south".to_owned() }],
            alarms: Vec::new(),
            clock: ClockStatus { now: "2026-01-01T00:00:05Z".to_owned(), ahead_s: 0 },
        }
    }

    #[test]
    fn the_status_says_who_serves_and_what_comes_next() {
        let text = pair_table(&status());
        for part in [
            "us-south → us-east is lost, epoch 1, changes: none, requests go to us-east",
            "lag: 2.2 s, 0 changes",
            "time enables changes at 2026-01-01T06:00:00.000Z",
            "cut: front to us-south",
            "not ready: us-south is lost",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn addresses_and_timelines_are_printed() {
        let regions = vec![RegionEndpoints {
            name: "us-east".to_owned(),
            role: "standby".to_owned(),
            rest_url: "http://127.0.0.1:1".to_owned(),
            tke_url: "http://127.0.0.1:1".to_owned(),
            operator_url: "http://127.0.0.1:3".to_owned(),
            is_routed: true,
        }];
        let endpoints = PairEndpoints {
            public: "http://127.0.0.1:9".to_owned(),
            private: "http://127.0.0.1:1".to_owned(),
            private_is_automatic: false,
            regions,
        };
        assert!(endpoints_table(&endpoints).contains("by hand"));
        let entry = TimelineEntry {
            at: "2026-01-01T00:00:00.000Z".to_owned(),
            clock: "2026-01-01T00:00:00.000Z".to_owned(),
            region: "us-east".to_owned(),
            event: "lost".to_owned(),
            text: "the other region is lost".to_owned(),
        };
        assert!(log_table(&PairLog { events: vec![entry] }).contains("us-east"));
        assert!(log_table(&PairLog { events: Vec::new() }).contains("nothing"));
    }
}
