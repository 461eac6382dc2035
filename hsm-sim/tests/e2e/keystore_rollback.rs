//! Attacks on the keystore of a region that is stopped: an older file, none, another one, older records.

use crate::common::{Region, program, up};
use keystore::{Deadline, Key, Keystore, OpId, RedbOptions, RedbStore, Txn, Write};
use std::path::Path;
use std::time::Duration;

/// What `up` says when it refuses to start.
fn refusal(data: &Path, extra: &[&str]) -> String {
    let mut command = program();
    command.args(["up", "--port", "0", "--data"]).arg(data).args(extra);
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    said
}

fn stop(mut region: Region) {
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
}

/// A region with one key that is deleted later; the keystore files of both times.
async fn deleted_key(data: &Path) -> (String, Vec<u8>, Vec<u8>) {
    let region = up(data, &[]);
    let key = region.rest().create_when_ready("orders").await;
    stop(region);
    let older = std::fs::read(data.join("keystore.redb")).unwrap();
    let region = up(data, &[]);
    let rest = region.rest();
    rest.create_when_ready("another").await;
    let (status, answer) = rest.send("DELETE", &format!("/keys/{key}"), "").await.unwrap();
    assert!(status == 200 || status == 204, "{status} {answer}");
    stop(region);
    (key, older, std::fs::read(data.join("keystore.redb")).unwrap())
}

async fn state_of(region: &Region, key: &str) -> u64 {
    let (status, answer) = region.rest().send("GET", &format!("/keys/{key}/metadata"), "").await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["resources"][0]["state"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_an_older_keystore_is_refused_until_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (key, older, newest) = deleted_key(&data).await;
    let file = data.join("keystore.redb");
    // A writer of the keystore also writes what the store keeps beside it.
    let _ = std::fs::remove_file(data.join("keystore.redb.last"));
    std::fs::write(&file, &older).unwrap();
    for other in [&[][..], &["--accept-missing-keystore", "--accept-other-keystore"]] {
        let said = refusal(&data, other);
        assert!(
            said.contains("older than it has been") && said.contains("--accept-older-keystore"),
            "{said}"
        );
    }
    std::fs::write(&file, &newest).unwrap();
    let region = up(&data, &[]);
    assert_eq!(state_of(&region, &key).await, 5);
    stop(region);

    std::fs::write(&file, &older).unwrap();
    let region = up(&data, &["--accept-older-keystore"]);
    assert_eq!(state_of(&region, &key).await, 1);
    stop(region);
    // From then on it is the newest.
    let region = up(&data, &[]);
    assert_eq!(state_of(&region, &key).await, 1);
}

/// The number of changes in the file is not secret. Raising it does not make the instance any newer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_an_older_keystore_with_more_changes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (_, older, _) = deleted_key(&data).await;
    let file = data.join("keystore.redb");
    let side_file = data.join("keystore.redb.last");
    let _ = std::fs::remove_file(&side_file);
    std::fs::write(&file, &older).unwrap();
    let store = RedbStore::open(&file, RedbOptions::default()).await.unwrap();
    for n in 0..100_u8 {
        let write = Write::Put { key: Key::from([n]), value: vec![n].into(), lease: None };
        let txn = Txn { op: OpId([n + 1; 16]), conds: Vec::new(), writes: vec![write] };
        store.commit(txn, Deadline(Duration::from_secs(60))).await.unwrap();
    }
    store.close().await.unwrap();
    let _ = std::fs::remove_file(&side_file);
    let said = refusal(&data, &[]);
    assert!(said.contains("the instance is older than it has been"), "{said}");
    assert!(said.contains("--accept-older-keystore"), "{said}");
    up(&data, &["--accept-older-keystore"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_missing_keystore_is_not_replaced_by_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let region = up(&data, &[]);
    region.rest().create_when_ready("orders").await;
    stop(region);
    let file = data.join("keystore.redb");
    std::fs::remove_file(&file).unwrap();
    for gone in ["keystore.redb.last", "keystore.redb.lock", "keystore.pin"] {
        let said = refusal(&data, &["--accept-older-keystore"]);
        assert!(said.contains("is missing") && said.contains("--accept-missing-keystore"), "{said}");
        assert!(!file.exists());
        let _ = std::fs::remove_file(data.join(gone));
    }
    let said = refusal(&data, &[]);
    assert!(said.contains("is missing"), "{said}");
    let region = up(&data, &["--accept-missing-keystore"]);
    region.rest().create_when_ready("a new beginning").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_the_keystore_of_another_region_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, other) = (folder.path().join("data"), folder.path().join("other"));
    for data in [&data, &other] {
        stop(up(data, &[]));
    }
    std::fs::copy(other.join("keystore.redb"), data.join("keystore.redb")).unwrap();
    let said = refusal(&data, &[]);
    assert!(said.contains("another keystore") && said.contains("--accept-other-keystore"), "{said}");
}
