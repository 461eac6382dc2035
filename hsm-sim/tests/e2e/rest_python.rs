//! IBM's Python client, unchanged, against the built program.

use crate::common::{Region, skip};
use std::process::Command;

/// `HSM_SIM_PYTHON` is an interpreter that has `keyprotect` 3.x; `cargo xtask test` sets it.
#[test]
fn e2e_rest_python_client_notices_no_failover() {
    let Some(python) = std::env::var_os("HSM_SIM_PYTHON") else {
        skip::record(
            "e2e_rest_python_client_notices_no_failover",
            "HSM_SIM_PYTHON names no interpreter with IBM's client; `cargo xtask test` installs one",
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &[]);
    let session = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/keyprotect_session.py");
    let status =
        Command::new(python).arg(session).arg(region.data.with_extension("ready.json")).status().unwrap();
    assert!(status.success(), "the client's session failed; see its output above");
}
