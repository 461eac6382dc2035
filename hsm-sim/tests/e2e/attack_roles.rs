//! Holders of an application's credential who try to administer, and an operator's who try to use keys.

use crate::common::tke::Tke;
use crate::common::{Region, Rest, program, up};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use std::path::Path;

/// An access token of the token service for an API key.
async fn access_token(region: &Region, api_key: &str) -> String {
    let form = format!("grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={api_key}");
    let request = hyper::Request::post(format!("{}/identity/token", region.ready.iam_url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))
        .unwrap();
    let granted = region.rest().http.request(request).await.unwrap().into_body();
    let granted: Value = serde_json::from_slice(&granted.collect().await.unwrap().to_bytes()).unwrap();
    granted["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_an_application_administers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let operator = region.tke();
    let unit = operator.list().await[0].1.clone();
    let requests = [
        ("GET", "/hsms".to_owned(), ""),
        ("POST", format!("/hsms/{unit}"), r#"{"request": "AAAA"}"#),
        ("GET", "/keystore".to_owned(), ""),
        ("GET", "/rotation".to_owned(), ""),
        ("POST", "/rotation".to_owned(), r#"{"action": "cancel"}"#),
        ("DELETE", String::new(), ""),
        ("DELETE", "?destroy_keys=true".to_owned(), ""),
    ];
    let ready = &region.ready;
    let keys = [&ready.api_key, &ready.api_key_2];
    let mut tokens = ready.tokens.clone();
    for key in keys {
        tokens.push(access_token(&region, key).await);
    }
    for instance in [ready.instance_id, ready.instance_id_2] {
        let base = format!("{}/v1/tke/{instance}", ready.tke_url);
        for token in &tokens {
            let application = Tke { token: token.clone(), base: base.clone(), ..operator.clone() };
            for (method, path, body) in &requests {
                let (status, answer) = application.send(method, path, body).await;
                assert_eq!(status, 403, "{method} {path}: {answer}");
                assert!(answer["error"].as_str().unwrap().contains("operator_token"), "{answer}");
            }
        }
    }
    // An API key is no bearer token.
    let raw = Tke { token: ready.operator_api_key.clone(), ..operator.clone() };
    assert_eq!(raw.send("GET", "/hsms", "").await.0, 401);
    // Nothing happened, and the operator may.
    region.rest().create("still there").await.unwrap();
    let exchanged = Tke { token: access_token(&region, &ready.operator_api_key).await, ..operator.clone() };
    for operator in [operator, exchanged] {
        assert_eq!(operator.send("GET", "/hsms", "").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_an_application_or_operator_reaches_no_keys_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let region = up(&folder.path().join("data"), &[]);
    let ready = &region.ready;
    let rest = region.rest();
    let key = rest.create("root").await.unwrap();
    let one = access_token(&region, &ready.api_key).await;
    let two = access_token(&region, &ready.api_key_2).await;
    let operator = access_token(&region, &ready.operator_api_key).await;
    let (first, second) = (ready.instance_id.to_string(), ready.instance_id_2.to_string());
    let as_caller = |token: &str, instance: &str| Rest {
        token: token.to_owned(),
        instance: instance.to_owned(),
        ..rest.clone()
    };
    for (token, instance, expected) in [
        (&one, &first, 200),
        (&two, &second, 200),
        (&one, &second, 401),
        (&two, &first, 401),
        (&operator, &first, 401),
        (&operator, &second, 401),
        (&ready.operator_token, &first, 401),
        (&ready.tokens[0], &second, 200),
        (&ready.tokens[1], &first, 200),
    ] {
        let (status, answer) = as_caller(token, instance).send("GET", "/keys", "").await.unwrap();
        assert_eq!(status, expected, "{answer}");
        let body = r#"{"plaintext": "AAAA"}"#;
        let path = format!("/keys/{key}/actions/wrap");
        let (status, answer) = as_caller(token, instance).send("POST", &path, body).await.unwrap();
        let wraps = expected == 200 && *instance == first;
        assert_eq!(status == 200, wraps, "{answer}");
    }
}

/// What `up` prints on `data`, from its start to its end.
fn printed(data: &Path, extra: &[&str]) -> (String, Region) {
    let path = data.with_extension("out");
    let out = std::fs::File::create(&path).unwrap();
    let region = Region::up_printing_to(out, std::process::Stdio::null(), data, extra);
    crate::common::wait_for("the greeting", || {
        std::fs::read_to_string(&path).unwrap().contains("Ctrl-C stops the region")
    });
    (std::fs::read_to_string(&path).unwrap(), region)
}

#[test]
fn attack_credentials_are_printed_only_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (extra, shown) in [(&[][..], false), (&["--show-credentials"], true)] {
        let (text, region) = printed(&data, extra);
        let ready = &region.ready;
        for secret in [&ready.api_key, &ready.tokens[0], &ready.operator_token] {
            assert_eq!(text.contains(secret.as_str()), shown, "{text}");
        }
        for secret in [&ready.api_key_2, &ready.tokens[1], &ready.operator_api_key, &ready.control_token] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
        // Without them, the lines read them from the file, which is the user's alone.
        assert!(shown || text.contains("jq -r '.operator_token'"), "{text}");
        assert!(text.contains("ready.json"), "{text}");
    }
}

/// The commands use the operator's credential, the demo and clients an application's.
#[test]
fn commands_find_the_right_credential() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let region = Region::up(&data, &[]);
    let listed = program()
        .args(["tke", "cryptounits", "--data"])
        .arg(&region.data)
        .env("CLOUDTKEFILES", folder.path().join("files"))
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let application = program()
        .args(["tke", "cryptounits", "--url", &region.ready.tke_url, "--instance"])
        .arg(region.ready.instance_id.to_string())
        .env("TKE_TOKEN", &region.ready.tokens[0])
        .env("CLOUDTKEFILES", folder.path().join("files"))
        .output()
        .unwrap();
    let why = String::from_utf8(application.stderr).unwrap();
    assert!(!application.status.success() && why.contains("operator_token"), "{why}");
}
