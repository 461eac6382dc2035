//! A region with one zone in software and one on SoftHSM tokens: one master key, whose blobs open on either.

use crate::common::control::{all_serve, kill, status_once, unit};
use crate::common::load::{Callers, PLAINTEXT};
use crate::common::skip::softhsm;
use crate::common::tool::Tool;
use crate::common::{Region, until, up};
use hsm_sim::control::Target;

const MIXED: &[&str] = &["--engine", "az1=soft", "--engine", "pkcs11:softhsm"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_mixed_zones_open_each_other_s_blobs() {
    let Some(_) = softhsm("e2e_engine_mixed_zones_open_each_other_s_blobs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), MIXED);
    let (rest, control) = (region.rest(), region.control());
    let status = status_once(&control, all_serve).await;
    let engines = [1, 2].map(|number| unit(&status, number).engine.clone());
    assert!(engines[0] == "software" && engines[1].starts_with("SoftHSM"), "{engines:?}");

    let shared = rest.create("both").await.unwrap();
    let callers = Callers::start(&rest, &shared);
    for (down, other) in [(1, 2), (2, 1)] {
        status_once(&control, all_serve).await;
        control.fault(&kill(down)).await.unwrap();
        // Created by the only running unit: a root key, its rotation, and ciphertexts under both versions.
        let key = rest.create(&format!("made by unit {other}")).await.unwrap();
        let first = rest.wrap(&key, PLAINTEXT).await.unwrap();
        let (rotated, said) = rest.send("POST", &format!("/keys/{key}/actions/rotate"), "").await.unwrap();
        assert_eq!(rotated, 204, "{said}");
        let second = rest.wrap(&key, PLAINTEXT).await.unwrap();
        callers.do_more(20).await;
        control.heal(&Target::Unit(down)).await.unwrap();
        status_once(&control, all_serve).await;
        // Unwrapped by the other unit.
        control.fault(&kill(other)).await.unwrap();
        for ciphertext in [&first, &second] {
            assert_eq!(rest.unwrap(&key, ciphertext).await.as_deref(), Ok(PLAINTEXT));
        }
        callers.do_more(20).await;
        control.heal(&Target::Unit(other)).await.unwrap();
    }
    status_once(&control, all_serve).await;
    callers.end().await;
}

/// With recovery units, one of them on a token: one generates the master key and exports it to every other unit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_engine_mixed_the_master_key_is_rotated_on_both() {
    let Some(_) = softhsm("e2e_engine_mixed_the_master_key_is_rotated_on_both") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let manual = ["--ceremony", "manual", "--recovery-units", "2"];
    let mut region = up(&data, &[MIXED, &manual].concat());
    let status =
        status_once(&region.control(), |status| status.units.iter().all(|unit| !unit.engine.is_empty()))
            .await;
    let engines: Vec<_> = status.units.iter().map(|unit| unit.engine.starts_with("SoftHSM")).collect();
    assert_eq!(engines, [false, true, true, false], "{status:#?}");
    let tool = Tool::on(&region);
    let text = |line: &str| tokio::task::block_in_place(|| tool.text(line));
    text("auto-init --new-administrator alice --new-administrator bob");
    text("sigkey-sel alice bob");
    let mut keys = Vec::new();
    for number in 0..6 {
        let key = region.rest().create_when_ready(&format!("key {number}")).await;
        let ciphertext = region.rest().wrap(&key, PLAINTEXT).await.unwrap();
        keys.push((key, ciphertext));
    }
    let old = status_once(&region.control(), all_serve).await.pattern;

    // One rotation without interruption, and one during which the program is ended.
    text("auto-mk-rotate");
    let once = status_once(&region.control(), all_serve).await.pattern;
    assert_ne!(old, once);
    opens_on_either(&region, &keys).await;
    let mut going = tool.command("auto-mk-rotate").spawn().unwrap();
    let begun = async || {
        let (_, rotation) = region.tke().send("GET", "/rotation", "").await;
        if rotation["id"].is_null() { Err(rotation.to_string()) } else { Ok(()) }
    };
    until("a rotation to begin", begun).await;
    region.kill();
    let _ = going.kill();
    going.wait().unwrap();
    let region = up(&data, &["--faults"]);
    text("resume");
    let twice = status_once(&region.control(), all_serve).await.pattern;
    assert_ne!(once, twice);
    opens_on_either(&region, &keys).await;
    let compared = tokio::task::block_in_place(|| tool.json("cryptounit-compare"));
    assert_eq!(compared["alike"], true, "{compared}");
}

async fn opens_on_either(region: &Region, keys: &[(String, String)]) {
    let (rest, control) = (region.rest(), region.control());
    for down in [1, 2] {
        control.fault(&kill(down)).await.unwrap();
        for (key, ciphertext) in keys {
            assert_eq!(rest.unwrap(key, ciphertext).await.as_deref(), Ok(PLAINTEXT));
        }
        control.heal(&Target::Unit(down)).await.unwrap();
        status_once(&control, all_serve).await;
    }
}
