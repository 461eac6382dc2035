//! Two nodes in a pair of regions, with real units, stores, TLS connections and time.

use crate::common::{PATIENCE, Region, TestNode, empty_store, wait_until};
use axum::http::Method;
use keystore::{Revision, StoreIdentity};
use kms::replica::{ReplicaState, SourcePosition};
use node::region::{
    Acknowledge, FrontSettings, FrontTarget, NotReplicated, PairSettings, Place, RegionHandle, RegionTls,
    serve_front,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use regions::{Failback, Fence, PairConfig, PairState, Side, TakeOver, TakeOverRefused, WritesRefused};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// The certificates of a pair.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Certificate and private key for a name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn tls(&self, name: &str) -> RegionTls {
        let (certificate, key) = self.issue(name);
        RegionTls::from_pem(&self.certificate, &certificate, &key).unwrap()
    }

    /// What a server answers to a hello of a client with a certificate for `name`, or nothing.
    async fn asks(&self, name: &str, port: u16, trusts: &Self, hello: &str) -> Option<Vec<u8>> {
        let (certificate, key) = self.issue(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusts.certificate.as_bytes()).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let server = ServerName::try_from(NAMES[0]).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await.ok()?;
        let mut frame = u32::try_from(hello.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(hello.as_bytes());
        stream.write_all(&frame).await.ok()?;
        let mut len = [0; 4];
        stream.read_exact(&mut len).await.ok()?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    }
}

/// A pair of regions, each with units of its own under one master key.
struct Pair {
    authority: Authority,
    config: PairConfig,
    home: Region,
    standby: Region,
    ports: [u16; 2],
    acknowledge: Acknowledge,
}

/// A node that can be killed.
struct Running {
    node: TestNode,
    peers: JoinHandle<()>,
}

const NAMES: [&str; 2] = ["us-south", "us-east"];

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn index(side: Side) -> usize {
    match side {
        Side::Home => 0,
        Side::Standby => 1,
    }
}

impl Pair {
    async fn new() -> Self {
        let config = PairConfig {
            fence: Fence::Operator,
            poll: Duration::from_millis(100),
            lost_after: Duration::from_secs(1),
            failback: Failback::Operator,
            fronts_confirm_loss: false,
            ..PairConfig::default()
        };
        let ports = [free_port().await, free_port().await];
        Self {
            authority: Authority::new(),
            config,
            home: Region::keyed(),
            standby: Region::keyed(),
            ports,
            acknowledge: Acknowledge::Local,
        }
    }

    fn place(&self, side: Side) -> Place {
        let name = NAMES[index(side)].to_owned();
        Place { name, address: format!("127.0.0.1:{}", self.ports[index(side)]) }
    }

    async fn start(&self, side: Side) -> Running {
        let region = match side {
            Side::Home => &self.home,
            Side::Standby => &self.standby,
        };
        let name = NAMES[index(side)];
        let settings = PairSettings {
            config: self.config.clone(),
            side,
            acknowledge: self.acknowledge,
            name: name.to_owned(),
            partner: self.place(side.other()),
            witness: None,
            tls: self.authority.tls(name),
        };
        let node = region.builder(name, PATIENCE).pair(settings).start().await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", self.ports[index(side)])).await.unwrap();
        let handle = node.region().unwrap();
        let peers = tokio::spawn(async move { handle.serve_peers(listener, std::future::pending()).await });
        Running { node: TestNode(node), peers }
    }
}

impl Running {
    /// Ends the node; its port is free afterwards.
    async fn stop(self) {
        self.node.0.shutdown().await;
        self.peers.abort();
        let _ = self.peers.await;
    }

    fn region(&self) -> RegionHandle {
        self.node.0.region().unwrap()
    }

    async fn writes(&self) {
        wait_until("the region writes", async || {
            self.region().status().is_some_and(|status| status.site.writes && status.serves)
        })
        .await;
    }

    async fn follows(&self) {
        wait_until("the region follows", async || {
            self.region().status().is_some_and(|status| status.serves && status.is_connected)
        })
        .await;
    }

    async fn has(&self, key: &str) {
        wait_until("the key is here", async || {
            self.node.call(Method::GET, &format!("/api/v2/keys/{key}"), "").await.status == 200
        })
        .await;
    }

    async fn unwraps(&self, key: &str, ciphertext: &serde_json::Value) {
        let unwrapped = self.node.act(key, "unwrap", &json!({ "ciphertext": ciphertext })).await;
        assert_eq!(unwrapped["plaintext"], "YQ==");
    }

    async fn wrap(&self, key: &str) -> serde_json::Value {
        self.node.act(key, "wrap", &json!({ "plaintext": "YQ==" })).await["ciphertext"].clone()
    }

    async fn refuses_changes(&self) {
        let answer = self.node.try_create_root().await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.text.contains("read-only"), "{}", answer.text);
    }

    async fn take_over(&self, partner_is_down: bool) {
        let order = TakeOver { partner_is_down, accept_divergence: false };
        self.region().take_over(order).await.unwrap();
    }
}

#[tokio::test]
async fn a_pair_replicates_fails_over_and_returns() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let first = home.node.create_root().await;
    let ciphertext = home.wrap(&first).await;

    standby.follows().await;
    standby.has(&first).await;
    standby.unwraps(&first, &ciphertext).await;
    // The standby cannot count the encryption in its store, which is a mirror, and encrypts nevertheless.
    let wrapped_there = standby.wrap(&first).await;
    home.unwraps(&first, &wrapped_there).await;
    standby.refuses_changes().await;

    for name in ["writes", "epoch", "connected", "ready", "diverged", "lag_revisions", "lag_seconds"] {
        let name = format!("hsm_region_{name}");
        assert!(standby.node.metrics().await.contains_key(&name), "{name}");
    }

    // A second key, while the standby follows.
    let second = home.node.create_root().await;
    standby.has(&second).await;
    let status = home.region().status().unwrap();
    assert_eq!((status.site.state, status.site.epoch.number()), (PairState::Normal, 1));

    // The home dies. Its partner serves read-only, and writes on an operator's word.
    home.stop().await;
    wait_until("the home is lost", async || standby.region().state() == Some(PairState::Lost)).await;
    standby.unwraps(&first, &ciphertext).await;
    standby.refuses_changes().await;
    let refused = standby.region().take_over(TakeOver::default()).await.unwrap_err().unwrap();
    assert!(refused.to_string().contains("may still be writing"), "{refused}");
    standby.take_over(true).await;
    standby.writes().await;
    let third = standby.node.create_root().await;
    let late = standby.wrap(&second).await;

    // The home comes back: it finds the higher epoch, copies, and does not write.
    let home = pair.start(Side::Home).await;
    home.has(&third).await;
    home.follows().await;
    home.refuses_changes().await;
    assert_eq!(home.region().state(), Some(PairState::Returning));
    let fourth = standby.node.create_root().await;

    // Writing returns, and nothing is missing.
    home.has(&fourth).await;
    home.take_over(false).await;
    home.writes().await;
    standby.refuses_changes().await;
    home.unwraps(&second, &late).await;
    let fifth = home.node.create_root().await;
    standby.follows().await;
    standby.has(&fifth).await;
    assert_eq!(home.region().status().unwrap().site.epoch.number(), 3);
    assert_eq!(standby.region().state(), Some(PairState::Normal));
}

#[tokio::test]
async fn what_a_region_loses_is_counted_and_named() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let kept = home.node.create_root().await;
    standby.follows().await;
    standby.has(&kept).await;
    standby.stop().await;
    // Acknowledged, and never replicated.
    let lost = home.node.create_root().await;
    home.stop().await;

    let standby = pair.start(Side::Standby).await;
    wait_until("the copy is known to be complete", async || {
        standby.region().take_over(TakeOver { partner_is_down: true, accept_divergence: false }).await.is_ok()
    })
    .await;
    standby.writes().await;
    let home = pair.start(Side::Home).await;
    home.follows().await;
    let given_up = home.region().status().unwrap().given_up.unwrap();
    assert_eq!(given_up.changes, Some(1));
    assert_eq!(given_up.keys.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&lost));
    home.has(&kept).await;
    let answer = home.node.call(Method::GET, &format!("/api/v2/keys/{lost}"), "").await;
    assert_eq!(answer.status, 404, "{}", answer.text);
}

#[tokio::test]
async fn a_region_that_has_lost_its_store_does_not_empty_its_partners() {
    let mut pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let key = home.node.create_root().await;
    let ciphertext = home.wrap(&key).await;
    standby.follows().await;
    standby.has(&key).await;
    home.stop().await;

    // A new machine: the same units, certificates and configuration, and nothing in the store.
    pair.home.store = empty_store();
    let home = pair.start(Side::Home).await;
    wait_until("the home would write if it had its data", async || {
        home.region().status().is_some_and(|it| it.writes_refused == Some(WritesRefused::TakingOver))
    })
    .await;
    wait_until("the partner knows that the data differ", async || {
        standby.region().take_over(TakeOver::default()).await == Err(Some(TakeOverRefused::Diverged))
    })
    .await;
    let refused = home.node.try_create_root().await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    standby.unwraps(&key, &ciphertext).await;

    let order = TakeOver { partner_is_down: false, accept_divergence: true };
    standby.region().take_over(order).await.unwrap();
    standby.writes().await;
    home.has(&key).await;
    home.unwraps(&key, &ciphertext).await;
    home.take_over(false).await;
    home.writes().await;
    home.unwraps(&key, &ciphertext).await;
    let next = home.node.create_root().await;
    standby.follows().await;
    standby.has(&next).await;
}

#[tokio::test]
async fn both_regions_have_a_change_that_was_waited_for() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let created = home.node.try_create_root().await;
    let at = SourcePosition::from_text(&created.revision).unwrap();
    home.region().wait_replicated(at, PATIENCE).await.unwrap();
    let key = created.json()["resources"][0]["id"].as_str().unwrap().to_owned();
    let position = ReplicaState::read(&pair.standby.store, PATIENCE).await.unwrap();
    assert!(matches!(position, ReplicaState::Following(_)), "{position:?}");
    standby.has(&key).await;
    standby.region().wait_replicated(at, PATIENCE).await.unwrap();

    let later = SourcePosition { revision: Revision(at.revision.0 + 1_000_000), ..at };
    let refused = home.region().wait_replicated(later, PATIENCE).await.unwrap_err();
    assert!(matches!(refused, NotReplicated::Future { .. }), "{refused}");
    let elsewhere = SourcePosition { source: StoreIdentity([9; 16]), ..at };
    let refused = home.region().wait_replicated(elsewhere, PATIENCE).await.unwrap_err();
    assert!(matches!(refused, NotReplicated::OtherStore { .. }), "{refused}");

    standby.stop().await;
    let created = home.node.try_create_root().await;
    let alone = SourcePosition::from_text(&created.revision).unwrap();
    let refused = home.region().wait_replicated(alone, Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(refused, NotReplicated::NotYet { partner_at: Some(_) }), "{refused}");
    // After a takeover, its own store tells what the standby has.
    home.stop().await;
    let standby = pair.start(Side::Standby).await;
    wait_until("the standby can be promoted", async || {
        standby.region().take_over(TakeOver { partner_is_down: true, accept_divergence: false }).await.is_ok()
    })
    .await;
    standby.writes().await;
    standby.region().wait_replicated(at, PATIENCE).await.unwrap();
    let refused = standby.region().wait_replicated(alone, PATIENCE).await.unwrap_err();
    assert!(matches!(refused, NotReplicated::OtherStore { .. }), "{refused}");
}

#[tokio::test]
async fn a_change_is_acknowledged_once_the_standby_has_it_if_that_is_configured() {
    let pair = Pair { acknowledge: Acknowledge::Standby, ..Pair::new().await };
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    wait_until("the standby follows", async || home.node.try_create_root().await.status == 201).await;
    standby.follows().await;
    // No waiting between the answer at home and the question at the standby.
    for _ in 0..20 {
        let key = home.node.create_root().await;
        let ciphertext = home.wrap(&key).await;
        standby.unwraps(&key, &ciphertext).await;
        let path = format!("/api/v2/keys/{key}/actions/disable");
        assert_eq!(home.node.call(Method::POST, &path, "").await.status, 204);
        let path = format!("/api/v2/keys/{key}/actions/unwrap");
        let body = json!({ "ciphertext": ciphertext }).to_string();
        let used = standby.node.call(Method::POST, &path, &body).await;
        assert_eq!(used.status, 409, "{}", used.text);
    }
    let key = home.node.create_root().await;
    standby.stop().await;
    wait_until("the home has noticed", async || {
        let refused = home.node.try_create_root().await;
        refused.status == 503 && refused.text.contains("standby region has them, and it is not connected")
    })
    .await;
    // Uses go on.
    home.wrap(&key).await;
    let standby = pair.start(Side::Standby).await;
    wait_until("changes are accepted again", async || home.node.try_create_root().await.status == 201).await;
    // A standby that has taken over waits for no one.
    home.stop().await;
    wait_until("the home is lost", async || standby.region().state() == Some(PairState::Lost)).await;
    standby.take_over(true).await;
    standby.writes().await;
    standby.node.create_root().await;
}

#[tokio::test]
async fn a_change_under_way_at_a_handover_is_acknowledged_and_handed_over() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let first = home.node.create_root().await;
    standby.follows().await;
    standby.has(&first).await;
    let made = async {
        let mut made = Vec::new();
        loop {
            let created = home.node.try_create_root().await;
            match created.status {
                201 => made.push(created.json()["resources"][0]["id"].as_str().unwrap().to_owned()),
                // It was not made: the outcome is not merely unknown.
                503 => {
                    assert!(created.text.contains("read-only"), "{}", created.text);
                    return made;
                }
                other => panic!("{other}: {}", created.text),
            }
        }
    };
    let (made, ()) = tokio::join!(made, standby.take_over(false));
    standby.writes().await;
    for key in made {
        standby.has(&key).await;
    }
}

#[tokio::test]
async fn a_region_that_starts_alone_does_not_write() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    wait_until("the region has started", async || home.region().status().is_some()).await;
    let refused = home.region().status().unwrap().writes_refused.unwrap();
    assert!(refused.to_string().contains("must first hear"), "{refused}");
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    home.node.create_root().await;
    standby.follows().await;
}

#[tokio::test]
async fn attack_only_the_partner_gets_the_data_of_a_region() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let port = pair.ports[0];
    let replicate = r#"{"version":1,"purpose":{"purpose":"replicate","from":null}}"#;
    let known = &pair.authority;
    assert!(known.asks(NAMES[1], port, known, replicate).await.is_some(), "the partner gets them");
    // The front and another region of the same authority, the region itself, and the partner's name from another authority.
    for name in ["front", "us-west", NAMES[0], "witness"] {
        assert_eq!(known.asks(name, port, known, replicate).await, None, "{name}");
    }
    assert_eq!(Authority::new().asks(NAMES[1], port, known, replicate).await, None);
    // Nor does the partner's certificate serve to move the front's requests, or another to ask how far it came.
    let front = r#"{"version":1,"purpose":{"purpose":"probe"}}"#;
    assert_eq!(known.asks("us-west", port, known, front).await, None);
    let holding = r#"{"version":1,"purpose":{"purpose":"holding"}}"#;
    assert_eq!(known.asks("front", port, known, holding).await, None);
    assert!(known.asks(NAMES[1], port, known, holding).await.is_some());
    drop(standby);
}

#[tokio::test]
async fn attack_rubbish_on_the_port_of_a_pair_ends_its_own_connection_only() {
    let pair = Pair::new().await;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    home.writes().await;
    let known = &pair.authority;
    for rubbish in [
        "",
        "{}",
        "null",
        r#"{"version":2,"purpose":{"purpose":"messages"}}"#,
        r#"{"version":1,"purpose":{"purpose":"lease"}}"#,
        r#"{"version":1,"purpose":{"purpose":"replicate","from":{"store":"x","revision":1}}}"#,
    ] {
        assert_eq!(known.asks(NAMES[1], pair.ports[0], known, rubbish).await, None, "{rubbish}");
    }
    // Without TLS.
    let mut plain = TcpStream::connect(("127.0.0.1", pair.ports[0])).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let key = home.node.create_root().await;
    standby.follows().await;
    standby.has(&key).await;
}

#[tokio::test]
async fn a_front_sends_clients_to_the_region_that_serves() {
    let mut pair = Pair::new().await;
    pair.config.fronts_confirm_loss = true;
    let home = pair.start(Side::Home).await;
    let standby = pair.start(Side::Standby).await;
    let clients = [free_port().await, free_port().await];
    let listen = async |side: Side| TcpListener::bind(("127.0.0.1", clients[index(side)])).await.unwrap();
    let (at_home, at_standby) = (listen(Side::Home).await, listen(Side::Standby).await);
    let target = |side: Side| FrontTarget {
        peer: pair.place(side),
        clients: format!("127.0.0.1:{}", clients[index(side)]),
    };
    let settings = FrontSettings {
        home: target(Side::Home),
        standby: target(Side::Standby),
        tls: pair.authority.tls("front"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = tokio::sync::watch::Sender::new(None);
    let mut routes = route.subscribe();
    let front = tokio::spawn(serve_front(listener, settings, route, std::future::pending()));
    home.writes().await;
    home.node.create_root().await;
    standby.follows().await;
    let until = async |routes: &mut tokio::sync::watch::Receiver<Option<Side>>, side| {
        tokio::time::timeout(PATIENCE, routes.wait_for(|now| *now == Some(side))).await.unwrap().unwrap();
    };
    until(&mut routes, Side::Home).await;

    home.stop().await;
    drop(at_home);
    until(&mut routes, Side::Standby).await;
    assert_eq!(standby.region().state(), Some(PairState::Lost));
    front.abort();
    drop(at_standby);
}
