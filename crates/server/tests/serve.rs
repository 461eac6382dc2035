//! Connections: several calls on one, slow clients, too many connections, and shutdown.

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use server::{ServeLimits, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Timeout of every wait.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<()>>,
    /// Notified when a call of `/later` has begun.
    begun: Arc<Notify>,
    /// Lets the call of `/later` end.
    go_on: Arc<Notify>,
}

/// The default limits, changed.
fn limits(change: impl FnOnce(&mut ServeLimits)) -> ServeLimits {
    let mut limits = ServeLimits::default();
    change(&mut limits);
    limits
}

async fn start(limits: ServeLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&begun), Arc::clone(&go_on));
    let later = async move || {
        signals.0.notify_one();
        signals.1.notified().await;
        "later"
    };
    let refuse = async || (StatusCode::PAYLOAD_TOO_LARGE, "refused");
    let router = Router::new().route("/now", get(async || "now")).route("/later", get(later));
    let router = router.route("/refuse", post(refuse));
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { _ = stopped.await };
    let ended = tokio::spawn(serve(listener, router, limits, &[], shutdown));
    Server { address, stop, ended, begun, go_on }
}

/// Reads until `end` was received or the connection was closed.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) || end.is_empty() {
        let mut part = [0; 1024];
        match timeout(PATIENCE, stream.read(&mut part)).await.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(len) => text.extend(part.iter().take(len)),
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let server = start(ServeLimits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(REQUEST).await.unwrap();
        assert!(read_until(&mut stream, "now").await.starts_with("HTTP/1.1 200"));
    }
    server.stop.send(()).unwrap();
    // An idle connection is closed, and the service ends without waiting for its client.
    assert_eq!(read_until(&mut stream, "").await, "");
    timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn calls_under_way_end_before_the_service_does() {
    let server = start(ServeLimits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    timeout(PATIENCE, server.begun.notified()).await.unwrap();
    server.stop.send(()).unwrap();
    // New connections are refused.
    timeout(PATIENCE, async { while TcpStream::connect(server.address).await.is_ok() {} }).await.unwrap();
    assert!(!server.ended.is_finished());
    server.go_on.notify_one();
    assert!(read_until(&mut stream, "").await.ends_with("later"));
    timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn calls_that_do_not_end_are_cut_off() {
    let server = start(limits(|limits| limits.drain = Duration::from_millis(50))).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    timeout(PATIENCE, server.begun.notified()).await.unwrap();
    server.stop.send(()).unwrap();
    timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
    assert_eq!(read_until(&mut stream, "").await, "");
}

#[tokio::test]
async fn a_client_that_never_ends_its_header_is_let_go() {
    let limits = limits(|limits| limits.header_time = Duration::from_millis(50));
    let server = start(limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /now HTTP/1.1\r\nHost:").await.unwrap();
    assert!(!read_until(&mut stream, "").await.contains("200"));
}

#[tokio::test]
async fn a_connection_above_the_limit_ends_one_that_waits_for_its_client() {
    let server = start(limits(|limits| limits.connections = 1)).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    read_until(&mut first, "now").await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    assert!(read_until(&mut second, "now").await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_until(&mut first, "").await, "");
}

#[tokio::test]
async fn a_connection_above_the_limit_waits_while_the_service_works_for_the_others() {
    let server = start(limits(|limits| limits.connections = 1)).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    timeout(PATIENCE, server.begun.notified()).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    let second = tokio::spawn(async move { read_until(&mut second, "now").await });
    server.go_on.notify_one();
    // The answer is not lost, although the second client waits for the place of the first.
    assert!(read_until(&mut first, "later").await.starts_with("HTTP/1.1 200"));
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
}

/// Sends the header of a long request and the first part of its body, and waits for the response.
async fn refused_early(server: &Server, path: &str, body_len: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let header = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {body_len}\r\n\r\n");
    stream.write_all(header.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 4096]).await.unwrap();
    timeout(PATIENCE, stream.peek(&mut [0])).await.unwrap().unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_gets_the_answer() {
    const PART: usize = 64 * 1024;
    let server = start(ServeLimits::default()).await;
    let mut stream = refused_early(&server, "/refuse", 4096 + 8 * PART).await;
    for part in 0..8 {
        let sent = stream.write_all(&[b'x'; PART]).await;
        assert!(sent.is_ok(), "part {part}: {sent:?}");
    }
    let answer = read_until(&mut stream, "").await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("refused"), "{answer}");
    // Otherwise the client would send its next request on a connection that is about to end.
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reuses_connections_loses_no_request_after_a_refusal() {
    let server = start(ServeLimits::default()).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let url = |path: &str| format!("http://{}{path}", server.address);
    for _ in 0..50 {
        let request = Request::post(url("/refuse")).body(Full::from(vec![b'x'; 200_000])).unwrap();
        let answer = timeout(PATIENCE, client.request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        answer.into_body().collect().await.unwrap();
        // A client does not repeat a POST that was lost with its connection.
        let request = Request::post(url("/now")).body(Full::default()).unwrap();
        let answer = timeout(PATIENCE, client.request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        answer.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_whose_header_is_too_long_gets_the_answer() {
    let server = start(ServeLimits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let header = format!("GET /now HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(40 * 1024));
    stream.write_all(header.as_bytes()).await.unwrap();
    timeout(PATIENCE, stream.peek(&mut [0])).await.unwrap().unwrap();
    for _ in 0..8 {
        stream.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    }
    assert!(read_until(&mut stream, "").await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_refused_client_is_not_read_for_ever() {
    // One client that continues to send, and one that sends nothing: the only connection slot is free again soon.
    for (linger_time, linger_len) in [(PATIENCE, 1024), (Duration::from_millis(50), usize::MAX)] {
        let limits = limits(|limits| {
            limits.connections = 1;
            limits.linger_time = linger_time;
            limits.linger_len = linger_len;
        });
        let server = start(limits).await;
        let mut first = refused_early(&server, "/refuse", 1 << 40).await;
        // An error means that the connection was closed, as expected.
        let _ = first.write_all(&[b'x'; 4096]).await;
        let mut second = TcpStream::connect(server.address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        assert!(read_until(&mut second, "now").await.starts_with("HTTP/1.1 200"));
    }
}
