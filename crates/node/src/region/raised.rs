//! Raising the epoch of a region that has the right to write, before an instance is restored into it.
//!
//! A restored instance gets the epoch of its region, which has to be higher than that of the backup: a region that comes back
//! with the data from which the backup was made then finds the higher epoch, and stops writing.

use super::site::Region;
use crate::node::{PATIENCE, Shared};
use keystore::{Deadline, Freshness, Key, Keystore as _, OpId, StoreError, Txn, Write};
use regions::Epoch;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::info;

/// How long the region may take to have the right to write under the new epoch.
const CONFIRMATION: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// Why the epoch was not raised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochRefused {
    /// The region has no right to write: another one may have it.
    #[error(
        "{0}; have this region take over first (`hsm-sim region promote` or `return`), or restore into the one that accepts \
         changes"
    )]
    NotWriter(String),
    /// The record of the pair cannot be read or written.
    #[error("the record of the pair cannot be changed")]
    Store(#[from] StoreError),
    /// The operating system returned no random bytes.
    #[error("the system's source of random bytes failed")]
    Random(#[from] getrandom::Error),
    /// The record of the pair is damaged.
    #[error("the record of the pair is damaged")]
    Record,
    /// The partner or the witness has not confirmed the new epoch in time.
    #[error("epoch {0} was not confirmed by the other region or the witness yet; repeat the command")]
    NotConfirmed(u64),
}

impl Region {
    /// The epoch under which this region writes.
    pub(crate) fn check_writer(&self) -> Result<u64, EpochRefused> {
        self.right_to_write().map_err(|(_, why)| {
            let why = why.map(|why| why.to_string());
            EpochRefused::NotWriter(why.unwrap_or_else(|| "this region has just started".to_owned()))
        })
    }

    /// Has this region write under an epoch of its own that is higher than `above`. The state machine starts again with the
    /// new epoch, as after a restart of the region: it writes once no other party has a higher one.
    pub(crate) async fn raise_epoch(&self, node: &Arc<Shared>, above: u64) -> Result<u64, EpochRefused> {
        let epoch = self.check_writer()?;
        if epoch > above {
            return Ok(epoch);
        }
        let next = Epoch::from_number(above.max(epoch)).next_of(self.settings.side).number();
        node.end_pair().await;
        let saved = self.save_epoch(next).await;
        Shared::start_pair(node);
        saved?;
        info!(from = epoch, to = next, "the epoch was raised for a restore");
        let until = Instant::now() + CONFIRMATION;
        loop {
            match self.right_to_write() {
                Ok(now) if now >= next => return Ok(now),
                _ if Instant::now() > until => return Err(EpochRefused::NotConfirmed(next)),
                _ => sleep(LOOK).await,
            }
        }
    }

    async fn save_epoch(&self, epoch: u64) -> Result<(), EpochRefused> {
        let (store, place) = (self.store(), Key::from(*b"v1/repl/site"));
        let deadline = Deadline(PATIENCE);
        let found = store.get(std::slice::from_ref(&place), Freshness::Linearizable, deadline).await?;
        let stored = found.entries.into_iter().flatten().next();
        let mut record: Value = match stored {
            Some(entry) => serde_json::from_slice(&entry.value).map_err(|_| EpochRefused::Record)?,
            None => json!({ "format": 1, "lost_since_ms": null }),
        };
        let fields = record.as_object_mut().ok_or(EpochRefused::Record)?;
        fields.insert("epoch".to_owned(), json!(epoch));
        fields.insert("highest".to_owned(), json!(epoch));
        let mut op = [0; 16];
        getrandom::fill(&mut op)?;
        let value = record.to_string().into_bytes().into();
        let writes = vec![Write::Put { key: place, value, lease: None }];
        store.commit(Txn { op: OpId(op), conds: Vec::new(), writes }, deadline).await?;
        Ok(())
    }
}
