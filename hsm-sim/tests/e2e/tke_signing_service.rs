//! Administrators whose keys are in a signing service: the built tool executes a ceremony with them, and reports a service
//! that is unreachable, too slow, fails for one key, or rejects a token.

#[path = "../../../crates/tke/tests/sample_service/mod.rs"]
mod sample_service;

use crate::common::Region;
use crate::common::tool::{Tool, contents, said};
use sample_service::{Mood, SampleService, key_of};
use serde_json::{Value, json};
use std::process::Output;
use std::rc::Rc;

const TOKENS: [(&str, &str); 2] = [("alice", "Bearer token-of-alice"), ("bob", "Bearer token-of-bob")];

/// The first command of the ceremony that needs two signatures.
const COMMIT: &str = "cryptounit-mk-commit --part part1 --part part2";

/// A workstation with the address and the keys of a signing service.
#[derive(Clone)]
struct Workstation {
    tool: Rc<Tool>,
    url: String,
    /// Value of `SIGNSERVKEYS`.
    keys: String,
}

impl Workstation {
    fn on(region: &Region, service: &SampleService) -> Self {
        for (key, token) in TOKENS {
            service.protect(key, token);
        }
        Self { tool: Rc::new(Tool::on(region)), url: service.url.clone(), keys: listed(TOKENS) }
    }

    fn run(&self, line: &str) -> Output {
        let mut command = self.tool.command(line);
        command.env("TKE_SIGNSERV_URL", &self.url).env("SIGNSERVKEYS", &self.keys);
        let output = command.output().unwrap();
        for (_, token) in TOKENS {
            assert!(!said(&output).contains(token), "a token was printed");
        }
        output
    }

    fn text(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "`{line}` failed: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail, and returns its output, which must contain all of `why`.
    fn refused(&self, line: &str, why: &[&str]) -> String {
        let output = self.run(line);
        let said = said(&output);
        assert!(!output.status.success(), "`{line}` should have been refused: {said}");
        for why in why {
            assert!(said.contains(why), "`{line}` was refused, but not with `{why}`: {said}");
        }
        said
    }

    /// State of the units as `cryptounit-compare` reports it.
    fn units(&self) -> Value {
        let output = self.run("cryptounit-compare --json");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["crypto_units"].clone()
    }

    /// State of the new register of each unit.
    fn new_registers(&self) -> Vec<String> {
        let units = self.units();
        let status = |unit: &Value| unit["new_register"]["status"].as_str().unwrap().to_owned();
        units.as_array().unwrap().iter().map(status).collect()
    }

    /// Executes a ceremony up to its first command that needs two signatures.
    fn begin_ceremony(&self) {
        for line in [
            "mk-add part1 --random",
            "mk-add part2 --random",
            "cryptounit-add all",
            "cryptounit-admin-add alice bob",
            "cryptounit-thrhld-set --signature 2 --revocation 2",
            "cryptounit-mk-load --part part1 --part part2",
        ] {
            self.text(line);
        }
        assert_eq!(self.new_registers(), ["full uncommitted", "full uncommitted"]);
    }
}

fn listed(keys: [(&str, &str); 2]) -> String {
    json!(keys.map(|(key, token)| json!({"key": key, "token": token}))).to_string()
}

async fn region_and_workstation(folder: &tempfile::TempDir) -> (Region, SampleService, Workstation) {
    let service = SampleService::start().await;
    let data = folder.path().join("data");
    let region = Region::up(&data, &["--ceremony", "manual", "--recovery-units", "0"]);
    let workstation = Workstation::on(&region, &service);
    (region, service, workstation)
}

#[tokio::test(flavor = "multi_thread")]
async fn e2e_a_signing_service_signs_a_whole_ceremony() {
    let folder = tempfile::tempdir().unwrap();
    let (region, service, workstation) = region_and_workstation(&folder).await;
    for line in ["sigkey-add carol", "sigkey-sel alice", "sigkey-rm alice --yes"] {
        let said = workstation.text(line);
        assert!(said.starts_with("Nothing was done. TKE_SIGNSERV_URL is set"), "{said}");
    }
    assert!(!workstation.text("sigkeys").contains("sigkey-add"), "the advice has no effect");
    workstation.begin_ceremony();
    workstation.refused("cryptounit-admin-add carol", &["no signature key `carol`", "SIGNSERVKEYS"]);
    workstation.text(COMMIT);
    workstation.text("cryptounit-mk-setimm --part part1 --part part2");
    for (number, unit) in (1..).zip(workstation.units().as_array().unwrap()) {
        let names = unit["administrators"].as_array().unwrap();
        for (administrator, name) in names.iter().zip(["alice", "bob"]) {
            let ski = key_of(name).public().ski().to_string();
            assert_eq!(*administrator, json!({"name": name, "ski": ski}), "unit {number}");
        }
        assert_eq!(unit["current_register"]["status"], "valid", "unit {number}");
        assert_eq!((&unit["signature_threshold"], &unit["revocation_threshold"]), (&json!(2), &json!(2)));
    }

    // Every call carries the token of its key only, and no token is in a file or a log.
    let asked = service.asked();
    for (key, token) in TOKENS {
        let calls: Vec<_> = asked.iter().filter(|asked| asked.key == key).collect();
        assert!(calls.iter().any(|asked| asked.route == "sign") && calls.len() > 5, "{}", calls.len());
        assert!(calls.iter().all(|asked| asked.token.as_deref() == Some(token)));
        for content in
            contents(&workstation.tool.files()).iter().chain(&[std::fs::read(&region.log).unwrap()])
        {
            assert!(!String::from_utf8_lossy(content).contains(token), "a token is in a file");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e2e_without_every_signature_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (_region, service, workstation) = region_and_workstation(&folder).await;
    workstation.begin_ceremony();
    let before = workstation.units();

    let away = Workstation { url: unused_address(), ..workstation.clone() };
    away.refused(COMMIT, &["the signing service cannot be reached", &away.url, "refused"]);

    service.set(Mood::Slow);
    workstation.refused(
        &format!("{COMMIT} --signing-timeout 200ms"),
        &["key `alice`", "did not answer within 200ms"],
    );
    service.set(Mood::Good);

    // Each message names the key, and the other key's signature is not sent. Alice's key must sign within the timeout.
    let patient = format!("{COMMIT} --signing-timeout 5s");
    for (mood, why) in [
        (Mood::Slow, "did not answer within 5s"),
        (Mood::Fails, "answered with HTTP status 500"),
        (Mood::Garbles, "response of the signing service is malformed"),
        (Mood::SignsSomethingElse, "is not valid under its key"),
    ] {
        service.set_signing("bob", mood);
        workstation
            .refused(&patient, &["nothing was sent: 1 of 2 keys did not sign: bob (", why, "not tried"]);
    }
    service.set(Mood::Good);
    assert_eq!(workstation.units(), before, "a unit was changed");

    // The service fails after the first unit: that unit keeps its new state, and the same command completes the second.
    service.limit("bob", 1);
    let said =
        workstation.refused(COMMIT, &["bob (", "run the same command again, or `converge`, to complete it"]);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("OPERATIONAL")).collect();
    assert!(lines[0].ends_with("committed") && lines[1].contains("FAILED"), "{lines:?}");
    assert_eq!(workstation.new_registers(), ["full committed", "full uncommitted"]);
    service.set(Mood::Good);
    workstation.text(COMMIT);
    assert_eq!(workstation.new_registers(), ["full committed", "full committed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn e2e_keys_and_tokens_that_the_service_rejects_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_region, service, workstation) = region_and_workstation(&folder).await;
    workstation.begin_ceremony();
    let before = workstation.units();
    let with_keys = |keys: String| Workstation { keys, ..workstation.clone() };

    let refusal = with_keys(listed([TOKENS[0], ("bob", "Bearer made-up")]))
        .refused(COMMIT, &["key `bob` of the signing service", "does not accept the token of the key"]);
    assert!(!refusal.contains("made-up"), "a token was printed");
    let only_alice = json!([{"key": "alice", "token": TOKENS[0].1}]).to_string();
    for (keys, able) in [(only_alice.as_str(), "available: 1"), ("[]", "available: 0")] {
        let said = with_keys(keys.to_owned())
            .refused(COMMIT, &["nothing was changed", "needs 2 signatures", able, "in SIGNSERVKEYS"]);
        assert!(!said.contains("sigkey-sel"), "the advice has no effect: {said}");
    }
    with_keys("[{]".to_owned()).refused(COMMIT, &["list of keys is not valid JSON"]);
    with_keys(r#"[{"key": "a/b"}]"#.to_owned()).refused(COMMIT, &["`a/b` is not a valid key name"]);
    Workstation { url: "nonsense".to_owned(), ..workstation.clone() }
        .refused(COMMIT, &["`nonsense` is not the address"]);

    // Without the variable the list is a file of the folder; without the file, both places are named.
    let without = || {
        let mut command = workstation.tool.command(COMMIT);
        command.env("TKE_SIGNSERV_URL", &workstation.url).output().unwrap()
    };
    let missing = said(&without());
    assert!(
        missing.contains("TKE_SIGNSERV_URL is set") && missing.contains("files/SIGNSERVKEYS"),
        "{missing}"
    );
    assert_eq!(workstation.units(), before, "a unit was changed");
    assert!(!service.asked().iter().any(|asked| asked.key == "a/b"));
    std::fs::write(workstation.tool.files().join("SIGNSERVKEYS"), &workstation.keys).unwrap();
    assert!(without().status.success(), "{}", said(&without()));
    assert_eq!(workstation.new_registers(), ["full committed", "full committed"]);
}

/// An address on which no process listens.
fn unused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
