//! Roles, and the instances that callers have them on.

use crate::common::{Bench, INSTANCE, OTHER_INSTANCE, enveloped, token_of};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use server::auth::Role;

/// Requests on a root key and a standard key, and the roles that they need.
fn requests(root: &str, standard: &str, wrapped: &Value) -> Vec<(Method, String, Value, &'static [Role])> {
    const USE: &[Role] = &[Role::Reader, Role::ReaderPlus, Role::Writer, Role::Manager];
    const READ: &[Role] = &[Role::ReaderPlus, Role::Writer, Role::Manager];
    const WRITE: &[Role] = &[Role::Writer, Role::Manager];
    const MANAGE: &[Role] = &[Role::Manager];
    let act = |action: &str| format!("/keys/{root}/actions/{action}");
    let unwrap = json!({ "ciphertext": wrapped["ciphertext"] });
    let create = enveloped(json!({"name": "another", "extractable": false}));
    vec![
        (Method::GET, "/keys".to_owned(), Value::Null, USE),
        (Method::HEAD, "/keys".to_owned(), Value::Null, USE),
        (Method::GET, format!("/keys/{root}/metadata"), Value::Null, USE),
        (Method::GET, format!("/keys/{root}/versions"), Value::Null, USE),
        (Method::POST, act("wrap"), json!({"plaintext": "AQID"}), USE),
        (Method::POST, act("unwrap"), unwrap.clone(), USE),
        (Method::POST, act("rewrap"), unwrap.clone(), USE),
        (Method::POST, format!("/keys/{root}?action=unwrap"), unwrap, USE),
        (Method::GET, format!("/keys/{standard}"), Value::Null, READ),
        (Method::POST, "/keys".to_owned(), create, WRITE),
        (Method::POST, act("rotate"), Value::Null, WRITE),
        (Method::POST, act("disable"), Value::Null, MANAGE),
        (Method::POST, act("enable"), Value::Null, MANAGE),
        (Method::DELETE, format!("/keys/{standard}"), Value::Null, MANAGE),
        (Method::POST, format!("/keys/{standard}/restore"), Value::Null, MANAGE),
        (Method::POST, format!("/keys/{standard}?action=restore"), Value::Null, MANAGE),
        (Method::DELETE, format!("/keys/{standard}/purge"), Value::Null, &[Role::KeyPurge]),
    ]
}

#[tokio::test]
async fn attack_a_caller_does_nothing_that_its_role_does_not_permit() {
    let bench = Bench::new().await;
    let root = bench.create_root().await;
    let standard = bench.create(json!({"name": "standard", "extractable": true})).await;
    let wrapped = bench.act(&root, "wrap", &json!({"plaintext": "AQID"})).await;
    for (method, path, body, roles) in requests(&root, &standard, &wrapped) {
        for role in Role::ALL {
            let call = bench.call(method.clone(), &format!("/api/v2{path}"));
            let call = call.with("authorization", &format!("Bearer {}", token_of(role)));
            let call = if body.is_null() { call } else { call.json(&body) };
            let permitted = call.send().await.status != StatusCode::UNAUTHORIZED;
            assert_eq!(permitted, roles.contains(&role), "{role:?}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn attack_a_caller_reaches_no_instance_but_its_own() {
    let bench = Bench::new().await;
    let root = bench.create_root().await;
    let bearer = format!("Bearer {}", token_of(Role::Manager));
    let on = async |instance: &str, path: &str| {
        let call = bench.get(path).with("authorization", &bearer).with("bluemix-instance", instance);
        call.send().await.status
    };
    for path in ["/keys", &format!("/keys/{root}"), &format!("/keys/{root}/metadata")] {
        assert_eq!(on(&INSTANCE.to_string(), path).await, StatusCode::OK, "{path}");
        assert_eq!(on(&OTHER_INSTANCE.to_string(), path).await, StatusCode::UNAUTHORIZED, "{path}");
    }
}
