//! Every test and proof, with one summary at the end.

mod build;
mod libtest;
mod report;
mod suites;

use crate::shell::{self, Outcome, cargo};
use crate::tools::{self, Tools};
use crate::{ct, no_std};
use build::Binary;
use libtest::Counts;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;
use suites::Suite;

pub(crate) use report::Part;
pub(crate) use suites::listed;

/// Runs the suites that `args` select, all of them without arguments, and prints the summary. Returns whether they
/// succeeded.
///
/// A failure ends nothing: every other test and proof runs all the same. What could not run is counted as skipped.
///
/// Once the tests are built they wait more than they compute, for disks and for each other. The proofs, which compute
/// only and build in folders of their own, run meanwhile.
///
/// # Errors
/// Where the arguments or the machine do not allow any of it.
pub(crate) fn run(args: &[&str]) -> Outcome<bool> {
    let started = Instant::now();
    let wanted = suites::parse(args)?;
    let tools = tools::ensure(&needs(&wanted));
    let mut parts = Vec::new();
    let mut binaries = Vec::new();
    if wanted.iter().any(|suite| suite.has_binaries()) {
        let only_e2e = wanted.iter().all(|suite| !suite.has_binaries() || is_e2e(*suite));
        let (part, built) = timed("build", |part| build::binaries(only_e2e, part));
        parts.push(part);
        binaries = built;
    }
    let (tests, proofs) = thread::scope(|scope| {
        let proofs = scope.spawn(|| proofs(&wanted, &tools));
        let tests = wanted.iter().filter_map(|suite| tests(*suite, &binaries, &tools)).collect::<Vec<_>>();
        (tests, proofs.join())
    });
    parts.extend(tests);
    parts.extend(proofs.unwrap_or_else(|_| {
        let mut lost = Part::named("proofs");
        lost.fail("the thread that runs the proofs panicked");
        vec![lost]
    }));
    print!("{}", report::summary(&parts, started.elapsed()));
    Ok(report::succeeded(&parts))
}

fn is_e2e(suite: Suite) -> bool {
    matches!(suite, Suite::E2e | Suite::E2eTokens)
}

/// What has to be installed for these suites.
fn needs(wanted: &[Suite]) -> tools::Needs {
    let any = |suites: &[Suite]| suites.iter().any(|suite| wanted.contains(suite));
    tools::Needs {
        softhsm: any(&[Suite::Pkcs11, Suite::E2e, Suite::E2eTokens]),
        python: any(&[Suite::E2e, Suite::E2eTokens]),
        valgrind: any(&[Suite::ConstantTime]),
    }
}

/// Runs a part and takes its time.
fn timed<T>(name: &'static str, run: impl FnOnce(&mut Part) -> T) -> (Part, T) {
    let (started, mut part) = (Instant::now(), Part::named(name));
    let value = run(&mut part);
    part.took = started.elapsed();
    (part, value)
}

fn proofs(wanted: &[Suite], tools: &Tools) -> Vec<Part> {
    let mut parts = Vec::new();
    if wanted.contains(&Suite::NoStd) {
        parts.push(timed(Suite::NoStd.name(), no_std::check).0);
    }
    if wanted.contains(&Suite::ConstantTime) {
        parts.push(timed(Suite::ConstantTime.name(), |part| ct::check(part, tools)).0);
    }
    if wanted.contains(&Suite::KatRelease) {
        parts.push(timed(Suite::KatRelease.name(), kat_release).0);
    }
    parts
}

/// Runs a suite of tests; nothing for proofs.
fn tests(suite: Suite, binaries: &[Binary], tools: &Tools) -> Option<Part> {
    let run: &dyn Fn(&mut Part) -> Outcome = match suite {
        Suite::NoStd | Suite::ConstantTime | Suite::KatRelease => return None,
        Suite::Docs => &|part| documentation(part),
        Suite::E2eTokens => &|part| {
            // Absent tokens make each of them skip itself.
            on_tokens(part, binaries, tools)
        },
        _ => &|part| plain(part, suite, binaries, tools),
    };
    let (part, ()) = timed(suite.name(), |part| {
        if let Err(error) = run(part) {
            part.fail(format!("the suite could not run: {error}"));
        }
    });
    Some(part)
}

fn plain(part: &mut Part, suite: Suite, binaries: &[Binary], tools: &Tools) -> Outcome {
    for binary in binaries.iter().filter(|binary| binary.suite() == suite) {
        run_binary(part, binary, |command| {
            if let Some(python) = &tools.python {
                command.env("HSM_SIM_PYTHON", python);
            }
        })?;
    }
    Ok(())
}

fn on_tokens(part: &mut Part, binaries: &[Binary], tools: &Tools) -> Outcome {
    if !tools.has_softhsm() {
        part.skip("every test", "SoftHSM is not installed", false);
        return Ok(());
    }
    for binary in binaries.iter().filter(|binary| binary.suite() == Suite::E2e) {
        run_binary(part, binary, |command| {
            command.args(suites::ON_TOKENS).env("HSM_SIM_ENGINE", "pkcs11:softhsm");
            if let Some(python) = &tools.python {
                command.env("HSM_SIM_PYTHON", python);
            }
        })?;
    }
    Ok(())
}

/// Runs a binary and adds its counts; tests that report themselves as skipped are not counted as passed.
fn run_binary(part: &mut Part, binary: &Binary, adapt: impl FnOnce(&mut Command)) -> Outcome {
    let record = skip_record()?;
    let mut command = libtest::command(&binary.executable, &binary.folder);
    command.env("HSM_SIM_SKIPPED", &record);
    adapt(&mut command);
    let label = format!("{}::{}", binary.package, binary.name);
    eprintln!("\n{label}");
    let counts = libtest::run(&label, &mut command)?;
    add(part, &binary.package, counts);
    let lines = match fs::read_to_string(&record) {
        Ok(lines) => lines,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for line in lines.lines() {
        let (test, why) =
            line.trim_start_matches("skipped: ").split_once(": ").unwrap_or((line, "no reason"));
        part.passed = part.passed.saturating_sub(1);
        part.skip(format!("{}::{test}", binary.package), why, false);
    }
    Ok(())
}

/// The file that tests write a line to when they skip themselves; it does not exist yet.
fn skip_record() -> Outcome<PathBuf> {
    let path = std::path::absolute(shell::target_dir().join("skipped-tests"))?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(path),
    }
}

/// Known answers and self-tests once more, optimised as a release is: an optimiser can break what a debug build does well.
fn kat_release(part: &mut Part) {
    let mut command = cargo(&["test", "--release", "--locked", "--tests", "--no-fail-fast"]);
    for package in suites::WITH_KNOWN_ANSWERS {
        command.args(["--package", package]);
    }
    command.env("CARGO_TARGET_DIR", shell::target_dir().join("kat-release"));
    command.args(["--", "kat_", "self_test_"]);
    eprintln!("\n$ {}", shell::shown(&command));
    match libtest::run("known answers in the release profile", &mut command) {
        Ok(counts) if counts.passed == 0 => part.fail("no known answer was checked in the release profile"),
        Ok(counts) => add(part, "release", counts),
        Err(error) => part.fail(format!("known answers in the release profile could not run: {error}")),
    }
}

fn documentation(part: &mut Part) -> Outcome {
    let mut command = cargo(&["test", "--workspace", "--locked", "--doc", "--no-fail-fast"]);
    eprintln!("\n$ {}", shell::shown(&command));
    let counts = libtest::run("documentation tests", &mut command)?;
    add(part, "doc", counts);
    Ok(())
}

fn add(part: &mut Part, package: &str, counts: Counts) {
    part.passed += counts.passed;
    for name in counts.failed {
        part.fail(format!("{package}::{name}"));
    }
    for (name, why) in counts.ignored {
        part.skip(format!("{package}::{name}"), why, false);
    }
}
