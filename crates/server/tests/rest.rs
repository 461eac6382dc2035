//! The calls of the REST API, in the variants that different clients send.

use crate::common::{self, ALICE, API_KEY, BOB, Bench, INSTANCE, OTHER_INSTANCE, TOKEN, base64, enveloped};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const KEY: &str = "application/vnd.ibm.kms.key+json";

#[tokio::test]
async fn a_root_key_is_created_in_the_short_form_and_in_the_whole() {
    let bench = Bench::new().await;
    let body = enveloped(json!({"type": KEY, "name": "orders", "extractable": false, "aliases": ["o-1"]}));
    let short = bench.post("/keys").json(&body).send().await;
    assert_eq!((short.status, short.header("content-type")), (StatusCode::CREATED, KEY));
    let key = short.resource();
    let id = key["id"].as_str().unwrap();
    let expected = json!({
        "type": KEY, "id": id, "name": "orders", "aliases": ["o-1"], "state": 1, "extractable": false,
        "crn": format!("crn:v1:bluemix:public:hs-crypto:us-south:a/acc:{INSTANCE}:key:{id}"),
        "imported": false, "keyRingID": "default", "creationDate": "2026-01-02T03:04:05Z", "createdBy": ALICE,
        "algorithmType": "AES", "algorithmMetadata": {"bitLength": "256", "mode": "CBC_PAD"},
        "algorithmBitSize": 256, "algorithmMode": "CBC_PAD", "deleted": false,
    });
    assert_eq!(key, expected);
    assert_eq!(short.json()["metadata"], json!({"collectionType": KEY, "collectionTotal": 1}));

    let body = enveloped(json!({"name": "orders", "extractable": false}));
    let whole =
        bench.post("/keys").with("prefer", "return=representation").json(&body).send().await.resource();
    assert_eq!(whole["lastUpdateDate"], "2026-01-02T03:04:05Z");
    assert_eq!(whole["keyVersion"], json!({"id": whole["id"], "creationDate": "2026-01-02T03:04:05Z"}));
    assert_eq!(whole["dualAuthDelete"], json!({"enabled": false}));
    assert!(whole.get("payload").is_none() && whole.get("lastRotateDate").is_none());
}

#[tokio::test]
async fn the_answer_to_a_change_says_where_it_is_in_the_store() {
    let bench = Bench::new().await;
    let root = json!({"name": "orders", "extractable": false});
    let created = bench.post("/keys").json(&enveloped(root)).send().await;
    let id = created.resource()["id"].as_str().unwrap().to_owned();
    let mut positions = vec![position(&created)];
    for action in ["rotate", "disable", "enable"] {
        let path = format!("/keys/{id}/actions/{action}");
        bench.clock.advance(3600);
        positions
            .push(position(&bench.post(&path).body(if action == "rotate" { "{}" } else { "" }).send().await));
    }
    let deletion = bench.delete(&format!("/keys/{id}")).with("idempotency-key", "once").send().await;
    positions.push(position(&deletion));
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
    // A repeated request has changed nothing: it was the same change.
    let repeated = bench.delete(&format!("/keys/{id}")).with("idempotency-key", "once").send().await;
    assert_eq!(position(&repeated), position(&deletion));

    let other = bench.create_root().await;
    for use_of_it in [
        bench.post(&format!("/keys/{other}/actions/wrap")).body("{}"),
        bench.get("/keys"),
        bench.post("/keys").body("{}"),
    ] {
        assert_eq!(use_of_it.send().await.header("hsm-revision"), "");
    }
}

fn position(answer: &common::Answer) -> u64 {
    let text = answer.header("hsm-revision");
    assert!(!text.is_empty(), "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    kms::replica::SourcePosition::from_text(text).unwrap().revision.0
}

#[tokio::test]
async fn a_standard_key_shows_its_payload_in_one_place_only() {
    let bench = Bench::new().await;
    let body =
        json!({"name": "password", "payload": base64(b"secret!"), "expirationDate": "2027-01-01T00:00:00Z"});
    let id = bench.create(body).await;
    let key = bench.get(&format!("/keys/{id}")).send().await.resource();
    assert_eq!(
        (&key["payload"], &key["imported"], &key["extractable"]),
        (&json!(base64(b"secret!")), &json!(true), &json!(true))
    );
    assert_eq!(key["expirationDate"], "2027-01-01T00:00:00Z");
    assert!(key.get("keyVersion").is_none());
    let metadata = bench.get(&format!("/keys/{id}/metadata")).send().await.resource();
    let listed = bench.get("/keys").send().await.resource();
    assert!(metadata.get("payload").is_none() && listed.get("payload").is_none());
    let root = bench.create_root().await;
    assert!(bench.get(&format!("/keys/{root}")).send().await.resource().get("payload").is_none());
    let generated = bench.create(json!({"name": "made"})).await;
    let payload = bench.get(&format!("/keys/{generated}")).send().await.resource()["payload"].clone();
    assert_eq!(wire::base64::decode(payload.as_str().unwrap()).unwrap().expose().len(), 32);
}

#[tokio::test]
async fn wrap_unwrap_rotate_rewrap() {
    let bench = Bench::new().await;
    let id = bench.create(json!({"name": "orders", "extractable": false, "aliases": ["by-name"]})).await;
    let wrapped =
        bench.act("by-name", "wrap", &json!({"plaintext": base64(b"data key"), "aad": ["v", ""]})).await;
    assert_eq!(wrapped["keyVersion"], json!({"id": id}));
    assert!(wrapped.get("plaintext").is_none());
    let made = bench.act(&id, "wrap", &json!({})).await;
    assert_eq!(wire::base64::decode(made["plaintext"].as_str().unwrap()).unwrap().expose().len(), 32);

    let again = json!({"ciphertext": wrapped["ciphertext"], "aad": ["v", ""]});
    let unwrapped = bench.act(&id, "unwrap", &again).await;
    assert_eq!(unwrapped, json!({"plaintext": base64(b"data key"), "keyVersion": {"id": id}}));

    let rotated = bench.post(&format!("/keys/{id}/actions/rotate")).body("null").send().await;
    assert_eq!((rotated.status, rotated.body.len()), (StatusCode::NO_CONTENT, 0));
    let unwrapped = bench.act(&id, "unwrap", &again).await;
    let newer = unwrapped["rewrappedKeyVersion"]["id"].as_str().unwrap();
    assert_eq!(
        (&unwrapped["plaintext"], &unwrapped["keyVersion"]["id"]),
        (&json!(base64(b"data key")), &json!(id))
    );
    assert!(unwrapped["ciphertext"].is_string() && newer != id);
    let rewrapped = bench.act(&id, "rewrap", &again).await;
    assert_eq!(
        (&rewrapped["keyVersion"]["id"], &rewrapped["rewrappedKeyVersion"]["id"]),
        (&json!(id), &json!(newer))
    );
    assert!(rewrapped.get("plaintext").is_none());
    let fresh = json!({"ciphertext": rewrapped["ciphertext"], "aad": ["v", ""]});
    assert_eq!(
        bench.act(&id, "unwrap", &fresh).await,
        json!({"plaintext": base64(b"data key"), "keyVersion": {"id": newer}})
    );

    let versions = bench.get(&format!("/keys/{id}/versions?totalCount=true&limit=1")).send().await;
    assert_eq!(versions.header("content-type"), "application/vnd.ibm.kms.key.version+json");
    let versions = versions.json();
    assert_eq!(
        versions["metadata"],
        json!({"collectionType": "application/vnd.ibm.kms.key.version+json",
        "collectionTotal": 1, "totalCount": 2})
    );
    assert_eq!(versions["resources"][0]["id"], newer);
    let key = bench.get(&format!("/keys/{id}/metadata")).send().await.resource();
    assert_eq!(
        (&key["keyVersion"]["id"], &key["lastRotateDate"]),
        (&json!(newer), &json!("2026-01-02T03:04:05Z"))
    );
}

#[tokio::test]
async fn answers_of_actions_bear_the_vendor_type() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    let wrap = bench.post(&format!("/keys/{id}/actions/wrap")).send().await;
    assert_eq!(wrap.header("content-type"), "application/vnd.ibm.kms.key_action+json");
    let listed = bench.get("/keys").send().await;
    assert_eq!(listed.header("content-type"), KEY);
    let refused = bench.get("/keys/unknown").send().await;
    assert_eq!(refused.header("content-type"), "application/vnd.ibm.kms.error+json");
}

#[tokio::test]
async fn the_deprecated_form_of_actions_does_the_same() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    let path = |action: &str| format!("/keys/{id}?action={action}");
    let wrapped = bench.post(&path("wrap")).json(&json!({"plaintext": base64(b"x")})).send().await.json();
    let body = json!({"ciphertext": wrapped["ciphertext"]});
    let unwrapped = bench.post(&path("unwrap")).json(&body).send().await;
    assert_eq!(unwrapped.json()["plaintext"], base64(b"x"));
    for action in ["rotate", "disable"] {
        assert_eq!(bench.post(&path(action)).send().await.status, StatusCode::NO_CONTENT, "{action}");
    }
    bench.clock.advance(31);
    assert_eq!(bench.post(&path("enable")).send().await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.delete(&format!("/keys/{id}")).send().await.status, StatusCode::NO_CONTENT);
    bench.clock.advance(31);
    assert_eq!(bench.post(&path("restore")).send().await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_key_s_life() {
    let bench = Bench::new().await;
    let material = [7; 32];
    let id = bench.create(json!({"name": "in", "extractable": false, "payload": base64(&material)})).await;
    let wrapped = bench.act(&id, "wrap", &json!({"plaintext": base64(b"x")})).await;
    let state = async || bench.get(&format!("/keys/{id}/metadata")).send().await.resource()["state"].clone();
    let body = json!({"payload": base64(&[8; 16])});
    let rotated = bench.post(&format!("/keys/{id}/actions/rotate")).json(&body).send().await;
    assert_eq!(rotated.status, StatusCode::NO_CONTENT);
    for body in ["", "null", "{}", " "] {
        let disabled = bench.post(&format!("/keys/{id}/actions/disable")).body(body).send().await;
        assert_eq!((disabled.status, state().await), (StatusCode::NO_CONTENT, json!(2)), "{body:?}");
        bench.clock.advance(31);
        let enabled = bench.post(&format!("/keys/{id}/actions/enable")).body(body).send().await;
        assert_eq!((enabled.status, state().await), (StatusCode::NO_CONTENT, json!(1)), "{body:?}");
    }
    let deleted =
        bench.delete(&format!("/keys/{id}?force=True")).with("prefer", "return=representation").send().await;
    assert_eq!(deleted.status, StatusCode::OK);
    let key = deleted.resource();
    assert_eq!((&key["state"], &key["deleted"], &key["deletedBy"]), (&json!(5), &json!(true), &json!(ALICE)));
    assert_eq!(
        (&key["purgeAllowed"], &key["purgeAllowedFrom"]),
        (&json!(false), &json!("2026-01-02T07:06:09Z"))
    );
    assert_eq!(bench.get("/keys").send().await.json()["metadata"]["collectionTotal"], 0);
    assert_eq!(bench.get("/keys?state=5").send().await.json()["metadata"]["collectionTotal"], 1);
    bench.clock.advance(31);
    let key = bench.get(&format!("/keys/{id}/metadata")).send().await.resource();
    assert_eq!(key["restoreAllowed"], true);
    let restored = bench.post(&format!("/keys/{id}/restore")).body("{\"x\": 1}").send().await;
    assert_eq!((restored.status, &restored.resource()["state"]), (StatusCode::CREATED, &json!(1)));
    let unwrapped = bench.act(&id, "unwrap", &json!({"ciphertext": wrapped["ciphertext"]})).await;
    assert_eq!(unwrapped["plaintext"], base64(b"x"));
    assert_eq!(bench.delete(&format!("/keys/{id}")).send().await.status, StatusCode::NO_CONTENT);
    bench.clock.advance(4 * 3600 + 1);
    let purged = bench.delete(&format!("/keys/{id}/purge")).send().await;
    assert_eq!(purged.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get(&format!("/keys/{id}")).send().await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lists_are_paged_counted_filtered_and_sorted() {
    let bench = Bench::new().await;
    let mut created = BTreeSet::new();
    for number in 0..255 {
        bench.clock.advance(1);
        let extractable = number % 5 != 0;
        created
            .insert(bench.create(json!({"name": format!("key {number}"), "extractable": extractable})).await);
    }
    let ids = async |query: &str| -> Vec<String> {
        let page = bench.get(&format!("/keys?{query}")).send().await.json();
        let ids: Vec<String> = page["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(page["metadata"]["collectionTotal"], ids.len());
        ids
    };
    let first = ids("").await;
    assert_eq!(first.len(), 200);
    let all: Vec<String> = first.into_iter().chain(ids("offset=200").await).collect();
    assert!(all.is_sorted());
    assert_eq!(all.iter().cloned().collect::<BTreeSet<_>>(), created);
    assert_eq!(ids("limit=2000").await.len(), 255);
    assert_eq!(ids("limit=3&offset=254").await.len(), 1);
    assert_eq!(ids("offset=255").await.len(), 0);
    assert_eq!(ids("extractable=False&limit=5000").await.len(), 51);
    assert_eq!(ids("state=2,3").await.len(), 0);
    let newest = bench.get("/keys?sort=-creationDate&limit=1").send().await.resource();
    assert_eq!(newest["name"], "key 254");
    let count = async |query: &str| {
        let head = bench.call(Method::HEAD, &format!("/api/v2/keys{query}")).send().await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        head.header("key-total").to_owned()
    };
    assert_eq!((count("").await.as_str(), count("?extractable=false").await.as_str()), ("255", "51"));
}

#[tokio::test]
async fn rings_other_than_default_are_empty() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    fn ring(call: common::Call<'_>) -> common::Call<'_> {
        call.with("x-kms-key-ring", "finance")
    }
    assert_eq!(ring(bench.get("/keys")).send().await.json()["metadata"]["collectionTotal"], 0);
    let head = bench.call(Method::HEAD, "/api/v2/keys").with("x-kms-key-ring", "finance").send().await;
    assert_eq!(head.header("key-total"), "0");
    let created = ring(bench.post("/keys")).json(&enveloped(json!({"name": "ab"}))).send().await;
    assert_eq!((created.status, created.code().as_str()), (StatusCode::NOT_FOUND, "KEY_RING_NOT_FOUND_ERR"));
    for path in ["", "/metadata", "/versions"] {
        let answer = ring(bench.get(&format!("/keys/{id}{path}"))).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "KEY_NOT_FOUND_ERR"));
    }
    let wrap = ring(bench.post(&format!("/keys/{id}/actions/wrap"))).send().await;
    assert_eq!(wrap.status, StatusCode::NOT_FOUND);
    let default = bench.get(&format!("/keys/{id}")).with("x-kms-key-ring", "default").send().await;
    assert_eq!(default.status, StatusCode::OK);
}

#[tokio::test]
async fn instances_do_not_see_each_other() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    let other = OTHER_INSTANCE.to_string();
    let answer = bench.get(&format!("/keys/{id}")).with("bluemix-instance", &other).send().await;
    assert_eq!(answer.code(), "KEY_NOT_FOUND_ERR");
    let body = enveloped(json!({"name": "ab", "extractable": false}));
    let key = bench.post("/keys").with("bluemix-instance", &other).json(&body).send().await.resource();
    assert!(key["crn"].as_str().unwrap().starts_with("crn:v1:bluemix:public:kms:us-south:a/acc:"));
    assert_eq!((&key["algorithmType"], &key["algorithmMode"]), (&json!("Deprecated"), &json!("Deprecated")));
}

#[tokio::test]
async fn what_clients_differ_in_makes_no_difference() {
    let bench = Bench::new().await;
    let body =
        br#"{"METADATA":{"CollectionTotal":1},"resources":[{"Name":"ab","EXTRACTABLE":false,"tags":null}]}"#;
    for content_type in ["", "application/json", "application/vnd.ibm.kms.key+json", "text/plain", "nonsense"]
    {
        let answer = bench
            .post("/keys")
            .with("content-type", content_type)
            .with("accept", "image/png")
            .body(&body[..]);
        assert_eq!(answer.send().await.status, StatusCode::CREATED, "{content_type}");
    }
    let id = bench.create_root().await;
    // Every character of the ID is percent-encoded.
    let escaped: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(bench.get(&format!("/keys/{escaped}/metadata")).send().await.status, StatusCode::OK);
    assert_eq!(bench.get(&format!("/keys/{}", id.to_uppercase())).send().await.status, StatusCode::OK);
    for broken in ["%ff", "%f", "a%2Fb", "%00", "..", "ä"] {
        let answer = bench.get(&format!("/keys/{}", broken.replace('ä', "%C3%A4"))).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{broken}");
        assert_eq!(answer.header("content-type"), "application/vnd.ibm.kms.error+json");
    }
}

#[tokio::test]
async fn correlation_ids_come_back() {
    let bench = Bench::new().await;
    let answer = bench.get("/keys").with("correlation-id", "c0ffee").send().await;
    assert_eq!(answer.header("correlation-id"), "c0ffee");
    let made = bench.get("/keys/x").send().await;
    assert_eq!(made.header("correlation-id").len(), 36);
    let long = "x".repeat(200);
    assert_eq!(
        bench.get("/keys").with("correlation-id", &long).send().await.header("correlation-id").len(),
        36
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_key_of_two_calls() {
    let bench = Bench::new().await;
    let body = enveloped(json!({"name": "once", "extractable": false}));
    let create = async |key: &str, token: &str, body: &Value| {
        bench.post("/keys").with("idempotency-key", key).with("authorization", token).json(body).send().await
    };
    let alice = format!("Bearer {TOKEN}");
    let first = create("k1", &alice, &body).await.resource()["id"].clone();
    assert_eq!(create("k1", &alice, &body).await.resource()["id"], first);
    assert_ne!(create("k2", &alice, &body).await.resource()["id"], first);
    let bob = format!("Bearer {}", token(&bench, "/identity/token").await["access_token"].as_str().unwrap());
    assert_ne!(create("k1", &bob, &body).await.resource()["id"], first);
    let other = create("k1", &alice, &enveloped(json!({"name": "other", "extractable": false}))).await;
    assert_eq!((other.status, other.code().as_str()), (StatusCode::CONFLICT, "CONFLICT_ERR"));
    let long = create(&"k".repeat(256), &alice, &body).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
    // A correlation ID is not an idempotency key.
    let plain = async || {
        bench.post("/keys").with("correlation-id", "c").json(&body).send().await.resource()["id"].clone()
    };
    assert_ne!(plain().await, plain().await);
}

async fn token(bench: &Bench, path: &str) -> Value {
    let form = format!("grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey={API_KEY}");
    let answer =
        bench.call(Method::POST, path).with("authorization", "Basic Yng6Yng=").body(form).send().await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    answer.json()
}

#[tokio::test]
async fn the_token_service_gives_tokens_that_are_good() {
    let bench = Bench::new().await;
    for path in ["/identity/token", "/oidc/token"] {
        let granted = token(&bench, path).await;
        assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("Bearer"), &json!(3600)));
        let access = granted["access_token"].as_str().unwrap();
        let claims = access.split('.').nth(1).unwrap().replace('-', "+").replace('_', "/");
        let padded = format!("{claims}{}", "=".repeat((4 - claims.len() % 4) % 4));
        let claims: Value = serde_json::from_slice(wire::base64::decode(&padded).unwrap().expose()).unwrap();
        assert_eq!(claims["exp"], granted["expiration"]);
        assert!(claims["iat"].is_u64() && claims["iam_id"] == BOB && claims["account"]["bss"] == "acc");
        let body = enveloped(json!({"name": "ab"}));
        let key =
            bench.post("/keys").with("authorization", &format!("Bearer {access}")).json(&body).send().await;
        assert_eq!(key.resource()["createdBy"], BOB);
        let form =
            format!("grant_type=refresh_token&refresh_token={}", granted["refresh_token"].as_str().unwrap());
        let again = bench.call(Method::POST, path).body(form.clone()).send().await;
        assert!(again.json()["access_token"].is_string());
        // It can be used once, and the answer says so.
        let reused = bench.call(Method::POST, path).body(form).send().await;
        assert_eq!(
            (reused.status, &reused.json()["errorCode"]),
            (StatusCode::BAD_REQUEST, &json!("BXNIM0408E"))
        );
        assert!(reused.json()["errorMessage"].as_str().unwrap().contains("used before"));
        assert_eq!((&claims["aud"], &claims["roles"]), (&json!(["kms"]), &json!(["manager", "key-purge"])));
    }
    for (form, code) in [
        ("grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=wrong", "BXNIM0415E"),
        ("grant_type=refresh_token&refresh_token=a.b.c", "BXNIM0408E"),
        ("grant_type=password", "BXNIM0406E"),
        ("", "BXNIM0109E"),
    ] {
        let answer = bench.call(Method::POST, "/identity/token").body(form).send().await;
        assert_eq!((answer.status, &answer.json()["errorCode"]), (StatusCode::BAD_REQUEST, &json!(code)));
        assert!(answer.json()["context"]["requestId"].is_string());
    }
}

#[tokio::test]
async fn health_needs_no_token() {
    let bench = Bench::new().await;
    for path in ["/livez", "/readyz"] {
        let answer = bench.call(Method::GET, path).with("authorization", "").send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn whatever_was_wrapped_fits_into_an_unwrap() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    // The maximum length for wrap; with `\u` escapes, as Python writes them, it is three times as long.
    let plaintext = base64(&[7; 32 * 1024]);
    let aad = vec!["\u{e9}".repeat(255); 31];
    let wrapped = bench.act(&id, "wrap", &json!({"plaintext": plaintext, "aad": aad})).await;
    let body =
        json!({"ciphertext": wrapped["ciphertext"], "aad": aad}).to_string().replace('\u{e9}', "\\u00e9");
    let answer = bench.post(&format!("/keys/{id}/actions/unwrap")).body(body).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.json()["plaintext"], plaintext);
}

#[tokio::test]
async fn a_ciphertext_may_come_in_lines() {
    let bench = Bench::new().await;
    let id = bench.create_root().await;
    let wrapped = bench.act(&id, "wrap", &json!({"plaintext": "AQID"})).await;
    let lines: Vec<_> = wrapped["ciphertext"].as_str().unwrap().as_bytes().chunks(76).collect();
    let unwrapped = bench
        .act(&id, "unwrap", &json!({"ciphertext": String::from_utf8(lines.join(&b"\r\n"[..])).unwrap()}))
        .await;
    assert_eq!(unwrapped["plaintext"], "AQID");
}

/// RFC 7240 §2: values may be quoted and followed by parameters; of a preference given twice, the first counts.
#[tokio::test]
async fn preferences_are_read_as_they_may_be_written() {
    let bench = Bench::new().await;
    for (prefer, whole) in [
        ("return=representation", true),
        ("Return=Representation", true),
        ("respond-async, return=representation", true),
        ("return=\"representation\"", true),
        ("return = representation; x=y", true),
        ("return=minimal", false),
        ("return=minimal, return=representation", false),
        ("return", false),
        ("x=return=representation", false),
    ] {
        let create = bench.post("/keys").with("prefer", prefer).json(&enveloped(json!({"name": "ab"})));
        let key = create.send().await.resource();
        assert_eq!(key.get("lastUpdateDate").is_some(), whole, "{prefer}");
    }
}
