//! Deletion of an instance: possible once its keys are deleted and its units zeroized, in either order.

use crate::common::Region;
use crate::common::tke::Tke;
use crate::common::tool::Tool;
use std::path::Path;

const MANUAL: [&str; 4] = ["--ceremony", "manual", "--recovery-units", "0"];

/// A region whose units have one administrator and a master key, and a key in it.
async fn served(data: &Path) -> (Region, Tool, String) {
    let region = Region::up(data, &MANUAL);
    let tool = Tool::on(&region);
    for line in [
        "sigkey-add alice",
        "sigkey-sel alice",
        "mk-add part1 --random",
        "mk-add part2 --random",
        "cryptounit-add all",
        "cryptounit-admin-add alice",
        "cryptounit-thrhld-set --signature 1 --revocation 1",
        "cryptounit-mk-load --part part1 --part part2",
        "cryptounit-mk-commit --part part1 --part part2",
        "cryptounit-mk-setimm --part part1 --part part2",
    ] {
        tool.text(line);
    }
    let key = region.rest().create_when_ready("first").await;
    (region, tool, key)
}

async fn delete_key(region: &Region, key: &str) {
    let (status, answer) = region.rest().send("DELETE", &format!("/keys/{key}"), "").await.unwrap();
    assert!(status == 200 || status == 204, "{status} {answer}");
}

#[tokio::test]
async fn e2e_tke_an_instance_goes_once_its_keys_and_its_units_have() {
    let folder = tempfile::tempdir().unwrap();
    let (region, tool, key) = served(&folder.path().join("data")).await;
    let tke = region.tke();

    // Keys and units prevent the deletion, and both are reported.
    let (status, answer) = tke.send("DELETE", "", "").await;
    assert_eq!((status, &answer["keys"]), (409, &1.into()), "{answer}");
    let why = answer["error"].as_str().unwrap();
    for reason in ["1 keys are left", "unit 1 is not in imprint mode", "unit 2 is not in imprint mode"] {
        assert!(why.contains(reason), "{why}");
    }
    let said = tool.refused("instance-delete --yes", "1. delete the keys (1 are left)");
    assert!(said.contains("2. zeroize: `cryptounit-add 1 2`"), "{said}");
    tool.refused("instance-delete", "--yes");

    // Consent to lose the keys does not include the units.
    let said = tool.refused("instance-delete --destroy-keys --yes", "unit 1 is not in imprint mode");
    assert!(!said.contains("keys are left"), "{said}");

    delete_key(&region, &key).await;
    let (status, answer) = tke.send("DELETE", "", "").await;
    assert_eq!((status, &answer["keys"]), (409, &0.into()), "{answer}");
    assert_eq!(answer["units"].as_array().unwrap().len(), 2, "{answer}");

    let stranger = Tke { token: "unknown".to_owned(), ..tke.clone() };
    assert_eq!(stranger.send("DELETE", "", "").await.0, 401);

    // A deleted key does not prevent the deletion of the instance, although it could be restored.
    tool.text("cryptounit-zeroize --yes --yes-lose-access");
    let gone = tool.json("instance-delete --yes");
    assert!(gone["deleted"] == true && gone["entries"].as_u64() > Some(2), "{gone}");
    let (status, answer) = region.rest().send("GET", "/keys", "").await.unwrap();
    assert_eq!(status, 404, "{answer}");
    assert_eq!(tool.json("instance-delete --yes")["entries"], 0);

    // The other instance has the same units, and is deleted only by its own ID.
    let other = region.ready.instance_id_2;
    assert_eq!(tool.json(&format!("instance-delete --yes --instance {other}"))["deleted"], true);
    let (status, keystore) = tke.send("GET", "/keystore", "").await;
    assert!(status == 200 && keystore["pattern"].is_null() && keystore["keys"] == 0, "{keystore}");
}

#[tokio::test]
async fn e2e_tke_keys_can_be_deleted_after_the_units_were_zeroized() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut region, tool, key) = served(&data).await;
    tool.text("cryptounit-zeroize --yes --yes-lose-access");

    // While the region runs, keys are deleted by the API, one by one; until then the instance is kept.
    let said = tool.refused("instance-delete --yes", "1. delete the keys (1 are left)");
    assert!(!said.contains("imprint mode"), "{said}");
    delete_key(&region, &key).await;

    // After a restart the service cannot tell which keys are deleted, and the caller consents to lose them.
    assert!(region.interrupt().success());
    drop(region);
    let mut region = Region::up(&data, &MANUAL);
    let tool = Tool::on(&region);
    let said = tool.refused("instance-delete --yes", "no unit can open their records");
    assert!(said.contains("1. give `--destroy-keys`"), "{said}");
    assert_eq!(tool.json("instance-delete --destroy-keys --yes")["deleted"], true);

    // The deletion is durable.
    assert!(region.interrupt().success());
    drop(region);
    let region = Region::up(&data, &MANUAL);
    let tool = Tool::on(&region);
    assert_eq!(tool.json("instance-delete --yes")["entries"], 0);
}
