//! A signing service as a customer might run one, and the ways in which it can go wrong.
#![allow(dead_code, reason = "each test file uses a part of it")]

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tke_crypto::SigningKey;

/// How the service behaves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Good,
    Slow,
    Fails,
    Garbles,
    SignsSomethingElse,
    SignsWithAnotherKey,
    AnnouncesAnotherCurve,
    AnswersEndlessly,
}

/// A call that came in.
#[derive(Clone)]
pub(crate) struct Asked {
    /// `keys` or `sign`.
    pub(crate) route: &'static str,
    pub(crate) key: String,
    pub(crate) token: Option<String>,
    /// Null for `keys`.
    pub(crate) body: Value,
}

struct Inside {
    mood: Mood,
    /// In place of `mood`, of single keys.
    signing: BTreeMap<String, Mood>,
    /// How often single keys will sign before they fail.
    signatures_left: BTreeMap<String, usize>,
    /// What single keys ask for.
    tokens: BTreeMap<String, String>,
    asked: Vec<Asked>,
}

/// The service, running on this machine until the runtime ends.
#[derive(Clone)]
pub(crate) struct SampleService {
    inside: Arc<Mutex<Inside>>,
    pub(crate) url: String,
}

impl SampleService {
    pub(crate) async fn start() -> Self {
        let inside = Inside {
            mood: Mood::Good,
            signing: BTreeMap::new(),
            signatures_left: BTreeMap::new(),
            tokens: BTreeMap::new(),
            asked: Vec::new(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let service = Self { inside: Arc::new(Mutex::new(inside)), url };
        let app = Router::new()
            .route("/keys/{name}", get(announce))
            .route("/sign/{name}", post(sign))
            .with_state(service.clone());
        tokio::spawn(async { axum::serve(listener, app).await });
        service
    }

    /// Behaves so from now on, whatever the key.
    pub(crate) fn set(&self, mood: Mood) {
        let mut inside = self.inside();
        inside.mood = mood;
        inside.signing.clear();
        inside.signatures_left.clear();
    }

    /// Behaves so when this key is to sign.
    pub(crate) fn set_signing(&self, key: &str, mood: Mood) {
        self.inside().signing.insert(key.to_owned(), mood);
    }

    /// This key signs so often, and then fails.
    pub(crate) fn limit(&self, key: &str, signatures: usize) {
        self.inside().signatures_left.insert(key.to_owned(), signatures);
    }

    /// This key is for those only who have its token.
    pub(crate) fn protect(&self, key: &str, token: &str) {
        self.inside().tokens.insert(key.to_owned(), token.to_owned());
    }

    /// All calls so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inside().asked.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Notes a call and says how to behave; or what to answer, if that is settled.
    fn receive(&self, asked: Asked) -> Result<Mood, StatusCode> {
        let mut inside = self.inside();
        let (key, signs) = (asked.key.clone(), asked.route == "sign");
        let welcome = inside.tokens.get(&key).is_none_or(|token| asked.token.as_ref() == Some(token));
        inside.asked.push(asked);
        if !welcome {
            return Err(StatusCode::UNAUTHORIZED);
        }
        if !signs {
            return Ok(inside.mood);
        }
        match inside.signatures_left.get_mut(&key) {
            Some(0) => return Err(StatusCode::INTERNAL_SERVER_ERROR),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(inside.signing.get(&key).copied().unwrap_or(inside.mood))
    }
}

/// The key of that name.
pub(crate) fn key_of(name: &str) -> SigningKey {
    let mut scalar = [0; 66];
    scalar[65] = name.bytes().fold(1, u8::wrapping_add);
    SigningKey::from_scalar(&scalar).unwrap()
}

/// `SEQUENCE { INTEGER, INTEGER }` of two unsigned numbers.
fn pair(first: &[u8], second: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
        let mut number = number[start..].to_vec();
        if number[0] & 0x80 != 0 {
            number.insert(0, 0);
        }
        [&[2, u8::try_from(number.len()).unwrap()], &number[..]].concat()
    };
    let content = [integer(first), integer(second)].concat();
    let len = u8::try_from(content.len()).unwrap();
    let header = if len < 0x80 { vec![0x30, len] } else { vec![0x30, 0x81, len] };
    [header, content].concat()
}

fn misbehave(mood: Mood) -> Option<Response> {
    match mood {
        Mood::Fails => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        Mood::Garbles => Some("<html>no JSON</html>".into_response()),
        Mood::AnswersEndlessly => Some("x".repeat(1 << 20).into_response()),
        _ => None,
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    headers.get("authorization").map(|token| token.to_str().unwrap().to_owned())
}

async fn announce(
    State(service): State<SampleService>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response {
    let asked = Asked { route: "keys", key: key.clone(), token: token(&headers), body: Value::Null };
    let mood = match service.receive(asked) {
        Ok(mood) => mood,
        Err(status) => return status.into_response(),
    };
    if mood == Mood::Slow {
        std::future::pending::<()>().await;
    }
    if let Some(bad) = misbehave(mood) {
        return bad;
    }
    let point = key_of(&key).public().to_point();
    let der = match mood {
        Mood::AnnouncesAnotherCurve => pair(&[7; 32], &[9; 32]),
        _ => pair(&point[1..67], &point[67..]),
    };
    Json(json!({"publickey": BASE64.encode(der)})).into_response()
}

async fn sign(
    State(service): State<SampleService>,
    Path(key): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut input = BASE64.decode(body["input"].as_str().unwrap()).unwrap();
    let mood = match service.receive(Asked { route: "sign", key: key.clone(), token: token(&headers), body })
    {
        Ok(mood) => mood,
        Err(status) => return status.into_response(),
    };
    if mood == Mood::Slow {
        std::future::pending::<()>().await;
    }
    if let Some(bad) = misbehave(mood) {
        return bad;
    }
    let key = if mood == Mood::SignsWithAnotherKey { key_of("another") } else { key_of(&key) };
    if mood == Mood::SignsSomethingElse {
        input.push(0);
    }
    Json(json!({"signature": BASE64.encode(&*key.sign(&input))})).into_response()
}
