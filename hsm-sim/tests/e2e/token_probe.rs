//! `hsm-sim token probe` on SoftHSM, as a user meets it: a verdict on a token, or what is wrong in words.

use crate::common::softhsm::{self, SoftHsm};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const PIN: &str = "86420975";

/// What the program ended with, and what it said on both streams.
struct Said {
    usable: bool,
    out: String,
    err: String,
}

fn probe(conf: &Path, args: &[&str], environment: &[(&str, &str)]) -> Said {
    let ended = Command::new(env!("CARGO_BIN_EXE_hsm-sim"))
        .args(["token", "probe"])
        .args(args)
        .env("SOFTHSM2_CONF", conf)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = Said {
        usable: ended.status.success(),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    };
    assert!(!said.err.contains("panicked"), "{}", said.err);
    for text in [&said.out, &said.err] {
        assert!(!text.contains(PIN), "the PIN is shown: {text}");
    }
    said
}

fn private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn e2e_token_probe_makes_a_token_uses_it_and_throws_it_away() {
    let Some(_) = softhsm::module("e2e_token_probe_makes_a_token_uses_it_and_throws_it_away") else { return };
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_str().unwrap();
    let said = probe(Path::new("/nowhere"), &["softhsm"], &[("TMPDIR", temporary)]);
    assert!(said.usable, "{}{}", said.out, said.err);
    assert!(
        said.out.trim_end().lines().last().unwrap().starts_with("a unit can use this token"),
        "{}",
        said.out
    );
    for words in ["AES-KW", "CKM_SP800_108_COUNTER_KDF", "verification patterns", "SoftHSM v2"] {
        assert!(said.out.contains(words), "{}", said.out);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
}

#[test]
fn e2e_token_probe_finds_a_token_by_every_name_it_has() {
    let Some(module) = softhsm::module("e2e_token_probe_finds_a_token_by_every_name_it_has") else { return };
    let softhsm = SoftHsm::new();
    softhsm.add_token("core", PIN);
    let (conf, module) = (softhsm.conf(), module.to_str().unwrap());
    let pin_file = softhsm.folder().join("pin");
    private(&pin_file, &format!("{PIN}\n"));
    let pin_file = pin_file.to_str().unwrap();

    // The only one there is.
    let said = probe(&conf, &["--module", module, "--pin-file", pin_file, "--json"], &[]);
    assert!(said.usable, "{}", said.err);
    let report: hsm_sim::token::Report = serde_json::from_str(&said.out).unwrap();
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
        let said = probe(&conf, args, &[("TOKEN_PIN", PIN)]);
        assert!(said.usable && said.out.contains(&report.token.serial), "{args:?}: {}", said.err);
    }
    assert_eq!(softhsm.objects(), 0, "something is left on a token");
}

#[test]
fn e2e_token_probe_says_what_is_wrong() {
    let Some(module) = softhsm::module("e2e_token_probe_says_what_is_wrong") else { return };
    let softhsm = SoftHsm::new();
    let (conf, module) = (softhsm.conf(), module.to_str().unwrap());
    let refused = |args: &[&str], words: &[&str]| {
        let said = probe(&conf, args, &[("TOKEN_PIN", PIN)]);
        assert!(
            !said.usable && said.out.is_empty() && said.err.starts_with("hsm-sim: "),
            "{args:?}: {}",
            said.err
        );
        for words in words {
            assert!(said.err.contains(words), "{args:?} should say `{words}`: {}", said.err);
        }
    };
    refused(&["--module", "/nowhere.so"], &["no PKCS#11 module at /nowhere.so"]);
    refused(&["--module", "/etc/passwd"], &["/etc/passwd does not start"]);
    refused(&["softhsm2"], &["a token is `softhsm`, or a PKCS#11 URI"]);
    refused(
        &[&format!("pkcs11:token=core?module-path={module}&pin-value={PIN}")],
        &["pin-value is not taken"],
    );
    refused(&["--module", module], &["has no initialised token;", "a token that is not initialised"]);

    softhsm.add_token("core", PIN);
    softhsm.add_token("other", PIN);
    refused(&["--module", module], &["several tokens", "`core`, serial `", "`other`, serial `"]);
    refused(
        &["--module", module, "--token", "third"],
        &["the one named", "`core`, serial `", "`other`, serial `"],
    );
    refused(&["--module", module, "--token", "core"], &["--pin-file or --pin-env"]);
    refused(&["--module", module, "--token", "core", "--pin-env", "NO_PIN"], &["NO_PIN, which is not set"]);
    let pin_file = softhsm.folder().join("pin");
    std::fs::write(&pin_file, PIN).unwrap();
    std::fs::set_permissions(&pin_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let by_file = ["--module", module, "--token", "core", "--pin-file", pin_file.to_str().unwrap()];
    refused(&by_file, &["which others can read", "chmod 600"]);
    private(&pin_file, "13579086");
    refused(&by_file, &["refused the PIN", "tried once"]);
}
