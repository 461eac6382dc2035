//! Opening a node: its instances, the host, the key service and the background jobs.

use crate::backup::carry_out_orders;
use crate::jobs::{JobContext, Jobs};
use crate::metrics::JobMetrics;
use crate::node::{NodeError, PATIENCE, Parts, SERVICE_CALLER, WritableStore};
use crate::pinned_marks::PinnedMarks;
use crate::unit_status::{common_master_key, query_units};
use crate::units::{HostUnits, OneUnit};
use getrandom::SysRng;
use host::{Host, HostConfig, UnitAddress, UnitClient};
use kms::{Call, HighWaterMarks as _, InstanceError, InstanceHeader, InstanceId, Kms, KmsError, KmsOptions};
use server::{KeyService, ServiceUnits};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use unit_api::VerificationPattern;

/// How long units may take to report their status. A unit that takes longer counts as not answering.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// What an open node has.
pub(crate) struct Open {
    pub(crate) host: Host,
    pub(crate) kms: Arc<KeyService>,
    context: JobContext,
    jobs: Mutex<Option<Jobs>>,
}

impl Open {
    /// A key service over another view of the same store.
    pub(crate) async fn kms_over(
        &self,
        parts: &Parts,
        store: WritableStore,
    ) -> Result<KeyService, kms::OpenError> {
        key_service(parts, store, self.host.clone()).await
    }

    /// Gives the host the master-key proofs of the present header.
    pub(crate) async fn renew_proofs(&self) -> Result<(), InstanceError> {
        self.context.renew_proofs().await
    }

    /// Has the batches of a rotation processed in the background, by this node or another one.
    pub(crate) fn process_batches(&self) {
        self.context.rotation_wake.notify_one();
    }

    /// Whether all background jobs run.
    pub(crate) fn check_jobs(&self) -> Result<(), String> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match &*jobs {
            Some(jobs) if jobs.all_run() => Ok(()),
            Some(_) => {
                Err("a background job has ended by a failure of its own; restart the service".to_owned())
            }
            None => Err("the node is stopping".to_owned()),
        }
    }

    pub(crate) async fn shutdown(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(jobs) = jobs {
            jobs.stop().await;
        }
        self.host.shutdown().await;
    }
}

/// Finds or creates the instances and puts the key service together.
pub(crate) async fn open(
    parts: &Parts,
    metrics: &JobMetrics,
    required: Option<VerificationPattern>,
) -> Result<Open, NodeError> {
    if let Some(why) = parts.region.as_ref().and_then(|region| region.opening_refused()) {
        return Err(NodeError::NotReady(why.to_owned()));
    }
    carry_out_orders(parts).await?;
    let (proven_by, header) = find_or_create(parts, required).await?;
    let units = parts.directory.units().into_iter().filter(|unit| unit.is_operational());
    let units = units.map(|unit| UnitAddress::new(unit.number, unit.zone, unit.endpoint));
    let config = HostConfig::new(parts.zone.as_str(), header.proof)
        .with_units(units)
        .with_next_proof(header.next.map(|next| next.proof))
        .with_seed(getrandom::u64()?);
    let config = match &parts.memory {
        Some(memory) => config.with_memory(Arc::clone(memory)),
        None => config,
    };
    let host = Host::start(config);
    // The first request need not wait for a unit to prove itself. Without any unit the node opens all the same: callers
    // are told, and a unit that becomes ready later is admitted then.
    let _ = host.wait_until(PATIENCE, |units| units.iter().any(|unit| unit.in_use)).await;
    let kms = Arc::new(key_service(parts, parts.writable_store(), host.clone()).await?);
    check_instances(parts, &kms).await?;
    let context = JobContext {
        name: Arc::clone(&parts.name),
        store: parts.writable_store(),
        kms: Arc::clone(&kms),
        host: host.clone(),
        directory: Arc::clone(&parts.directory),
        instances: parts.instances.iter().map(|instance| instance.id).collect(),
        proven_by,
        timing: parts.timing,
        unit_audit: parts.unit_audit.clone(),
        backups: parts.backups.clone(),
        metrics: metrics.clone(),
        rotation_wake: Arc::default(),
    };
    let jobs = Mutex::new(Some(Jobs::start(&context)));
    Ok(Open { host, kms, context, jobs })
}

async fn key_service(parts: &Parts, store: WritableStore, host: Host) -> Result<KeyService, kms::OpenError> {
    let mut options =
        KmsOptions::default().with_clock(Arc::clone(&parts.clock)).with_rotation(parts.rotation);
    if let Some(pin) = parts.store.pin() {
        options = options.with_marks(Arc::new(PinnedMarks(pin)));
    }
    if let Some(ledger) = &parts.ledger {
        options = options.with_ledger(Arc::clone(ledger));
    }
    Kms::open(store, ServiceUnits::new(HostUnits::new(host)), options, PATIENCE).await
}

/// Opens the instances, so that the node does not start with one that was replaced by an older state. One that no unit
/// can open now is checked at its first use.
async fn check_instances(parts: &Parts, kms: &KeyService) -> Result<(), NodeError> {
    for instance in parts.instances.iter().map(|instance| instance.id) {
        let call = Call { instance, caller: SERVICE_CALLER, deadline: PATIENCE, changed_at: None };
        if let Err(KmsError::RecordInvalid { key, why }) = kms.header(&call).await {
            return Err(NodeError::RecordInvalid { instance, key, source: why });
        }
    }
    Ok(())
}

/// The first instance that exists, with its header, after missing instances were created.
async fn find_or_create(
    parts: &Parts,
    required: Option<VerificationPattern>,
) -> Result<(InstanceId, InstanceHeader), NodeError> {
    let (mut missing, mut found) = (Vec::new(), None::<(InstanceId, InstanceHeader)>);
    for instance in parts.instances.iter().map(|instance| instance.id) {
        match read(parts, instance).await? {
            Some(header) => found = found.or(Some((instance, header))),
            None => missing.push(instance),
        }
    }
    if !missing.is_empty() {
        if parts.region.as_ref().is_some_and(|region| !region.may_create()) {
            let why = "this region waits for the right to write, to create the instances".to_owned();
            return Err(NodeError::NotReady(why));
        }
        let settled = found.as_ref().map(|(_, header)| header.pattern()).or(required);
        let units = parts.directory.units().into_iter().filter(|unit| unit.is_operational());
        let queried = query_units(units, STATUS_PATIENCE).await;
        let (pattern, at) = common_master_key(&queried, settled).map_err(NodeError::NotReady)?;
        let endpoint =
            queried.get(at).map(|queried| queried.unit.endpoint.clone()).ok_or(NodeError::NoInstance)?;
        let unit = OneUnit(UnitClient::connect(endpoint).await?);
        for instance in missing {
            let header = create(parts, &unit, instance, pattern).await?;
            found = found.or(Some((instance, header)));
        }
    }
    found.ok_or(NodeError::NoInstance)
}

async fn read(parts: &Parts, instance: InstanceId) -> Result<Option<InstanceHeader>, NodeError> {
    let header = InstanceHeader::read(&parts.store, instance, PATIENCE).await;
    header.map_err(|source| NodeError::Instance { instance, source })
}

async fn create(
    parts: &Parts,
    unit: &OneUnit,
    instance: InstanceId,
    pattern: VerificationPattern,
) -> Result<InstanceHeader, NodeError> {
    let mark = parts.store.pin().and_then(|pin| PinnedMarks(pin).mark(instance));
    let store = &parts.store;
    match InstanceHeader::create_after(store, unit, &mut SysRng, instance, pattern, PATIENCE, mark).await {
        Ok(header) => Ok(header),
        // Another node was faster.
        Err(InstanceError::Exists(_)) => {
            let header = read(parts, instance).await?;
            header.ok_or(NodeError::Instance { instance, source: InstanceError::Exists(instance) })
        }
        Err(source) => Err(NodeError::Instance { instance, source }),
    }
}
