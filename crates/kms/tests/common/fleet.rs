//! Units that share an instance and rotate their master key, a store that can fail at any write, and an operator who
//! follows the advice of `resume`.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use getrandom::SysRng;
use keystore::conformance::model::MovableClock;
use keystore::{
    AdoptedSecret, Commit, Deadline, Freshness, Key, Keystore, Lease, LeaseId, MemoryStore, MemoryWatch,
    Page, Revision, Secret, SecretId, SecretOwner, SlotInUse, Snapshot, StoreError, StoreIdentity, Txn,
    UnnamedSecrets, WallClock,
};
use kms::rotation::{Position, RegionRotation, RegionStatus, Step, resume};
use kms::{
    Call, InstanceHeader, InstanceId, KeyKind, KeyRef, Kms, KmsError, KmsOptions, Plaintext, RotationPhase,
    RotationProfile, Timers, UnitReply, UnitState, Units, UnitsError,
};
use unit_api::{Command, NewRegister, UnitError, Variants, VerificationPattern};
use uuid::Uuid;

use super::{ALICE, FakeUnit, PATIENCE, new_key, op, pattern};

pub(crate) const OLD: [u8; 32] = [0x4d; 32];
pub(crate) const NEW: [u8; 32] = [0x4e; 32];

/// A crash: after a number of durable steps, of the store or of a unit, nothing works.
#[derive(Default)]
pub(crate) struct Fuse {
    /// Steps left; `None`: no crash.
    left: AtomicUsize,
    armed: AtomicBool,
    /// Whether the step at which it crashes still takes effect.
    lasts: AtomicBool,
    dead: AtomicBool,
}

impl Fuse {
    /// Crashes at the `n`th step from now, which still takes effect if `lasts`.
    pub(crate) fn arm(&self, n: usize, lasts: bool) {
        self.left.store(n, Ordering::SeqCst);
        self.lasts.store(lasts, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Works again, as after a restart.
    pub(crate) fn mend(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.dead.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Whether the next step takes effect, and whether its caller receives the result.
    fn step(&self) -> (bool, bool) {
        if self.is_dead() {
            return (false, false);
        }
        let last = self.armed.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if last {
            self.dead.store(true, Ordering::SeqCst);
        }
        let taken = !last || self.lasts.load(Ordering::SeqCst);
        (taken, !last)
    }
}

/// A store whose host can crash.
pub(crate) struct MortalStore {
    pub(crate) inner: Arc<MemoryStore>,
    fuse: Arc<Fuse>,
}

impl MortalStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.fuse.is_dead() { Err(StoreError::Unknown) } else { Ok(()) }
    }
}

impl Keystore for MortalStore {
    type Watch = MemoryWatch;

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    async fn get(&self, keys: &[Key], f: Freshness, d: Deadline) -> Result<Snapshot, StoreError> {
        self.check()?;
        self.inner.get(keys, f, d).await
    }

    async fn scan(
        &self,
        range: std::ops::Range<Key>,
        limit: usize,
        at: Option<Revision>,
        f: Freshness,
        d: Deadline,
    ) -> Result<Page, StoreError> {
        self.check()?;
        self.inner.scan(range, limit, at, f, d).await
    }

    async fn commit(&self, txn: Txn, d: Deadline) -> Result<Commit, StoreError> {
        let (taken, lives) = self.fuse.step();
        let outcome = if taken { self.inner.commit(txn, d).await } else { Err(StoreError::Unknown) };
        if lives { outcome } else { Err(StoreError::Unknown) }
    }

    async fn watch(&self, range: std::ops::Range<Key>, after: Revision) -> Result<MemoryWatch, StoreError> {
        self.inner.watch(range, after).await
    }

    async fn grant(&self, ttl: Duration, d: Deadline) -> Result<Lease, StoreError> {
        self.inner.grant(ttl, d).await
    }

    async fn renew(&self, lease: LeaseId, d: Deadline) -> Result<Lease, StoreError> {
        self.inner.renew(lease, d).await
    }

    async fn revoke(&self, lease: LeaseId, d: Deadline) -> Result<(), StoreError> {
        self.inner.revoke(lease, d).await
    }

    async fn draw_secret(&self, owner: SecretOwner, d: Deadline) -> Result<(SecretId, Secret), StoreError> {
        let (taken, lives) = self.fuse.step();
        let drawn = if taken { self.inner.draw_secret(owner, d).await } else { Err(StoreError::Unknown) };
        if lives { drawn } else { Err(StoreError::Unknown) }
    }

    fn release_secret(&self, owner: SecretOwner, id: SecretId) {
        if !self.fuse.is_dead() {
            self.inner.release_secret(owner, id);
        }
    }

    async fn secret(&self, id: SecretId, d: Deadline) -> Result<Option<Secret>, StoreError> {
        self.check()?;
        self.inner.secret(id, d).await
    }

    async fn erase_secrets(&self, ids: &[SecretId], d: Deadline) -> Result<(), StoreError> {
        let (taken, lives) = self.fuse.step();
        let erased = if taken { self.inner.erase_secrets(ids, d).await } else { Err(StoreError::Unknown) };
        if lives { erased } else { Err(StoreError::Unknown) }
    }

    async fn erase_owner(&self, owner: SecretOwner, d: Deadline) -> Result<(), StoreError> {
        let (taken, lives) = self.fuse.step();
        let erased = if taken { self.inner.erase_owner(owner, d).await } else { Err(StoreError::Unknown) };
        if lives { erased } else { Err(StoreError::Unknown) }
    }

    async fn inherited_secrets(&self, owner: SecretOwner, d: Deadline) -> Result<Vec<SecretId>, StoreError> {
        self.check()?;
        self.inner.inherited_secrets(owner, d).await
    }

    async fn adopt_secrets(
        &self,
        secrets: Vec<AdoptedSecret>,
        in_use: SlotInUse,
        d: Deadline,
    ) -> Result<(), StoreError> {
        let (taken, lives) = self.fuse.step();
        let adopted =
            if taken { self.inner.adopt_secrets(secrets, in_use, d).await } else { Err(StoreError::Unknown) };
        if lives { adopted } else { Err(StoreError::Unknown) }
    }

    async fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
        d: Deadline,
    ) -> Result<usize, StoreError> {
        let (taken, lives) = self.fuse.step();
        let erased =
            if taken { self.inner.erase_unnamed(which, named, d).await } else { Err(StoreError::Unknown) };
        if lives { erased } else { Err(StoreError::Unknown) }
    }
}

/// Several units behind one port, as in a host: the unit's master key selects the variant.
pub(crate) struct Fleet {
    pub(crate) units: Vec<FakeUnit>,
    turn: AtomicUsize,
    /// Holds back responses to key generation: permits to pass, and the number of waiting responses.
    pub(crate) gate: tokio::sync::Semaphore,
    pub(crate) arrived: tokio::sync::watch::Sender<usize>,
}

/// Keys that are held back: one of a creation and one of a rotation. The others are those of a rotation's own steps.
const HELD_BACK: usize = 2;
/// More permits than are ever needed.
const OPEN: usize = 1 << 20;

impl Fleet {
    /// Holds back the first keys that are generated from now on, until [`Self::let_through`].
    pub(crate) fn hold_back(&self) {
        self.gate.forget_permits(OPEN);
        self.arrived.send_replace(0);
    }

    pub(crate) fn let_through(&self) {
        self.gate.add_permits(OPEN);
    }

    pub(crate) fn new(count: usize) -> Self {
        Self {
            units: (0..count).map(|_| FakeUnit::new(OLD)).collect(),
            turn: AtomicUsize::new(0),
            gate: tokio::sync::Semaphore::new(OPEN),
            arrived: tokio::sync::watch::Sender::new(0),
        }
    }
}

impl Units for Fleet {
    async fn execute(&self, variants: &Variants<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        // The host chooses a unit by its last known state.
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let each: Vec<_> = variants.iter().collect();
        let units = (0..self.units.len()).map(|i| &self.units[(first + i) % self.units.len()]);
        let fits = |unit: &FakeUnit, i: usize| {
            each.get(i).is_some_and(|variant| variant.is_for(unit.shown().0.map(|pattern| pattern.wkid())))
        };
        let mut chosen: Vec<(&FakeUnit, usize)> =
            units.flat_map(|unit| [(unit, 0), (unit, 1)]).filter(|(unit, i)| fits(unit, *i)).collect();
        if variants.prefer_first {
            chosen.sort_by_key(|(_, i)| *i);
        }
        let (unit, i) = chosen.first().copied().unwrap_or((&self.units[first % self.units.len()], 0));
        tokio::task::yield_now().await;
        let mut outcome = unit.execute(&Variants::of(each[i].command), deadline).await;
        if matches!(variants.first.command, Command::GenerateKey { .. }) {
            let mut number = 0;
            self.arrived.send_modify(|arrived| {
                *arrived += 1;
                number = *arrived;
            });
            if number <= HELD_BACK {
                drop(self.gate.acquire().await.unwrap());
            }
        }
        // A unit that has rotated since then only costs another copy.
        let mismatch = UnitsError::Refused(UnitError::WkidMismatch.into());
        let refused = outcome.as_ref().map_err(Clone::clone).and_then(UnitReply::response).err();
        if refused == Some(mismatch) {
            for (unit, i) in self.units.iter().flat_map(|unit| [(unit, 0), (unit, 1)]) {
                if fits(unit, i) {
                    outcome = unit.execute(&Variants::of(each[i].command), deadline).await;
                    break;
                }
            }
        }
        outcome
    }
}

impl FakeUnit {
    pub(crate) fn shown(&self) -> (Option<VerificationPattern>, NewRegister) {
        let registers = self.registers.lock().unwrap();
        let new = match registers.new {
            None => NewRegister::Empty,
            Some((master, false)) => NewRegister::FullUncommitted(pattern(master)),
            Some((master, true)) => NewRegister::FullCommitted(pattern(master)),
        };
        (registers.current.map(pattern), new)
    }

    pub(crate) fn is_rotating(&self) -> bool {
        let registers = self.registers.lock().unwrap();
        registers.new.is_some() || registers.current == Some(NEW)
    }

    pub(crate) fn load(&self, master: [u8; 32]) {
        let mut registers = self.registers.lock().unwrap();
        assert!(registers.new.is_none() && registers.current != Some(master));
        registers.new = Some((master, false));
    }

    pub(crate) fn commit(&self) {
        let mut registers = self.registers.lock().unwrap();
        registers.new = registers.new.map(|(master, _)| (master, true));
    }

    pub(crate) fn activate(&self) {
        let mut registers = self.registers.lock().unwrap();
        let (master, committed) = registers.new.take().unwrap();
        assert!(committed);
        registers.current = Some(master);
    }

    pub(crate) fn clear_new(&self) {
        self.registers.lock().unwrap().new = None;
    }
}

/// Keys, each with a ciphertext that it wrapped.
pub(crate) struct Kept {
    pub(crate) instance: InstanceId,
    pub(crate) key: KeyRef,
    pub(crate) ciphertext: String,
    pub(crate) plaintext: Vec<u8>,
}

pub(crate) type FleetService = Kms<Arc<MortalStore>, Arc<Fleet>>;

/// Two instances over the same units.
pub(crate) struct Region {
    pub(crate) store: Arc<MortalStore>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) kms: Arc<FleetService>,
    pub(crate) instances: Vec<InstanceId>,
}

/// The operator's goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The new master key is current.
    Rotated,
    /// The old master key is current, and the rotation has left no trace.
    Cancelled,
}

impl Region {
    pub(crate) async fn new(units: usize, instances: u128) -> Self {
        Self::with_clock(units, instances, WallClock::system()).await
    }

    /// A region with the clock by which its store's history ages.
    pub(crate) async fn with_wall(units: usize, instances: u128) -> (Self, MovableClock) {
        let clock = MovableClock::default();
        (Self::with_clock(units, instances, clock.wall()).await, clock)
    }

    async fn with_clock(units: usize, instances: u128, wall: WallClock) -> Self {
        let fuse = Arc::new(Fuse::default());
        let inner = Arc::new(MemoryStore::new(StoreIdentity([1; 16]), wall));
        let store = Arc::new(MortalStore { inner, fuse: Arc::clone(&fuse) });
        let fleet = Arc::new(Fleet::new(units));
        let kms = open(&store, &fleet, RotationProfile::Online).await;
        let instances: Vec<_> = (1..=instances).map(|n| InstanceId(Uuid::from_u128(n))).collect();
        for instance in &instances {
            InstanceHeader::create(&store, &fleet, &mut SysRng, *instance, pattern(OLD), PATIENCE)
                .await
                .unwrap();
        }
        Self { store, fleet, fuse, kms, instances }
    }

    /// The service after a restart: it knows only the stored state.
    pub(crate) async fn restart(&mut self) {
        self.fuse.mend();
        self.store.inner.inherit_secrets();
        self.kms = open(&self.store, &self.fleet, RotationProfile::Online).await;
    }

    /// Another service over the same store and units.
    pub(crate) async fn service(&self, rotation: RotationProfile) -> Arc<FleetService> {
        open(&self.store, &self.fleet, rotation).await
    }

    /// Another service over the same store and units, with these limits.
    pub(crate) async fn service_within(&self, limits: kms::InvocationLimits) -> Arc<FleetService> {
        let options = KmsOptions::default().with_timers(Timers::UNGUARDED).with_invocations(limits);
        let (store, fleet) = (Arc::clone(&self.store), Arc::clone(&self.fleet));
        Arc::new(Kms::open(store, fleet, options, PATIENCE).await.unwrap())
    }

    pub(crate) fn call(&self, instance: InstanceId) -> Call<'static> {
        Call { instance, caller: ALICE, deadline: PATIENCE, changed_at: None }
    }

    pub(crate) fn rotation(&self) -> RegionRotation<'_, Arc<MortalStore>, Arc<Fleet>> {
        RegionRotation::new(&self.kms, &self.instances, self.call(self.instances[0]))
    }

    /// A root key and a ciphertext that it wrapped.
    pub(crate) async fn keep(&self, instance: InstanceId) -> Result<Kept, KmsError> {
        let call = self.call(instance);
        let key: KeyRef = self.kms.create_key(&call, op(), new_key(KeyKind::Root, None)).await?.id.into();
        let plaintext = super::random(16);
        let data = Some(Plaintext::new(plaintext.clone()));
        let ciphertext = self.kms.wrap(&call, &key, data, &["kept"]).await?.ciphertext;
        Ok(Kept { instance, key, ciphertext, plaintext })
    }

    /// Checks that the key opens its ciphertext.
    pub(crate) async fn open_kept(&self, kept: &Kept) {
        let call = self.call(kept.instance);
        let found = self.kms.unwrap(&call, &kept.key, &kept.ciphertext, &["kept"]).await.unwrap();
        assert_eq!(found.plaintext.expose(), kept.plaintext);
    }

    pub(crate) async fn secret(&self, instance: InstanceId) -> zeroize::Zeroizing<Vec<u8>> {
        let header = self.kms.header(&self.call(instance)).await.unwrap();
        self.fleet.units[0].instance_secret(&header).await
    }

    pub(crate) fn states(&self) -> Vec<UnitState> {
        let state = |(unit, number): (&FakeUnit, u16)| UnitState {
            number,
            registers: Some(unit.shown()),
            excluded: false,
        };
        self.fleet.units.iter().zip(1..).map(state).collect()
    }

    /// Whether a unit has the new master key.
    pub(crate) fn is_loaded(&self) -> bool {
        self.fleet.units.iter().any(FakeUnit::is_rotating)
    }

    /// Loads the new master key into every unit that has it in no register: the start of a rotation.
    pub(crate) fn load_all(&self) -> Option<()> {
        for unit in &self.fleet.units {
            self.administer(|| unit.load(NEW))?;
        }
        Some(())
    }

    /// One command of an administrator; the unit may crash at it.
    fn administer(&self, command: impl FnOnce()) -> Option<()> {
        let (taken, lives) = self.fuse.step();
        if taken {
            command();
        }
        lives.then_some(())
    }

    /// Follows [`resume`] until the goal is reached; `None` if the operator's machine crashes.
    pub(crate) async fn reach(&self, goal: Goal) -> Option<()> {
        loop {
            if !self.advance(goal).await? {
                return Some(());
            }
        }
    }

    /// Takes the next step to a goal; returns whether there was one.
    pub(crate) async fn advance(&self, goal: Goal) -> Option<bool> {
        let status = ok(self.rotation().status().await)?;
        let advice = resume(&status.position, &self.states());
        let giving_up = |step: &Step| matches!(step, Step::Cancel | Step::ClearNew { .. });
        let wanted = match goal {
            Goal::Cancelled => advice.also.iter().find(|step| giving_up(step)).cloned(),
            Goal::Rotated => None,
        };
        self.take(wanted.unwrap_or(advice.next), &status.position).await
    }

    async fn take(&self, step: Step, position: &Position) -> Option<bool> {
        let unit = |number: u16| &self.fleet.units[usize::from(number) - 1];
        let rotation = self.rotation();
        let done = |outcome: Result<RegionStatus, kms::rotation::RegionError>| ok(outcome).map(|_| true);
        match step {
            Step::Nothing => return Some(false),
            Step::Begin { new } => return done(rotation.begin(new).await),
            Step::Reencipher | Step::RemoveOldForms | Step::RemoveNewForms => {
                return done(rotation.run(|_, _| ()).await);
            }
            Step::BeginActivation => return done(rotation.begin_activation().await),
            Step::Finish => return done(rotation.finish(&self.states()).await),
            Step::Cancel => return done(rotation.cancel().await),
            Step::LoadNew { units, pattern: wanted } => {
                assert!(wanted.is_of_same_key(&pattern(NEW)));
                units.into_iter().try_for_each(|n| self.administer(|| unit(n).load(NEW)))?;
            }
            Step::CommitNew { units, .. } => {
                units.into_iter().try_for_each(|n| self.administer(|| unit(n).commit()))?;
            }
            Step::Activate { units, .. } => {
                // One unit at a time: the next advice contains the others.
                units.into_iter().take(1).try_for_each(|n| self.administer(|| unit(n).activate()))?;
            }
            Step::ClearNew { units } => {
                let needed = position
                    .journal
                    .is_some_and(|j| !matches!(j.phase, RotationPhase::Cancelling | RotationPhase::Done));
                assert!(!needed, "New is cleared while keys depend on it");
                units.into_iter().try_for_each(|n| self.administer(|| unit(n).clear_new()))?;
            }
            other => panic!("{other}"),
        }
        Some(true)
    }

    /// The rotation states of all instances.
    pub(crate) async fn phases(&self) -> Vec<Option<RotationPhase>> {
        let mut phases = Vec::new();
        for instance in &self.instances {
            let status = self.kms.rotation(&self.call(*instance)).await.unwrap();
            phases.push(status.map(|status| status.phase));
        }
        phases
    }
}

/// The result of a step, or `None` if the machine crashed at it.
fn ok<T, E: std::error::Error + 'static>(outcome: Result<T, E>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            assert!(matches!(cause.downcast_ref(), Some(StoreError::Unknown)), "{error}: {cause}");
            None
        }
    }
}

async fn open(store: &Arc<MortalStore>, fleet: &Arc<Fleet>, rotation: RotationProfile) -> Arc<FleetService> {
    let options = KmsOptions::default().with_timers(Timers::UNGUARDED).with_rotation(rotation);
    Arc::new(Kms::open(Arc::clone(store), Arc::clone(fleet), options, PATIENCE).await.unwrap())
}
