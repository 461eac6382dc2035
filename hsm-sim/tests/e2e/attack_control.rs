//! Local users and web pages that try to control a region.

use crate::common::control::{all_serve, kill, status_once};
use crate::common::{Region, program, up};
use bytes::Bytes;
use hsm_sim::control::pair_model::PairStatus;
use hsm_sim::control::{ControlClient, ControlError};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Every request of the control API.
const REQUESTS: [(&str, &str, &str); 9] = [
    ("GET", "/status", ""),
    ("GET", "/clock", ""),
    ("POST", "/clock/advance", r#"{"seconds": 86400}"#),
    ("POST", "/fault", r#"{"fault": "zeroize", "target": "all"}"#),
    ("POST", "/heal", r#""all""#),
    ("POST", "/units", "{}"),
    ("POST", "/units/1/drain", ""),
    ("POST", "/units/1/resume", ""),
    ("POST", "/units/2/remove", "{}"),
];

/// Every request of the control API of a pair that a region does not have.
const PAIR_REQUESTS: [(&str, &str, &str); 7] = [
    ("GET", "/pair/status", ""),
    ("GET", "/pair/endpoints", ""),
    ("GET", "/pair/log", ""),
    ("POST", "/pair/fault", r#"{"fault": "lose", "region": "us-south"}"#),
    ("POST", "/pair/heal", r#"{"region": "us-south"}"#),
    ("POST", "/pair/promote", r#"{"home_is_down": true}"#),
    ("POST", "/pair/return", ""),
];

/// Sends a request with these headers; the status and the error of the answer.
async fn send(base: &str, request: (&str, &str, &str), headers: &[(&str, &str)]) -> (u16, String) {
    let (method, path, body) = request;
    let mut request = hyper::Request::builder().method(method).uri(format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let http = Client::builder(TokioExecutor::new()).build_http();
    let answer = http.request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, body["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_the_control_api_obeys_no_caller_without_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let before = status_once(&region.control(), all_serve).await;
    let ready = &region.ready;
    let bearer = format!("Bearer {}", ready.control_token);
    let (of_caller, wrong) =
        (format!("Bearer {}", ready.tokens[0]), format!("Bearer {}0", ready.control_token));
    for request in REQUESTS {
        for headers in [
            &[][..],
            &[("authorization", of_caller.as_str())],
            &[("authorization", &wrong)],
            &[("authorization", &ready.control_token)],
            &[("authorization", &bearer), ("authorization", &bearer)],
        ] {
            let (status, why) = send(&ready.control_url, request, headers).await;
            assert_eq!(status, 401, "{request:?} {headers:?}");
            assert!(why.contains("ready.json"), "{why}");
        }
        let page = [("authorization", bearer.as_str()), ("origin", "http://localhost:1")];
        assert_eq!(send(&ready.control_url, request, &page).await.0, 403, "{request:?}");
    }
    let after = region.control().status().await.unwrap();
    let state = |status: &hsm_sim::control::Status| {
        let units = status.units.iter().map(|unit| (unit.unit, unit.pid, unit.state.clone()));
        (units.collect::<Vec<_>>(), status.clock.ahead_s)
    };
    assert_eq!(state(&after), state(&before));
    assert!(matches!(
        ControlClient::at(&ready.control_url, "guess").unwrap().status().await,
        Err(ControlError::Refused(_))
    ));
    // The token is new at each start, so that one that leaked is of no use later.
    let token = ready.control_token.clone();
    let data = region.data.clone();
    drop(region);
    assert_ne!(up(&data, &[]).ready.control_token, token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_the_control_api_of_a_pair_obeys_no_caller_without_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let pair = up(&folder.path().join("data"), &["--profile", "kp-2025"]);
    let before = pair.control().pair_status().await.unwrap();
    let ready = &pair.ready;
    let bearer = format!("Bearer {}", ready.control_token);
    let of_caller = format!("Bearer {}", ready.tokens[0]);
    let in_region: Vec<(&str, String, &str)> = REQUESTS
        .iter()
        .map(|(method, path, body)| (*method, format!("/regions/us-east{path}"), *body))
        .chain([("POST", "/regions/us-east/region/promote".to_owned(), r#"{"home_is_down": true}"#)])
        .collect();
    let in_region = in_region.iter().map(|(method, path, body)| (*method, path.as_str(), *body));
    for request in REQUESTS.into_iter().chain(PAIR_REQUESTS).chain(in_region) {
        for headers in [&[][..], &[("authorization", of_caller.as_str())]] {
            assert_eq!(send(&ready.control_url, request, headers).await.0, 401, "{request:?} {headers:?}");
        }
        let page = [("authorization", bearer.as_str()), ("origin", "http://localhost:1")];
        assert_eq!(send(&ready.control_url, request, &page).await.0, 403, "{request:?}");
    }
    let after = pair.control().pair_status().await.unwrap();
    let state = |status: &PairStatus| {
        let pids: Vec<_> = status.regions.iter().map(|region| (region.pid, region.isolated)).collect();
        (pids, status.cut.clone(), status.epoch, status.clock.ahead_s)
    };
    assert_eq!(state(&after), state(&before));
    // A region's own port obeys another token, which only its pair has.
    let own: hsm_sim::region::ReadyFile =
        serde_json::from_slice(&std::fs::read(ready.regions[1].data.join("ready.json")).unwrap()).unwrap();
    let request = ("GET", "/region", "");
    assert_eq!(send(&own.control_url, request, &[("authorization", bearer.as_str())]).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_page_that_rebinds_its_name_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &["--host", "kms.example"]);
    let ready = &region.ready;
    let bearer = format!("Bearer {}", ready.control_token);
    let ports = [
        (&ready.control_url, "/status"),
        (&ready.rest_url, "/livez"),
        (&ready.rest_url, "/identity/token"),
        (&ready.operator_url, "/metrics"),
        (&ready.operator_url, "/healthz"),
    ];
    for (base, path) in ports {
        let port = base.rsplit(':').next().unwrap();
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"] {
            let host = format!("{host}:{port}");
            let headers = [("host", host.as_str()), ("authorization", &bearer)];
            let (status, why) = send(base, ("GET", path, ""), &headers).await;
            assert_eq!(status, 421, "{base}{path} as {host}");
            assert!(why.contains("localhost"), "{why}");
        }
        for host in [format!("localhost:{port}"), "kms.example".to_owned()] {
            let headers = [("host", host.as_str()), ("authorization", &bearer)];
            assert_ne!(send(base, ("GET", path, ""), &headers).await.0, 421, "{base}{path} as {host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_faults_do_nothing_where_they_are_off() {
    let folder = tempfile::tempdir().unwrap();
    // Off unless asked for with a manual ceremony, and off on demand with another one.
    for (name, extra) in
        [("manual", &["--ceremony", "manual", "--faults=off"][..]), ("development", &["--faults=off"])]
    {
        let data = folder.path().join(name);
        let region = up(&data, extra);
        let control = region.control();
        let refused = |outcome: Result<(), ControlError>| {
            let Err(ControlError::Refused(why)) = outcome else { panic!("not refused: {outcome:?}") };
            assert!(why.contains("hsm-sim up --faults"), "{why}");
        };
        refused(control.fault(&kill(1)).await.map(drop));
        refused(control.advance(86_400).await.map(drop));
        let fault = program().args(["fault", "zeroize", "all", "--data"]).arg(&data).output().unwrap();
        assert_eq!(fault.status.code(), Some(1));
        let status = control.status().await.unwrap();
        assert!(status.units.iter().all(|unit| unit.pid.is_some() && unit.fault.is_none()), "{status:#?}");
        assert_eq!(status.clock.ahead_s, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_off_by_default_where_people_hold_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ready_file = folder.path().join("ready.json");
    let mut process = program()
        .args(["up", "--port", "0", "--ceremony", "manual", "--data"])
        .arg(&data)
        .arg("--ready-file")
        .arg(&ready_file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::common::wait_for("the ready file", || ready_file.exists());
    let fault = program().args(["fault", "kill", "unit", "1", "--data"]).arg(&data).output().unwrap();
    let why = String::from_utf8(fault.stderr).unwrap();
    assert!(!fault.status.success() && why.contains("hsm-sim up --faults"), "{why}");
    process.kill().unwrap();
    process.wait().unwrap();
}

/// The token of one region is not sent to another address that is named by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_find_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let status = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = program();
        change(command.args(["status", "--json"]).env_remove("HSM_SIM_CONTROL_TOKEN"));
        command.output().unwrap()
    };
    let Region { ready, data, .. } = &region;
    let (url, token) = (&ready.control_url, &ready.control_token);
    assert!(status(&|command| _ = command.arg("--data").arg(data)).status.success());
    assert!(
        status(&|command| _ = command.arg("--data").arg(data).args(["--control-url", url])).status.success()
    );
    let by_variable = status(&|command| {
        command.args(["--control-url", url]).env("HSM_SIM_CONTROL_TOKEN", token).current_dir(folder.path());
    });
    assert!(by_variable.status.success());
    let unknown = status(&|command| {
        command.args(["--control-url", "http://127.0.0.1:9"]).arg("--data").arg(data);
    });
    let why = String::from_utf8(unknown.stderr).unwrap();
    assert!(!unknown.status.success() && why.contains("HSM_SIM_CONTROL_TOKEN"), "{why}");
}
