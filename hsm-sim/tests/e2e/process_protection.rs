//! What the disk and other processes can see of a process with secrets, and what weakens it.

use crate::common::control::{all_serve, status_once};
use crate::common::tool::{FAST_KDF, Tool, said};
use crate::common::{program, up};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A value in KiB from a process's status.
fn kib(pid: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_no_page_of_a_process_with_secrets_is_swapped_out_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &["--recovery-units", "0"]);
    let status = status_once(&region.control(), all_serve).await;
    let log = fs::read_to_string(&region.log).unwrap();
    let processes = status.units.iter().filter_map(|unit| unit.pid).chain([region.process.id()]);
    if log.contains("secrets in memory may be swapped out") {
        assert_eq!(log.matches("KiB may be locked").count(), 1, "{log}");
    } else {
        for pid in processes {
            let (locked, resident) = (kib(pid, "VmLck"), kib(pid, "VmRSS"));
            assert!(locked >= resident && resident > 0, "{pid}: {locked} of {resident} KiB are locked");
        }
    }
}

/// A unit alone, without the right to lock more than a little memory, also if the test itself has it.
fn unit_under_a_limit(folder: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command.args(["-c", "ulimit -l 2048 && exec \"$0\" \"$@\""]).arg(program().get_program());
    command.args(["unit", "serve", "--state"]).arg(folder.join("state"));
    command.arg("--socket").arg(folder.join("socket"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn attack_where_memory_cannot_be_locked_keys_are_and_the_operator_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut unit = unit_under_a_limit(folder.path()).spawn().unwrap();
    let mut announced = String::new();
    BufReader::new(unit.stdout.take().unwrap()).read_line(&mut announced).unwrap();
    let locked = kib(unit.id(), "VmLck");
    unit.kill().unwrap();
    let output = unit.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(announced.starts_with("ready "), "{announced}{log}");
    // The engine's registers and derived keys, and nothing else.
    assert!((1..2048).contains(&locked), "{locked} KiB are locked");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("may be swapped out")).collect();
    assert!(matches!(&told[..], [line] if line.contains("only 2048 KiB may be locked")), "{log}");
}

#[test]
fn attack_a_release_makes_no_file_whose_password_can_be_guessed() {
    let output = program().args(["tke", "--danger-fast-kdf", "sigkeys", "--help"]).output().unwrap();
    assert_eq!(output.status.success(), cfg!(debug_assertions), "{}", said(&output));
}

#[test]
fn attack_a_file_whose_password_can_be_guessed_is_named_when_it_is_used() {
    if FAST_KDF.is_empty() {
        // Such a file cannot be made.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tool = Tool::at(&folder.path().join("no-region"));
    tool.write("pins", "111111\n222222\n");
    tool.text("mk-add part1 --random");
    tool.text("card-ca-init ca.card --pin-file pins");
    let enrolled = tool.run("card-enroll a.card --ca ca.card --pin-file pins");
    named(&said(&enrolled), "ca.card");
    let copied = tool.run("card-part a.card --import part1 --pin-file pins");
    named(&said(&copied), "a.card");
    named(&said(&copied), ".mkpart");
}

/// Expects a warning with this name.
fn named(said: &str, name: &str) {
    let warned = |line: &str| line.contains("its key derivation is weak") && line.contains(name);
    assert!(said.lines().any(warned), "{name}: {said}");
}
