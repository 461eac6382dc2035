//! A region of an earlier version opens with all its keys, and can be used.

use crate::common::control::{all_serve, status_once};
use crate::common::skip::softhsm;
use crate::common::{Region, Rest, program, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/regions/first");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_an_earlier_region_opens_and_keeps_every_key_state_and_record() {
    let Some(_) = softhsm("e2e_an_earlier_region_opens_and_keeps_every_key_state_and_record") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let earlier = Earlier::copied_to(folder.path());
    let region = Region::up(&earlier.data(), &[]);
    wait_for("the region to serve", || serves(&region));

    let status = status_once(&region.control(), all_serve).await;
    assert_eq!(status.pattern.as_deref(), earlier.expected["pattern"].as_str());
    let engines: Vec<&str> = status.units.iter().map(|unit| unit.engine.as_str()).collect();
    assert_eq!(engines.len(), 4);
    assert!(engines[0] == "software" && engines[1].starts_with("SoftHSM"), "{engines:?}");

    earlier.assert_keys_are_whole(&region).await;

    let (before, after) =
        (earlier.audit_of_fixture(), std::fs::read(earlier.data().join("audit.jsonl")).unwrap());
    assert!(after.starts_with(&before), "audit records were changed");

    // The customer's tool verifies its ceremony record and the units' audit records against the units.
    earlier.tke(&["cryptounit-compare"]);
    earlier.tke(&["audit"]);
    let protocol = earlier.tke(&["protocol"]);
    assert!(protocol.contains("Ada") && protocol.contains("Bob"), "{protocol}");

    // The signature keys are still valid: the master key is rotated again, and every key survives.
    earlier.tke(&["auto-mk-rotate"]);
    let status = status_once(&region.control(), all_serve).await;
    assert_ne!(status.pattern.as_deref(), earlier.expected["pattern"].as_str());
    earlier.assert_keys_are_whole(&region).await;

    let suspended = earlier.key("suspended root");
    let rest = earlier.client(&region, suspended);
    let (id, wrapped) = (suspended["id"].as_str().unwrap(), &suspended["ciphertexts"][0]);
    let (code, body) = rest.send("POST", &format!("/keys/{id}/actions/enable"), "").await.unwrap();
    assert_eq!(code, 204, "{body}");
    assert_eq!(unwrap(&rest, id, wrapped).await, (200, wrapped["plaintext"].clone()));

    // While it runs, nothing is put back.
    let refused = earlier.upgrade("undo");
    assert!(refused.contains("is in use by another hsm-sim"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_an_upgrade_is_undone_until_it_is_confirmed() {
    let Some(_) = softhsm("e2e_an_upgrade_is_undone_until_it_is_confirmed") else { return };
    let folder = tempfile::tempdir().unwrap();
    let earlier = Earlier::copied_to(folder.path());
    let before = files(&earlier.data());
    for _ in 0..2 {
        let region = Region::up(&earlier.data(), &[]);
        wait_for("the region to serve", || serves(&region));
        assert!(status_once(&region.control(), all_serve).await.unconfirmed_upgrade);
        earlier.assert_keys_are_whole(&region).await;
        drop(region);
        assert_ne!(files(&earlier.data()), before);
        let undone = earlier.upgrade("undo");
        assert!(undone.contains("is as the earlier version left it"), "{undone}");
        assert_eq!(files(&earlier.data()), before);
    }
    let region = Region::up(&earlier.data(), &[]);
    wait_for("the region to serve", || serves(&region));
    drop(region);
    let confirmed = earlier.upgrade("confirm");
    assert!(confirmed.contains("was removed"), "{confirmed}");
    let nothing = earlier.upgrade("undo");
    assert!(nothing.contains("there is nothing to confirm or to undo"), "{nothing}");
    let region = Region::up(&earlier.data(), &[]);
    wait_for("the region to serve", || serves(&region));
    assert!(!status_once(&region.control(), all_serve).await.unconfirmed_upgrade);
    earlier.assert_keys_are_whole(&region).await;
}

/// Every file of a data directory that is not of a running process.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && !["lock", "ready.json"].iter().any(|own| path.ends_with(own)) {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A copy of the fixture that a test may change.
struct Earlier {
    folder: PathBuf,
    expected: Value,
}

impl Earlier {
    /// Copies the fixture, restores the file modes that the program sets, and sets its clock back to the fixture's time.
    fn copied_to(folder: &Path) -> Self {
        for part in ["region", "tke"] {
            copy(&Path::new(FIXTURE).join(part), &folder.join(part));
        }
        let expected = std::fs::read(Path::new(FIXTURE).join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let clock: jiff::Timestamp = expected["clock"].as_str().unwrap().parse().unwrap();
        let ahead_ms = clock.as_millisecond() - jiff::Timestamp::now().as_millisecond();
        std::fs::write(folder.join("region/clock.json"), json!({ "ahead_ms": ahead_ms }).to_string())
            .unwrap();
        std::fs::write(folder.join("password"), "fixture password").unwrap();
        std::fs::set_permissions(folder.join("password"), PermissionsExt::from_mode(0o600)).unwrap();
        Self { folder: folder.to_owned(), expected }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("region")
    }

    /// What `upgrade` says about the directory.
    fn upgrade(&self, how: &str) -> String {
        let output = program().args(["upgrade", how, "--data"]).arg(self.data()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn audit_of_fixture(&self) -> Vec<u8> {
        std::fs::read(Path::new(FIXTURE).join("region/audit.jsonl")).unwrap()
    }

    fn keys(&self) -> &[Value] {
        self.expected["keys"].as_array().unwrap()
    }

    fn key(&self, name: &str) -> &Value {
        self.keys().iter().find(|key| key["name"] == name).unwrap()
    }

    fn client(&self, region: &Region, key: &Value) -> Rest {
        Rest { instance: key["instance"].as_str().unwrap().to_owned(), ..region.rest() }
    }

    /// Lists, reads and uses every key of the fixture.
    async fn assert_keys_are_whole(&self, region: &Region) {
        for instance in [region.ready.instance_id, region.ready.instance_id_2].map(|id| id.to_string()) {
            let rest = Rest { instance: instance.clone(), ..region.rest() };
            let (code, listed) = rest.send("GET", "/keys?state=0,1,2,3,5", "").await.unwrap();
            assert_eq!(code, 200, "{listed}");
            let mut listed: Vec<&str> = listed["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["id"].as_str().unwrap())
                .collect();
            let mine =
                self.keys().iter().filter(|key| key["instance"] == instance && !key["state"].is_null());
            let mut expected: Vec<&str> = mine.map(|key| key["id"].as_str().unwrap()).collect();
            listed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(listed, expected);
        }
        for key in self.keys() {
            self.assert_key_is_whole(region, key).await;
        }
    }

    async fn assert_key_is_whole(&self, region: &Region, key: &Value) {
        let rest = self.client(region, key);
        let id = key["id"].as_str().unwrap();
        let (code, metadata) = rest.send("GET", &format!("/keys/{id}/metadata"), "").await.unwrap();
        let Some(state) = key["state"].as_u64() else {
            assert_eq!(code, 404, "a purged key is back: {metadata}");
            return;
        };
        assert_eq!((code, &metadata["resources"][0]["state"]), (200, &json!(state)), "{metadata}");
        assert_eq!(metadata["resources"][0]["name"], key["name"]);
        for wrapped in key["ciphertexts"].as_array().unwrap() {
            let (code, plaintext) = unwrap(&rest, id, wrapped).await;
            match state {
                // An expired key still unwraps.
                1 | 3 => assert_eq!((code, &plaintext), (200, &wrapped["plaintext"]), "{}", key["name"]),
                2 => assert_eq!(code, 409),
                _ => assert_eq!(code, 410),
            }
        }
        if let Some(payload) = key.get("payload").filter(|_| key["name"] == "standard key") {
            let (code, got) = rest.send("GET", &format!("/keys/{id}"), "").await.unwrap();
            assert_eq!((code, &got["resources"][0]["payload"]), (200, payload));
        }
        if key["name"] == "rotated root" {
            let (code, versions) = rest.send("GET", &format!("/keys/{id}/versions"), "").await.unwrap();
            assert_eq!((code, versions["resources"].as_array().unwrap().len()), (200, 3));
        }
    }

    /// Runs the customer's tool on the fixture's folder and returns what it prints.
    fn tke(&self, args: &[&str]) -> String {
        let mut command: Command = program();
        command
            .arg("tke")
            .args(args)
            .arg("--data")
            .arg(self.data())
            .arg("--files")
            .arg(self.folder.join("tke"));
        command.arg("--password-file").arg(self.folder.join("password"));
        for variable in ["TKE_URL", "TKE_INSTANCE", "TKE_ROOT", "TKE_SIGNSERV_URL", "CLOUDTKEFILES"] {
            command.env_remove(variable);
        }
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }
}

/// Whether the region serves, by `/readyz`.
fn serves(region: &Region) -> bool {
    let address = region.ready.rest_url.trim_start_matches("http://").to_owned();
    tokio::task::block_in_place(|| {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(&address) else { return false };
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    })
}

/// Status and plaintext of an unwrap of one of the fixture's ciphertexts.
async fn unwrap(rest: &Rest, id: &str, wrapped: &Value) -> (u16, Value) {
    let body = json!({ "ciphertext": wrapped["ciphertext"], "aad": wrapped["aad"] }).to_string();
    let (code, answer) = rest.send("POST", &format!("/keys/{id}/actions/unwrap"), &body).await.unwrap();
    (code, answer["plaintext"].clone())
}

/// Copies a folder with the modes that the program sets: readable by the owner only.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
            std::fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
}
