//! Tests that need SoftHSM, on machines that have none.

use std::io::Write;
use std::path::PathBuf;

/// SoftHSM's library. Without one the test is skipped, which is printed and, where the environment variable
/// `HSM_SIM_SKIPPED` names a file, written to it.
pub(crate) fn softhsm(test: &str) -> Option<PathBuf> {
    let module = engine_pkcs11::softhsm::find_module();
    if module.is_none() {
        let line = format!("skipped: {test}: there is no SoftHSM on this machine");
        println!("{line}");
        if let Some(path) = std::env::var_os("HSM_SIM_SKIPPED") {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            writeln!(file, "{line}").unwrap();
        }
    }
    module
}
