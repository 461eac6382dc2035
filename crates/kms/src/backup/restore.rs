//! Restoring an instance from a backup.

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::time::Duration;

use keystore::{
    Commit, Cond, Deadline, Entry, Freshness, Key, Keystore, MAX_PAGE_ENTRIES, OpId, Revision, SecretId,
    SlotInUse, StoreError, Txn, UnnamedSecrets, Write,
};
use tracing::info;

use super::order::RestoreOrder;
use super::verify::{Verified, mark_of};
use super::writer::range_of;
use super::{BackupError, BackupHeader, BackupReader, RestoreError};
use crate::call::TimeBudget;
use crate::header::Generation;
use crate::index::Bucket;
use crate::join::join_all;
use crate::replica::{CopyPage, chunks, differences, secrets_named, to_adopt, yield_now};
use crate::rng::random_array;
use crate::seal::{InstanceKeys, secret_of};
use crate::service::secret_owner;
use crate::{
    InstanceHeader, InstanceId, InstanceMark, Mode, OpenError, RecordError, SharedRng, StoreMeta, Units,
    layout,
};

/// Transactions that are committed together, with one flush.
const TXNS: usize = 8;

/// What was restored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The header of the backup.
    pub backup: BackupHeader,
    /// The epoch that the instance has now.
    pub epoch: u64,
    /// Keys that were purged while the backup was being made: they did not come back.
    pub without_secret: u64,
}

/// Whether the state of an instance in a store may be replaced by a backup: it has no keys, is older, or was given up by a
/// restore that was interrupted. Returns how far it has come, if it has a header.
///
/// # Errors
/// [`RestoreError::NotNewer`], [`RestoreError::PresentInvalid`].
pub async fn check_target<S: Keystore>(
    store: &S,
    backup: &BackupHeader,
    deadline: Duration,
) -> Result<Option<InstanceMark>, RestoreError> {
    let (instance, mut range) = (backup.instance, range_of(backup.instance));
    let (mut at, mut header, mut keys, mut sequences) = (None, None, 0_u64, 0_u64);
    loop {
        let fresh = Freshness::Linearizable;
        let page = store.scan(range.clone(), MAX_PAGE_ENTRIES, at, fresh, Deadline(deadline)).await?;
        at = Some(page.at);
        for entry in page.entries {
            if entry.key == layout::header(instance) {
                header = Some(entry.value);
            } else if layout::bucket_of(&entry.key).is_some() {
                sequences = sequences.saturating_add(Bucket::claimed_sequence(&entry.value).unwrap_or(0));
            } else if layout::record_of(&entry.key).is_some() {
                keys += 1;
            }
        }
        match page.next {
            Some(next) => range.start = next,
            None => break,
        }
        yield_now().await;
    }
    let Some(header) = header else { return Ok(None) };
    let present = match mark_of(&header, sequences) {
        Ok(present) => present,
        Err(BackupError::Record { source, .. }) if keys > 0 => {
            return Err(RestoreError::PresentInvalid(source));
        }
        Err(_) => return Ok(None),
    };
    if keys > 0 && !present.is_older_than(backup.mark) {
        return Err(RestoreError::NotNewer { present, backup: backup.mark });
    }
    Ok(Some(present))
}

/// Restores the instance of an unlocked backup. `seen` is the highest mark of the instance that is pinned, if one is. The
/// instance gets this `epoch`, which has to be higher than that of the backup; by default, one more than every one that is
/// known.
///
/// The service over this store must be closed before, and opened again afterwards. `file` is recorded, so that the
/// caller can complete a restore that was interrupted: then the instance has no header, and the same call completes it.
///
/// # Errors
/// [`RestoreError`]; nothing was changed unless it says otherwise.
#[expect(
    clippy::too_many_arguments,
    reason = "two ports, two values that only the caller knows, and what to do"
)]
pub async fn restore<S: Keystore, U: Units, R: Read + Seek + Send>(
    store: &S,
    units: &U,
    rng: &SharedRng,
    backup: &mut BackupReader<R>,
    file: &str,
    seen: Option<InstanceMark>,
    epoch: Option<u64>,
    deadline: Duration,
) -> Result<Restored, RestoreError> {
    let of_backup = backup.header().mark.epoch;
    if let Some(epoch) = epoch.filter(|epoch| *epoch <= of_backup) {
        return Err(RestoreError::EpochTooLow { epoch, of_backup });
    }
    let verified = backup.verify()?;
    let header = authentic_header(&verified, units, deadline).await?;
    StoreMeta::read_or_begin(store, &mut rng.clone(), deadline).await.map_err(|error| match error {
        OpenError::Store(error) => RestoreError::Store(error),
        OpenError::Random(error) => error.into(),
        OpenError::ForeignStore { .. }
        | OpenError::UnsupportedFormat { .. }
        | OpenError::MirrorIncomplete => RestoreError::Superseded,
    })?;
    let target = Target { store, rng, instance: backup.header().instance, deadline: Deadline(deadline) };
    let present = check_target(store, backup.header(), deadline).await?;
    target.check_secrets(&verified.secrets).await?;
    let marks = [Some(backup.header().mark), present, seen];
    let marks = || marks.iter().flatten();
    let next = marks().map(|mark| mark.epoch.saturating_add(1)).max().unwrap_or(1);
    let epoch = epoch.unwrap_or(next);
    let born = marks().map(|mark| mark.born).max();
    let order = RestoreOrder { file: file.to_owned(), backup: backup.id(), has_begun: true };
    let ordered = target.begin(&order).await?;
    while let Some(page) = backup.next_page()? {
        target.put(page, ordered).await?;
        yield_now().await;
    }
    let (header, keys) = header;
    let generation = Some(Generation::first_after(born.map(|born| InstanceMark { born, epoch, changes: 0 })));
    let header = InstanceHeader { epoch, mode: Mode::ReadWrite, generation, ..header };
    let place = layout::header(target.instance);
    let value = header.encode(&place, &keys).into();
    let writes =
        vec![Write::Put { key: place, value, lease: None }, Write::Delete(layout::restore(target.instance))];
    target.commit(writes, ordered).await?;
    info!(instance = %target.instance, epoch, keys = backup.header().keys, "the instance was restored from a backup");
    Ok(Restored { backup: backup.header().clone(), epoch, without_secret: verified.without_secret })
}

/// The header of the instance as it was, with its keys, which a unit opens.
async fn authentic_header<U: Units>(
    verified: &Verified,
    units: &U,
    deadline: Duration,
) -> Result<(InstanceHeader, InstanceKeys), RestoreError> {
    let (place, value) = &verified.header;
    let invalid = |source| BackupError::Record { key: layout::show(place), source };
    let (header, body, tag) = InstanceHeader::decode(value).map_err(invalid)?;
    let keys = header.open_keys(units, TimeBudget::new(deadline)).await?;
    let (keys, _) = keys.ok_or_else(|| invalid(RecordError::Forged))?;
    if !keys.header_is_authentic(place, body, tag) {
        return Err(invalid(RecordError::Forged).into());
    }
    Ok((header, keys))
}

/// Where an instance is restored.
struct Target<'a, S> {
    store: &'a S,
    rng: &'a SharedRng,
    instance: InstanceId,
    deadline: Deadline,
}

impl<S: Keystore> Target<'_, S> {
    /// Secrets that records of the other instances name.
    async fn secrets_of_others(&self) -> Result<BTreeSet<SecretId>, StoreError> {
        let mut named = BTreeSet::new();
        let (mut range, mut at) = (layout::instances(), None);
        loop {
            let fresh = Freshness::Linearizable;
            let page = self.store.scan(range.clone(), MAX_PAGE_ENTRIES, at, fresh, self.deadline).await?;
            at = Some(page.at);
            let others = page.entries.iter().filter(|entry| {
                layout::record_of(&entry.key).is_some()
                    && layout::instance_of(&entry.key) != Some(self.instance)
            });
            named.extend(others.filter_map(|entry| secret_of(&entry.value)));
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(named),
            }
            yield_now().await;
        }
    }

    /// Refuses a backup with a secret whose place is in use by another instance: secrets keep their identifiers.
    async fn check_secrets(&self, secrets: &BTreeSet<SecretId>) -> Result<(), RestoreError> {
        let slot = |id: &SecretId| id.0 >> 32;
        let in_use: BTreeSet<u64> = self.secrets_of_others().await?.iter().map(slot).collect();
        match secrets.iter().find(|id| in_use.contains(&slot(id))) {
            Some(id) => Err(RestoreError::SecretInUse(*id)),
            None => Ok(()),
        }
    }

    /// Gives the former state up: from here on the instance has no header. Returns the revision of the order.
    async fn begin(&self, order: &RestoreOrder) -> Result<Revision, RestoreError> {
        let (place, header) = (layout::restore(self.instance), layout::header(self.instance));
        let found =
            self.store.get(&[place.clone(), header.clone()], Freshness::Linearizable, self.deadline).await?;
        let unchanged = |(place, entry): (&Key, Option<Entry>)| match entry {
            Some(entry) => Cond::Unchanged(place.clone(), entry.modified),
            None => Cond::Absent(place.clone()),
        };
        let conds = [&place, &header].into_iter().zip(found.entries).map(unchanged).collect();
        let put = Write::Put { key: place, value: order.encode().into(), lease: None };
        let txn = Txn { op: self.op()?, conds, writes: vec![put, Write::Delete(header)] };
        let at = self.apply(txn).await?;
        // Those of the former state, and those that a creation has drawn and no record names.
        self.store.erase_owner(secret_owner(self.instance), self.deadline).await?;
        let named = self.secrets_of_others().await?;
        self.store.erase_unnamed(UnnamedSecrets::All, &named, self.deadline).await?;
        Ok(at)
    }

    /// Makes a range equal to that of the backup, but for header and order.
    async fn put(&self, page: CopyPage, ordered: Revision) -> Result<(), RestoreError> {
        let owners = secrets_named(page.entries.iter().map(|entry| (&entry.key, &entry.value)));
        let adopted = to_adopt(&owners, &page.secrets);
        let adopted = adopted.map_err(|_| BackupError::Content { what: "a secret that no record names" })?;
        if !adopted.is_empty() {
            self.store.adopt_secrets(adopted, SlotInUse::Refuse, self.deadline).await?;
        }
        let special = [layout::header(self.instance), layout::restore(self.instance)];
        let mut theirs = page.entries;
        theirs.retain(|entry| !special.contains(&entry.key));
        let (mut range, mut at, mut theirs) = (page.from..page.until, None, theirs.as_slice());
        loop {
            let fresh = Freshness::Linearizable;
            let mut here = self.store.scan(range.clone(), MAX_PAGE_ENTRIES, at, fresh, self.deadline).await?;
            at = Some(here.at);
            here.entries.retain(|entry| !special.contains(&entry.key));
            let end = here.next.as_ref().unwrap_or(&range.end);
            let (within, rest) = theirs.split_at(theirs.partition_point(|entry| entry.key < *end));
            theirs = rest;
            let parts = chunks(differences(&here.entries, within));
            let mut txns = parts.into_iter().map(|writes| self.commit(writes, ordered)).collect::<Vec<_>>();
            while !txns.is_empty() {
                let now = txns.split_off(txns.len().saturating_sub(TXNS));
                for outcome in join_all(now).await {
                    outcome?;
                }
            }
            match here.next {
                Some(next) => range.start = next,
                None => return Ok(()),
            }
        }
    }

    /// Writes as long as no other call has begun to restore the instance.
    async fn commit(&self, writes: Vec<Write>, ordered: Revision) -> Result<Revision, RestoreError> {
        let unchanged = Cond::Unchanged(layout::restore(self.instance), ordered);
        self.apply(Txn { op: self.op()?, conds: vec![unchanged], writes }).await
    }

    async fn apply(&self, txn: Txn) -> Result<Revision, RestoreError> {
        let outcome = match self.store.commit(txn.clone(), self.deadline).await {
            // A repetition tells.
            Err(StoreError::Unknown) => self.store.commit(txn, self.deadline).await,
            outcome => outcome,
        };
        match outcome? {
            Commit::Applied { at, .. } => Ok(at),
            Commit::Refused { .. } => Err(RestoreError::Superseded),
        }
    }

    fn op(&self) -> Result<OpId, RestoreError> {
        Ok(OpId(random_array(&mut self.rng.clone())?))
    }
}
