//! Bytes from nowhere at every decoder that meets outside data.

use crate::shell::{self, Outcome, root, succeeds, target_dir};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A target and the crate whose fuzz folder it is in.
const TARGETS: [(&str, &str); 6] = [
    ("frames", "unit-api"),
    ("signed_block", "unit-api"),
    ("certificates", "tke-crypto"),
    ("sealed_part", "tke-crypto"),
    ("blob", "unit-core"),
    ("unit_request", "unit-core"),
];

/// How long each target runs unless said otherwise.
const MINUTES: u64 = 5;

/// Runs one target or all of them, each for so many minutes, from its committed corpus on.
///
/// What is new goes to a corpus of its own below the build folder, and is where the next run goes on. An input that
/// fails ends the chore, which says where it is.
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
        return Err(format!("there is no target `{name}`; there are {}", names.join(", ")).into());
    }
    match rest {
        [] => Ok((wanted, MINUTES)),
        ["--minutes", minutes] => {
            Ok((wanted, minutes.parse().map_err(|e| format!("--minutes {minutes}: {e}"))?))
        }
        [other, ..] => Err(format!("fuzz does not know `{other}`").into()),
    }
}

/// Neither is installed by itself: both are large, and nothing else needs them.
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
    // The crates forbid unsafe code: an address sanitizer would slow the search down five times to watch nothing of ours.
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

fn explain(failure: &str, target: &str, failures: &Path) -> String {
    format!(
        "{failure}\nfuzz: {target}: if an input failed, it is in {}; put it into fixtures/corpora/{target}, where \
         the crate's tests/corpus.rs runs it, and mend the fault",
        failures.display()
    )
}
