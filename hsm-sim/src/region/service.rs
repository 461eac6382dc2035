//! The services in front of the units: keystore, host, key service, front ends.
//!
//! They begin before there is a master key, so that tools can bring one into the units, and open once the units hold one:
//! then instances are made that have not been, or found again, and keys are served, without a restart.

use super::clock::SimClock;
use super::data::DataDir;
use super::identity::Identity;
use super::look::{common_master_key, look_at};
use super::rotation::Runner;
use super::supervisor::Supervisor;
use super::waiting;
use crate::hex;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use host::{Host, HostConfig, LinkError, MasterKeyProof, UnitAddress, UnitClient};
use jiff::{SignedDuration, Timestamp};
use keystore::{OpenError as StoreOpenError, RedbOptions, RedbStore};
use kms::{
    Call, Clock, InstanceError, InstanceHeader, InstanceId, KeyQuery, KeyState, Kms, KmsOptions, OpenError,
    OsRng, RotationProfile, StateSet, Units, UnitsError,
};
use server::auth::{self, Auth, AuthConfig, SigningKey};
use server::rest::{Instance, RestState, ServiceKind};
use server::{HostUnits, ServeLimits};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use tower::ServiceExt;
use unit_api::{Command, Envelope, VerificationPattern};
use zeroize::Zeroizing;

/// How long one step of the start may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long requests under way may take to end.
const DRAIN: Duration = Duration::from_secs(4);
/// Pause between two looks at units that are not ready.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Pause between two sweeps, in real time.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Keys that one sweep of an instance removes.
const SWEPT_AT_ONCE: usize = 100;
/// Who removes keys whose time is over, and counts them.
pub(super) const SERVICE: &str = "hsm-sim";
/// The zone that the one host of a machine stands in.
const HOST_ZONE: &str = "az1";

/// Why the services do not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The keystore.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// The key service.
    #[error(transparent)]
    Kms(#[from] OpenError),
    /// An instance.
    #[error("instance {instance} cannot be used")]
    Instance {
        /// Which.
        instance: InstanceId,
        /// Why.
        source: InstanceError,
    },
    /// The units are not ready for an instance to be made; what is to be done first.
    #[error("no key can be served yet: {0}")]
    NotReady(String),
    /// The unit that instances are made with is gone.
    #[error("the crypto unit cannot be reached")]
    Link(#[from] LinkError),
    /// No random bytes are to be had.
    #[error("the system's source of random bytes failed")]
    Random(#[from] getrandom::Error),
    /// The kept token key makes no sense.
    #[error("{} is damaged: its token key is no 64 hexadecimal digits", .0.display())]
    TokenKey(PathBuf),
}

/// Where the region's keys are.
pub(super) type Store = Arc<RedbStore>;

/// The services of a region, open or waiting for a master key.
pub struct Service {
    store: Store,
    identity: Identity,
    clock: Arc<SimClock>,
    supervisor: Supervisor,
    auth: Arc<Auth>,
    rotation: RotationProfile,
    opening: AsyncMutex<()>,
    open: OnceLock<Open>,
    runner: Runner,
    /// Why it is not open yet.
    waiting_for: Mutex<String>,
}

/// What there is once the units hold a master key.
struct Open {
    host: Host,
    /// The instance by whose header the host tells units.
    proven_by: InstanceId,
    kms: Arc<Kms<Store, HostUnits>>,
    router: Router,
    sweeper: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl Service {
    /// Opens the keystore; serves nothing yet.
    pub(super) async fn begin(
        data: &DataDir,
        identity: Identity,
        clock: Arc<SimClock>,
        supervisor: Supervisor,
        rotation: RotationProfile,
    ) -> Result<Arc<Self>, ServiceError> {
        let store = Arc::new(RedbStore::open(data.keystore_file(), RedbOptions::default()).await?);
        let auth = Arc::new(authentication(data, &identity)?);
        Ok(Arc::new(Self {
            store,
            identity,
            clock,
            supervisor,
            auth,
            rotation,
            opening: AsyncMutex::default(),
            open: OnceLock::new(),
            runner: Runner::default(),
            waiting_for: Mutex::default(),
        }))
    }

    /// The patterns of the master key that the keystore is under and of the one that is to follow it; none for a keystore
    /// without instances.
    pub(super) async fn stored_patterns(
        &self,
    ) -> Result<Option<(VerificationPattern, Option<VerificationPattern>)>, ServiceError> {
        let mut found = None;
        for instance in instances(&self.identity) {
            let Some(header) = self.header(instance).await? else { continue };
            let (pattern, next) = found.unwrap_or((header.pattern, None));
            found = Some((pattern, next.or(header.next.map(|next| next.pattern))));
        }
        Ok(found)
    }

    /// Opens the services: finds the instances, or makes them if they are new and units hold a master key, which has to
    /// be the `required` one if one is given. Once open, it stays so, whatever becomes of the units.
    ///
    /// # Errors
    /// [`ServiceError::NotReady`] when units have to be made ready first.
    pub(super) async fn open(
        self: &Arc<Self>,
        required: Option<VerificationPattern>,
    ) -> Result<(), ServiceError> {
        let _one_at_a_time = self.opening.lock().await;
        if self.open.get().is_some() {
            return Ok(());
        }
        let found = self.find_or_make(required).await.inspect_err(|why| {
            if let ServiceError::NotReady(why) = why {
                why.clone_into(&mut self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner));
            }
        })?;
        let rotating = found.1.next.is_some();
        let open = self.connect(found).await?;
        let _ = self.open.set(open);
        if rotating {
            // Whatever batches an earlier process has left.
            self.run_batches();
        }
        Ok(())
    }

    /// Opens as soon as the units are ready. What stands in the way otherwise is said once.
    pub(super) async fn open_when_ready(self: Arc<Self>) {
        let mut said = String::new();
        loop {
            match self.open(None).await {
                Ok(()) => {
                    let pattern = self.pattern().map(|pattern| pattern.to_string()).unwrap_or_default();
                    eprintln!("hsm-sim: the crypto units hold master key {pattern}; keys are served");
                    return;
                }
                Err(ServiceError::NotReady(_)) => {}
                Err(e) => {
                    let problem = crate::cli::with_causes(&e);
                    if problem != said {
                        eprintln!("hsm-sim: {problem}");
                        said = problem;
                    }
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The host, once open.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.open.get().map(|open| &open.host)
    }

    /// The pattern of the master key that keys are served under, once open.
    #[must_use]
    pub fn pattern(&self) -> Option<VerificationPattern> {
        self.host().map(Host::pattern)
    }

    /// Why no keys are served yet; none once open.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        let why = || self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.open.get().is_none().then(why)
    }

    /// Keys in all instances, in whatever state but removed; none while no unit can open the instances' records.
    pub(super) async fn count_keys(&self) -> Option<usize> {
        let kms = &self.open.get()?.kms;
        let states = StateSet::LIVE.with(KeyState::Destroyed);
        let query = KeyQuery { states, ..KeyQuery::default() };
        let mut count = 0;
        for instance in instances(&self.identity) {
            let call = Call { instance, caller: SERVICE, deadline: PATIENCE };
            count += kms.count_keys(&call, &query).await.ok()?;
        }
        Some(count)
    }

    /// Where the instances are, for what is done without any unit.
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps the services from opening, and with it instances from being made, while the guard is held.
    pub(super) async fn hold_opening(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.opening.lock().await
    }

    /// The key service, once open.
    pub(super) fn kms(&self) -> Option<&Kms<Store, HostUnits>> {
        self.open.get().map(|open| &*open.kms)
    }

    pub(super) const fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Tells the host which master keys are legal: to be called when a header has changed.
    pub(super) async fn renew_proofs(&self) -> Result<(), ServiceError> {
        let Some(open) = self.open.get() else { return Ok(()) };
        if let Some(header) = self.header(open.proven_by).await? {
            let (current, next) = proofs(header);
            open.host.set_proofs(current, next);
        }
        Ok(())
    }

    pub(super) const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) const fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Who sends these headers, by a bearer token as the REST API takes it; none for nobody we know, whatever the reason.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        self.auth.caller(only.as_bytes()).map(|caller| caller.0)
    }

    /// Serves until `stopped`, then lets requests under way end.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tke: Router,
        stopped: impl Future<Output = ()> + Send,
    ) {
        let waiting = waiting::router(&self, Arc::clone(&self.auth));
        let state = Arc::new(Switch { service: self, waiting });
        let router = tke.merge(Router::new().fallback(switch).with_state(state));
        let limits = ServeLimits { drain: DRAIN, ..ServeLimits::default() };
        if let Err(e) = server::serve(listener, router, limits, stopped).await {
            eprintln!("hsm-sim: the Key Protect API ended: {e}");
        }
    }

    async fn header(&self, instance: InstanceId) -> Result<Option<InstanceHeader>, ServiceError> {
        InstanceHeader::read(&self.store, &OsRng, instance, PATIENCE)
            .await
            .map_err(|source| ServiceError::Instance { instance, source })
    }

    /// The header that units are checked by.
    async fn find_or_make(
        &self,
        required: Option<VerificationPattern>,
    ) -> Result<(InstanceId, InstanceHeader), ServiceError> {
        let (mut missing, mut found) = (Vec::new(), None::<(InstanceId, InstanceHeader)>);
        for instance in instances(&self.identity) {
            match self.header(instance).await? {
                Some(header) => found = found.or(Some((instance, header))),
                None => missing.push(instance),
            }
        }
        if !missing.is_empty() {
            let settled = found.as_ref().map(|(_, header)| header.pattern).or(required);
            let units = self.supervisor.units().into_iter().filter(super::UnitProcess::is_operational);
            let looks = look_at(units).await;
            let (pattern, at) = common_master_key(&looks, settled).map_err(ServiceError::NotReady)?;
            let socket = looks.get(at).map(|look| look.process.socket.clone()).unwrap_or_default();
            let unit = OneUnit(UnitClient::connect(&socket).await?);
            for instance in missing {
                let made = InstanceHeader::create(&self.store, &unit, &OsRng, instance, pattern, PATIENCE)
                    .await
                    .map_err(|source| ServiceError::Instance { instance, source })?;
                found = found.or(Some((instance, made)));
            }
        }
        found.ok_or_else(|| ServiceError::NotReady("the region has no instance".to_owned()))
    }

    async fn connect(&self, (proven_by, header): (InstanceId, InstanceHeader)) -> Result<Open, ServiceError> {
        let units = self.supervisor.units().into_iter().filter(super::UnitProcess::is_operational);
        let units =
            units.map(|unit| UnitAddress { number: unit.unit, zone: unit.place.zone, socket: unit.socket });
        let (proof, next) = proofs(header);
        let host = Host::start(HostConfig {
            zone: HOST_ZONE.to_owned(),
            units: units.collect(),
            proof: proof.clone(),
            seed: getrandom::u64()?,
        });
        if next.is_some() {
            host.set_proofs(proof, next);
        }
        // Units prove themselves while the front ends are put together; the first request need not wait.
        // Without any it goes on: callers are told, and a unit that is healed later is admitted then.
        let _ = host.wait_until(PATIENCE, |units| units.iter().any(|unit| unit.in_use)).await;
        let options = KmsOptions {
            clock: Arc::new(ServiceClock(Arc::clone(&self.clock))),
            rotation: self.rotation,
            ..KmsOptions::default()
        };
        let kms = Kms::open(Arc::clone(&self.store), HostUnits::new(host.clone()), options, PATIENCE).await?;
        let kms = Arc::new(kms);
        let sweeper = tokio::spawn(sweep(Arc::clone(&kms), instances(&self.identity))).abort_handle();
        let state = RestState::new(
            Arc::clone(&kms),
            Arc::clone(&self.auth),
            served(&self.identity),
            server::rest::DEFAULT_DEADLINE,
        );
        let router = server::router(Arc::new(state), Arc::clone(&self.auth), readiness(host.clone()));
        Ok(Open { host, proven_by, kms, router, sweeper })
    }
}

/// The services, and what answers in their place until they open.
struct Switch {
    service: Arc<Service>,
    waiting: Router,
}

async fn switch(State(switch): State<Arc<Switch>>, request: Request) -> Response {
    let router = switch.service.open.get().map_or(&switch.waiting, |open| &open.router);
    router.clone().oneshot(request).await.into_response()
}

/// Removes keys for good whose time to be restored is long over, now and then.
async fn sweep(kms: Arc<Kms<Store, HostUnits>>, instances: [InstanceId; 2]) {
    let mut said = None;
    loop {
        for instance in instances {
            let call = Call { instance, caller: SERVICE, deadline: PATIENCE };
            let Err(e) = kms.purge_lapsed(&call, SWEPT_AT_ONCE).await else { continue };
            // Most of what stands in the way now (no unit, a full disk) will not later; it is said once.
            let problem =
                format!("instance {instance}: lapsed keys are not removed: {}", crate::cli::with_causes(&e));
            if said.as_ref() != Some(&problem) {
                eprintln!("hsm-sim: {problem}");
                said = Some(problem);
            }
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}

/// What units have to show: for the master key in force, and for the one that is to follow it.
fn proofs(header: InstanceHeader) -> (MasterKeyProof, Option<MasterKeyProof>) {
    let next = header.next.map(|next| proof(next.pattern, next.proof));
    (proof(header.pattern, header.proof), next)
}

fn proof(pattern: VerificationPattern, proof: kms::MasterKeyProof) -> MasterKeyProof {
    MasterKeyProof {
        pattern,
        root: proof.root_blob,
        iv: proof.iv,
        secret: proof.sealed_secret,
        commitment: proof.commitment,
        canary: proof.canary,
    }
}

pub(super) fn instances(identity: &Identity) -> [InstanceId; 2] {
    [identity.instance_id, identity.instance_id_2].map(InstanceId)
}

fn served(identity: &Identity) -> impl Iterator<Item = Instance> {
    instances(identity).into_iter().map(|id| Instance {
        id,
        region: identity.region.clone(),
        account: identity.account.clone(),
        kind: ServiceKind::HyperProtect,
    })
}

/// Two managers with a static token each.
fn managers(identity: &Identity) -> impl Iterator<Item = (Zeroizing<String>, String)> {
    (1..)
        .zip(&identity.tokens)
        .map(|(number, token)| (Zeroizing::new(token.clone()), format!("IBMid-DEV000000{number}")))
}

/// The managers; the API key is the first one's.
fn authentication(data: &DataDir, identity: &Identity) -> Result<Auth, ServiceError> {
    let key = hex::decode(&identity.token_key).ok_or_else(|| ServiceError::TokenKey(data.region_file()))?;
    let known = |iam_id: String| auth::Identity { iam_id, account: identity.account.clone() };
    let mut config = AuthConfig::new(SigningKey::new(*key));
    config.tokens = managers(identity).map(|(token, iam_id)| (token, known(iam_id))).collect();
    let first = managers(identity).next().map(|(_, iam_id)| known(iam_id));
    config.api_keys =
        first.into_iter().map(|first| (Zeroizing::new(identity.api_key.clone()), first)).collect();
    Ok(Auth::new(config))
}

fn readiness(host: Host) -> server::health::Readiness {
    Arc::new(move || {
        let units = host.units();
        if units.iter().any(|unit| unit.in_use) {
            return Ok(());
        }
        let why: Vec<String> = units.iter().map(|u| format!("unit {}: {}", u.number, u.reason)).collect();
        Err(format!("no crypto unit serves: {}", why.join("; ")))
    })
}

/// The region's movable clock, as the key service asks for it.
struct ServiceClock(Arc<SimClock>);

impl Clock for ServiceClock {
    fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.0.since_epoch()).unwrap_or(SignedDuration::MAX);
        Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)
    }
}

/// One unit, asked directly: there is no proof yet by which a host could admit any.
struct OneUnit(UnitClient);

impl Units for OneUnit {
    async fn execute(&self, command: &Command<'_>, deadline: Duration) -> Result<kms::UnitReply, UnitsError> {
        let reply = self.0.call(&Envelope::plain(*command), deadline).await;
        match reply {
            Ok(frame) => Ok(kms::UnitReply::from_body(frame.into_body())),
            Err(LinkError::DeadlineExceeded(_)) => Err(UnitsError::DeadlineExceeded),
            Err(e) => Err(UnitsError::NoEligibleUnit(crate::cli::with_causes(&e))),
        }
    }
}
