//! Applying changes to one write transaction, in order.

use redb::{ReadableTable, Table, WriteTransaction};

use super::disk::DiskError;
use super::record::{
    DATA, DataRecord, HEADER, HISTORY, Header, HistoryRecord, KeyChange, LEASE_KEYS, LEASES, LOG, LogRecord,
    META, OPS,
};
use crate::clock::is_past;
use crate::{Commit, Key, LeaseId, OP_RETENTION, OpId, Revision, StoreError, Txn, WATCH_RETENTION, Write};

/// Most log records that one commit trims of each kind. Longer backlogs are trimmed by several commits.
const TRIM_CHUNK: usize = 256;

/// A change requested from the committer. The answer has the revision at which it was applied.
#[derive(Debug)]
pub(super) enum Request {
    Commit(Txn),
    Grant { id: LeaseId, ttl_ms: u64 },
    Revoke(Vec<LeaseId>),
}

impl Request {
    /// The operation, if a retry has to be recognised.
    pub(super) const fn op(&self) -> Option<OpId> {
        match self {
            Self::Commit(txn) => Some(txn.op),
            Self::Grant { .. } | Self::Revoke(_) => None,
        }
    }

    /// Whether the change only deletes, so that a full store accepts it.
    pub(super) fn only_deletes(&self) -> bool {
        match self {
            Self::Commit(txn) => txn.writes.iter().all(|write| matches!(write, Write::Delete(_))),
            Self::Grant { .. } => false,
            Self::Revoke(_) => true,
        }
    }
}

/// The answer to the request, or the error that aborts the whole write transaction.
type Answer = Result<Result<Commit, StoreError>, DiskError>;

/// The open tables of a write transaction.
pub(super) struct WriteBatch<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    data: Table<'t, &'static [u8], &'static [u8]>,
    history: Table<'t, (&'static [u8], u64), &'static [u8]>,
    log: Table<'t, u64, &'static [u8]>,
    ops: Table<'t, &'static [u8; 16], u64>,
    leases: Table<'t, u64, u64>,
    lease_keys: Table<'t, (u64, &'static [u8]), ()>,
    header: Header,
    wall_ms: u64,
    changed: bool,
}

impl<'t> WriteBatch<'t> {
    pub(super) fn open(txn: &'t WriteTransaction, header: Header, wall_ms: u64) -> Result<Self, DiskError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            data: txn.open_table(DATA)?,
            history: txn.open_table(HISTORY)?,
            log: txn.open_table(LOG)?,
            ops: txn.open_table(OPS)?,
            leases: txn.open_table(LEASES)?,
            lease_keys: txn.open_table(LEASE_KEYS)?,
            header,
            wall_ms,
            changed: false,
        })
    }

    /// Applies one request, or refuses it without any change.
    pub(super) fn run(&mut self, request: &Request) -> Answer {
        match request {
            Request::Commit(txn) => self.commit(txn),
            Request::Grant { id, ttl_ms } => {
                self.leases.insert(id.0, ttl_ms)?;
                self.changed = true;
                Ok(Ok(Commit::Applied { at: self.header.revision, replayed: false }))
            }
            Request::Revoke(ids) => self.revoke(ids),
        }
    }

    /// Answers a request that is refused because the disk is full. A retry of an applied operation gets its outcome.
    pub(super) fn refuse_as_full(&self, request: &Request) -> Answer {
        let earlier = match request {
            Request::Commit(txn) => self.replay(txn.op)?,
            Request::Grant { .. } | Request::Revoke(_) => None,
        };
        Ok(earlier.ok_or(StoreError::Full))
    }

    fn replay(&self, op: OpId) -> Result<Option<Commit>, DiskError> {
        let at = self.ops.get(&op.0)?;
        Ok(at.map(|at| Commit::Applied { at: Revision(at.value()), replayed: true }))
    }

    /// Trims the history and writes the header. Returns the header, or `None` if there is nothing to commit.
    pub(super) fn finish(mut self) -> Result<Option<Header>, DiskError> {
        if !self.changed {
            return Ok(None);
        }
        self.trim_history()?;
        self.trim_operations()?;
        self.meta.insert(HEADER, self.header.encode().as_slice())?;
        Ok(Some(self.header))
    }

    fn commit(&mut self, txn: &Txn) -> Answer {
        if let Some(earlier) = self.replay(txn.op)? {
            return Ok(Ok(earlier));
        }
        for (index, cond) in txn.conds.iter().enumerate() {
            let key = cond.key();
            let bytes = self.data.get(&*key.0)?;
            let live = bytes
                .as_ref()
                .map(|b| DataRecord::decode(b.value()).ok_or(DiskError::Record("data")))
                .transpose()?;
            if !cond.holds(live.map(|live| live.modified)) {
                let now = live.map(|live| live.entry(key.clone()));
                return Ok(Ok(Commit::Refused { index, now, at: self.header.revision }));
            }
        }
        for write in &txn.writes {
            if let Write::Put { lease: Some(lease), .. } = write
                && self.leases.get(lease.0)?.is_none()
            {
                return Ok(Err(StoreError::LeaseGone));
            }
        }
        let at = self.apply(Some(txn.op), &txn.writes)?;
        self.ops.insert(&txn.op.0, at.0)?;
        Ok(Ok(Commit::Applied { at, replayed: false }))
    }

    /// Ends those of the leases that exist, and deletes their keys at one revision.
    fn revoke(&mut self, ids: &[LeaseId]) -> Answer {
        let mut found = false;
        let mut deletes = Vec::new();
        for id in ids {
            if self.leases.remove(id.0)?.is_none() {
                continue;
            }
            found = true;
            for item in self.lease_keys.range((id.0, &[][..])..)? {
                let (entry, _) = item?;
                let (lease, key) = entry.value();
                if lease != id.0 {
                    break;
                }
                deletes.push(Write::Delete(Key::from(key)));
            }
        }
        if !found {
            return Ok(Err(StoreError::LeaseGone));
        }
        self.changed = true;
        let at = if deletes.is_empty() { self.header.revision } else { self.apply(None, &deletes)? };
        Ok(Ok(Commit::Applied { at, replayed: false }))
    }

    fn apply(&mut self, op: Option<OpId>, writes: &[Write]) -> Result<Revision, DiskError> {
        let at = Revision(self.header.revision.0.checked_add(1).ok_or(DiskError::Record("header"))?);
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            let key = &*write.key().0;
            let (before, created) = self.replace(key, at)?;
            let present = match write {
                Write::Put { value, lease, .. } => {
                    let record =
                        DataRecord { created: created.unwrap_or(at), modified: at, lease: *lease, value };
                    self.data.insert(key, record.encode().as_slice())?;
                    if let Some(lease) = lease {
                        self.lease_keys.insert((lease.0, key), ())?;
                    }
                    true
                }
                Write::Delete(_) if before.is_none() => continue,
                Write::Delete(_) => false,
            };
            changes.push(KeyChange { key, before, present });
        }
        changes.sort_unstable();
        self.log.insert(at.0, LogRecord::encode(self.wall_ms, op, &changes).as_slice())?;
        self.header.revision = at;
        self.changed = true;
        Ok(at)
    }

    /// Moves the entry of a key to the history and detaches it from its lease. Returns the revisions at which it was last
    /// written and created.
    fn replace(
        &mut self,
        key: &[u8],
        until: Revision,
    ) -> Result<(Option<Revision>, Option<Revision>), DiskError> {
        let Some(bytes) = self.data.remove(key)? else { return Ok((None, None)) };
        let live = DataRecord::decode(bytes.value()).ok_or(DiskError::Record("data"))?;
        let history = HistoryRecord { until, created: live.created, value: live.value };
        self.history.insert((key, live.modified.0), history.encode().as_slice())?;
        if let Some(lease) = live.lease {
            self.lease_keys.remove((lease.0, key))?;
        }
        Ok((Some(live.modified), Some(live.created)))
    }

    /// Deletes the changes of transactions older than the watch retention, and the versions that they replaced.
    fn trim_history(&mut self) -> Result<(), DiskError> {
        for _ in 0..TRIM_CHUNK {
            let next = self.header.oldest.0.saturating_add(1);
            let (op, wall_ms, replaced) = {
                let Some(bytes) = self.log.get(next)? else { return Ok(()) };
                let record = LogRecord::decode(bytes.value()).ok_or(DiskError::Record("log"))?;
                if !is_past(record.wall_ms, WATCH_RETENTION, self.wall_ms) {
                    return Ok(());
                }
                let changes = record.changes().ok_or(DiskError::Record("log"))?;
                let replaced: Vec<_> =
                    changes.iter().filter_map(|c| c.before.map(|before| (c.key.to_vec(), before))).collect();
                (record.op, record.wall_ms, replaced)
            };
            for (key, modified) in &replaced {
                self.history.remove((key.as_slice(), modified.0))?;
            }
            if op.is_some() {
                self.log.insert(next, LogRecord::encode(wall_ms, op, &[]).as_slice())?;
            } else {
                self.log.remove(next)?;
            }
            self.header.oldest = Revision(next);
        }
        Ok(())
    }

    /// Deletes operations older than the operation retention.
    fn trim_operations(&mut self) -> Result<(), DiskError> {
        for _ in 0..TRIM_CHUNK {
            let (at, op) = {
                let Some((at, bytes)) = self.log.first()? else { return Ok(()) };
                let record = LogRecord::decode(bytes.value()).ok_or(DiskError::Record("log"))?;
                if at.value() > self.header.oldest.0 || !is_past(record.wall_ms, OP_RETENTION, self.wall_ms) {
                    return Ok(());
                }
                (at.value(), record.op)
            };
            if let Some(op) = op {
                self.ops.remove(&op.0)?;
            }
            self.log.remove(at)?;
        }
        Ok(())
    }
}
