//! Programs that chores run.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Result of a chore.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The folder builds go to.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Target triple of the compiler's own platform.
pub(crate) fn host_target() -> Outcome<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).current_dir(root()).arg("-vV").output()?.stdout;
    let host = String::from_utf8_lossy(&version)
        .lines()
        .find_map(|line| Some(line.strip_prefix("host: ")?.to_owned()));
    host.ok_or_else(|| "`rustc -vV` names no host".into())
}

/// `cargo`, the one that runs this, in the workspace's folder.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Shows `command`, runs it to its end and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Outcome {
    eprintln!("\n$ {}", shown(command));
    let status = command.status().map_err(|e| format!("{}: {e}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command)).into()) }
}

/// Like [`run`], for commands that run at the same time: `label` precedes every line that `command` prints.
pub(crate) fn run_labelled(label: &str, command: &mut Command) -> Result<(), String> {
    let name = shown(command);
    eprintln!("\n$ {name}");
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        println!("{label}: {}", line.map_err(failed)?);
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}

/// Whether `command` can be started and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Like [`succeeds`], but a command that takes longer than `patience` is killed and counts as failed.
pub(crate) fn succeeds_within(command: &mut Command, patience: Duration) -> bool {
    let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else { return false };
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < patience => std::thread::sleep(Duration::from_millis(100)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// A command as it would be typed.
pub(crate) fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|w| w.to_string_lossy())
        .collect();
    words.join(" ")
}
