//! Two administrators and three custodians set up a region with key files, command by command.

use crate::common::Region;
use crate::common::tool::{PASSWORD, Tool, contents};

const PART: &str = "3f0a6cc1b5f0f3a9925d0cde27a8e6b14d7c0b9a58e3f6127d4c9b0a8e7f6d51";

fn keys_and_parts(tool: &Tool) {
    for name in ["alice", "bob"] {
        tool.text(&format!("sigkey-add {name}"));
    }
    tool.refused("sigkey-add a-name-that-has-more-than-thirty-characters", "cannot be used as a name");
    tool.text("sigkey-sel alice bob");
    tool.text("mk-add part1 --random");
    tool.text("mk-add part2 --random");
    tool.write("part3", PART);
    tool.text("mk-add part3 --value-file part3");
    tool.write("zero", &"0".repeat(64));
    tool.refused("mk-add zero --value-file zero", "a key part must not be zero");
    assert_eq!(tool.json("sigkeys")["signature_keys"].as_array().unwrap().len(), 2);
    assert_eq!(tool.json("mks")["key_parts"].as_array().unwrap().len(), 3);
    for content in contents(&tool.files()) {
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(PART) && !text.contains(PASSWORD), "a secret lies in the folder");
    }
}

fn administrators_and_thresholds(tool: &Tool) {
    tool.refused("cryptounit-admin-add alice bob", "no crypto unit is selected");
    let listing = tool.text("cryptounit-add all");
    assert!(listing.contains("CRYPTO UNIT NUM   SELECTED   TYPE          LOCATION"), "{listing}");
    assert!(listing.contains("1                 true       OPERATIONAL   ["), "{listing}");
    tool.refused("cryptounit-mk-load --part part1 --part part2 --part part3", "in imprint mode");
    tool.text("cryptounit-admin-add alice bob");
    tool.refused("cryptounit-thrhld-set --signature 3 --revocation 2", "above the number of administrators");
    tool.refused("cryptounit-thrhld-set --signature 2 --revocation 2 --signer alice", "needs 2 signatures");
    let compared = tool.text("cryptounit-compare");
    assert!(compared.contains("all are in imprint mode"), "{compared}");
    tool.text("cryptounit-thrhld-set --signature 2 --revocation 2");
    let again = tool.json("cryptounit-thrhld-set --signature 2 --revocation 2");
    assert_eq!(again["crypto_units"][0]["result"], "unchanged", "{again}");
    tool.refused("cryptounit-admin-rm bob", "a threshold is above the number of administrators");
}

/// Administrators sign a proposal one after the other; a proposal is void once another command was executed.
fn commit_by_proposal(tool: &Tool) {
    tool.refused("cryptounit-mk-commit --signer alice", "needs 2 signatures");
    tool.refused(&format!("cryptounit-mk-commit --pattern {}", "5".repeat(64)), "has another master key");
    tool.text("propose --unit 1 --out late.json commit");
    tool.text("proposal-sign late.json --yes --signer alice");
    tool.refused("proposal-submit late.json", "1 of 2 signatures");
    tool.text("proposal-sign late.json --yes --signer bob");
    tool.refused("proposal-sign late.json --yes --signer bob", "has signed the proposal already");
    tool.text("cryptounit-cp-btc");
    tool.refused("proposal-submit late.json", "the proposal is void");
    tool.text("propose --unit 1 --out good.json commit");
    tool.text("proposal-sign good.json --yes --signer alice");
    tool.text("proposal-sign good.json --yes --signer bob");
    let shown = tool.text("proposal-show good.json");
    assert!(shown.contains("commit the new master key"), "{shown}");
    tool.text("proposal-submit good.json");
    tool.refused("proposal-submit good.json", "the proposal is void");
    let rest = tool.json("cryptounit-mk-commit");
    assert_eq!(rest["crypto_units"][0]["message"], "committed already", "{rest}");
    assert_eq!(rest["crypto_units"][1]["message"], "committed", "{rest}");
}

fn master_key(tool: &Tool) {
    tool.write("wrong", "some other password");
    let parts = "--part part1 --part part2 --part part3";
    tool.refused(&format!("cryptounit-mk-load {parts} --password-file part2=wrong"), "wrong password");
    tool.refused("cryptounit-mk-load --part part1", "2 or 3 parts");
    tool.refused("cryptounit-mk-load --part part1 --part part1", "parts are equal");
    tool.refused("cryptounit-mk-commit --pattern 00", "64 hexadecimal digits");
    tool.refused("cryptounit-mk-commit", "the master key is not named");
    let loaded = tool.json(&format!("cryptounit-mk-load {parts}"));
    tool.refused(&format!("cryptounit-mk-load {parts}"), "is full");
    tool.refused("cryptounit-mk-setimm", "is not committed");
    commit_by_proposal(tool);
    tool.refused(&format!("cryptounit-mk-commit {parts} --pattern {}", "5".repeat(64)), "combine to");
    tool.text(&format!("cryptounit-mk-setimm {parts}"));
    let compared = tool.json("cryptounit-compare");
    assert_eq!(compared["alike"], true, "{compared}");
    for unit in compared["crypto_units"].as_array().unwrap() {
        assert_eq!(unit["current_register"]["verification_pattern"], loaded["verification_pattern"]);
        assert_eq!(unit["new_register"]["status"], "empty");
    }
}

#[tokio::test]
async fn e2e_tke_files_bring_a_region_into_service() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &["--ceremony", "manual", "--recovery-units", "0"]);
    let tool = Tool::on(&region);
    keys_and_parts(&tool);
    administrators_and_thresholds(&tool);
    master_key(&tool);

    let rest = region.rest();
    let key = rest.create_when_ready("first").await;
    let ciphertext = rest.wrap(&key, "YSBkYXRhIGtleQ==").await.unwrap();
    assert_eq!(rest.unwrap(&key, &ciphertext).await.unwrap(), "YSBkYXRhIGtleQ==");

    // A command that would lose the master key is refused, and changes nothing.
    tool.refused("cryptounit-mk-clrcur --yes", "--yes-lose-access");
    tool.refused("cryptounit-zeroize --yes", "--yes-lose-access");
    assert_eq!(rest.unwrap(&key, &ciphertext).await.unwrap(), "YSBkYXRhIGtleQ==");

    paper(&tool);
}

/// Verifies the audit records of the units and the ceremony record of the workstation.
fn paper(tool: &Tool) {
    let audit = tool.json("audit");
    let first = &audit["crypto_units"][0];
    let told: Vec<&str> =
        first["records"].as_array().unwrap().iter().filter_map(|r| r["what"].as_str()).collect();
    assert!(told.contains(&"commit new master key") && told.contains(&"set attributes"), "{told:?}");
    tool.text("cryptounit-cp-eddsa");
    let again = tool.json("audit --unit 1");
    assert!(again["crypto_units"][0]["last"].as_u64() > first["last"].as_u64());
    let path = first["file"].as_str().unwrap();
    let kept = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<&str> = kept.lines().collect();
    lines.remove(2);
    std::fs::write(path, lines.join("\n")).unwrap();
    tool.refused("audit --unit 1", "changed, removed or inserted");

    tool.text("protocol-person Walter witness");
    tool.text("protocol-close done --signer alice");
    let document = tool.text("protocol");
    for words in ["Walter", "commit the new master key", "alice"] {
        assert!(document.contains(words), "{words} is missing: {document}");
    }
    tool.refused("protocol-note afterthought", "an entry of this kind cannot follow");
    assert!(tool.text("script files").contains("administrator"));
}
