//! The whole service in one process: router, key service, a store in memory, a real unit, all of them in reach.

#![allow(dead_code, reason = "each test file uses its own part of the bench")]

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use keystore::{MemoryStore, StoreError, StoreIdentity, WallClock};
use kms::{
    Clock, Forms, InstanceHeader, InstanceId, Kms, KmsOptions, OsRng, RotationProfile, Timers, UnitReply,
    UnitState, Units, UnitsError,
};
use serde_json::{Value, json};
use server::auth::{Auth, AuthConfig, Identity, SigningKey};
use server::rest::{Instance, RestState, ServiceKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Request as UnitRequest, Response, UnitId, UnitStatus,
    VerificationPattern,
};
use unit_core::{Env, REPLY_BUFFER_LEN, Slot, Storage, StorageFailed, Unit};
use uuid::Uuid;

pub(crate) const INSTANCE: InstanceId =
    InstanceId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001));
pub(crate) const OTHER_INSTANCE: InstanceId =
    InstanceId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0002));
pub(crate) const TOKEN: &str = "static-token-of-alice";
pub(crate) const API_KEY: &str = "api-key-of-bob";
pub(crate) const ALICE: &str = "IBMid-alice";
pub(crate) const BOB: &str = "iam-ServiceId-bob";
const DEADLINE: Duration = Duration::from_secs(10);

type SeedFrom = fn(&mut [u8]) -> Result<(), EntropyFailed>;

struct InProcess;

impl Env for InProcess {
    type Engine = SoftEngine<SeedFrom>;
    type Storage = Slots;
}

#[derive(Default)]
struct Slots([Vec<u8>; 2]);

impl Storage for Slots {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let held = &self.0[slot as usize];
        let len = held.len().min(content.len());
        content[..len].copy_from_slice(&held[..len]);
        Ok(len)
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        self.0[slot as usize] = content.to_vec();
        Ok(())
    }
}

/// One real unit behind the port, that fails on command.
pub(crate) struct OneUnit {
    unit: Mutex<Box<Unit<InProcess>>>,
    fault: Mutex<Option<UnitsError>>,
}

impl OneUnit {
    fn new() -> Self {
        let entropy: SeedFrom = |seed| getrandom::fill(seed).map_err(|_| EntropyFailed);
        let engine = SoftEngine::new(&DeviceSecret::new([9; 32]), entropy).unwrap();
        let identity = unit_core::Identity {
            unit: UnitId(*b"SIM00001\x01\x02\x03\x04\x05\x06\x07\x08"),
            domain_index: 0,
        };
        let unit = Box::new(Unit::start(engine, Slots::default(), identity));
        Self { unit: Mutex::new(unit), fault: Mutex::default() }
    }

    /// Until it is called again with none, every command ends like this.
    pub(crate) fn set_fault(&self, fault: Option<UnitsError>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Gives the unit its first master key; its pattern.
    fn hold_master_key(&self) -> VerificationPattern {
        self.loaded(&Command::GenerateMasterKey)
    }

    /// Loads and commits another master key; its pattern.
    pub(crate) fn prepare_next(&self) -> VerificationPattern {
        let pattern = self.loaded(&Command::GenerateMasterKey);
        self.ask(&Command::Commit { pattern }).response().unwrap();
        pattern
    }

    pub(crate) fn activate(&self, pattern: VerificationPattern) {
        self.ask(&Command::Activate { pattern }).response().unwrap();
    }

    fn loaded(&self, command: &Command<'_>) -> VerificationPattern {
        let loaded = self.ask(command);
        let Ok(Response::Loaded(pattern)) = loaded.response() else { panic!("{:?}", loaded.response()) };
        pattern
    }

    fn status(&self) -> UnitStatus {
        let status = self.ask(&Command::Status);
        let Ok(Response::Status(status)) = status.response() else { panic!() };
        status
    }

    pub(crate) fn states(&self) -> Vec<UnitState> {
        let status = self.status();
        vec![UnitState { number: 1, registers: Some((status.current, status.new)), excluded: false }]
    }

    fn ask(&self, command: &Command<'_>) -> UnitReply {
        let mut frame = vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN];
        let mut envelope = Envelope::plain(*command);
        if command.is_administrative() {
            let status = self.status();
            envelope.target = Some(unit_api::Target {
                unit: status.unit,
                domain_index: status.domain_index,
                domain_instance: status.domain_instance,
            });
            envelope.transaction_counter = status.transaction_counter + 1;
        }
        let request = UnitRequest { number: 1, deadline_ms: 60_000, envelope };
        let len = unit_api::encode_request(&request, &mut frame).unwrap();
        let mut reply = vec![0; REPLY_BUFFER_LEN];
        let len = self.unit.lock().unwrap().handle_request(&frame[FRAME_HEADER_LEN..len], 0, &mut reply);
        UnitReply::from_body(reply[FRAME_HEADER_LEN..len].to_vec().into())
    }
}

impl Units for OneUnit {
    async fn execute(&self, command: &Command<'_>, _: Duration) -> Result<UnitReply, UnitsError> {
        match self.fault.lock().unwrap().clone() {
            Some(fault) => Err(fault),
            None => Ok(self.ask(command)),
        }
    }

    async fn execute_forms(&self, forms: &Forms<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        let current = self.status().current.map(|pattern| pattern.wkid());
        let each = || std::iter::once(&forms.first).chain(&forms.second);
        let fits = |form: &&kms::Form<'_>| form.under.or_else(|| wkid_of(&form.command)) == current;
        let form = each().find(fits).unwrap_or(&forms.first);
        self.execute(&form.command, deadline).await
    }
}

fn wkid_of(command: &Command<'_>) -> Option<unit_api::Wkid> {
    let (Command::Encrypt { key: blob, .. }
    | Command::Decrypt { key: blob, .. }
    | Command::Reencipher { blob }) = *command
    else {
        return None;
    };
    blob.get(32..48).and_then(|wkid| wkid.try_into().ok())
}

/// A clock that stands until it is moved.
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
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) kms: Arc<Kms<Arc<MemoryStore>, Arc<OneUnit>>>,
}

/// What came back.
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

    /// The code of the only reason, or the empty text.
    pub(crate) fn code(&self) -> String {
        self.resource()["reasons"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request that will be sent.
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

    /// Adds a header beside those there are.
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
        let units = Arc::new(OneUnit::new());
        let pattern = units.hold_master_key();
        let store = Arc::new(MemoryStore::new(StoreIdentity([1; 16]), WallClock::system()));
        for instance in [INSTANCE, OTHER_INSTANCE] {
            InstanceHeader::create(&store, &units, &OsRng, instance, pattern, DEADLINE).await.unwrap();
        }
        let clock = Arc::new(HandClock(Mutex::new("2026-01-02T03:04:05.678Z".parse().unwrap())));
        let options = KmsOptions { clock: clock.clone(), timers, rotation, ..KmsOptions::default() };
        let kms = Kms::open(Arc::clone(&store), Arc::clone(&units), options, DEADLINE).await.unwrap();
        let kms = Arc::new(kms);

        let identity = |iam_id: &str| Identity { iam_id: iam_id.to_owned(), account: "acc".to_owned() };
        let auth = Arc::new(Auth::new(AuthConfig {
            token_life,
            tokens: vec![(TOKEN.to_owned().into(), identity(ALICE))],
            api_keys: vec![(API_KEY.to_owned().into(), identity(BOB))],
            ..AuthConfig::new(SigningKey::random().unwrap())
        }));
        let instance =
            |id, kind| Instance { id, region: "us-south".to_owned(), account: "acc".to_owned(), kind };
        let instances = [
            instance(INSTANCE, ServiceKind::HyperProtect),
            instance(OTHER_INSTANCE, ServiceKind::KeyProtect),
        ];
        let state = Arc::new(RestState::new(Arc::clone(&kms), Arc::clone(&auth), instances, DEADLINE));
        let router = server::router(state, auth, Arc::new(|| Ok(())));
        Self { router, units, store, clock, kms }
    }

    /// A call with everything a good one has.
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

    /// Creates a key and gives its id.
    pub(crate) async fn create(&self, resource: Value) -> String {
        let answer = self.post("/keys").json(&enveloped(resource)).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
        answer.resource()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn create_root(&self) -> String {
        self.create(json!({"name": "root", "extractable": false})).await
    }

    /// An action that has to succeed.
    pub(crate) async fn act(&self, key: &str, action: &str, body: &Value) -> Value {
        let answer = self.post(&format!("/keys/{key}/actions/{action}")).json(body).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    pub(crate) fn set_store_fault(&self, fault: Option<StoreError>) {
        self.store.set_fault(fault);
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
