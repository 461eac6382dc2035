//! The unit itself: what it holds, how it starts, and the one way in.

use crate::answer::Answer;
use crate::authorize::{AuthorizedCommand, authorize};
use crate::command;
use crate::env::{Env, Identity};
use crate::key_scope::KeyScope;
use crate::master_key::{Candidate, MasterKey, Reference};
use crate::registers::RegisterCommand;
use crate::self_test;
use crate::slot::OpenSlot;
use crate::slots::{Found, Slots, WriteError};
use crate::state::{State, StoredKey};
use engine::{Engine, EngineError};
use unit_api::{Command, Condition, Envelope, Refusal, Response, UnitError, UnitStatus};

/// One crypto unit.
///
/// There are no administrators yet: every unit behaves as a secured one whose commands nobody has to sign, and
/// shows 0 administrators and thresholds of 0. What needs a master key and what does not: `GenerateRandom` and
/// `Status` do not; of the rest the registers' table says which state serves what.
///
/// A unit in its error state answers `Status` and `Zeroize`. Stored state that is lost is replaced by `Zeroize`, after
/// which the unit works; what is wrong with the engine lasts until a start that finds it right.
pub struct Unit<E: Env> {
    engine: E::Engine,
    storage: E::Storage,
    state: State,
    slots: Slots,
    boot_nonce: [u8; 16],
    /// Why only `Status` and `Zeroize` are answered, if so.
    failure: Option<Refusal>,
    residue: Residue,
}

/// What the slot before the latest still holds.
enum Residue {
    /// Nothing that matters.
    None,
    /// A state that is over, and may name keys that are gone; to be overwritten.
    Old,
    /// It may be the latest state after all: of a write that failed, perhaps with a master key that was persisted
    /// for it. Until it is overwritten the key has to stay, or a restart would find a state without its key.
    Unknown(Option<Reference>),
}

impl<E: Env> Unit<E> {
    /// Powers a unit up: self-test, boot nonce, then the state that storage holds, or a first one if it holds none.
    ///
    /// Always gives a unit: one that could not start is in its error state, and says why in its status.
    /// `identity` is the same at every start; a state stored by another identity is refused.
    pub fn start(
        engine: E::Engine,
        storage: E::Storage,
        module: E::Module,
        clock: E::Clock,
        identity: Identity,
    ) -> Self {
        let mut unit = Self {
            engine,
            storage,
            state: State::unknown(identity),
            slots: Slots::unused(),
            boot_nonce: [0; 16],
            failure: None,
            residue: Residue::None,
        };
        unit.failure = unit.power_on().err();
        unit
    }

    fn power_on(&mut self) -> Result<(), Refusal> {
        self_test::run(&mut self.engine)?;
        self.engine.random(&mut self.boot_nonce)?;
        match Slots::find(&mut self.engine, &mut self.storage)? {
            Found::Nothing => self.begin(Slots::unused(), State::first(self.state.identity)),
            Found::State(slots, newest, older) => self.restore(slots, &newest, older.as_ref()),
            Found::Invalid => Err(UnitError::StateInvalid.into()),
        }
    }

    /// Makes `state` the unit's, in both slots.
    fn begin(&mut self, mut slots: Slots, state: State) -> Result<(), Refusal> {
        for _ in 0..2 {
            slots.write(&mut self.engine, &mut self.storage, &state).map_err(refusal)?;
        }
        self.state = state;
        self.slots = slots;
        self.residue = Residue::None;
        Ok(())
    }

    fn restore(&mut self, slots: Slots, newest: &OpenSlot, older: Option<&OpenSlot>) -> Result<(), Refusal> {
        if newest.state.identity != self.state.identity {
            return Err(UnitError::StateInvalid.into());
        }
        let keys = self.recall_both(newest.state.keys())?;
        self.state = newest.state.with_keys(keys).ok_or(UnitError::StateInvalid)?;
        self.slots = slots;
        if older.is_some_and(|older| older.is_same_as(newest)) {
            return Ok(());
        }
        // The last change may have been cut short before the keys it did away with were forgotten.
        for gone in older.iter().flat_map(|older| older.state.keys()).flatten() {
            let kept = |kept: &MasterKey| kept.reference.as_bytes() == gone.reference.as_bytes();
            if !self.state.registers.keys().any(kept) {
                self.forget(&gone.reference)?;
            }
        }
        self.residue = Residue::Old;
        // If storage cannot take it now, the next change tries again.
        let _ = self.settle();
        Ok(())
    }

    fn recall_both(&mut self, stored: [Option<StoredKey>; 2]) -> Result<[Option<MasterKey>; 2], Refusal> {
        let [first, second] = stored;
        let first = first.map(|stored| self.recall(&stored)).transpose()?;
        match second.map(|stored| self.recall(&stored)).transpose() {
            Ok(second) => Ok([first, second]),
            Err(refusal) => {
                first.iter().try_for_each(|first| first.destroy(&mut self.engine))?;
                Err(refusal)
            }
        }
    }

    fn recall(&mut self, stored: &StoredKey) -> Result<MasterKey, Refusal> {
        KeyScope::run(&mut self.engine, |scope| {
            let handle =
                scope.engine().recall_key(stored.reference.as_bytes()).map_err(|error| match error {
                    EngineError::ReferenceInvalid => UnitError::StateInvalid.into(),
                    device => Refusal::from(device),
                })?;
            let recalled = command::derive(scope, handle)?.with_reference(stored.reference);
            if !recalled.has_pattern(&stored.pattern) {
                return Err(UnitError::StateInvalid.into());
            }
            scope.release_all();
            Ok(recalled)
        })
    }

    /// Carries out a command: the only way in.
    ///
    /// What the response borrows is at the start of `out`; [`unit_api::MAX_FRAME_LEN`] bytes are enough for every
    /// answer. `out` may hold secrets afterwards and is the caller's to wipe.
    ///
    /// # Errors
    /// The refusal; `out` is zero then, and the unit is as it was, but that a refusal for a fault of the unit's own
    /// ([`EngineError::DeviceError`], [`EngineError::KeyHandleInvalid`]) puts it into its error state.
    pub fn execute<'o>(
        &mut self,
        envelope: &Envelope<'_>,
        out: &'o mut [u8],
    ) -> Result<Response<'o>, Refusal> {
        match authorize(&self.state, envelope).and_then(|command| self.carry_out(&command, out)) {
            Ok(answer) => answer.into_response(out),
            Err(refusal) => {
                out.fill(0);
                if matches!(
                    refusal.engine_error(),
                    Some(EngineError::DeviceError | EngineError::KeyHandleInvalid)
                ) {
                    self.failure.get_or_insert(refusal);
                }
                Err(refusal)
            }
        }
    }

    fn carry_out(&mut self, command: &AuthorizedCommand<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
        match command.command() {
            Command::Status => Ok(Answer::Status(self.status())),
            Command::Zeroize => self.zeroize(),
            _ if self.failure.is_some() => Err(UnitError::ErrorState.into()),
            command if command.is_administrative() => self.administer(&command),
            data => self.serve(&data, out),
        }
    }

    fn administer(&mut self, command: &Command<'_>) -> Result<Answer, Refusal> {
        self.settle_unknown()?;
        match *command {
            Command::LoadKeyParts { parts } => {
                let made = KeyScope::run(&mut self.engine, |scope| {
                    let candidate = command::load_key_parts(scope, &self.state.registers, parts)?;
                    persist(scope, candidate)
                })?;
                self.take_in(made, RegisterCommand::Load(made))
            }
            Command::GenerateMasterKey => {
                let made = KeyScope::run(&mut self.engine, |scope| {
                    let candidate = command::generate_master_key(scope, &self.state.registers)?;
                    persist(scope, candidate)
                })?;
                self.take_in(made, RegisterCommand::Generate(made))
            }
            Command::Commit { pattern } => self.change(&RegisterCommand::Commit(pattern)),
            Command::Activate { pattern } => self.change(&RegisterCommand::Activate(pattern)),
            Command::ClearNew => self.change(&RegisterCommand::ClearNew),
            Command::ClearCurrent => self.change(&RegisterCommand::ClearCurrent),
            Command::Zeroize => self.change(&RegisterCommand::Zeroize),
            _ => Err(UnitError::FrameMalformed.into()),
        }
    }

    fn serve(&mut self, command: &Command<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
        let registers = &self.state.registers;
        KeyScope::run(&mut self.engine, |scope| match *command {
            Command::GenerateRandom { len } => command::generate_random(scope.engine(), len, out),
            Command::GenerateKey { ref spec } => command::generate_key(scope, registers, spec, out),
            Command::ImportKey { ref spec, value } => command::import_key(scope, registers, spec, value, out),
            Command::WrapKey { by, kek, key } => command::wrap_key(scope, registers, by, kek, key, out),
            Command::UnwrapKey { by, kek, wrapped, ref spec } => {
                command::unwrap_key(scope, registers, by, kek, wrapped, spec, out)
            }
            Command::Encrypt { key, aad, plaintext } => {
                command::encrypt(scope, registers, key, aad, plaintext, out)
            }
            Command::Decrypt { key, ref iv, aad, ciphertext } => {
                command::decrypt(scope, registers, key, iv, aad, ciphertext, out)
            }
            Command::Sign { by, key, data } => command::sign(scope, registers, by, key, data, out),
            Command::Verify { by, key, data, signature } => {
                command::verify(scope, registers, by, key, data, signature)
            }
            Command::Reencipher { blob } => command::reencipher(scope, registers, blob, out),
            // A data command of a newer host, which this unit does not have.
            _ => Err(UnitError::FrameMalformed.into()),
        })
    }

    fn status(&self) -> UnitStatus {
        let State { identity, domain_instance, transaction_counter, registers } = &self.state;
        UnitStatus {
            unit: identity.unit,
            domain_index: identity.domain_index,
            domain_instance: *domain_instance,
            boot_nonce: self.boot_nonce,
            condition: self.failure.map_or(Condition::Operational, |why| Condition::Error(why.code())),
            current: registers.current().map(|key| key.pattern),
            new: registers.shown_new(),
            transaction_counter: *transaction_counter,
            administrators: 0,
            signature_threshold: 0,
            revocation_threshold: 0,
        }
    }

    /// Brings a master key that was just made and persisted into a register, or does away with it.
    fn take_in(&mut self, made: MasterKey, command: RegisterCommand) -> Result<Answer, Refusal> {
        match self.state.after(&command) {
            Ok(next) => self.adopt(next, Some(&made)).map(|()| Answer::Loaded(made.pattern)),
            Err(refused) => {
                made.destroy(&mut self.engine)?;
                self.forget(&made.reference)?;
                Err(refused.into())
            }
        }
    }

    fn change(&mut self, command: &RegisterCommand) -> Result<Answer, Refusal> {
        let next = self.state.after(command)?;
        self.adopt(next, None).map(|()| Answer::Done)
    }

    /// Saves the next state, swaps it in, and does away with the keys it no longer has.
    ///
    /// `made` is the master key that only the next state has, if there is one: without it the state is abandoned,
    /// and so is the key.
    fn adopt(&mut self, next: State, made: Option<&MasterKey>) -> Result<(), Refusal> {
        // Only zeroize comes here while the end of an earlier write is unknown: it waits for nothing.
        let abandoned = match self.residue {
            Residue::Unknown(abandoned) => abandoned,
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
                self.residue = Residue::Unknown(made.map(|made| made.reference).or(abandoned));
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
        for gone in before.registers.keys_gone_in(&next.registers) {
            self.residue = Residue::Old;
            // The change is durable and cannot be refused any more; a key that stays although it should be gone
            // puts the unit into its error state, and the next start tries again.
            let destroyed = gone.destroy(&mut self.engine).map_err(Refusal::from);
            if let Err(failure) = destroyed.and(self.forget(&gone.reference)) {
                self.failure.get_or_insert(failure);
            }
        }
        if matches!(self.residue, Residue::Old) && self.failure.is_none() {
            let _ = self.settle();
        }
        Ok(())
    }

    /// Overwrites what the slot before the latest holds with the present state.
    fn settle(&mut self) -> Result<(), Refusal> {
        self.slots.write(&mut self.engine, &mut self.storage, &self.state).map_err(refusal)?;
        // A key that cannot be forgotten now stays noted, and so does its slot.
        if let Residue::Unknown(Some(abandoned)) = self.residue {
            self.forget(&abandoned)?;
        }
        self.residue = Residue::None;
        Ok(())
    }

    /// No change is begun while it is open which state a restart would find, nor is any key made for one: a key
    /// that was abandoned and is loaded again may have the same reference.
    fn settle_unknown(&mut self) -> Result<(), Refusal> {
        match self.residue {
            Residue::Unknown(_) => self.settle(),
            Residue::Old | Residue::None => Ok(()),
        }
    }

    /// Removes what was persisted; what is not there any more is as well.
    fn forget(&mut self, reference: &Reference) -> Result<(), Refusal> {
        match self.engine.forget_key(reference.as_bytes()) {
            Ok(()) | Err(EngineError::ReferenceInvalid) => Ok(()),
            Err(device) => Err(device.into()),
        }
    }

    /// Begins a new life of the domain, with nothing in it. Identity and counter go on.
    fn zeroize(&mut self) -> Result<Answer, Refusal> {
        // Without a state that counts there is nothing to go on from.
        if self.state.domain_instance == 0 {
            self.zeroize_unknown()
        } else {
            self.change(&RegisterCommand::Zeroize)
        }
    }

    /// Zeroizes a unit whose state is lost.
    ///
    /// Every command carried out and every life begun took at least one write, so that a number above every number
    /// of a write is above every counter and every life. Where storage shows none, one is drawn so high that no
    /// count has come there; a unit that loses everything twice draws twice, and then only chance, 1 in 2³⁰, keeps
    /// the second draw from being a number of the first.
    fn zeroize_unknown(&mut self) -> Result<Answer, Refusal> {
        let (highest, open) = Slots::salvage(&mut self.engine, &mut self.storage)?;
        let highest = match highest {
            Some(highest) => highest,
            None => {
                let mut drawn = [0; 4];
                self.engine.random(&mut drawn)?;
                // At least 2³¹, and low enough to leave as much room as a number found would.
                u64::from(u32::from_be_bytes(drawn) >> 2 | 1 << 31)
            }
        };
        let slots = Slots::after_sequence(highest);
        let state = State::born_again(self.state.identity, slots.next_sequence()?)?;
        self.begin(slots, state)?;
        for stored in open.iter().flatten().flat_map(|slot| slot.state.keys()).flatten() {
            self.forget(&stored.reference)?;
        }
        // An engine that failed its self-test stays failed until it passes one.
        let cause = self.failure.and_then(Refusal::unit_error);
        if matches!(cause, Some(UnitError::StateInvalid | UnitError::StorageFailed)) {
            self.failure = None;
        }
        Ok(Answer::Done)
    }
}

fn persist<En: Engine>(scope: &mut KeyScope<'_, En>, candidate: Candidate) -> Result<MasterKey, Refusal> {
    let reference = Reference::persist(scope.engine(), candidate.handle)?;
    scope.release_all();
    Ok(candidate.with_reference(reference))
}

fn refusal(error: WriteError) -> Refusal {
    match error {
        WriteError::NotWritten(refusal) => refusal,
        WriteError::Unknown => UnitError::StorageFailed.into(),
    }
}
