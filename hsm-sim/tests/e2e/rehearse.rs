//! `hsm-sim rehearse`: the whole command, its exit statuses, and reports that were changed.

use crate::common::{is_alive, program, signal, up, wait_for};
use hsm_sim::rehearse::chain::ChainedEvent;
use hsm_sim::rehearse::checks::CheckResult;
use hsm_sim::rehearse::{Plan, Report, Verdict};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Objectives that a slow machine meets, too: what is measured is not what is tested here.
const PATIENT: [&str; 10] =
    ["--rto-use", "1h", "--rto-change", "1h", "--rto-full", "1h", "--rpo", "1h", "--request-timeout", "60s"];

fn rehearse(arguments: &[&str], report: &Path) -> Command {
    let mut command = program();
    command.arg("rehearse").args(arguments).arg("--report").arg(report).stdin(Stdio::null());
    command
}

fn report(folder: &Path) -> Report {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

fn verify(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, .. } =
        program().args(["rehearse", "verify"]).arg(folder).args(more).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn e2e_rehearse_region_loss_writes_a_report_that_verifies() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("report");
    let key = temporary.path().join("key");
    let seed = ["region-loss", "--quick", "--seed", "7"];
    let mut command = rehearse(&[&seed[..], &PATIENT, &["--json"]].concat(), &folder);
    let output = command.arg("--signing-key").arg(&key).output().unwrap();
    let (status, errors) = (output.status.code(), text(output.stderr));
    let report = report(&folder);
    assert_eq!(serde_json::from_slice::<Report>(&output.stdout).unwrap(), report);
    assert_eq!(status, Some(0), "{:?} {errors}", report.reasons);
    assert!(matches!(report.verdict, Verdict::Pass | Verdict::PassWithExceptions));

    // The objective was written first, and the seed gives the same plan again.
    let again = program().arg("rehearse").args(seed).args(PATIENT).args(["--plan-only", "--json"]).output();
    let again: Plan = serde_json::from_slice(&again.unwrap().stdout).unwrap();
    assert_eq!(again, report.plan);
    let written: Plan = serde_json::from_slice(&std::fs::read(folder.join("plan.json")).unwrap()).unwrap();
    assert_eq!(written, report.plan);

    // Clients saw the loss, and everything came back.
    let measured = &report.measured;
    let (uses, changes) = (measured.uses.unwrap(), measured.changes.unwrap());
    assert!(uses.recovered_ms > Some(0) && changes.recovered_ms > Some(0), "{measured:#?}");
    assert!(changes.failed > 0 && measured.full_ms.is_some() && measured.routed_ms.is_some());
    assert_eq!(measured.uses_after_disable, 0);
    assert!(measured.lost_changes.is_some());
    assert!(report.checks.iter().all(|check| check.result != CheckResult::Failed), "{:#?}", report.checks);
    let events: Vec<&str> = report.timeline.iter().map(|entry| entry.event.event.as_str()).collect();
    for event in
        ["planned", "fault", "fault-in-effect", "lost", "took-over", "routed", "recovered", "verdict"]
    {
        assert!(events.contains(&event), "{event}: {events:?}");
    }

    let (status, said) = verify(&folder, &["--key", key.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = verify(&folder, &["--key", "00"]);
    assert!(status == Some(1) && said.contains("another key"), "{said}");
    for (file, from, to, part) in [
        ("history.jsonl", "\"done\"", "\"Done\"", "history.jsonl"),
        ("report.html", "</html>", "", "report.html"),
        ("report.json", "\"seed\": 7", "\"seed\": 8", "signature"),
    ] {
        let path = folder.join(file);
        let content = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, content.replacen(from, to, 1)).unwrap();
        let (status, said) = verify(&folder, &[]);
        assert!(status == Some(1) && said.contains(part), "{file}: {said}");
        std::fs::write(&path, content).unwrap();
    }
    assert_eq!(verify(&folder, &[]).0, Some(0));
    // A report is not overwritten.
    let output = rehearse(&seed, &folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("another folder"));
}

#[test]
fn e2e_rehearse_zone_loss_that_misses_its_objective_fails() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("report");
    let mut arguments = vec!["zone-loss", "--quick"];
    arguments.extend(PATIENT);
    arguments.splice(6..8, ["--rto-full", "1ms"]);
    let output = rehearse(&arguments, &folder).output().unwrap();
    let report = report(&folder);
    assert_eq!((output.status.code(), report.verdict), (Some(1), Verdict::Fail), "{:?}", report.reasons);
    assert!(report.reasons[0].contains("all is as before"), "{:?}", report.reasons);
    assert_eq!(verify(&folder, &[]).0, Some(0));
    // Without a terminal: plain lines that would fit one.
    let (said, shown) = (text(output.stderr), text(output.stdout));
    assert!(said.contains("fault-in-effect") && !said.contains('\u{1b}'), "{said}");
    for line in said.lines().chain(shown.lines().filter(|line| !line.starts_with("report: "))) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_rehearse_a_refused_fault_makes_the_run_void() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("report");
    let pair = up(&temporary.path().join("data"), &["--profile", "kp-2024", "--faults=off"]);
    let output = tokio::task::block_in_place(|| {
        let mut command = rehearse(&["region-loss", "--request-timeout", "60s"], &folder);
        command.arg("--data").arg(&pair.data).output().unwrap()
    });
    let report = report(&folder);
    assert_eq!((output.status.code(), report.verdict), (Some(3), Verdict::Void), "{:?}", report.reasons);
    assert!(report.reasons[0].contains("refused"), "{:?}", report.reasons);
    assert!(report.measured.marks.fault_in_us.is_none());
    assert_eq!(verify(&folder, &[]).0, Some(0));
    // The simulator that was there before goes on.
    assert_eq!(pair.control().pair_status().await.unwrap().writes, "home");
}

/// A process and everything that it has started, directly or not.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flat_map(|task| {
        let children = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    });
    children.flat_map(family).chain([pid]).collect()
}

#[test]
fn e2e_rehearse_an_interrupted_run_ends_its_processes_and_is_void() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("report");
    let mut process =
        rehearse(&["region-loss"], &folder).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let timeline = folder.join("timeline.jsonl");
    let has_load = || {
        let lines = std::fs::read_to_string(&timeline).unwrap_or_default();
        let events = lines.lines().filter_map(|line| serde_json::from_str::<ChainedEvent>(line).ok());
        events.into_iter().any(|entry| entry.event.source == "load")
    };
    wait_for("the load to begin", has_load);
    let family = family(process.id());
    // The simulator, two regions, the witness, and their units.
    assert!(family.len() >= 9, "{family:?}");
    signal(process.id(), rustix::process::Signal::INT);
    assert_eq!(process.wait().unwrap().code(), Some(130));
    wait_for("every process to end", || family.iter().all(|pid| !is_alive(*pid)));
    let report = report(&folder);
    assert_eq!(report.verdict, Verdict::Void);
    assert!(report.reasons.iter().any(|reason| reason.contains("interrupted")), "{:?}", report.reasons);
    assert_eq!(verify(&folder, &[]).0, Some(0));
}

/// Runs a rehearsal that has to pass, and returns its report.
fn passes(scenario: &str, folder: &Path) -> Report {
    let output = rehearse(&[&[scenario, "--quick"][..], &PATIENT].concat(), folder).output().unwrap();
    let report = report(folder);
    assert_eq!(output.status.code(), Some(0), "{:?} {}", report.reasons, text(output.stderr));
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    assert_eq!(verify(folder, &[]).0, Some(0));
    report
}

#[test]
fn e2e_rehearse_duplicate_keys_are_used_while_a_region_is_lost() {
    let temporary = tempfile::tempdir().unwrap();
    let report = passes("duplicate-keys", &temporary.path().join("report"));
    let measured = &report.measured;
    // No use fails in both regions; what needs both fails until the region is back.
    assert_eq!((measured.uses.unwrap().failed, measured.uses.unwrap().recovered_ms), (0, Some(0)));
    assert!(measured.changes.unwrap().recovered_ms > Some(0), "{measured:#?}");
    assert!(measured.clients.saved_by_retry > 0, "a client had to try the other region");
}

#[test]
fn e2e_rehearse_rotation_under_load() {
    let temporary = tempfile::tempdir().unwrap();
    let report = passes("rotation", &temporary.path().join("report"));
    assert!(report.timeline.iter().any(|entry| entry.event.event == "rotated"));
    assert_eq!(report.measured.uses.unwrap().failed, 0);
}
