//! Every test.

use crate::shell::{self, Outcome, cargo};
use crate::{ct, no_std, tools};
use std::io::ErrorKind;
use std::thread;

/// End-to-end tests that run a second time with every unit on a SoftHSM token of its own.
const ON_TOKENS: [&str; 5] = ["crash::", "faults::", "rest_python::", "tke_files::", "tke_recovery::"];

/// Installs what the tests need, then runs all of them. None may be skipped, for what it needs was just installed.
fn run_tests() -> Outcome {
    let python = tools::ensure_python_client()?;
    let skipped = std::path::absolute(shell::target_dir().join("skipped-tests"))?;
    let forgotten = std::fs::remove_file(&skipped);
    forgotten.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    shell::run(
        cargo(&["test", "--workspace", "--locked"])
            .env("HSM_SIM_PYTHON", &python)
            .env("HSM_SIM_SKIPPED", &skipped),
    )?;
    // Of the workspace, not of the package: with other features, everything would be built again.
    let on_tokens: Vec<&str> =
        ["test", "--workspace", "--locked", "--test", "e2e", "--"].into_iter().chain(ON_TOKENS).collect();
    shell::run(
        cargo(&on_tokens)
            .env("HSM_SIM_PYTHON", python)
            .env("HSM_SIM_SKIPPED", &skipped)
            .env("HSM_SIM_ENGINE", "pkcs11:softhsm"),
    )?;
    match std::fs::read_to_string(&skipped) {
        Ok(lines) => Err(format!("tests were skipped: {}\n{lines}", lines.lines().count()).into()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            eprintln!("tests skipped: 0");
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// The tests, the `no_std` proof and the constant-time gate.
///
/// Once the tests are built they wait more than they compute, for disks and for each other. The proofs, which compute
/// only and build in folders of their own, go on meanwhile; what fails is said at the end, whichever it was.
pub(crate) fn run() -> Outcome {
    tools::ensure_packages()?;
    shell::run(&mut cargo(&["test", "--workspace", "--locked", "--no-run"]))?;
    let (tests, proofs) = thread::scope(|scope| {
        let proofs = scope.spawn(|| no_std::run().and_then(|()| ct::run()).map_err(|e| e.to_string()));
        let tests = run_tests().map_err(|e| e.to_string());
        (tests, proofs.join().unwrap_or_else(|_| Err("the proofs were lost".to_owned())))
    });
    let failures: Vec<String> = [tests, proofs].into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}
