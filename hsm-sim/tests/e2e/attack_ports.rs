//! Local clients that take up the connections of a region's ports, while another client has to be served, health has to
//! answer, and units have to be started again.

use crate::common::control::{all_serve, kill, status_once, unit};
use crate::common::{Region, signal};
use hsm_sim::control::Target;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// A region that can have 1,024 open files, as many systems allow.
fn limited(data: &Path) -> Region {
    tokio::task::block_in_place(|| Region::up_limited("-n 1024", data, &[]))
}

/// The addresses of the region's ports.
fn ports(region: &Region) -> [SocketAddr; 3] {
    let ready = &region.ready;
    [&ready.rest_url, &ready.control_url, &ready.operator_url]
        .map(|url| url.strip_prefix("http://").unwrap().parse().unwrap())
}

async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.connect(to).await.unwrap()
}

/// Everything that has to go on: keys are served, health and control answer, killed units come back.
async fn serves(region: &Region) {
    let rest = region.rest();
    let key = rest.create_when_ready("root").await;
    let wrapped = rest.wrap(&key, "AAAA").await.unwrap();
    assert_eq!(rest.unwrap(&key, &wrapped).await.unwrap(), "AAAA");
    for base in [&region.ready.rest_url, &region.ready.operator_url] {
        let url = format!("{base}/livez").parse().unwrap();
        assert_eq!(rest.http.get(url).await.unwrap().status().as_u16(), 200, "{base}");
    }
    let control = region.control();
    let before = status_once(&control, all_serve).await;
    // By itself, and by command.
    signal(unit(&before, 1).pid.unwrap(), Signal::KILL);
    let restarts = unit(&before, 1).restarts;
    status_once(&control, |status| unit(status, 1).restarts > restarts && all_serve(status)).await;
    control.fault(&kill(2)).await.unwrap();
    control.heal(&Target::Unit(2)).await.unwrap();
    status_once(&control, all_serve).await;
    assert_eq!(rest.unwrap(&key, &wrapped).await.unwrap(), "AAAA");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_idle_connections_stop_neither_apis_nor_restarts() {
    server::raise_descriptor_limit().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let region = limited(&folder.path().join("data"));
    let mut idle = Vec::new();
    for port in ports(&region) {
        for opening in [&b""[..], b"GET /livez HTTP/1.1\r\nHost:", b"POST /heal HTTP/1.1\r\nContent-Le"] {
            for _ in 0..434 {
                let mut stream = connect(port).await;
                // An error means that the connection has made room already.
                let _ = stream.write_all(opening).await;
                idle.push(stream);
            }
        }
    }
    assert!(idle.len() > 3 * 1300);
    serves(&region).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_clients_that_never_read_stop_neither_apis_nor_restarts() {
    server::raise_descriptor_limit().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let region = limited(&folder.path().join("data"));
    let mut attackers = JoinSet::new();
    for port in ports(&region) {
        for _ in 0..1040 {
            let mut stream = connect(port).await;
            attackers.spawn(async move {
                let pipelined = format!("GET /livez HTTP/1.1\r\nHost: {port}\r\n\r\n").repeat(100);
                while stream.write_all(pipelined.as_bytes()).await.is_ok() {}
            });
        }
    }
    serves(&region).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_flood_of_connections_stops_neither_apis_nor_restarts() {
    server::raise_descriptor_limit().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let region = limited(&folder.path().join("data"));
    let mut flood = JoinSet::new();
    for port in ports(&region).into_iter().cycle().take(6) {
        flood.spawn(async move {
            let mut kept = std::collections::VecDeque::new();
            loop {
                // A full queue of the listener is no reason to stop.
                if let Ok(stream) = TcpStream::connect(port).await {
                    kept.push_back(stream);
                }
                if kept.len() > 600 {
                    kept.pop_front();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    serves(&region).await;
    flood.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_raises_its_limit_of_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let region =
        tokio::task::block_in_place(|| Region::up_limited("-S -n 512", &folder.path().join("data"), &[]));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", region.process.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> =
        open_files.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers[0], numbers[1], "{open_files}");
}
