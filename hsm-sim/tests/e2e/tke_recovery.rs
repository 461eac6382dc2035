//! The recovery-unit method: interruption, completion, and recovery of a unit that lost its state.

use crate::common::control::{fault, kill};
use crate::common::tool::Tool;
use crate::common::{Region, until, wait_for};
use hsm_sim::control::{FaultKind, Target};
use std::path::Path;
use std::process::Stdio;

/// Number of commands to units in the newest ceremony record.
fn commands(files: &Path) -> usize {
    let record = std::fs::read_to_string(files.join("ceremony-0001.jsonl")).unwrap_or_default();
    record.lines().filter(|line| line.contains(r#""kind":"command""#)).count()
}

#[tokio::test]
async fn e2e_tke_recovery_units_complete_what_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &["--ceremony", "manual", "--recovery-units", "2"]);
    let tool = Tool::on(&region);
    let init = "auto-init --signature 2 --revocation 1 --new-administrator alice --new-administrator bob";

    // Killed twice: while administrators are installed, and while the master key is exported.
    for so_far in [2, 9] {
        let mut going = tool.command(init).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("commands in the record", || {
            commands(&tool.files()) >= so_far || going.try_wait().unwrap().is_some()
        });
        let _ = going.kill();
        going.wait().unwrap();
    }
    assert_eq!(
        tool.json("sigkeys")["signature_keys"].as_array().unwrap().len(),
        2,
        "keys are not made twice"
    );

    // The command does not complete while a unit is unreachable.
    region.control().fault(&kill(2)).await.unwrap();
    tool.refused(init, "crypto unit 2");
    region.control().heal(&Target::Unit(2)).await.unwrap();

    let done = tool.text(init);
    assert!(done.contains("All 4 crypto units are configured alike."), "{done}");
    assert!(done.contains("* recovery crypto unit"), "{done}");
    let again = tool.json(init);
    assert!(
        again["crypto_units"].as_array().unwrap().iter().skip(1).all(|u| u["result"] == "unchanged"),
        "{again}"
    );
    let rest = region.rest();
    let key = rest.create_when_ready("first").await;
    // Before the region has opened its instance, the service cannot report it.
    assert_eq!(tool.json("resume")["under_way"], serde_json::Value::Null);
    let ciphertext = rest.wrap(&key, "YSBkYXRhIGtleQ==").await.unwrap();

    // The operator zeroizes a unit by mistake.
    region.control().fault(&fault(FaultKind::Zeroize, 1)).await.unwrap();
    tool.refused("cryptounit-compare", "the crypto units differ");
    tool.refused("auto-mk-recover --signer alice --signer bob", "in imprint mode");
    tool.text("cryptounit-add 1");
    tool.text("cryptounit-admin-add alice bob");
    tool.refused(
        "cryptounit-thrhld-set --signature 1 --revocation 1 --signer eve",
        "there is no signature key `eve`",
    );
    tool.text("sigkey-sel alice bob");
    tool.text("cryptounit-thrhld-set --signature 2 --revocation 1");
    tool.refused("auto-mk-recover --from 2", "is not a recovery crypto unit");
    let recovered = tool.json("auto-mk-recover");
    assert_eq!(recovered["crypto_units"][0]["message"], "has the master key", "{recovered}");
    tool.text("cryptounit-rm all");
    let compared = tool.json("cryptounit-compare");
    assert_eq!(compared["alike"], true, "{compared}");

    // With the other operational unit killed, the recovered one serves.
    region.control().fault(&kill(2)).await.unwrap();
    let plaintext = until("the key", async || rest.unwrap(&key, &ciphertext).await).await;
    assert_eq!(plaintext, "YSBkYXRhIGtleQ==");
}

/// `converge` sets up every unit in one command, and reports units that it could not set up.
#[tokio::test]
async fn e2e_tke_recovery_converges_from_any_state() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(
        &folder.path().join("data"),
        &["--ceremony", "manual", "--recovery-units", "2", "--failover-units", "2"],
    );
    let tool = Tool::on(&region);
    tool.refused("converge", "there is no plan");
    tool.text("auto-init --new-administrator alice --new-administrator bob");
    tool.text("sigkey-sel alice bob");
    for unit in [1, 5] {
        region.control().fault(&fault(FaultKind::Zeroize, unit)).await.unwrap();
    }
    let standby = tool.text("failover-enable");
    assert!(standby.contains("Failover crypto units: 5 "), "{standby}");
    region.control().fault(&kill(2)).await.unwrap();
    tool.refused("converge", "Not every crypto unit is done");
    region.control().heal(&Target::Unit(2)).await.unwrap();
    assert!(tool.text("resume").contains("Continuing"));
    assert_eq!(tool.json("cryptounit-compare")["alike"], true);
    let done = tool.json("converge --like 2");
    assert!(done["crypto_units"].as_array().unwrap().iter().all(|u| u["result"] == "unchanged"), "{done}");
}
