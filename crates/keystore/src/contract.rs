//! What a store promises: types and traits, nothing that runs.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::StoreError;

/// Bytes that are shared, never changed.
pub type Bytes = Arc<[u8]>;

/// A key: 1 to [`crate::MAX_KEY_LEN`] bytes, ordered by bytes. As the bound of a range it may have any length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

/// A commit position: strictly increasing within one store identity, meaningless across two.
///
/// Revision 0 is the empty store before its first transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Changes when the data may have gone back in time (restore, re-creation).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreIdentity(pub [u8; 16]);

/// Chosen by the caller, unique for ever; the same id means the same intention.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub [u8; 16]);

/// The time that remains. Implementations never wait longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Duration);

/// The name of a lease, never used twice within one store identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A key with its value and the revisions that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value, at most [`crate::MAX_VALUE_LEN`] bytes.
    pub value: Bytes,
    /// When the key last came into being.
    pub created: Revision,
    /// When the value was last written.
    pub modified: Revision,
}

/// What has to hold for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cond {
    /// The key does not exist.
    Absent(Key),
    /// The key exists.
    Present(Key),
    /// The key exists and was last written at this revision.
    Unchanged(Key, Revision),
}

/// One write of a transaction.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value. With a lease the key vanishes when the lease ends; without one it stays until deleted, also
    /// when an earlier write of it had a lease.
    Put {
        /// What to write.
        key: Key,
        /// The value, at most [`crate::MAX_VALUE_LEN`] bytes; may be empty.
        value: Bytes,
        /// The lease to hang the key on.
        lease: Option<LeaseId>,
    },
    /// Removes a key. Nothing happens, and nothing is told to watches, if it does not exist.
    Delete(Key),
}

/// All conditions hold at one instant and all writes happen at that instant, or nothing happens.
///
/// A key has at most one condition and at most one write in a transaction. Without conditions the writes happen
/// in any case; without writes the transaction only takes a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// The caller's name for this intention.
    pub op: OpId,
    /// Checked in order; the first that fails is reported.
    pub conds: Vec<Cond>,
    /// Done together.
    pub writes: Vec<Write>,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It happened, and is durable.
    Applied {
        /// Its revision.
        at: Revision,
        /// It had already been applied by an earlier attempt, at `at`; nothing happened now.
        replayed: bool,
    },
    /// A condition did not hold; nothing happened and nothing is remembered.
    Refused {
        /// The first condition that did not hold.
        index: usize,
        /// What stands under its key instead.
        now: Option<Entry>,
        /// The revision at which it was looked at.
        at: Revision,
    },
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Shows every commit that was acknowledged before the read began.
    Linearizable,
    /// A local answer, no older than this revision; never goes backwards within one handle.
    AtLeast(Revision),
}

/// Several keys as they stood at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// That revision.
    pub at: Revision,
    /// One for each key asked for, in that order.
    pub entries: Vec<Option<Entry>>,
}

/// A part of a range as it stood at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// That revision; give it as `at` to get the next page of the same state.
    pub at: Revision,
    /// In order of key: at most as many as asked for and at most [`crate::MAX_PAGE_LEN`] bytes.
    pub entries: Vec<Entry>,
    /// Where the next page starts; none when the range is exhausted.
    pub next: Option<Key>,
}

/// What became of one key in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What it was changed to; none when it was removed.
    pub now: Option<Entry>,
}

/// One transaction's changes within the range watched, whole, in order of key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The transaction's revision.
    pub at: Revision,
    /// Never empty.
    pub changes: Vec<Change>,
}

/// A lease as granted or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lasts from the moment the grant or the renewal was sent; never less than was asked for.
    pub ttl: Duration,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A transaction that touched the range.
    Batch(Batch),
    /// Everything up to here has been delivered. Repeated at least every second while nothing happens.
    Progress(Revision),
}

/// A durable, ordered, watchable map with conditional transactions.
///
/// | promise | detail |
/// |---|---|
/// | commits | strict serializable: one total order, consistent with real time; whole or nothing after any crash |
/// | durability | on stable storage before it is acknowledged |
/// | snapshots | all keys of one [`get`](Self::get), and all pages of one scan given `at`, are of one revision |
/// | retries | a commit leaves a record of its [`OpId`] for 24 h; whoever repeats it within that time is told of the first |
/// | history | watches and scans reach back at least one hour |
/// | leases | keys vanish no earlier than the TTL after the last successful renewal was sent; maybe later |
/// | cancelling | dropping a future leaves an operation done or not done, never half done |
///
/// A lease is never a lock: exclusion needs a condition on a revision in the same transaction. Limits are the
/// same for every store ([`crate::Limit`]).
///
/// The methods have to be called within a tokio runtime with time enabled.
pub trait Keystore: Send + Sync + 'static {
    /// The store's watches.
    type Watch: WatchStream;

    /// The identity under which every revision of this handle is to be understood.
    fn identity(&self) -> StoreIdentity;

    /// Reads up to [`crate::MAX_KEYS_PER_READ`] keys at one revision.
    fn get(
        &self,
        keys: &[Key],
        f: Freshness,
        d: Deadline,
    ) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Reads the first `limit` (1 to [`crate::MAX_PAGE_ENTRIES`]) entries of a range, now or as it stood `at` a
    /// revision within the retention window. A range whose end is not after its start is empty.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when `at` is no longer kept.
    fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Checks the conditions and does the writes.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] when a write names a lease that has ended; the conditions held, nothing happened.
    fn commit(&self, txn: Txn, d: Deadline) -> impl Future<Output = Result<Commit, StoreError>> + Send;

    /// Tells what happens in a range after a revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the history since `after` is no longer kept, now or later from the stream.
    /// [`StoreError::IdentityChanged`] when `after` has not happened yet: it is of another identity.
    fn watch(
        &self,
        range: Range<Key>,
        after: Revision,
    ) -> impl Future<Output = Result<Self::Watch, StoreError>> + Send;

    /// Makes a lease of at most [`crate::MAX_LEASE_TTL`].
    fn grant(&self, ttl: Duration, d: Deadline) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Makes a lease last its whole TTL from now on.
    fn renew(&self, lease: LeaseId, d: Deadline) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Ends a lease; whatever hung on it is gone, at one revision.
    fn revoke(&self, lease: LeaseId, d: Deadline) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A running watch: whole transactions in order, none lost, none twice.
pub trait WatchStream: Send {
    /// The next event. Dropping the future before it is done loses nothing.
    ///
    /// # Errors
    /// After an error the stream gives nothing more; begin another one.
    fn next(&mut self) -> impl Future<Output = Result<WatchEvent, StoreError>> + Send;
}

impl<K: Keystore> Keystore for Arc<K> {
    type Watch = K::Watch;

    fn identity(&self) -> StoreIdentity {
        K::identity(self)
    }

    fn get(
        &self,
        keys: &[Key],
        f: Freshness,
        d: Deadline,
    ) -> impl Future<Output = Result<Snapshot, StoreError>> + Send {
        K::get(self, keys, f, d)
    }

    fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send {
        K::scan(self, range, limit, at, f, d)
    }

    fn commit(&self, txn: Txn, d: Deadline) -> impl Future<Output = Result<Commit, StoreError>> + Send {
        K::commit(self, txn, d)
    }

    fn watch(
        &self,
        range: Range<Key>,
        after: Revision,
    ) -> impl Future<Output = Result<Self::Watch, StoreError>> + Send {
        K::watch(self, range, after)
    }

    fn grant(&self, ttl: Duration, d: Deadline) -> impl Future<Output = Result<Lease, StoreError>> + Send {
        K::grant(self, ttl, d)
    }

    fn renew(&self, lease: LeaseId, d: Deadline) -> impl Future<Output = Result<Lease, StoreError>> + Send {
        K::renew(self, lease, d)
    }

    fn revoke(&self, lease: LeaseId, d: Deadline) -> impl Future<Output = Result<(), StoreError>> + Send {
        K::revoke(self, lease, d)
    }
}

impl Key {
    /// All keys that begin with `prefix`. An empty prefix means every key.
    #[must_use]
    pub fn with_prefix(prefix: &[u8]) -> Range<Self> {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return Self(prefix.into())..Self(end.into());
            }
        }
        // Nothing sorts after a run of 0xff as long as the longest key but the same run, one longer.
        Self(prefix.into())..Self(vec![0xff; crate::MAX_KEY_LEN + 1].into())
    }
}

impl Cond {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Unchanged(key, _) => key,
        }
    }

    /// Whether it holds where `modified` is when the key was last written, if it exists.
    #[must_use]
    pub fn holds(&self, modified: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => modified.is_none(),
            Self::Present(_) => modified.is_some(),
            Self::Unchanged(_, at) => modified == Some(*at),
        }
    }
}

impl Write {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete(key) => key,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Key {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// Values are the caller's secret or not; only their length is shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value_len", &self.value.len())
            .field("created", &self.created.0)
            .field("modified", &self.modified.0)
            .finish()
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, lease } => f
                .debug_struct("Put")
                .field("key", key)
                .field("value_len", &value.len())
                .field("lease", lease)
                .finish(),
            Self::Delete(key) => f.debug_tuple("Delete").field(key).finish(),
        }
    }
}

impl fmt::Debug for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreIdentity({self})")
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpId({:032x})", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn prefix_ends_where_the_next_one_begins() {
        assert_eq!(Key::with_prefix(b"i/a/"), Key::from(*b"i/a/")..Key::from(*b"i/a0"));
        assert_eq!(Key::with_prefix(b"a\xff\xff").end, Key::from(*b"b"));
    }

    #[test]
    fn prefix_without_a_successor_reaches_to_the_end() {
        let longest = Key::from(vec![0xff; crate::MAX_KEY_LEN]);
        assert!(Key::with_prefix(b"\xff").contains(&longest));
        assert!(Key::with_prefix(b"").contains(&longest));
    }
}
