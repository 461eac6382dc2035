//! Clients that take up connections, and a client that has to be served all the same.

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use bytes::Bytes;
use server::{ServeLimits, mark_authenticated, serve};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Timeout of every wait: shorter than clients keep their connections.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SIGNED_IN: &[u8] = b"GET /signed-in HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A service with these limits.
async fn start(limits: ServeLimits) -> SocketAddr {
    // Both ends of every connection are in this process.
    server::raise_descriptor_limit().unwrap();
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let signed_in = async |request: Request| {
        mark_authenticated(request.extensions());
        "now"
    };
    let router = Router::new()
        .route("/now", get(async || "now"))
        .route("/signed-in", get(signed_in))
        .route("/take", post(async |_: Bytes| "taken"));
    tokio::spawn(serve(listener, router, limits, &[], std::future::pending()));
    address
}

/// A connection from this address that keeps little of what it receives.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind((from, 0).into()).unwrap();
    timeout(PATIENCE, socket.connect(to)).await.unwrap().unwrap()
}

/// Sends a request and receives the answer.
async fn ask(stream: &mut TcpStream, request: &[u8]) {
    let exchange = async {
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"now") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the connection was closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    };
    timeout(PATIENCE, exchange).await.expect("the client is not served");
}

/// Connections that send this and then nothing.
async fn stall(count: usize, from: Ipv4Addr, to: SocketAddr, opening: &[u8]) -> Vec<TcpStream> {
    let mut stalled = Vec::new();
    for _ in 0..count {
        let mut stream = connect(from, to).await;
        // An error means that the connection has made room already.
        let _ = stream.write_all(opening).await;
        stalled.push(stream);
    }
    stalled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_1300_connections_that_stall_keep_no_client_out() {
    for opening in [
        &b""[..],
        b"GET /now HTTP/1.1\r\nHost:",
        b"POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx",
        b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx",
        REQUEST,
    ] {
        let address = start(ServeLimits::default()).await;
        let _stalled = stall(1300, LOCALHOST, address, opening).await;
        for _ in 0..10 {
            ask(&mut connect(LOCALHOST, address).await, REQUEST).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_1040_clients_that_never_read_keep_no_client_out() {
    let mut limits = ServeLimits::default();
    // Connections make room before they time out, so that this is not what is tested here.
    limits.write_time = 2 * PATIENCE;
    let address = start(limits).await;
    let mut attackers = JoinSet::new();
    for _ in 0..1040 {
        let mut stream = connect(LOCALHOST, address).await;
        // Ends when the connection was closed.
        attackers.spawn(async move {
            let pipelined = REQUEST.repeat(1000);
            while stream.write_all(&pipelined).await.is_ok() {}
        });
    }
    for _ in 0..10 {
        ask(&mut connect(LOCALHOST, address).await, REQUEST).await;
    }
}

#[tokio::test]
async fn attack_a_client_that_never_reads_is_let_go() {
    let mut limits = ServeLimits::default();
    limits.write_time = Duration::from_millis(50);
    let address = start(limits).await;
    let mut stream = connect(LOCALHOST, address).await;
    let pipelined = REQUEST.repeat(1000);
    let closed = async { while stream.write_all(&pipelined).await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("the connection is kept");
}

/// Sets one limit.
type Change = fn(&mut ServeLimits, Duration);

#[tokio::test]
async fn attack_clients_that_send_too_slowly_are_let_go() {
    let short = Duration::from_millis(50);
    let changes: [(&[u8], Change); 4] = [
        (b"", |limits, time| limits.first_byte_time = time),
        (b"GET /now HTTP/1.1\r\nHost:", |limits, time| limits.header_time = time),
        (b"POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx", |limits, time| {
            (limits.body_time, limits.linger_time) = (time, time)
        }),
        (REQUEST, |limits, time| limits.idle_time = time),
    ];
    for (opening, change) in changes {
        let mut limits = ServeLimits::default();
        for time in [
            &mut limits.first_byte_time,
            &mut limits.header_time,
            &mut limits.body_time,
            &mut limits.idle_time,
            &mut limits.linger_time,
        ] {
            *time = 2 * PATIENCE;
        }
        change(&mut limits, short);
        let address = start(limits).await;
        let mut stream = connect(LOCALHOST, address).await;
        stream.write_all(opening).await.unwrap();
        // The end of the stream, after an answer or without one.
        let closed = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        closed.unwrap_or_else(|_| panic!("kept: {}", String::from_utf8_lossy(opening))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_strangers_take_no_connection_from_a_client_that_signed_in() {
    let address = start(ServeLimits::default()).await;
    let mut client = connect(LOCALHOST, address).await;
    ask(&mut client, SIGNED_IN).await;
    // Long idle by then, and older than all of them.
    let _stalled = stall(1300, LOCALHOST, address, b"").await;
    ask(&mut client, SIGNED_IN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_one_peer_takes_no_connection_from_another() {
    let mut limits = ServeLimits::default();
    limits.first_byte_time = 2 * PATIENCE;
    let address = start(limits).await;
    let mut other = connect(LOCALHOST, address).await;
    let _stalled = stall(1300, Ipv4Addr::new(127, 0, 0, 2), address, b"").await;
    ask(&mut other, REQUEST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_a_flood_of_connections_keeps_no_client_out() {
    let address = start(ServeLimits::default()).await;
    let mut flood = JoinSet::new();
    for _ in 0..8 {
        flood.spawn(async move {
            let mut kept = std::collections::VecDeque::new();
            loop {
                // A full queue of the listener is no reason to stop.
                if let Ok(stream) = TcpStream::connect(address).await {
                    kept.push_back(stream);
                }
                if kept.len() > 200 {
                    kept.pop_front();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..20 {
        ask(&mut connect(LOCALHOST, address).await, SIGNED_IN).await;
    }
    flood.abort_all();
}
