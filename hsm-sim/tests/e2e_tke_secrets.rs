//! A ceremony and a rotation whose every secret is known to the test: none of them is in any file that is left.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;
#[path = "common/tool.rs"]
mod tool;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{Region, wait_for};
use std::path::Path;
use tool::Tool;

const PARTS: [[u8; 32]; 3] = [known(1), known(2), known(3)];
const NEW_PARTS: [[u8; 32]; 2] = [known(4), known(5)];
const ROOT_KEY: [u8; 32] = known(6);
const DATA_KEY: [u8; 32] = known(7);

/// Bytes that no text has and no two secrets share.
const fn known(which: u8) -> [u8; 32] {
    let mut secret = [0; 32];
    let mut at = 0;
    while at < 32 {
        secret[at] = 0x80 | (which.wrapping_mul(37).wrapping_add((at as u8).wrapping_mul(which | 1)));
        at += 1;
    }
    secret
}

#[tokio::test]
async fn e2e_no_file_of_a_ceremony_or_a_rotation_has_a_secret_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = Region::up(&data, &["--ceremony", "manual", "--recovery-units", "0"]);
    let tool = Tool::on(&region);
    let mut printed = ceremony(&tool);
    let rest = region.rest();
    wait_for("the region to serve", || {
        tool.json("cryptounit-compare")["alike"] == true && tool.run("rotation").status.success()
    });

    let import = |name: &str, extractable: bool, payload: &[u8]| {
        serde_json::json!({
            "metadata": {"collectionType": "application/vnd.ibm.kms.key+json", "collectionTotal": 1},
            "resources": [{
                "type": "application/vnd.ibm.kms.key+json", "name": name, "extractable": extractable,
                "payload": BASE64_STANDARD.encode(payload),
            }],
        })
        .to_string()
    };
    let (status, made) = rest.send("POST", "/keys", &import("root", false, &ROOT_KEY)).await.unwrap();
    assert_eq!(status, 201, "{made}");
    let root = made.pointer("/resources/0/id").unwrap().as_str().unwrap().to_owned();
    let (status, made) = rest.send("POST", "/keys", &import("standard", true, &DATA_KEY)).await.unwrap();
    assert_eq!(status, 201, "{made}");
    let ciphertext = rest.wrap(&root, &BASE64_STANDARD.encode(DATA_KEY)).await.unwrap();

    printed += &rotation(&tool);
    assert_eq!(rest.unwrap(&root, &ciphertext).await.unwrap(), BASE64_STANDARD.encode(DATA_KEY));
    region.kill();

    let log = std::fs::read(&region.log).unwrap();
    assert!(!log.is_empty(), "the region has said nothing");
    let mut files =
        vec![(String::from("what was printed"), printed.into_bytes()), (String::from("the log"), log)];
    gather(&data, &mut files);
    gather(&tool.files(), &mut files);
    assert!(files.len() > 15, "only {} files", files.len());
    let (old, new) = (xor(&PARTS), xor(&NEW_PARTS));
    let secrets = PARTS.iter().chain(&NEW_PARTS).chain([&old, &new, &ROOT_KEY, &DATA_KEY]);
    for secret in secrets {
        for form in forms(secret) {
            for (name, content) in &files {
                let found = content.windows(form.len()).any(|window| window == form);
                assert!(!found, "{name} has {:?} in it", String::from_utf8_lossy(&form));
            }
        }
    }
}

/// Administrators, thresholds, three parts, serving; all that was printed.
fn ceremony(tool: &Tool) -> String {
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

/// To the master key of two other parts; all that was printed.
fn rotation(tool: &Tool) -> String {
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

/// Half of the secret, as bytes, in hexadecimal and in base64.
fn forms(secret: &[u8; 32]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for half in secret.chunks(16) {
        forms.push(half.to_vec());
        forms.push(hex(half).into_bytes());
        forms.push(hex(half).to_uppercase().into_bytes());
    }
    // What stands at another place of a longer text reads differently: each of the three ways it can.
    for skipped in 0..3 {
        let text = BASE64_STANDARD.encode(&secret[skipped..]);
        forms.push(text.as_bytes()[4..28].to_vec());
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn xor(parts: &[[u8; 32]]) -> [u8; 32] {
    std::array::from_fn(|i| parts.iter().fold(0, |sum, part| sum ^ part[i]))
}

fn gather(folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.is_file() {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}
