//! The interface to customers' tools: the list of units, requests to a unit, and a region that has no master key yet.

use crate::common::control::{fault, kill, status_once};
use crate::common::tke::Tke;
use crate::common::{Rest, program, until, up, wait_for};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hsm_sim::control::{FaultKind, Status, Target, UnitStatus};
use hsm_sim::region::DevelopmentCeremony;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use tke::ceremony::{Ceremony, KeySource};
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::{AdminOperation, UnitKind};

/// The lines of the audit log.
fn audit(data: &Path) -> Vec<Value> {
    let log = std::fs::read_to_string(data.join("audit.jsonl")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Sets up a unit by the ceremony of these keys.
async fn set_up(tke: &Tke, unit: u16, keys: &DevelopmentCeremony) {
    let unit = tke.meet(unit).await;
    let mut record = ();
    let mut ceremony = Ceremony { quorum: keys.quorum(), record: &mut record };
    let goal = keys.goal(unit.listed().kind);
    ceremony.converge(&unit, &goal, &KeySource::Parts(&keys.parts())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_tke_lists_units_and_takes_nothing_else_than_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &["--recovery-units", "2", "--failover-units", "2"]);
    let tke = region.tke();
    let units = tke.list().await;
    let kinds: Vec<UnitKind> = units.iter().map(|(unit, _)| unit.kind).collect();
    use UnitKind::{Failover, Operational, Recovery};
    assert_eq!(kinds, [Operational, Operational, Recovery, Recovery, Failover, Failover]);
    let modules: BTreeSet<_> = units.iter().map(|(unit, _)| unit.unit).collect();
    let names: BTreeSet<_> = units.iter().map(|(_, name)| name).collect();
    assert_eq!((modules.len(), names.len()), (6, 6));
    let (_, listing) = tke.send("GET", "/hsms", "").await;
    assert_eq!(listing["hsms"][0]["state"], "kms-initialized", "{listing}");
    assert_eq!(listing["source_hsms"][1]["state"], "initialized", "{listing}");

    // The unit reports the same, signed by its module.
    let snapshot = tke.meet(3).await.snapshot().await.unwrap();
    assert_eq!(snapshot.instance.to_string(), region.ready.instance_id.to_string());
    assert_eq!((snapshot.attributes.signature_threshold, snapshot.administrators.len()), (2, 2));

    // A token from the token service is accepted like a static one.
    let form =
        format!("grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={}", region.ready.operator_api_key);
    let request = hyper::Request::post(format!("{}/identity/token", region.ready.iam_url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(http_body_util::Full::from(form))
        .unwrap();
    let granted = tke.http.request(request).await.unwrap().into_body();
    let granted = http_body_util::BodyExt::collect(granted).await.unwrap().to_bytes();
    let granted: Value = serde_json::from_slice(&granted).unwrap();
    let token = granted["access_token"].as_str().unwrap().to_owned();
    assert_eq!(Tke { token, ..tke.clone() }.send("GET", "/hsms", "").await.0, 200);

    region.rest().create("one").await.unwrap();
    let (status, keystore) = tke.send("GET", "/keystore", "").await;
    let current = region.control().status().await.unwrap().pattern.unwrap();
    assert_eq!(status, 200);
    let expected = serde_json::json!({ "pattern": current, "next": null, "keys": 1, "state": "ready" });
    assert_eq!(keystore, expected);

    let unit = format!("/hsms/{}", units[0].1);
    let unknown = "/hsms/00000000-0000-4000-8000-000000000000";
    let too_long = format!(r#"{{"request": "{}"}}"#, "A".repeat(200_000));
    for (method, path, body, expected) in [
        ("POST", unit.as_str(), "{", 400),
        ("POST", &unit, "", 400),
        ("POST", &unit, r#"{"request": "not base64!"}"#, 400),
        ("POST", &unit, r#"{"request": "AAAA"}"#, 400),
        ("POST", &unit, r#"{"request": "AAAA", "more": 1}"#, 400),
        ("POST", &unit, &too_long, 413),
        ("POST", unknown, r#"{"request": "AAAA"}"#, 404),
        ("POST", "/hsms/1", r#"{"request": "AAAA"}"#, 404),
        ("GET", &unit, "", 405),
        ("DELETE", "/hsms", "", 405),
    ] {
        let (status, answer) = tke.send(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert!(status == 405 || answer["error"].is_string(), "{method} {path}: {answer}");
    }
    let stranger = Tke { token: "unknown".to_owned(), ..tke.clone() };
    let elsewhere = |instance: &str| {
        let base = format!("{}/v1/tke/{instance}", region.ready.tke_url);
        Tke { base, ..tke.clone() }
    };
    let second = elsewhere(&region.ready.instance_id_2.to_string());
    let unknown = elsewhere("00000000-0000-4000-8000-000000000000");
    let rubbish = elsewhere("rubbish");
    for (method, path) in [("GET", "/hsms"), ("POST", unit.as_str()), ("GET", "/keystore")] {
        assert_eq!(stranger.send(method, path, "{}").await.0, 401, "{method} {path}");
        for other in [&second, &unknown, &rubbish] {
            assert_eq!(other.send(method, path, "{}").await.0, 404, "{method} {path} on {}", other.base);
        }
    }
    let (_, answer) = second.send("GET", "/hsms", "").await;
    assert!(answer["error"].as_str().unwrap().contains(&region.ready.instance_id.to_string()), "{answer}");

    // None of these requests reached a unit.
    assert!(audit(&region.data).is_empty(), "{:?}", audit(&region.data));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_tke_says_when_the_outcome_of_a_command_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let (tke, control) = (region.tke(), region.control());
    let units = tke.list().await;
    let request = zeroize_request(&tke).await;
    let body = format!(r#"{{"request": "{}"}}"#, BASE64_STANDARD.encode(request));

    control.fault(&kill(1)).await.unwrap();
    let (status, answer) = tke.send("POST", &format!("/hsms/{}", units[0].1), &body).await;
    assert_eq!((status, &answer["outcome"]), (502, &Value::Null), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("not carried out"), "{answer}");
    let (_, listing) = tke.send("GET", "/hsms", "").await;
    assert_eq!(listing["hsms"][0]["state"], "unreachable", "{listing}");

    // A paused unit receives the command, and may execute it later.
    control.fault(&fault(FaultKind::Pause, 2)).await.unwrap();
    let (status, answer) = tke.send("POST", &format!("/hsms/{}", units[1].1), &body).await;
    assert_eq!((status, &answer["outcome"]), (504, &"unknown".into()), "{answer}");

    let lines = audit(&region.data);
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["failure", "unknown"], "{lines:#?}");
    assert!(lines.iter().all(|line| line["action"] == "hs-crypto.tke-cryptounit.reset"), "{lines:#?}");
    assert_eq!(lines[0]["target"]["name"], units[0].0.location.to_string());
    assert_eq!(lines[0]["initiator"]["id"], "iam-ServiceId-OPERATOR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_caller_that_hangs_up_leaves_no_command_unrecorded() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &["--ceremony", "manual"]);
    let (tke, control) = (region.tke(), region.control());
    let units = tke.list().await;
    let request = zeroize_request(&tke).await;
    let body = format!(r#"{{"request": "{}"}}"#, BASE64_STANDARD.encode(request));

    // The caller closes its connection at once, and the unit answers only later.
    control.fault(&fault(FaultKind::Pause, 1)).await.unwrap();
    let url: hyper::Uri = format!("{}/hsms/{}", tke.base, units[0].1).parse().unwrap();
    let mut stream = TcpStream::connect(url.authority().unwrap().as_str()).unwrap();
    let (path, token, len) = (url.path(), &tke.token, body.len());
    let header = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {len}"
    );
    // The service asks for the body once it works on the request: a caller that is gone before that has asked for nothing.
    stream.write_all(format!("{header}\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    let mut interim = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&interim));
    stream.write_all(body.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the service answered");
    control.heal(&Target::Unit(1)).await.unwrap();

    wait_for("the audit record", || !audit(&region.data).is_empty());
    let lines = audit(&region.data);
    assert_eq!(lines[0]["action"], "hs-crypto.tke-cryptounit.reset", "{lines:#?}");
    assert_eq!((lines.len(), lines[0]["outcome"].as_str()), (1, Some("success")), "{lines:#?}");
}

/// An unsigned zeroize.
async fn zeroize_request(tke: &Tke) -> Vec<u8> {
    use unit_api::admin::{AdminBlock, AdminCommand, AdminRequest};
    let snapshot = tke.meet(1).await.snapshot().await.unwrap();
    let block = AdminBlock {
        command: AdminCommand::Zeroize.id(),
        target: snapshot.target,
        transaction_counter: snapshot.transaction_counter + 1,
        input: &[],
    };
    let (mut block_der, mut request) = ([0; 256], [0; 512]);
    let block = block.encode(&mut block_der).unwrap();
    AdminRequest { domain_index: 0, block, signatures: &[] }.encode(&mut request).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_a_manual_region_serves_once_its_units_hold_one_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &["--ceremony", "manual"]);
    let (tke, rest) = (region.tke(), region.rest());
    assert!(!data.join("ceremony").exists(), "the region has no business with keys of its administrators");

    // In imprint mode, a request for keys is refused with the reason.
    let is_new = |unit: &UnitStatus| unit.imprint_mode == Some(true) && unit.lifecycle == "reserved";
    let status = status_once(&region.control(), |status| status.units.iter().all(is_new)).await;
    assert_eq!((status.units.len(), status.state.as_str(), status.pattern), (4, "unkeyed", None));
    let (code, refused) = rest.send("GET", "/keys", "").await.unwrap();
    assert_eq!(code, 503, "{refused}");
    assert!(refused.to_string().contains("unit 1 is in imprint mode"), "{refused}");
    let stranger = Rest { token: "unknown".to_owned(), ..rest.clone() };
    assert_eq!(stranger.send("GET", "/keys", "").await.unwrap().0, 401);
    let (_, keystore) = tke.send("GET", "/keystore", "").await;
    let nothing = serde_json::json!({ "pattern": null, "next": null, "keys": 0, "state": "unkeyed" });
    assert_eq!(keystore, nothing);
    let top = Tke { base: region.ready.rest_url.clone(), ..tke.clone() };
    let (code, health) = top.send("GET", "/readyz", "").await;
    assert!(code == 503 && health["reason"].as_str().unwrap().contains("imprint mode"), "{health}");
    assert_eq!(top.send("GET", "/livez", "").await.0, 200);
    let form =
        format!("grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={}", region.ready.operator_api_key);
    assert_eq!(top.send("POST", "/identity/token", &form).await.0, 200);

    // The units have different master keys: the region waits.
    let ours = DevelopmentCeremony::open(&folder.path().join("ours")).unwrap();
    let others = DevelopmentCeremony::open(&folder.path().join("others")).unwrap();
    set_up(&tke, 1, &ours).await;
    set_up(&tke, 2, &others).await;
    let waits = async |why: &str| {
        let waits = |status: &Status| status.waiting_for.as_ref().is_some_and(|reason| reason.contains(why));
        status_once(&region.control(), waits).await;
    };
    waits("different master keys").await;

    let second = tke.meet(2).await;
    let mut record = ();
    let mut theirs = Ceremony { quorum: others.quorum(), record: &mut record };
    theirs.execute(&second, &AdminOperation::Zeroize).await.unwrap();
    waits("unit 2 is in imprint mode").await;
    set_up(&tke, 2, &ours).await;
    let first = async || {
        let created = rest.create("first").await;
        assert!(created.as_ref().err().is_none_or(|e| e.starts_with("503")), "{created:?}");
        created
    };
    let key = until("a first key", first).await;
    assert_eq!(top.send("GET", "/readyz", "").await.0, 200);
    set_up(&tke, 3, &ours).await;
    let lives = ["kms-initialized", "kms-initialized", "initialized", "reserved"];
    let all_told =
        |status: &Status| status.units.iter().map(|unit| unit.lifecycle.as_str()).eq(lives.iter().copied());
    let status = status_once(&region.control(), all_told).await;
    assert_eq!(status.pattern, Some(ours.pattern().to_string()));
    assert_eq!((status.units[0].administrators, status.units[0].signature_threshold), (Some(2), Some(2)));

    // Every command is in the audit log, and no secret.
    let lines = audit(&data);
    let done = |action: &str, unit: usize| {
        let location = &status.units[unit].location;
        let of = |line: &&Value| line["action"] == action && line["target"]["name"] == location.as_str();
        lines.iter().filter(of).filter(|line| line["outcome"] == "success").cloned().collect::<Vec<_>>()
    };
    assert_eq!(done("hs-crypto.tke-cryptounit-admin.add", 0).len(), 2);
    assert_eq!(done("hs-crypto.tke-cryptounit-threshold.set", 0)[0]["requestData"]["signatureThreshold"], 2);
    assert_eq!(done("hs-crypto.tke-cryptounit.reset", 1).len(), 1);
    for (action, data) in [("add", "responseData"), ("commit", "requestData"), ("activate", "requestData")] {
        let lines = done(&format!("hs-crypto.tke-cryptounit-master-key-register.{action}"), 0);
        assert_eq!(lines[0][data]["verificationPattern"], ours.pattern().to_string(), "{action}");
    }
    let log = std::fs::read_to_string(data.join("audit.jsonl")).unwrap();
    for secret in
        ["ours", "others"].iter().flat_map(|name| std::fs::read_dir(folder.path().join(name)).unwrap())
    {
        let secret = std::fs::read_to_string(secret.unwrap().path()).unwrap();
        assert!(!log.contains(&secret));
    }

    // The next start needs no operator, and a start with another ceremony is refused.
    let ciphertext = rest.wrap(&key, "YQ==").await.unwrap();
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let other =
        program().args(["up", "--port", "0", "--ceremony", "development", "--data"]).arg(&data).output();
    let other = other.unwrap();
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(!other.status.success() && said.contains("manual ceremony"), "{said}");
    let region = up(&data, &["--faults"]);
    assert_eq!(region.rest().unwrap(&key, &ciphertext).await.as_deref(), Ok("YQ=="));

    // A zeroized unit stays zeroized until its administrators set it up.
    region.control().fault(&fault(FaultKind::Zeroize, 1)).await.unwrap();
    region.control().heal(&Target::Unit(1)).await.unwrap();
    status_once(&region.control(), |status| status.units[0].lifecycle == "reserved").await;
    set_up(&region.tke(), 1, &ours).await;
    status_once(&region.control(), |status| status.units[0].serves()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_units_that_cannot_use_their_state_get_their_master_key_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &[]);
    let key = region.rest().create("kept").await.unwrap();
    let ciphertext = region.rest().wrap(&key, "YQ==").await.unwrap();
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    for unit in ["1", "2"] {
        // A device file of an early version, and a state that this version cannot read.
        let folder = data.join("units").join(unit);
        let device = std::fs::read(folder.join("device")).unwrap();
        std::fs::write(folder.join("device"), &device[10..58]).unwrap();
        for slot in ["slot-a", "slot-b"] {
            std::fs::write(folder.join(slot), b"hsm-unit of another age").unwrap();
        }
    }
    // The region's file and the ceremony folder of an early version.
    for key in ["signature-key-1.hex", "signature-key-2.hex"] {
        std::fs::remove_file(data.join("ceremony").join(key)).unwrap();
    }
    std::fs::remove_dir_all(data.join("factory")).unwrap();
    let region = up(&data, &[]);
    assert_eq!(region.rest().unwrap(&key, &ciphertext).await.as_deref(), Ok("YQ=="));
    let all_serve = |status: &Status| status.units.iter().all(|unit| unit.lifecycle == "kms-initialized");
    status_once(&region.control(), all_serve).await;
}

/// Sends an action of a rotation, and waits until the next step is `next`.
async fn rotate(tke: &Tke, action: Value, next: &str) -> Value {
    let (status, shown) = tke.send("POST", "/rotation", &action.to_string()).await;
    assert_eq!(status, 200, "{action}: {shown}");
    let arrived = async || {
        let (status, shown) = tke.send("GET", "/rotation", "").await;
        if status == 200 && shown["next"] == next { Ok(shown) } else { Err(format!("{status} {shown}")) }
    };
    until(&format!("{next} after {action}"), arrived).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2e_the_master_key_is_rotated_while_keys_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut region = up(&data, &[]);
    let (tke, rest) = (region.tke(), region.rest());
    let ours = DevelopmentCeremony::open(&data.join("ceremony")).unwrap();
    let fresh = DevelopmentCeremony::open(&folder.path().join("fresh")).unwrap();
    let (old, new) = (ours.pattern(), fresh.pattern());
    let key = rest.create("old").await.unwrap();
    let ciphertext = rest.wrap(&key, "YQ==").await.unwrap();

    let (_, shown) = tke.send("GET", "/rotation", "").await;
    assert_eq!((&shown["id"], &shown["next"]), (&Value::Null, &"nothing".into()), "{shown}");
    let begin = serde_json::json!({ "action": "begin", "pattern": new.to_string() });
    let (status, refused) = tke.send("POST", "/rotation", &begin.to_string()).await;
    assert_eq!(status, 409, "{refused}");
    assert_eq!(tke.send("POST", "/rotation", r#"{"action": "dance"}"#).await.0, 400);

    let mut record = ();
    let mut ceremony = Ceremony { quorum: ours.quorum(), record: &mut record };
    for number in [1, 2] {
        let unit = tke.meet(number).await;
        let goal =
            UnitGoal { master_key: MasterKeyGoal::Rotating { old, new }, ..ours.goal(UnitKind::Operational) };
        ceremony.converge(&unit, &goal, &KeySource::Parts(&fresh.parts())).await.unwrap();
    }
    let (_, shown) = tke.send("GET", "/rotation", "").await;
    assert_eq!(shown["next"], "begin", "{shown}");
    let shown = rotate(&tke, begin, "begin-activation").await;
    assert_eq!((&shown["old"], &shown["new"]), (&old.to_string().into(), &new.to_string().into()));
    let (_, keystore) = tke.send("GET", "/keystore", "").await;
    assert_eq!((&keystore["next"], &keystore["state"]), (&new.to_string().into(), &"rotating".into()));
    // Created during the rotation, it must survive the removal of the old master key, too.
    let between = rest.create("between").await.unwrap();

    // The program ends during the rotation; the next start needs no extra argument to continue it.
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let mut region = up(&data, &[]);
    let (tke, rest) = (region.tke(), region.rest());
    rotate(&tke, serde_json::json!({ "action": "activate" }), "activate").await;
    for number in [1, 2] {
        ceremony.execute(&tke.meet(number).await, &AdminOperation::Activate(new)).await.unwrap();
        assert_eq!(rest.unwrap(&key, &ciphertext).await.as_deref(), Ok("YQ=="), "unit {number} has gone on");
        rest.wrap(&between, "YQ==").await.unwrap();
    }
    rotate(&tke, serde_json::json!({ "action": "finish" }), "nothing").await;
    let (_, keystore) = tke.send("GET", "/keystore", "").await;
    assert_eq!((&keystore["pattern"], &keystore["next"]), (&new.to_string().into(), &Value::Null));
    assert_eq!(rest.unwrap(&key, &ciphertext).await.as_deref(), Ok("YQ=="));

    // The parts in the folder are not those of the keystore's master key any more: no unit is changed.
    assert!(tokio::task::block_in_place(|| region.interrupt()).success());
    let region = up(&data, &[]);
    assert_eq!(region.rest().unwrap(&key, &ciphertext).await.as_deref(), Ok("YQ=="));
    region.rest().wrap(&between, "YQ==").await.unwrap();
    region.control().fault(&fault(FaultKind::Zeroize, 2)).await.unwrap();
    let refused = region.control().heal(&Target::Unit(2)).await.unwrap_err().to_string();
    assert!(refused.contains(&new.to_string()), "{refused}");
}
