//! Bringing a region up, and down again.

use super::ceremony::{CeremonyKind, DevelopmentCeremony};
use super::clock::SimClock;
use super::controlled::ControlledRegion;
use super::data::{DataDir, DataError};
use super::identity::{Identity, Wanted};
use super::place::{ZONES, places};
use super::ready::{ReadyFile, ReadyUnit};
use super::service::{Service, ServiceError};
use super::supervisor::{Supervisor, SupervisorError};
use super::tke_service::{self, AuditLog, TkeService};
use crate::cli::with_causes;
use crate::unit::Factory;
use crate::{control, files};
use kms::RotationProfile;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long requests under way may take to end when the region stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What a region is started with.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Data directory.
    pub data: PathBuf,
    /// Units and ceremony.
    pub wanted: Wanted,
    /// What keys can be used for while the master key is being rotated.
    pub rotation: RotationProfile,
    /// Port of the Key Protect API on the loopback interface, 0 for any; the control API takes the next, or any.
    pub port: u16,
    /// Where to write addresses and credentials once the region serves.
    pub ready_file: Option<PathBuf>,
    /// The program that has the `unit` command; `None` for the one that is running.
    pub program: Option<PathBuf>,
}

/// Why a region did not come up. Whatever had been started is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A port.
    #[error("port {port} cannot be used: free it, or name another with --port (0 takes any free one)")]
    Port {
        /// Which.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A unit process.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The services.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The ready file.
    #[error("the ready file {} cannot be written", .path.display())]
    ReadyFile {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program itself cannot be found, so that no unit can be started.
    #[error("the program's own path is not known")]
    Program(#[source] io::Error),
}

/// A region that serves.
pub struct Region {
    ready: ReadyFile,
    control: Arc<ControlledRegion>,
    ready_files: Vec<PathBuf>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

impl Region {
    /// Starts a region and returns once it serves; one whose units people bring into service, once that can begin.
    ///
    /// # Errors
    /// [`UpError`]; nothing runs then.
    pub async fn start(options: UpOptions) -> Result<Self, UpError> {
        let data = Arc::new(DataDir::open(&options.data)?);
        if let Some(path) = &options.ready_file {
            remove_stale(path)?;
        }
        let identity = Identity::open(&data, &options.wanted)?;
        let clock = Arc::new(SimClock::open(data.clock_file())?);
        let development = match identity.ceremony {
            CeremonyKind::Development => Some(DevelopmentCeremony::open(&data.ceremony_dir())?),
            CeremonyKind::Manual => None,
        };
        let at = |path: PathBuf| move |source| DataError::Unusable { path, source };
        let factory = Factory::open(&data.factory_dir()).map_err(at(data.factory_dir()))?;
        let audit = AuditLog::open(&data.audit_file()).map_err(at(data.audit_file()))?;
        let (rest, control) = listen(options.port).await?;
        let program = match options.program.clone() {
            Some(program) => program,
            None => std::env::current_exe().map_err(UpError::Program)?,
        };
        let places = places(&identity.region, identity.unit_counts());
        let supervisor = Supervisor::start(program, Arc::clone(&data), &identity, places).await?;
        let started = Started { options, data, identity, clock, development, factory, audit, rest, control };
        match started.serve(supervisor.clone()).await {
            Ok(region) => Ok(region),
            Err(e) => {
                supervisor.stop().await;
                Err(e)
            }
        }
    }

    /// Where it is and how to use it.
    #[must_use]
    pub const fn ready(&self) -> &ReadyFile {
        &self.ready
    }

    /// What can be done to it.
    #[must_use]
    pub fn control(&self) -> &ControlledRegion {
        &self.control
    }

    /// Stops it: no new requests, those under way end, then the units end.
    pub async fn stop(mut self) {
        for path in &self.ready_files {
            let _ = std::fs::remove_file(path);
        }
        self.stop.send_replace(true);
        for server in &mut self.servers {
            if tokio::time::timeout(DRAIN, &mut *server).await.is_err() {
                server.abort();
            }
        }
        if let Some(host) = self.control.service.host() {
            host.shutdown().await;
        }
        self.control.supervisor.stop().await;
    }
}

/// All that is there before the first key can be used.
struct Started {
    options: UpOptions,
    data: Arc<DataDir>,
    identity: Identity,
    clock: Arc<SimClock>,
    development: Option<DevelopmentCeremony>,
    factory: Factory,
    audit: AuditLog,
    rest: TcpListener,
    control: TcpListener,
}

impl Started {
    async fn serve(self, supervisor: Supervisor) -> Result<Region, UpError> {
        let Self { options, data, identity, clock, development, factory, audit, rest, control } = self;
        let ready = ready_file(&identity, &data, &supervisor, &rest, &control)
            .map_err(|source| UpError::Port { port: options.port, source })?;
        let service =
            Service::begin(&data, identity.clone(), Arc::clone(&clock), supervisor.clone(), options.rotation)
                .await?;
        let region = Arc::new(ControlledRegion {
            identity,
            supervisor,
            service: Arc::clone(&service),
            clock,
            development,
            root: factory.root(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut servers = Vec::new();
        if let Err(e) = make_ready(&region, &stopped, &mut servers).await {
            return Err(e.into());
        }
        let tke = tke_service::router(Arc::new(TkeService { service: Arc::clone(&service), audit }));
        servers.push(tokio::spawn(service.serve(rest, tke, until(stopped.clone()))));
        servers.push(tokio::spawn(serve_control(control, Arc::clone(&region), until(stopped))));
        let mut region = Region { ready, control: region, ready_files: Vec::new(), stop, servers };
        let paths = [Some(DataDir::ready_file(data.path())), options.ready_file];
        for path in paths.into_iter().flatten() {
            if let Err(e) = region.announce(path) {
                region.stop().await;
                return Err(e);
            }
        }
        Ok(region)
    }
}

/// Opens the services: at once where the region brings its units into service itself, else as soon as people have.
async fn make_ready(
    region: &Arc<ControlledRegion>,
    stopped: &watch::Receiver<bool>,
    servers: &mut Vec<JoinHandle<()>>,
) -> Result<(), ServiceError> {
    let service = &region.service;
    let Some(development) = &region.development else {
        // An instance that is there serves with whichever unit holds its master key.
        return match service.open(None).await {
            Err(ServiceError::NotReady(_)) => {
                let (opening, stopped) = (Arc::clone(service).open_when_ready(), until(stopped.clone()));
                servers.push(tokio::spawn(async move {
                    tokio::select! {
                        () = opening => {}
                        () = stopped => {}
                    }
                }));
                Ok(())
            }
            other => other,
        };
    };
    let parts = development.pattern();
    // No unit is touched for parts that are not the keystore's, nor while two master keys are legal.
    if let Some((stored, next)) = service.stored_patterns().await?
        && (next.is_some() || !stored.is_of_same_key(&parts))
    {
        match next {
            Some(next) => eprintln!(
                "hsm-sim: the master key is being rotated, from {stored} to {next}: units are left as they are"
            ),
            None => eprintln!(
                "hsm-sim: the keystore is under master key {stored}, the parts in the ceremony folder make {parts}: \
                 units that hold the keystore's serve, and none is healed until its parts are in that folder"
            ),
        }
        return service.open(None).await;
    }
    // Nothing can be brought to a unit whose token is away; why, was said.
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
            Ok(Err(e)) => with_causes(&e),
            Err(e) => e.to_string(),
        };
        // The others serve; the host keeps this one out and says why.
        eprintln!("hsm-sim: unit {unit} is not in service: {why}");
    }
    service.open(Some(parts)).await
}

impl Region {
    fn announce(&mut self, path: PathBuf) -> Result<(), UpError> {
        let content = serde_json::to_vec_pretty(&self.ready).map_err(io::Error::from);
        content
            .and_then(|content| files::write_private(&path, &content))
            .map_err(|source| UpError::ReadyFile { path: path.clone(), source })?;
        self.ready_files.push(path);
        Ok(())
    }
}

/// A file of an earlier run would make a waiting script go on too early.
fn remove_stale(path: &Path) -> Result<(), UpError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(UpError::ReadyFile { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

async fn listen(port: u16) -> Result<(TcpListener, TcpListener), UpError> {
    let bind = async |port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).await.map_err(|source| UpError::Port { port, source })
    };
    let rest = bind(port).await?;
    let control = match port.checked_add(1) {
        Some(next) if port != 0 => bind(next).await?,
        _ => bind(0).await?,
    };
    Ok((rest, control))
}

fn ready_file(
    identity: &Identity,
    data: &DataDir,
    supervisor: &Supervisor,
    rest: &TcpListener,
    control: &TcpListener,
) -> io::Result<ReadyFile> {
    let rest_url = format!("http://{}", rest.local_addr()?);
    let units = supervisor.units().into_iter();
    Ok(ReadyFile {
        iam_url: rest_url.clone(),
        tke_url: rest_url.clone(),
        rest_url,
        control_url: format!("http://{}", control.local_addr()?),
        instance_id: identity.instance_id,
        instance_id_2: identity.instance_id_2,
        api_key: identity.api_key.clone(),
        tokens: identity.tokens.to_vec(),
        region: identity.region.clone(),
        zones: ZONES.map(str::to_owned).to_vec(),
        ceremony: identity.ceremony,
        root_certificate: data.factory_dir().join("root.der"),
        units: units
            .map(|u| ReadyUnit {
                unit: u.unit,
                kind: u.place.kind.name().to_owned(),
                location: u.place.location.to_string(),
                zone: u.place.zone,
                socket: u.socket,
            })
            .collect(),
        pid: std::process::id(),
        data: data.path().to_owned(),
    })
}

async fn serve_control(
    listener: TcpListener,
    region: Arc<ControlledRegion>,
    stopped: impl Future<Output = ()> + Send + 'static,
) {
    let served = axum::serve(listener, control::router(region)).with_graceful_shutdown(stopped).await;
    if let Err(e) = served {
        eprintln!("hsm-sim: the control API ended: {e}");
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the region is gone, which is a stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
