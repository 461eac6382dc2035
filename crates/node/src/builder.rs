//! Configuration of a node.

use crate::audit::AuditLog;
use crate::backup::{BackupSettings, Backups};
use crate::jobs::JobTiming;
use crate::node::{Node, NodeError, Parts, Shared, Store};
use crate::ports::UnitDirectory;
use crate::region::{PairSettings, Region};
use crate::unit_audit::UnitAudit;
use host::SharedMemory;
use kms::{Clock, InvocationLedger, RotationProfile};
use server::ServeLimits;
use server::auth::{Auth, AuthConfig, SigningKey};
use server::rest::Instance;
use std::sync::Arc;
use std::time::Duration;

/// How long requests under way may take to end when a node stops.
const DRAIN: Duration = Duration::from_secs(4);

/// Configures a [`Node`]. Made by [`Node::builder`].
pub struct NodeBuilder {
    store: Store,
    directory: Arc<dyn UnitDirectory>,
    clock: Arc<dyn Clock>,
    instances: Vec<Instance>,
    zone: String,
    auth: Option<Auth>,
    audit: Option<AuditLog>,
    rotation: RotationProfile,
    limits: ServeLimits,
    hosts: Vec<String>,
    timing: JobTiming,
    name: Option<String>,
    memory: Option<SharedMemory>,
    pair: Option<PairSettings>,
    ledger: Option<Arc<dyn InvocationLedger>>,
    unit_audit: Option<UnitAudit>,
    backups: Option<BackupSettings>,
}

impl NodeBuilder {
    pub(crate) fn new(store: Store, directory: Arc<dyn UnitDirectory>, clock: Arc<dyn Clock>) -> Self {
        let mut limits = ServeLimits::default();
        limits.drain = DRAIN;
        Self {
            store,
            directory,
            clock,
            instances: Vec::new(),
            zone: "az1".to_owned(),
            auth: None,
            audit: None,
            rotation: RotationProfile::Online,
            limits,
            hosts: Vec::new(),
            timing: JobTiming::default(),
            name: None,
            memory: None,
            pair: None,
            ledger: None,
            unit_audit: None,
            backups: None,
        }
    }

    /// Adds an instance. The crypto units belong to the first; the others share them and its master key.
    #[must_use]
    pub fn instance(mut self, instance: Instance) -> Self {
        self.instances.push(instance);
        self
    }

    /// The node's own zone; crypto units there are used first. `az1` by default.
    #[must_use]
    pub fn zone(self, zone: impl Into<String>) -> Self {
        Self { zone: zone.into(), ..self }
    }

    /// The callers and their credentials. Without it every call is refused with 401.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth: Some(auth), ..self }
    }

    /// Where administrative commands are recorded. Without it they are not.
    #[must_use]
    pub fn audit_log(self, audit: AuditLog) -> Self {
        Self { audit: Some(audit), ..self }
    }

    /// Where audit records of the crypto units are kept, which units overwrite. Without it they are not fetched.
    #[must_use]
    pub fn unit_audit(self, unit_audit: UnitAudit) -> Self {
        Self { unit_audit: Some(unit_audit), ..self }
    }

    /// Where backups of the instances are kept, and how often they are made. Without it none are made. Nodes over one store
    /// share the folder.
    #[must_use]
    pub fn backups(self, backups: BackupSettings) -> Self {
        Self { backups: Some(backups), ..self }
    }

    /// What keys can be used for while the master key is being rotated; everything by default.
    #[must_use]
    pub fn rotation_profile(self, rotation: RotationProfile) -> Self {
        Self { rotation, ..self }
    }

    /// Where it is kept how far the crypto units have come, so that a unit whose state was put back is noticed after a restart
    /// of the node too. Without it that is forgotten when the node ends.
    #[must_use]
    pub fn unit_memory(self, memory: SharedMemory) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Makes the node part of a pair of regions: its store is replicated, and read-only unless it has the right to write.
    #[must_use]
    pub fn pair(self, settings: PairSettings) -> Self {
        Self { pair: Some(settings), ..self }
    }

    /// Where AES-GCM invocations are counted while the store accepts no writes; all nodes over one store share it. Without it
    /// they are counted as long as the node lasts.
    #[must_use]
    pub fn invocation_ledger(self, ledger: impl InvocationLedger) -> Self {
        Self { ledger: Some(Arc::new(ledger)), ..self }
    }

    /// The node's name, unique among the nodes over one store. A node that is restarted under its name continues the
    /// background jobs that it had at once; under the default, a random name, once their leases have ended.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Times of background jobs.
    #[must_use]
    pub fn job_timing(self, timing: JobTiming) -> Self {
        Self { timing, ..self }
    }

    /// Limits of connections.
    #[must_use]
    pub fn limits(self, limits: ServeLimits) -> Self {
        Self { limits, ..self }
    }

    /// Adds a name under which the node is addressed. A port on the loopback interface also has the names of that interface;
    /// a port on another one has any name unless one is added.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// A node that is not open yet: it answers, and serves no keys until [`Node::open`] or [`Node::open_when_ready`].
    ///
    /// # Errors
    /// [`NodeError::NoInstance`]; [`NodeError::Pair`]; [`NodeError::Random`].
    pub fn build(self) -> Result<Node, NodeError> {
        if self.instances.is_empty() {
            return Err(NodeError::NoInstance);
        }
        let auth = match self.auth {
            Some(auth) => auth,
            None => Auth::new(AuthConfig::new(SigningKey::random()?)),
        };
        let name = match self.name {
            Some(name) => name,
            None => format!("{:016x}", getrandom::u64()?),
        };
        let region = match self.pair {
            Some(settings) => {
                settings.check()?;
                let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
                Some(Arc::new(Region::new(settings, store, clock)))
            }
            None => None,
        };
        let backups = self.backups.map(|settings| {
            let backups = Backups::new(settings, Arc::clone(&self.clock));
            backups.expect(&self.instances.iter().map(|instance| instance.id).collect::<Vec<_>>());
            Arc::new(backups)
        });
        Ok(Node::new(Shared::new(Parts {
            name: name.into(),
            store: self.store,
            directory: self.directory,
            clock: self.clock,
            instances: self.instances,
            zone: self.zone,
            auth: Arc::new(auth),
            audit: self.audit,
            rotation: self.rotation,
            limits: self.limits,
            hosts: self.hosts,
            timing: self.timing,
            memory: self.memory,
            region,
            ledger: self.ledger,
            unit_audit: self.unit_audit,
            backups,
        })))
    }

    /// [`Self::build`], and opens the node: at once if its crypto units are ready, else in the background as soon as they
    /// are.
    ///
    /// # Errors
    /// [`NodeError`], except that units that are not ready are no error.
    pub async fn start(self) -> Result<Node, NodeError> {
        let node = self.build()?;
        node.open_when_ready().await?;
        Ok(node)
    }
}
