//! The service, and what its operations share: reading, deciding, writing.

mod check;
mod convert;
mod count;
mod create;
mod epoch;
mod freshness;
mod lifecycle;
mod master_key;
mod opened_at;
mod purge;
mod read;
mod remove_instance;
mod renewal;
mod rotate;
mod secrets;
mod wrap;

pub use check::CheckedInstance;
pub use epoch::EpochError;
pub use remove_instance::{RemovalError, StoredInstance};
pub(crate) use secrets::owner as secret_owner;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use keystore::{
    Bytes, Commit, Cond, Entry, Freshness, Key as StoreKey, Keystore, OpId, Revision, Txn, Write,
};
use tracing::{debug, error};
use uuid::Uuid;

use self::freshness::{IndexView, buckets_of};
use crate::call::TimeBudget;
use crate::invocations::Counters;
use crate::record::{BlobRecord, Record, decode, encode};
use crate::replica::SourcePosition;
use crate::rng::random_array;
use crate::seal::{Handover, InstanceKeys, OwnKey, Sealed};
use crate::seen::Seen;
use crate::{
    Call, Clock, HighWaterMarks, InstanceHeader, InstanceId, InvocationLedger, InvocationLimits, KeyAction,
    KeyId, KeyMetadata, KeyRef, KeyState, KmsError, Mode, OpenError, RandomFailed, RecordError,
    RotationProfile, SharedRng, StoreMeta, SystemClock, Timers, Units, VersionId, VolatileLedger,
    VolatileMarks, layout,
};

/// Attempts after concurrent writes; at each one, at least one other request has succeeded.
const MAX_ATTEMPTS: u32 = 64;
/// Repetitions of an operation during which the master key of the instance has changed.
const MAX_MOVES: u32 = 3;

/// Options of the service, beside store and units.
///
/// The default is the clock and generator of the operating system, the timers of Key Protect, and
/// [`RotationProfile::Online`].
#[derive(Clone)]
#[non_exhaustive]
pub struct KmsOptions {
    /// The clock of states, timers and dates.
    pub clock: Arc<dyn Clock>,
    /// Random bytes for names and sealed records.
    pub rng: SharedRng,
    /// Durations between actions.
    pub timers: Timers,
    /// The operations that are possible while the master key is being rotated.
    pub rotation: RotationProfile,
    /// Where high-water marks are kept outside of the store.
    pub marks: Arc<dyn HighWaterMarks>,
    /// How many AES-GCM invocations a key version may have.
    pub invocations: InvocationLimits,
    /// Where invocations are counted while the store accepts no writes.
    pub ledger: Arc<dyn InvocationLedger>,
}

impl KmsOptions {
    /// Sets the clock of states, timers and dates.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sets the generator of names and of the IVs of sealed records.
    #[must_use]
    pub fn with_rng(self, rng: SharedRng) -> Self {
        Self { rng, ..self }
    }

    /// Sets the durations between actions.
    #[must_use]
    pub fn with_timers(self, timers: Timers) -> Self {
        Self { timers, ..self }
    }

    /// Sets which operations are possible while the master key is being rotated.
    #[must_use]
    pub fn with_rotation(self, rotation: RotationProfile) -> Self {
        Self { rotation, ..self }
    }

    /// Sets where high-water marks are kept outside of the store. Without it they last as long as the process.
    #[must_use]
    pub fn with_marks(self, marks: Arc<dyn HighWaterMarks>) -> Self {
        Self { marks, ..self }
    }

    /// Sets how many AES-GCM invocations a key version may have, and how they are leased.
    #[must_use]
    pub fn with_invocations(self, invocations: InvocationLimits) -> Self {
        Self { invocations, ..self }
    }

    /// Sets where invocations are counted while the store accepts no writes. Without it they are counted as long as the
    /// process lasts.
    #[must_use]
    pub fn with_ledger(self, ledger: Arc<dyn InvocationLedger>) -> Self {
        Self { ledger, ..self }
    }
}

impl Default for KmsOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            rng: SharedRng::default(),
            timers: Timers::STANDARD,
            rotation: RotationProfile::Online,
            marks: Arc::new(VolatileMarks::default()),
            invocations: InvocationLimits::STANDARD,
            ledger: Arc::new(VolatileLedger::default()),
        }
    }
}

/// The key service over one store and the units of its instances.
///
/// Usable from several tasks concurrently. Several services over one store see the same state.
pub struct Kms<S, U> {
    store: S,
    units: U,
    options: KmsOptions,
    meta: StoreMeta,
    instances: RwLock<BTreeMap<InstanceId, Arc<OpenInstance>>>,
    seen: RwLock<BTreeMap<InstanceId, Arc<Seen>>>,
    counters: Counters,
}

/// An instance whose secret a unit has opened.
struct OpenInstance {
    /// The header as it was last read; another value is decoded and checked again.
    value: Bytes,
    header: InstanceHeader,
    keys: Arc<InstanceKeys>,
    /// The keys of the previous instance secret, as long as values are under it.
    previous: Option<Arc<InstanceKeys>>,
    seen: Arc<Seen>,
}

/// An instance and some of its records at one revision.
struct InstanceView {
    instance: Arc<OpenInstance>,
    header_at: Revision,
    at: Revision,
    entries: Vec<Option<Entry>>,
    /// The buckets that list the records.
    index: IndexView,
}

/// A key at one revision and one time.
struct LoadedKey {
    instance: Arc<OpenInstance>,
    header_at: Revision,
    id: KeyId,
    record: Record,
    record_at: Revision,
    /// By the service's clock.
    now: Timestamp,
    state: KeyState,
    /// Blobs that were read with the record.
    blobs: Vec<Entry>,
    /// The bucket that lists the record.
    index: IndexView,
    /// The key of the key's records.
    own: Arc<OwnKey>,
}

/// The result of an attempt to write.
enum CommitOutcome {
    Applied(Revision),
    /// An earlier attempt with the same operation id has been applied.
    Replayed(Revision),
    /// Another request has changed the records; nothing was written.
    Lost,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// Opens a service over this store, which is initialised if it is new. Instances are opened at their first use.
    ///
    /// # Errors
    /// [`OpenError`] for a store of another program, or one that cannot be read.
    pub async fn open(
        store: S,
        units: U,
        options: KmsOptions,
        deadline: Duration,
    ) -> Result<Self, OpenError> {
        let meta = StoreMeta::read_or_begin(&store, &mut options.rng.clone(), deadline).await?;
        Ok(Self {
            store,
            units,
            options,
            meta,
            instances: RwLock::default(),
            seen: RwLock::default(),
            counters: Counters::default(),
        })
    }

    /// The store's own record.
    #[must_use]
    pub const fn store_meta(&self) -> &StoreMeta {
        &self.meta
    }

    /// A new operation id, for a request without one.
    ///
    /// # Errors
    /// [`RandomFailed`].
    pub fn random_op(&self) -> Result<OpId, RandomFailed> {
        random_array(&mut self.options.rng.clone()).map(OpId)
    }

    /// Reads the instance's header and authenticates it with the instance secret, which a unit opens.
    ///
    /// # Errors
    /// [`KmsError::InstanceNotFound`], [`KmsError::Units`] while no unit opens the secret.
    pub async fn header(&self, call: &Call<'_>) -> Result<InstanceHeader, KmsError> {
        let view = self.view(call, TimeBudget::new(call.deadline), &[]).await?;
        Ok(view.instance.header.clone())
    }

    /// Changes whether the instance accepts writes, and increments the epoch.
    ///
    /// From then on the store refuses every write that depends on an older header.
    ///
    /// # Errors
    /// [`KmsError`]; an instance in the requested mode is not changed.
    pub async fn set_mode(&self, call: &Call<'_>, op: OpId, mode: Mode) -> Result<InstanceHeader, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let view = self.view(call, budget, &[]).await?;
            let mut header = view.instance.header.successor();
            if header.mode == mode {
                return Ok(view.instance.header.clone());
            }
            header.mode = mode;
            header.epoch = header.epoch.saturating_add(1);
            let key = layout::header(call.instance);
            let value = header.encode(&key, &view.instance.keys).into();
            let parts: [&[u8]; 4] = [b"mode", &op.0, call.caller.as_bytes(), &[mode as u8]];
            let txn = Txn {
                op: OpId(first_16(&view.instance.keys.name(&parts))),
                conds: vec![Cond::Unchanged(key.clone(), view.header_at)],
                writes: vec![Write::Put { key, value, lease: None }],
            };
            match self.commit_header(call, budget, &header, txn).await? {
                CommitOutcome::Applied(_) => return Ok(header),
                CommitOutcome::Replayed(_) => return self.header(call).await,
                CommitOutcome::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Reads the instance and the records with these names, all at one revision. Each record is the one that was written last.
    async fn view(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        names: &[StoreKey],
    ) -> Result<InstanceView, KmsError> {
        let numbers = buckets_of(names);
        let mut keys = Vec::with_capacity(1 + numbers.len() + names.len());
        keys.push(layout::header(call.instance));
        keys.extend(numbers.iter().map(|number| layout::index(call.instance, *number)));
        keys.extend_from_slice(names);
        let seen = self.seen(call.instance);
        let mut moves = 0;
        loop {
            let before = seen.before(numbers.iter().copied(), self.options.marks.mark(call.instance));
            let found = self.store.get(&keys, Freshness::Linearizable, budget.for_store()?).await?;
            let mut entries = found.entries.into_iter();
            let header = entries.next().flatten().ok_or(KmsError::InstanceNotFound(call.instance))?;
            let instance = match self.instance(call.instance, &header, budget).await {
                Err(error) if error.is_key_mismatch() && moves < MAX_MOVES => {
                    moves += 1;
                    continue;
                }
                instance => instance?,
            };
            let is_older = |why| invalid(&header.key, why);
            seen.header(&instance.header, &before).map_err(is_older)?;
            if instance.header.generation.is_none() {
                if before.mark.is_some() {
                    return Err(is_older(RecordError::RolledBack));
                }
                self.convert(call.instance, &header, &instance).await?;
                continue;
            }
            if !seen.is_verified() {
                self.verify(call.instance, (&instance, found.at), &before, budget).await?;
            }
            let buckets: Vec<_> = entries.by_ref().take(numbers.len()).collect();
            let entries: Vec<_> = entries.collect();
            let (listed, values) = ((&*numbers, &*buckets), (names, &*entries));
            let index = self.check_index((call, budget), &instance, listed, values, &before).await?;
            return Ok(InstanceView { instance, header_at: header.modified, at: found.at, entries, index });
        }
    }

    /// Runs an operation that changes nothing, and repeats it if the master key has changed between reading and using a blob.
    async fn unmoved<T, F: Future<Output = Result<T, KmsError>> + Send>(
        &self,
        operation: impl Fn() -> F + Send + Sync,
    ) -> Result<T, KmsError> {
        let mut moves = 0;
        loop {
            match operation().await {
                Err(error) if error.is_key_mismatch() && moves < MAX_MOVES => moves += 1,
                outcome => return outcome,
            }
        }
    }

    /// Whether the header has changed since, so that units may carry out the command with the new one.
    async fn has_moved(&self, call: &Call<'_>, budget: TimeBudget, header_at: Revision) -> bool {
        self.view(call, budget, &[]).await.is_ok_and(|view| view.header_at != header_at)
    }

    /// Refuses an operation that the profile does not permit during a rotation of the master key.
    fn check_rotation_profile(&self, instance: &OpenInstance, doing: &'static str) -> Result<(), KmsError> {
        match self.options.rotation {
            RotationProfile::Strict if instance.header.next.is_some() => {
                Err(KmsError::RotationInProgress { doing })
            }
            RotationProfile::Strict | RotationProfile::Online => Ok(()),
        }
    }

    async fn instance(
        &self,
        id: InstanceId,
        entry: &Entry,
        budget: TimeBudget,
    ) -> Result<Arc<OpenInstance>, KmsError> {
        let known = self.known(id);
        if let Some(known) = &known
            && known.value == entry.value
        {
            return Ok(Arc::clone(known));
        }
        let invalid = |why| invalid(&entry.key, why);
        let (header, body, tag) = InstanceHeader::decode(&entry.value).map_err(invalid)?;
        let has_previous = header.handover.as_ref().is_some_and(Handover::has_previous);
        let is_same = |known: &Arc<OpenInstance>| {
            known.header.proof.commitment == header.proof.commitment
                && (known.previous.is_some() || !has_previous)
        };
        let (keys, previous) = match known.filter(is_same) {
            Some(known) => (Arc::clone(&known.keys), known.previous.clone().filter(|_| has_previous)),
            None => {
                let keys = header.open_keys(&self.units, budget).await?;
                let (keys, previous) = keys.ok_or_else(|| invalid(RecordError::Forged))?;
                (Arc::new(keys), previous.map(Arc::new))
            }
        };
        if !keys.header_is_authentic(&entry.key, body, tag) {
            return Err(invalid(RecordError::Forged));
        }
        let (value, seen) = (Arc::clone(&entry.value), self.seen(id));
        let instance = Arc::new(OpenInstance { value, header, keys, previous, seen });
        let mut instances = self.instances.write().unwrap_or_else(PoisonError::into_inner);
        instances.insert(id, Arc::clone(&instance));
        Ok(instance)
    }

    fn known(&self, id: InstanceId) -> Option<Arc<OpenInstance>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// The id of a key; an id is returned even if no such key exists.
    async fn resolve(&self, call: &Call<'_>, budget: TimeBudget, key: &KeyRef) -> Result<KeyId, KmsError> {
        let alias = match key {
            KeyRef::Id(id) => return Ok(*id),
            KeyRef::Alias(alias) => alias,
        };
        let instance = match self.known(call.instance) {
            Some(instance) => instance,
            None => self.view(call, budget, &[]).await?.instance,
        };
        let name = layout::alias(call.instance, &instance.keys.alias_mac(alias));
        let view = self.view(call, budget, &[name]).await?;
        let entry = view.entries.into_iter().flatten().next();
        let entry = entry.ok_or_else(|| KmsError::KeyNotFound(key.clone()))?;
        let id = view.instance.open(Sealed::Record, &entry)?;
        decode(&id).map(|id| KeyId(Uuid::from_bytes(id))).map_err(|why| invalid(&entry.key, why))
    }

    /// Reads a key, and the existing blobs of the versions that `also` returns.
    async fn load(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        key: &KeyRef,
        also: impl Fn(KeyId) -> Vec<VersionId> + Send,
    ) -> Result<LoadedKey, KmsError> {
        let id = self.resolve(call, budget, key).await?;
        let mut names = vec![layout::record(call.instance, id)];
        names.extend(also(id).into_iter().map(|version| layout::blob(call.instance, id, version)));
        let view = self.view(call, budget, &names).await?;
        let mut entries = view.entries.into_iter();
        let not_found = || KmsError::KeyNotFound(key.clone());
        let entry = entries.next().flatten().ok_or_else(not_found)?;
        let opened = self.open_record(budget, &view.instance, &entry).await?;
        // Otherwise the key was purged, and an older keystore was accepted.
        let (record, own) = opened.ok_or_else(not_found)?;
        let now = self.now();
        let state = record.state(now, &self.options.timers).ok_or_else(not_found)?;
        let blobs = entries.flatten().collect();
        let InstanceView { instance, header_at, index, .. } = view;
        let record_at = entry.modified;
        Ok(LoadedKey { instance, header_at, id, record, record_at, now, state, blobs, index, own })
    }

    /// The blob of a version, from what was loaded or from the store.
    async fn blob(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        version: VersionId,
    ) -> Result<BlobRecord, KmsError> {
        let name = layout::blob(call.instance, loaded.id, version);
        if let Some(entry) = loaded.blobs.iter().find(|entry| entry.key == name) {
            return loaded.open_blob(entry);
        }
        let view = self.view(call, budget, std::slice::from_ref(&name)).await?;
        let (instance, view_at) = (view.instance, view.header_at);
        match view.entries.into_iter().flatten().next() {
            Some(entry) => self.open_blob(budget, (&instance, view_at), loaded, &entry).await,
            None => Err(self.missing_blob(call, budget, loaded.id, &name).await),
        }
    }

    /// Opens a blob that was read after its key's record, when the instance may have another secret.
    async fn open_blob(
        &self,
        budget: TimeBudget,
        (instance, header_at): (&OpenInstance, Revision),
        loaded: &LoadedKey,
        entry: &Entry,
    ) -> Result<BlobRecord, KmsError> {
        if header_at == loaded.header_at {
            return loaded.open_blob(entry);
        }
        let opened = self.open_any_blob(budget, instance, entry).await?;
        opened.map(|(blob, _)| blob).ok_or_else(|| not_found(loaded.id))
    }

    /// The error for a missing blob, which is valid only for a key that was purged since it was read.
    async fn missing_blob(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        id: KeyId,
        name: &StoreKey,
    ) -> KmsError {
        match self.load(call, budget, &KeyRef::Id(id), |_| Vec::new()).await {
            Ok(_) => invalid(name, RecordError::Missing),
            Err(error) => error,
        }
    }

    /// Reads a key, decides and writes it; repeats this after concurrent writes.
    async fn change(
        &self,
        call: &Call<'_>,
        op: OpId,
        key: &KeyRef,
        action: KeyAction,
        decide: impl Fn(&mut Record, Timestamp) -> Result<(), KmsError> + Send + Sync,
    ) -> Result<KeyMetadata, KmsError> {
        let budget = TimeBudget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let mut loaded = self.load(call, budget, key, |_| Vec::new()).await?;
            let op = loaded.scoped(call, op, action);
            if loaded.record.was_last_changed_by(&op.0) {
                self.note_change(call, loaded.record_at);
                return Ok(self.shown(&loaded));
            }
            loaded.instance.check_writable()?;
            loaded.record.check(action, loaded.state)?;
            decide(&mut loaded.record, loaded.now)?;
            loaded.record.touch(loaded.now, op);
            let writes = vec![self.put_record(call, &loaded)?];
            match self.commit_key(call, budget, &loaded, op, writes).await? {
                CommitOutcome::Applied(at) => {
                    self.log_change(call, loaded.id, action, at);
                    return loaded.metadata(&self.options.timers).ok_or_else(|| not_found(loaded.id));
                }
                CommitOutcome::Replayed(at) => {
                    self.note_change(call, at);
                    return self.metadata_within(call, budget, key).await;
                }
                CommitOutcome::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Commits writes that depend on header and record being unchanged.
    async fn commit_key(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        loaded: &LoadedKey,
        op: OpId,
        writes: Vec<Write>,
    ) -> Result<CommitOutcome, KmsError> {
        let listed = (&*loaded.instance, &loaded.index);
        self.commit_listed(call, budget, listed, loaded.txn(call, op, writes)).await
    }

    async fn try_commit(&self, txn: Txn, budget: TimeBudget) -> Result<CommitOutcome, KmsError> {
        debug_assert!(txn.writes.len() <= layout::MAX_KEYS_PER_TXN, "a mirror has no room for its position");
        match self.store.commit(txn, budget.for_store()?).await? {
            Commit::Applied { at, replayed: false } => Ok(CommitOutcome::Applied(at)),
            Commit::Applied { at, replayed: true } => Ok(CommitOutcome::Replayed(at)),
            Commit::Refused { .. } => Ok(CommitOutcome::Lost),
        }
    }

    /// Tells the caller where the change is in the store.
    fn note_change(&self, call: &Call<'_>, at: Revision) {
        if let Some(changed_at) = call.changed_at {
            changed_at.set(SourcePosition { source: self.store.identity(), revision: at });
        }
    }

    fn log_change(&self, call: &Call<'_>, key: KeyId, action: KeyAction, at: Revision) {
        debug!(instance = %call.instance, %key, %action, revision = at.0, "key changed");
        self.note_change(call, at);
    }

    async fn metadata_within(
        &self,
        call: &Call<'_>,
        budget: TimeBudget,
        key: &KeyRef,
    ) -> Result<KeyMetadata, KmsError> {
        let loaded = self.load(call, budget, key, |_| Vec::new()).await?;
        Ok(self.shown(&loaded))
    }

    fn shown(&self, loaded: &LoadedKey) -> KeyMetadata {
        loaded.record.metadata(loaded.id, loaded.state, loaded.now, &self.options.timers)
    }

    fn put_record(&self, call: &Call<'_>, loaded: &LoadedKey) -> Result<Write, KmsError> {
        let key = layout::record(call.instance, loaded.id);
        self.put_own(&loaded.own, Sealed::Record, key, &encode(&loaded.record))
    }

    fn put_blob(&self, own: &OwnKey, key: StoreKey, blob: &BlobRecord) -> Result<Write, KmsError> {
        let (kind, plain) = blob.encode();
        self.put_own(own, kind, key, &plain)
    }

    /// A value under the key of its key.
    fn put_own(&self, own: &OwnKey, kind: Sealed, key: StoreKey, plain: &[u8]) -> Result<Write, KmsError> {
        let value = own.seal(kind, &key, plain, &mut self.options.rng.clone())?.into();
        Ok(Write::Put { key, value, lease: None })
    }

    /// A value under a key of the instance.
    fn put_alias(&self, instance: &OpenInstance, key: StoreKey, id: KeyId) -> Result<Write, KmsError> {
        let plain = encode(id.0.as_bytes());
        let value = instance.keys.seal(Sealed::Record, &key, &plain, &mut self.options.rng.clone())?.into();
        Ok(Write::Put { key, value, lease: None })
    }
}

impl OpenInstance {
    const fn check_writable(&self) -> Result<(), KmsError> {
        match self.header.mode {
            Mode::ReadWrite => Ok(()),
            mode @ (Mode::ReadOnly | Mode::Frozen) => {
                Err(KmsError::ReadOnly { mode, epoch: self.header.epoch })
            }
        }
    }

    fn open(&self, kind: Sealed, entry: &Entry) -> Result<zeroize::Zeroizing<Vec<u8>>, KmsError> {
        let opened = self.keys.open(kind, &entry.key, &entry.value);
        let previous = self.previous.as_deref().filter(|_| matches!(opened, Err(RecordError::Forged)));
        let opened = previous.map_or(opened, |keys| keys.open(kind, &entry.key, &entry.value));
        opened.map_err(|why| invalid(&entry.key, why))
    }

    /// A UUID derived from these parts, the same for a repeated request.
    fn uuid(&self, parts: &[&[u8]]) -> Uuid {
        uuid::Builder::from_random_bytes(first_16(&self.keys.name(parts))).into_uuid()
    }
}

impl LoadedKey {
    fn open_blob(&self, entry: &Entry) -> Result<BlobRecord, KmsError> {
        open_blob(&self.own, entry)
    }

    /// The operation id for the store, derived from caller, key and action, so that equal ids of two callers do not collide.
    fn scoped(&self, call: &Call<'_>, op: OpId, action: KeyAction) -> OpId {
        let parts: [&[u8]; 5] =
            [b"op", &op.0, call.caller.as_bytes(), action.name().as_bytes(), self.id.0.as_bytes()];
        OpId(first_16(&self.instance.keys.name(&parts)))
    }

    /// A transaction that is applied only if header and record are unchanged.
    fn txn(&self, call: &Call<'_>, op: OpId, writes: Vec<Write>) -> Txn {
        let header = Cond::Unchanged(layout::header(call.instance), self.header_at);
        let record = Cond::Unchanged(layout::record(call.instance, self.id), self.record_at);
        Txn { op, conds: vec![header, record], writes }
    }

    /// The metadata after a change of the record.
    fn metadata(&self, timers: &Timers) -> Option<KeyMetadata> {
        let state = self.record.state(self.now, timers)?;
        Some(self.record.metadata(self.id, state, self.now, timers))
    }
}

impl Record {
    fn touch(&mut self, now: Timestamp, op: OpId) {
        let at = now.into();
        self.updated_at = at;
        self.last_action = Some(crate::record::LastAction { at, op: op.0 });
    }
}

fn open_blob(own: &OwnKey, entry: &Entry) -> Result<BlobRecord, KmsError> {
    let kind = Sealed::of_blob(&entry.value);
    let opened = own.open(kind, &entry.key, &entry.value);
    opened.and_then(|plain| BlobRecord::decode(kind, &plain)).map_err(|why| invalid(&entry.key, why))
}

/// One line for each change of a key that was stored.
const fn not_found(id: KeyId) -> KmsError {
    KmsError::KeyNotFound(KeyRef::Id(id))
}

fn invalid(key: &StoreKey, why: RecordError) -> KmsError {
    error!(record = layout::show(key), reason = %why, "a stored record is invalid");
    KmsError::RecordInvalid { key: layout::show(key), why }
}

fn first_16(name: &[u8; 32]) -> [u8; 16] {
    let (half, _) = name.split_first_chunk().expect("32 bytes are at least 16");
    *half
}

/// Shows the store's record only.
impl<S, U> fmt::Debug for Kms<S, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms").field("meta", &self.meta).finish_non_exhaustive()
    }
}
