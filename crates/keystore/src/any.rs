//! A store chosen at run time.

use std::ops::Range;
use std::time::Duration;

use crate::{
    Commit, Deadline, Freshness, Key, Keystore, Lease, LeaseId, MemoryStore, MemoryWatch, Page, RedbStore,
    RedbWatch, Revision, Snapshot, StoreError, StoreIdentity, Txn, WatchEvent, WatchStream,
};

/// Any of the stores. The trait has async methods and cannot be made into an object; this can be named instead.
#[derive(Debug)]
pub enum AnyStore {
    /// In memory, gone with the process.
    Memory(MemoryStore),
    /// In one file.
    Redb(RedbStore),
}

/// A watch of an [`AnyStore`].
#[derive(Debug)]
pub enum AnyWatch {
    /// Of a store in memory.
    Memory(MemoryWatch),
    /// Of a store in a file.
    Redb(RedbWatch),
}

macro_rules! each {
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
        each!(self, store => store.identity())
    }

    async fn get(&self, keys: &[Key], f: Freshness, d: Deadline) -> Result<Snapshot, StoreError> {
        each!(self, store => store.get(keys, f, d).await)
    }

    async fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> Result<Page, StoreError> {
        each!(self, store => store.scan(range, limit, at, f, d).await)
    }

    async fn commit(&self, txn: Txn, d: Deadline) -> Result<Commit, StoreError> {
        each!(self, store => store.commit(txn, d).await)
    }

    async fn watch(&self, range: Range<Key>, after: Revision) -> Result<AnyWatch, StoreError> {
        match self {
            Self::Memory(store) => store.watch(range, after).await.map(AnyWatch::Memory),
            Self::Redb(store) => store.watch(range, after).await.map(AnyWatch::Redb),
        }
    }

    async fn grant(&self, ttl: Duration, d: Deadline) -> Result<Lease, StoreError> {
        each!(self, store => store.grant(ttl, d).await)
    }

    async fn renew(&self, lease: LeaseId, d: Deadline) -> Result<Lease, StoreError> {
        each!(self, store => store.renew(lease, d).await)
    }

    async fn revoke(&self, lease: LeaseId, d: Deadline) -> Result<(), StoreError> {
        each!(self, store => store.revoke(lease, d).await)
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
