//! A Key Protect client that reports what became of each request. It never retries by itself.

use super::history::{FoundKey, Outcome};
use crate::region::ReadyFile;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::timeout;
use wire::text::error_chain;

/// Media type of keys.
const KEY_TYPE: &str = "application/vnd.ibm.kms.key+json";
/// Keys in a page of a listing.
const PAGE: usize = 200;
/// Longest error message of a transport that is recorded, in characters.
const MAX_MESSAGE: usize = 160;

/// Where an instance is served, and the credential for it. Every client of it learns of a new address.
#[derive(Clone)]
pub(super) struct Endpoint {
    at: Arc<RwLock<Address>>,
}

#[derive(Clone)]
struct Address {
    base: String,
    authorization: String,
    instance: String,
}

impl Endpoint {
    /// The address of the simulator that has written this file.
    pub(super) fn of(ready: &ReadyFile) -> Self {
        Self { at: Arc::new(RwLock::new(Address::of(ready))) }
    }

    /// Every client goes on there.
    pub(super) fn move_to(&self, ready: &ReadyFile) {
        *self.at.write().unwrap_or_else(PoisonError::into_inner) = Address::of(ready);
    }

    fn address(&self) -> Address {
        self.at.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Address {
    fn of(ready: &ReadyFile) -> Self {
        let token = ready.tokens.first().map_or("", String::as_str);
        Self {
            base: format!("{}/api/v2/keys", ready.rest_url),
            authorization: format!("Bearer {token}"),
            instance: ready.instance_id.to_string(),
        }
    }
}

/// A client of one instance, with connections of its own.
pub(super) struct KeyClient {
    http: Client<HttpConnector, Full<Bytes>>,
    endpoint: Endpoint,
    timeout: Duration,
}

/// What became of a request, with the body of the answer if it was acknowledged.
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) body: Value,
}

impl Answer {
    fn no_answer(why: &str) -> Self {
        let why = why.chars().take(MAX_MESSAGE).collect();
        Self { outcome: Outcome::NoAnswer { why }, body: Value::Null }
    }
}

impl KeyClient {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { http: Client::builder(TokioExecutor::new()).build(connector), endpoint, timeout }
    }

    /// Creates a root key; the outcome has its identifier.
    pub(super) async fn create(&self, name: &str) -> Answer {
        self.create_of(json!({"type": KEY_TYPE, "name": name, "extractable": false})).await
    }

    /// Imports a root key; the outcome has its identifier.
    pub(super) async fn import(&self, name: &str, material: &[u8]) -> Answer {
        let payload = BASE64_STANDARD.encode(material);
        let key = json!({"type": KEY_TYPE, "name": name, "extractable": false, "payload": payload});
        self.create_of(key).await
    }

    /// Rotates an imported root key to this material.
    pub(super) async fn rotate_to(&self, key: &str, material: &[u8]) -> Answer {
        let body = json!({"payload": BASE64_STANDARD.encode(material)});
        self.send(Method::POST, &format!("/{key}/actions/rotate"), &body).await
    }

    async fn create_of(&self, key: Value) -> Answer {
        let metadata = json!({"collectionType": KEY_TYPE, "collectionTotal": 1});
        let body = json!({"metadata": metadata, "resources": [key]});
        let mut answer = self.send(Method::POST, "", &body).await;
        if let Outcome::Done { id, .. } = &mut answer.outcome {
            *id = answer.body.pointer("/resources/0/id").and_then(Value::as_str).map(str::to_owned);
            if id.is_none() {
                return Answer::no_answer("the answer to a creation has no identifier");
            }
        }
        answer
    }

    /// Rotates or disables a key.
    pub(super) async fn change(&self, key: &str, action: &str) -> Answer {
        self.send(Method::POST, &format!("/{key}/actions/{action}"), &json!({})).await
    }

    /// Wraps a data key; returns the ciphertext if it was acknowledged.
    pub(super) async fn wrap(&self, key: &str, data_key: &[u8]) -> (Outcome, Option<String>) {
        let body = json!({"plaintext": BASE64_STANDARD.encode(data_key)});
        let answer = self.send(Method::POST, &format!("/{key}/actions/wrap"), &body).await;
        let ciphertext = answer.body.get("ciphertext").and_then(Value::as_str).map(str::to_owned);
        match (answer.outcome.is_done(), ciphertext) {
            (true, None) => (Answer::no_answer("the answer to a wrap has no ciphertext").outcome, None),
            (_, ciphertext) => (answer.outcome, ciphertext),
        }
    }

    /// Unwraps a data key and compares it with the one that was wrapped.
    pub(super) async fn unwrap(&self, key: &str, ciphertext: &str, data_key: &[u8]) -> Outcome {
        let body = json!({"ciphertext": ciphertext});
        let answer = self.send(Method::POST, &format!("/{key}/actions/unwrap"), &body).await;
        if !answer.outcome.is_done() {
            return answer.outcome;
        }
        let plaintext = answer.body.get("plaintext").and_then(Value::as_str).unwrap_or_default();
        // Data keys of a rehearsal are drawn from its seed: nothing is secret here.
        if plaintext == BASE64_STANDARD.encode(data_key) { answer.outcome } else { Outcome::Wrong }
    }

    /// Lists a few keys.
    pub(super) async fn list(&self) -> Answer {
        self.send(Method::GET, "?limit=10", &Value::Null).await
    }

    /// Lists every key.
    pub(super) async fn list_all(&self) -> Result<Vec<FoundKey>, Outcome> {
        let mut found = Vec::new();
        loop {
            let query = format!("?limit={PAGE}&offset={}&state=0,1,2,3", found.len());
            let answer = self.send(Method::GET, &query, &Value::Null).await;
            if !answer.outcome.is_done() {
                return Err(answer.outcome);
            }
            let page = answer.body.get("resources").and_then(Value::as_array).cloned().unwrap_or_default();
            found.extend(page.iter().filter_map(found_key));
            if page.len() < PAGE {
                return Ok(found);
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        match timeout(self.timeout, self.exchange(method, path, body)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Answer::no_answer(&why),
            Err(_) => Answer::no_answer(&format!("no answer within {} s", self.timeout.as_secs())),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: &Value) -> Result<Answer, String> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap_or_default() };
        let Address { base, authorization, instance } = self.endpoint.address();
        let request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header("authorization", authorization)
            .header("bluemix-instance", instance)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| error_chain(&e))?;
        let answer = self.http.request(request).await.map_err(|e| error_chain(&e))?;
        let status = answer.status();
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (revision, retry_after) = (header("hsm-revision"), header("retry-after").is_some());
        let body = answer.into_body().collect().await.map_err(|e| error_chain(&e))?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(Answer { outcome: Outcome::Done { revision, id: None }, body });
        }
        let code = body.pointer("/resources/0/reasons/0/code").and_then(Value::as_str).unwrap_or_default();
        let code = code.chars().take(MAX_MESSAGE).collect();
        let outcome = Outcome::Refused { status: status.as_u16(), code, retry_after };
        Ok(Answer { outcome, body: Value::Null })
    }
}

/// A key of a listing. It is rotated if its newest version is not its first one, whose identifier is the key's.
fn found_key(key: &Value) -> Option<FoundKey> {
    let text = |pointer: &str| key.pointer(pointer).and_then(Value::as_str);
    let id = text("/id")?;
    Some(FoundKey {
        id: id.to_owned(),
        name: text("/name").unwrap_or_default().to_owned(),
        is_disabled: key.get("state").and_then(Value::as_u64) == Some(2),
        is_rotated: text("/keyVersion/id").is_some_and(|version| version != id),
    })
}

#[cfg(test)]
mod tests {
    use super::found_key;
    use serde_json::json;

    #[test]
    fn a_listing_tells_what_was_changed() {
        let key = |state: u8, version: &str| {
            let listed = json!({"id": "a", "name": "n", "state": state, "keyVersion": {"id": version}});
            let found = found_key(&listed).unwrap();
            (found.is_disabled, found.is_rotated)
        };
        assert_eq!(key(1, "a"), (false, false));
        assert_eq!(key(2, "b"), (true, true));
        assert!(!found_key(&json!({"id": "a"})).unwrap().is_rotated);
        assert_eq!(found_key(&json!({"name": "n"})), None);
    }
}
