//! The contract of a store: its types and traits.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::{AdoptedSecret, Secret, SecretId, SecretOwner, SlotInUse, StoreError, UnnamedSecrets};

/// Immutable shared bytes.
pub type Bytes = Arc<[u8]>;

/// A key: 1 to [`crate::MAX_KEY_LEN`] bytes, ordered bytewise. The bound of a range may have any length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

/// Position of a commit. Strictly increasing within one store identity; revisions of different identities cannot be
/// compared. Revision 0 is the empty store before its first transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Identity of a store's data. It changes when the data may be older than before, after a restore or re-creation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreIdentity(pub [u8; 16]);

/// Identifier of an operation, chosen by the caller and unique forever. A retry has the identifier of the first attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub [u8; 16]);

/// Longest time that a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Duration);

/// Identifier of a lease, never reused within one store identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A key with its value and revisions.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key of the entry.
    pub key: Key,
    /// The value, at most [`crate::MAX_VALUE_LEN`] bytes.
    pub value: Bytes,
    /// Revision at which the key was created, after its last deletion if there was one.
    pub created: Revision,
    /// Revision at which the value was last written.
    pub modified: Revision,
}

/// A condition of a transaction.
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
    /// Sets a value. With a lease, the key is deleted when the lease ends. Without one it stays until it is deleted, even if
    /// an earlier write of it had a lease.
    Put {
        /// The key to write.
        key: Key,
        /// The value, at most [`crate::MAX_VALUE_LEN`] bytes; may be empty.
        value: Bytes,
        /// The lease that the key is attached to.
        lease: Option<LeaseId>,
    },
    /// Deletes a key. Has no effect, and watches see no change, if the key does not exist.
    Delete(Key),
}

/// A conditional transaction: if all conditions hold, all writes are applied at the same revision; otherwise none is.
///
/// A key has at most one condition and at most one write in a transaction. Without conditions the writes are always
/// applied; a transaction without writes only takes a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Identifier of the operation.
    pub op: OpId,
    /// Conditions, checked in this order; the first that does not hold is reported.
    pub conds: Vec<Cond>,
    /// Writes, applied together.
    pub writes: Vec<Write>,
}

/// Outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The transaction is applied and durable.
    Applied {
        /// Revision of the transaction.
        at: Revision,
        /// Whether an earlier attempt with the same [`OpId`] had applied it; this attempt changed nothing.
        replayed: bool,
    },
    /// A condition did not hold. Nothing was applied, and the [`OpId`] may be used again.
    Refused {
        /// Index of the first condition that did not hold.
        index: usize,
        /// Current entry of its key.
        now: Option<Entry>,
        /// Revision at which the conditions were checked.
        at: Revision,
    },
}

/// Which state a read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// A state that includes every commit acknowledged before the read began.
    Linearizable,
    /// A local state of this revision or later. Later reads by the same handle never return an older state.
    AtLeast(Revision),
}

/// Several keys at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision.
    pub at: Revision,
    /// The entries of the requested keys, in the order of the request.
    pub entries: Vec<Option<Entry>>,
}

/// A part of a range at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The revision; pass it as `at` to read the next page of the same state.
    pub at: Revision,
    /// Entries in key order: at most the requested number, and at most [`crate::MAX_PAGE_LEN`] bytes.
    pub entries: Vec<Entry>,
    /// First key of the next page; `None` after the last page.
    pub next: Option<Key>,
}

/// The change of one key in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key of the entry.
    pub key: Key,
    /// The new entry; `None` if the key was deleted.
    pub now: Option<Entry>,
}

/// All changes of one transaction within the watched range, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Revision of the transaction.
    pub at: Revision,
    /// Never empty.
    pub changes: Vec<Change>,
}

/// A lease as granted or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Identifier of the lease.
    pub id: LeaseId,
    /// Duration of the lease, from the time at which the grant or renewal was sent; never shorter than requested.
    pub ttl: Duration,
}

/// An event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The changes of a transaction.
    Batch(Batch),
    /// All changes up to this revision were delivered. Sent at least every second while there are none.
    Progress(Revision),
}

/// A durable, ordered, watchable map with conditional transactions.
///
/// | promise | detail |
/// |---|---|
/// | commits | strictly serializable: one total order, consistent with real time; applied as a whole or not at all, also after a crash |
/// | durability | on stable storage before it is acknowledged |
/// | snapshots | all keys of one [`get`](Self::get), and all pages of one scan given `at`, are of one revision |
/// | retries | the [`OpId`] of a commit is remembered for 24 h; a repeated commit returns the outcome of the first |
/// | history | watches and scans reach back at least one hour |
/// | secrets | a secret is durable when it is drawn, and gone when its erasure returns |
/// | leases | keys are deleted no earlier than the TTL after the last successful renewal was sent; possibly later |
/// | cancellation | when a future is dropped, its operation is applied as a whole or not at all |
///
/// A lease is not a lock: mutual exclusion needs a condition on a revision in the same transaction. The limits are the same
/// for every store ([`crate::Limit`]).
///
/// The methods must be called within a tokio runtime with time enabled.
pub trait Keystore: Send + Sync + 'static {
    /// The store's type of watch.
    type Watch: WatchStream;

    /// Identity of the data, to which all revisions of this handle belong.
    fn identity(&self) -> StoreIdentity;

    /// Reads up to [`crate::MAX_KEYS_PER_READ`] keys at one revision.
    ///
    /// # Errors
    /// [`StoreError::IdentityChanged`] when `f` asks for a revision that was never reached in this identity.
    fn get(
        &self,
        keys: &[Key],
        f: Freshness,
        d: Deadline,
    ) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;

    /// Reads the first `limit` entries (1 to [`crate::MAX_PAGE_ENTRIES`]) of a range, at the newest revision or at `at`. A
    /// range whose end is not after its start is empty.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the history of `at` is no longer kept.
    fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Checks the conditions and applies the writes.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] when the conditions hold and a write names a lease that has ended; nothing was applied.
    fn commit(&self, txn: Txn, d: Deadline) -> impl Future<Output = Result<Commit, StoreError>> + Send;

    /// Watches the changes in a range after a revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the history since `after` is no longer kept; the stream returns it if it falls behind.
    /// [`StoreError::IdentityChanged`] when `after` was never reached in this identity.
    fn watch(
        &self,
        range: Range<Key>,
        after: Revision,
    ) -> impl Future<Output = Result<Self::Watch, StoreError>> + Send;

    /// Grants a lease of at most [`crate::MAX_LEASE_TTL`].
    fn grant(&self, ttl: Duration, d: Deadline) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Extends a lease to its full TTL from now on.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] when it has ended.
    fn renew(&self, lease: LeaseId, d: Deadline) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Ends a lease. All keys attached to it are deleted at one revision.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] when it has ended already.
    fn revoke(&self, lease: LeaseId, d: Deadline) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Draws a secret, which is durable when it is returned. Values that are encrypted under it are lost with it.
    fn draw_secret(
        &self,
        owner: SecretOwner,
        d: Deadline,
    ) -> impl Future<Output = Result<(SecretId, Secret), StoreError>> + Send;

    /// Stores secrets that another store has drawn, each under its identifier there: all of them, durably, when this returns, or
    /// none. One that the store has already is kept. An identifier that was erased here may be adopted again. A slot that is
    /// damaged is repaired.
    ///
    /// An adopted secret is as new as one that was drawn at this moment, also if the store had it before: it is not
    /// [inherited](Self::inherited_secrets) before the store is opened again. A later [`draw_secret`](Self::draw_secret) never
    /// returns its identifier.
    ///
    /// # Errors
    /// [`StoreError::SecretConflict`] when a slot is in use by another secret and `in_use` does not permit to replace it,
    /// [`StoreError::TooLarge`] for an identifier out of range or one that is listed twice.
    fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        d: Deadline,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes back a drawn secret under which nothing durable was encrypted. It may be drawn again.
    fn release_secret(&self, owner: SecretOwner, id: SecretId);

    /// Reads a secret; `None` if it was erased.
    fn secret(
        &self,
        id: SecretId,
        d: Deadline,
    ) -> impl Future<Output = Result<Option<Secret>, StoreError>> + Send;

    /// Erases secrets: when this returns, the store has them nowhere, not even where a later write has not come yet. Backups of
    /// the store still have them. Secrets that were erased before are skipped; one that the store never had is remembered as
    /// erased, as long as its slot is in use by no other.
    ///
    /// What refers to a secret is deleted first, durably: a crash in between leaves a secret that nothing refers to, which
    /// [`inherited_secrets`](Self::inherited_secrets) finds.
    fn erase_secrets(
        &self,
        ids: &[SecretId],
        d: Deadline,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Erases all secrets of an owner.
    fn erase_owner(
        &self,
        owner: SecretOwner,
        d: Deadline,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Secrets of an owner that were drawn or adopted so long ago, at least before this handle was opened, that no write under
    /// way can refer to them. Those that nothing refers to remain from an interruption, and are to be erased.
    fn inherited_secrets(
        &self,
        owner: SecretOwner,
        d: Deadline,
    ) -> impl Future<Output = Result<Vec<SecretId>, StoreError>> + Send;

    /// Erases secrets that are not in `named`. Returns their number. Decides and erases in one step: a secret that is adopted
    /// again meanwhile is not erased.
    fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        d: Deadline,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send;
}

/// A running watch. Delivers every transaction once, complete and in order.
pub trait WatchStream: Send {
    /// Waits for the next event. Dropping the future loses no event.
    ///
    /// # Errors
    /// After an error the stream delivers nothing more; start another watch.
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

    fn draw_secret(
        &self,
        owner: SecretOwner,
        d: Deadline,
    ) -> impl Future<Output = Result<(SecretId, Secret), StoreError>> + Send {
        K::draw_secret(self, owner, d)
    }

    fn release_secret(&self, owner: SecretOwner, id: SecretId) {
        K::release_secret(self, owner, id);
    }

    fn secret(
        &self,
        id: SecretId,
        d: Deadline,
    ) -> impl Future<Output = Result<Option<Secret>, StoreError>> + Send {
        K::secret(self, id, d)
    }

    fn erase_secrets(
        &self,
        ids: &[SecretId],
        d: Deadline,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        K::erase_secrets(self, ids, d)
    }

    fn erase_owner(
        &self,
        owner: SecretOwner,
        d: Deadline,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        K::erase_owner(self, owner, d)
    }

    fn inherited_secrets(
        &self,
        owner: SecretOwner,
        d: Deadline,
    ) -> impl Future<Output = Result<Vec<SecretId>, StoreError>> + Send {
        K::inherited_secrets(self, owner, d)
    }

    fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        d: Deadline,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        K::adopt_secrets(self, secrets, in_use, d)
    }

    fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        d: Deadline,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send {
        K::erase_unnamed(self, which, named, d)
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
        // The prefix consists of 0xff bytes: the end is a run of 0xff longer than any key, which sorts after all of them.
        Self(prefix.into())..Self(vec![0xff; crate::MAX_KEY_LEN + 1].into())
    }
}

impl Cond {
    /// The key that the condition tests.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Unchanged(key, _) => key,
        }
    }

    /// Whether the condition holds. `modified` is the revision at which the key was last written; `None` if it does not exist.
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
    /// The key that is written.
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

/// Prints the length of the value only, because it may be secret.
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
    fn a_prefix_range_ends_at_the_next_prefix() {
        assert_eq!(Key::with_prefix(b"i/a/"), Key::from(*b"i/a/")..Key::from(*b"i/a0"));
        assert_eq!(Key::with_prefix(b"a\xff\xff").end, Key::from(*b"b"));
    }

    #[test]
    fn a_prefix_without_successor_covers_all_longer_keys() {
        let longest = Key::from(vec![0xff; crate::MAX_KEY_LEN]);
        assert!(Key::with_prefix(b"\xff").contains(&longest));
        assert!(Key::with_prefix(b"").contains(&longest));
    }
}
