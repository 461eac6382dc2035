//! The node: what is behind its front ends, and its life from the first request to the last.

use crate::audit::AuditLog;
use crate::backup::Backups;
use crate::builder::NodeBuilder;
use crate::front_ends;
use crate::health::NodeHealth;
use crate::instance_state::instance_state;
use crate::jobs::JobTiming;
use crate::metrics::Metrics;
use crate::opening::{Open, open};
use crate::ports::UnitDirectory;
use crate::region::{PairError, Region, RegionHandle};
use crate::unit_audit::UnitAudit;
use axum::Router;
use host::{Host, LinkError, SharedMemory};
use keystore::{AnyStore, GatedStore, WriteGate};
use kms::{
    Call, Clock, InstanceError, InstanceHeader, InstanceId, InvocationLedger, KeyQuery, KeyState, OpenError,
    RecordError, RotationProfile, StateSet,
};
use server::auth::Auth;
use server::health::operator_router;
use server::rest::Instance;
use server::tke::InstanceState;
use server::{KeyService, Port, ServeLimits};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use tracing::{info, warn};
use unit_api::VerificationPattern;
use wire::text::error_chain;

/// How long one step of opening, sweeping or rotating may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts to open.
const OPEN_PAUSE: Duration = Duration::from_millis(500);
/// Caller of the node's own operations on keys.
pub(crate) const SERVICE_CALLER: &str = "key-service";

/// The store of a node.
pub type Store = Arc<AnyStore>;
/// The store as the key service and the jobs have it: read-only while another region has the right to write.
pub(crate) type WritableStore = GatedStore<AnyStore>;

/// Why a node does not start or open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration has no instance.
    #[error("the node has no instance to serve")]
    NoInstance,
    /// The key service did not start.
    #[error(transparent)]
    Kms(#[from] OpenError),
    /// An instance could not be created or its header could not be read.
    #[error("instance {instance} cannot be used")]
    Instance {
        /// The instance.
        instance: InstanceId,
        /// The cause.
        source: InstanceError,
    },
    /// A record of an instance is not valid, or was replaced by an older one.
    #[error("instance {instance} cannot be used: the stored record {key} is not valid")]
    RecordInvalid {
        /// The instance.
        instance: InstanceId,
        /// The record's name in the store.
        key: String,
        /// The cause.
        source: RecordError,
    },
    /// The crypto units are not ready; the message says what has to be done first.
    #[error("no key can be served yet: {0}")]
    NotReady(String),
    /// The crypto unit that was to create the instances became unreachable.
    #[error("the crypto unit cannot be reached")]
    Link(#[from] LinkError),
    /// The node cannot be in the pair.
    #[error("the configuration of the pair of regions is refused")]
    Pair(#[from] PairError),
    /// The operating system returned no random bytes.
    #[error("the system's source of random bytes failed")]
    Random(#[from] getrandom::Error),
}

/// A serving process of a region. Clones share everything.
///
/// Its background work ends when the last clone and the last router are dropped, or with [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Shared>);

/// What a node is made of.
pub(crate) struct Parts {
    /// Unique among the nodes over one store; the same after a restart.
    pub(crate) name: Arc<str>,
    pub(crate) store: Store,
    pub(crate) directory: Arc<dyn UnitDirectory>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) zone: String,
    pub(crate) auth: Arc<Auth>,
    pub(crate) audit: Option<AuditLog>,
    pub(crate) rotation: RotationProfile,
    pub(crate) limits: ServeLimits,
    pub(crate) hosts: Vec<String>,
    pub(crate) timing: JobTiming,
    pub(crate) memory: Option<SharedMemory>,
    pub(crate) region: Option<Arc<Region>>,
    pub(crate) ledger: Option<Arc<dyn InvocationLedger>>,
    pub(crate) unit_audit: Option<UnitAudit>,
    pub(crate) backups: Option<Arc<Backups>>,
}

impl Parts {
    pub(crate) fn writable_store(&self) -> WritableStore {
        match &self.region {
            Some(region) => {
                GatedStore::new(Arc::clone(&self.store), Arc::clone(region) as Arc<dyn WriteGate>)
            }
            None => Arc::clone(&self.store).into(),
        }
    }
}

/// The state that all clones and all requests share.
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) metrics: Metrics,
    /// Held while the node opens, and while an instance is removed.
    opening: AsyncMutex<()>,
    open: RwLock<Option<Arc<Open>>>,
    /// Why the node is not open yet.
    waiting_for: Mutex<String>,
    opener: Mutex<Option<AbortHandle>>,
    /// The task that drives the region's part in a pair.
    pair: Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop_opening();
        self.stop_pair();
    }
}

impl Node {
    /// Configures a node over a store, the crypto units of a region, and the clock that key states and dates follow.
    pub fn builder(
        store: impl Into<Arc<AnyStore>>,
        directory: impl UnitDirectory,
        clock: Arc<dyn Clock>,
    ) -> NodeBuilder {
        NodeBuilder::new(store.into(), Arc::new(directory), clock)
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Opens the node: finds its instances, or creates those that are missing, under the master key that the units hold.
    /// With `required` it has to be that one. An open node stays open, unless it is in a pair and has to copy the other
    /// region's data.
    ///
    /// # Errors
    /// [`NodeError::NotReady`] when the units have to be set up first.
    pub async fn open(&self, required: Option<VerificationPattern>) -> Result<(), NodeError> {
        Shared::start_pair(&self.0);
        self.0.open(required).await
    }

    /// Opens the node at once if its units are ready, else in the background as soon as they are.
    ///
    /// # Errors
    /// [`NodeError`], but not [`NodeError::NotReady`].
    pub async fn open_when_ready(&self) -> Result<(), NodeError> {
        match self.open(None).await {
            Err(NodeError::NotReady(_)) => {
                Shared::open_in_background(&self.0);
                Ok(())
            }
            other => other,
        }
    }

    /// The node's part in a pair of regions; `None` if it is in none.
    #[must_use]
    pub fn region(&self) -> Option<RegionHandle> {
        let region = self.0.parts.region.as_ref()?;
        Some(RegionHandle { region: Arc::clone(region), node: Arc::downgrade(&self.0) })
    }

    /// The host of the crypto units; `None` until the node is open.
    #[must_use]
    pub fn host(&self) -> Option<Host> {
        self.0.host()
    }

    /// The master key that keys are served under; `None` until the node is open.
    #[must_use]
    pub fn pattern(&self) -> Option<VerificationPattern> {
        self.host().map(|host| host.pattern())
    }

    /// Why no keys are served yet, for people; `None` once the node is open.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        self.0.waiting_for()
    }

    /// The state of the instances.
    #[must_use]
    pub fn state(&self) -> InstanceState {
        self.0.state(self.host().is_some())
    }

    /// The master key that the store is under, and the one that a rotation under way leads to; `None` for a store without
    /// instances.
    ///
    /// # Errors
    /// [`NodeError::Instance`] if a header cannot be read.
    pub async fn stored_patterns(
        &self,
    ) -> Result<Option<(VerificationPattern, Option<VerificationPattern>)>, NodeError> {
        self.0.stored_patterns().await.map_err(|(instance, source)| NodeError::Instance { instance, source })
    }

    /// All front ends, for [`server::serve`] or to be merged with other routes. It answers before the node is open, too.
    pub fn router(&self) -> Router {
        front_ends::router(&self.0)
    }

    /// Serves all front ends on `listener` until `stopped`, then lets requests under way end.
    ///
    /// # Errors
    /// The listener failed for good.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stopped: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let Parts { limits, hosts, .. } = &self.0.parts;
        server::serve(listener, self.router(), *limits, hosts, stopped).await
    }

    /// Liveness, readiness, health and metrics for operators. It has no access control: serve it on the loopback interface
    /// or to a network of operators.
    pub fn operator_router(&self) -> Router {
        operator_router(Arc::new(NodeHealth(Arc::clone(&self.0))))
    }

    /// Serves [`Self::operator_router`] on `listener` until `stopped`, with as many connections as its port has.
    ///
    /// # Errors
    /// The listener failed for good.
    pub async fn serve_operator(
        &self,
        listener: TcpListener,
        stopped: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let mut limits = self.0.parts.limits;
        let of_port = ServeLimits::of(Port::Operator);
        limits.connections = of_port.connections;
        limits.strangers_per_peer = of_port.strangers_per_peer;
        server::serve(listener, self.operator_router(), limits, &self.0.parts.hosts, stopped).await
    }

    /// Ends background work and closes the connections to the units.
    pub async fn shutdown(&self) {
        self.0.stop_opening();
        self.0.stop_pair();
        self.0.close().await;
    }
}

/// Opens the node as soon as its units are ready. Another obstacle is logged when it appears or changes.
async fn keep_opening(node: Weak<Shared>) {
    let mut logged = String::new();
    loop {
        let Some(node) = node.upgrade() else { return };
        match node.open(None).await {
            Ok(()) => return,
            Err(NodeError::NotReady(_)) => {}
            Err(e) => {
                let problem = error_chain(&e);
                if problem != logged {
                    warn!(error = %problem, "the node cannot open; retrying");
                    logged = problem;
                }
            }
        }
        drop(node);
        tokio::time::sleep(OPEN_PAUSE).await;
    }
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            metrics: Metrics::new(&parts.instances),
            parts,
            opening: AsyncMutex::default(),
            open: RwLock::default(),
            waiting_for: Mutex::new("the node has just started".to_owned()),
            opener: Mutex::default(),
            pair: Mutex::default(),
        }
    }

    /// Begins to drive the region's part in a pair, if it is in one and that has not begun.
    pub(crate) fn start_pair(node: &Arc<Self>) {
        let Some(region) = &node.parts.region else { return };
        let mut pair = node.pair.lock().unwrap_or_else(PoisonError::into_inner);
        if pair.is_none() {
            *pair = Some(tokio::spawn(Arc::clone(region).run(Arc::downgrade(node))).abort_handle());
        }
    }

    /// Stops driving the region's part in a pair. Returns once nothing of it is under way.
    pub(crate) async fn end_pair(&self) {
        let pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(pair) = pair else { return };
        pair.abort();
        while !pair.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    fn stop_pair(&self) {
        if let Some(pair) = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take() {
            pair.abort();
        }
    }

    /// Opens the node as soon as its units are ready.
    pub(crate) fn open_in_background(node: &Arc<Self>) {
        let mut opener = node.opener.lock().unwrap_or_else(PoisonError::into_inner);
        if opener.as_ref().is_none_or(AbortHandle::is_finished) {
            *opener = Some(tokio::spawn(keep_opening(Arc::downgrade(node))).abort_handle());
        }
    }

    /// Ends the service of keys, until the node is opened again. Requests under way end with errors.
    pub(crate) async fn close(&self) {
        let _one_at_a_time = self.opening.lock().await;
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open) = open {
            "the data of this region are being replaced"
                .clone_into(&mut self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner));
            open.shutdown().await;
        }
    }

    pub(crate) async fn open(&self, required: Option<VerificationPattern>) -> Result<(), NodeError> {
        let _one_at_a_time = self.opening.lock().await;
        if self.opened().is_some() {
            return Ok(());
        }
        let opened = open(&self.parts, &self.metrics.jobs, required).await.inspect_err(|error| {
            if let NodeError::NotReady(why) = error {
                why.clone_into(&mut self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner));
            }
        })?;
        info!(pattern = %opened.host.pattern(), "the crypto units hold the master key; keys are served");
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(opened));
        Ok(())
    }

    pub(crate) fn host(&self) -> Option<Host> {
        self.opened().map(|open| open.host.clone())
    }

    pub(crate) fn opened(&self) -> Option<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A key service over this store, also while another region has the right to write.
    pub(crate) async fn ungated_kms(&self, store: Store) -> Result<Arc<KeyService>, String> {
        let open = self.opened().ok_or_else(|| self.waiting_for().unwrap_or_default())?;
        let kms = open.kms_over(&self.parts, store.into()).await.map_err(|error| error_chain(&error))?;
        Ok(Arc::new(kms))
    }

    /// The key service; the reason why there is none until the node is open.
    pub(crate) fn kms(&self) -> Result<Arc<KeyService>, String> {
        if let Some(why) = self.parts.region.as_ref().and_then(|region| region.uses_refused()) {
            return Err(why.to_owned());
        }
        match self.opened() {
            Some(open) => Ok(Arc::clone(&open.kms)),
            None => Err(self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    pub(crate) fn waiting_for(&self) -> Option<String> {
        self.kms().err()
    }

    pub(crate) fn instance_ids(&self) -> Vec<InstanceId> {
        self.parts.instances.iter().map(|instance| instance.id).collect()
    }

    /// The state of the instances, where `has_instance` says whether the store has one.
    pub(crate) fn state(&self, has_instance: bool) -> InstanceState {
        let host = self.host();
        let units = host.as_ref().map(Host::units).unwrap_or_default();
        let rotating = host.is_some_and(|host| host.next_pattern().is_some());
        let serving = units.iter().filter(|unit| unit.in_use).count();
        instance_state(serving, units.len(), has_instance, rotating)
    }

    /// As [`Node::stored_patterns`]; an error names the instance whose header cannot be read.
    pub(crate) async fn stored_patterns(
        &self,
    ) -> Result<Option<(VerificationPattern, Option<VerificationPattern>)>, (InstanceId, InstanceError)> {
        let mut found = None;
        for instance in self.instance_ids() {
            let header = self.header(instance).await.map_err(|source| (instance, source))?;
            let Some(header) = header else { continue };
            let (pattern, next) = found.unwrap_or((header.pattern(), None));
            found = Some((pattern, next.or(header.next.map(|next| next.proof.pattern))));
        }
        Ok(found)
    }

    pub(crate) async fn header(&self, instance: InstanceId) -> Result<Option<InstanceHeader>, InstanceError> {
        InstanceHeader::read(&self.parts.store, instance, PATIENCE).await
    }

    /// Keys of all instances in every state but purged; `None` while no unit can open the instances' records.
    pub(crate) async fn count_keys(&self) -> Option<usize> {
        let kms = self.kms().ok()?;
        let states = StateSet::LIVE.with(KeyState::Destroyed);
        let query = KeyQuery { states, ..KeyQuery::default() };
        let mut count = 0;
        for instance in self.instance_ids() {
            let call = Call { instance, caller: SERVICE_CALLER, deadline: PATIENCE, changed_at: None };
            count += kms.count_keys(&call, &query).await.ok()?;
        }
        Some(count)
    }

    /// Keeps the node from opening, and instances from being created, while the guard is held.
    pub(crate) async fn hold_opening(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.opening.lock().await
    }

    fn stop_opening(&self) {
        if let Some(opener) = self.opener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            opener.abort();
        }
    }
}
