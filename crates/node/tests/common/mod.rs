//! Crypto units in this process behind sockets, nodes in front of them, and calls of their APIs.

mod units;

pub(crate) use units::SocketUnit;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use keystore::{AnyStore, MemoryStore, StoreIdentity, WallClock};
use kms::InstanceId;
use node::{
    Clock, Instance, JobTiming, Node, NodeBuilder, ServiceKind, StaticDirectory, UnitAudit, UnitDirectory,
};
use serde_json::{Value, json};
use server::auth::{Auth, AuthConfig, Grants, Identity, Role, SigningKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tower::ServiceExt as _;
use uuid::Uuid;

/// Long enough for anything that is going to happen, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const INSTANCE: InstanceId =
    InstanceId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001));
pub(crate) const TOKEN: &str = "static-token-of-alice";
pub(crate) const API_KEY: &str = "api-key-of-alice";
const COLLECTION: &str = "application/vnd.ibm.kms.key+json";

/// A clock that stands until it is moved.
pub(crate) struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub(crate) fn advance_days(&self, days: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_hours(24 * days);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Two units with one master key, a store and a clock, for as many nodes as a test wants.
pub(crate) struct Region {
    pub(crate) units: Vec<SocketUnit>,
    pub(crate) store: Arc<AnyStore>,
    pub(crate) clock: Arc<HandClock>,
    /// How many more blobs the units re-encipher before they wait.
    pub(crate) reenciphers: watch::Sender<usize>,
    folder: tempfile::TempDir,
}

impl Region {
    /// Its units are in imprint mode, without a master key.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let reenciphers = watch::Sender::new(usize::MAX);
        let units = (1..=2).map(|number| SocketUnit::start(folder.path(), number, &reenciphers)).collect();
        let clock = HandClock(Mutex::new("2026-01-02T03:04:05.678Z".parse().unwrap()));
        Self { units, store: empty_store(), clock: Arc::new(clock), reenciphers, folder }
    }

    /// Its units hold a master key.
    pub(crate) fn keyed() -> Self {
        let region = Self::new();
        region.units.iter().for_each(SocketUnit::secure);
        region.prepare(1);
        region.activate(1);
        region
    }

    /// Loads and commits a master key, made of parts with this number, in every unit; its pattern.
    pub(crate) fn prepare(&self, key: u8) -> String {
        let patterns: Vec<_> = self.units.iter().map(|unit| unit.prepare(key)).collect();
        patterns.last().unwrap().to_string()
    }

    pub(crate) fn activate(&self, key: u8) {
        self.units.iter().for_each(|unit| unit.activate(key));
    }

    /// A node that serves one instance to one caller.
    pub(crate) fn builder(&self, name: &str, lease: Duration) -> NodeBuilder {
        let directory = StaticDirectory::new(self.units.iter().map(SocketUnit::entry));
        self.builder_over(directory, name, lease)
    }

    fn builder_over(&self, directory: impl UnitDirectory, name: &str, lease: Duration) -> NodeBuilder {
        // One caller for everything; roles are tested where they are checked.
        let grants = Grants { roles: Role::ALL.to_vec(), instances: None };
        let identity = Identity { iam_id: "IBMid-alice".to_owned(), account: "acc".to_owned(), grants };
        let mut auth = AuthConfig::new(SigningKey::random().unwrap());
        auth.tokens = vec![(TOKEN.to_owned().into(), identity.clone())];
        auth.api_keys = vec![(API_KEY.to_owned().into(), identity)];
        let auth = Auth::new(auth);
        let mut timing = JobTiming::default();
        timing.lease = lease;
        timing.sweep_pause = Duration::from_millis(20);
        timing.retry_pause = Duration::from_millis(20);
        timing.audit_pause = Duration::from_millis(20);
        let audit = UnitAudit::open(&self.folder.path().join(format!("audit-{name}"))).unwrap();
        Node::builder(Arc::clone(&self.store), directory, Arc::clone(&self.clock) as _)
            .name(name)
            .instance(Instance {
                id: INSTANCE,
                region: "us-south".to_owned(),
                account: "acc".to_owned(),
                kind: ServiceKind::HyperProtect,
            })
            .auth(auth)
            .job_timing(timing)
            .unit_audit(audit)
    }

    /// A node over these units.
    pub(crate) async fn node_over(&self, units: impl UnitDirectory, name: &str, lease: Duration) -> TestNode {
        TestNode(self.builder_over(units, name, lease).start().await.unwrap())
    }

    pub(crate) async fn node(&self, name: &str, lease: Duration) -> TestNode {
        TestNode(self.builder(name, lease).start().await.unwrap())
    }
}

/// A node and calls of its APIs.
pub(crate) struct TestNode(pub(crate) Node);

/// Status, headers that tests look at, and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) correlation_id: String,
    pub(crate) revision: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let header = |name| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    Answer {
        status: parts.status.as_u16(),
        correlation_id: header("correlation-id"),
        revision: header("hsm-revision"),
        text: String::from_utf8(body).unwrap(),
    }
}

impl TestNode {
    /// A request with everything a good one has.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &str) -> Answer {
        self.call_as("", method, path, body).await
    }

    /// The same with a correlation id.
    pub(crate) async fn call_as(&self, id: &str, method: Method, path: &str, body: &str) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("bluemix-instance", INSTANCE.to_string());
        if !id.is_empty() {
            request = request.header("correlation-id", id);
        }
        send(self.0.router(), request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// What the operator's address answers.
    pub(crate) async fn operator(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        send(self.0.operator_router(), request).await
    }

    pub(crate) async fn create(&self, resource: Value) -> String {
        let answer = self.try_create(resource).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["resources"][0]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn create_root(&self) -> String {
        self.create(root()).await
    }

    pub(crate) async fn try_create_root(&self) -> Answer {
        self.try_create(root()).await
    }

    async fn try_create(&self, resource: Value) -> Answer {
        let body = json!({
            "metadata": { "collectionType": COLLECTION, "collectionTotal": 1 }, "resources": [resource],
        });
        self.call(Method::POST, "/api/v2/keys", &body.to_string()).await
    }

    pub(crate) async fn act(&self, key: &str, action: &str, body: &Value) -> Value {
        let path = format!("/api/v2/keys/{key}/actions/{action}");
        let answer = self.call(Method::POST, &path, &body.to_string()).await;
        assert!(matches!(answer.status, 200 | 204), "{} {}", answer.status, answer.text);
        answer.json()
    }

    /// An action of a rotation of the master key; the status after it.
    pub(crate) async fn rotation(&self, action: Value) -> Value {
        let path = format!("/v1/tke/{INSTANCE}/rotation");
        let answer = match action {
            Value::Null => self.call(Method::GET, &path, "").await,
            action => self.call(Method::POST, &path, &action.to_string()).await,
        };
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// The samples of `/metrics`: name with labels, and value.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.operator("/metrics").await.text;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap_or(f64::NAN))
            })
            .collect()
    }

    /// One sample, 0 if there is none.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        self.metrics().await.get(sample).copied().unwrap_or_default()
    }
}

fn root() -> Value {
    json!({ "name": "root", "extractable": false })
}

/// A store without data, and unlike any other.
pub(crate) fn empty_store() -> Arc<AnyStore> {
    let mut identity = [0; 16];
    getrandom::fill(&mut identity).unwrap();
    Arc::new(AnyStore::Memory(MemoryStore::new(StoreIdentity(identity), WallClock::system())))
}

/// Polls until a condition holds.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
