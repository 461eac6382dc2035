//! Every test.

use crate::shell::{self, Outcome, cargo};
use crate::{ct, no_std, tools};

/// Installs what the tests need, then runs all of them.
fn run_tests() -> Outcome {
    let python = tools::ensure_python_client()?;
    shell::run(cargo(&["test", "--workspace", "--locked"]).env("HSM_SIM_PYTHON", python))
}

/// The tests, the `no_std` proof and the constant-time gate.
pub(crate) fn run() -> Outcome {
    tools::ensure_packages()?;
    run_tests()?;
    no_std::run()?;
    ct::run()
}
