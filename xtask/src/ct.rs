//! The constant-time gate: secrets undefined under valgrind's memcheck, on both AES back ends.

use crate::shell::{self, Outcome, cargo, target_dir};
use crate::test::Part;
use crate::tools::{self, Tools};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// Names of the back ends, and the flags that choose them.
const BACK_ENDS: [(&str, &str); 2] = [("as-built", ""), ("portable", "--cfg aes_backend=\"soft\"")];

/// The gate alone.
pub(crate) fn run() -> Outcome<bool> {
    let mut part = Part::named("ct");
    let needs = tools::Needs { valgrind: true, softhsm: false, python: false };
    check(&mut part, &tools::ensure(&needs));
    for skipped in &part.skipped {
        eprintln!("ct: {}: skipped: {}", skipped.name, skipped.why);
    }
    Ok(part.failed.is_empty() && part.skipped.is_empty())
}

/// Builds the check twice and runs every case of it: canaries must be reported, nothing else may.
///
/// A program under valgrind uses one processor, so that both back ends run at once.
pub(crate) fn check(part: &mut Part, tools: &Tools) {
    let missing = tools.missing_for_valgrind();
    if !missing.is_empty() {
        let why = format!("not installed: {}", missing.join(", "));
        BACK_ENDS.iter().for_each(|(name, _)| part.skip(format!("{name} AES"), why.as_str(), false));
        return;
    }
    // One after the other: they share what is built for build scripts.
    let built = BACK_ENDS.map(|(name, flags)| (name, build(name, flags).map_err(|e| e.to_string())));
    let outcomes: Vec<_> = thread::scope(|scope| {
        let runs = built.map(|(name, program)| {
            (name, scope.spawn(move || program.and_then(|p| run_under_valgrind(name, p))))
        });
        runs.into_iter()
            .map(|(name, run)| {
                (name, run.join().unwrap_or_else(|_| Err("the thread that ran it panicked".to_owned())))
            })
            .collect()
    });
    for (name, outcome) in outcomes {
        part.check(&format!("constant time, {name} AES"), outcome);
    }
    if part.failed.is_empty() {
        eprintln!(
            "ct: no case depends on a secret, and every planted leak was reported, on both AES back ends"
        );
    }
}

fn run_under_valgrind(name: &str, program: PathBuf) -> Result<(), String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-limit=no", "--log-file=/dev/null"]).arg(program).arg("--all");
    shell::run_labelled(name, &mut valgrind)
}

/// Builds the check for a back end and gives the program.
///
/// With a target that is named, its flags are not those of build scripts: these are built once for both back ends.
fn build(name: &str, flags: &str) -> Outcome<PathBuf> {
    let (folder, target) = (target_dir().join("ct"), shell::host_target()?);
    let build = ["build", "--release", "--locked", "--package", "constant-time", "--features", "valgrind"];
    shell::run(
        cargo(&build).args(["--target", &target]).env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", flags),
    )?;
    // The next back end's program takes this one's place.
    let check = folder.join(name);
    fs::copy(folder.join(target).join("release/constant-time"), &check)?;
    Ok(check)
}
