//! A pair of regions: start, faults, takeover, return, restart.

use crate::common::{Region, Rest, is_alive, program, until, up, wait_for};
use hsm_sim::control::ControlClient;
use hsm_sim::control::pair_model::{PairFault, PairHeal, PairStatus, PromoteRequest};
use http_body_util::{BodyExt, Full};
use std::path::Path;

/// A pair whose times are short. An operator decides, unless a test sets another switch.
pub(crate) const FAST: [&str; 14] = [
    "--profile",
    "kp-2024",
    "--set",
    "standby.write_enable=operator",
    "--set",
    "standby.failback=operator",
    "--set",
    "standby.lost_after=2s",
    "--set",
    "standby.lease=2s",
    "--set",
    "standby.poll=100ms",
    "--set",
    "standby.freeze=20s",
];

pub(crate) const HOME: &str = "us-south";
pub(crate) const STANDBY: &str = "us-east";
pub(crate) const PLAINTEXT: &str = "dGhlIHBsYWludGV4dCBvZiBhIGRhdGEga2V5ISEhISE=";

fn pair(data: &Path) -> Region {
    up(data, &FAST)
}

pub(crate) async fn status_once(control: &ControlClient, holds: impl Fn(&PairStatus) -> bool) -> PairStatus {
    until("a status of the pair", async || {
        let status = control.pair_status().await.map_err(|e| e.to_string())?;
        if holds(&status) { Ok(status) } else { Err(format!("{status:#?}")) }
    })
    .await
}

/// Every process of a region.
async fn processes(control: &ControlClient, region: &str) -> Vec<u32> {
    let status = control.pair_status().await.unwrap();
    let own = status.regions.iter().find(|found| found.name == region).unwrap().pid.unwrap();
    let units = control.clone().in_region(Some(region)).status().await.unwrap().units;
    units.iter().filter_map(|unit| unit.pid).chain([own]).collect()
}

pub(crate) fn lose(region: &str) -> PairFault {
    PairFault::Lose { region: region.to_owned() }
}

/// Status and `Retry-After` of a create request.
async fn refusal(rest: &Rest) -> (u16, Option<String>) {
    let body = r#"{"metadata":{"collectionType":"application/vnd.ibm.kms.key+json","collectionTotal":1},
        "resources":[{"type":"application/vnd.ibm.kms.key+json","name":"refused","extractable":false}]}"#;
    let request = hyper::Request::builder()
        .method("POST")
        .uri(format!("{}/api/v2/keys", rest.base))
        .header("authorization", format!("Bearer {}", rest.token))
        .header("bluemix-instance", &rest.instance)
        .body(Full::new(body.into()))
        .unwrap();
    let answer = rest.http.request(request).await.unwrap();
    let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    (status, retry)
}

/// A key that was created, with a ciphertext.
pub(crate) async fn key(rest: &Rest, name: &str) -> (String, String) {
    let id = rest.create_when_ready(name).await;
    let ciphertext = until("a ciphertext", async || rest.wrap(&id, PLAINTEXT).await).await;
    (id, ciphertext)
}

pub(crate) async fn unwraps(rest: &Rest, (id, ciphertext): &(String, String)) {
    let plaintext = until("a plaintext", async || rest.unwrap(id, ciphertext).await).await;
    assert_eq!(plaintext, PLAINTEXT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_lost_taken_over_and_returned() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair(&folder.path().join("data"));
    let (rest, control) = (pair.rest(), pair.control());
    let names: Vec<_> =
        pair.ready.regions.iter().map(|region| (region.name.as_str(), region.role.as_str())).collect();
    assert_eq!(names, [(HOME, "home"), (STANDBY, "standby")]);
    let before = key(&rest, "before").await;
    let status = status_once(&control, |status| status.ready && status.lag_revisions == Some(0)).await;
    assert_eq!((status.state.as_str(), status.writes.as_str(), status.epoch), ("normal", "home", 1));

    let lost = processes(&control, HOME).await;
    let status = control.pair_fault(&lose(HOME)).await.unwrap();
    assert_eq!(status.regions[0].process, "lost");
    wait_for("every process of the region to end", || lost.iter().all(|pid| !is_alive(*pid)));
    // The same address, the same credentials: keys are used, and nothing changes.
    unwraps(&rest, &before).await;
    let status = status_once(&control, |status| status.state == "lost").await;
    assert_eq!((status.writes.as_str(), status.requests_go_to.as_deref()), ("none", Some(STANDBY)));
    let (code, retry) = refusal(&rest).await;
    assert_eq!(code, 503);
    assert!(retry.is_some());
    let commands = control.clone().in_region(Some(HOME)).status().await.unwrap_err().to_string();
    assert!(commands.contains("heal region us-south"), "{commands}");

    let report =
        control.pair_promote(&PromoteRequest { home_is_down: true, accept_divergence: false }).await.unwrap();
    assert!(report.writes && report.name == STANDBY);
    let during = key(&rest, "during").await;

    control.pair_heal(&PairHeal::Region(HOME.to_owned())).await.unwrap();
    status_once(&control, |status| status.ready && status.lag_revisions == Some(0)).await;
    let report =
        until("the home to take over", async || control.pair_return().await.map_err(|e| e.to_string())).await;
    assert!(report.writes && report.name == HOME);
    for made in [&before, &during] {
        unwraps(&rest, made).await;
    }
    let after = key(&rest, "after").await;
    unwraps(&rest, &after).await;
    let events: Vec<String> = control.pair_log().await.unwrap().events.into_iter().map(|e| e.event).collect();
    for expected in ["started", "fault-lose", "lost", "promote", "took-over", "heal", "return", "gave-away"] {
        assert!(events.iter().any(|event| event == expected), "{expected}: {events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_isolated_lives_and_is_reached_at_its_own_address() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair(&folder.path().join("data"));
    let (rest, control) = (pair.rest(), pair.control());
    let made = key(&rest, "made").await;
    status_once(&control, |status| status.ready && status.lag_revisions == Some(0)).await;
    let inside = Rest { base: pair.ready.regions[0].rest_url.clone(), ..rest.clone() };
    let processes = processes(&control, HOME).await;
    control.pair_fault(&PairFault::Isolate { region: HOME.to_owned() }).await.unwrap();
    // Outside, the standby answers; inside, the home does, and neither accepts changes without the lease.
    status_once(&control, |status| {
        status.state == "lost" && status.writes == "none" && status.requests_go_to.as_deref() == Some(STANDBY)
    })
    .await;
    unwraps(&rest, &made).await;
    unwraps(&inside, &made).await;
    assert_eq!(refusal(&inside).await.0, 503);
    assert!(processes.iter().all(|pid| is_alive(*pid)));

    control.pair_heal(&PairHeal::Region(HOME.to_owned())).await.unwrap();
    let status = status_once(&control, |status| status.state == "normal" && status.writes == "home").await;
    assert_eq!(status.epoch, 1);
    let again = key(&rest, "again").await;
    unwraps(&rest, &again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_links_are_cut_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair(&folder.path().join("data"));
    let (rest, control) = (pair.rest(), pair.control());
    status_once(&control, |status| status.ready).await;
    let cut = PairFault::Cut { from: HOME.to_owned(), to: STANDBY.to_owned(), one_way: true };
    let status = control.pair_fault(&cut).await.unwrap();
    assert_eq!(status.cut.len(), 1);
    assert!(!status.ready && !status.reason.is_empty());
    // The witness and the front still reach the home: it goes on.
    let made = key(&rest, "made").await;
    control.pair_heal(&PairHeal::Link(STANDBY.to_owned(), HOME.to_owned())).await.unwrap();
    status_once(&control, |status| status.ready && status.lag_revisions == Some(0)).await;
    unwraps(&rest, &made).await;
    for (from, to, part) in [(HOME, "mars", "no `mars`"), ("front", "witness", "no link")] {
        let cut = PairFault::Cut { from: from.to_owned(), to: to.to_owned(), one_way: false };
        let refused = control.pair_fault(&cut).await.unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_processes_end_with_their_pair_and_start_again_with_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut first = pair(&data);
    let made = key(&first.rest(), "made").await;
    let control = first.control();
    let mut all = processes(&control, HOME).await;
    all.extend(processes(&control, STANDBY).await);
    // A region that dies by itself is started again, at the same addresses.
    let rest = first.rest();
    let own = control.pair_status().await.unwrap().regions[0].pid.unwrap();
    crate::common::signal(own, rustix::process::Signal::KILL);
    status_once(&control, |status| status.regions[0].restarts == 1 && status.ready).await;
    unwraps(&rest, &made).await;
    all.extend(processes(&control, HOME).await);
    assert_eq!(control.advance(3600).await.unwrap().ahead_s, 3600);
    for region in [HOME, STANDBY] {
        let clock = control.clone().in_region(Some(region)).clock().await.unwrap();
        assert_eq!(clock.ahead_s, 3600);
    }
    first.kill();
    wait_for("every process to end with its pair", || all.iter().all(|pid| !is_alive(*pid)));

    // Without options, the directory is the pair that it was.
    let mut again = up(&data, &[]);
    assert_eq!(again.ready.regions.len(), 2);
    assert_eq!(again.ready.instance_id, first.ready.instance_id);
    unwraps(&again.rest(), &made).await;
    let control = again.control();
    assert_eq!(control.clone().in_region(Some(STANDBY)).clock().await.unwrap().ahead_s, 3600);
    let all = processes(&control, STANDBY).await;
    assert!(tokio::task::block_in_place(|| again.interrupt()).success());
    assert!(all.iter().all(|pid| !is_alive(*pid)), "Ctrl-C ends every process first");
}

#[test]
fn e2e_region_commands_refuse_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let refused = |arguments: &[&str]| {
        let output = program().args(arguments).arg("--data").arg(&data).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (arguments, part) in [
        (&["up", "--profile", "kp-2025", "--set", "fence=operator"][..], "without a witness"),
        (&["up", "--profile", "kp-2019", "--standby", "us-east"], "one region"),
        (&["up", "--profile", "kp-2025", "--home", "mars"], "--standby"),
        (&["up", "--profile", "kp-2025", "--set", "walls=high"], "standby.write_after"),
        (&["up", "--profile", "kp-2025", "--failover-units", "2"], "failover"),
        (&["region", "status"], "no region runs"),
    ] {
        let said = refused(arguments);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let single = Region::up(&data, &[]);
    for arguments in [
        &["region", "status"][..],
        &["fault", "lose", "region", "us-south"],
        &["status", "--region", "us-east"],
    ] {
        let said = refused(arguments);
        assert!(said.contains("single region"), "{arguments:?}: {said}");
    }
    drop(single);
    assert!(refused(&["up", "--profile", "kp-2025"]).contains("single region"));
}
