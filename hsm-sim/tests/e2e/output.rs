//! Output whose reader has gone, and output to a full disk.

use crate::common::{Region, program, softhsm, wait_for};
use hsm_sim::control::{FaultKind, FaultRequest, Target};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// 128 + SIGPIPE.
const CLOSED_PIPE: Option<i32> = Some(141);

/// A pipe whose reader is closed.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn run(command: &mut Command, stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let Output { status, stderr, .. } =
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn control(name: &str, data: &Path) -> Command {
    let mut command = program();
    command.args(name.split(' ')).arg("--data").arg(data);
    command
}

#[test]
fn e2e_output_a_command_whose_reader_has_gone_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &[]);
    for name in ["status", "status --json", "clock show", "fault slow --by 1ms unit 1", "heal all"] {
        assert_eq!(
            run(&mut control(name, &region.data), closed_pipe()),
            (CLOSED_PIPE, String::new()),
            "{name}"
        );
    }
    let files = folder.path().join("files");
    // The first command of a workstation also prints which root certificate it trusts.
    let mut first = control("tke cryptounits", &region.data);
    assert!(first.arg("--files").arg(&files).output().unwrap().status.success());
    let mut tke = control("tke cryptounits", &region.data);
    assert_eq!(run(tke.arg("--files").arg(&files), closed_pipe()), (CLOSED_PIPE, String::new()));
    // A command that fails prints its error and keeps its exit status.
    let (status, said) = run(&mut control("heal unit 9", &region.data), closed_pipe());
    assert_eq!((status, said.lines().count()), (Some(1), 1), "{said}");
}

#[test]
fn e2e_output_a_full_disk_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let region = Region::up(&data, &[]);
    let (status, said) = run(&mut control("status", &region.data), full());
    assert_eq!(status, Some(1));
    assert!(said.starts_with("hsm-sim: standard output cannot be written: "), "{said}");
    drop(region);

    let (status, said) = run(program().args(["up", "--port", "0", "--data"]).arg(&data), full());
    assert!(status == Some(1) && said.contains("standard output cannot be written"), "{said}");
}

#[test]
fn e2e_output_a_demo_whose_reader_has_gone_ends_quietly() {
    let (status, said) =
        run(program().args(["demo", "--keys", "100"]).env("HSM_SIM_LOG", "off"), closed_pipe());
    assert_eq!((status, said.as_str()), (CLOSED_PIPE, ""));
}

#[test]
fn e2e_output_a_token_probe_whose_reader_has_gone_ends_quietly() {
    let name = "e2e_output_a_token_probe_whose_reader_has_gone_ends_quietly";
    let Some(_) = softhsm::module(name) else { return };
    let (status, said) = run(program().args(["token", "probe", "softhsm"]), closed_pipe());
    assert_eq!((status, said.as_str()), (CLOSED_PIPE, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_output_a_region_goes_on_without_readers_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (log, stderr) = std::io::pipe().unwrap();
    let mut region = Region::up_printing_to(closed_pipe(), stderr, &data, &[]);
    let mut lines = BufReader::new(log);
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.contains("unit process started") && first.contains("unit="), "{first}");
    drop(lines);

    // Each of these is logged, by the region and by its units.
    let (control, rest) = (region.control(), region.rest());
    let key = rest.create("unread").await.unwrap();
    let kill = FaultRequest { fault: FaultKind::Kill, target: Target::Unit(1), slow_by_ms: None };
    control.fault(&kill).await.unwrap();
    let (ciphertext, plaintext) = (rest.wrap(&key, "c2VjcmV0").await.unwrap(), "c2VjcmV0");
    control.heal(&Target::Unit(1)).await.unwrap();
    assert_eq!(rest.unwrap(&key, &ciphertext).await.as_deref(), Ok(plaintext));

    let units: Vec<u32> = control.status().await.unwrap().units.iter().filter_map(|unit| unit.pid).collect();
    assert_eq!(units.len(), 2);
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    wait_for("the units to end", || units.iter().all(|unit| !crate::common::is_alive(*unit)));
}

#[test]
fn e2e_output_logs_are_json_at_the_levels_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let refused = |variable: &str, value: &str| {
        run(program().args(["up", "--port", "0", "--data"]).arg(&data).env(variable, value), Stdio::null())
    };
    for (variable, value) in [("HSM_SIM_LOG", "host=loud"), ("HSM_SIM_LOG_FORMAT", "xml")] {
        let (status, said) = refused(variable, value);
        assert!(status == Some(1) && said.starts_with(&format!("hsm-sim: {variable} is ")), "{said}");
    }
    assert!(!data.exists(), "something was made before the refusal");

    let (log, stderr) = std::io::pipe().unwrap();
    // The command goes, and with it the writer of the pipe on this side.
    let mut demo = program()
        .args(["demo", "--keys", "100"])
        .envs([("HSM_SIM_LOG", "info"), ("HSM_SIM_LOG_FORMAT", "json")])
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let lines: Vec<serde_json::Value> =
        BufReader::new(log).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(demo.wait().unwrap().success());
    for (message, unit) in [("unit process started", 1), ("fault set by command", 2)] {
        let found = lines.iter().any(|line| line["message"] == message && line["unit"] == unit);
        assert!(found, "{message}: {lines:#?}");
    }
}
