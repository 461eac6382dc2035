//! What the services promised about the loss of a region, each with the built program and real clients.

use crate::common::{Region, Rest, program, skip, until, up};
use crate::regions::{FAST, HOME, PLAINTEXT, STANDBY, key, lose, status_once, unwraps};
use hsm_sim::control::ControlClient;
use hsm_sim::control::pair_model::{PairFault, PairHeal, PromoteRequest};
use http_body_util::Full;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// IBM's client in a process of its own, which does one step after the other.
struct PythonClient {
    process: Child,
    steps: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl PythonClient {
    fn start(python: OsString, pair: &Region) -> Self {
        let session = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/region_session.py");
        let mut process = Command::new(python)
            .arg(session)
            .arg(pair.data.with_extension("ready.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (steps, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, steps, answers: BufReader::new(answers) }
    }

    fn does(&mut self, step: &str) {
        writeln!(self.steps, "{step}").unwrap();
        let mut answer = String::new();
        tokio::task::block_in_place(|| self.answers.read_line(&mut answer)).unwrap();
        assert!(answer.starts_with("ok"), "{step}: {answer:?}; see the client's output above");
    }
}

impl Drop for PythonClient {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn pair_with(data: &std::path::Path, switches: &[&str]) -> Region {
    let sets = switches.iter().flat_map(|switch| ["--set", switch]);
    up(data, &FAST.into_iter().chain(sets).collect::<Vec<_>>())
}

async fn in_step(control: &ControlClient) {
    status_once(control, |status| status.ready && status.lag_revisions == Some(0)).await;
}

/// Loses the home, and has the standby accept changes on an operator's word.
async fn lose_and_promote(control: &ControlClient) {
    control.pair_fault(&lose(HOME)).await.unwrap();
    let promote = PromoteRequest { home_is_down: true, accept_divergence: false };
    let report = until("the standby to take over", async || {
        control.pair_promote(&promote).await.map_err(|e| e.to_string())
    })
    .await;
    assert!(report.writes);
}

/// `HSM_SIM_PYTHON` is an interpreter that has `keyprotect` 3.x; `cargo xtask test` sets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_python_client_keeps_one_address_through_loss_timer_and_return() {
    let Some(python) = std::env::var_os("HSM_SIM_PYTHON") else {
        skip::record(
            "e2e_region_python_client_keeps_one_address_through_loss_timer_and_return",
            "HSM_SIM_PYTHON names no interpreter with IBM's client; `cargo xtask test` installs one",
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_with(&folder.path().join("data"), &["standby.write_enable=timer"]);
    let control = pair.control();
    let mut client = PythonClient::start(python, &pair);
    client.does("create before");
    client.does("use");
    in_step(&control).await;
    let endpoints = control.pair_endpoints().await.unwrap();

    // No command between the loss and the answers.
    control.pair_fault(&lose(HOME)).await.unwrap();
    client.does("use");
    let status = status_once(&control, |status| status.state == "lost").await;
    client.does("refused");
    // The public address is the same; a private one is another region's, and is shown.
    let moved = control.pair_endpoints().await.unwrap();
    assert_eq!(moved.public, endpoints.public);
    assert_ne!(moved.private, endpoints.private);
    assert!(!moved.private_is_automatic);

    // A minute short of six hours since the loss, and then past them.
    let enabled_at: jiff::Timestamp = status.write_enable_at.unwrap().parse().unwrap();
    let now = async || control.clock().await.unwrap().now.parse::<jiff::Timestamp>().unwrap();
    let left = enabled_at.as_second() - now().await.as_second();
    assert!(left > 5 * 3600 && left <= 6 * 3600, "{left}");
    control.advance(u64::try_from(left).unwrap() - 60).await.unwrap();
    client.does("refused");
    if now().await < enabled_at {
        assert_eq!(control.pair_status().await.unwrap().writes, "none");
    }
    control.advance(61).await.unwrap();
    status_once(&control, |status| status.writes == "standby").await;
    client.does("create during");
    client.does("use");

    control.pair_heal(&PairHeal::Region(HOME.to_owned())).await.unwrap();
    in_step(&control).await;
    until("the home to take over", async || control.pair_return().await.map_err(|e| e.to_string())).await;
    client.does("use");
    client.does("create after");
    // Replication has resumed: a second loss finds everything.
    in_step(&control).await;
    control.pair_fault(&lose(HOME)).await.unwrap();
    client.does("use");
    client.does("refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_a_deletion_is_in_both_and_is_undone_for_thirty_days() {
    const DAY: u64 = 24 * 3600;
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_with(&folder.path().join("data"), &[]);
    let (rest, control) = (pair.rest(), pair.control());
    let restored = key(&rest, "restored").await;
    let forgotten = key(&rest, "forgotten").await;
    for (id, _) in [&restored, &forgotten] {
        let (code, answer) = rest.send("DELETE", &format!("/keys/{id}"), "").await.unwrap();
        assert_eq!(code, 200, "{answer}");
    }
    in_step(&control).await;
    control.pair_fault(&lose(HOME)).await.unwrap();
    // Deleted there, too.
    let refused = async |(id, ciphertext): &(String, String)| {
        until("an answer of the standby", async || match rest.unwrap(id, ciphertext).await {
            Err(answer) if answer.starts_with("409") || answer.starts_with("410") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    refused(&restored).await;
    refused(&forgotten).await;
    let promote = PromoteRequest { home_is_down: true, accept_divergence: false };
    until("the standby to take over", async || {
        control.pair_promote(&promote).await.map_err(|e| e.to_string())
    })
    .await;
    control.advance(29 * DAY).await.unwrap();
    let restore = async |id: &str| {
        until("an answer", async || rest.send("POST", &format!("/keys/{id}/restore"), "").await).await
    };
    let (code, answer) = restore(&restored.0).await;
    assert_eq!(code, 201, "{answer}");
    unwraps(&rest, &restored).await;
    control.advance(2 * DAY).await.unwrap();
    let (code, answer) = restore(&forgotten.0).await;
    assert!(code == 400 && answer.to_string().contains("KEY_RESTORE_EXPIRED"), "{code} {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_standby_is_apart_and_says_when_it_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_with(&folder.path().join("data"), &["endpoint.private_failover=automatic"]);
    let (rest, control) = (pair.rest(), pair.control());
    let made = key(&rest, "made").await;
    in_step(&control).await;
    let endpoints = control.pair_endpoints().await.unwrap();
    assert!(endpoints.private_is_automatic && endpoints.private == endpoints.public);

    let ready = || {
        let output = tokio::task::block_in_place(|| {
            program().args(["region", "ready", "--data"]).arg(&pair.data).output().unwrap()
        });
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = ready();
    assert!(code == 0 && said.starts_with("ready: us-east would serve requests\n"), "{code} {said}");

    // Its units are its own: the home does not notice that they are gone.
    let standby = control.clone().in_region(Some(STANDBY));
    for unit in standby.status().await.unwrap().units {
        let fault = crate::common::control::kill(unit.unit);
        standby.fault(&fault).await.unwrap();
    }
    let status = status_once(&control, |status| !status.ready).await;
    assert!(status.reason.contains(STANDBY), "{}", status.reason);
    let (code, said) = ready();
    assert!(code == 1 && said.starts_with("not ready: ") && said.contains(STANDBY), "{code} {said}");
    let during = key(&rest, "during").await;
    unwraps(&rest, &made).await;
    // It does not take over what it could not serve.
    let promote = PromoteRequest { home_is_down: false, accept_divergence: false };
    let refused = control.pair_promote(&promote).await.unwrap_err().to_string();
    assert!(refused.contains("load it first"), "{refused}");
    standby.heal(&hsm_sim::control::Target::All).await.unwrap();
    in_step(&control).await;
    lose_and_promote(&control).await;
    unwraps(&rest, &during).await;
}

/// Creates a key and returns the revision that the answer names.
async fn create_and_get_revision(rest: &Rest) -> String {
    let body = r#"{"metadata":{"collectionType":"application/vnd.ibm.kms.key+json","collectionTotal":1},
        "resources":[{"type":"application/vnd.ibm.kms.key+json","name":"followed","extractable":false}]}"#;
    let request = hyper::Request::builder()
        .method("POST")
        .uri(format!("{}/api/v2/keys", rest.base))
        .header("authorization", format!("Bearer {}", rest.token))
        .header("bluemix-instance", &rest.instance)
        .body(Full::new(body.into()))
        .unwrap();
    let answer = rest.http.request(request).await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.headers()["hsm-revision"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_a_change_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let pair = pair_with(&data, &[]);
    let (rest, control) = (pair.rest(), pair.control());
    key(&rest, "first").await;
    in_step(&control).await;
    let waits = |revision: &str, timeout: &str| {
        let arguments = ["region", "wait-replicated", revision, "--timeout", timeout, "--json", "--data"];
        let output = tokio::task::block_in_place(|| program().args(arguments).arg(&data).output().unwrap());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    };
    let revision = create_and_get_revision(&rest).await;
    let (code, said) = waits(&revision, "60s");
    assert!(code == 0 && said.contains(r#""replicated": true"#), "{code} {said}");

    let cut = PairFault::Cut { from: HOME.to_owned(), to: STANDBY.to_owned(), one_way: false };
    control.pair_fault(&cut).await.unwrap();
    let revision = create_and_get_revision(&rest).await;
    let (code, said) = waits(&revision, "50ms");
    assert!(code == 1 && said.contains("the other region does not have it yet"), "{code} {said}");
    control.pair_heal(&PairHeal::Link(HOME.to_owned(), STANDBY.to_owned())).await.unwrap();
    let (code, said) = waits(&revision, "60s");
    assert_eq!(code, 0, "{said}");
    let (code, said) = waits("seven", "1s");
    assert!(code == 1 && said.contains("is not a revision"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_region_nothing_acknowledged_is_lost_if_the_standby_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_with(&folder.path().join("data"), &["replication.acknowledge=standby"]);
    let (rest, control) = (pair.rest(), pair.control());
    key(&rest, "first").await;
    in_step(&control).await;
    let mut made = Vec::new();
    for number in 0..20 {
        let id = rest.create(&format!("key {number}")).await.unwrap();
        made.push((id.clone(), rest.wrap(&id, PLAINTEXT).await.unwrap()));
    }
    let disabled = made.pop().unwrap();
    let path = format!("/keys/{}/actions/disable", disabled.0);
    assert_eq!(rest.send("POST", &path, "").await.unwrap().0, 204);
    // At once, without a look at the lag.
    lose_and_promote(&control).await;
    for key in &made {
        unwraps(&rest, key).await;
    }
    let refused = rest.unwrap(&disabled.0, &disabled.1).await.unwrap_err();
    assert!(refused.starts_with("409"), "{refused}");

    // Without its standby, the home refuses changes and serves uses.
    control.pair_heal(&PairHeal::Region(HOME.to_owned())).await.unwrap();
    in_step(&control).await;
    until("the home to take over", async || control.pair_return().await.map_err(|e| e.to_string())).await;
    in_step(&control).await;
    control.pair_fault(&lose(STANDBY)).await.unwrap();
    until("a refusal", async || match rest.create("refused").await {
        Err(answer) if answer.contains("it is not connected") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    unwraps(&rest, &made[0]).await;
}
