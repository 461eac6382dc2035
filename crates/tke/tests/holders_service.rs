//! The signing service's client, against a sample service and against bad ones.

use crate::sample_service::{Mood, SampleService, key_of};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::time::Duration;
use tke::holder::{SignatureKey, SigningError, sign_with_all};
use tke::service::{
    KeyName, NamedKey, SigningService, SigningServiceError, SigningServiceKey, SigningServiceTimeouts, Token,
    parse_keys,
};
use tke_crypto::AdministratorName;

/// Whether a fault is the one that is due.
type IsExpected = fn(&SigningServiceError) -> bool;

async fn sample_service(timeouts: SigningServiceTimeouts) -> (SampleService, SigningService) {
    let sample = SampleService::start().await;
    let service = SigningService::new(&sample.url, timeouts).unwrap();
    (sample, service)
}

fn short() -> SigningServiceTimeouts {
    SigningServiceTimeouts { connect: Duration::from_secs(5), whole: Duration::from_millis(200) }
}

fn named(key: &str, token: Option<&str>) -> NamedKey {
    NamedKey { key: KeyName::new(key).unwrap(), token: token.map(|t| Token::new(t.to_owned())) }
}

async fn fetch(service: &SigningService, key: &str) -> Result<SigningServiceKey, SigningServiceError> {
    let name = AdministratorName::try_from(key).unwrap();
    SigningServiceKey::fetch(service, named(key, Some("secret token")), name).await
}

fn fault(error: SigningError) -> SigningServiceError {
    match error {
        SigningError::Service(error) => error,
        other => unreachable!("{other}"),
    }
}

#[tokio::test]
async fn a_good_service_signs_with_exactly_the_documented_calls() {
    let (sample, service) = sample_service(SigningServiceTimeouts::default()).await;
    let key = fetch(&service, "ada-1._~").await.unwrap();
    assert_eq!(key.ski(), key_of("ada-1._~").public().ski());
    let signature = key.sign(b"command").await.unwrap();
    key.public_key().verify(b"command", &signature).unwrap();
    let asked = sample.asked();
    let calls: Vec<_> = asked.iter().map(|asked| (asked.route, asked.key.as_str(), &asked.body)).collect();
    let body = json!({"hash_algorithm": "sha2-512", "input": BASE64.encode("command")});
    assert_eq!(calls, [("keys", "ada-1._~", &Value::Null), ("sign", "ada-1._~", &body)]);
    assert!(asked.iter().all(|asked| asked.token.as_deref() == Some("secret token")));
    assert!(!format!("{key:?}").contains("secret token"));
}

#[tokio::test]
async fn every_bad_service_is_told_apart() {
    let (sample, service) = sample_service(short()).await;
    let key = fetch(&service, "ada").await.unwrap();
    let cases: [(Mood, IsExpected, bool); 6] = [
        (Mood::Slow, |e| matches!(e, SigningServiceError::TimedOut(after) if *after == short().whole), true),
        (Mood::Fails, |e| matches!(e, SigningServiceError::Status(500)), true),
        (Mood::Garbles, |e| matches!(e, SigningServiceError::Malformed(_)), false),
        (Mood::AnswersEndlessly, |e| matches!(e, SigningServiceError::Malformed("it is too long")), false),
        (Mood::SignsSomethingElse, |e| matches!(e, SigningServiceError::SignatureInvalid), false),
        (Mood::SignsWithAnotherKey, |e| matches!(e, SigningServiceError::SignatureInvalid), false),
    ];
    for (mood, expected, retryable) in cases {
        sample.set(mood);
        let error = fault(key.sign(b"command").await.unwrap_err());
        assert!(expected(&error), "{error:?}");
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
    }
    sample.set(Mood::AnnouncesAnotherCurve);
    assert!(matches!(fetch(&service, "ada").await, Err(SigningServiceError::WrongCurve)));
    sample.set(Mood::Slow);
    assert!(matches!(fetch(&service, "ada").await, Err(SigningServiceError::TimedOut(_))));
    sample.set(Mood::Good);
    key.sign(b"command").await.unwrap();
}

#[tokio::test]
async fn an_address_without_a_listener_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let service = SigningService::new(&url, SigningServiceTimeouts::default()).unwrap();
    let error = fetch(&service, "ada").await.unwrap_err();
    assert!(matches!(error, SigningServiceError::Unreachable(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn when_some_keys_fail_all_are_reported_and_no_signature_comes_out() {
    let (sample, service) = sample_service(short()).await;
    sample.set_signing("slow", Mood::Slow);
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
        assert!(matches!(KeyName::new(bad), Err(SigningServiceError::NameInvalid(_))), "{bad}");
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
    assert!(matches!(parse_keys(b"{}"), Err(SigningServiceError::KeysInvalid)));
    assert!(matches!(parse_keys(br#"[{"key": "a/b"}]"#), Err(SigningServiceError::NameInvalid(_))));
}

#[test]
fn attack_tokens_of_signature_keys_are_not_shown_to_a_network() {
    for shown in [
        "http://192.0.2.1:8080",
        "http://signing.example",
        "http://localhost.example",
        "http://127.0.0.1.example:1",
        "http://[2001:db8::1]:1/path",
        "http://user@signing.example",
    ] {
        let service = SigningService::trusting(shown, SigningServiceTimeouts::default(), &[]);
        assert!(matches!(service, Err(SigningServiceError::PlainHttp(_))), "{shown}");
    }
    for local in ["http://127.0.0.1:1", "http://localhost/path", "http://[::1]:1", "https://signing.example"]
    {
        assert!(SigningService::trusting(local, SigningServiceTimeouts::default(), &[]).is_ok(), "{local}");
    }
}

#[test]
fn an_address_is_http_or_https() {
    for bad in ["", "localhost", "ftp://host", "http://", "http://host/?x=1", "https://a b"] {
        let service = SigningService::trusting(bad, SigningServiceTimeouts::default(), &[]);
        assert!(matches!(service, Err(SigningServiceError::AddressInvalid(_))), "{bad}");
    }
    let bad_root =
        SigningService::trusting("https://host", SigningServiceTimeouts::default(), &[vec![1, 2, 3]]);
    assert!(matches!(bad_root, Err(SigningServiceError::NoRoots)));
}
