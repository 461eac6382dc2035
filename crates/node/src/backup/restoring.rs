//! Restoring instances of a node.
//!
//! A restore is an order in the store, which is carried out when the node opens: at once if units have the master key of the
//! backup, else as soon as they do. An interrupted one is carried out again at the next start, and by the same command.

use crate::node::{NodeError, PATIENCE, Parts, Shared};
use crate::pinned_marks::PinnedMarks;
use crate::region::EpochRefused;
use crate::unit_status::{QueriedUnit, common_master_key, query_units};
use crate::units::OneUnit;
use host::{LinkError, UnitClient};
use kms::backup::{
    BackupError, BackupHeader, BackupReader, RestoreError, RestoreOrder, check_target, restore as restore_to,
};
use kms::{HighWaterMarks as _, InstanceId, SharedRng};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use unit_api::VerificationPattern;
use wire::text::error_chain;

/// Time for one call of the store or of the units.
const CALL: Duration = Duration::from_secs(30);
/// How long units may take to report their status.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// Why an instance is not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeRestoreError {
    /// The backup is refused.
    #[error(transparent)]
    Refused(#[from] RestoreError),
    /// The backup is of an instance that the node does not serve.
    #[error("the backup is of instance {found}, which this region does not have; it has {expected}")]
    OtherInstance {
        /// The instance of the backup.
        found: InstanceId,
        /// Those of the node.
        expected: String,
    },
    /// The path is not UTF-8.
    #[error("the path {} cannot be kept in the store: it is not UTF-8", .0.display())]
    Path(PathBuf),
    /// The region does not have the right to write.
    #[error("this region does not accept changes, so that nothing is restored into it")]
    NotWriter(#[from] EpochRefused),
    /// A unit cannot be reached.
    #[error("the crypto unit cannot be reached")]
    Link(#[from] LinkError),
    /// The node did not open.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// What a restore has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The instance.
    pub instance: InstanceId,
    /// Its epoch now; `None` as long as it waits.
    pub epoch: Option<u64>,
    /// What it waits for; empty once its keys are served.
    pub waiting_for: String,
    /// Keys in the backup.
    pub keys: u64,
}

/// Restores an instance of the node from a file.
pub(crate) async fn restore(node: &Arc<Shared>, path: &Path) -> Result<RestoreReport, NodeRestoreError> {
    let parts = &node.parts;
    let file = path.to_str().ok_or_else(|| NodeRestoreError::Path(path.to_owned()))?;
    let mut reader = open(path)?;
    let header = reader.header().clone();
    let (instance, id) = (header.instance, reader.id());
    if !node.instance_ids().contains(&instance) {
        let expected: Vec<String> = node.instance_ids().iter().map(InstanceId::to_string).collect();
        return Err(NodeRestoreError::OtherInstance { found: instance, expected: expected.join(", ") });
    }
    if let Some(region) = &parts.region {
        region.check_writer()?;
    }
    let units = queried(parts).await;
    if let Some(held) = foreign_master_key(&units, &header) {
        return Err(held.into());
    }
    let deadline = CALL;
    check_target(&parts.store, &header, deadline).await?;
    if let Some(unit) = unit_with(&units, &header).await? {
        reader.unlock(&unit, CALL).await.map_err(RestoreError::from)?;
        reader.verify().map_err(RestoreError::from)?;
    }
    if let Some(region) = &parts.region {
        region.raise_epoch(node, header.mark.epoch).await?;
    }
    carry_out_closed(node, instance, (file, id)).await?;
    let waiting_for = match node.open(None).await {
        Ok(()) => String::new(),
        Err(error) => {
            Shared::open_in_background(node);
            match error {
                NodeError::NotReady(why) => why,
                error => return Err(error.into()),
            }
        }
    };
    let restored = node.header(instance).await.ok().flatten().filter(|_| waiting_for.is_empty());
    let epoch = restored.map(|header| header.epoch);
    Ok(RestoreReport { instance, epoch, waiting_for, keys: header.keys })
}

/// Places an order and carries it out, while the node is closed. A state that has become newer meanwhile is found here: the
/// order is withdrawn, the node opens as it was, and the refusal is returned. An order that waits for units stays.
async fn carry_out_closed(
    node: &Arc<Shared>,
    instance: InstanceId,
    (file, backup): (&str, [u8; 32]),
) -> Result<(), NodeRestoreError> {
    let (parts, store, rng) = (&node.parts, node.parts.writable_store(), SharedRng::default());
    let guard = loop {
        node.close().await;
        let guard = node.hold_opening().await;
        if node.opened().is_none() {
            break guard;
        }
    };
    let outcome = match RestoreOrder::place(&store, &rng, instance, (file, backup), CALL).await {
        Ok(()) => {
            let order = RestoreOrder { file: file.to_owned(), backup, has_begun: false };
            carry_out(parts, instance, &order).await
        }
        Err(error) => Err(error.into()),
    };
    let outcome = match outcome {
        // It is carried out when the node opens.
        Err(NodeRestoreError::Node(NodeError::NotReady(_))) => Ok(()),
        Err(error) if is_void(&error) => {
            // If this fails, opening withdraws it.
            let _ = RestoreOrder::withdraw(&store, &rng, instance, PATIENCE).await;
            Err(error)
        }
        outcome => outcome,
    };
    drop(guard);
    if outcome.is_err() {
        Shared::open_in_background(node);
    }
    outcome
}

/// Whether an order that has not begun can never be carried out.
const fn is_void(error: &NodeRestoreError) -> bool {
    match error {
        NodeRestoreError::Refused(RestoreError::Backup(error)) => error.is_damage(),
        NodeRestoreError::Refused(RestoreError::NotNewer { .. } | RestoreError::SecretInUse(_)) => true,
        NodeRestoreError::Refused(
            RestoreError::OtherInstance { .. }
            | RestoreError::PresentInvalid(_)
            | RestoreError::OtherMasterKey { .. }
            | RestoreError::EpochTooLow { .. }
            | RestoreError::Superseded
            | RestoreError::Store(_)
            | RestoreError::Units(_)
            | RestoreError::Random(_),
        )
        | NodeRestoreError::OtherInstance { .. }
        | NodeRestoreError::Path(_)
        | NodeRestoreError::NotWriter(_)
        | NodeRestoreError::Link(_)
        | NodeRestoreError::Node(_) => false,
    }
}

/// Carries out the orders to restore instances. Called while the node is closed.
///
/// # Errors
/// [`NodeError::NotReady`] as long as one cannot be carried out.
pub(crate) async fn carry_out_orders(parts: &Parts) -> Result<(), NodeError> {
    for instance in parts.instances.iter().map(|instance| instance.id) {
        let order = RestoreOrder::read(&parts.store, instance, PATIENCE).await;
        let order = order.map_err(|error| not_ready(instance, &error))?;
        let Some(order) = order else { continue };
        if let Err(error) = carry_out(parts, instance, &order).await {
            let store = parts.writable_store();
            if is_void(&error)
                && matches!(
                    RestoreOrder::withdraw(&store, &SharedRng::default(), instance, PATIENCE).await,
                    Ok(true)
                )
            {
                tracing::error!(%instance, error = %error_chain(&error), "the order to restore an instance was withdrawn; nothing was changed");
                continue;
            }
            return Err(not_ready(instance, &error));
        }
    }
    Ok(())
}

fn not_ready(instance: InstanceId, error: &dyn std::error::Error) -> NodeError {
    NodeError::NotReady(format!(
        "instance {instance} is being restored from a backup: {}",
        error_chain(error)
    ))
}

async fn carry_out(
    parts: &Parts,
    instance: InstanceId,
    order: &RestoreOrder,
) -> Result<(), NodeRestoreError> {
    let mut reader = open(Path::new(&order.file))?;
    if reader.id() != order.backup || reader.header().instance != instance {
        let what = "the file is not the one from which the restore was ordered";
        return Err(RestoreError::from(BackupError::Content { what }).into());
    }
    // Instances of a pair have the epoch of their region.
    let epoch = parts.region.as_ref().map(|region| region.check_writer()).transpose()?;
    let header = reader.header().clone();
    let units = queried(parts).await;
    let Some(unit) = unit_with(&units, &header).await? else {
        let why = common_master_key(&units, Some(header.pattern)).err().unwrap_or_default();
        return Err(NodeError::NotReady(why).into());
    };
    reader.unlock(&unit, CALL).await.map_err(RestoreError::from)?;
    let mark = parts.store.pin().and_then(|pin| PinnedMarks(pin).mark(instance));
    let (store, rng) = (parts.writable_store(), SharedRng::default());
    restore_to(&store, &unit, &rng, &mut reader, &order.file, mark, epoch, CALL).await?;
    Ok(())
}

fn open(path: &Path) -> Result<BackupReader<File>, NodeRestoreError> {
    let file = File::open(path).map_err(BackupError::Io).map_err(RestoreError::from)?;
    Ok(BackupReader::open(file).map_err(RestoreError::from)?)
}

async fn queried(parts: &Parts) -> Vec<QueriedUnit> {
    let units = parts.directory.units().into_iter().filter(|unit| unit.is_operational());
    query_units(units, STATUS_PATIENCE).await
}

fn master_key_of(queried: &QueriedUnit) -> Option<VerificationPattern> {
    queried.status.as_ref().ok()?.current
}

/// A unit with another master key, if none has that of the backup.
fn foreign_master_key(units: &[QueriedUnit], header: &BackupHeader) -> Option<RestoreError> {
    let held = |queried: &QueriedUnit| Some((queried.unit.number, master_key_of(queried)?));
    let held: Vec<_> = units.iter().filter_map(held).collect();
    if held.iter().any(|(_, held)| header.is_under(*held)) {
        return None;
    }
    let (unit, held) = held.first().copied()?;
    Some(RestoreError::OtherMasterKey { backup: header.pattern, unit, held })
}

/// A unit that has a master key of the backup.
async fn unit_with(
    units: &[QueriedUnit],
    header: &BackupHeader,
) -> Result<Option<OneUnit>, NodeRestoreError> {
    let has_it = |queried: &&QueriedUnit| master_key_of(queried).is_some_and(|held| header.is_under(held));
    let Some(queried) = units.iter().find(has_it) else { return Ok(None) };
    Ok(Some(OneUnit(UnitClient::connect(queried.unit.endpoint.clone()).await?)))
}
