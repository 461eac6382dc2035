//! A store that accepts writes only while something else permits them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use crate::{
    AdoptedSecret, Commit, Deadline, Freshness, Key, Keystore, Lease, LeaseId, Page, Revision, Secret,
    SecretId, SecretOwner, SlotInUse, Snapshot, StoreError, StoreIdentity, Txn, UnnamedSecrets, Write,
};

/// A permission to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WritePermit {
    /// The right to write under which it was given.
    pub epoch: u64,
    /// Whether another store has to have the write before it is acknowledged.
    pub awaits_copy: bool,
}

/// Whether a write may be acknowledged, once that is known.
pub type Acknowledging<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Says whether writes are permitted now.
pub trait WriteGate: Send + Sync + 'static {
    /// A transaction with these writes begins, or another kind of write without any. [`Self::exit`] follows if it is permitted,
    /// whatever its outcome.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; nothing is written.
    fn enter(&self, writes: &[Write]) -> Result<WritePermit, StoreError>;

    /// Whether a write that is in the store, at this revision, may be acknowledged. Waits for that at most as long as `within`.
    fn acknowledge(&self, permit: WritePermit, at: Revision, within: Deadline) -> Acknowledging<'_>;

    /// A write that was permitted has ended.
    fn exit(&self);

    /// Whether writes are permitted now.
    fn is_open(&self) -> bool;
}

/// A store behind a gate. Without one, it is the store itself.
///
/// A write that is permitted and then not acknowledged has an unknown outcome: it is in this store, and the one that accepts
/// writes now may not have it.
pub struct GatedStore<S> {
    store: Arc<S>,
    gate: Option<Arc<dyn WriteGate>>,
}

impl<S> GatedStore<S> {
    /// The store behind a gate.
    #[must_use]
    pub fn new(store: Arc<S>, gate: Arc<dyn WriteGate>) -> Self {
        Self { store, gate: Some(gate) }
    }

    fn is_open(&self) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.is_open())
    }

    fn enter(&self, writes: &[Write]) -> Result<Option<Entered<'_>>, StoreError> {
        let Some(gate) = self.gate.as_deref() else { return Ok(None) };
        let permit = gate.enter(writes)?;
        Ok(Some(Entered { gate, permit }))
    }
}

/// Without a gate.
impl<S> From<Arc<S>> for GatedStore<S> {
    fn from(store: Arc<S>) -> Self {
        Self { store, gate: None }
    }
}

impl<S> Clone for GatedStore<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), gate: self.gate.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for GatedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedStore")
            .field("store", &self.store)
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// A write under way. It ends also when its future is dropped.
struct Entered<'a> {
    gate: &'a dyn WriteGate,
    permit: WritePermit,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.gate.exit();
    }
}

impl<S: Keystore> Keystore for GatedStore<S> {
    type Watch = S::Watch;

    fn identity(&self) -> StoreIdentity {
        self.store.identity()
    }

    async fn get(&self, keys: &[Key], f: Freshness, d: Deadline) -> Result<Snapshot, StoreError> {
        self.store.get(keys, f, d).await
    }

    async fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> Result<Page, StoreError> {
        self.store.scan(range, limit, at, f, d).await
    }

    async fn commit(&self, txn: Txn, d: Deadline) -> Result<Commit, StoreError> {
        let Some(entered) = self.enter(&txn.writes)? else { return self.store.commit(txn, d).await };
        let begun = Instant::now();
        let outcome = self.store.commit(txn, d).await?;
        if let Commit::Applied { at, .. } = outcome {
            let left = Deadline(d.0.saturating_sub(begun.elapsed()));
            if !entered.gate.acknowledge(entered.permit, at, left).await {
                return Err(StoreError::Unknown);
            }
        }
        Ok(outcome)
    }

    async fn watch(&self, range: Range<Key>, after: Revision) -> Result<Self::Watch, StoreError> {
        self.store.watch(range, after).await
    }

    async fn grant(&self, ttl: Duration, d: Deadline) -> Result<Lease, StoreError> {
        let _entered = self.enter(&[])?;
        self.store.grant(ttl, d).await
    }

    async fn renew(&self, lease: LeaseId, d: Deadline) -> Result<Lease, StoreError> {
        self.store.renew(lease, d).await
    }

    async fn revoke(&self, lease: LeaseId, d: Deadline) -> Result<(), StoreError> {
        self.store.revoke(lease, d).await
    }

    async fn draw_secret(&self, owner: SecretOwner, d: Deadline) -> Result<(SecretId, Secret), StoreError> {
        let _entered = self.enter(&[])?;
        self.store.draw_secret(owner, d).await
    }

    fn release_secret(&self, owner: SecretOwner, id: SecretId) {
        self.store.release_secret(owner, id);
    }

    async fn secret(&self, id: SecretId, d: Deadline) -> Result<Option<Secret>, StoreError> {
        self.store.secret(id, d).await
    }

    /// Also while the gate is closed: what names these secrets was deleted before.
    async fn erase_secrets(&self, ids: &[SecretId], d: Deadline) -> Result<(), StoreError> {
        self.store.erase_secrets(ids, d).await
    }

    async fn erase_owner(&self, owner: SecretOwner, d: Deadline) -> Result<(), StoreError> {
        self.store.erase_owner(owner, d).await
    }

    /// None while the gate is closed: another writer's records may be about to name them.
    async fn inherited_secrets(&self, owner: SecretOwner, d: Deadline) -> Result<Vec<SecretId>, StoreError> {
        if self.is_open() { self.store.inherited_secrets(owner, d).await } else { Ok(Vec::new()) }
    }

    async fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        d: Deadline,
    ) -> Result<(), StoreError> {
        let _entered = self.enter(&[])?;
        self.store.adopt_secrets(secrets, in_use, d).await
    }

    /// Nothing while the gate is closed, as [`Self::inherited_secrets`].
    async fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        d: Deadline,
    ) -> Result<usize, StoreError> {
        if self.is_open() { self.store.erase_unnamed(which, named, d).await } else { Ok(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Acknowledging, GatedStore, WriteGate, WritePermit};
    use crate::{
        Commit, Deadline, Freshness, Key, Keystore, MemoryStore, OpId, Revision, SecretOwner, StoreError,
        StoreIdentity, Txn, WallClock, Write,
    };
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::time::Duration;

    const SOON: Deadline = Deadline(Duration::from_secs(5));

    /// Permits so many looks, then none.
    #[derive(Default)]
    struct Gate {
        permits: AtomicI32,
        under_way: AtomicI32,
        acknowledged: AtomicI32,
    }

    impl WriteGate for Gate {
        fn enter(&self, writes: &[Write]) -> Result<WritePermit, StoreError> {
            if !self.is_open() {
                let (epoch, retry_after, reason) = (1, Duration::from_secs(1), "closed".into());
                return Err(StoreError::ReadOnly { epoch, retry_after, reason });
            }
            self.under_way.fetch_add(1, Ordering::SeqCst);
            Ok(WritePermit { epoch: 7, awaits_copy: !writes.is_empty() })
        }

        fn acknowledge(&self, permit: WritePermit, at: Revision, within: Deadline) -> Acknowledging<'_> {
            Box::pin(async move {
                assert_eq!((permit, at.0), (WritePermit { epoch: 7, awaits_copy: true }, 1));
                assert_eq!(self.under_way.load(Ordering::SeqCst), 1, "the write has not ended yet");
                assert!(within.0 <= SOON.0);
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                self.is_open()
            })
        }

        fn exit(&self) {
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }

        fn is_open(&self) -> bool {
            self.permits.fetch_sub(1, Ordering::SeqCst) > 0
        }
    }

    fn store(permits: i32) -> (GatedStore<MemoryStore>, Arc<Gate>) {
        let gate = Arc::new(Gate { permits: permits.into(), ..Gate::default() });
        let store = Arc::new(MemoryStore::new(StoreIdentity([7; 16]), WallClock::system()));
        (GatedStore::new(store, Arc::clone(&gate) as Arc<dyn WriteGate>), gate)
    }

    fn put() -> Txn {
        let write = Write::Put { key: Key::from(*b"k"), value: (*b"v").into(), lease: None };
        Txn { op: OpId([1; 16]), conds: Vec::new(), writes: vec![write] }
    }

    #[tokio::test]
    async fn a_closed_gate_lets_reads_through_and_changes_nothing() {
        let (store, gate) = store(0);
        assert!(matches!(store.commit(put(), SOON).await, Err(StoreError::ReadOnly { epoch: 1, .. })));
        assert!(matches!(
            store.draw_secret(SecretOwner([1; 16]), SOON).await,
            Err(StoreError::ReadOnly { .. })
        ));
        assert!(matches!(store.grant(Duration::from_secs(1), SOON).await, Err(StoreError::ReadOnly { .. })));
        let found = store.get(&[Key::from(*b"k")], Freshness::Linearizable, SOON).await.unwrap();
        assert_eq!((found.at.0, &*found.entries), (0, &[None][..]));
        assert_eq!(gate.under_way.load(Ordering::SeqCst), 0);
        assert_eq!(gate.acknowledged.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_write_that_outlives_its_permission_is_not_acknowledged() {
        let (slow, slow_gate) = store(1);
        assert_eq!(slow.commit(put(), SOON).await, Err(StoreError::Unknown));
        let (quick, gate) = store(2);
        assert!(matches!(quick.commit(put(), SOON).await, Ok(Commit::Applied { .. })));
        assert_eq!(gate.acknowledged.load(Ordering::SeqCst), 1);
        for gate in [slow_gate, gate] {
            assert_eq!(gate.under_way.load(Ordering::SeqCst), 0);
        }
    }
}
