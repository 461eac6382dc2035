//! Backups of the built program: made, tested, listed, and restored after a disaster.

use crate::common::known::import;
use crate::common::{Region, Rest, program, until, up};
use hsm_sim::control::ControlClient;
use hsm_sim::control::backup_model::{BackupList, BackupReport, RestoreRequest, RestoredReport};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

const PLAINTEXT: &str = "dGhlIHBsYWludGV4dCBvZiBhIGRhdGEga2V5ISEhISE=";

/// What a command prints, and whether it succeeded.
fn command(region: &Region, line: &str) -> (bool, String) {
    let output = tokio::task::block_in_place(|| {
        program().args(line.split(' ')).arg("--data").arg(&region.data).output().unwrap()
    });
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn text(region: &Region, line: &str) -> String {
    let (succeeded, said) = command(region, line);
    assert!(succeeded, "{line}: {said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{line}: {said}");
    said
}

fn json<T: DeserializeOwned>(region: &Region, line: &str) -> T {
    let (succeeded, said) = command(region, &format!("{line} --json"));
    assert!(succeeded, "{line}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{line}: {error}: {said}"))
}

fn refused(region: &Region, line: &str) -> String {
    let (succeeded, said) = command(region, line);
    assert!(!succeeded, "{line}: {said}");
    said
}

/// A key that was created, with a ciphertext.
async fn key(rest: &Rest, name: &str) -> (String, String) {
    let id = rest.create_when_ready(name).await;
    let ciphertext = until("a ciphertext", async || rest.wrap(&id, PLAINTEXT).await).await;
    (id, ciphertext)
}

async fn unwraps(rest: &Rest, (id, ciphertext): &(String, String)) {
    let plaintext = until("a plaintext", async || rest.unwrap(id, ciphertext).await).await;
    assert_eq!(plaintext, PLAINTEXT);
}

fn stop(mut region: Region) -> PathBuf {
    tokio::task::block_in_place(|| assert!(region.interrupt().success()));
    region.data.clone()
}

/// Removes everything of a keystore.
fn lose_keystore(data: &Path) {
    let mut lost = 0;
    for entry in std::fs::read_dir(data).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("keystore.") {
            std::fs::remove_file(entry.path()).unwrap();
            lost += 1;
        }
    }
    assert!(lost > 2, "{lost} files");
}

/// The newest tested backup of the first instance.
fn newest(region: &Region, list: &BackupList) -> BackupReport {
    let instance = region.ready.instance_id.to_string();
    let of_it = |backup: &&BackupReport| backup.header.as_ref().is_some_and(|h| h.instance == instance);
    list.backups.iter().rev().find(of_it).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_backup_restores_a_region_that_lost_its_keystore() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let rest = region.rest();
    let name = "salaries of the north";
    let kept = key(&rest, name).await;
    let material = [0x5a_u8; 32];
    let body = import("imported", true, &material);
    let (status, answer) = rest.send("POST", "/keys", &body).await.unwrap();
    assert_eq!(status, 201, "{answer}");

    let made: BackupList = json(&region, "backup now");
    let backup = newest(&region, &made);
    let header = backup.header.clone().unwrap();
    assert_eq!((header.keys, header.epoch, backup.problem.as_str()), (2, 1, ""));
    assert_eq!(backup.tested.as_ref().map(|tested| (tested.keys, tested.opened_by_units)), Some((2, 2)));
    let listed = text(&region, "backup list");
    assert!(listed.contains(&backup.name), "{listed}");
    let shown = text(&region, &format!("backup show {}", backup.name));
    assert!(shown.contains(&header.pattern), "{shown}");
    assert!(text(&region, &format!("backup verify {}", backup.name)).contains("2 keys"));
    let bytes = std::fs::read(&backup.path).unwrap();
    for secret in
        [name.as_bytes(), b"imported", kept.0.as_bytes(), &material, region.ready.api_key.as_bytes()]
    {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{}", secret.escape_ascii());
    }
    // What is there is not older than its backup.
    let line = format!("backup restore --into {} --from {}", region.ready.region, backup.path.display());
    let said = refused(&region, &line);
    assert!(said.contains("not newer"), "{said}");
    unwraps(&rest, &kept).await;

    let data = stop(region);
    lose_keystore(&data);
    let region = up(&data, &["--accept-missing-keystore"]);
    let rest = region.rest();
    assert!(rest.unwrap(&kept.0, &kept.1).await.is_err());
    // A damaged copy changes nothing, wherever the damage is.
    let damaged = folder.path().join("damaged");
    for at in [3, 40, 200, bytes.len() / 2, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        std::fs::write(&damaged, bad).unwrap();
        let line = format!("backup restore --into us-south --from {}", damaged.display());
        let said = refused(&region, &line);
        let reasons = ["not a backup", "is damaged"];
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    }
    let outcome: RestoredReport = json(&region, "backup restore --into us-south");
    let restored = outcome.restored.iter().find(|one| one.keys == 2).unwrap();
    assert_eq!((restored.epoch, restored.waiting_for.as_str()), (Some(2), ""));
    unwraps(&rest, &kept).await;
    let after = key(&rest, "after").await;
    // It is a region as any other.
    let region = up(&stop(region), &[]);
    unwraps(&region.rest(), &kept).await;
    unwraps(&region.rest(), &after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_backup_is_made_every_day_of_the_service_s_clock() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let rest = region.rest();
    key(&rest, "daily").await;
    let control = region.control();
    let of_first = |list: BackupList| {
        let instance = region.ready.instance_id.to_string();
        let of_it = |b: &BackupReport| b.header.as_ref().is_some_and(|h| h.instance == instance);
        list.backups.into_iter().filter(of_it).filter(|backup| backup.tested.is_some()).count()
    };
    let count = async |wanted: usize| {
        until("a backup", async || match of_first(control.backups().await.map_err(|e| e.to_string())?) {
            found if found == wanted => Ok(()),
            found => Err(format!("{found} backups")),
        })
        .await;
    };
    count(1).await;
    for day in 1..=2 {
        control.advance(24 * 3600).await.unwrap();
        count(1 + day).await;
    }
    // Health names a folder that cannot be used, and what is there stays.
    let kept: Vec<_> = control.backups().await.unwrap().backups.into_iter().map(|b| b.path).collect();
    let instance = kept[0].parent().unwrap().parent().unwrap().join(region.ready.instance_id.to_string());
    let aside = instance.with_extension("aside");
    std::fs::rename(&instance, &aside).unwrap();
    std::fs::write(&instance, "no folder").unwrap();
    assert!(control.back_up().await.is_err());
    let health = operator(&region, "/healthz").await;
    assert!(health.contains("the last backup of instance"), "{health}");
    std::fs::remove_file(&instance).unwrap();
    std::fs::rename(&aside, &instance).unwrap();
    control.back_up().await.unwrap();
    let health = operator(&region, "/healthz").await;
    assert!(!health.contains("the last backup of instance"), "{health}");
    assert!(kept.iter().all(|path| path.exists()));
    let metrics = operator(&region, "/metrics").await;
    assert!(metrics.contains("hsm_backup_age_seconds{instance="), "{metrics}");
}

async fn operator(region: &Region, path: &str) -> String {
    let address = format!("{}{path}", region.ready.operator_url);
    let answer = region.rest().http.get(address.parse().unwrap()).await.unwrap();
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_backup_under_another_master_key_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    key(&region.rest(), "kept").await;
    let backup = newest(&region, &region.control().back_up().await.unwrap());
    let data = stop(region);
    lose_keystore(&data);
    for lost in ["units", "ceremony"] {
        std::fs::rename(data.join(lost), folder.path().join(lost)).unwrap();
    }
    std::fs::remove_file(data.join("units-seen.json")).unwrap();
    let region = up(&data, &["--accept-missing-keystore"]);
    let control = region.control();
    let held = until("a master key", async || {
        let status = control.status().await.map_err(|e| e.to_string())?;
        status.units.into_iter().find_map(|unit| unit.pattern).ok_or_else(|| "none".to_owned())
    })
    .await;
    let line = format!("backup restore --into us-south --from {}", backup.path.display());
    let said = refused(&region, &line);
    let said = said.replace(char::is_whitespace, "");
    let needed = backup.header.unwrap().pattern;
    assert!(said.contains(&needed) && said.contains(&held), "{said}");
    key(&region.rest(), "of another customer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_backup_restores_a_pair_that_lost_both_keystores() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--profile", "kp-2024", "--set", "standby.write_enable=operator"];
    let options = [&options[..], &["--set", "standby.lost_after=2s", "--set", "standby.poll=100ms"]].concat();
    let pair = up(&folder.path().join("data"), &options);
    let kept = key(&pair.rest(), "kept").await;
    let made = pair.control().back_up().await.unwrap();
    let backup = newest(&pair, &made);
    assert!(backup.path.starts_with(pair.data.canonicalize().unwrap().join("backups/us-east")));
    let data = stop(pair);
    for region in ["us-south", "us-east"] {
        lose_keystore(&data.join("regions").join(region));
    }
    let pair = up(&data, &["--accept-missing-keystore"]);
    let control = pair.control();
    // The standby has no right to write.
    let into = |name: &str| RestoreRequest { into: name.to_owned(), from: None };
    let standby = control.clone().in_region(Some("us-east"));
    let said = until("the standby to refuse", async || match standby.restore(&into("us-east")).await {
        Err(error) if error.to_string().contains("does not accept changes") => Ok(error.to_string()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(said.contains("accepted by the other region"), "{said}");
    let home = control.clone().in_region(Some("us-south"));
    let outcome =
        until("a restore", async || home.restore(&into("us-south")).await.map_err(|error| error.to_string()))
            .await;
    let restored = outcome.restored.iter().find(|one| one.keys == 1).unwrap();
    assert_eq!((restored.epoch, restored.waiting_for.as_str()), (Some(3), ""));
    unwraps(&pair.rest(), &kept).await;
    // The standby has it too, under the same epoch, and takes over.
    let status = until("a pair that is ready", async || {
        let status = control.pair_status().await.map_err(|e| e.to_string())?;
        let is_ready = status.ready && status.lag_revisions == Some(0) && status.epoch == 3;
        if is_ready { Ok(status) } else { Err(format!("{status:#?}")) }
    })
    .await;
    assert_eq!(status.writes, "home");
    takes_over(&control, &pair.rest(), &kept).await;
}

/// Loses the home, promotes the standby, uses a key, and makes one.
async fn takes_over(control: &ControlClient, rest: &Rest, kept: &(String, String)) {
    use hsm_sim::control::pair_model::{PairFault, PromoteRequest};
    control.pair_fault(&PairFault::Lose { region: "us-south".to_owned() }).await.unwrap();
    until("the loss to be noticed", async || {
        let status = control.pair_status().await.map_err(|e| e.to_string())?;
        if status.state == "lost" { Ok(()) } else { Err(status.state) }
    })
    .await;
    let order = PromoteRequest { home_is_down: true, accept_divergence: false };
    let report = control.pair_promote(&order).await.unwrap();
    assert!(report.writes && report.epoch == 4);
    unwraps(rest, kept).await;
    key(rest, "of the standby").await;
}
