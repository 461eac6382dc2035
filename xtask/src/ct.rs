//! The constant-time gate: secrets undefined under valgrind's memcheck, on both AES back ends.

use crate::shell::{self, Outcome, cargo, target_dir};
use crate::tools;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// Names of the back ends, and the flags that choose them.
const BACK_ENDS: [(&str, &str); 2] = [("as-built", ""), ("portable", "--cfg aes_backend=\"soft\"")];

/// Builds the check twice and runs every case of it: canaries must be seen, nothing else may.
///
/// A program under valgrind uses one processor, so that both back ends run at once.
pub(crate) fn run() -> Outcome {
    tools::ensure_packages()?;
    let mut checks = Vec::new();
    for (name, flags) in BACK_ENDS {
        checks.push((name, build(name, flags)?));
    }
    let failures: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = checks
            .iter()
            .map(|(name, check)| {
                scope.spawn(move || {
                    let mut valgrind = Command::new("valgrind");
                    valgrind
                        .args(["--quiet", "--error-limit=no", "--log-file=/dev/null"])
                        .arg(check)
                        .arg("--all");
                    shell::run_labelled(name, &mut valgrind)
                        .map_err(|e| format!("constant time, {name} AES: {e}"))
                })
            })
            .collect();
        // A run that panicked has failed as well.
        runs.into_iter()
            .filter_map(|run| run.join().unwrap_or_else(|_| Err(String::from("ct: a run was lost"))).err())
            .collect()
    });
    if !failures.is_empty() {
        return Err(failures.join("\n").into());
    }
    eprintln!("ct: no case depends on a secret, and every planted leak was seen, on both AES back ends");
    Ok(())
}

/// Builds the check for a back end and gives the program.
///
/// With a target that is named, its flags are not those of build scripts: these are built once for both back ends.
fn build(name: &str, flags: &str) -> Outcome<PathBuf> {
    let (folder, target) = (target_dir().join("ct"), shell::host_target()?);
    let build =
        ["build", "--release", "--locked", "--package", "engine-soft", "--features", "ct", "--example", "ct"];
    shell::run(
        cargo(&build).args(["--target", &target]).env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", flags),
    )?;
    // The next back end's program takes this one's place.
    let check = folder.join(name);
    fs::copy(folder.join(target).join("release/examples/ct"), &check)?;
    Ok(check)
}
