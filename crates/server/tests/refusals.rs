//! Every supported refusal: status, reason code and message.

use crate::common::{API_KEY, Answer, Bench, INSTANCE, TOKEN, base64, enveloped};
use axum::http::{Method, StatusCode};
use keystore::StoreError;
use kms::{NoEligibleUnit, Timers, UnitsError};
use proptest::prelude::*;
use serde_json::{Value, json};
use server::ServeLimits;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Checks that the response is an error with this status and reason code, in a complete envelope.
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{body}");
    assert_eq!(answer.header("content-type"), "application/vnd.ibm.kms.error+json");
    assert_eq!(answer.json()["metadata"]["collectionTotal"], 1);
    let error = answer.resource();
    assert!(error["errorMsg"].as_str().unwrap().ends_with(&format!("({code})")), "{body}");
    let reason = &error["reasons"][0];
    assert_eq!((&reason["status"], reason["moreInfo"].is_string()), (&json!(status), true));
    assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
}

fn message(answer: &Answer) -> String {
    answer.resource()["reasons"][0]["message"].as_str().unwrap().to_owned()
}

fn target(answer: &Answer) -> Value {
    answer.resource()["reasons"][0]["target"].clone()
}

#[tokio::test]
async fn no_token_no_answer() {
    let bench = Bench::new().await;
    for token in ["", "Bearer wrong", "Basic x", "Bearer a.b.c", "Bearer"] {
        for path in ["/keys", "/keys/x", "/key_rings", "/import_token"] {
            let answer =
                bench.get(path).with("authorization", token).with("bluemix-instance", "").send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token} {path}");
            assert!(!answer.header("www-authenticate").is_empty());
            let error = answer.resource();
            let words = "Unauthorized: The user does not have access to the specified resource";
            assert_eq!(error, json!({"errorMsg": words}));
        }
    }
}

#[tokio::test]
async fn an_expired_token_is_none() {
    let bench = Bench::with(Timers::STANDARD, Duration::ZERO).await;
    let form = format!("grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={API_KEY}");
    let granted = bench.call(Method::POST, "/identity/token").body(form).send().await.json();
    let token = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    assert_eq!(
        bench.get("/keys").with("authorization", &token).send().await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_instance_header_is_checked_before_anything_else() {
    let bench = Bench::new().await;
    for instance in ["", "nonsense", "aaaa0000000040008000000000000001"] {
        let answer = bench.get("/keys?limit=x").with("bluemix-instance", instance).send().await;
        let words = "Bad Request: Request requires valid Bluemix-Instance Header containing a valid UUID";
        assert_eq!((answer.status, answer.resource()), (StatusCode::BAD_REQUEST, json!({"errorMsg": words})));
    }
    let unknown = "bbbb0000-0000-4000-8000-000000000001";
    let answer = bench.get("/keys?limit=x").with("bluemix-instance", unknown).send().await;
    assert_refused(&answer, 404, "INSTANCE_NOT_FOUND_ERR");
}

#[tokio::test]
async fn bad_bodies_of_a_create() {
    let bench = Bench::new().await;
    let root =
        |len: usize| enveloped(json!({"name": "ab", "extractable": false, "payload": base64(&vec![1; len])}));
    for (body, code, field) in [
        (String::new(), "BAD_BODY_ERR", ""),
        ("null".to_owned(), "BAD_BODY_ERR", ""),
        ("{} trailing".to_owned(), "BAD_BODY_ERR", ""),
        (enveloped(json!({"name": "ab", "x": 1})).to_string(), "BAD_BODY_ERR", ""),
        (enveloped(json!({"name": "ab", "payload": ""})).to_string(), "BAD_BODY_ERR", "payload"),
        (enveloped(json!({"name": "ab", "payload": "AAAA"})).to_string(), "BAD_BODY_ERR", "payload"),
        (
            r#"{"metadata":{"collectionTotal":3},"resources":[{"name":"ab"}]}"#.to_owned(),
            "COLLECTION_TOTAL_MISMATCH_ERR",
            "",
        ),
        (
            r#"{"metadata":{"collectionTotal":0},"resources":[]}"#.to_owned(),
            "NUM_COLLECTION_RESOURCE_ERR",
            "",
        ),
        (root(13).to_string(), "INVALID_FIELD_ERR", "payload"),
        (root(31).to_string(), "INVALID_FIELD_ERR", "payload"),
        (root(33).to_string(), "INVALID_FIELD_ERR", "payload"),
        (
            enveloped(json!({"name": "ab", "payload": base64(&[1; 7501])})).to_string(),
            "INVALID_FIELD_ERR",
            "payload",
        ),
        (enveloped(json!({"name": "a"})).to_string(), "INVALID_FIELD_ERR", "name"),
        (enveloped(json!({})).to_string(), "INVALID_FIELD_ERR", "name"),
        (
            enveloped(json!({"name": "ab", "description": "d"})).to_string(),
            "INVALID_FIELD_ERR",
            "description",
        ),
        (
            enveloped(json!({"name": "ab", "aliases": ["bad alias"]})).to_string(),
            "INVALID_FIELD_ERR",
            "aliases",
        ),
        (enveloped(json!({"name": "ab", "tags": ["a|b"]})).to_string(), "INVALID_FIELD_ERR", "tags"),
        (
            enveloped(json!({"name": "ab", "expirationDate": "2020-01-01T00:00:00Z"})).to_string(),
            "INVALID_FIELD_ERR",
            "expirationDate",
        ),
    ] {
        let answer = bench.post("/keys").body(body.clone()).send().await;
        assert_refused(&answer, 400, code);
        let expected = if field.is_empty() { Value::Null } else { json!({"type": "field", "name": field}) };
        assert_eq!(target(&answer), expected, "{body}");
    }
    let answer = bench.post("/keys").json(&enveloped(json!({"name": "ab", "x": 1}))).send().await;
    assert_eq!(message(&answer), "json: unknown field \"x\"");
    let answer = bench.post("/keys").json(&enveloped(json!({"name": "a"}))).send().await;
    assert_eq!(message(&answer), "The field `name` must be: 2-90 characters long");
    let long = bench.post("/keys").body(vec![b' '; wire::rest::MAX_BODY_LEN + 1]).send().await;
    assert_refused(&long, 413, "BODY_TOO_LARGE_ERR");
    let token = json!({"name": "ab", "payload": "AQ==", "encryptedNonce": "AQ==", "iv": "AQ=="});
    assert_refused(&bench.post("/keys").json(&enveloped(token)).send().await, 501, "NOT_OFFERED_ERR");
}

#[tokio::test]
async fn bad_queries() {
    let bench = Bench::new().await;
    for (query, name) in
        [("limit=5001", "limit"), ("offset=x", "offset"), ("state=4", "state"), ("sort=x", "sort")]
    {
        let answer = bench.get(&format!("/keys?{query}")).send().await;
        assert_refused(&answer, 400, "INVALID_QUERY_PARAM_ERR");
        assert_eq!(target(&answer), json!({"type": "query_param", "name": name}));
    }
    assert_refused(&bench.get("/keys?search=x").send().await, 501, "NOT_OFFERED_ERR");
    let id = bench.create_root().await;
    for (method, path) in [
        (Method::DELETE, format!("/api/v2/keys/{id}?force=perhaps")),
        (Method::GET, format!("/api/v2/keys/{id}/versions?allKeyStates=1")),
        (Method::POST, format!("/api/v2/keys/{id}?action=explode")),
        (Method::POST, format!("/api/v2/keys/{id}")),
    ] {
        assert_refused(&bench.call(method, &path).send().await, 400, "INVALID_QUERY_PARAM_ERR");
    }
}

#[tokio::test]
async fn bad_bodies_of_actions() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    let act = async |action: &str, body: &str| {
        bench.post(&format!("/keys/{id}/actions/{action}")).body(body).send().await
    };
    let wrap = act("wrap", r#"{"plaintext":"AAA$"}"#).await;
    assert_refused(&wrap, 400, "INVALID_FIELD_ERR");
    assert_eq!(
        message(&wrap),
        "The field `plaintext` must be: a base64 encoded key material: \
        illegal base64 data at input byte 3"
    );
    for action in ["unwrap", "rewrap"] {
        for body in ["", "{}", "null"] {
            assert_refused(&act(action, body).await, 400, "NO_BODY_ERR");
        }
        let bad = act(action, r#"{"ciphertext":"AAA$"}"#).await;
        assert_refused(&bad, 400, "INVALID_FIELD_ERR");
        let words =
            "The field 'ciphertext' must be: the original base64 encoded ciphertext from the wrap operation";
        assert!(message(&bad).starts_with(words));
        assert_refused(&act(action, r#"{"ciphertext":"AAAA"}"#).await, 422, "UNPROCESSABLE_CIPHERTEXT_ERR");
    }
    let long = json!({"aad": ["x".repeat(256)]});
    assert_refused(&act("wrap", &long.to_string()).await, 400, "INVALID_FIELD_ERR");
    for action in ["enable", "disable", "rotate"] {
        assert_refused(&act(action, r#"{"x":1}"#).await, 400, "BAD_BODY_ERR");
    }
    let payload = act("rotate", r#"{"payload":"AAECAwQFBgcICQoLDA0ODw=="}"#).await;
    assert_refused(&payload, 400, "INVALID_QUERY_PARAM_ERR");
    assert_eq!(target(&payload)["name"], "payload");
    let imported = json!({"name": "in", "extractable": false, "payload": base64(&[1; 16])});
    let imported = bench.create(imported).await;
    let none = bench.post(&format!("/keys/{imported}/actions/rotate")).send().await;
    assert_refused(&none, 400, "KEY_PAYLOAD_REQ_ERR");
}

#[tokio::test]
async fn ciphertexts_of_others() {
    let bench = Bench::new().await;
    let (one, two) = (bench.create_root().await, bench.create_root().await);
    let wrapped = bench.act(&one, "wrap", &json!({"plaintext": "AQID", "aad": ["ab"]})).await;
    let mut inner = wire::base64::decode(wrapped["ciphertext"].as_str().unwrap()).unwrap().expose().to_vec();
    let last = inner.iter().position(|byte| *byte == b'=').unwrap_or(20) - 2;
    inner[last] = if inner[last] == b'A' { b'B' } else { b'A' };
    for (key, body) in [
        (&two, json!({"ciphertext": wrapped["ciphertext"], "aad": ["ab"]})),
        (&one, json!({"ciphertext": wrapped["ciphertext"], "aad": ["a", "b"]})),
        (&one, json!({"ciphertext": wrapped["ciphertext"]})),
        (&one, json!({"ciphertext": base64(&inner), "aad": ["ab"]})),
    ] {
        let answer = bench.post(&format!("/keys/{key}/actions/unwrap")).json(&body).send().await;
        assert_refused(&answer, 422, "UNPROCESSABLE_CIPHERTEXT_ERR");
    }
}

#[tokio::test]
async fn keys_in_the_wrong_state_or_of_the_wrong_kind() {
    let bench = Bench::new().await;
    let standard = bench.create(json!({"name": "st"})).await;
    for action in ["wrap", "rotate", "enable", "disable"] {
        let answer = bench.post(&format!("/keys/{standard}/actions/{action}")).send().await;
        assert_refused(&answer, 400, "KEY_ROOT_REQ_ERR");
    }
    let root = bench.create(json!({"name": "ro", "extractable": false, "aliases": ["taken"]})).await;
    let act = async |action: &str| bench.post(&format!("/keys/{root}/actions/{action}")).send().await;
    let twice = enveloped(json!({"name": "ab", "aliases": ["taken"]}));
    assert_refused(&bench.post("/keys").json(&twice).send().await, 409, "KEY_ALIAS_NOT_UNIQUE_ERR");
    assert_refused(&act("enable").await, 409, "KEY_ACTION_INVALID_STATE_ERR");
    assert_eq!(act("rotate").await.status, StatusCode::NO_CONTENT);
    assert_refused(&act("rotate").await, 409, "KEY_ROTATION_NOT_PERMITTED");
    assert_eq!(act("disable").await.status, StatusCode::NO_CONTENT);
    assert_refused(&act("wrap").await, 409, "KEY_ACTION_INVALID_STATE_ERR");
    assert_refused(&act("enable").await, 409, "REQ_TOO_EARLY_ERR");
    let restore = async || bench.post(&format!("/keys/{root}/restore")).send().await;
    let purge = async || bench.delete(&format!("/keys/{root}/purge")).send().await;
    assert_refused(&restore().await, 409, "KEY_ACTION_INVALID_STATE_ERR");
    assert_refused(&purge().await, 409, "KEY_ACTION_INVALID_STATE_ERR");
    assert_eq!(bench.delete(&format!("/keys/{root}")).send().await.status, StatusCode::NO_CONTENT);
    assert_refused(&bench.delete(&format!("/keys/{root}")).send().await, 410, "KEY_DELETED_ERR");
    assert_refused(&act("wrap").await, 410, "KEY_DELETED_ERR");
    assert_refused(&restore().await, 409, "REQ_TOO_EARLY_ERR");
    assert_refused(&purge().await, 409, "REQ_TOO_EARLY_ERR");
    let versions = bench.get(&format!("/keys/{root}/versions")).send().await;
    assert_refused(&versions, 409, "KEY_ACTION_INVALID_STATE_ERR");
    let all = bench.get(&format!("/keys/{root}/versions?allKeyStates=true")).send().await;
    assert_eq!(all.json()["metadata"]["collectionTotal"], 2);
    bench.clock.advance(30 * 86_400 + 1);
    assert_refused(&restore().await, 400, "KEY_RESTORE_EXPIRED");
    bench.clock.advance(60 * 86_400);
    assert_refused(&bench.get(&format!("/keys/{root}")).send().await, 404, "KEY_NOT_FOUND_ERR");

    let expiring = json!({"name": "ex", "extractable": false, "expirationDate": "2026-06-01T00:00:00Z"});
    let bench = Bench::new().await;
    let id = bench.create(expiring).await;
    assert_eq!(bench.delete(&format!("/keys/{id}")).send().await.status, StatusCode::NO_CONTENT);
    bench.clock.advance(20 * 86_400);
    let restored = bench.post(&format!("/keys/{id}/restore")).send().await;
    assert_eq!(restored.status, StatusCode::CREATED);
    bench.clock.advance(130 * 86_400);
    let state = bench.get(&format!("/keys/{id}/metadata")).send().await.resource()["state"].clone();
    assert_eq!(state, 3);
    let wrap = bench.post(&format!("/keys/{id}/actions/wrap")).send().await;
    assert_refused(&wrap, 409, "KEY_ACTION_INVALID_STATE_ERR");
    assert_eq!(bench.delete(&format!("/keys/{id}")).send().await.status, StatusCode::NO_CONTENT);
    bench.clock.advance(31);
    let restored = bench.post(&format!("/keys/{id}/restore")).send().await;
    assert_refused(&restored, 400, "KEY_EXPIRED_ERR");
}

#[tokio::test]
async fn nothing_is_where_there_is_nothing() {
    let bench = Bench::new().await;
    for name in ["no-such-alias", "11111111-2222-4333-8444-555555555555"] {
        for (method, tail) in [
            (Method::GET, ""),
            (Method::GET, "/metadata"),
            (Method::GET, "/versions"),
            (Method::DELETE, ""),
            (Method::DELETE, "/purge"),
            (Method::POST, "/restore"),
            (Method::POST, "/actions/wrap"),
            (Method::POST, "/actions/rotate"),
            (Method::POST, "/actions/disable"),
            (Method::POST, "?action=enable"),
        ] {
            let answer = bench.call(method, &format!("/api/v2/keys/{name}{tail}")).send().await;
            assert_refused(&answer, 404, "KEY_NOT_FOUND_ERR");
        }
    }
    for path in
        ["/", "/api", "/api/v2", "/api/v2/", "/api/v2/nothing", "/api/v2/keys/a/b/c/d", "/api/v1/keys"]
    {
        assert_refused(&bench.call(Method::GET, path).send().await, 404, "PATH_NOT_FOUND_ERR");
    }
    assert_refused(&bench.post("/keys/x/actions/explode").send().await, 404, "PATH_NOT_FOUND_ERR");
    for (method, path) in [
        (Method::PUT, "/api/v2/keys"),
        (Method::DELETE, "/api/v2/keys"),
        (Method::GET, "/api/v2/keys/x/actions/wrap"),
    ] {
        assert_refused(&bench.call(method, path).send().await, 405, "METHOD_NOT_ALLOWED_ERR");
    }
}

#[tokio::test]
async fn what_is_not_offered_says_so() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    for (method, path) in [
        (Method::GET, "/keys/x/policies"),
        (Method::PUT, "/keys/x/policies"),
        (Method::GET, "/instance/policies"),
        (Method::GET, "/key_rings"),
        (Method::POST, "/key_rings/r"),
        (Method::POST, "/import_token"),
        (Method::POST, "/keys/x/aliases/a"),
        (Method::GET, "/keys/registrations"),
        (Method::GET, "/kmip_adapters"),
        (Method::POST, "/kmip_adapters/a/certificates"),
        (Method::POST, "/keys_with_policy_overrides"),
        (Method::PATCH, "/keys/x"),
        (Method::POST, "/keys/x/actions/sync"),
        (Method::POST, "/keys/x/actions/setKeyForDeletion"),
        (Method::POST, "/keys/x?action=unsetKeyForDeletion"),
    ] {
        let path = format!("/api/v2{}", path.replace("/x", &format!("/{id}")));
        assert_refused(&bench.call(method, &path).send().await, 501, "NOT_OFFERED_ERR");
    }
}

#[tokio::test]
async fn faults_behind_the_api_are_told_apart() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    let wrap = async || bench.post(&format!("/keys/{id}/actions/wrap")).send().await;
    for (fault, code) in [
        (
            UnitsError::NoEligibleUnit(NoEligibleUnit::Unreachable("load the master key".to_owned())),
            "NO_ELIGIBLE_CRYPTO_UNIT_ERR",
        ),
        (UnitsError::DeadlineExceeded, "DEADLINE_EXCEEDED_ERR"),
        (UnitsError::Busy { retry_after: Duration::from_millis(2500) }, "OVERLOADED_ERR"),
        (UnitsError::Unexpected { command: "Encrypt", found: "Done" }, "INTERNAL_ERR"),
    ] {
        bench.units.set_fault(Some(fault.clone()));
        let answer = wrap().await;
        assert_refused(&answer, if code == "INTERNAL_ERR" { 500 } else { 503 }, code);
        if let UnitsError::Busy { .. } = fault {
            assert_eq!(answer.header("retry-after"), "3");
        }
        if let UnitsError::NoEligibleUnit(reason) = fault {
            assert!(message(&answer).contains(&reason.to_string()));
        }
    }
    // Requests that need no unit are served.
    assert_eq!(bench.get(&format!("/keys/{id}/metadata")).send().await.status, StatusCode::OK);
    bench.units.set_fault(None);
    assert_eq!(wrap().await.status, StatusCode::OK);

    let create = async || bench.post("/keys").json(&enveloped(json!({"name": "ab"}))).send().await;
    let away = StoreError::Unavailable { retry_after: Duration::from_secs(2), reason: "electing".into() };
    for (fault, status, code) in [
        (away, 503, "KEYSTORE_UNAVAILABLE_ERR"),
        (StoreError::Unknown, 503, "OUTCOME_UNKNOWN_ERR"),
        (
            StoreError::ReadOnly {
                epoch: 3,
                retry_after: Duration::from_secs(30),
                reason: "read-only: a standby".into(),
            },
            503,
            "INSTANCE_READ_ONLY_ERR",
        ),
        (StoreError::Full, 503, "KEYSTORE_UNAVAILABLE_ERR"),
        (StoreError::Corrupt("the file is cut short".to_owned()), 500, "INTERNAL_ERR"),
    ] {
        bench.set_store_fault(Some(fault));
        assert_refused(&create().await, status, code);
    }
    bench.set_store_fault(None);
    assert_eq!(create().await.status, StatusCode::CREATED);
}

/// Valid and invalid values for fields of a body.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[A-Za-z0-9+/=_ -]{0,44}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "metadata",
        "resources",
        "collectionTotal",
        "name",
        "payload",
        "aliases",
        "tags",
        "extractable",
        "aad",
        "plaintext",
        "ciphertext",
        "expirationDate",
        "description",
        "x",
    ]);
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn prop_no_body_makes_a_fault() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, id) = runtime.block_on(async {
        let bench = Bench::new().await;
        let id = bench.create_root().await;
        (bench, id)
    });
    let tails =
        ["", "/actions/wrap", "/actions/unwrap", "/actions/rewrap", "/actions/rotate", "/actions/enable"];
    proptest!(ProptestConfig::with_cases(400), |(
        value in any_json(), tail in prop::sample::select(tails.to_vec()), cut in any::<prop::sample::Index>(),
        whole in any::<bool>(), wrapped in any::<bool>(),
    )| {
        let value = if wrapped { enveloped(value) } else { value };
        let mut body = value.to_string().into_bytes();
        if !whole {
            body.truncate(cut.index(body.len() + 1));
        }
        let path = if tail.is_empty() { "/keys".to_owned() } else { format!("/keys/{id}{tail}") };
        let answer = runtime.block_on(bench.post(&path).body(body).send());
        prop_assert!(answer.status.as_u16() < 500, "{} {value}", answer.status);
    });
}

#[tokio::test]
async fn who_calls_is_asked_before_which_path_and_method() {
    let bench = Bench::new().await;
    for (method, path, known) in [
        (Method::GET, "/api/v2/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v2", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v2/keys/", StatusCode::NOT_FOUND),
        (Method::PUT, "/api/v2/keys", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/api/v2/keys/x/restore", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let stranger = bench.call(method.clone(), path).with("authorization", "").send().await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let nowhere = bench.call(method.clone(), path).with("bluemix-instance", "").send().await;
        assert_eq!(nowhere.status, StatusCode::BAD_REQUEST, "{method} {path}");
        let answer = bench.call(method.clone(), path).send().await;
        assert_eq!(answer.status, known, "{method} {path}");
        // RFC 9110 §15.5.6.
        assert_eq!(answer.headers.contains_key("allow"), known == StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn a_header_that_says_two_things_says_nothing() {
    let bench = Bench::new().await;
    let two_instances = bench.get("/keys").and("bluemix-instance", "aaaa0000-0000-4000-8000-000000000002");
    assert_eq!(two_instances.send().await.status, StatusCode::BAD_REQUEST);
    let two_callers = bench.get("/keys").and("authorization", "Bearer another-caller");
    assert_eq!(two_callers.send().await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_refusal_is_short_whatever_was_asked() {
    let bench = Bench::new().await;
    let long = "a".repeat(20_000);
    let answer = bench.get(&format!("/keys/{long}")).send().await;
    assert_refused(&answer, 404, "KEY_NOT_FOUND_ERR");
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
    let method = Method::from_bytes(long.as_bytes()).unwrap();
    let answer = bench.call(method, "/api/v2/keys").send().await;
    assert_refused(&answer, 405, "METHOD_NOT_ALLOWED_ERR");
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
}

#[tokio::test]
async fn words_that_clients_match() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    bench.delete(&format!("/keys/{id}")).send().await;
    let purge = bench.delete(&format!("/keys/{id}/purge")).send().await;
    assert_refused(&purge, 409, "REQ_TOO_EARLY_ERR");
    assert_eq!(message(&purge), "Purge operation is allowed 4h0m0s after key is deleted");
}

#[tokio::test]
async fn aliases_that_are_too_many_or_not_unique() {
    let bench = Bench::new().await;
    let twice = enveloped(json!({"name": "ab", "aliases": ["one", "one"]}));
    let answer = bench.post("/keys").json(&twice).send().await;
    assert_refused(&answer, 409, "KEY_ALIAS_NOT_UNIQUE_ERR");
    assert_eq!(target(&answer), json!({"type": "field", "name": "aliases"}));
    let six: Vec<_> = (0..6).map(|index| format!("alias-{index}")).collect();
    let answer = bench.post("/keys").json(&enveloped(json!({"name": "ab", "aliases": six}))).send().await;
    assert_refused(&answer, 409, "KEY_ALIAS_QUOTA_ERR");
    let tags = vec!["t"; 31];
    let answer = bench.post("/keys").json(&enveloped(json!({"name": "ab", "tags": tags}))).send().await;
    assert_refused(&answer, 400, "INVALID_FIELD_ERR");
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_not_waited_for() {
    let bench = Bench::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service =
        server::serve(listener, bench.router.clone(), ServeLimits::default(), &[], std::future::pending());
    let service = tokio::spawn(service);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v2/keys HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nBluemix-Instance: {INSTANCE}\r\n\
        Content-Length: 10000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A body that does not arrive in time is answered with another status.
    let mut status = [0; 12];
    tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut status)).await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    service.abort();
}
