//! The reference model: every version of every key in ordered maps, behind one lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock::is_past;
use crate::lease::LeaseTimers;
use crate::watch::{Cursor, Log};
use crate::{
    AdoptedSecret, Batch, Bytes, Change, Commit, Deadline, Entry, Freshness, Key, Keystore, Lease, LeaseId,
    Limit, MAX_PAGE_LEN, MAX_SECRETS, OP_RETENTION, OpId, Page, Revision, Secret, SecretId, SecretOwner,
    SlotInUse, Snapshot, StoreError, StoreIdentity, Txn, UnnamedSecrets, WATCH_RETENTION, WallClock,
    WatchEvent, WatchStream, Write, limits,
};

/// A store in memory, for tests and simulations, and the model that other stores are compared with. Its data ends with it.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    lease_task: OnceLock<AbortHandle>,
}

/// A watch on a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryWatch(Cursor<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    tip: watch::Sender<Revision>,
    lease_timers: Arc<LeaseTimers>,
    wall: WallClock,
}

#[derive(Debug)]
struct State {
    identity: StoreIdentity,
    revision: Revision,
    /// Oldest revision that can be read.
    oldest: Revision,
    /// The versions of each key by revision; `None` for a deletion.
    versions: BTreeMap<Key, BTreeMap<Revision, Option<Version>>>,
    /// Time of each transaction, in milliseconds of the wall clock, and the keys it changed.
    log: BTreeMap<Revision, (u64, Vec<Key>)>,
    ops: BTreeMap<OpId, Revision>,
    op_order: BTreeMap<Revision, (u64, OpId)>,
    leases: BTreeMap<LeaseId, Duration>,
    last_lease: u64,
    /// By slot; a slot of the store in a file can be used again, those here are used once.
    secrets: BTreeMap<u32, MemorySecret>,
    last_slot: u32,
    fault: Option<StoreError>,
}

#[derive(Debug)]
struct MemorySecret {
    generation: u32,
    owner: SecretOwner,
    secret: Secret,
    /// Drawn before the last [`MemoryStore::inherit_secrets`].
    inherited: bool,
}

#[derive(Clone, Debug)]
/// The value of a key from one revision on.
struct Version {
    value: Bytes,
    created: Revision,
    lease: Option<LeaseId>,
}

impl MemoryStore {
    /// An empty store. The age of its history is measured by `wall`.
    #[must_use]
    pub fn new(identity: StoreIdentity, wall: WallClock) -> Self {
        let state = State {
            identity,
            revision: Revision(0),
            oldest: Revision(0),
            versions: BTreeMap::new(),
            log: BTreeMap::new(),
            ops: BTreeMap::new(),
            op_order: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
            secrets: BTreeMap::new(),
            last_slot: 0,
            fault: None,
        };
        let shared = Shared {
            state: Mutex::new(state),
            tip: watch::Sender::new(Revision(0)),
            lease_timers: Arc::new(LeaseTimers::default()),
            wall,
        };
        Self { shared: Arc::new(shared), lease_task: OnceLock::new() }
    }

    /// Makes calls fail with this error until the method is called with `None`.
    ///
    /// `Unavailable`, `Corrupt` and `IdentityChanged` fail every call, other errors only calls that change something. `Full`
    /// permits deletions. With `Unknown`, the change is applied before the call fails.
    pub fn set_fault(&self, fault: Option<StoreError>) {
        self.shared.lock().fault = fault;
    }

    /// Changes the identity, as a restore from a backup does.
    pub fn set_identity(&self, identity: StoreIdentity) {
        self.shared.lock().identity = identity;
    }
}

impl MemoryStore {
    /// From now on, the secrets that were drawn so far are inherited ones, as after a restart.
    pub fn inherit_secrets(&self) {
        self.shared.lock().secrets.values_mut().for_each(|secret| secret.inherited = true);
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        if let Some(task) = self.lease_task.get() {
            task.abort();
        }
    }
}

impl Keystore for MemoryStore {
    type Watch = MemoryWatch;

    fn identity(&self) -> StoreIdentity {
        self.shared.lock().identity
    }

    async fn get(&self, keys: &[Key], f: Freshness, _: Deadline) -> Result<Snapshot, StoreError> {
        limits::check_keys(keys)?;
        let state = self.shared.lock();
        state.read_fault()?;
        state.check_reached(f)?;
        let at = state.revision;
        Ok(Snapshot { at, entries: keys.iter().map(|key| state.entry(key, at)).collect() })
    }

    async fn scan(
        &self,
        range: Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        _: Deadline,
    ) -> Result<Page, StoreError> {
        limits::check_page(limit)?;
        let state = self.shared.lock();
        state.read_fault()?;
        state.check_reached(f)?;
        let at = at.unwrap_or(state.revision);
        state.check_kept(at)?;
        let mut page = Page { at, entries: Vec::new(), next: None };
        if range.start >= range.end {
            return Ok(page);
        }
        let mut len = 0;
        for entry in state.versions.range(range).filter_map(|(key, _)| state.entry(key, at)) {
            len += entry.key.0.len() + entry.value.len();
            if page.entries.len() == limit || len > MAX_PAGE_LEN {
                page.next = Some(entry.key);
                break;
            }
            page.entries.push(entry);
        }
        Ok(page)
    }

    async fn commit(&self, txn: Txn, _: Deadline) -> Result<Commit, StoreError> {
        limits::check_txn(&txn)?;
        if let Some(at) = self.shared.lock().applied_despite_fault(txn.op) {
            return Ok(Commit::Applied { at, replayed: true });
        }
        self.shared.write(txn.writes.iter().all(|w| matches!(w, Write::Delete(_))), |state, now| {
            state.commit(txn, now)
        })
    }

    async fn watch(&self, range: Range<Key>, after: Revision) -> Result<MemoryWatch, StoreError> {
        let state = self.shared.lock();
        state.read_fault()?;
        state.check_kept(after)?;
        let tip = self.shared.tip.subscribe();
        Ok(MemoryWatch(Cursor::new(Arc::clone(&self.shared), tip, range, after)))
    }

    async fn grant(&self, ttl: Duration, _: Deadline) -> Result<Lease, StoreError> {
        limits::check_ttl(ttl)?;
        self.lease_task
            .get_or_init(|| tokio::spawn(revoke_ended_leases(Arc::downgrade(&self.shared))).abort_handle());
        let lease = self.shared.write(false, |state, now| {
            state.last_lease += 1;
            let id = LeaseId(state.last_lease);
            state.leases.insert(id, ttl);
            state.trim(now);
            Ok(Lease { id, ttl })
        })?;
        self.shared.lease_timers.start(lease.id, ttl);
        Ok(lease)
    }

    async fn renew(&self, lease: LeaseId, _: Deadline) -> Result<Lease, StoreError> {
        self.shared.lock().read_fault()?;
        self.shared.lease_timers.renew(lease)
    }

    async fn revoke(&self, lease: LeaseId, _: Deadline) -> Result<(), StoreError> {
        self.shared.lease_timers.stop(lease);
        self.shared.write(true, |state, now| state.end_leases(&[lease], now))
    }

    async fn draw_secret(&self, owner: SecretOwner, _: Deadline) -> Result<(SecretId, Secret), StoreError> {
        let mut state = self.shared.lock();
        state.read_fault()?;
        let mut secret = Secret::zeroed();
        getrandom::fill(secret.as_mut())
            .map_err(|_| StoreError::unavailable(Duration::from_secs(1), "no random bytes for a secret"))?;
        let slot = state.last_slot + 1;
        if slot > MAX_SECRETS {
            return Err(StoreError::TooLarge { limit: Limit::SecretId });
        }
        state.last_slot = slot;
        let copy = Secret::copy_of(secret.expose());
        state.secrets.insert(slot, MemorySecret { generation: 1, owner, secret: copy, inherited: false });
        Ok((id_of(slot, 1), secret))
    }

    async fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        _: Deadline,
    ) -> Result<(), StoreError> {
        limits::check_adopted(&secrets)?;
        let mut state = self.shared.lock();
        state.read_fault()?;
        for AdoptedSecret { owner, id, secret } in &secrets {
            let (slot, generation) = id.parts()?;
            if let Some(kept) = state.secrets.get(&slot)
                && in_use == SlotInUse::Refuse
                && !(kept.generation == generation
                    && kept.owner == *owner
                    && bool::from(kept.secret.ct_eq(secret)))
            {
                return Err(StoreError::SecretConflict { id: *id, found: id_of(slot, kept.generation) });
            }
        }
        for AdoptedSecret { owner, id, secret } in secrets {
            let (slot, generation) = id.parts()?;
            state.last_slot = state.last_slot.max(slot);
            state.secrets.insert(slot, MemorySecret { generation, owner, secret, inherited: false });
        }
        Ok(())
    }

    fn release_secret(&self, _: SecretOwner, id: SecretId) {
        self.shared.lock().remove_secret(id);
    }

    async fn secret(&self, id: SecretId, _: Deadline) -> Result<Option<Secret>, StoreError> {
        let state = self.shared.lock();
        state.read_fault()?;
        let Ok((slot, generation)) = id.parts() else { return Ok(None) };
        let kept = state.secrets.get(&slot).filter(|kept| kept.generation == generation);
        Ok(kept.map(|kept| Secret::copy_of(kept.secret.expose())))
    }

    async fn erase_secrets(&self, ids: &[SecretId], _: Deadline) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        state.read_fault()?;
        ids.iter().for_each(|id| state.remove_secret(*id));
        Ok(())
    }

    async fn erase_owner(&self, owner: SecretOwner, _: Deadline) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        state.read_fault()?;
        state.secrets.retain(|_, kept| kept.owner != owner);
        Ok(())
    }

    async fn inherited_secrets(&self, owner: SecretOwner, _: Deadline) -> Result<Vec<SecretId>, StoreError> {
        let state = self.shared.lock();
        state.read_fault()?;
        let inherited = state.secrets.iter().filter(|(_, kept)| kept.inherited && kept.owner == owner);
        Ok(inherited.map(|(slot, kept)| id_of(*slot, kept.generation)).collect())
    }

    async fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        _: Deadline,
    ) -> Result<usize, StoreError> {
        let mut state = self.shared.lock();
        state.read_fault()?;
        let before = state.secrets.len();
        state.secrets.retain(|slot, kept| {
            let concerned = match which {
                UnnamedSecrets::Inherited(owner) => kept.inherited && kept.owner == owner,
                UnnamedSecrets::All => true,
            };
            !concerned || named.contains(&id_of(*slot, kept.generation))
        });
        Ok(before - state.secrets.len())
    }
}

impl WatchStream for MemoryWatch {
    async fn next(&mut self) -> Result<WatchEvent, StoreError> {
        self.0.next().await
    }
}

/// Revokes leases when they end, until the store is dropped.
async fn revoke_ended_leases(store: Weak<Shared>) {
    let Some(timers) = store.upgrade().map(|shared| Arc::clone(&shared.lease_timers)) else { return };
    loop {
        let ended = timers.wait_for_ended().await;
        let Some(shared) = store.upgrade() else { return };
        let now = shared.wall.now_ms();
        let mut state = shared.lock();
        // Fails if all of them were revoked meanwhile, which is harmless.
        let _ignored = state.end_leases(&ended, now);
        shared.publish(state.revision);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes watches if the revision is new.
    fn publish(&self, revision: Revision) {
        self.tip.send_if_modified(|tip| std::mem::replace(tip, revision) != revision);
    }

    fn write<T>(
        &self,
        only_deletes: bool,
        change: impl FnOnce(&mut State, u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.lock();
        let fault = state.fault.clone();
        match &fault {
            Some(StoreError::Unknown) | None => {}
            Some(StoreError::Full) if only_deletes => {}
            Some(fault) => return Err(fault.clone()),
        }
        let result = change(&mut state, self.wall.now_ms());
        self.publish(state.revision);
        if fault == Some(StoreError::Unknown) { Err(StoreError::Unknown) } else { result }
    }
}

impl Log for Shared {
    fn read(&self, range: &Range<Key>, after: Revision) -> Result<(VecDeque<Batch>, Revision), StoreError> {
        let state = self.lock();
        state.read_fault()?;
        state.check_kept(after)?;
        let mut batches = VecDeque::new();
        for (at, (_, keys)) in state.log.range(Revision(after.0 + 1)..) {
            let changes: Vec<_> = keys
                .iter()
                .filter(|key| range.contains(key))
                .map(|key| Change { key: key.clone(), now: state.entry(key, *at) })
                .collect();
            if !changes.is_empty() {
                batches.push_back(Batch { at: *at, changes });
            }
        }
        Ok((batches, state.revision))
    }
}

/// As in the file of secrets.
const fn id_of(slot: u32, generation: u32) -> SecretId {
    SecretId((slot as u64) << 32 | generation as u64)
}

impl State {
    /// Removes a secret, unless its slot has another one.
    fn remove_secret(&mut self, id: SecretId) {
        let Ok((slot, generation)) = id.parts() else { return };
        if self.secrets.get(&slot).is_some_and(|kept| kept.generation == generation) {
            self.secrets.remove(&slot);
        }
    }

    fn read_fault(&self) -> Result<(), StoreError> {
        match &self.fault {
            Some(
                fault @ (StoreError::Unavailable { .. }
                | StoreError::Corrupt(_)
                | StoreError::IdentityChanged { .. }),
            ) => Err(fault.clone()),
            _ => Ok(()),
        }
    }

    /// The revision of an applied operation, if a fault would refuse its retry. A retry must not be refused as if the first
    /// attempt had not been applied.
    fn applied_despite_fault(&self, op: OpId) -> Option<Revision> {
        let refusing = matches!(self.fault, Some(StoreError::Full | StoreError::ReadOnly { .. }));
        self.ops.get(&op).filter(|_| refusing).copied()
    }

    /// Checks that the revision was reached; a later one belongs to another identity.
    fn check_reached(&self, f: Freshness) -> Result<(), StoreError> {
        match f {
            Freshness::AtLeast(at) if at > self.revision => {
                Err(StoreError::IdentityChanged { now: self.identity })
            }
            _ => Ok(()),
        }
    }

    fn check_kept(&self, at: Revision) -> Result<(), StoreError> {
        self.check_reached(Freshness::AtLeast(at))?;
        if at < self.oldest { Err(StoreError::Compacted { oldest: self.oldest }) } else { Ok(()) }
    }

    /// The entry of a key at a revision.
    fn entry(&self, key: &Key, at: Revision) -> Option<Entry> {
        let (modified, version) = self.versions.get(key)?.range(..=at).next_back()?;
        let version = version.as_ref()?;
        Some(Entry {
            key: key.clone(),
            value: version.value.clone(),
            created: version.created,
            modified: *modified,
        })
    }

    fn commit(&mut self, txn: Txn, now: u64) -> Result<Commit, StoreError> {
        if let Some(at) = self.ops.get(&txn.op) {
            return Ok(Commit::Applied { at: *at, replayed: true });
        }
        for (index, cond) in txn.conds.iter().enumerate() {
            let entry = self.entry(cond.key(), self.revision);
            if !cond.holds(entry.as_ref().map(|e| e.modified)) {
                return Ok(Commit::Refused { index, now: entry, at: self.revision });
            }
        }
        let leases_live = txn.writes.iter().all(|write| match write {
            Write::Put { lease: Some(lease), .. } => self.leases.contains_key(lease),
            _ => true,
        });
        if !leases_live {
            return Err(StoreError::LeaseGone);
        }
        let at = self.apply(txn.writes, now);
        self.trim(now);
        self.ops.insert(txn.op, at);
        self.op_order.insert(at, (now, txn.op));
        Ok(Commit::Applied { at, replayed: false })
    }

    /// Ends those of the leases that exist, and deletes their keys at one revision.
    fn end_leases(&mut self, ids: &[LeaseId], now: u64) -> Result<(), StoreError> {
        let ended: Vec<_> = ids.iter().filter(|id| self.leases.remove(id).is_some()).collect();
        if ended.is_empty() {
            return Err(StoreError::LeaseGone);
        }
        let is_leased = |version: &Option<Version>| {
            version.as_ref().and_then(|s| s.lease).is_some_and(|id| ended.contains(&&id))
        };
        let deletes: Vec<_> = self
            .versions
            .iter()
            .filter(|(_, versions)| versions.values().next_back().is_some_and(is_leased))
            .map(|(key, _)| Write::Delete(key.clone()))
            .collect();
        if !deletes.is_empty() {
            self.apply(deletes, now);
        }
        self.trim(now);
        Ok(())
    }

    fn apply(&mut self, writes: Vec<Write>, now: u64) -> Revision {
        let before = self.revision;
        let at = Revision(before.0 + 1);
        let mut changed = Vec::new();
        for write in writes {
            let old = self.entry(write.key(), before);
            let (key, version) = match write {
                Write::Put { key, value, lease } => {
                    (key, Some(Version { value, created: old.map_or(at, |old| old.created), lease }))
                }
                Write::Delete(_) if old.is_none() => continue,
                Write::Delete(key) => (key, None),
            };
            self.versions.entry(key.clone()).or_default().insert(at, version);
            changed.push(key);
        }
        changed.sort();
        self.log.insert(at, (now, changed));
        self.revision = at;
        at
    }

    fn trim(&mut self, now: u64) {
        while let Some(first) = self.log.first_entry()
            && is_past(first.get().0, WATCH_RETENTION, now)
        {
            let (oldest, (_, keys)) = first.remove_entry();
            self.oldest = oldest;
            for key in keys {
                let Some(versions) = self.versions.get_mut(&key) else { continue };
                // The version of `oldest` is kept, unless it is a deletion.
                let kept = versions.split_off(&oldest);
                *versions = kept;
                if versions.first_entry().is_some_and(|first| first.get().is_none()) {
                    versions.pop_first();
                }
                if versions.is_empty() {
                    self.versions.remove(&key);
                }
            }
        }
        while let Some(first) = self.op_order.first_entry()
            && is_past(first.get().0, OP_RETENTION, now)
        {
            let (_, (_, op)) = first.remove_entry();
            self.ops.remove(&op);
        }
    }
}
