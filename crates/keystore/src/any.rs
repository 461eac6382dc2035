//! A store chosen at run time.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    AdoptedSecret, Commit, CommitStats, Deadline, Freshness, Key, Keystore, Lease, LeaseId, MemoryStore,
    MemoryWatch, Page, RedbStore, RedbWatch, Revision, Secret, SecretId, SecretOwner, SlotInUse, Snapshot,
    StoreError, StoreIdentity, StorePin, Txn, UnnamedSecrets, WatchEvent, WatchStream,
};

/// A store of any kind. [`Keystore`] has async methods, so `dyn Keystore` is not possible.
#[derive(Debug)]
pub enum AnyStore {
    /// A store in memory; its data ends with it.
    Memory(MemoryStore),
    /// A store in a file.
    Redb(RedbStore),
}

/// A watch on an [`AnyStore`].
#[derive(Debug)]
pub enum AnyWatch {
    /// A watch on a store in memory.
    Memory(MemoryWatch),
    /// A watch on a store in a file.
    Redb(RedbWatch),
}

impl AnyStore {
    /// Statistics of commits since the store was opened; `None` for a store in memory.
    #[must_use]
    pub fn commit_stats(&self) -> Option<CommitStats> {
        match self {
            Self::Memory(_) => None,
            Self::Redb(store) => Some(store.commit_stats()),
        }
    }

    /// The pin of the store, if it was opened with one.
    #[must_use]
    pub fn pin(&self) -> Option<Arc<StorePin>> {
        match self {
            Self::Memory(_) => None,
            Self::Redb(store) => store.pin(),
        }
    }
}

/// Calls the same method on the store inside.
macro_rules! dispatch {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            AnyStore::Memory($inner) => $call,
            AnyStore::Redb($inner) => $call,
        }
    };
}

impl Keystore for AnyStore {
    type Watch = AnyWatch;

    fn identity(&self) -> StoreIdentity {
        dispatch!(self, store => store.identity())
    }

    async fn get(&self, keys: &[Key], f: Freshness, d: Deadline) -> Result<Snapshot, StoreError> {
        dispatch!(self, store => store.get(keys, f, d).await)
    }

    async fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> Result<Page, StoreError> {
        dispatch!(self, store => store.scan(range, limit, at, f, d).await)
    }

    async fn commit(&self, txn: Txn, d: Deadline) -> Result<Commit, StoreError> {
        dispatch!(self, store => store.commit(txn, d).await)
    }

    async fn watch(&self, range: Range<Key>, after: Revision) -> Result<AnyWatch, StoreError> {
        match self {
            Self::Memory(store) => store.watch(range, after).await.map(AnyWatch::Memory),
            Self::Redb(store) => store.watch(range, after).await.map(AnyWatch::Redb),
        }
    }

    async fn grant(&self, ttl: Duration, d: Deadline) -> Result<Lease, StoreError> {
        dispatch!(self, store => store.grant(ttl, d).await)
    }

    async fn renew(&self, lease: LeaseId, d: Deadline) -> Result<Lease, StoreError> {
        dispatch!(self, store => store.renew(lease, d).await)
    }

    async fn revoke(&self, lease: LeaseId, d: Deadline) -> Result<(), StoreError> {
        dispatch!(self, store => store.revoke(lease, d).await)
    }

    async fn draw_secret(&self, owner: SecretOwner, d: Deadline) -> Result<(SecretId, Secret), StoreError> {
        dispatch!(self, store => store.draw_secret(owner, d).await)
    }

    fn release_secret(&self, owner: SecretOwner, id: SecretId) {
        dispatch!(self, store => store.release_secret(owner, id));
    }

    async fn secret(&self, id: SecretId, d: Deadline) -> Result<Option<Secret>, StoreError> {
        dispatch!(self, store => store.secret(id, d).await)
    }

    async fn erase_secrets(&self, ids: &[SecretId], d: Deadline) -> Result<(), StoreError> {
        dispatch!(self, store => store.erase_secrets(ids, d).await)
    }

    async fn erase_owner(&self, owner: SecretOwner, d: Deadline) -> Result<(), StoreError> {
        dispatch!(self, store => store.erase_owner(owner, d).await)
    }

    async fn inherited_secrets(&self, owner: SecretOwner, d: Deadline) -> Result<Vec<SecretId>, StoreError> {
        dispatch!(self, store => store.inherited_secrets(owner, d).await)
    }

    async fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        d: Deadline,
    ) -> Result<(), StoreError> {
        dispatch!(self, store => store.adopt_secrets(secrets, in_use, d).await)
    }

    async fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        d: Deadline,
    ) -> Result<usize, StoreError> {
        dispatch!(self, store => store.erase_unnamed(which, named, d).await)
    }
}

impl WatchStream for AnyWatch {
    async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        match self {
            Self::Memory(watch) => watch.next().await,
            Self::Redb(watch) => watch.next().await,
        }
    }
}
