//! Real units: the firmware core on the software engine, in process.
#![allow(dead_code, reason = "each user needs its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use kms::{Form, Forms, UnitReply, UnitState, Units, UnitsError};
use unit_api::{
    Command, Envelope, FRAME_HEADER_LEN, MAX_FRAME_LEN, Reply, Response, Target, UnitId, UnitStatus,
    VerificationPattern, Wkid,
};
use unit_core::{Env, Identity, Slot, Storage, StorageFailed, Unit};
use zeroize::Zeroizing;

#[derive(Default)]
struct Memory([Vec<u8>; 2]);

impl Storage for Memory {
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed> {
        let held = self.0.get(slot as usize).ok_or(StorageFailed)?;
        content.get_mut(..held.len()).ok_or(StorageFailed)?.copy_from_slice(held);
        Ok(held.len())
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        *self.0.get_mut(slot as usize).ok_or(StorageFailed)? = content.to_vec();
        Ok(())
    }
}

struct World;

impl Env for World {
    type Engine = SoftEngine<fn(&mut [u8]) -> Result<(), EntropyFailed>>;
    type Storage = Memory;
}

/// A unit behind a lock, its answers as the frames they would be.
pub(crate) struct RealUnit(Mutex<Box<Unit<World>>>);

/// What an administrator has a unit do with its registers.
pub(crate) enum Order {
    /// Load New from these parts.
    Load([[u8; 32]; 2]),
    Commit(VerificationPattern),
    Activate(VerificationPattern),
}

impl RealUnit {
    /// A unit without a master key.
    pub(crate) fn new(number: u8) -> Self {
        let entropy: fn(&mut [u8]) -> _ = |seed| getrandom::fill(seed).map_err(|_| EntropyFailed);
        let engine = SoftEngine::new(&DeviceSecret::new([number; 32]), entropy).unwrap();
        let mut unit = *b"TEST0000\0\0\0\0\0\0\0\x01";
        unit[7] += number;
        let identity = Identity { unit: UnitId(unit), domain_index: 0 };
        Self(Mutex::new(Box::new(Unit::start(engine, Memory::default(), identity))))
    }

    /// Carries one order out; the only place that knows how. Gives the pattern of what was loaded.
    fn administer(&self, order: &Order) -> Option<VerificationPattern> {
        let parts;
        let command = match order {
            Order::Load(loaded) => {
                parts = loaded.concat();
                Command::LoadKeyParts { parts: &parts }
            }
            Order::Commit(pattern) => Command::Commit { pattern: *pattern },
            Order::Activate(pattern) => Command::Activate { pattern: *pattern },
        };
        let status = self.status();
        let target = Target {
            unit: status.unit,
            domain_index: status.domain_index,
            domain_instance: status.domain_instance,
        };
        let transaction_counter = status.transaction_counter + 1;
        let envelope = Envelope { target: Some(target), transaction_counter, ..Envelope::plain(command) };
        let mut out = vec![0; MAX_FRAME_LEN];
        match self.0.lock().unwrap().execute(&envelope, &mut out).unwrap() {
            Response::Loaded(pattern) => Some(pattern),
            _ => None,
        }
    }

    /// Loads and commits a master key; its pattern.
    pub(crate) fn prepare(&self, parts: [[u8; 32]; 2]) -> VerificationPattern {
        let pattern = self.administer(&Order::Load(parts)).unwrap();
        self.administer(&Order::Commit(pattern));
        pattern
    }

    pub(crate) fn activate(&self, pattern: VerificationPattern) {
        self.administer(&Order::Activate(pattern));
    }

    pub(crate) fn status(&self) -> UnitStatus {
        let reply = self.ask(&Command::Status);
        match reply.response().unwrap() {
            Response::Status(status) => status,
            other => unreachable!("{other:?}"),
        }
    }

    fn ask(&self, command: &Command<'_>) -> UnitReply {
        let mut out = Zeroizing::new(vec![0; MAX_FRAME_LEN]);
        let mut frame = Zeroizing::new(vec![0; FRAME_HEADER_LEN + MAX_FRAME_LEN]);
        let len = {
            let mut unit = self.0.lock().unwrap();
            let result = unit.execute(&Envelope::plain(*command), &mut out);
            unit_api::encode_reply(&Reply { number: 1, result }, &mut frame).unwrap()
        };
        UnitReply::from_body(Zeroizing::new(frame.get(FRAME_HEADER_LEN..len).unwrap().to_vec()))
    }
}

/// Real units as one: each in turn, in the form that is for its master key.
pub(crate) struct RealFleet {
    pub(crate) units: Vec<RealUnit>,
    turn: AtomicUsize,
}

impl RealFleet {
    /// Units with the master key of these parts, and its pattern.
    pub(crate) fn new(count: u8, parts: [[u8; 32]; 2]) -> (Self, VerificationPattern) {
        let units: Vec<_> = (1..=count).map(RealUnit::new).collect();
        let mut pattern = VerificationPattern::from_bytes([0; 32]);
        for unit in &units {
            pattern = unit.prepare(parts);
            unit.activate(pattern);
        }
        (Self { units, turn: AtomicUsize::new(0) }, pattern)
    }

    pub(crate) fn states(&self) -> Vec<UnitState> {
        let state = |(unit, number): (&RealUnit, u16)| {
            let status = unit.status();
            UnitState { number, registers: Some((status.current, status.new)), excluded: false }
        };
        self.units.iter().zip(1..).map(state).collect()
    }
}

fn wkid_of(command: &Command<'_>) -> Option<Wkid> {
    let (Command::Encrypt { key: blob, .. }
    | Command::Decrypt { key: blob, .. }
    | Command::Sign { key: blob, .. }
    | Command::Reencipher { blob }) = *command
    else {
        return None;
    };
    blob.get(32..48).and_then(|wkid| wkid.try_into().ok())
}

impl Units for RealFleet {
    async fn execute(&self, command: &Command<'_>, deadline: Duration) -> Result<UnitReply, UnitsError> {
        self.execute_forms(&Forms::of(*command), deadline).await
    }

    async fn execute_forms(&self, forms: &Forms<'_>, _: Duration) -> Result<UnitReply, UnitsError> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.units.len();
        let in_turn = || self.units.iter().cycle().skip(first).take(self.units.len());
        let fits = |unit: &RealUnit, form: &Form<'_>| match form.under.or_else(|| wkid_of(&form.command)) {
            None => true,
            Some(wkid) => unit.status().current.is_some_and(|pattern| pattern.wkid() == wkid),
        };
        for form in std::iter::once(forms.first).chain(forms.second) {
            if let Some(unit) = in_turn().find(|unit| fits(unit, &form)) {
                return Ok(unit.ask(&form.command));
            }
        }
        let unit = self.units.first().ok_or_else(|| UnitsError::NoEligibleUnit(String::new()))?;
        Ok(unit.ask(&forms.first.command))
    }
}
