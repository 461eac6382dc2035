//! Reading and writing with the index: a value that is not the one that was written last is refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

use keystore::{
    Bytes, Cond, Entry, Freshness, Key as StoreKey, Keystore, MAX_PAGE_ENTRIES, Page, Revision, Txn, Write,
};

use super::count::open_counts;
use super::{CommitOutcome, Kms, OpenInstance, invalid};
use crate::call::TimeBudget;
use crate::header::Generation;
use crate::index::{self, BUCKETS, Bucket, Item, Listed};
use crate::record::Record;
use crate::seal::{InstanceKeys, OwnKey, Sealed, secret_of};
use crate::seen::{Before, Seen};
use crate::{Call, InstanceHeader, InstanceId, KeyId, KmsError, RecordError, Units, layout};

/// The buckets of some places, as they were read together with their values.
#[derive(Debug, Default)]
pub(super) struct IndexView(BTreeMap<u16, BucketView>);

#[derive(Debug)]
struct BucketView {
    bucket: Arc<Bucket>,
    /// `None`: the store does not have it yet.
    modified: Option<Revision>,
}

/// A bucket that a transaction writes.
struct Changed {
    number: u16,
    value: Bytes,
    bucket: Arc<Bucket>,
}

/// A page of records of keys.
pub(super) struct RecordPage {
    pub(super) records: Vec<PagedRecord>,
    pub(super) next: Option<StoreKey>,
}

pub(super) struct PagedRecord {
    pub(super) id: KeyId,
    pub(super) modified: Revision,
    pub(super) record: Record,
    pub(super) own: Arc<OwnKey>,
}

/// The numbers of the buckets that list these places.
pub(super) fn buckets_of(places: &[StoreKey]) -> Vec<u16> {
    let mut buckets: Vec<u16> = places.iter().filter_map(Item::of).map(|item| item.bucket()).collect();
    buckets.sort_unstable();
    buckets.dedup();
    buckets
}

impl IndexView {
    /// Adds to a transaction the buckets that list what it writes.
    fn extend(&self, instance: InstanceId, open: &OpenInstance, txn: &mut Txn) -> Vec<Changed> {
        let mut changed: BTreeMap<u16, Bucket> = BTreeMap::new();
        for write in &txn.writes {
            let Some(item) = Item::of(write.key()) else { continue };
            let read = self.0.get(&item.bucket()).expect("a transaction writes only places that were read");
            let bucket = changed.entry(item.bucket()).or_insert_with(|| read.bucket.successor());
            bucket.set(
                item,
                match write {
                    Write::Put { value, .. } => Listed::of(value),
                    Write::Delete(_) => None,
                },
            );
        }
        let mut buckets = Vec::with_capacity(changed.len());
        for (number, bucket) in changed {
            let place = index::place(instance, number);
            let modified = self.0.get(&number).and_then(|read| read.modified);
            txn.conds.push(match modified {
                Some(at) => Cond::Unchanged(place.clone(), at),
                None => Cond::Absent(place.clone()),
            });
            let value: Bytes = bucket.encode(&place, &open.keys).into();
            txn.writes.push(Write::Put { key: place, value: Arc::clone(&value), lease: None });
            buckets.push(Changed { number, value, bucket: Arc::new(bucket) });
        }
        buckets
    }
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Decodes the buckets that were read, and checks the values of these places against them.
    pub(super) async fn check_index(
        &self,
        (call, budget): (&Call<'_>, TimeBudget),
        open: &OpenInstance,
        (numbers, buckets): (&[u16], &[Option<Entry>]),
        (places, values): (&[StoreKey], &[Option<Entry>]),
        before: &Before,
    ) -> Result<IndexView, KmsError> {
        let mut view = IndexView::default();
        for (number, entry) in numbers.iter().copied().zip(buckets) {
            let place = index::place(call.instance, number);
            let found = (&place, entry.as_ref().map(|entry| &entry.value));
            let bucket = open.seen.bucket(number, found, open.all_keys(), (open.generation(), before));
            let bucket = bucket.map_err(|why| invalid(&place, why))?;
            view.0
                .insert(number, BucketView { bucket, modified: entry.as_ref().map(|entry| entry.modified) });
        }
        for (place, value) in places.iter().zip(values) {
            let Some(item) = Item::of(place) else { continue };
            let bucket = view.0.get(&item.bucket()).expect("the buckets of all places were read");
            self.check_listed(budget, open, (&bucket.bucket, &item), (place, value.as_ref())).await?;
        }
        Ok(view)
    }

    /// Checks a value against the bucket that lists its place. A value that was never authentic there is reported as that.
    async fn check_listed(
        &self,
        budget: TimeBudget,
        open: &OpenInstance,
        (bucket, item): (&Bucket, &Item),
        (place, entry): (&StoreKey, Option<&Entry>),
    ) -> Result<(), KmsError> {
        let Err(why) = bucket.check(item, entry.map(|entry| &entry.value)) else { return Ok(()) };
        match entry {
            Some(entry) if item.is_counts() => {
                if let Some(own) = self.own_key_of(budget, open, entry).await? {
                    open_counts(&own, Some(entry))?;
                }
            }
            Some(entry) if secret_of(&entry.value).is_some() => {
                self.open_record(budget, open, entry).await?;
            }
            Some(entry) => drop(open.open(Sealed::Record, entry)?),
            None => {}
        }
        Err(invalid(place, why))
    }

    /// What this process has seen of an instance.
    pub(super) fn seen(&self, id: InstanceId) -> Arc<Seen> {
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone);
        known.unwrap_or_else(|| {
            let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(seen.entry(id).or_default())
        })
    }

    /// Commits a transaction together with the buckets that list what it writes.
    pub(super) async fn commit_listed(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        (open, index): (&OpenInstance, &IndexView),
        mut txn: Txn,
    ) -> Result<CommitOutcome, KmsError> {
        let changed = index.extend(call.instance, open, &mut txn);
        let outcome = self.try_commit(txn, budget).await?;
        if matches!(outcome, CommitOutcome::Applied(_)) {
            for Changed { number, value, bucket } in &changed {
                open.seen.note_bucket(open.generation(), *number, value, bucket);
            }
            self.raise_mark(call.instance, &open.seen);
        }
        Ok(outcome)
    }

    /// Commits a transaction that writes this header.
    pub(super) async fn commit_header(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        header: &InstanceHeader,
        txn: Txn,
    ) -> Result<CommitOutcome, KmsError> {
        let outcome = self.try_commit(txn, budget).await?;
        if matches!(outcome, CommitOutcome::Applied(_)) {
            self.note_header(call.instance, header);
        }
        Ok(outcome)
    }

    /// Remembers a header that was written.
    pub(super) fn note_header(&self, id: InstanceId, header: &InstanceHeader) {
        let seen = self.seen(id);
        seen.note_header(header);
        self.raise_mark(id, &seen);
    }

    fn raise_mark(&self, id: InstanceId, seen: &Seen) {
        if let Some(mark) = seen.mark() {
            self.options.marks.raise(id, mark);
        }
    }

    /// Reads all buckets of an instance that was opened for the first time, and compares them with the high-water mark.
    pub(super) async fn verify(
        &self,
        id: InstanceId,
        (open, at): (&OpenInstance, Revision),
        before: &Before,
        budget: TimeBudget,
    ) -> Result<(), KmsError> {
        let buckets = self.listed(id, open, (0, BUCKETS - 1), at, before, budget).await?;
        let found = open.seen.unverified_mark();
        if let Some(mark) = before.mark.filter(|mark| found.is_older_than(*mark)) {
            let place = layout::header(id);
            tracing::error!(instance = %id, ?found, ?mark, "the instance is older than its high-water mark");
            return Err(invalid(&place, RecordError::RolledBack));
        }
        let entries = buckets.values().flat_map(|bucket| bucket.entries());
        let secrets = entries.filter_map(|(_, listed)| listed.secret()).collect();
        self.erase_orphans(id, &secrets, budget).await?;
        open.seen.set_verified();
        self.raise_mark(id, &open.seen);
        Ok(())
    }

    /// The buckets from the first to the last number, at the revision at which the instance was read.
    async fn listed(
        &self,
        id: InstanceId,
        open: &OpenInstance,
        (first, last): (u16, u16),
        at: Revision,
        before: &Before,
        budget: TimeBudget,
    ) -> Result<BTreeMap<u16, Arc<Bucket>>, KmsError> {
        let mut range = layout::buckets(id, first, last);
        let mut buckets = BTreeMap::new();
        loop {
            let page = self.scan(range.clone(), MAX_PAGE_ENTRIES, at, budget).await?;
            for Entry { key, value, .. } in &page.entries {
                let invalid = |why| invalid(key, why);
                let number = layout::bucket_of(key).ok_or_else(|| invalid(RecordError::Malformed))?;
                let found = open.seen.bucket(
                    number,
                    (key, Some(value)),
                    open.all_keys(),
                    (open.generation(), before),
                );
                buckets.insert(number, found.map_err(invalid)?);
            }
            match page.next {
                Some(next) => range.start = next,
                None => break,
            }
        }
        // A bucket that was seen and is gone.
        for number in (first..=last).filter(|number| !buckets.contains_key(number)) {
            let place = index::place(id, number);
            let absent =
                open.seen.bucket(number, (&place, None), open.all_keys(), (open.generation(), before));
            absent.map_err(|why| invalid(&place, why))?;
        }
        Ok(buckets)
    }

    /// What a scan of an instance that begins now must not fall behind.
    pub(super) fn before_scan(&self, id: InstanceId) -> Before {
        self.seen(id).before(0..BUCKETS, None)
    }

    /// A page of a range at the revision at which the instance was read, so that the instance's keys open it.
    pub(super) async fn scan(
        &self,
        range: Range<StoreKey>,
        limit: usize,
        at: Revision,
        budget: TimeBudget,
    ) -> Result<Page, KmsError> {
        let (fresh, deadline) = (Freshness::Linearizable, budget.for_store()?);
        Ok(self.store.scan(range, limit, Some(at), fresh, deadline).await?)
    }

    /// Reads a page of records at the revision at which the instance was read, and checks that it is complete and new.
    pub(super) async fn record_page(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        (open, at): (&OpenInstance, Revision),
        range: Range<StoreKey>,
        before: &Before,
    ) -> Result<RecordPage, KmsError> {
        let page = self.scan(range.clone(), MAX_PAGE_ENTRIES, at, budget).await?;
        let bucket = |place: &StoreKey| Item::of(place).map(|item| item.bucket());
        let first = bucket(&range.start).unwrap_or(0);
        let last = page.next.as_ref().and_then(bucket).unwrap_or(BUCKETS - 1);
        let buckets = self.listed(call.instance, open, (first, last), at, before, budget).await?;
        let end = page.next.as_ref().unwrap_or(&range.end);
        let listed = buckets.values().flat_map(|bucket| bucket.entries()).filter_map(|(item, _)| {
            let place = layout::record(call.instance, item.record_id()?);
            (range.start <= place && place < *end).then_some(place)
        });
        let mut listed: Vec<StoreKey> = listed.collect();
        listed.sort_unstable();
        let found = |place: &StoreKey| page.entries.binary_search_by(|entry| entry.key.cmp(place)).is_ok();
        if let Some(missing) = listed.iter().find(|place| !found(place)) {
            return Err(invalid(missing, RecordError::Missing));
        }
        let mut records = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let malformed = || invalid(&entry.key, RecordError::Malformed);
            let item = Item::of(&entry.key).ok_or_else(malformed)?;
            let bucket = buckets.get(&item.bucket()).map_or_else(Arc::default, Arc::clone);
            self.check_listed(budget, open, (&bucket, &item), (&entry.key, Some(&entry))).await?;
            let id = item.record_id().ok_or_else(malformed)?;
            // Otherwise the key was purged, and an older keystore was accepted.
            if let Some((record, own)) = self.open_record(budget, open, &entry).await? {
                records.push(PagedRecord { id, modified: entry.modified, record, own });
            }
        }
        Ok(RecordPage { records, next: page.next })
    }
}

impl OpenInstance {
    /// The generation of the header.
    pub(super) fn generation(&self) -> Generation {
        self.header.generation.unwrap_or_default()
    }

    /// The keys of the instance secret, and of the previous one as long as values are under it.
    pub(super) fn all_keys(&self) -> (&InstanceKeys, Option<&InstanceKeys>) {
        (&self.keys, self.previous.as_deref())
    }
}
