//! How a unit keeps its state: counter, change and audit record in one durable write, and keys that follow it.

use crate::administration::verify::Signers;
use crate::env::{Clock, Env};
use crate::master_key::{MasterKey, Reference};
use crate::slots::{Slots, WriteError};
use crate::state::State;
use crate::unit::Unit;
use engine::{Engine, EngineError};
use heapless::Vec;
use sha2::{Digest, Sha256};
use unit_api::admin::{AdminBlock, AdminRefusal, AdminRequest, AuditKind, AuditRecord};
use unit_api::{Refusal, UnitError, WKID_LEN};

/// How often a slot is tried to be overwritten that holds a key which is gone, before the unit stops serving.
const TIDYING_ATTEMPTS: usize = 3;

/// What the slot before the latest still holds.
pub(crate) enum Residue {
    /// Nothing that matters.
    None,
    /// A state that is over, and may name keys that are gone; to be overwritten.
    Old,
    /// It may be the latest state after all: of a write that failed, perhaps with a master key that was persisted
    /// for it. Until it is overwritten the key has to stay, or a restart would find a state without its key.
    Unknown(Option<Reference>),
}

/// What an audit record is to be about.
pub(crate) struct Attempt {
    kind: AuditKind,
    command: u32,
    block_hash: [u8; 32],
    pub(crate) signers: Signers,
}

impl Attempt {
    /// What no command is behind.
    pub(crate) const fn by_itself(kind: AuditKind) -> Self {
        Self { kind, command: 0, block_hash: [0; 32], signers: Signers::none() }
    }

    /// A command, nobody's signature verified yet.
    pub(crate) fn command(request: &AdminRequest<'_>, block: &AdminBlock<'_>) -> Self {
        let block_hash = Sha256::digest(request.block).into();
        Self { kind: AuditKind::Command, command: block.command, block_hash, signers: Signers::none() }
    }
}

impl<E: Env> Unit<E> {
    /// Appends a record to the log of a state that is otherwise as it will be saved.
    pub(crate) fn record(&mut self, state: &mut State, attempt: &Attempt, refused: Option<Refusal>) {
        let why = refused.map_or(AdminRefusal { return_code: 0, reason: 0 }, numbers);
        let wkid = |key: Option<&MasterKey>| key.map_or([0; WKID_LEN], |key| key.pattern.wkid());
        let registers = &state.domain.registers;
        let record = AuditRecord {
            sequence: 0,
            time_ms: self.clock.now_ms(),
            kind: attempt.kind,
            signers: u8::try_from(attempt.signers.count()).unwrap_or(u8::MAX),
            command: attempt.command,
            return_code: why.return_code,
            reason: why.reason,
            domain_instance: state.domain.instance,
            transaction_counter: state.transaction_counter,
            current: wkid(registers.current()),
            new: wkid(registers.new_key()),
            block_hash: attempt.block_hash,
            signer_prefixes: attempt.signers.prefixes(),
        };
        state.audit.append(record);
    }

    /// Makes `state` the unit's, in both slots.
    pub(crate) fn begin(&mut self, mut slots: Slots, state: State) -> Result<(), Refusal> {
        for _ in 0..2 {
            slots.write(&mut self.engine, &mut self.storage, &state).map_err(refusal)?;
        }
        self.state = state;
        self.slots = slots;
        self.residue = Residue::None;
        Ok(())
    }

    /// Saves the next state, swaps it in, and does away with the keys it no longer has.
    ///
    /// `made` is the master key that only the next state has, if there is one: without it the state is abandoned,
    /// and so is the key.
    pub(crate) fn adopt(&mut self, next: State, made: Option<&MasterKey>) -> Result<(), Refusal> {
        // Only what makes no key comes here while the end of an earlier write is unknown.
        let abandoned = match &self.residue {
            Residue::Unknown(abandoned) => abandoned.clone(),
            Residue::Old | Residue::None => None,
        };
        match self.slots.write(&mut self.engine, &mut self.storage, &next) {
            Ok(()) => {}
            Err(WriteError::NotWritten(refusal)) => {
                if let Some(made) = made {
                    made.destroy(&mut self.engine)?;
                    self.forget(&made.reference)?;
                }
                return Err(refusal);
            }
            Err(WriteError::Unknown) => {
                self.residue = Residue::Unknown(made.map(|made| made.reference.clone()).or(abandoned));
                if let Some(made) = made {
                    made.destroy(&mut self.engine)?;
                }
                // Tried again before the next change, if it does not work out now.
                let _ = self.settle();
                return Err(UnitError::StorageFailed.into());
            }
        }
        let before = core::mem::replace(&mut self.state, next);
        self.residue = Residue::None;
        // The write took the place of the one that ended unknown.
        if let Some(Err(failure)) = abandoned.map(|abandoned| self.forget(&abandoned)) {
            self.failure.get_or_insert(failure);
        }
        let mut gone: Vec<MasterKey, 2> = Vec::new();
        for key in before.domain.registers.keys_gone_in(&self.state.domain.registers) {
            // Two registers hold no more than two keys.
            let _ = gone.push(key.clone());
        }
        for gone in &gone {
            self.residue = Residue::Old;
            // The change is durable and cannot be refused any more; a key that stays although it should be gone
            // puts the unit into its error state, and the next start tries again.
            let destroyed = gone.destroy(&mut self.engine).map_err(Refusal::from);
            if let Err(failure) = destroyed.and(self.forget(&gone.reference)) {
                self.failure.get_or_insert(failure);
            }
        }
        self.tidy_up();
        Ok(())
    }

    /// Overwrites what is left of keys that are gone. While that fails the unit is in its error state.
    pub(crate) fn tidy_up(&mut self) {
        for _ in 0..TIDYING_ATTEMPTS {
            // Of a key that could not be done away with, the reference has to stay where the next start finds it.
            if !matches!(self.residue, Residue::Old) || self.failure.is_some() || self.settle().is_ok() {
                return;
            }
        }
    }

    /// Overwrites what the slot before the latest holds with the present state.
    fn settle(&mut self) -> Result<(), Refusal> {
        self.slots.write(&mut self.engine, &mut self.storage, &self.state).map_err(refusal)?;
        // A key that cannot be forgotten now stays noted, and so does its slot.
        if let Residue::Unknown(Some(abandoned)) = &self.residue {
            self.forget(&abandoned.clone())?;
        }
        self.residue = Residue::None;
        Ok(())
    }

    /// No change is begun while it is open which state a restart would find, nor is any key made for one: a key
    /// that was abandoned and is loaded again may have the same reference.
    pub(crate) fn settle_unknown(&mut self) -> Result<(), Refusal> {
        match self.residue {
            Residue::Unknown(_) => self.settle(),
            Residue::Old | Residue::None => Ok(()),
        }
    }

    /// Removes what was persisted; what is not there any more is as well.
    pub(crate) fn forget(&mut self, reference: &Reference) -> Result<(), Refusal> {
        match self.engine.forget_key(reference.as_bytes()) {
            Ok(()) | Err(EngineError::ReferenceInvalid) => Ok(()),
            Err(device) => Err(device.into()),
        }
    }

    /// Zeroizes a unit whose state is lost.
    ///
    /// Every command counted and every life begun took at least one write, so that a number above every number
    /// of a write is above every counter and every life. Where storage shows none, one is drawn so high that no
    /// count has come there; a unit that loses everything twice draws twice, and then only chance, 1 in 2³⁰, keeps
    /// the second draw from being a number of the first. The audit chain is lost with the state, and begins anew.
    pub(crate) fn zeroize_unknown(&mut self, attempt: &Attempt) -> Result<(), Refusal> {
        let (shown, outlines) = Slots::salvage(&mut self.engine, &mut self.storage)?;
        let written = Some(self.slots.sequence()).filter(|number| *number != 0);
        let highest = match shown.max(written) {
            Some(highest) => highest,
            None => {
                let mut drawn = [0; 4];
                self.engine.random(&mut drawn)?;
                // At least 2³¹, and low enough to leave as much room as a number found would.
                u64::from(u32::from_be_bytes(drawn) >> 2 | 1 << 31)
            }
        };
        let slots = Slots::after_sequence(highest);
        let mut state = State::born_again(self.state.identity, slots.next_sequence()?)?;
        self.record(&mut state, &Attempt::by_itself(AuditKind::NewChain), None);
        self.record(&mut state, attempt, None);
        self.begin(slots, state)?;
        for stored in outlines.iter().flatten().flat_map(|outline| &outline.keys).flatten() {
            self.forget(&stored.reference)?;
        }
        self.engine.forget_all_but(&[])?;
        // An engine that failed its self-test stays failed until it passes one.
        let cause = self.failure.and_then(Refusal::unit_error);
        if matches!(cause, Some(UnitError::StateInvalid | UnitError::StorageFailed)) {
            self.failure = None;
        }
        Ok(())
    }

    /// Zeroizes the unit at the module's level: the operator's way, never offered to the customer's link.
    ///
    /// Nobody signs it, and nothing but identity, counter and audit chain is left. It works in every state of the unit.
    /// Where the engine cannot seal what comes after, both slots are wiped all the same, and what the engine holds is
    /// destroyed as far as it lets itself be; the unit has lost its state then.
    ///
    /// # Errors
    /// What failed. Nothing is left that could be used, unless neither engine nor storage did anything at all.
    pub fn zeroize_module(&mut self) -> Result<(), Refusal> {
        self.start_over(AuditKind::ModuleZeroize)
    }

    /// Erases everything because the module has noticed tampering. As [`Unit::zeroize_module`], but for the record.
    ///
    /// # Errors
    /// As there.
    pub fn tamper(&mut self) -> Result<(), Refusal> {
        self.start_over(AuditKind::Tamper)
    }

    fn start_over(&mut self, kind: AuditKind) -> Result<(), Refusal> {
        self.importer = None;
        let attempt = Attempt::by_itself(kind);
        let begun = if self.state.is_known() {
            self.begin_next_life(&attempt)
        } else {
            self.zeroize_unknown(&attempt)
        };
        begun.inspect_err(|_| self.erase())
    }

    fn begin_next_life(&mut self, attempt: &Attempt) -> Result<(), Refusal> {
        let mut next = self.state.clone();
        next.domain = next.domain.next_life()?;
        self.record(&mut next, attempt, None);
        self.adopt(next, None)
    }

    /// Does away with everything that can still be reached, and remembers nothing.
    fn erase(&mut self) {
        let registers = self.state.domain.registers.clone();
        for key in registers.keys() {
            let _ = key.destroy(&mut self.engine);
            let _ = self.forget(&key.reference);
        }
        if let Residue::Unknown(Some(abandoned)) = core::mem::replace(&mut self.residue, Residue::None) {
            let _ = self.forget(&abandoned);
        }
        let _ = self.engine.forget_all_but(&[]);
        let erased = Slots::erase(&mut self.storage);
        self.state = State::unknown(self.state.identity);
        self.residue = Residue::None;
        let why = if erased.is_ok() { UnitError::StateInvalid } else { UnitError::StorageFailed };
        self.failure.get_or_insert(why.into());
    }
}

/// A refusal by EP11's numbers; a device's failure is CKR_DEVICE_ERROR with the engine's own number as reason.
pub(crate) fn numbers(refusal: Refusal) -> AdminRefusal {
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
