//! The run as a drawing: requests in each second, and what happened, over one axis of time.

use super::escaped;
use crate::rehearse::measure::Series;
use crate::rehearse::model::Report;
use std::fmt::Write as _;

const WIDTH: u64 = 960;
const LEFT: u64 = 90;
const RIGHT: u64 = 20;
const TOP: u64 = 110;
const LANE: u64 = 90;
const GAP: u64 = 30;
const HEIGHT: u64 = TOP + 2 * LANE + GAP + 50;

pub(super) fn drawing(report: &Report) -> String {
    let Series { uses, failed_uses, changes, failed_changes } = &report.measured.series;
    let seconds = (uses.len() as u64).max(1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui,sans-serif\" font-size=\"12\">\n<title>Rehearsal of {}: {}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n",
        escaped(&report.plan.scenario.to_string()),
        report.verdict
    );
    for (number, (name, done, failed)) in
        [("uses", uses, failed_uses), ("changes", changes, failed_changes)].into_iter().enumerate()
    {
        lane(&mut svg, TOP + number as u64 * (LANE + GAP), name, seconds, done, failed);
    }
    axis(&mut svg, seconds);
    marks(&mut svg, report, seconds);
    svg + "</svg>\n"
}

/// A place on the axis of time, in tenths of a unit of the drawing.
fn x(us: u64, seconds: u64) -> u64 {
    let width = u128::from(WIDTH - LEFT - RIGHT) * 10;
    let at = u128::from(us) * width / (u128::from(seconds) * 1_000_000);
    LEFT * 10 + u64::try_from(at.min(width)).unwrap_or_default()
}

/// A number of tenths as a decimal.
fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

fn lane(svg: &mut String, top: u64, name: &str, seconds: u64, done: &[u32], failed: &[u32]) {
    let sums = done.iter().zip(failed).map(|(done, failed)| u64::from(*done) + u64::from(*failed));
    let most = sums.max().unwrap_or_default().max(1);
    let bottom = top + LANE;
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1c2733\">{name}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#5b6774\">{most}/s</text>\n\
         <line x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{}\" y2=\"{bottom}\" stroke=\"#9aa7b4\"/>",
        LEFT - 10,
        bottom,
        LEFT - 10,
        top + 12,
        WIDTH - RIGHT
    );
    for (second, (done, failed)) in done.iter().zip(failed).enumerate() {
        let second = second as u64 * 1_000_000;
        let (from, to) = (x(second, seconds), x(second + 1_000_000, seconds));
        let width = to.saturating_sub(from).saturating_sub(2).max(4);
        let done = u64::from(*done) * LANE * 10 / most;
        let failed = u64::from(*failed) * LANE * 10 / most;
        for (height, base, color) in [(done, 0, "#2f8f63"), (failed, done, "#c2362b")] {
            if height > 0 {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{color}\"/>",
                    tenths(from),
                    tenths(bottom * 10 - base - height),
                    tenths(width),
                    tenths(height)
                );
            }
        }
    }
}

fn axis(svg: &mut String, seconds: u64) {
    let step =
        [1, 2, 5, 10, 20, 30, 60, 120, 300].into_iter().find(|step| seconds / step <= 12).unwrap_or(600);
    let y = TOP + 2 * LANE + GAP;
    for second in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
        let x = tenths(x(second * 1_000_000, seconds));
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{}\" stroke=\"#9aa7b4\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5b6774\">{second} s</text>",
            y + 5,
            y + 20
        );
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"#2f8f63\"/>\
         <text x=\"{}\" y=\"{}\" fill=\"#1c2733\">acknowledged</text>\
         <rect x=\"{}\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"#c2362b\"/>\
         <text x=\"{}\" y=\"{}\" fill=\"#1c2733\">failed</text>",
        LEFT + 15,
        y + 38,
        LEFT + 120,
        LEFT + 135,
        y + 38,
        y = y + 29,
    );
}

/// Moments as lines over both lanes, with their names above, in as many rows as they need.
fn marks(svg: &mut String, report: &Report, seconds: u64) {
    let found = &report.measured.marks;
    let recovered = |found: Option<&crate::rehearse::measure::Recovery>| {
        let ms = found?.recovered_ms.filter(|ms| *ms > 0)?;
        Some(report.measured.marks.fault_asked_us? + ms * 1000)
    };
    let mut marks: Vec<(u64, &str, &str)> = [
        (found.fault_asked_us, "fault", "#b3261e"),
        (found.detected_us, "noticed", "#96690a"),
        (found.routed_us, "requests go elsewhere", "#1f5fa8"),
        (recovered(report.measured.uses.as_ref()), "uses served", "#1a7f4b"),
        (found.decided_us, "operator's order", "#6b3fa0"),
        (recovered(report.measured.changes.as_ref()), "changes served", "#1a7f4b"),
        (found.repair_us, "repair", "#6b3fa0"),
        (found.full_us, "all as before", "#1a7f4b"),
    ]
    .into_iter()
    .filter_map(|(at, name, color)| Some((at?, name, color)))
    .collect();
    marks.sort_unstable_by_key(|(at, ..)| *at);
    // Where the last label of each row ends.
    let mut ends = [0_u64; 7];
    for (at, name, color) in marks {
        let x = x(at, seconds);
        // A label that would leave the drawing stands left of its line.
        let width = name.chars().count() as u64 * 68 + 120;
        let (from, anchor) =
            if x + width > WIDTH * 10 { (x.saturating_sub(width), "end") } else { (x, "start") };
        let row = ends.iter().position(|end| *end <= from).unwrap_or(ends.len() - 1);
        if let Some(end) = ends.get_mut(row) {
            *end = from + width;
        }
        let y = 16 + row as u64 * 13;
        let label = if anchor == "end" { x.saturating_sub(30) } else { x + 30 };
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{}\" stroke=\"{color}\" stroke-dasharray=\"3 2\"/>\n\
             <text x=\"{}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{color}\">{name}</text>",
            y - 9,
            TOP + 2 * LANE + GAP,
            tenths(label),
            x = tenths(x),
        );
    }
}
