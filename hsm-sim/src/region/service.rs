//! The services in front of the units: keystore, host, key service, front ends.

use super::clock::SimClock;
use super::data::DataDir;
use super::identity::Identity;
use super::supervisor::UnitProcess;
use crate::hex;
use axum::Router;
use host::{Host, HostConfig, LinkError, MasterKeyProof, UnitAddress, UnitClient};
use jiff::{SignedDuration, Timestamp};
use keystore::{OpenError as StoreOpenError, RedbOptions, RedbStore};
use kms::{
    Call, Clock, InstanceError, InstanceHeader, InstanceId, Kms, KmsOptions, OpenError, OsRng, Units,
    UnitsError,
};
use server::auth::{self, Auth, AuthConfig, SigningKey};
use server::rest::{Instance, RestState, ServiceKind};
use server::{HostUnits, ServeLimits};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use unit_api::{Command, Envelope, VerificationPattern};
use zeroize::Zeroizing;

/// How long one step of the start may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long requests under way may take to end.
const DRAIN: Duration = Duration::from_secs(4);
/// Pause between two sweeps, in real time.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Keys that one sweep of an instance removes.
const SWEPT_AT_ONCE: usize = 100;
/// Who removes keys whose time is over.
const SWEEPER: &str = "hsm-sim";
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
    /// No unit took the master key, and without one no instance can be made.
    #[error("no crypto unit holds this region's master key, so that no instance can be made")]
    NoUnit,
    /// The keystore is of another master key than the ceremony's.
    #[error(
        "the keystore is under master key {stored}, the key parts in the ceremony folder make {parts}: \
         put back the parts that belong to this keystore"
    )]
    OtherMasterKey {
        /// The keystore's.
        stored: VerificationPattern,
        /// The parts'.
        parts: VerificationPattern,
    },
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

/// What the services are made of.
pub(super) struct Parts<'a> {
    pub(super) data: &'a DataDir,
    pub(super) identity: &'a Identity,
    pub(super) clock: Arc<SimClock>,
    pub(super) pattern: VerificationPattern,
    pub(super) units: Vec<UnitProcess>,
    /// Sockets of units that hold the master key.
    pub(super) keyed: Vec<PathBuf>,
}

/// Services that are ready to serve.
pub(super) struct Service {
    pub(super) host: Host,
    router: Router,
    sweeper: AbortHandle,
}

impl Service {
    /// Serves until `stopped`, then lets requests under way end.
    pub(super) async fn serve(self, listener: TcpListener, stopped: impl Future<Output = ()> + Send) {
        let limits = ServeLimits { drain: DRAIN, ..ServeLimits::default() };
        if let Err(e) = server::serve(listener, self.router, limits, stopped).await {
            eprintln!("hsm-sim: the Key Protect API ended: {e}");
        }
        self.sweeper.abort();
    }
}

/// Removes keys for good whose time to be restored is long over, now and then.
async fn sweep(kms: Arc<Kms<Arc<RedbStore>, HostUnits>>, instances: [InstanceId; 2]) {
    let mut said = None;
    loop {
        for instance in instances {
            let call = Call { instance, caller: SWEEPER, deadline: PATIENCE };
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

/// Opens the keystore, makes the instances if they are new, connects to the units.
pub(super) async fn start(parts: Parts<'_>) -> Result<Service, ServiceError> {
    let store = RedbStore::open(parts.data.keystore_file(), RedbOptions::default()).await?;
    let store = Arc::new(store);
    let mut proof = None;
    for instance in instances(parts.identity) {
        let header = header(&store, instance, &parts).await?;
        proof.get_or_insert(header);
    }
    let proof = proof.ok_or(ServiceError::NoUnit)?;
    let units = parts.units.iter().map(|unit| UnitAddress {
        number: unit.unit,
        zone: unit.zone.to_owned(),
        socket: unit.socket.clone(),
    });
    let host = Host::start(HostConfig {
        zone: HOST_ZONE.to_owned(),
        units: units.collect(),
        proof: master_key_proof(proof),
        seed: getrandom::u64()?,
    });
    // Units prove themselves while the front ends are put together; the first request need not wait.
    // Without any it goes on: callers are told, and a unit that is healed later is admitted then.
    let _ = host.wait_until(PATIENCE, |units| units.iter().any(|unit| unit.in_use)).await;

    let options =
        KmsOptions { clock: Arc::new(ServiceClock(Arc::clone(&parts.clock))), ..KmsOptions::default() };
    let kms = Arc::new(Kms::open(store, HostUnits::new(host.clone()), options, PATIENCE).await?);
    let sweeper = tokio::spawn(sweep(Arc::clone(&kms), instances(parts.identity))).abort_handle();
    let auth = Arc::new(authentication(&parts)?);
    let state =
        RestState::new(kms, Arc::clone(&auth), served(parts.identity), server::rest::DEFAULT_DEADLINE);
    let router = server::router(Arc::new(state), auth, readiness(host.clone()));
    Ok(Service { host, router, sweeper })
}

/// The instance's header, made with a unit that holds the master key if there is none yet.
async fn header(
    store: &Arc<RedbStore>,
    instance: InstanceId,
    parts: &Parts<'_>,
) -> Result<InstanceHeader, ServiceError> {
    let failed = |source| ServiceError::Instance { instance, source };
    let header = match InstanceHeader::read(store, &OsRng, instance, PATIENCE).await.map_err(failed)? {
        Some(header) => header,
        None => {
            let unit = UnitClient::connect(parts.keyed.first().ok_or(ServiceError::NoUnit)?).await?;
            let unit = OneUnit(unit);
            InstanceHeader::create(store, &unit, &OsRng, instance, parts.pattern, PATIENCE)
                .await
                .map_err(failed)?
        }
    };
    if header.pattern.is_of_same_key(&parts.pattern) {
        Ok(header)
    } else {
        Err(ServiceError::OtherMasterKey { stored: header.pattern, parts: parts.pattern })
    }
}

fn master_key_proof(header: InstanceHeader) -> MasterKeyProof {
    MasterKeyProof {
        pattern: header.pattern,
        root: header.proof.root_blob,
        iv: header.proof.iv,
        secret: header.proof.sealed_secret,
        commitment: header.proof.commitment,
        canary: header.proof.canary,
    }
}

fn instances(identity: &Identity) -> [InstanceId; 2] {
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

/// Two managers with a static token each; the API key is the first one's.
fn authentication(parts: &Parts<'_>) -> Result<Auth, ServiceError> {
    let identity = parts.identity;
    let key =
        hex::decode(&identity.token_key).ok_or_else(|| ServiceError::TokenKey(parts.data.region_file()))?;
    let manager = |number: usize| auth::Identity {
        iam_id: format!("IBMid-DEV000000{number}"),
        account: identity.account.clone(),
    };
    let mut config = AuthConfig::new(SigningKey::new(*key));
    config.tokens =
        (1..).zip(&identity.tokens).map(|(n, token)| (Zeroizing::new(token.clone()), manager(n))).collect();
    config.api_keys = vec![(Zeroizing::new(identity.api_key.clone()), manager(1))];
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
