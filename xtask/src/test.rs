//! Every test.

use crate::shell::{self, Outcome, cargo};
use crate::{ct, no_std, tools};
use std::io::ErrorKind;

/// Installs what the tests need, then runs all of them. None may be skipped, for what it needs was just installed.
fn run_tests() -> Outcome {
    let python = tools::ensure_python_client()?;
    let skipped = std::path::absolute(shell::target_dir().join("skipped-tests"))?;
    let forgotten = std::fs::remove_file(&skipped);
    forgotten.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    shell::run(
        cargo(&["test", "--workspace", "--locked"])
            .env("HSM_SIM_PYTHON", python)
            .env("HSM_SIM_SKIPPED", &skipped),
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
pub(crate) fn run() -> Outcome {
    tools::ensure_packages()?;
    run_tests()?;
    no_std::run()?;
    ct::run()
}
