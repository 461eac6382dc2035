//! Crypto units on SoftHSM tokens of their own: use, kills, restarts, and removal of their tokens.

use crate::common::control::{all_serve, kill, status_once, unit};
use crate::common::load::{Callers, PLAINTEXT};
use crate::common::skip::softhsm;
use crate::common::softhsm::token_folders;
use crate::common::{program, up};
use hsm_sim::control::{Status, Target, UnitStatus};
use std::path::Path;
use std::process::Output;

const SOFTHSM: &[&str] = &["--engine", "pkcs11:softhsm"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_softhsm_serves_while_units_are_killed_and_after_a_restart() {
    let Some(_) = softhsm("e2e_engine_softhsm_serves_while_units_are_killed_and_after_a_restart") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, SOFTHSM);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("on tokens").await.unwrap();
    let ciphertext = rest.wrap(&key, PLAINTEXT).await.unwrap();
    let callers = Callers::start(&rest, &key);
    for number in [1, 2, 1] {
        let status = status_once(&control, all_serve).await;
        assert!(status.units.iter().all(|unit| unit.engine.starts_with("SoftHSM")), "{status:#?}");
        callers.do_more(20).await;
        control.fault(&kill(number)).await.unwrap();
        callers.do_more(40).await;
        control.heal(&Target::Unit(number)).await.unwrap();
    }
    callers.end().await;
    let before = status_once(&control, all_serve).await;
    let shown = text(program().args(["status", "--data"]).arg(&data).output().unwrap());
    assert!(shown.contains("engine of unit 2: SoftHSM"), "{shown}");

    // The engine was fixed at the first start: later starts need no option and no ceremony, and refuse another engine.
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let refused =
        program().args(["up", "--port", "0", "--engine", "az2=soft", "--data"]).arg(&data).output().unwrap();
    assert!(!refused.status.success());
    let said = text(refused);
    assert!(said.contains("in az2 were generated on `pkcs11:softhsm`"), "{said}");
    std::fs::rename(data.join("ceremony"), folder.path().join("locked away")).unwrap();
    let region = up(&data, &[]);
    let after = status_once(&region.control(), all_serve).await;
    assert_eq!(before.pattern, after.pattern);
    assert_eq!(region.rest().unwrap(&key, &ciphertext).await.as_deref(), Ok(PLAINTEXT));

    let log = std::fs::read_to_string(&region.log).unwrap();
    for number in 1..=2 {
        for name in ["pin", "so-pin"] {
            let pin = std::fs::read_to_string(data.join(format!("units/{number}/softhsm/{name}"))).unwrap();
            assert!(!log.contains(pin.trim()), "a PIN was printed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_softhsm_a_token_that_is_taken_away_costs_no_request() {
    let Some(_) = softhsm("e2e_engine_softhsm_a_token_that_is_taken_away_costs_no_request") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, SOFTHSM);
    let (rest, control) = (region.rest(), region.control());
    let key = rest.create("taken away").await.unwrap();
    let callers = Callers::start(&rest, &key);
    for number in [1, 2] {
        status_once(&control, all_serve).await;
        callers.do_more(20).await;
        let (there, taken) = token_folders(&data, number);
        std::fs::rename(&there, &taken).unwrap();
        let status = status_once(&control, |status| !unit(status, number).serves()).await;
        assert!(!unit(&status, number).reason.is_empty(), "{status:#?}");
        let pid = unit(&status, number).pid;
        callers.do_more(40).await;
        std::fs::rename(&taken, &there).unwrap();
        // The unit serves again without an operator, in the same process.
        let status = status_once(&control, all_serve).await;
        assert_eq!(unit(&status, number).pid, pid);
    }
    callers.end().await;

    // The token is missing when the region starts: the other units serve, and the reason is logged once.
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let (there, taken) = token_folders(&data, 2);
    std::fs::rename(&there, &taken).unwrap();
    let region = up(&data, &[]);
    let (rest, control) = (region.rest(), region.control());
    let callers = Callers::start(&rest, &key);
    let missing = |status: &Status| {
        unit(status, 1).serves()
            && !unit(status, 2).serves()
            && unit(status, 2).reason.contains("the SoftHSM token is incomplete")
    };
    status_once(&control, missing).await;
    let refused = control.heal(&Target::Unit(2)).await.unwrap_err().to_string();
    assert!(refused.contains("unit 2 does not start"), "{refused}");
    callers.do_more(40).await;
    std::fs::rename(&taken, &there).unwrap();
    status_once(&control, all_serve).await;
    control.fault(&kill(1)).await.unwrap();
    callers.do_more(40).await;
    callers.end().await;
    let log = std::fs::read_to_string(&region.log).unwrap();
    for message in ["the unit cannot reach its keys", "the unit reaches its keys again"] {
        let lines = log.lines().filter(|line| line.contains(message) && line.contains("unit=2"));
        assert_eq!(lines.count(), 1, "{message}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_softhsm_a_refused_pin_is_tried_once() {
    let Some(_) = softhsm("e2e_engine_softhsm_a_refused_pin_is_tried_once") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &["--engine", "az2=pkcs11:softhsm"]);
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let pin = data.join("units/2/softhsm/pin");
    let right = std::fs::read(&pin).unwrap();
    std::fs::write(&pin, "0123456789").unwrap();
    let region = up(&data, &[]);
    let control = region.control();
    let refused_pin =
        |status: &Status| unit(status, 1).serves() && unit(status, 2).reason.contains("refused the PIN");
    status_once(&control, refused_pin).await;
    let refused = control.heal(&Target::Unit(2)).await.unwrap_err().to_string();
    assert!(refused.contains("refused the PIN") && !refused.contains("0123456789"), "{refused}");
    std::fs::write(&pin, right).unwrap();
    // The unit is not restarted: only `heal` makes it try the PIN again.
    assert_eq!(unit(&control.status().await.unwrap(), 2).pid, None);
    control.heal(&Target::Unit(2)).await.unwrap();
    status_once(&control, all_serve).await;
    let log = std::fs::read_to_string(&region.log).unwrap();
    assert_eq!(log.matches("hsm-sim heal unit 2").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_softhsm_the_demo_loses_nothing_and_leaves_the_user_s_tokens_alone() {
    let name = "e2e_engine_softhsm_the_demo_loses_nothing_and_leaves_the_user_s_tokens_alone";
    let Some(_) = softhsm(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = folder.path().join("softhsm2.conf");
    std::fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let mut demo = program();
    demo.args(["demo", "--keys", "400", "--json", "--engine", "pkcs11:softhsm"]).env("SOFTHSM2_CONF", &conf);
    let output = tokio::task::block_in_place(|| demo.output().unwrap());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report:#}");
    assert_eq!((&report["failed_requests"], &report["lost_keys"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(std::fs::read_dir(&tokens).unwrap().count(), 0, "the user's own tokens were touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_a_token_that_is_not_there_is_said_before_anything_depends_on_it() {
    let Some(module) = softhsm("e2e_engine_a_token_that_is_not_there_is_said_before_anything_depends_on_it")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let pin = folder.path().join("pin");
    private_file(&pin, "1234");
    let uri = |token: &str, more: &str| {
        let (module, pin) = (module.display(), pin.display());
        format!("pkcs11:token={token}?module-path={module}&pin-source=file:{pin}{more}")
    };
    let refused = |engine: &str, why: &str| {
        let mut command = program();
        command.args(["up", "--port", "0", "--engine", engine, "--data"]).arg(&data);
        let output =
            tokio::task::block_in_place(|| command.env("SOFTHSM2_CONF", "/nowhere").output().unwrap());
        assert!(!output.status.success(), "{engine}");
        let said = text(output);
        assert!(said.contains(why) && !said.contains("1234"), "{engine}: {said}");
    };
    refused(&uri("missing", "&pin-value=1234"), "pin-value is not accepted");
    refused(
        &uri("missing", "").replace("file:", "file"),
        "invalid pin-source; supported: file:/absolute/path",
    );
    refused("az7=soft", "there are az1, az2, az3");
    assert!(!data.exists(), "a refused start created the data directory");
    refused(&uri("missing", ""), "is not in service");
    // A unit without keys on the missing token may get another engine.
    let region = up(&data, &["--engine", "soft"]);
    assert!(status_once(&region.control(), all_serve).await.units.iter().all(is_software));
}

fn is_software(unit: &UnitStatus) -> bool {
    unit.engine == "software"
}

/// A file that only its owner may read.
fn private_file(path: &Path, content: &str) {
    hsm_sim::files::write_private(path, content.as_bytes()).unwrap();
}

fn text(output: Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
