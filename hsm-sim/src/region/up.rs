//! Starting a region, and stopping it.

use super::access::{authentication, instances};
use super::ceremony::{CeremonyKind, DevelopmentCeremony};
use super::clock::SimClock;
use super::controlled::ControlledRegion;
use super::data::{DataDir, DataError};
use super::directory::SupervisedUnits;
use super::identity::{Identity, Wanted, random_hex};
use super::member::PairMember;
use super::place::ZONES;
use super::ready::{ReadyFile, ReadyFiles, ReadyUnit};
use super::region_file::RegionFile;
use super::supervisor::{Supervisor, SupervisorError};
use super::unit_memory::FileUnitMemory;
use crate::control;
use crate::pair::part::Ports;
use crate::unit::Factory;
use axum::Router;
use keystore::{Accepted, StoreOpenError, StorePin};
use kms::{RecordError, RotationProfile};
use node::{AuditLog, BackupSettings, FileLedger, Node, NodeError, StoreConfig, UnitAudit};
use server::auth::SharedToken;
use server::{Port, ServeLimits};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tke::trust::ModuleTrust;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use wire::text::error_chain;

/// How long requests under way may take to end when the region stops.
const DRAIN: Duration = Duration::from_secs(4);
/// How long a server may take to end after that.
const SERVER_END: Duration = Duration::from_secs(5);

/// What a region is started with.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Data directory.
    pub data: PathBuf,
    /// Units and ceremony.
    pub wanted: Wanted,
    /// What keys can be used for while the master key is being rotated.
    pub rotation: RotationProfile,
    /// Port of the Key Protect API on the loopback interface, 0 for any free one; the control API and the operator's
    /// address take the two ports after it, or any.
    pub port: u16,
    /// Whether faults and clock changes are allowed; `None`: with a development ceremony only.
    pub faults: Option<bool>,
    /// Names under which the region's ports are addressed, beside those of the loopback interface.
    pub hosts: Vec<String>,
    /// Folder for backups of the instances; `None`: `backups` in the data directory.
    pub backup_dir: Option<PathBuf>,
    /// File to which addresses and credentials are written once the region serves.
    pub ready_file: Option<PathBuf>,
    /// Deviations of the keystore from its pin that are accepted.
    pub accepted: Accepted,
    /// Program that has the `unit` command; `None` for the running one.
    pub program: Option<PathBuf>,
    /// The region's part in a pair; `None` for a region of its own.
    pub pair: Option<Box<PairMember>>,
}

/// Why a region did not start. Everything that had been started is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A port cannot be used.
    #[error("port {port} cannot be used: free it, or name another with --port (0 takes any free one)")]
    Port {
        /// The port.
        port: u16,
        /// OS error from bind(2).
        source: io::Error,
    },
    /// A unit process did not start.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The keystore cannot be opened.
    #[error(transparent)]
    Store(StoreOpenError),
    /// The keystore is not the one that the region had.
    #[error("the keystore is refused; `hsm-sim up {option}` accepts it as it is")]
    StoreRefused {
        /// Option that accepts it.
        option: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The node did not start.
    #[error(transparent)]
    Node(NodeError),
    /// The key of the token service's signatures is damaged.
    #[error("{} is damaged: its token key is not 64 hexadecimal digits", .0.display())]
    TokenKey(PathBuf),
    /// What is known of the units' states cannot be read.
    #[error("{} cannot be used", .path.display())]
    UnitsSeen {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The ready file cannot be written.
    #[error("the ready file {} cannot be written", .path.display())]
    ReadyFile {
        /// The file.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// The operating system returned no random bytes.
    #[error("no control token could be made")]
    Random(#[source] io::Error),
    /// The path of the running program is unknown, so no unit process can be started.
    #[error("the program's own path is not known")]
    Program(#[source] io::Error),
}

impl UpError {
    fn refused(option: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::StoreRefused { option, source: Box::new(source) }
    }
}

impl From<StoreOpenError> for UpError {
    fn from(error: StoreOpenError) -> Self {
        match error {
            StoreOpenError::Missing { .. } => Self::refused("--accept-missing-keystore", error),
            StoreOpenError::Older { .. } | StoreOpenError::PinDamaged { .. } => {
                Self::refused("--accept-older-keystore", error)
            }
            StoreOpenError::Other { .. } => Self::refused("--accept-other-keystore", error),
            other => Self::Store(other),
        }
    }
}

impl From<NodeError> for UpError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::RecordInvalid { source: RecordError::RolledBack, .. } => {
                Self::refused("--accept-older-keystore", error)
            }
            other => Self::Node(other),
        }
    }
}

/// A region that serves.
pub struct Region {
    control: Arc<ControlledRegion>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Region {
    /// Starts a region and returns once it serves. Where people bring the units into service, it returns once they can
    /// begin.
    ///
    /// # Errors
    /// [`UpError`]; nothing runs then.
    pub async fn start(options: UpOptions) -> Result<Self, UpError> {
        let data = DataDir::open(&options.data)?;
        let data = Arc::new(match &options.pair {
            Some(member) => data.sharing(member.shared.clone()),
            None => data,
        });
        if let Some(path) = &options.ready_file {
            remove_stale(path)?;
        }
        let store = pinned_store(&data, options.accepted)?;
        let shared = options.pair.as_ref().map(|member| &member.identity);
        let RegionFile { identity, places } = RegionFile::open_as(&data, &options.wanted, shared)?;
        let clock = Arc::new(SimClock::open(data.clock_file())?);
        if let Some(member) = &options.pair {
            clock.catch_up(member.ahead)?;
        }
        let development = match identity.ceremony {
            CeremonyKind::Development => Some(DevelopmentCeremony::open(&data.ceremony_dir())?),
            CeremonyKind::Manual => None,
        };
        let at = |path: PathBuf| move |source| DataError::Unusable { path, source };
        let factory = Factory::open(&data.factory_dir()).map_err(at(data.factory_dir()))?;
        let audit = AuditLog::open(&data.audit_file()).map_err(at(data.audit_file()))?;
        let listeners = match &options.pair {
            Some(member) => Listeners::bind_member(member.ports).await?,
            None => Listeners::bind(options.port).await?,
        };
        let program = match options.program.clone() {
            Some(program) => program,
            None => std::env::current_exe().map_err(UpError::Program)?,
        };
        let supervisor = Supervisor::start(program, Arc::clone(&data), &identity, places).await?;
        let started =
            Started { options, data, store, identity, clock, development, factory, audit, listeners };
        match started.serve(supervisor.clone()).await {
            Ok(region) => Ok(region),
            Err(e) => {
                supervisor.stop().await;
                Err(e)
            }
        }
    }

    /// Addresses and credentials.
    #[must_use]
    pub fn ready(&self) -> ReadyFile {
        self.control.ready.content()
    }

    /// The region as commands inspect and change it.
    #[must_use]
    pub fn control(&self) -> &ControlledRegion {
        &self.control
    }

    /// Stops the region: no new requests are accepted, those under way end, then the units end.
    pub async fn stop(mut self) {
        self.control.ready.remove();
        self.stop.send_replace(true);
        for server in &mut self.servers {
            if tokio::time::timeout(SERVER_END, &mut *server).await.is_err() {
                server.abort();
            }
        }
        // A change of units that is under way ends first, and none begins.
        let _no_change = tokio::time::timeout(SERVER_END, self.control.changing.lock()).await;
        self.control.node.shutdown().await;
        self.control.supervisor.stop().await;
    }
}

/// A region whose units run and whose node does not yet.
struct Started {
    options: UpOptions,
    data: Arc<DataDir>,
    store: StoreConfig,
    identity: Identity,
    clock: Arc<SimClock>,
    development: Option<DevelopmentCeremony>,
    factory: Factory,
    audit: AuditLog,
    listeners: Listeners,
}

/// The region's ports.
struct Listeners {
    /// Key Protect API, token service and administration.
    api: TcpListener,
    /// Control API.
    control: TcpListener,
    /// Health and metrics.
    operator: TcpListener,
    /// For the partner and the front of a pair.
    peer: Option<TcpListener>,
}

impl Listeners {
    /// Those of a region of a pair: each port, or any if it is taken.
    async fn bind_member(ports: Ports) -> Result<Self, UpError> {
        let bind = async |port| match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(bound) => Ok(bound),
            Err(_) => any_port().await,
        };
        Ok(Self {
            api: bind(ports.api).await?,
            control: bind(ports.control).await?,
            operator: bind(ports.operator).await?,
            peer: Some(bind(ports.peer).await?),
        })
    }

    /// On the loopback interface: the API on `port`, 0 for any free one; the control API on the port after it; the operator's
    /// address on the next one, or any if that is taken.
    async fn bind(port: u16) -> Result<Self, UpError> {
        let bind = async |offset| {
            let port = if port == 0 { 0 } else { port.checked_add(offset).unwrap_or(0) };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpListener::bind(address).await.map_err(|source| UpError::Port { port, source })
        };
        let (api, control) = (bind(0).await?, bind(1).await?);
        let operator = match bind(2).await {
            Ok(operator) => operator,
            Err(_) => any_port().await?,
        };
        Ok(Self { api, control, operator, peer: None })
    }
}

async fn any_port() -> Result<TcpListener, UpError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    bound.map_err(|source| UpError::Port { port: 0, source })
}

impl Started {
    async fn serve(self, supervisor: Supervisor) -> Result<Region, UpError> {
        let Self { options, data, store, identity, clock, development, factory, audit, listeners } = self;
        let control_token = random_hex(32).map_err(UpError::Random)?;
        let ready = ready_file(&identity, control_token, &data, &supervisor, &listeners)
            .map_err(|source| UpError::Port { port: options.port, source })?;
        let auth = authentication(&identity).ok_or_else(|| UpError::TokenKey(data.region_file()))?;
        let store = store.open().await?;
        let directory = SupervisedUnits::new(supervisor.clone());
        let mut builder = Node::builder(store, directory.clone(), Arc::clone(&clock) as _);
        for instance in instances(&identity) {
            builder = builder.instance(instance);
        }
        let memory = FileUnitMemory::open(data.units_seen_file())
            .map_err(|source| UpError::UnitsSeen { path: data.units_seen_file(), source })?;
        let at = data.invocations_file();
        let ledger = FileLedger::open(&at).map_err(|source| DataError::Unusable { path: at, source })?;
        let at = data.unit_audit_dir();
        let unit_audit = UnitAudit::open(&at).map_err(|source| DataError::Unusable { path: at, source })?;
        let builder = builder
            .auth(auth)
            .unit_audit(unit_audit)
            .invocation_ledger(ledger)
            .audit_log(audit)
            .rotation_profile(options.rotation)
            .unit_memory(Arc::new(memory));
        let builder = builder.backups(backups(&options, &data, &identity));
        // The data directory is locked: no other node over this store bears the name.
        let mut builder = builder.name("hsm-sim");
        if let Some(member) = options.pair {
            builder = builder.pair(member.settings);
        }
        let node = builder.build()?;
        let region = Arc::new(ControlledRegion {
            identity,
            supervisor,
            node: node.clone(),
            clock,
            control_token: SharedToken::new(&ready.control_token),
            faults: options.faults.unwrap_or(development.is_some()),
            development,
            trust: ModuleTrust::new(factory.root()),
            data: Arc::clone(&data),
            directory,
            ready: ReadyFiles::new(ready),
            changing: AsyncMutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut servers = Vec::new();
        open(&region).await?;
        let Listeners { api, control, operator, peer } = listeners;
        servers.extend(peer.and_then(|listener| serve_peers(&node, listener, &stopped)));
        let control_router = control::router(Arc::clone(&region));
        servers.push(serve(Port::Api, api, node.router(), &options.hosts, &stopped));
        servers.push(serve(Port::Control, control, control_router, &options.hosts, &stopped));
        servers.push(serve(Port::Operator, operator, node.operator_router(), &options.hosts, &stopped));
        let region = Region { control: region, stop, servers };
        let paths = [Some(DataDir::ready_file(data.path())), options.ready_file];
        for path in paths.into_iter().flatten() {
            if let Err(source) = region.control.ready.write_to(path.clone()) {
                region.stop().await;
                return Err(UpError::ReadyFile { path, source });
            }
        }
        Ok(region)
    }
}

/// Where backups are: those of a region of a pair in the folder of the other one.
fn backups(options: &UpOptions, data: &DataDir, identity: &Identity) -> BackupSettings {
    let base = options.backup_dir.clone();
    let own = &identity.region;
    match &options.pair {
        Some(member) => {
            let base = base.unwrap_or_else(|| member.shared.join("backups"));
            let partner = base.join(&member.settings.partner.name);
            BackupSettings::new(partner, own).also_listing(base.join(own))
        }
        None => BackupSettings::new(base.unwrap_or_else(|| data.backups_dir()), own),
    }
}

/// The region's keystore. A region that is new gets a pin before anything else, which says that there is no keystore yet.
fn pinned_store(data: &DataDir, accepted: Accepted) -> Result<StoreConfig, DataError> {
    let (path, pin, must_exist) = (data.keystore_file(), data.keystore_pin(), data.region_file().exists());
    if !must_exist {
        StorePin::begin(&pin).map_err(|source| DataError::Unusable { path: pin.clone(), source })?;
    }
    Ok(StoreConfig::PinnedRedb { path, pin, must_exist, accepted })
}

/// Opens the node: at once where the region brings its units into service itself, else as soon as people have.
async fn open(region: &Arc<ControlledRegion>) -> Result<(), NodeError> {
    let node = &region.node;
    let Some(development) = &region.development else {
        // An instance that exists is served by any unit that holds its master key.
        return node.open_when_ready().await;
    };
    let parts = development.pattern();
    // Units are left alone if the key parts are not those of the keystore's master key, or while two are legal.
    if let Some((stored, next)) = node.stored_patterns().await?
        && (next.is_some() || !stored.is_of_same_key(&parts))
    {
        match next {
            Some(next) => info!(
                old = %stored, new = %next, "the master key is being rotated; the units are left as they are"
            ),
            None => warn!(
                keystore = %stored, ceremony = %parts,
                "the key parts in the ceremony folder are not those of the keystore's master key; units that hold the \
                 keystore's master key serve, and no unit can be healed until its key parts are in that folder"
            ),
        }
        return node.open(None).await;
    }
    // Nothing can be loaded into a unit whose token is away. The supervisor has logged why.
    let units = region.supervisor.units().into_iter().filter(|unit| unit.down.is_none());
    let numbers = units.map(|unit| unit.unit);
    let converging: Vec<_> = numbers
        .map(|unit| {
            let region = Arc::clone(region);
            (unit, tokio::spawn(async move { region.bring_into_service(unit).await }))
        })
        .collect();
    for (unit, converged) in converging {
        let why = match converged.await {
            Ok(Ok(())) => continue,
            Ok(Err(e)) => error_chain(&e),
            Err(e) => e.to_string(),
        };
        // The others serve. The host excludes this one and reports why.
        warn!(unit, error = %why, "the unit is not in service");
    }
    if node.region().is_some() {
        // It waits for the right to write, or for a copy of the other region's data.
        return node.open_when_ready().await;
    }
    node.open(Some(parts)).await
}

/// Removes the file of an earlier run, by which a waiting script would continue too early.
pub(crate) fn remove_stale(path: &Path) -> Result<(), UpError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(UpError::ReadyFile { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn ready_file(
    identity: &Identity,
    control_token: String,
    data: &DataDir,
    supervisor: &Supervisor,
    listeners: &Listeners,
) -> io::Result<ReadyFile> {
    let url = |listener: &TcpListener| Ok::<_, io::Error>(format!("http://{}", listener.local_addr()?));
    let rest_url = url(&listeners.api)?;
    let units = supervisor.units().into_iter();
    Ok(ReadyFile {
        iam_url: rest_url.clone(),
        tke_url: rest_url.clone(),
        rest_url,
        control_url: url(&listeners.control)?,
        control_token,
        operator_url: url(&listeners.operator)?,
        instance_id: identity.instance_id,
        instance_id_2: identity.instance_id_2,
        api_key: identity.api_key.clone(),
        api_key_2: identity.credentials.api_key_2.clone(),
        tokens: identity.tokens.to_vec(),
        operator_api_key: identity.credentials.operator_api_key.clone(),
        operator_token: identity.credentials.operator_token.clone(),
        region: identity.region.clone(),
        zones: ZONES.map(str::to_owned).to_vec(),
        ceremony: identity.ceremony,
        root_certificate: data.factory_dir().join("root.der"),
        units: units.map(ReadyUnit::from).collect(),
        pid: std::process::id(),
        data: data.path().to_owned(),
        peer_address: listeners.peer.as_ref().map(TcpListener::local_addr).transpose()?,
        regions: Vec::new(),
    })
}

/// Serves the partner and the front of a pair until `stopped`.
fn serve_peers(
    node: &Node,
    listener: TcpListener,
    stopped: &watch::Receiver<bool>,
) -> Option<JoinHandle<()>> {
    let region = node.region()?;
    let stopped = until(stopped.clone());
    Some(tokio::spawn(async move {
        region.serve_peers(listener, stopped).await;
    }))
}

/// Serves until `stopped`, with the same limits of time on every port.
fn serve(
    port: Port,
    listener: TcpListener,
    router: Router,
    hosts: &[String],
    stopped: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    let stopped = until(stopped.clone());
    let hosts = hosts.to_vec();
    let mut limits = ServeLimits::of(port);
    limits.drain = DRAIN;
    tokio::spawn(async move {
        if let Err(e) = server::serve(listener, router, limits, &hosts, stopped).await {
            let what = match port {
                Port::Api => "API",
                Port::Control => "control API",
                Port::Operator => "operator's address",
            };
            error!(error = %error_chain(&e), "the {what} is not served any more");
        }
    })
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the region was dropped, which is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
