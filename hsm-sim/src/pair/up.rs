//! Starting a pair of regions, and stopping it.

use super::certificates::{self, CertificatesError};
use super::links::{Links, Party, PeerPort, Route};
use super::member::{KnownRegion, KnownWitness};
use super::part::{PeerAddress, Ports, RegionPart, WitnessPart};
use super::plan::PairPlan;
use super::process::{Process, ProcessError};
use super::running::{Member, RunningPair, Seen};
use super::timeline::Timeline;
use crate::control;
use crate::region::{
    CeremonyKind, DataDir, DataError, DevelopmentCeremony, Identity, ReadyFile, ReadyFiles, ReadyRegion,
    SimClock, UpError, Wanted, random_hex, remove_stale,
};
use crate::unit::Factory;
use node::region::{FRONT, FrontSettings, FrontTarget, Place, WITNESS, serve_front};
use regions::{Fence, Side};
use server::auth::SharedToken;
use server::{Port, ServeLimits};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, warn};
use wire::text::error_chain;

/// How long the front may take to find the region that serves. Later it finds it all the same.
const ROUTE_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at what has happened to the regions.
const LOOK: Duration = Duration::from_millis(250);
/// How long a server may take to end.
const SERVER_END: Duration = Duration::from_secs(5);

/// What a pair is started with.
#[derive(Clone)]
pub struct PairOptions {
    /// Data directory.
    pub data: PathBuf,
    /// What the pair is configured to do.
    pub plan: PairPlan,
    /// Units, ceremony and engines of each region.
    pub wanted: Wanted,
    /// Port of the front on the loopback interface, 0 for any free one; the control API takes the next.
    pub port: u16,
    /// Whether faults and clock changes are allowed; `None`: with a development ceremony only.
    pub faults: Option<bool>,
    /// Names under which the ports are addressed, beside those of the loopback interface.
    pub hosts: Vec<String>,
    /// Folder for backups, with a folder for each region in it; `None`: `backups` in the data directory.
    pub backup_dir: Option<PathBuf>,
    /// File to which addresses and credentials are written once the pair serves.
    pub ready_file: Option<PathBuf>,
    /// Deviations of keystores from their pins that are accepted: older, missing, other.
    pub accepted: [bool; 3],
    /// The program of all processes; `None` for the running one.
    pub program: Option<PathBuf>,
}

/// Why a pair did not start. Everything that had been started is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum PairUpError {
    /// What a single region may fail at, too.
    #[error(transparent)]
    Up(#[from] UpError),
    /// A process did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// The relays between the regions could not be opened.
    #[error("the links between the regions cannot be opened")]
    Links(#[source] io::Error),
    /// A pair has no failover or recovery units.
    #[error(
        "the standby takes the place of {0} units: leave out --{0}-units, or start a single region without a standby"
    )]
    OtherUnits(&'static str),
}

impl From<DataError> for PairUpError {
    fn from(error: DataError) -> Self {
        UpError::from(error).into()
    }
}

/// A pair that serves.
pub struct Pair {
    running: Arc<RunningPair>,
    ready: Arc<ReadyFiles>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    watcher: JoinHandle<()>,
}

impl Pair {
    /// Starts a pair and returns once both regions serve.
    ///
    /// # Errors
    /// [`PairUpError`]; nothing runs then.
    pub async fn start(options: PairOptions) -> Result<Self, PairUpError> {
        for (count, kind) in
            [(options.wanted.failover_units, "failover"), (options.wanted.recovery_units, "recovery")]
        {
            if count.is_some_and(|count| count > 0) {
                return Err(PairUpError::OtherUnits(kind));
            }
        }
        let data = DataDir::open(&options.data)?;
        if let Some(path) = &options.ready_file {
            remove_stale(path)?;
        }
        let mut options = options;
        let identity = identity(&mut options, &data)?;
        prepare(&data, &identity)?;
        let clock = Arc::new(SimClock::open(data.clock_file())?);
        let ports = Listeners::bind(options.port).await?;
        let has_witness = options.plan.switches.pair.fence == Fence::Witness;
        let links = Arc::new(Links::open(has_witness).await.map_err(PairUpError::Links)?);
        Starting { options, data, identity, clock, links, ports }.start().await
    }

    /// Addresses and credentials.
    #[must_use]
    pub fn ready(&self) -> ReadyFile {
        self.ready.content()
    }

    /// The text printed when the pair has started.
    #[must_use]
    pub fn greeting(&self, shown: bool) -> String {
        let RunningPair { plan, .. } = &*self.running;
        let (profile, fence) = (plan.profile, super::profile::fence_name(plan.switches.pair.fence));
        let (home, standby) = (&plan.home, &plan.standby);
        let regions: String = self
            .ready()
            .regions
            .iter()
            .map(|region| {
                format!("\n  {:<15}  {} (its own address, {})", region.name, region.rest_url, region.role)
            })
            .collect();
        format!(
            "pair of regions {home} and {standby}: profile {profile}, fence {fence}{regions}\n\n{}\n\nThe loss of a region:\n  \
             hsm-sim region status; hsm-sim fault lose region {home}; hsm-sim region promote --home-is-down\n  \
             hsm-sim heal region {home}; hsm-sim region return; hsm-sim region log",
            self.ready().greeting(shown)
        )
    }

    /// Stops the pair. Every key is kept.
    pub async fn stop(mut self) {
        self.ready.remove();
        self.watcher.abort();
        self.stop.send_replace(true);
        for server in &mut self.servers {
            if timeout(SERVER_END, &mut *server).await.is_err() {
                server.abort();
            }
        }
        self.running.stop().await;
    }
}

/// The ports that stay whichever region serves.
struct Listeners {
    front: TcpListener,
    control: TcpListener,
}

impl Listeners {
    async fn bind(port: u16) -> Result<Self, UpError> {
        let bind = async |offset: u16| {
            let port = if port == 0 { 0 } else { port.checked_add(offset).unwrap_or(0) };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpListener::bind(address).await.map_err(|source| UpError::Port { port, source })
        };
        Ok(Self { front: bind(0).await?, control: bind(1).await? })
    }
}

fn identity(options: &mut PairOptions, data: &DataDir) -> Result<Identity, DataError> {
    let kept = options.plan.identity.as_ref().map(|identity| identity.ceremony);
    if let (Some(kept), Some(wanted)) = (kept, options.wanted.ceremony)
        && kept != wanted
    {
        return Err(DataError::OtherCeremony { kept, wanted });
    }
    let opened = options.plan.open(data.path(), options.wanted.ceremony);
    opened.map_err(|source| DataError::Unusable { path: data.path().to_owned(), source })
}

/// Makes what both regions read: the customer's keys and the manufacturer.
fn prepare(data: &DataDir, identity: &Identity) -> Result<(), DataError> {
    if identity.ceremony == CeremonyKind::Development {
        DevelopmentCeremony::open(&data.ceremony_dir())?;
    }
    let factory = Factory::open(&data.factory_dir());
    factory.map_err(|source| DataError::Unusable { path: data.factory_dir(), source })?;
    Ok(())
}

/// A pair of which nothing runs yet.
struct Starting {
    options: PairOptions,
    data: DataDir,
    identity: Identity,
    clock: Arc<SimClock>,
    links: Arc<Links>,
    ports: Listeners,
}

impl Starting {
    async fn start(self) -> Result<Pair, PairUpError> {
        let plan = &self.options.plan;
        let names = [plan.home.as_str(), &plan.standby, WITNESS, FRONT];
        let certificates = certificates::open(&self.data.path().join("tls"), &names)?;
        let [home_tls, standby_tls, witness_tls, front_tls] = certificates.as_slice() else {
            // One for each name.
            return Err(PairUpError::Links(io::ErrorKind::NotFound.into()));
        };
        let program = match self.options.program.clone() {
            Some(program) => program,
            None => std::env::current_exe().map_err(UpError::Program)?,
        };
        let token = random_hex(32).map_err(UpError::Random)?;
        let url = |listener: &TcpListener| {
            let address = listener.local_addr().map_err(|source| UpError::Port { port: 0, source })?;
            Ok::<_, UpError>(format!("http://{address}"))
        };
        let (public, control_url) = (url(&self.ports.front)?, url(&self.ports.control)?);
        let has_witness = self.links.address(self.witness_route(Side::Home)).is_some();
        let at = |path: PathBuf| move |source| DataError::Unusable { path, source };
        let timeline_file = self.data.path().join("timeline.jsonl");
        let timeline = Timeline::open(&timeline_file).map_err(at(timeline_file))?;
        let regions = self.data.path().join("regions");
        crate::files::create_private_dir(&regions).map_err(at(regions))?;

        let witness = has_witness.then(|| {
            let part = WitnessPart {
                home: plan.home.clone(),
                standby: plan.standby.clone(),
                lease_ms: u64::try_from(plan.switches.pair.lease.as_millis()).unwrap_or(u64::MAX),
                record: self.data.path().join("witness"),
                tls: witness_tls.clone(),
                port: 0,
            };
            let path = self.data.path().join("witness.json");
            let known = KnownWitness::new(part, path, Arc::clone(&self.links));
            Process::spawn(WITNESS, program.clone(), Arc::new(known))
        });
        let member = |side, tls: &certificates::CertificateFiles| {
            let part = self.part(side, tls.clone());
            let path = self.data.path().join("regions").join(format!("{}.json", plan.name(side)));
            let known = KnownRegion::new(part, path, Arc::clone(&self.links), Arc::clone(&self.clock));
            let known = Arc::new(known);
            let process = Process::spawn(plan.name(side), program.clone(), Arc::clone(&known) as _);
            Member { side, process, known, seen: Mutex::new(Seen::default()) }
        };
        let members = [member(Side::Home, home_tls), member(Side::Standby, standby_tls)];
        let front = FrontSettings {
            home: self.front_target(Side::Home),
            standby: self.front_target(Side::Standby),
            tls: front_tls.read()?,
        };
        let Self { options, data, identity, clock, links, ports } = self;
        let route = watch::Sender::new(None);
        let running = Arc::new(RunningPair {
            data,
            plan: options.plan.clone(),
            links,
            clock,
            members,
            witness,
            route: route.subscribe(),
            timeline,
            public: public.clone(),
            control_token: SharedToken::new(&token),
            faults: options.faults.unwrap_or(identity.ceremony == CeremonyKind::Development),
        });
        let (stop, stopped) = watch::channel(false);
        let mut servers = vec![tokio::spawn(run_front(ports.front, front, route, stopped.clone()))];
        match until_serving(&running).await {
            Ok(()) => {}
            Err(e) => {
                stop.send_replace(true);
                running.stop().await;
                return Err(e.into());
            }
        }
        let mut routed = running.route.clone();
        if timeout(ROUTE_PATIENCE, routed.wait_for(Option::is_some)).await.is_err() {
            warn!("no region serves yet; the front sends requests to one as soon as it does");
        }
        let router = control::pair_router(Arc::clone(&running));
        servers.push(serve_control(ports.control, router, &options.hosts, stopped));
        running.note("pair", "started", format!("{} and {} serve", running.plan.home, running.plan.standby));
        let addresses = Addresses { public, control_url, token };
        let ready = Arc::new(ReadyFiles::new(ready_file(&running, &addresses)));
        let watcher = tokio::spawn(watch_regions(Arc::clone(&running), Arc::clone(&ready), addresses));
        let paths = [Some(DataDir::ready_file(running.data.path())), options.ready_file];
        let pair = Pair { running, ready, stop, servers, watcher };
        for path in paths.into_iter().flatten() {
            if let Err(source) = pair.ready.write_to(path.clone()) {
                pair.stop().await;
                return Err(UpError::ReadyFile { path, source }.into());
            }
        }
        Ok(pair)
    }

    const fn witness_route(&self, side: Side) -> Route {
        Route { from: Party::Region(side), to: Party::Witness, port: PeerPort::Peer }
    }

    /// What a region is told.
    fn part(&self, side: Side, tls: certificates::CertificateFiles) -> RegionPart {
        let plan = &self.options.plan;
        let peer = |name: &str, route| {
            self.links.address(route).map(|address| PeerAddress { name: name.to_owned(), address })
        };
        let other = side.other();
        let partner = Route { from: Party::Region(side), to: Party::Region(other), port: PeerPort::Peer };
        let nowhere = || PeerAddress {
            name: plan.name(other).to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        RegionPart {
            identity: match side {
                Side::Home => self.identity.clone(),
                Side::Standby => self.identity.in_standby(&plan.home, &plan.standby),
            },
            home: plan.home.clone(),
            profile: plan.profile.name().to_owned(),
            set: plan.set.clone(),
            data: self.data.path().join("regions").join(plan.name(side)),
            shared: self.data.path().to_owned(),
            wanted: Wanted {
                ceremony: Some(self.identity.ceremony),
                recovery_units: Some(0),
                ..self.options.wanted.clone()
            },
            faults: self.options.faults,
            hosts: self.options.hosts.clone(),
            backup_dir: self.options.backup_dir.clone(),
            accepted: self.options.accepted,
            ports: Ports::default(),
            // Every pair has this link.
            partner: peer(plan.name(other), partner).unwrap_or_else(nowhere),
            witness: peer(WITNESS, self.witness_route(side)),
            tls,
            ahead_ms: 0,
        }
    }

    /// A region, as the front reaches it.
    fn front_target(&self, side: Side) -> FrontTarget {
        let address = |port| {
            let route = Route { from: Party::Front, to: Party::Region(side), port };
            self.links.address(route).map(|address| address.to_string()).unwrap_or_default()
        };
        FrontTarget {
            peer: Place { name: self.options.plan.name(side).to_owned(), address: address(PeerPort::Peer) },
            clients: address(PeerPort::Rest),
        }
    }
}

/// Waits until every process serves.
async fn until_serving(running: &RunningPair) -> Result<(), ProcessError> {
    let [home, standby] = &running.members;
    let witness = async {
        match &running.witness {
            Some(witness) => witness.until_serving().await,
            None => Ok(()),
        }
    };
    tokio::try_join!(witness, home.process.until_serving(), standby.process.until_serving())?;
    Ok(())
}

async fn run_front(
    listener: TcpListener,
    settings: FrontSettings,
    route: watch::Sender<Option<Side>>,
    mut stopped: watch::Receiver<bool>,
) {
    let stopped = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    serve_front(listener, settings, route, stopped).await;
}

fn serve_control(
    listener: TcpListener,
    router: axum::Router,
    hosts: &[String],
    mut stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let hosts = hosts.to_vec();
    tokio::spawn(async move {
        let stopped = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let limits = ServeLimits::of(Port::Control);
        if let Err(e) = server::serve(listener, router, limits, &hosts, stopped).await {
            error!(error = %error_chain(&e), "the control API is not served any more");
        }
    })
}

/// The addresses that stay, and the token of the control API.
struct Addresses {
    public: String,
    control_url: String,
    token: String,
}

/// Addresses and credentials of the pair: those of its home, with the front in place of the home's own address.
fn ready_file(running: &RunningPair, addresses: &Addresses) -> ReadyFile {
    let Addresses { public, control_url, token } = addresses;
    let regions: Vec<(Side, ReadyFile)> =
        running.members.iter().filter_map(|member| Some((member.side, member.known.ready()?))).collect();
    let entry = |(side, ready): &(Side, ReadyFile)| ReadyRegion {
        name: ready.region.clone(),
        role: side.to_string(),
        rest_url: ready.rest_url.clone(),
        control_url: format!("{control_url}/regions/{}", ready.region),
        tke_url: ready.tke_url.clone(),
        operator_url: ready.operator_url.clone(),
        units: ready.units.clone(),
        zones: ready.zones.clone(),
        data: ready.data.clone(),
    };
    let entries = regions.iter().map(entry).collect();
    // A pair that has started has the file of its home.
    let mut ready = regions.into_iter().next().map(|(_, ready)| ready).unwrap_or_default();
    ready.rest_url.clone_from(public);
    ready.iam_url.clone_from(public);
    ready.control_url.clone_from(control_url);
    ready.control_token.clone_from(token);
    ready.pid = std::process::id();
    ready.data = running.data.path().to_owned();
    ready.peer_address = None;
    ready.regions = entries;
    ready
}

/// Collects what happens to the regions, keeps the ready file as they are, and the clocks of restarted ones right.
async fn watch_regions(running: Arc<RunningPair>, ready: Arc<ReadyFiles>, addresses: Addresses) {
    let mut changes: Vec<_> = running.members.iter().map(|member| member.known.changes()).collect();
    let mut route = running.route.clone();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut restarts = [0; 2];
    loop {
        ticks.tick().await;
        if changes.iter_mut().any(|change| change.has_changed().unwrap_or(false)) {
            for change in &mut changes {
                change.mark_unchanged();
            }
            for member in &running.members {
                if let Ok(client) = running.client(member.side)
                    && let Err(e) = running.catch_up(&client).await
                {
                    warn!(region = running.plan.name(member.side), error = %error_chain(&e), "the clock of a region is behind");
                }
            }
            if let Err(error) = ready.replace(ready_file(&running, &addresses)) {
                warn!(%error, "a ready file could not be replaced");
            }
        }
        for (member, known) in running.members.iter().zip(&mut restarts) {
            let restarted = member.process.state().restarts;
            if std::mem::replace(known, restarted) < restarted {
                let name = running.plan.name(member.side);
                running.note(name, "restarted", "its process had ended by itself".to_owned());
            }
            running.collect(member.side).await;
        }
        if route.has_changed().unwrap_or(false) {
            let to = *route.borrow_and_update();
            let to = to.map_or("no region", |side| running.plan.name(side));
            running.note("pair", "routed", format!("requests go to {to}"));
        }
    }
}
