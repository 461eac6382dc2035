//! A ceremony and a rotation whose secrets are all known to the test: no file contains one of them afterwards.

use crate::common::known::{DATA_KEY, NEW_PARTS, PARTS, ROOT_KEY, ceremony, forms, import, rotation, xor};
use crate::common::tool::Tool;
use crate::common::{Region, wait_for};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::path::Path;

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
