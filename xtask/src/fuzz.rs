//! Fuzz targets: random bytes at every decoder of outside data.

use crate::shell::{self, Outcome, root, succeeds, target_dir};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Every target with the crate in whose fuzz folder it is.
const TARGETS: [(&str, &str); 19] = [
    ("frames", "unit-api"),
    ("signed_block", "unit-api"),
    ("certificates", "tke-crypto"),
    ("sealed_part", "tke-crypto"),
    ("blob", "unit-core"),
    ("unit_request", "unit-core"),
    ("unit_state", "unit-core"),
    ("unit_device", "unit-server"),
    ("index_bucket", "kms"),
    ("instance_header", "kms"),
    ("key_record", "kms"),
    ("counts", "kms"),
    ("backup", "kms"),
    ("replica_event", "kms"),
    ("keystore_pin", "keystore"),
    ("keystore_secrets", "keystore"),
    ("node_files", "node"),
    ("region_message", "wire"),
    ("secret_text", "wire"),
];

/// Minutes that a target runs without `--minutes`.
const DEFAULT_MINUTES: u64 = 5;

/// Runs one target or all of them, each for the given minutes, starting with its committed corpus.
///
/// New inputs are stored in a second corpus below the build folder, which the next run reads as well.
///
/// # Errors
/// At the first input that fails; the message names its file.
pub(crate) fn run(args: &[&str]) -> Outcome {
    let (wanted, minutes) = parse(args)?;
    ensure_tools()?;
    for (target, package) in
        TARGETS.into_iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name))
    {
        fuzz(target, package, minutes)?;
    }
    Ok(())
}

fn parse<'a>(args: &[&'a str]) -> Outcome<(Option<&'a str>, u64)> {
    let (wanted, rest) = match args {
        [name, rest @ ..] if !name.starts_with('-') => (Some(*name), rest),
        rest => (None, rest),
    };
    let names = TARGETS.map(|(name, _)| name);
    if let Some(name) = wanted.filter(|name| !names.contains(name)) {
        return Err(format!("fuzz: there is no target `{name}`; targets: {}", names.join(", ")).into());
    }
    match rest {
        [] => Ok((wanted, DEFAULT_MINUTES)),
        ["--minutes", minutes] => {
            Ok((wanted, minutes.parse().map_err(|e| format!("--minutes {minutes}: {e}"))?))
        }
        [other, ..] => Err(format!("fuzz: unexpected `{other}`").into()),
    }
}

/// Checks for the nightly compiler, cargo-fuzz and a C++ compiler. They are large and nothing else needs them, so that
/// this chore does not install them.
fn ensure_tools() -> Outcome {
    let has = |program: &str, args: &[&str]| succeeds(Command::new(program).args(args));
    if !has("cargo", &["+nightly", "--version"]) {
        return Err(
            "fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal".into()
        );
    }
    if !has("cargo", &["+nightly", "fuzz", "--version"]) {
        return Err("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked".into());
    }
    if !has("c++", &["--version"]) {
        return Err("fuzzing needs a C++ compiler for its runtime (Debian: apt-get install g++)".into());
    }
    Ok(())
}

fn fuzz(target: &str, package: &str, minutes: u64) -> Outcome {
    let work = target_dir().join("fuzz");
    let (found, failures) = (work.join("corpus").join(target), work.join("failures").join(target));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&failures)?;
    let seconds = minutes.saturating_mul(60);
    // The crates forbid unsafe code: an address sanitizer would slow the search down fivefold and find nothing in them.
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "fuzz", "run", "--sanitizer", "none", "--fuzz-dir"])
        .arg(root().join("crates").join(package).join("fuzz"))
        .arg(target)
        .arg(&found)
        .arg(root().join("fixtures/corpora").join(target))
        .args(["--", "-timeout=30", "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .env("CARGO_TARGET_DIR", work.join("build"))
        .current_dir(root());
    shell::run(&mut command).map_err(|e| explain(&e.to_string(), target, &failures).into())
}

/// Adds to a failure what to do with the input that caused it.
fn explain(failure: &str, target: &str, failures: &Path) -> String {
    format!(
        "{failure}\nfuzz: {target}: if an input failed, it is in {}; add it to fixtures/corpora/{target}, where \
         the crate's tests/corpus.rs runs it, and fix the cause",
        failures.display()
    )
}
