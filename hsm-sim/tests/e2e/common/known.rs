//! A ceremony and a rotation whose secrets are all known to the test, and the encodings in which a secret could leak.

use super::tool::Tool;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub(crate) const PARTS: [[u8; 32]; 3] = [known(1), known(2), known(3)];
pub(crate) const NEW_PARTS: [[u8; 32]; 2] = [known(4), known(5)];
pub(crate) const ROOT_KEY: [u8; 32] = known(6);
pub(crate) const DATA_KEY: [u8; 32] = known(7);

/// Bytes that do not occur in text and differ between secrets.
const fn known(which: u8) -> [u8; 32] {
    let mut secret = [0; 32];
    let mut at = 0;
    while at < 32 {
        secret[at] = 0x80 | (which.wrapping_mul(37).wrapping_add((at as u8).wrapping_mul(which | 1)));
        at += 1;
    }
    secret
}

/// Sets up administrators, thresholds and a master key of three parts. Returns all output.
pub(crate) fn ceremony(tool: &Tool) -> String {
    let mut printed = String::new();
    let mut run = |line: &str| printed += &tool.text(line);
    for name in ["alice", "bob"] {
        run(&format!("sigkey-add {name}"));
    }
    run("sigkey-sel alice bob");
    for (n, part) in (1..).zip(PARTS) {
        add_part(tool, &format!("part{n}"), &part);
    }
    run("cryptounit-add all");
    run("cryptounit-admin-add alice bob");
    run("cryptounit-thrhld-set --signature 2 --revocation 2");
    run("cryptounit-mk-load --part part1 --part part2 --part part3");
    run("cryptounit-mk-commit");
    run("cryptounit-mk-setimm");
    printed
}

/// Rotates to the master key of two other parts. Returns all output.
pub(crate) fn rotation(tool: &Tool) -> String {
    let mut printed = String::new();
    for (n, part) in (1..).zip(NEW_PARTS) {
        add_part(tool, &format!("new{n}"), &part);
    }
    tool.refused("cryptounit-mk-rotate", "every new register is committed");
    for line in [
        "cryptounit-mk-load --part new1 --part new2",
        "cryptounit-mk-commit",
        "cryptounit-mk-rotate",
        "rotation",
        "audit",
        "protocol",
    ] {
        printed += &tool.text(line);
    }
    printed
}

fn add_part(tool: &Tool, label: &str, part: &[u8; 32]) {
    let value = tool.write(label, &hex(part));
    tool.text(&format!("mk-add {label} --value-file {label}"));
    std::fs::remove_file(value).unwrap();
}

/// Half of a secret as bytes, in hexadecimal and in base64.
pub(crate) fn forms(secret: &[u8; 32]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for half in secret.chunks(16) {
        forms.push(half.to_vec());
        forms.push(hex(half).into_bytes());
        forms.push(hex(half).to_uppercase().into_bytes());
    }
    // Base64 depends on the offset in the encoded text: one form for each offset modulo 3.
    for skipped in 0..3 {
        let text = BASE64_STANDARD.encode(&secret[skipped..]);
        forms.push(text.as_bytes()[4..28].to_vec());
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn xor(parts: &[[u8; 32]]) -> [u8; 32] {
    std::array::from_fn(|i| parts.iter().fold(0, |sum, part| sum ^ part[i]))
}

/// The body of a request that imports a key.
pub(crate) fn import(name: &str, extractable: bool, payload: &[u8]) -> String {
    serde_json::json!({
        "metadata": {"collectionType": "application/vnd.ibm.kms.key+json", "collectionTotal": 1},
        "resources": [{
            "type": "application/vnd.ibm.kms.key+json", "name": name, "extractable": extractable,
            "payload": BASE64_STANDARD.encode(payload),
        }],
    })
    .to_string()
}
