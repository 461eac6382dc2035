//! The smart-card method: a zone, four cards, two administrators, and key parts that leave their cards only encrypted.

use crate::common::Region;
use crate::common::tool::Tool;

const PINS: &str = "--pin-file ca=ca.pin --pin-file pin";

fn with_pins(line: &str) -> String {
    format!("{line} {PINS}")
}

fn zone_and_cards(tool: &Tool) {
    tool.write("ca.pin", "111111\n222222\n");
    tool.write("pin", "654321\n");
    tool.text(&with_pins("card-ca-init ca.card"));
    tool.text("card-ca-init spare.card --backup-of ca.card --pin-file ca.pin");
    for card in ["alice", "bob", "carol", "dan"] {
        tool.text(&with_pins(&format!("card-enroll {card}.card --ca ca.card")));
    }
    tool.text(&with_pins("card-sigkey alice.card alice"));
    tool.text(&with_pins("card-sigkey bob.card bob"));
    tool.refused(&with_pins("card-sigkey bob.card bob2"), "it has a signature key already");
    tool.text(&with_pins("card-part carol.card one"));
    tool.text(&with_pins("card-part dan.card two"));
}

fn copies(tool: &Tool) {
    tool.text(&with_pins("card-enroll carol-copy.card --ca spare.card --pin-file spare=ca.pin"));
    tool.text(&with_pins("card-copy carol.card carol-copy.card"));
    tool.text(&with_pins("card-ca-init other.card --pin-file other=ca.pin"));
    tool.text(&with_pins("card-enroll stranger.card --ca other.card --pin-file other=ca.pin"));
    tool.refused(&with_pins("card-copy carol.card stranger.card"), "is not of zone");
    let shown = tool.json(&with_pins("cards carol.card carol-copy.card --contents"));
    assert_eq!(shown["cards"][0]["parts"], shown["cards"][1]["parts"], "{shown}");
}

fn blocking(tool: &Tool) {
    tool.write("wrong.pin", "123123\n");
    for left in ["2 tries left", "1 tries left", "0 tries left"] {
        tool.refused("card-part bob.card three --pin-file wrong.pin", left);
    }
    tool.refused(&with_pins("card-part bob.card three"), "is blocked");
    assert_eq!(tool.json("cards bob.card")["cards"][0]["tries_left"], 0);
    tool.refused(&with_pins("card-unblock carol.card --ca ca.card"), "is not blocked");
    tool.text(&with_pins("card-unblock bob.card --ca ca.card"));
    let held = tool.json(&with_pins("cards bob.card --contents"));
    assert_eq!(held["cards"][0]["signature_key"]["name"], "bob", "{held}");
}

#[test]
fn e2e_tke_cards_bring_a_region_into_service() {
    let folder = tempfile::tempdir().unwrap();
    let region = Region::up(&folder.path().join("data"), &["--ceremony", "manual", "--recovery-units", "0"]);
    let tool = Tool::on(&region);
    zone_and_cards(&tool);
    copies(&tool);
    blocking(&tool);

    tool.text("cryptounit-add all");
    tool.text(&with_pins("cryptounit-admin-add --from-card alice.card --from-card bob.card"));
    let readers = "--card alice.card --card bob.card";
    tool.text(&with_pins(&format!("cryptounit-thrhld-set --signature 2 --revocation 2 {readers}")));
    let parts = "--part-card carol-copy.card#one --part-card dan.card#two";
    let list = tool.json(&with_pins(&format!("card-part-list {parts} --out parts.json")));
    tool.text(&with_pins(&format!("cryptounit-mk-load {parts} --card bob.card")));
    tool.refused(
        &with_pins("cryptounit-mk-commit --part-list parts.json --card alice.card"),
        "needs 2 signatures",
    );

    // A modified list is rejected.
    let changed = std::fs::read_to_string(tool.folder.path().join("parts.json")).unwrap();
    tool.write("changed.json", &changed.replace("\"one\"", "\"eno\""));
    let line = format!("cryptounit-mk-commit --part-list changed.json {readers}");
    tool.refused(&with_pins(&line), "the part list was changed");

    tool.text(&with_pins(&format!("cryptounit-mk-commit --part-list parts.json {readers}")));
    tool.text(&with_pins("cryptounit-mk-setimm --part-list parts.json --card alice.card"));
    let compared = tool.json("cryptounit-compare");
    assert_eq!(compared["alike"], true, "{compared}");
    let current = &compared["crypto_units"][0]["current_register"]["verification_pattern"];
    assert_eq!(*current, list["combined"]);
}
