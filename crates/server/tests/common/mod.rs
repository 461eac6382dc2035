//! The whole service in one process: router, key service, a store in memory and a real unit.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use getrandom::SysRng;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use keystore::{AnyStore, MemoryStore, StoreError, StoreIdentity, WallClock};
use kms::{
    Clock, InstanceHeader, InstanceId, Kms, KmsOptions, RotationProfile, Timers, UnitReply, UnitState, Units,
    UnitsError,
};
use serde_json::{Value, json};
use server::auth::{Auth, AuthConfig, Grants, Identity, Role, SigningKey};
use server::observe::{AnsweredRequest, RequestObserver, observed};
use server::rest::{Instance, RestState, ServiceKind};
use server::{KeyService, ServiceSource, ServiceUnits};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;
use unit_api::admin::AdminCommand;
use unit_api::{UnitStatus, Variants, VerificationPattern};
use unit_testkit::TestUnit;
use uuid::Uuid;

pub(crate) const INSTANCE: InstanceId =
    InstanceId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001));
pub(crate) const OTHER_INSTANCE: InstanceId =
    InstanceId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0002));
pub(crate) const TOKEN: &str = "static-token-of-alice";
pub(crate) const API_KEY: &str = "api-key-of-bob";
pub(crate) const ALICE: &str = "IBMid-alice";
pub(crate) const BOB: &str = "iam-ServiceId-bob";
const DEADLINE: Duration = Duration::from_secs(60);

/// The static token of a caller that has this role alone, on [`INSTANCE`] alone.
pub(crate) fn token_of(role: Role) -> String {
    format!("static-token-of-{}", role.name())
}

/// One real unit behind the port, with injected failures.
pub(crate) struct OneUnit {
    unit: Mutex<TestUnit>,
    fault: Mutex<Option<UnitsError>>,
}

impl OneUnit {
    /// A unit with a random master key, and the pattern of that key.
    fn new() -> (Self, VerificationPattern) {
        let mut unit = TestUnit::secured(1);
        let pattern = unit.generate_master_key();
        (Self { unit: Mutex::new(unit), fault: Mutex::default() }, pattern)
    }

    /// Makes every command fail with this error, until it is called with `None`.
    pub(crate) fn set_fault(&self, fault: Option<UnitsError>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Generates and commits another master key, and returns its pattern.
    pub(crate) fn prepare_next(&self) -> VerificationPattern {
        let mut unit = self.unit.lock().unwrap();
        let pattern = unit.generate_master_key();
        unit.administer(AdminCommand::CommitNew, pattern.as_bytes()).unwrap();
        pattern
    }

    pub(crate) fn activate(&self, pattern: VerificationPattern) {
        self.unit.lock().unwrap().administer(AdminCommand::ActivateNew, pattern.as_bytes()).unwrap();
    }

    fn status(&self) -> UnitStatus {
        self.unit.lock().unwrap().status()
    }

    pub(crate) fn states(&self) -> Vec<UnitState> {
        let status = self.status();
        vec![UnitState { number: 1, registers: Some((status.current, status.new)), excluded: false }]
    }
}

impl Units for OneUnit {
    async fn execute(&self, variants: &Variants<'_>, _: Duration) -> Result<UnitReply, UnitsError> {
        if let Some(fault) = self.fault.lock().unwrap().clone() {
            return Err(fault);
        }
        let current = self.status().current.map(|pattern| pattern.wkid());
        let variant = variants.iter().find(|variant| variant.is_for(current)).unwrap_or(&variants.first);
        Ok(UnitReply::from_body(self.unit.lock().unwrap().reply_body(variant.command).into()))
    }
}

/// An observer that ignores what it receives.
struct Unobserved;

impl RequestObserver for Unobserved {
    fn answered(&self, _: &AnsweredRequest<'_>) {}
}

/// A clock that is advanced by the test only.
pub(crate) struct HandClock(Mutex<Timestamp>);

impl HandClock {
    pub(crate) fn advance(&self, seconds: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_secs(seconds);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) units: Arc<OneUnit>,
    pub(crate) store: Arc<AnyStore>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) kms: Arc<KeyService>,
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The first resource of the envelope.
    pub(crate) fn resource(&self) -> Value {
        self.json()["resources"][0].clone()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the only reason, or an empty string.
    pub(crate) fn code(&self) -> String {
        self.resource()["reasons"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request to send.
pub(crate) struct Call<'b> {
    bench: &'b Bench,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Sets a header; an empty value removes it.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Adds a header without replacing others of its name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body)).unwrap();
        let response = self.bench.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Timers::STANDARD, Duration::from_secs(3600)).await
    }

    pub(crate) async fn with(timers: Timers, token_life: Duration) -> Self {
        Self::with_profile(timers, token_life, RotationProfile::Online).await
    }

    pub(crate) async fn with_profile(
        timers: Timers,
        token_life: Duration,
        rotation: RotationProfile,
    ) -> Self {
        let (unit, pattern) = OneUnit::new();
        let units = Arc::new(unit);
        let store = MemoryStore::new(StoreIdentity([1; 16]), WallClock::system());
        let store = Arc::new(AnyStore::Memory(store));
        for instance in [INSTANCE, OTHER_INSTANCE] {
            InstanceHeader::create(&store, &units, &mut SysRng, instance, pattern, DEADLINE).await.unwrap();
        }
        let clock = Arc::new(HandClock(Mutex::new("2026-01-02T03:04:05.678Z".parse().unwrap())));
        let options =
            KmsOptions::default().with_clock(clock.clone()).with_timers(timers).with_rotation(rotation);
        let behind = ServiceUnits::new(Arc::clone(&units));
        let kms = Kms::open(Arc::clone(&store).into(), behind, options, DEADLINE).await.unwrap();
        let kms = Arc::new(kms);

        let identity = |iam_id: &str| Identity {
            iam_id: iam_id.to_owned(),
            account: "acc".to_owned(),
            grants: Grants::application([INSTANCE, OTHER_INSTANCE]),
        };
        let mut auth = AuthConfig::new(SigningKey::random().unwrap());
        auth.token_life = token_life;
        auth.tokens = vec![(TOKEN.to_owned().into(), identity(ALICE))];
        auth.api_keys = vec![(API_KEY.to_owned().into(), identity(BOB))];
        for role in Role::ALL {
            let identity = Identity {
                grants: Grants { roles: vec![role], instances: Some(vec![INSTANCE]) },
                ..identity(role.name())
            };
            auth.tokens.push((token_of(role).into(), identity));
        }
        let auth = Arc::new(Auth::new(auth));
        let instance =
            |id, kind| Instance { id, region: "us-south".to_owned(), account: "acc".to_owned(), kind };
        let instances = [
            instance(INSTANCE, ServiceKind::HyperProtect),
            instance(OTHER_INSTANCE, ServiceKind::KeyProtect),
        ];
        let service = Arc::clone(&kms);
        let service: ServiceSource = Arc::new(move || Ok(Arc::clone(&service)));
        let state = Arc::new(RestState::new(service, Arc::clone(&auth), instances, DEADLINE));
        let health = server::health::router(Arc::new(|| Ok(())));
        let rest = observed(server::rest::router(state), "rest", Arc::new(Unobserved));
        let router = server::iam::router(auth).merge(health).merge(rest);
        Self { router, units, store, clock, kms }
    }

    /// A request with all required headers.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call { bench: self, method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
            .with("authorization", &format!("Bearer {TOKEN}"))
            .with("bluemix-instance", &INSTANCE.to_string())
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, &format!("/api/v2{path}"))
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, &format!("/api/v2{path}"))
    }

    pub(crate) fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, &format!("/api/v2{path}"))
    }

    /// Creates a key and returns its ID.
    pub(crate) async fn create(&self, resource: Value) -> String {
        let answer = self.post("/keys").json(&enveloped(resource)).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
        answer.resource()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn create_root(&self) -> String {
        self.create(json!({"name": "root", "extractable": false})).await
    }

    /// Sends an action that must succeed.
    pub(crate) async fn act(&self, key: &str, action: &str, body: &Value) -> Value {
        let answer = self.post(&format!("/keys/{key}/actions/{action}")).json(body).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    pub(crate) fn set_store_fault(&self, fault: Option<StoreError>) {
        if let AnyStore::Memory(store) = &*self.store {
            store.set_fault(fault);
        }
    }
}

pub(crate) fn enveloped(resource: Value) -> Value {
    json!({
        "metadata": {"collectionType": "application/vnd.ibm.kms.key+json", "collectionTotal": 1},
        "resources": [resource],
    })
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    wire::base64::encode(bytes).to_string()
}
