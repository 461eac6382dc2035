//! `hsm-sim token probe` on SoftHSM: the report on a token, and error messages.

use crate::common::softhsm::{self, SoftHsm};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const PIN: &str = "86420975";

/// Exit status and output of the command.
struct Output {
    usable: bool,
    out: String,
    err: String,
}

fn probe(conf: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let process = Command::new(env!("CARGO_BIN_EXE_hsm-sim"))
        .args(["token", "probe"])
        .args(args)
        .env("SOFTHSM2_CONF", conf)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let output = Output {
        usable: process.status.success(),
        out: String::from_utf8(process.stdout).unwrap(),
        err: String::from_utf8(process.stderr).unwrap(),
    };
    assert!(!output.err.contains("panicked"), "{}", output.err);
    for text in [&output.out, &output.err] {
        assert!(!text.contains(PIN), "the PIN is printed: {text}");
    }
    output
}

fn private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn e2e_token_probe_creates_and_removes_a_temporary_token() {
    let Some(_) = softhsm::module("e2e_token_probe_creates_and_removes_a_temporary_token") else { return };
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_str().unwrap();
    let output = probe(Path::new("/nowhere"), &["softhsm"], &[("TMPDIR", temporary)]);
    assert!(output.usable, "{}{}", output.out, output.err);
    assert!(
        output.out.trim_end().lines().last().unwrap().starts_with("a unit can use this token"),
        "{}",
        output.out
    );
    for text in ["AES-KW", "CKM_SP800_108_COUNTER_KDF", "verification patterns", "SoftHSM v2"] {
        assert!(output.out.contains(text), "{}", output.out);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

#[test]
fn e2e_token_probe_finds_a_token_by_each_attribute() {
    let Some(module) = softhsm::module("e2e_token_probe_finds_a_token_by_each_attribute") else { return };
    let softhsm = SoftHsm::new();
    softhsm.add_token("core", PIN);
    let (conf, module) = (softhsm.conf(), module.to_str().unwrap());
    let pin_file = softhsm.folder().join("pin");
    private(&pin_file, &format!("{PIN}\n"));
    let pin_file = pin_file.to_str().unwrap();

    // Without an attribute: the module's only token.
    let output = probe(&conf, &["--module", module, "--pin-file", pin_file, "--json"], &[]);
    assert!(output.usable, "{}", output.err);
    let report: hsm_sim::token::Report = serde_json::from_str(&output.out).unwrap();
    assert!(report.usable && report.findings.iter().all(|finding| finding.verdict != "missing"));
    assert_eq!(report.token.label, "core");

    softhsm.add_token("other", PIN);
    let uri = format!("pkcs11:token=core?module-path={module}&pin-source=env:TOKEN_PIN");
    let slot = report.token.slot.to_string();
    for args in [
        &["--module", module, "--token", "core", "--pin-env", "TOKEN_PIN"] as &[&str],
        &["--module", module, "--serial", &report.token.serial, "--pin-env", "TOKEN_PIN"],
        &["--module", module, "--slot", &slot, "--pin-env", "TOKEN_PIN"],
        &[&uri],
    ] {
        let output = probe(&conf, args, &[("TOKEN_PIN", PIN)]);
        assert!(output.usable && output.out.contains(&report.token.serial), "{args:?}: {}", output.err);
    }
    assert_eq!(softhsm.objects(), 0, "objects are left on a token");
}

#[test]
fn e2e_token_probe_says_what_is_wrong() {
    let Some(module) = softhsm::module("e2e_token_probe_says_what_is_wrong") else { return };
    let softhsm = SoftHsm::new();
    let (conf, module) = (softhsm.conf(), module.to_str().unwrap());
    let refused = |args: &[&str], expected: &[&str]| {
        let output = probe(&conf, args, &[("TOKEN_PIN", PIN)]);
        assert!(
            !output.usable && output.out.is_empty() && output.err.starts_with("hsm-sim: "),
            "{args:?}: {}",
            output.err
        );
        for text in expected {
            assert!(output.err.contains(text), "{args:?} should contain `{text}`: {}", output.err);
        }
    };
    refused(&["--module", "/nowhere.so"], &["no PKCS#11 module at /nowhere.so"]);
    refused(&["--module", "/etc/passwd"], &["/etc/passwd could not be loaded"]);
    refused(&["softhsm2"], &["name the token by a PKCS#11 URI"]);
    refused(
        &[&format!("pkcs11:token=core?module-path={module}&pin-value={PIN}")],
        &["pin-value is not accepted"],
    );
    refused(&["--module", module], &["has no initialised token;", "token not initialised"]);

    softhsm.add_token("core", PIN);
    softhsm.add_token("other", PIN);
    refused(&["--module", module], &["several tokens", "`core`, serial `", "`other`, serial `"]);
    refused(
        &["--module", module, "--token", "third"],
        &["has no matching initialised token;", "`core`, serial `", "`other`, serial `"],
    );
    refused(&["--module", module, "--token", "core"], &["--pin-file or --pin-env"]);
    refused(
        &["--module", module, "--token", "core", "--pin-env", "NO_PIN"],
        &["NO_PIN with the PIN is not set"],
    );
    let pin_file = softhsm.folder().join("pin");
    std::fs::write(&pin_file, PIN).unwrap();
    std::fs::set_permissions(&pin_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let by_file = ["--module", module, "--token", "core", "--pin-file", pin_file.to_str().unwrap()];
    refused(&by_file, &["accessible to other users", "chmod 600"]);
    private(&pin_file, "13579086");
    refused(&by_file, &["refused the PIN", "tried once"]);
}
