//! Responses to each request during a rotation of the master key, in both profiles.

use crate::common::{ALICE, Bench, INSTANCE, OTHER_INSTANCE, base64, enveloped};
use axum::http::{Method, StatusCode};
use kms::rotation::RegionRotation;
use kms::{Call, RotationProfile, Timers};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

struct Keys {
    root: String,
    standard: String,
    ciphertext: String,
    /// Keys to delete, one in each state of the rotation.
    spare: Vec<String>,
}

async fn keys(bench: &Bench) -> Keys {
    let root = bench.create_root().await;
    let wrapped = bench.act(&root, "wrap", &json!({"plaintext": base64(&[7; 32])})).await;
    let standard = bench.create(json!({"name": "standard", "extractable": true})).await;
    let mut spare = Vec::new();
    for _ in 0..5 {
        spare.push(bench.create_root().await);
    }
    Keys { root, standard, ciphertext: wrapped["ciphertext"].as_str().unwrap().to_owned(), spare }
}

/// Sends one request of each kind. `held_up`: whether requests that need a unit are expected to be refused.
async fn matrix(bench: &Bench, keys: &mut Keys, held_up: bool, when: &str) {
    let Keys { root, standard, ciphertext, spare } = keys;
    let gone = spare.pop().unwrap();
    let new = enveloped(json!({"name": "new", "extractable": false})).to_string();
    let plaintext = json!({"plaintext": base64(&[7; 32])}).to_string();
    let ciphertext = json!({"ciphertext": ciphertext}).to_string();
    let requests = [
        (Method::GET, "/keys".to_owned(), "", 200, false),
        (Method::HEAD, "/keys".to_owned(), "", 200, false),
        (Method::GET, format!("/keys/{root}/metadata"), "", 200, false),
        (Method::GET, format!("/keys/{root}"), "", 200, false),
        (Method::GET, format!("/keys/{root}/versions"), "", 200, false),
        (Method::DELETE, format!("/keys/{gone}"), "", 204, false),
        (Method::POST, "/keys".to_owned(), &*new, 201, true),
        (Method::POST, format!("/keys/{root}/actions/rotate"), "", 204, true),
        (Method::POST, format!("/keys/{root}/actions/wrap"), &*plaintext, 200, true),
        (Method::POST, format!("/keys/{root}/actions/unwrap"), &*ciphertext, 200, true),
        (Method::POST, format!("/keys/{root}/actions/rewrap"), &*ciphertext, 200, true),
        (Method::GET, format!("/keys/{standard}"), "", 200, true),
    ];
    for (method, path, body, good, needs_unit) in requests {
        let call = bench.call(method.clone(), &format!("/api/v2{path}"));
        let answer = if body.is_empty() { call.send().await } else { call.body(body).send().await };
        let expected = if held_up && needs_unit { 409 } else { good };
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, StatusCode::from_u16(expected).unwrap(), "{when}: {method} {path}: {text}");
        if expected == 409 {
            assert_eq!(answer.code(), "CONFLICT_ERR", "{when}: {method} {path}: {text}");
            assert!(text.contains("master key is being rotated"), "{text}");
        }
    }
}

#[tokio::test]
async fn each_request_in_each_phase_and_profile() {
    for profile in [RotationProfile::Online, RotationProfile::Strict] {
        let bench = Bench::with_profile(Timers::UNGUARDED, PATIENCE, profile).await;
        let strict = profile == RotationProfile::Strict;
        let mut keys = keys(&bench).await;
        let call = Call { instance: INSTANCE, caller: ALICE, deadline: PATIENCE, changed_at: None };
        let instances = [INSTANCE, OTHER_INSTANCE];
        let rotation = RegionRotation::new(&bench.kms, &instances, call);
        let new = bench.units.prepare_next();
        rotation.begin(new).await.unwrap();
        matrix(&bench, &mut keys, strict, "re-enciphering").await;
        rotation.run(|_, _| ()).await.unwrap();
        matrix(&bench, &mut keys, strict, "re-enciphered").await;
        rotation.begin_activation().await.unwrap();
        bench.units.activate(new);
        matrix(&bench, &mut keys, strict, "activated").await;
        rotation.finish(&bench.units.states()).await.unwrap();
        matrix(&bench, &mut keys, false, "finishing").await;
        rotation.run(|_, _| ()).await.unwrap();
        matrix(&bench, &mut keys, false, "done").await;
    }
}
