//! What is logged: the correlation id everywhere, secrets nowhere.

use crate::common::{API_KEY, INSTANCE, PATIENCE, Region, TOKEN, TestNode, send};
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;
use tracing::level_filters::LevelFilter;

thread_local! {
    /// What this thread, and so a test's runtime with all its tasks, has logged.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Captures what the calling thread logs from here on, at every level.
///
/// The subscriber is the process's: with one for each thread, a callsite that a thread without a subscriber reaches first
/// stays disabled for all.
fn start_capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| ThreadLog)
            .init();
        tracing::callsite::rebuild_interest_cache();
    });
    LOG.with_borrow_mut(Vec::clear);
}

/// What the calling thread has logged since [`start_capture`].
fn captured() -> String {
    LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap())
}

/// Writes to the calling thread's log.
struct ThreadLog;

impl Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A thread's last words may come after its log is gone.
        let _ = LOG.try_with(|log| log.borrow_mut().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_correlation_id_leads_from_a_request_to_its_unit_commands() {
    start_capture();
    let region = Region::keyed();
    let node = region.node("a", PATIENCE).await;
    let key = node.create_root().await;
    let path = format!("/api/v2/keys/{key}/actions/wrap");
    let answer = node.call_as("id-of-the-wrap", Method::POST, &path, r#"{"plaintext": "YQ=="}"#).await;
    assert_eq!((answer.status, answer.correlation_id.as_str()), (200, "id-of-the-wrap"));
    let log = captured();
    let of_request: Vec<&str> = log.lines().filter(|line| line.contains("id-of-the-wrap")).collect();
    let has = |what: &str| of_request.iter().any(|line| line.contains(what));
    assert!(captured().lines().any(|line| line.contains("unit admitted") && line.contains("unit=1")));
    assert!(has("command=\"Encrypt\"") && has("request answered") && has("status=200"), "{log}");
    assert!(
        log.contains("instance created")
            && log.lines().any(|line| line.contains("key created") && line.contains(&key))
    );
    // No other request's lines bear it.
    assert!(!has("command=\"GenerateKey\""), "{log}");
}

/// A session that touches everything secret that the service is given or gives.
async fn session(region: &Region, node: &TestNode) -> Vec<String> {
    let grant = format!("grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey={API_KEY}");
    let request = Request::post("/identity/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(grant))
        .unwrap();
    let granted = send(node.0.router(), request).await.json();
    let (plaintext, material) = ([0xa7; 32], [0xb3; 32]);
    let in_base64 = |bytes: &[u8]| wire::base64::encode(bytes).to_string();
    let root = node.create_root().await;
    let wrapped = node.act(&root, "wrap", &json!({ "plaintext": in_base64(&plaintext) })).await;
    let generated = node.act(&root, "wrap", &json!({})).await;
    let ciphertext = json!({ "ciphertext": wrapped["ciphertext"] });
    node.act(&root, "unwrap", &ciphertext).await;
    node.act(&root, "rewrap", &ciphertext).await;
    node.act(&root, "rotate", &json!({})).await;
    let imported =
        node.create(json!({ "name": "in", "extractable": true, "payload": in_base64(&material) })).await;
    let shown = node.call(Method::GET, &format!("/api/v2/keys/{imported}"), "").await;
    assert!(shown.text.contains(&in_base64(&material)));
    // Refused ones, too: what is wrong with a secret is no reason to show it.
    let path = format!("/api/v2/keys/{root}/actions/wrap");
    let bad = format!(r#"{{"plaintext": "{}", "more": }}"#, in_base64(&plaintext));
    assert_eq!(node.call(Method::POST, &path, &bad).await.status, 400);
    let stranger = Request::get("/api/v2/keys")
        .header("authorization", "Bearer token-of-a-stranger")
        .header("bluemix-instance", INSTANCE.to_string())
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(node.0.router(), stranger).await.status, 401);
    let new = region.prepare(2);
    node.rotation(json!({ "action": "begin", "pattern": new })).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    vec![
        TOKEN.to_owned(),
        API_KEY.to_owned(),
        "token-of-a-stranger".to_owned(),
        text(&granted["access_token"]),
        text(&granted["refresh_token"]),
        text(&generated["plaintext"]),
        in_base64(&plaintext),
        in_base64(&material),
        wire::text::encode_hex(&plaintext),
        wire::text::encode_hex(&material),
        format!("{plaintext:?}"),
        format!("{material:?}"),
    ]
}

/// The secrets that a log contains. A secret of at least 16 characters counts when half of it is there.
fn leaked<'a>(log: &str, secrets: &'a [String]) -> Vec<&'a String> {
    let part =
        |secret: &str| secret.get(..secret.len() / 2).filter(|_| secret.len() >= 16).map(str::to_owned);
    let leaks = |secret: &&String| log.contains(part(secret).as_deref().unwrap_or(secret));
    secrets.iter().filter(leaks).collect()
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    start_capture();
    let region = Region::keyed();
    let node = region.node("a", PATIENCE).await;
    let secrets = session(&region, &node).await;
    let text = captured();
    assert!(text.contains("request answered") && text.contains(" DEBUG "), "nothing was captured: {text}");
    assert_eq!(leaked(&text, &secrets), Vec::<&String>::new());

    // The canary: what would be found if it were there.
    for secret in &secrets {
        tracing::trace!(secret, "planted");
    }
    assert_eq!(leaked(&captured(), &secrets).len(), secrets.len());
}
