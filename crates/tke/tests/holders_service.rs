//! The signing service's client, against a sample service and against bad ones.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tke::holder::{SignatureKey, SigningError, sign_with_all};
use tke::service::{
    KeyName, NamedKey, ServiceError, ServiceKey, ServiceTimeouts, SigningService, Token, parse_keys,
};
use tke_crypto::{AdministratorName, SigningKey};

/// Whether a fault is the one that is due.
type IsExpected = fn(&ServiceError) -> bool;

/// How the sample service behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Good,
    Slow,
    Fails,
    Garbles,
    SignsSomethingElse,
    SignsWithAnotherKey,
    AnnouncesAnotherCurve,
    AnswersEndlessly,
}

#[derive(Clone)]
struct Sample {
    mood: Arc<Mutex<Mood>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Sample {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

fn key_of(name: &str) -> SigningKey {
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

async fn announce(State(sample): State<Sample>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let mood = sample.mood();
    let token = headers.get("authorization").map(|token| token.to_str().unwrap().to_owned());
    sample.asked.lock().unwrap().push(json!({"token": token}));
    if mood == Mood::Slow {
        std::future::pending::<()>().await;
    }
    if let Some(bad) = misbehave(mood) {
        return bad;
    }
    let point = key_of(&name).public().to_point();
    let der = match mood {
        Mood::AnnouncesAnotherCurve => pair(&[7; 32], &[9; 32]),
        _ => pair(&point[1..67], &point[67..]),
    };
    Json(json!({"publickey": BASE64.encode(der)})).into_response()
}

async fn sign(State(sample): State<Sample>, Path(name): Path<String>, Json(body): Json<Value>) -> Response {
    let mood = sample.mood();
    let mut input = BASE64.decode(body["input"].as_str().unwrap()).unwrap();
    sample.asked.lock().unwrap().push(body);
    if mood == Mood::Slow || name == "slow" {
        std::future::pending::<()>().await;
    }
    if let Some(bad) = misbehave(mood) {
        return bad;
    }
    let key = if mood == Mood::SignsWithAnotherKey { key_of("another") } else { key_of(&name) };
    if mood == Mood::SignsSomethingElse {
        input.push(0);
    }
    Json(json!({"signature": BASE64.encode(&*key.sign(&input))})).into_response()
}

async fn sample_service(timeouts: ServiceTimeouts) -> (Sample, SigningService) {
    let sample = Sample { mood: Arc::new(Mutex::new(Mood::Good)), asked: Arc::default() };
    let app = Router::new()
        .route("/keys/{name}", get(announce))
        .route("/sign/{name}", post(sign))
        .with_state(sample.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    (sample, SigningService::new(&url, timeouts).unwrap())
}

fn short() -> ServiceTimeouts {
    ServiceTimeouts { connect: Duration::from_secs(5), whole: Duration::from_millis(200) }
}

fn named(key: &str, token: Option<&str>) -> NamedKey {
    NamedKey { key: KeyName::new(key).unwrap(), token: token.map(|t| Token::new(t.to_owned())) }
}

async fn fetch(service: &SigningService, key: &str) -> Result<ServiceKey, ServiceError> {
    let name = AdministratorName::try_from(key).unwrap();
    ServiceKey::fetch(service, named(key, Some("secret token")), name).await
}

fn fault(error: SigningError) -> ServiceError {
    match error {
        SigningError::Service(error) => error,
        other => unreachable!("{other}"),
    }
}

#[tokio::test]
async fn a_good_service_signs_with_exactly_the_documented_calls() {
    let (sample, service) = sample_service(ServiceTimeouts::default()).await;
    let key = fetch(&service, "ada-1._~").await.unwrap();
    assert_eq!(key.ski(), key_of("ada-1._~").public().ski());
    let signature = key.sign(b"command").await.unwrap();
    key.public_key().verify(b"command", &signature).unwrap();
    let asked = sample.asked.lock().unwrap();
    assert_eq!(asked[0], json!({"token": "secret token"}));
    assert_eq!(asked[1], json!({"hash_algorithm": "sha2-512", "input": BASE64.encode("command")}));
    assert!(!format!("{key:?}").contains("secret token"));
}

#[tokio::test]
async fn every_bad_service_is_told_apart() {
    let (sample, service) = sample_service(short()).await;
    let key = fetch(&service, "ada").await.unwrap();
    let cases: [(Mood, IsExpected, bool); 6] = [
        (Mood::Slow, |e| matches!(e, ServiceError::TimedOut(after) if *after == short().whole), true),
        (Mood::Fails, |e| matches!(e, ServiceError::Status(500)), true),
        (Mood::Garbles, |e| matches!(e, ServiceError::Malformed(_)), false),
        (Mood::AnswersEndlessly, |e| matches!(e, ServiceError::Malformed("longer than any answer")), false),
        (Mood::SignsSomethingElse, |e| matches!(e, ServiceError::SignatureInvalid), false),
        (Mood::SignsWithAnotherKey, |e| matches!(e, ServiceError::SignatureInvalid), false),
    ];
    for (mood, expected, retryable) in cases {
        sample.set(mood);
        let error = fault(key.sign(b"command").await.unwrap_err());
        assert!(expected(&error), "{error:?}");
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
    }
    sample.set(Mood::AnnouncesAnotherCurve);
    assert!(matches!(fetch(&service, "ada").await, Err(ServiceError::WrongCurve)));
    sample.set(Mood::Slow);
    assert!(matches!(fetch(&service, "ada").await, Err(ServiceError::TimedOut(_))));
    sample.set(Mood::Good);
    key.sign(b"command").await.unwrap();
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let service = SigningService::new(&url, ServiceTimeouts::default()).unwrap();
    let error = fetch(&service, "ada").await.unwrap_err();
    assert!(matches!(error, ServiceError::Unreachable(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn when_some_keys_fail_all_are_reported_and_no_signature_comes_out() {
    let (_sample, service) = sample_service(short()).await;
    let (ada, slow, bob) = (
        fetch(&service, "ada").await.unwrap(),
        fetch(&service, "slow").await.unwrap(),
        fetch(&service, "bob").await.unwrap(),
    );
    let error = sign_with_all(&[&ada, &slow, &bob], b"command").await.unwrap_err();
    let signed: Vec<_> = error.signed.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(signed, ["ada", "bob"]);
    assert_eq!(error.failed.len(), 1);
    let said = error.to_string();
    assert!(
        said.starts_with("1 of 3 keys did not sign: slow (") && said.contains("did not answer within"),
        "{said}"
    );
    assert_eq!(sign_with_all(&[&ada, &bob], b"command").await.unwrap().len(), 2);
}

#[test]
fn names_are_unreserved_characters_alone() {
    for good in ["a", "A-z.0_9~", "..."] {
        assert_eq!(KeyName::new(good).unwrap().as_str(), good);
    }
    for bad in ["", ".", "..", "a/b", "a b", "a%20b", "ä", "a?b", "a\n"] {
        assert!(matches!(KeyName::new(bad), Err(ServiceError::NameInvalid(_))), "{bad}");
    }
}

#[test]
fn a_list_of_keys_is_read_with_and_without_tokens() {
    let keys = parse_keys(br#"[{"key": "ada", "token": "t"}, {"key": "bob"}]"#).unwrap();
    assert_eq!(
        keys.iter().map(|k| (k.key.as_str(), k.token.is_some())).collect::<Vec<_>>(),
        [("ada", true), ("bob", false)]
    );
    assert!(format!("{keys:?}").contains("Some(Token)"));
    assert!(matches!(parse_keys(b"{}"), Err(ServiceError::KeysInvalid)));
    assert!(matches!(parse_keys(br#"[{"key": "a/b"}]"#), Err(ServiceError::NameInvalid(_))));
}

#[test]
fn an_address_is_http_or_https() {
    for bad in ["", "localhost", "ftp://host", "http://", "http://host/?x=1", "https://a b"] {
        let service = SigningService::trusting(bad, ServiceTimeouts::default(), &[]);
        assert!(matches!(service, Err(ServiceError::AddressInvalid(_))), "{bad}");
    }
    let bad_root = SigningService::trusting("https://host", ServiceTimeouts::default(), &[vec![1, 2, 3]]);
    assert!(matches!(bad_root, Err(ServiceError::NoRoots)));
}
