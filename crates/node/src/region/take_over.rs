//! Making this region's store one that accepts writes.

use super::outgoing::ask_holding;
use super::site::Region;
use crate::node::{PATIENCE, SERVICE_CALLER, Shared};
use keystore::Keystore as _;
use kms::replica::{Replica, ReplicaError, ReplicaOptions, ReplicaState};
use kms::{Call, EpochError, KmsError};
use regions::Epoch;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;
use wire::text::error_chain;

const PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
enum TakeOverError {
    #[error("the store cannot take over")]
    Replica(#[from] ReplicaError),
    #[error("no keys are served yet: {0}")]
    NotOpen(String),
    #[error("this region has no data; it must first hear from the other one that it has none of them either")]
    NotAsked(#[source] io::Error),
    #[error(
        "this region has no data, and the other one has a copy that is not complete, perhaps of what this one had"
    )]
    PartnerCopies,
    #[error(
        "this region has lost its data, and the other one has them: have the other one take over, and accept that the data \
         differ"
    )]
    DataLost,
    #[error("the epoch of an instance cannot be raised")]
    Epoch(#[from] EpochError),
}

/// Makes the store one of its own and raises the epoch of its instances. Tried until it is done or aborted.
pub(super) async fn take_over(region: Arc<Region>, node: Weak<Shared>, epoch: Epoch) {
    let mut logged = String::new();
    while let Some(node) = node.upgrade() {
        match try_once(&region, &node, epoch).await {
            Ok(()) => {
                region.handle(|site, _| site.handle_taken_over(epoch));
                Shared::open_in_background(&node);
                return;
            }
            Err(error) => {
                let problem = error_chain(&error);
                if problem != logged {
                    warn!(error = %problem, "this region cannot take over yet; retrying");
                    logged = problem;
                }
            }
        }
        drop(node);
        sleep(PAUSE).await;
    }
}

async fn try_once(region: &Region, node: &Arc<Shared>, epoch: Epoch) -> Result<(), TakeOverError> {
    let mut replica = Replica::open(region.store(), ReplicaOptions::default()).await?;
    match replica.state() {
        // Nothing was created yet: that is done under this epoch. Or everything was lost, and what the partner has must not be
        // replaced by nothing.
        ReplicaState::Empty => return partner_has_nothing(region).await,
        ReplicaState::Copying => return Err(ReplicaError::Incomplete.into()),
        ReplicaState::Following(_) => drop(replica.take_over().await?),
        ReplicaState::Own(_) => {}
    }
    for instance in node.instance_ids() {
        let header = node.header(instance).await;
        if header.is_ok_and(|header| header.is_none_or(|header| header.epoch >= epoch.number())) {
            continue;
        }
        let kms = node.ungated_kms(region.store()).await.map_err(TakeOverError::NotOpen)?;
        let call = Call { instance, caller: SERVICE_CALLER, deadline: PATIENCE, changed_at: None };
        let op = kms.random_op().map_err(|error| EpochError::Kms(KmsError::from(error)))?;
        match kms.begin_epoch(&call, op, epoch.number()).await {
            // Another attempt was faster.
            Ok(_) | Err(EpochError::NotHigher { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes sure that a store without data has lost none: the partner has at most a copy of this very store.
async fn partner_has_nothing(region: &Region) -> Result<(), TakeOverError> {
    let own = region.store().identity();
    match ask_holding(&region.settings).await.map_err(TakeOverError::NotAsked)? {
        ReplicaState::Empty => Ok(()),
        ReplicaState::Following(at) if at.source == own => Ok(()),
        ReplicaState::Copying => Err(TakeOverError::PartnerCopies),
        ReplicaState::Following(_) | ReplicaState::Own(_) => Err(TakeOverError::DataLost),
    }
}
