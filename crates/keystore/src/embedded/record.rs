//! The tables of the file and the bytes in them. All numbers are big-endian.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `header` | format u32, identity 16, last revision u64, oldest readable revision u64 |
//! | `meta` | `secrets` | id of the [file of secrets](super::secrets), 16 |
//! | `data` | key | created u64, modified u64, lease u64 (0: none), value |
//! | `history` | key, modified | until u64, created u64, value: the version from `modified` to before `until` |
//! | `log` | revision | wall clock in ms u64, operation 16 (0: none), then for each changed key: length u16, key, previous modified u64 (0: absent), 1 if it exists afterwards |
//! | `ops` | operation | revision |
//! | `leases` | lease | TTL in ms |
//! | `lease_keys` | lease, key | – |
//!
//! After the watch retention, a log record loses its changes, and the versions they replaced are deleted. After the
//! operation retention, the record and its operation are deleted.

use redb::TableDefinition;

use crate::{Bytes, Entry, Key, LeaseId, OpId, Revision, StoreIdentity};

pub(super) const FORMAT: u32 = 1;

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const DATA: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("data");
pub(super) const HISTORY: TableDefinition<'static, (&[u8], u64), &[u8]> = TableDefinition::new("history");
pub(super) const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
pub(super) const OPS: TableDefinition<'static, &[u8; 16], u64> = TableDefinition::new("ops");
pub(super) const LEASES: TableDefinition<'static, u64, u64> = TableDefinition::new("leases");
pub(super) const LEASE_KEYS: TableDefinition<'static, (u64, &[u8]), ()> = TableDefinition::new("lease_keys");

pub(super) const HEADER: &str = "header";
/// Key in `meta` of the id of the file of secrets.
pub(super) const SECRETS: &str = "secrets";

/// The record of `meta`; changes with every commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: StoreIdentity,
    pub(super) revision: Revision,
    pub(super) oldest: Revision,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = FORMAT.to_be_bytes().to_vec();
        out.extend(self.identity.0);
        out.extend(self.revision.0.to_be_bytes());
        out.extend(self.oldest.0.to_be_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (_format, bytes) = u32_from(bytes)?;
        let (identity, bytes) = bytes.split_first_chunk()?;
        let (revision, bytes) = u64_from(bytes)?;
        let (oldest, bytes) = u64_from(bytes)?;
        bytes.is_empty().then_some(Self {
            identity: StoreIdentity(*identity),
            revision: Revision(revision),
            oldest: Revision(oldest),
        })
    }

    /// The format number, with which every version of the header begins.
    pub(super) fn format(bytes: &[u8]) -> Option<u32> {
        u32_from(bytes).map(|(format, _)| format)
    }
}

/// A record of `data`.
#[derive(Clone, Copy)]
pub(super) struct DataRecord<'a> {
    pub(super) created: Revision,
    pub(super) modified: Revision,
    pub(super) lease: Option<LeaseId>,
    pub(super) value: &'a [u8],
}

impl<'a> DataRecord<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.value.len());
        out.extend(self.created.0.to_be_bytes());
        out.extend(self.modified.0.to_be_bytes());
        out.extend(self.lease.map_or(0, |lease| lease.0).to_be_bytes());
        out.extend(self.value);
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (created, bytes) = u64_from(bytes)?;
        let (modified, bytes) = u64_from(bytes)?;
        let (lease, value) = u64_from(bytes)?;
        let lease = (lease != 0).then_some(LeaseId(lease));
        Some(Self { created: Revision(created), modified: Revision(modified), lease, value })
    }

    pub(super) fn entry(&self, key: Key) -> Entry {
        Entry { key, value: Bytes::from(self.value), created: self.created, modified: self.modified }
    }
}

/// A record of `history`.
#[derive(Clone, Copy)]
pub(super) struct HistoryRecord<'a> {
    pub(super) until: Revision,
    pub(super) created: Revision,
    pub(super) value: &'a [u8],
}

impl<'a> HistoryRecord<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.value.len());
        out.extend(self.until.0.to_be_bytes());
        out.extend(self.created.0.to_be_bytes());
        out.extend(self.value);
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (until, bytes) = u64_from(bytes)?;
        let (created, value) = u64_from(bytes)?;
        Some(Self { until: Revision(until), created: Revision(created), value })
    }

    pub(super) fn entry(&self, key: Key, modified: Revision) -> Entry {
        Entry { key, value: Bytes::from(self.value), created: self.created, modified }
    }
}

/// A record of `log`, without its changes.
#[derive(Clone, Copy)]
pub(super) struct LogRecord<'a> {
    pub(super) wall_ms: u64,
    pub(super) op: Option<OpId>,
    changes: &'a [u8],
}

/// The change of one key in a log record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyChange<'a> {
    pub(super) key: &'a [u8],
    pub(super) before: Option<Revision>,
    pub(super) present: bool,
}

impl<'a> LogRecord<'a> {
    pub(super) fn encode(wall_ms: u64, op: Option<OpId>, changes: &[KeyChange<'_>]) -> Vec<u8> {
        let mut out = wall_ms.to_be_bytes().to_vec();
        out.extend(op.map_or([0; 16], |op| op.0));
        for change in changes {
            // Keys are bounded by `MAX_KEY_LEN`.
            out.extend((change.key.len() as u16).to_be_bytes());
            out.extend(change.key);
            out.extend(change.before.unwrap_or_default().0.to_be_bytes());
            out.push(u8::from(change.present));
        }
        out
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (wall_ms, bytes) = u64_from(bytes)?;
        let (op, changes) = bytes.split_first_chunk()?;
        Some(Self { wall_ms, op: (*op != [0; 16]).then_some(OpId(*op)), changes })
    }

    pub(super) fn changes(&self) -> Option<Vec<KeyChange<'a>>> {
        let mut rest = self.changes;
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let (len, bytes) = rest.split_first_chunk()?;
            let (key, bytes) = bytes.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            let (before, bytes) = u64_from(bytes)?;
            let (present, bytes) = bytes.split_first()?;
            changes.push(KeyChange {
                key,
                before: (before != 0).then_some(Revision(before)),
                present: *present == 1,
            });
            rest = bytes;
        }
        Some(changes)
    }
}

fn u32_from(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(n, rest)| (u32::from_be_bytes(*n), rest))
}

fn u64_from(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(n, rest)| (u64::from_be_bytes(*n), rest))
}
