//! Driving the state machine of a region.

use super::gate::WritesUnderWay;
use super::given_up::GivenUp;
use super::outgoing::{QUEUE, ask_witness, send_messages};
use super::partner::Partner;
use super::time::Clocks;
use super::{PairSettings, follower, take_over};
use crate::health::readiness;
use crate::node::{Shared, Store};
use jiff::Timestamp;
use keystore::{Deadline, Freshness, Key, Keystore, OpId, Revision, Txn, Write};
use kms::Clock;
use kms::replica::{Digest, Lag, Replica, ReplicaError, ReplicaState};
use regions::{
    Action, Copy, Epoch, Event, Facts, HandoverId, LeaseRequest, Now, PairState, PeerMessage, Side, Site,
    SiteAnswer, SiteRecord, SiteStatus, StoreMark, TakeOver, TakeOverRefused, WallTime, WritesRefused,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, info, warn};
use wire::text::error_chain;

/// For one call of the store.
const CALL: Duration = Duration::from_secs(10);
/// Longest pause between two looks at the state of this node.
const LOOK: Duration = Duration::from_millis(200);
/// More changes than that are not applied while writing stands still.
const BEHIND: u64 = 2000;
/// Events that are remembered.
const EVENTS: usize = 1000;

/// What is shared between a node and its part in a pair.
pub(crate) struct Region {
    pub(super) settings: PairSettings,
    /// The store without its gate.
    store: Store,
    clocks: Clocks,
    /// `None` until the record was read.
    site: Mutex<Option<Site>>,
    view: Mutex<View>,
    pub(super) writes: WritesUnderWay,
    pub(super) partner: Partner,
    wake: Notify,
    target: Notify,
}

/// What the state machine does not keep.
#[derive(Default)]
struct View {
    copy: CopyState,
    is_diverged: bool,
    is_connected: bool,
    lag: Lag,
    events: VecDeque<TimedEvent>,
    /// A handover that waits for this store to catch up.
    target: Option<(HandoverId, StoreMark)>,
    given_up: Option<GivenUp>,
}

/// Whether the data are usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CopyState(pub(super) Copy);

/// An event and its time by the region's calendar.
#[derive(Clone, Copy, Debug)]
pub struct TimedEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What has happened.
    pub event: Event,
}

/// What a region shows of its pair.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionStatus {
    /// This region's part.
    pub side: Side,
    /// What the state machine shows.
    pub site: SiteStatus,
    /// Why this region does not write; `None` if it does.
    pub writes_refused: Option<WritesRefused>,
    /// Whether keys can be used here.
    pub serves: bool,
    /// Whether changes of the other region are coming in.
    pub is_connected: bool,
    /// Changes of the other region that are not here, as far as is known.
    pub lag_revisions: u64,
    /// For how long this region has not had everything that the other one had; `None` if it never had.
    pub lag: Option<Duration>,
    /// What this region had and its partner had not when it last began to follow, since its start.
    pub given_up: Option<GivenUp>,
}

/// What metrics say about a region's part in a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionFigures {
    pub(crate) writes: bool,
    pub(crate) epoch: f64,
    pub(crate) is_connected: bool,
    /// Whether keys would be used here, and changes could be accepted, if the other region was lost now.
    pub(crate) is_ready: bool,
    pub(crate) is_diverged: bool,
    pub(crate) lag_revisions: f64,
    /// Not a number before the first copy is complete.
    pub(crate) lag_seconds: f64,
}

/// A node's part in a pair, for operators. Clones share it.
#[derive(Clone)]
pub struct RegionHandle {
    pub(crate) region: Arc<Region>,
    pub(crate) node: Weak<Shared>,
}

/// The durable record, JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRecord {
    format: u32,
    epoch: u64,
    highest: u64,
    lost_since_ms: Option<i64>,
}

const RECORD_FORMAT: u32 = 1;

/// Where the record is. It is not replicated.
fn record_key() -> Key {
    Key::from(*b"v1/repl/site")
}

impl Region {
    pub(crate) fn new(settings: PairSettings, store: Store, calendar: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            store,
            clocks: Clocks::new(calendar),
            site: Mutex::default(),
            view: Mutex::default(),
            writes: WritesUnderWay::default(),
            partner: Partner::default(),
            wake: Notify::new(),
            target: Notify::new(),
        }
    }

    /// Reads the record and runs the state machine until the node is gone.
    pub(crate) async fn run(self: Arc<Self>, node: Weak<Shared>) {
        let record = loop {
            match self.read_record().await {
                Ok(record) => break record,
                Err(error) => {
                    error!(%error, "the record of the pair cannot be read; this region stays read-only");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        };
        let Ok(boot) = getrandom::u64() else {
            error!("no random bytes are available; this region stays read-only");
            return;
        };
        let PairSettings { config, side, .. } = &self.settings;
        *self.site() = Some(Site::new(config.clone(), *side, record, boot, self.clocks.now()));
        let mut tasks = JoinSet::new();
        let (messages, queue) = mpsc::channel(QUEUE);
        tasks.spawn(send_messages(self.settings.tls.clone(), self.settings.partner.clone(), queue));
        let (requests, queue) = mpsc::channel(QUEUE);
        if let Some(witness) = self.settings.witness.clone() {
            let region = Arc::downgrade(&self);
            tasks.spawn(ask_witness(self.settings.tls.clone(), witness, region, queue));
        }
        let mut hands = Hands { messages, requests, following: JoinSet::new(), doing: JoinSet::new() };
        loop {
            let Some(node) = node.upgrade() else { return };
            self.look(&node).await;
            while hands.doing.try_join_next().is_some() {}
            self.handle(|site, now| {
                if now.instant >= site.poll_timeout() {
                    site.handle_timeout(now);
                }
            });
            self.log_events();
            while let Some(action) = self.with_site(Site::poll_action).flatten() {
                self.carry_out(action, &mut hands, &node).await;
            }
            self.log_events();
            drop(node);
            let due = self.with_site(|site| site.poll_timeout()).unwrap_or_default();
            let pause = due.since(self.clocks.now().instant).min(LOOK);
            tokio::select! {
                () = sleep(pause.max(Duration::from_millis(1))) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Tells the state machine what it cannot see.
    async fn look(&self, node: &Shared) {
        let units_ready = readiness(node).is_ok();
        if self.view().copy == CopyState::default()
            && let Ok(state) = ReplicaState::read(&self.store, CALL).await
        {
            self.set_copy(CopyState::of(state));
        }
        let copy = {
            let view = self.view();
            match view.copy.0 {
                Copy::Complete if view.is_diverged => Copy::Diverged,
                Copy::Complete if view.lag.revisions > BEHIND => Copy::Behind,
                copy => copy,
            }
        };
        self.handle(|site, now| site.handle_facts(now, Facts { units_ready, copy }));
    }

    async fn carry_out(self: &Arc<Self>, action: Action, hands: &mut Hands, node: &Arc<Shared>) {
        let (region, weak) = (Arc::downgrade(self), Arc::downgrade(node));
        match action {
            Action::Save(record) => self.save_record(record).await,
            // A full queue means that the link is down; both are sent again.
            Action::Send(message) => drop(hands.messages.try_send(message)),
            Action::Ask(request) => drop(hands.requests.try_send(request)),
            Action::Follow { replace, .. } => {
                hands.stop().await;
                hands.following.spawn(follower::follow(region, weak, replace));
            }
            Action::StopFollowing => hands.stop().await,
            Action::Freeze(handover) => {
                hands.doing.spawn(freeze(Arc::clone(self), handover));
            }
            Action::CatchUp { handover, mark } => {
                self.view().target = Some((handover, mark));
                self.target.notify_one();
                if hands.following.is_empty() {
                    let region = Arc::clone(self);
                    hands.doing.spawn(async move { region.compare_own_with_target().await });
                }
            }
            Action::TakeOver(epoch) => {
                hands.doing.spawn(take_over::take_over(Arc::clone(self), weak, epoch));
            }
        }
    }

    async fn read_record(&self) -> Result<SiteRecord, String> {
        let found = self.store.get(&[record_key()], Freshness::Linearizable, Deadline(CALL)).await;
        let found = found.map_err(|error| error_chain(&error))?;
        let Some(entry) = found.entries.into_iter().flatten().next() else { return Ok(SiteRecord::NEW) };
        let stored: StoredRecord =
            serde_json::from_slice(&entry.value).map_err(|error| format!("it is damaged: {error}"))?;
        if stored.format != RECORD_FORMAT {
            return Err(format!("it has format {}; this program reads {RECORD_FORMAT}", stored.format));
        }
        Ok(SiteRecord {
            epoch: Epoch::from_number(stored.epoch),
            highest: Epoch::from_number(stored.highest),
            lost_since: stored.lost_since_ms.map(WallTime::from_millis),
        })
    }

    /// Makes the record durable; later actions wait for it.
    async fn save_record(&self, record: SiteRecord) {
        let stored = StoredRecord {
            format: RECORD_FORMAT,
            epoch: record.epoch.number(),
            highest: record.highest.number(),
            lost_since_ms: record.lost_since.map(WallTime::millis),
        };
        // A struct of numbers always has a JSON form.
        let value = serde_json::to_vec(&stored).unwrap_or_default();
        let mut logged = false;
        loop {
            let mut op = [0; 16];
            let put = Write::Put { key: record_key(), value: value.clone().into(), lease: None };
            let drawn = getrandom::fill(&mut op);
            let txn = Txn { op: OpId(op), conds: Vec::new(), writes: vec![put] };
            let saved = match drawn {
                Ok(()) => self.store.commit(txn, Deadline(CALL)).await.map_err(|error| error_chain(&error)),
                Err(error) => Err(error.to_string()),
            };
            match saved {
                Ok(_) => return,
                Err(error) if !logged => {
                    error!(%error, "the record of the pair cannot be saved; retrying");
                    logged = true;
                }
                Err(_) => {}
            }
            sleep(LOOK).await;
        }
    }

    fn log_events(&self) {
        while let Some(event) = self.with_site(Site::poll_event).flatten() {
            match event {
                Event::Lost | Event::SteppedDown { .. } | Event::AttemptFailed { .. } => {
                    warn!(?event, "the pair of regions has changed");
                }
                Event::Found
                | Event::TookOver { .. }
                | Event::Writes { .. }
                | Event::Froze
                | Event::Thawed
                | Event::GaveAway { .. } => info!(?event, "the pair of regions has changed"),
            }
            let mut view = self.view();
            if view.events.len() == EVENTS {
                view.events.pop_front();
            }
            view.events.push_back(TimedEvent { at: self.clocks.timestamp(), event });
        }
    }

    /// Hands something to the state machine, and has the actions carried out.
    pub(super) fn handle(&self, event: impl FnOnce(&mut Site, Now)) {
        let now = self.clocks.now();
        let more = self.with_site(|site| {
            let before = site.clone();
            event(site, now);
            *site != before
        });
        if more == Some(true) {
            self.wake.notify_one();
        }
    }

    fn with_site<T>(&self, with: impl FnOnce(&mut Site) -> T) -> Option<T> {
        self.site().as_mut().map(with)
    }

    fn site(&self) -> MutexGuard<'_, Option<Site>> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch under which a write may begin now, or that of the site and why none may; no reason before the record was read.
    pub(super) fn right_to_write(&self) -> Result<u64, (u64, Option<WritesRefused>)> {
        let now = self.clocks.now().instant;
        match &*self.site() {
            None => Err((0, None)),
            Some(site) => {
                site.may_write(now).map(Epoch::number).map_err(|why| (site.epoch().number(), Some(why)))
            }
        }
    }

    /// Whether a write that began under this epoch may be acknowledged now.
    pub(super) fn may_acknowledge(&self, epoch: Epoch) -> bool {
        let now = self.clocks.now().instant;
        self.site().as_ref().is_some_and(|site| site.may_acknowledge(now, epoch))
    }

    /// Whether instances that the store does not have may be created here.
    pub(crate) fn may_create(&self) -> bool {
        self.right_to_write().is_ok()
    }

    /// The newest revision of the store.
    pub(super) async fn newest(&self) -> Result<Revision, ReplicaError> {
        Ok(self.store.get(&[], Freshness::Linearizable, Deadline(CALL)).await?.at)
    }

    /// Why the node does not open; `None` if it may. A region that has the right to write may begin with nothing.
    pub(crate) fn opening_refused(&self) -> Option<&'static str> {
        if self.view().copy.0.is_usable() || self.may_create() {
            return None;
        }
        Some("the copy of the other region's data is not complete")
    }

    /// Why keys are not used here; `None` if they are.
    pub(crate) fn uses_refused(&self) -> Option<&'static str> {
        let copy = self.view().copy.0;
        match &*self.site() {
            Some(site) if site.may_use() => None,
            Some(_) if !copy.is_usable() => Some("the copy of the other region's data is not complete"),
            Some(_) => {
                Some("this region has started, and must first hear that the other one has not taken over")
            }
            None => Some("this region has just started"),
        }
    }

    /// What an operator has to know or to do about the pair.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.site().is_none() {
            return Err("the record of the pair was not read yet".to_owned());
        }
        if self.view().is_diverged {
            return Err(
                "the data of the two regions differ; an operator has to say which of them to keep".to_owned()
            );
        }
        Ok(())
    }

    /// Figures for metrics.
    pub(crate) fn figures(&self) -> RegionFigures {
        let now = self.clocks.now();
        let (writes, epoch, could_take_over) = self
            .with_site(|site| {
                (site.may_write(now.instant).is_ok(), site.epoch().number(), site.could_take_over())
            })
            .unwrap_or_default();
        let view = self.view();
        #[expect(clippy::cast_precision_loss, reason = "figures of this size are not met")]
        RegionFigures {
            writes,
            epoch: epoch as f64,
            is_connected: view.is_connected,
            is_ready: writes || (could_take_over && view.is_connected),
            is_diverged: view.is_diverged,
            lag_revisions: view.lag.revisions as f64,
            lag_seconds: view.lag_at(now).map_or(f64::NAN, |lag| lag.as_secs_f64()),
        }
    }

    /// What a front is told.
    pub(super) fn answer(&self) -> SiteAnswer {
        let now = self.clocks.now().instant;
        let serves = self.view().is_serving();
        self.with_site(|site| {
            let status = site.status(now);
            let serves = serves && site.may_use();
            SiteAnswer { epoch: status.epoch, serves, partner_lost: status.lost_since.is_some() }
        })
        .unwrap_or(SiteAnswer { epoch: Epoch::FIRST, serves: false, partner_lost: false })
    }

    pub(super) fn store(&self) -> Store {
        Arc::clone(&self.store)
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clocks.calendar()
    }

    pub(super) fn set_copy(&self, copy: CopyState) {
        self.view().copy = copy;
    }

    pub(super) fn set_diverged(&self, is_diverged: bool) {
        self.view().is_diverged = is_diverged;
    }

    pub(super) fn set_connected(&self, is_connected: bool) {
        self.view().is_connected = is_connected;
    }

    pub(super) fn set_lag(&self, lag: Lag) {
        self.view().lag = lag;
    }

    pub(super) async fn target_changed(&self) {
        self.target.notified().await;
    }

    /// Tells a handover that waits for it whether this store has caught up.
    pub(super) async fn compare_with_target(&self, replica: &Replica<Store>) {
        let Some((handover, mark)) = self.view().target else { return };
        if replica.position().is_none_or(|position| position.revision.0 < mark.revision) {
            return;
        }
        self.compare((handover, mark)).await;
    }

    /// The same for a store that follows nothing.
    pub(super) async fn compare_own_with_target(&self) {
        let target = self.view().target;
        if let Some(target) = target {
            self.compare(target).await;
        }
    }

    async fn compare(&self, (handover, mark): (HandoverId, StoreMark)) {
        match Digest::read(&self.store, CALL).await {
            Ok((_, digest)) => {
                self.view().target = None;
                let equal = digest.sha256 == mark.digest;
                self.handle(|site, now| site.handle_caught_up(now, handover, equal));
            }
            Err(error) => warn!(error = %error_chain(&error), "the store cannot be compared"),
        }
    }

    pub(super) fn set_given_up(&self, given_up: GivenUp) {
        self.view().given_up = Some(given_up);
    }
}

impl View {
    /// For how long this region has not had everything; `None` if it never had.
    fn lag_at(&self, now: Now) -> Option<Duration> {
        let complete = self.lag.complete_ms?;
        let now = u64::try_from(now.wall.millis()).unwrap_or_default();
        Some(Duration::from_millis(now.saturating_sub(complete)))
    }

    const fn is_serving(&self) -> bool {
        self.copy.0.is_usable()
    }
}

/// What carries actions out over time.
struct Hands {
    messages: mpsc::Sender<PeerMessage>,
    requests: mpsc::Sender<LeaseRequest>,
    following: JoinSet<()>,
    doing: JoinSet<()>,
}

impl Hands {
    /// Ends what is under way; returns when it has ended.
    async fn stop(&mut self) {
        self.following.shutdown().await;
        self.doing.shutdown().await;
    }
}

/// Waits until no write is under way, and tells the last change.
async fn freeze(region: Arc<Region>, handover: HandoverId) {
    region.writes.ended().await;
    match Digest::read(&region.store, CALL).await {
        Ok((revision, digest)) => {
            let mark = StoreMark { revision: revision.0, digest: digest.sha256 };
            region.handle(|site, _| site.handle_frozen(handover, mark));
        }
        // The freeze ends by itself.
        Err(error) => warn!(error = %error_chain(&error), "the store cannot be read for a handover"),
    }
}

impl RegionHandle {
    /// The state of the pair, as this region sees it; `None` until its record was read.
    #[must_use]
    pub fn status(&self) -> Option<RegionStatus> {
        let region = &self.region;
        let now = region.clocks.now();
        let (site, refused, serves) = region.with_site(|site| {
            (site.status(now.instant), site.may_write(now.instant).err(), site.may_use())
        })?;
        let node_serves = self.node.upgrade().is_some_and(|node| readiness(&node).is_ok());
        let view = region.view();
        Some(RegionStatus {
            side: region.settings.side,
            site,
            writes_refused: refused,
            serves: serves && node_serves,
            is_connected: view.is_connected,
            lag_revisions: view.lag.revisions,
            lag: view.lag_at(now),
            given_up: view.given_up.clone(),
        })
    }

    /// What has happened, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<TimedEvent> {
        self.region.view().events.iter().copied().collect()
    }

    /// Takes the right to write, on an operator's order. The status and the events tell the outcome.
    ///
    /// # Errors
    /// [`TakeOverRefused`]; `None` inside before the record was read.
    pub async fn take_over(&self, order: TakeOver) -> Result<(), Option<TakeOverRefused>> {
        if let Some(node) = self.node.upgrade() {
            self.region.look(&node).await;
        }
        let now = self.region.clocks.now();
        let outcome = self.region.with_site(|site| site.take_over(now, order)).ok_or(None)?;
        self.region.wake.notify_one();
        outcome.map_err(Some)
    }

    /// Serves partner and front on `listener` until `stopped`.
    pub async fn serve_peers(&self, listener: TcpListener, stopped: impl Future<Output = ()> + Send) {
        super::incoming::serve(listener, Arc::downgrade(&self.region), stopped).await;
    }

    /// Name of the state of the pair.
    #[must_use]
    pub fn state(&self) -> Option<PairState> {
        Some(self.status()?.site.state)
    }
}
