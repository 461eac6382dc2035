//! The service: what every operation needs to read, decide and write.

mod create;
mod lifecycle;
mod master_key;
mod purge;
mod read;
mod remove_instance;
mod rotate;
mod wrap;

pub use remove_instance::{RemovalError, StoredInstance};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use keystore::{
    Bytes, Commit, Cond, Entry, Freshness, Key as StoreKey, Keystore, OpId, Revision, Txn, Write,
};
use uuid::Uuid;

use crate::call::Budget;
use crate::record::{BlobRecord, Record, decode, encode};
use crate::rng::random_array;
use crate::seal::{InstanceKeys, Sealed};
use crate::{
    Action, Call, Clock, InstanceHeader, InstanceId, KeyId, KeyMetadata, KeyRef, KeyState, KmsError, Mode,
    OpenError, RandomFailed, RecordError, RotationProfile, SharedRng, StoreMeta, SystemClock, Timers, Units,
    VersionId, layout,
};

/// How often a lost race is run again; each time at least one other request has got through.
const MAX_ATTEMPTS: u32 = 64;
/// How often an operation is run anew because the master key has moved on in the middle of it.
const MAX_MOVES: u32 = 3;

/// What the service takes from its surroundings besides store and units.
#[derive(Clone)]
pub struct KmsOptions {
    /// What states, timers and dates go by.
    pub clock: Arc<dyn Clock>,
    /// Random bytes for names and sealed records.
    pub rng: SharedRng,
    /// The lengths of the timers.
    pub timers: Timers,
    /// What requests see while the master key is being rotated.
    pub rotation: RotationProfile,
}

/// The system's clock and generator, the timers as the service has them, everything works during a rotation.
impl Default for KmsOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            rng: SharedRng::default(),
            timers: Timers::STANDARD,
            rotation: RotationProfile::Online,
        }
    }
}

/// The key service over one store and the units of its instances.
///
/// Usable from many tasks at once. Holds no state that another such service over the same store could miss.
pub struct Kms<S, U> {
    store: S,
    units: U,
    options: KmsOptions,
    meta: StoreMeta,
    instances: RwLock<BTreeMap<InstanceId, Arc<Instance>>>,
}

/// An instance whose secret a unit has opened.
struct Instance {
    /// The header as stored when it was last looked at; another value is decoded and checked anew.
    value: Bytes,
    header: InstanceHeader,
    keys: Arc<InstanceKeys>,
}

/// An instance and some of its records at one revision.
struct View {
    instance: Arc<Instance>,
    header_at: Revision,
    entries: Vec<Option<Entry>>,
}

/// A key as it stands at one revision and one moment.
struct Loaded {
    instance: Arc<Instance>,
    header_at: Revision,
    id: KeyId,
    record: Record,
    record_at: Revision,
    /// By the service's clock.
    now: Timestamp,
    state: KeyState,
    /// Blobs that were read together with the record.
    blobs: Vec<Entry>,
}

/// How an attempt to write ended.
enum Attempt {
    Applied,
    /// An earlier attempt with the same operation id had been applied; what is stored is its doing.
    Replayed,
    /// Another request came between; nothing was written.
    Lost,
}

impl<S: Keystore, U: Units> Kms<S, U> {
    /// A service over this store, which is begun if it is new. Instances are opened when they are first named.
    ///
    /// # Errors
    /// [`OpenError`] for a store that is not ours or cannot be read.
    pub async fn open(
        store: S,
        units: U,
        options: KmsOptions,
        deadline: Duration,
    ) -> Result<Self, OpenError> {
        let meta = StoreMeta::read_or_begin(&store, &mut options.rng.clone(), deadline).await?;
        Ok(Self { store, units, options, meta, instances: RwLock::default() })
    }

    /// The record of the store.
    #[must_use]
    pub const fn store_meta(&self) -> &StoreMeta {
        &self.meta
    }

    /// An operation id that nobody has used, for a request that brings none.
    ///
    /// # Errors
    /// [`RandomFailed`].
    pub fn random_op(&self) -> Result<OpId, RandomFailed> {
        random_array(&mut self.options.rng.clone()).map(OpId)
    }

    /// The instance's header, checked with a secret that a unit has opened.
    ///
    /// # Errors
    /// [`KmsError::InstanceNotFound`], [`KmsError::Units`] while no unit opens the secret.
    pub async fn header(&self, call: &Call<'_>) -> Result<InstanceHeader, KmsError> {
        let view = self.view(call, Budget::new(call.deadline), &[]).await?;
        Ok(view.instance.header.clone())
    }

    /// Changes whether the instance takes writes; the epoch grows by one.
    ///
    /// Every write that has read an older header is refused by the store from then on.
    ///
    /// # Errors
    /// [`KmsError`]; in the mode asked for already, nothing changes.
    pub async fn set_mode(&self, call: &Call<'_>, op: OpId, mode: Mode) -> Result<InstanceHeader, KmsError> {
        let budget = Budget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let view = self.view(call, budget, &[]).await?;
            let mut header = view.instance.header.clone();
            if header.mode == mode {
                return Ok(header);
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
            match self.try_commit(txn, budget).await? {
                Attempt::Applied => return Ok(header),
                Attempt::Replayed => return self.header(call).await,
                Attempt::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// The instance and the records of these names, all as they stand at one revision.
    async fn view(&self, call: &Call<'_>, budget: Budget, names: &[StoreKey]) -> Result<View, KmsError> {
        let mut keys = Vec::with_capacity(names.len() + 1);
        keys.push(layout::header(call.instance));
        keys.extend_from_slice(names);
        let mut moves = 0;
        loop {
            let found = self.store.get(&keys, Freshness::Linearizable, budget.for_store()?).await?;
            let mut entries = found.entries.into_iter();
            let header = entries.next().flatten().ok_or(KmsError::InstanceNotFound(call.instance))?;
            match self.instance(call.instance, &header, budget).await {
                Err(error) if error.is_key_mismatch() && moves < MAX_MOVES => moves += 1,
                instance => {
                    let (instance, entries) = (instance?, entries.collect());
                    return Ok(View { instance, header_at: header.modified, entries });
                }
            }
        }
    }

    /// Runs an operation that changes nothing; anew when the master key moved on between its reading of a blob and the
    /// blob's use.
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

    /// Whether the header was changed since: what units would not do by the old one, they may do by the new.
    async fn has_moved(&self, call: &Call<'_>, budget: Budget, header_at: Revision) -> bool {
        self.view(call, budget, &[]).await.is_ok_and(|view| view.header_at != header_at)
    }

    /// Refuses what the profile does not permit while the master key is being rotated.
    fn check_rotation_profile(&self, instance: &Instance, doing: &'static str) -> Result<(), KmsError> {
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
        budget: Budget,
    ) -> Result<Arc<Instance>, KmsError> {
        let known = self.known(id);
        if let Some(known) = &known
            && known.value == entry.value
        {
            return Ok(Arc::clone(known));
        }
        let invalid = |why| invalid(&entry.key, why);
        let (header, body, tag) = InstanceHeader::decode(&entry.value).map_err(invalid)?;
        let keys = match known.filter(|known| known.header.proof.commitment == header.proof.commitment) {
            Some(known) => Arc::clone(&known.keys),
            None => {
                let keys = header.open_keys(&self.units, budget).await?;
                Arc::new(keys.ok_or_else(|| invalid(RecordError::Forged))?)
            }
        };
        if !keys.header_is_authentic(&entry.key, body, tag) {
            return Err(invalid(RecordError::Forged));
        }
        let instance = Arc::new(Instance { value: Arc::clone(&entry.value), header, keys });
        let mut instances = self.instances.write().unwrap_or_else(PoisonError::into_inner);
        instances.insert(id, Arc::clone(&instance));
        Ok(instance)
    }

    fn known(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.instances.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// The id that a caller's name stands for; of an id, whether or not there is such a key.
    async fn resolve(&self, call: &Call<'_>, budget: Budget, key: &KeyRef) -> Result<KeyId, KmsError> {
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

    /// The key with this name, and of the versions that `also` names the blobs there are.
    async fn load(
        &self,
        call: &Call<'_>,
        budget: Budget,
        key: &KeyRef,
        also: impl Fn(KeyId) -> Vec<VersionId> + Send,
    ) -> Result<Loaded, KmsError> {
        let id = self.resolve(call, budget, key).await?;
        let mut names = vec![layout::record(call.instance, id)];
        names.extend(also(id).into_iter().map(|version| layout::blob(call.instance, id, version)));
        let view = self.view(call, budget, &names).await?;
        let mut entries = view.entries.into_iter();
        let not_found = || KmsError::KeyNotFound(key.clone());
        let entry = entries.next().flatten().ok_or_else(not_found)?;
        let record = view.instance.open_record(&entry)?;
        let now = self.now();
        let state = record.state(now, &self.options.timers).ok_or_else(not_found)?;
        let blobs = entries.flatten().collect();
        let (instance, header_at) = (view.instance, view.header_at);
        Ok(Loaded { instance, header_at, id, record, record_at: entry.modified, now, state, blobs })
    }

    /// The blob of a version, from what was loaded or from the store.
    async fn blob(
        &self,
        call: &Call<'_>,
        budget: Budget,
        loaded: &Loaded,
        version: VersionId,
    ) -> Result<BlobRecord, KmsError> {
        let name = layout::blob(call.instance, loaded.id, version);
        if let Some(entry) = loaded.blobs.iter().find(|entry| entry.key == name) {
            return loaded.instance.open_blob(entry);
        }
        let view = self.view(call, budget, std::slice::from_ref(&name)).await?;
        match view.entries.into_iter().flatten().next() {
            Some(entry) => view.instance.open_blob(&entry),
            None => Err(self.missing_blob(call, budget, loaded.id, &name).await),
        }
    }

    /// A key that was purged since it was loaded has no blobs; of any other key none may be missing.
    async fn missing_blob(&self, call: &Call<'_>, budget: Budget, id: KeyId, name: &StoreKey) -> KmsError {
        match self.load(call, budget, &KeyRef::Id(id), |_| Vec::new()).await {
            Ok(_) => invalid(name, RecordError::Missing),
            Err(error) => error,
        }
    }

    /// Reads a key, decides, writes it back; anew whenever another request came between.
    async fn change(
        &self,
        call: &Call<'_>,
        op: OpId,
        key: &KeyRef,
        action: Action,
        decide: impl Fn(&mut Record, Timestamp) -> Result<(), KmsError> + Send + Sync,
    ) -> Result<KeyMetadata, KmsError> {
        let budget = Budget::new(call.deadline);
        for _ in 0..MAX_ATTEMPTS {
            let mut loaded = self.load(call, budget, key, |_| Vec::new()).await?;
            let op = loaded.scoped(call, op, action);
            if loaded.record.was_last_changed_by(&op.0) {
                return Ok(self.shown(&loaded));
            }
            loaded.instance.check_writable()?;
            loaded.record.check(action, loaded.state)?;
            decide(&mut loaded.record, loaded.now)?;
            loaded.record.touch(loaded.now, op);
            let writes = vec![self.put_record(call, &loaded)?];
            match self.try_commit(loaded.txn(call, op, writes), budget).await? {
                Attempt::Applied => {
                    return loaded.metadata(&self.options.timers).ok_or_else(|| not_found(loaded.id));
                }
                Attempt::Replayed => return self.metadata_within(call, budget, key).await,
                Attempt::Lost => {}
            }
        }
        Err(KmsError::Contended { attempts: MAX_ATTEMPTS })
    }

    async fn try_commit(&self, txn: Txn, budget: Budget) -> Result<Attempt, KmsError> {
        match self.store.commit(txn, budget.for_store()?).await? {
            Commit::Applied { replayed: false, .. } => Ok(Attempt::Applied),
            Commit::Applied { replayed: true, .. } => Ok(Attempt::Replayed),
            Commit::Refused { .. } => Ok(Attempt::Lost),
        }
    }

    async fn metadata_within(
        &self,
        call: &Call<'_>,
        budget: Budget,
        key: &KeyRef,
    ) -> Result<KeyMetadata, KmsError> {
        let loaded = self.load(call, budget, key, |_| Vec::new()).await?;
        Ok(self.shown(&loaded))
    }

    fn shown(&self, loaded: &Loaded) -> KeyMetadata {
        loaded.record.metadata(loaded.id, loaded.state, loaded.now, &self.options.timers)
    }

    fn put_record(&self, call: &Call<'_>, loaded: &Loaded) -> Result<Write, KmsError> {
        let key = layout::record(call.instance, loaded.id);
        self.put(&loaded.instance, Sealed::Record, key, &encode(&loaded.record))
    }

    fn put_blob(&self, instance: &Instance, key: StoreKey, blob: &BlobRecord) -> Result<Write, KmsError> {
        let (kind, plain) = blob.encode();
        self.put(instance, kind, key, &plain)
    }

    fn put(&self, instance: &Instance, kind: Sealed, key: StoreKey, plain: &[u8]) -> Result<Write, KmsError> {
        let value = instance.keys.seal(kind, &key, plain, &mut self.options.rng.clone())?.into();
        Ok(Write::Put { key, value, lease: None })
    }
}

impl Instance {
    const fn check_writable(&self) -> Result<(), KmsError> {
        match self.header.mode {
            Mode::ReadWrite => Ok(()),
            mode @ (Mode::ReadOnly | Mode::Frozen) => {
                Err(KmsError::ReadOnly { mode, epoch: self.header.epoch })
            }
        }
    }

    fn open(&self, kind: Sealed, entry: &Entry) -> Result<zeroize::Zeroizing<Vec<u8>>, KmsError> {
        self.keys.open(kind, &entry.key, &entry.value).map_err(|why| invalid(&entry.key, why))
    }

    fn open_record(&self, entry: &Entry) -> Result<Record, KmsError> {
        Record::decode(&self.open(Sealed::Record, entry)?).map_err(|why| invalid(&entry.key, why))
    }

    fn open_blob(&self, entry: &Entry) -> Result<BlobRecord, KmsError> {
        let kind = Sealed::of_blob(&entry.value);
        BlobRecord::decode(kind, &self.open(kind, entry)?).map_err(|why| invalid(&entry.key, why))
    }

    /// A name in the form of a random UUID that a repeat of the same request finds again.
    fn uuid(&self, parts: &[&[u8]]) -> Uuid {
        uuid::Builder::from_random_bytes(first_16(&self.keys.name(parts))).into_uuid()
    }
}

impl Loaded {
    /// The operation id that the store sees: of one caller's one intention with one key, so that two callers who chose
    /// the same id never meet.
    fn scoped(&self, call: &Call<'_>, op: OpId, action: Action) -> OpId {
        let parts: [&[u8]; 5] =
            [b"op", &op.0, call.caller.as_bytes(), action.name().as_bytes(), self.id.0.as_bytes()];
        OpId(first_16(&self.instance.keys.name(&parts)))
    }

    /// A transaction that holds only while header and record are as they were read.
    fn txn(&self, call: &Call<'_>, op: OpId, writes: Vec<Write>) -> Txn {
        let header = Cond::Unchanged(layout::header(call.instance), self.header_at);
        let record = Cond::Unchanged(layout::record(call.instance, self.id), self.record_at);
        Txn { op, conds: vec![header, record], writes }
    }

    /// What is known of the key once its record has been changed.
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

const fn not_found(id: KeyId) -> KmsError {
    KmsError::KeyNotFound(KeyRef::Id(id))
}

fn invalid(key: &StoreKey, why: RecordError) -> KmsError {
    KmsError::RecordInvalid { key: layout::show(key), why }
}

fn first_16(name: &[u8; 32]) -> [u8; 16] {
    let (half, _) = name.split_first_chunk().expect("32 bytes are at least 16");
    *half
}

/// The deployment alone.
impl<S, U> fmt::Debug for Kms<S, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms").field("meta", &self.meta).finish_non_exhaustive()
    }
}
