//! The front: the one address that clients use.
//!
//! It forwards bytes, and never ends the trust between a client and the service: which region gets a connection depends on
//! the state of the pair alone.

use super::accept::{WhenFull, accept};
use super::codec::answer_from_wire;
use super::frames::{read_frame, write_frame};
use super::idle::Watched;
use super::time::Clocks;
use super::{Place, RegionTls};
use kms::SystemClock;
use regions::{Front, FrontConfig, Side, SiteAnswer};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_rustls::client::TlsStream;
use tracing::{debug, info};
use wire::region::{Hello, MAX_MESSAGE_LEN, Probe, ProbeAnswer, Purpose, decode, encode};

/// Pause between two probes of a region.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// For a region to answer a probe.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// For a region to accept a client's connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Connections of clients at once.
const CONNECTIONS: usize = 4096;
/// How long a request that is under way in a region may take once another one gets the requests.
const LINGER: Duration = Duration::from_secs(5);
/// A connection on which nothing went for so long after an answer has no request under way.
const IDLE: Duration = Duration::from_millis(50);
/// Pause between two looks at that.
const LOOK: Duration = Duration::from_millis(10);

/// A region, as a front sees it.
#[derive(Clone, Debug)]
pub struct FrontTarget {
    /// Where its state is asked for.
    pub peer: Place,
    /// Where clients' connections go, `host:port`.
    pub clients: String,
}

/// What a front is for.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// The home region.
    pub home: FrontTarget,
    /// The standby region.
    pub standby: FrontTarget,
    /// The front's certificate.
    pub tls: RegionTls,
}

struct Shared {
    settings: FrontSettings,
    clocks: Clocks,
    front: Mutex<Front>,
    route: watch::Sender<Option<Side>>,
}

/// Forwards the connections of `listener` to the region that serves, until `stopped`. `route` is told each change.
pub async fn serve_front(
    listener: TcpListener,
    settings: FrontSettings,
    route: watch::Sender<Option<Side>>,
    stopped: impl Future<Output = ()> + Send,
) {
    let clocks = Clocks::new(Arc::new(SystemClock));
    let front = Mutex::new(Front::new(FrontConfig::default(), clocks.now().instant));
    let shared = Arc::new(Shared { settings, clocks, front, route });
    let mut probes = JoinSet::new();
    for side in [Side::Home, Side::Standby] {
        probes.spawn(probe(Arc::clone(&shared), side));
    }
    let serve = move |stream, _| forward(stream, Arc::clone(&shared));
    accept(listener, (CONNECTIONS, WhenFull::Refuse), stopped, serve).await;
}

/// Carries the bytes of one client until either end closes, or another region serves.
async fn forward(client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut route = shared.route.subscribe();
    let Some(side) = *route.borrow_and_update() else {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "no region serves"));
    };
    let target = shared.target(side);
    let mut region = timeout(CONNECT_TIME, TcpStream::connect(&target.clients)).await??;
    client.set_nodelay(true)?;
    region.set_nodelay(true)?;
    let (mut client, activity) = Watched::new(client);
    let moved = async {
        let _ = route.wait_for(|now| *now != Some(side)).await;
        let until = tokio::time::Instant::now() + LINGER;
        // What is lost answers nothing any more; elsewhere, an answer that is awaited comes.
        while shared.is_reached(side) && !activity.is_idle_for(IDLE) && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut region) => copied.map(drop),
        () = moved => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "another region serves")),
    }
}

/// Asks a region for its state again and again.
async fn probe(shared: Arc<Shared>, side: Side) {
    let mut ticks = interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection = None;
    loop {
        ticks.tick().await;
        let answer = timeout(ANSWER_TIME, shared.probe_once(side, &mut connection)).await;
        let answer = match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                debug!(%side, %error, "a region does not answer");
                connection = None;
                None
            }
            Err(_) => {
                connection = None;
                None
            }
        };
        shared.handle(side, answer);
    }
}

impl Shared {
    const fn target(&self, side: Side) -> &FrontTarget {
        match side {
            Side::Home => &self.settings.home,
            Side::Standby => &self.settings.standby,
        }
    }

    /// Whether a region has answered the last probe.
    fn is_reached(&self, side: Side) -> bool {
        let front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
        front.unreachable_for(self.clocks.now().instant, side).is_zero()
    }

    async fn probe_once(
        &self,
        side: Side,
        connection: &mut Option<TlsStream<TcpStream>>,
    ) -> io::Result<SiteAnswer> {
        if connection.is_none() {
            let Place { name, address } = &self.target(side).peer;
            let mut stream = self.settings.tls.connect(address, name).await?;
            write_frame(&mut stream, &encode(&Hello::new(Purpose::Probe))).await?;
            *connection = Some(stream);
        }
        let Some(stream) = connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let probe = {
            let front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
            let unreachable = front.unreachable_for(self.clocks.now().instant, side.other());
            Probe {
                partner_unreachable_ms: u64::try_from(unreachable.as_millis()).unwrap_or(u64::MAX),
                highest: front.highest().number(),
            }
        };
        write_frame(stream, &encode(&probe)).await?;
        let answer = read_frame(stream, MAX_MESSAGE_LEN, ANSWER_TIME).await?;
        let answer: ProbeAnswer = decode(&answer).map_err(io::Error::other)?;
        Ok(answer_from_wire(&answer))
    }

    fn handle(&self, side: Side, answer: Option<SiteAnswer>) {
        let route = {
            let mut front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
            front.handle_probe(self.clocks.now().instant, side, answer);
            front.route()
        };
        self.route.send_if_modified(|now| {
            let is_new = *now != route;
            if is_new {
                info!(from = ?*now, to = ?route, "requests go to another region");
                *now = route;
            }
            is_new
        });
    }
}
