//! Instances of earlier versions: records get keys of their own, and the instance gets an index.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use keystore::{Commit, Cond, Entry, Freshness, Key as StoreKey, Keystore, Page, Txn, Write};
use tracing::info;

use super::secrets::owner;
use super::{Kms, OpenInstance, invalid};
use crate::call::TimeBudget;
use crate::header::Generation;
use crate::index::{self, Bucket, Item, Listed};
use crate::seal::{Sealed, secret_of};
use crate::{InstanceHeader, InstanceId, KmsError, RecordError, Units, layout};

/// Buckets that one transaction writes; with the header they are within the store's limit.
const BUCKETS_PER_TXN: usize = layout::MAX_KEYS_PER_TXN - 1;
/// Values that one transaction writes; with the header they are within the store's limits, also in bytes.
const VALUES_PER_TXN: usize = 14;
/// Time for one step, independent of the caller's: each step is progress that stays.
const STEP: Duration = Duration::from_secs(10);

fn step() -> TimeBudget {
    TimeBudget::new(STEP)
}

/// Another node was faster.
struct Overtaken;

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Converts an instance of an earlier version. Until the header says that it has an index, nothing else writes to the
    /// instance; an interrupted run is repeated from its beginning, and skips what is done.
    pub(super) async fn convert(
        &self,
        id: InstanceId,
        entry: &Entry,
        open: &OpenInstance,
    ) -> Result<(), KmsError> {
        let header = Cond::Unchanged(entry.key.clone(), entry.modified);
        // Records before their blobs: a secret is in use from the moment that a record names it.
        for range in [layout::records(id), layout::blobs(id)] {
            if self.convert_values(id, &header, open, range).await?.is_err() {
                return Ok(());
            }
        }
        let buckets: Vec<(u16, Bucket)> = self.index_of(id, open).await?.into_iter().collect();
        for part in buckets.chunks(BUCKETS_PER_TXN) {
            let put = |(number, bucket): &(u16, Bucket)| {
                let key = index::place(id, *number);
                let value = bucket.encode(&key, &open.keys).into();
                Write::Put { key, value, lease: None }
            };
            let txn = (vec![header.clone()], part.iter().map(put).collect());
            if self.commit_step(txn).await?.is_err() {
                return Ok(());
            }
        }
        let indexed = InstanceHeader { generation: Some(Generation::first()), ..open.header.clone() };
        let value = indexed.encode(&entry.key, &open.keys).into();
        let writes = vec![Write::Put { key: entry.key.clone(), value, lease: None }];
        if self.commit_step((vec![header], writes)).await?.is_ok() {
            info!(instance = %id, "the instance was converted: its keys have keys of their own, and it has an index");
        }
        Ok(())
    }

    async fn commit_step(
        &self,
        (conds, writes): (Vec<Cond>, Vec<Write>),
    ) -> Result<Result<(), Overtaken>, KmsError> {
        let txn = Txn { op: self.random_op()?, conds, writes };
        Ok(match self.store.commit(txn, step().for_store()?).await? {
            Commit::Applied { .. } => Ok(()),
            Commit::Refused { .. } => Err(Overtaken),
        })
    }

    async fn page(&self, range: Range<StoreKey>, limit: usize) -> Result<Page, KmsError> {
        Ok(self.store.scan(range, limit, None, Freshness::Linearizable, step().for_store()?).await?)
    }

    /// Seals records, or blob records, again under keys of their own.
    async fn convert_values(
        &self,
        id: InstanceId,
        header: &Cond,
        open: &OpenInstance,
        mut range: Range<StoreKey>,
    ) -> Result<Result<(), Overtaken>, KmsError> {
        loop {
            let page = self.page(range.clone(), VALUES_PER_TXN).await?;
            let (mut conds, mut writes) = (vec![header.clone()], Vec::new());
            for entry in page.entries.iter().filter(|entry| secret_of(&entry.value).is_none()) {
                if let Some(write) = self.converted(id, open, entry).await? {
                    conds.push(Cond::Unchanged(entry.key.clone(), entry.modified));
                    writes.push(write);
                }
            }
            if !writes.is_empty()
                && let Err(overtaken) = self.commit_step((conds, writes)).await?
            {
                return Ok(Err(overtaken));
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(Ok(())),
            }
        }
    }

    /// The same value under a key of its own: a new one for a record, that of the record for a blob. `None` for a blob without
    /// a record, which an interrupted purge has left.
    async fn converted(
        &self,
        id: InstanceId,
        open: &OpenInstance,
        entry: &Entry,
    ) -> Result<Option<Write>, KmsError> {
        let (kind, own) = match layout::record_of_blob(id, &entry.key) {
            None => {
                let (secret_id, secret) = self.store.draw_secret(owner(id), step().for_store()?).await?;
                (Sealed::Record, Some(Arc::new(open.own_key(secret_id, &secret))))
            }
            Some(record) => {
                let read = self.store.get(&[record], Freshness::Linearizable, step().for_store()?).await?;
                let own = match read.entries.into_iter().flatten().next() {
                    Some(record) => self.own_key_of(step(), open, &record).await?,
                    None => None,
                };
                (Sealed::of_blob(&entry.value), own)
            }
        };
        let Some(own) = own else { return Ok(None) };
        let plain = open.open(kind, entry)?;
        self.put_own(&own, kind, entry.key.clone(), &plain).map(Some)
    }

    /// The index of all records and aliases that there are.
    async fn index_of(&self, id: InstanceId, open: &OpenInstance) -> Result<BTreeMap<u16, Bucket>, KmsError> {
        let mut buckets: BTreeMap<u16, Bucket> = BTreeMap::new();
        for mut range in [layout::records(id), layout::aliases(id)] {
            loop {
                let page = self.page(range.clone(), keystore::MAX_PAGE_ENTRIES).await?;
                for entry in &page.entries {
                    if secret_of(&entry.value).is_none() {
                        open.open(Sealed::Record, entry)?;
                    }
                    let item =
                        Item::of(&entry.key).ok_or_else(|| invalid(&entry.key, RecordError::Malformed))?;
                    let bucket =
                        buckets.entry(item.bucket()).or_insert_with(|| Bucket::default().successor());
                    bucket.set(item, Listed::of(&entry.value));
                }
                match page.next {
                    Some(next) => range.start = next,
                    None => break,
                }
            }
        }
        Ok(buckets)
    }
}
