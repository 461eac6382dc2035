//! Persistence of the state: counter, change and audit record in one durable write, then the removal of keys.

use crate::administration::verify::Signers;
use crate::env::{Clock, Env};
use crate::master_key::{MasterKey, Reference};
use crate::refused_attempts::RefusedAttempts;
use crate::slots::{Slots, WriteError};
use crate::state::State;
use crate::unit::Unit;
use engine::{Engine, EngineError, StateKeyId};
use heapless::Vec;
use sha2::{Digest, Sha256};
use unit_api::admin::{AdminBlock, AdminRefusal, AdminRequest, AuditKind, AuditRecord};
use unit_api::{FIRST_DRAWN_LIFE, Refusal, UnitError, WKID_LEN};

/// Attempts to overwrite a slot that refers to a removed key, before the unit stops serving.
const CLEAN_UP_ATTEMPTS: usize = 3;

/// The content of the slot that does not hold the current state.
pub(crate) enum StaleSlot {
    /// Nothing that needs to be overwritten.
    Harmless,
    /// An older state, which may refer to removed keys, or be sealed under a key that is to be destroyed: the key has to be
    /// destroyed and the slot overwritten.
    Outdated,
    /// Possibly a newer state, of a write that failed, and the master key that was persisted for it. The key stays until the
    /// slot is overwritten, because a restart might find that state.
    Uncertain(Option<Reference>),
}

/// The subject of an audit record.
pub(crate) struct AuditedAction {
    kind: AuditKind,
    command: u32,
    block_hash: [u8; 32],
    pub(crate) signers: Signers,
}

impl AuditedAction {
    /// An event that no command caused.
    pub(crate) const fn without_command(kind: AuditKind) -> Self {
        Self { kind, command: 0, block_hash: [0; 32], signers: Signers::none() }
    }

    /// A command, without verified signatures yet.
    pub(crate) fn command(request: &AdminRequest<'_>, block: &AdminBlock<'_>) -> Self {
        let block_hash = Sha256::digest(request.block).into();
        Self { kind: AuditKind::Command, command: block.command, block_hash, signers: Signers::none() }
    }

    /// The record of this event in this state, without its number.
    pub(crate) fn audit_record(&self, time_ms: u64, state: &State, refused: Option<Refusal>) -> AuditRecord {
        let why = refused.map_or(AdminRefusal { return_code: 0, reason: 0 }, ep11_numbers);
        let wkid = |key: Option<&MasterKey>| key.map_or([0; WKID_LEN], |key| key.pattern.wkid());
        let registers = &state.domain.registers;
        AuditRecord {
            sequence: 0,
            time_ms,
            kind: self.kind,
            signers: u8::try_from(self.signers.count()).unwrap_or(u8::MAX),
            command: self.command,
            return_code: why.return_code,
            reason: why.reason,
            domain_instance: state.domain.instance,
            transaction_counter: state.transaction_counter,
            current: wkid(registers.current()),
            new: wkid(registers.new_key()),
            block_hash: self.block_hash,
            signer_prefixes: self.signers.prefixes(),
        }
    }
}

impl<E: Env> Unit<E> {
    /// Appends a record to the log of a state that is otherwise ready to be persisted; before it, one about the unauthorised
    /// commands since the last record.
    pub(crate) fn record(&mut self, state: &mut State, attempt: &AuditedAction, refused: Option<Refusal>) {
        if let Some(summary) = self.refused.summary() {
            state.audit.append(summary);
        }
        let record = attempt.audit_record(self.clock.now_ms(), state, refused);
        state.audit.append(record);
    }

    /// Writes `state` to both slots under a new state key, the only one from now on, and makes it the unit's.
    pub(crate) fn begin(&mut self, mut slots: Slots, state: State) -> Result<(), Refusal> {
        self.engine.destroy_state_keys_but(&[])?;
        let key = self.engine.create_state_key()?;
        for _ in 0..2 {
            slots.write(&mut self.engine, &mut self.storage, &state, key).map_err(refusal)?;
        }
        self.state = state;
        self.slots = slots;
        self.stale_slot = StaleSlot::Harmless;
        self.refused = RefusedAttempts::default();
        Ok(())
    }

    /// The key to seal the next state under: a new one if the state begins another life or holds other master keys than the
    /// present one, so that the states of before cannot be opened once their key is destroyed.
    fn state_key_for(&mut self, next: &State, made: Option<&MasterKey>) -> Result<StateKeyId, Refusal> {
        let (before, after) = (&self.state.domain, &next.domain);
        let removes = before.registers.keys_removed_in(&after.registers).next().is_some();
        if let Some(key) = self.slots.key()
            && before.instance == after.instance
            && !removes
            && made.is_none()
        {
            return Ok(key);
        }
        if matches!(self.stale_slot, StaleSlot::Uncertain(_)) {
            // Makes room. If it fails, so does the new key, or there is room all the same.
            let _ = self.destroy_other_state_keys();
        }
        Ok(self.engine.create_state_key()?)
    }

    /// Destroys every state key but the one that the current state is sealed under.
    pub(crate) fn destroy_other_state_keys(&mut self) -> Result<(), Refusal> {
        Ok(self.engine.destroy_state_keys_but(self.slots.key().as_slice())?)
    }

    /// Persists the next state, makes it the unit's, and removes the keys that it no longer has.
    ///
    /// `made` is the master key that only the next state has, if any. If the write fails, the state is abandoned and the key
    /// is destroyed.
    ///
    /// A state that holds other master keys, or begins another life, is sealed under a new state key. The former key is
    /// destroyed as soon as that state is durable: power may go at any moment, and leaves the state before or after.
    pub(crate) fn save_and_swap(&mut self, next: State, made: Option<&MasterKey>) -> Result<(), Refusal> {
        // While the result of an earlier write is uncertain, only commands that make no key get here.
        let abandoned = match &self.stale_slot {
            StaleSlot::Uncertain(abandoned) => abandoned.clone(),
            StaleSlot::Outdated | StaleSlot::Harmless => None,
        };
        let former_key = self.slots.key();
        let written = match self.state_key_for(&next, made) {
            Ok(key) => self.slots.write(&mut self.engine, &mut self.storage, &next, key),
            Err(refusal) => Err(WriteError::NotWritten(refusal)),
        };
        match written {
            Ok(()) => {}
            Err(WriteError::NotWritten(refusal)) => {
                // A new state key that has sealed nothing; if it cannot be destroyed now, a later change does that.
                let _ = self.destroy_other_state_keys();
                if let Some(made) = made {
                    made.destroy(&mut self.engine)?;
                    self.forget(&made.reference)?;
                }
                return Err(refusal);
            }
            Err(WriteError::Unknown) => {
                self.stale_slot = StaleSlot::Uncertain(made.map(|made| made.reference.clone()).or(abandoned));
                if let Some(made) = made {
                    made.destroy(&mut self.engine)?;
                }
                // Repeated before the next change, if it fails now.
                let _ = self.overwrite_stale_slot();
                return Err(UnitError::StorageFailed.into());
            }
        }
        let before = core::mem::replace(&mut self.state, next);
        let is_renewed = former_key != self.slots.key();
        self.stale_slot = if is_renewed { StaleSlot::Outdated } else { StaleSlot::Harmless };
        self.refused = RefusedAttempts::default();
        // The write has replaced the uncertain one.
        if let Some(Err(failure)) = abandoned.map(|abandoned| self.forget(&abandoned)) {
            self.failure.get_or_insert(failure);
        }
        let mut gone: Vec<MasterKey, 2> = Vec::new();
        for key in before.domain.registers.keys_removed_in(&self.state.domain.registers) {
            // Two registers hold no more than two keys.
            let _ = gone.push(key.clone());
        }
        for gone in &gone {
            // The change is durable and can no longer be refused. A key that cannot be removed puts the unit into its error
            // state, and the next start repeats the removal.
            let destroyed = gone.destroy(&mut self.engine).map_err(Refusal::from);
            if let Err(failure) = destroyed.and(self.forget(&gone.reference)) {
                self.failure.get_or_insert(failure);
            }
        }
        self.clean_up();
        Ok(())
    }

    /// Overwrites the slot of an older state, which may refer to removed keys. While that fails, the unit is in its error state.
    pub(crate) fn clean_up(&mut self) {
        for _ in 0..CLEAN_UP_ATTEMPTS {
            // The reference of a key that could not be removed stays where the next start finds it.
            if !matches!(self.stale_slot, StaleSlot::Outdated)
                || self.failure.is_some()
                || self.overwrite_stale_slot().is_ok()
            {
                return;
            }
        }
    }

    /// Destroys the former state keys, and overwrites the slot of the older state with the current state.
    fn overwrite_stale_slot(&mut self) -> Result<(), Refusal> {
        // First: what cannot be overwritten, for example a copy of the slot, is closed all the same.
        self.destroy_other_state_keys()?;
        let key = match self.slots.key() {
            Some(key) => key,
            // The state was read from the earlier format. It has to be durable before the device key is renewed.
            None => {
                let key = self.engine.create_state_key()?;
                self.slots.write(&mut self.engine, &mut self.storage, &self.state, key).map_err(refusal)?;
                key
            }
        };
        if self.has_earlier_format {
            self.engine.renew_device_key()?;
        }
        self.slots.write(&mut self.engine, &mut self.storage, &self.state, key).map_err(refusal)?;
        self.has_earlier_format = false;
        // A key that cannot be forgotten now stays registered here.
        if let StaleSlot::Uncertain(Some(abandoned)) = &self.stale_slot {
            self.forget(&abandoned.clone())?;
        }
        self.stale_slot = StaleSlot::Harmless;
        Ok(())
    }

    /// Ends the uncertainty about which state a restart would find, before a change begins or a key is made for one: an
    /// abandoned key that is loaded again may have the same reference.
    pub(crate) fn resolve_uncertain_write(&mut self) -> Result<(), Refusal> {
        match self.stale_slot {
            StaleSlot::Uncertain(_) => self.overwrite_stale_slot(),
            StaleSlot::Outdated | StaleSlot::Harmless => Ok(()),
        }
    }

    /// Removes a persisted key; a key that was removed before is no error.
    pub(crate) fn forget(&mut self, reference: &Reference) -> Result<(), Refusal> {
        match self.engine.forget_key(reference.as_bytes()) {
            Ok(()) | Err(EngineError::ReferenceInvalid) => Ok(()),
            Err(device) => Err(device.into()),
        }
    }

    /// Zeroizes a unit whose state is lost.
    ///
    /// Every counted command and every life took at least one write, so that a number above every sequence number is above
    /// every counter and every life. If the storage has no sequence number, a random one is used that is higher than any
    /// count. A unit that loses everything twice draws twice, with a chance of 1 in 2³⁰ that the numbers meet. The audit chain
    /// is lost with the state; a new chain begins.
    pub(crate) fn zeroize_unknown(&mut self, attempt: &AuditedAction) -> Result<(), Refusal> {
        let (shown, summaries) = Slots::salvage(&mut self.engine, &mut self.storage)?;
        let written = Some(self.slots.sequence()).filter(|number| *number != 0);
        let highest = match shown.max(written) {
            Some(highest) => highest,
            None => {
                let mut drawn = [0; 4];
                self.engine.random(&mut drawn)?;
                // At least 2³¹, and low enough to leave as much room as a plausible number does.
                u64::from(u32::from_be_bytes(drawn) >> 2 | FIRST_DRAWN_LIFE)
            }
        };
        // States of the earlier format, wherever copies of them are.
        self.engine.renew_device_key()?;
        self.has_earlier_format = false;
        let slots = Slots::after_sequence(highest);
        let mut state = State::after_lost_state(self.state.identity, slots.next_sequence()?)?;
        self.record(&mut state, &AuditedAction::without_command(AuditKind::NewChain), None);
        self.record(&mut state, attempt, None);
        self.begin(slots, state)?;
        for stored in summaries.iter().flatten().flat_map(|summary| &summary.keys).flatten() {
            self.forget(&stored.reference)?;
        }
        self.engine.forget_all_but(&[])?;
        // An engine that failed its self-test stays failed until it passes the test.
        let cause = self.failure.and_then(Refusal::unit_error);
        if matches!(cause, Some(UnitError::StateInvalid | UnitError::StorageFailed)) {
            self.failure = None;
        }
        Ok(())
    }

    /// Zeroizes the unit at the level of the module: for the operator, unreachable over the customer's link.
    ///
    /// It needs no signature and works in every state of the unit; identity, counter and audit chain remain. If the engine
    /// cannot seal the next state, both slots are overwritten all the same, and the engine's keys, the state keys among them,
    /// are destroyed as far as possible; the unit has then lost its state.
    ///
    /// # Errors
    /// The failure. Even then nothing usable remains, unless both engine and storage failed completely.
    pub fn zeroize_module(&mut self) -> Result<(), Refusal> {
        self.zeroize_as(AuditKind::ModuleZeroize)
    }

    /// Erases everything because the module has detected tampering. As [`Unit::zeroize_module`], with another audit record.
    ///
    /// # Errors
    /// As in [`Unit::zeroize_module`].
    pub fn tamper(&mut self) -> Result<(), Refusal> {
        self.zeroize_as(AuditKind::Tamper)
    }

    fn zeroize_as(&mut self, kind: AuditKind) -> Result<(), Refusal> {
        self.importer = None;
        let attempt = AuditedAction::without_command(kind);
        let begun =
            if self.state.is_known() { self.zeroize_known(&attempt) } else { self.zeroize_unknown(&attempt) };
        begun.inspect_err(|_| self.erase())
    }

    fn zeroize_known(&mut self, attempt: &AuditedAction) -> Result<(), Refusal> {
        let mut next = self.state.clone();
        next.domain = next.domain.next_life()?;
        // Nothing that was signed or answered before may pass for something after it.
        next.transaction_counter =
            next.transaction_counter.checked_add(1).ok_or(UnitError::TransactionCounter)?;
        self.record(&mut next, attempt, None);
        self.save_and_swap(next, None)
    }

    /// Destroys all keys that can be reached, overwrites both slots, and forgets the state.
    fn erase(&mut self) {
        let registers = self.state.domain.registers.clone();
        for key in registers.keys() {
            let _ = key.destroy(&mut self.engine);
            let _ = self.forget(&key.reference);
        }
        if let StaleSlot::Uncertain(Some(abandoned)) =
            core::mem::replace(&mut self.stale_slot, StaleSlot::Harmless)
        {
            let _ = self.forget(&abandoned);
        }
        let _ = self.engine.forget_all_but(&[]);
        let _ = self.engine.destroy_state_keys_but(&[]);
        let _ = self.engine.renew_device_key();
        let erased = Slots::erase(&mut self.storage);
        self.state = State::unknown(self.state.identity);
        self.stale_slot = StaleSlot::Harmless;
        let why = if erased.is_ok() { UnitError::StateInvalid } else { UnitError::StorageFailed };
        self.failure.get_or_insert(why.into());
    }
}

/// EP11's numbers of a refusal; an engine's error is CKR_DEVICE_ERROR with the engine's number as reason.
pub(crate) fn ep11_numbers(refusal: Refusal) -> AdminRefusal {
    match refusal.unit_error() {
        Some(error) => AdminRefusal::of(error),
        None => AdminRefusal { return_code: 0x30, reason: refusal.code().into() },
    }
}

pub(crate) fn refusal(error: WriteError) -> Refusal {
    match error {
        WriteError::NotWritten(refusal) => refusal,
        WriteError::Unknown => UnitError::StorageFailed.into(),
    }
}
