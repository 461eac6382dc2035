//! Tests that need a program which the machine lacks.

use std::io::Write;
use std::path::PathBuf;

/// SoftHSM's library. Without one the test is skipped.
pub(crate) fn softhsm(test: &str) -> Option<PathBuf> {
    let module = engine_pkcs11::softhsm::find_module();
    if module.is_none() {
        record(test, "there is no SoftHSM on this machine");
    }
    module
}

/// Prints that a test is skipped and why; where the environment variable `HSM_SIM_SKIPPED` names a file, adds a line to it.
#[expect(clippy::print_stdout, reason = "a test prints why it is skipped")]
pub(crate) fn record(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("HSM_SIM_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
