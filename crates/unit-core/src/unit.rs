//! The unit itself: what it holds, how it starts, and the one way in.

use crate::answer::Answer;
use crate::command;
use crate::env::{Env, Identity};
use crate::execution::Execution;
use crate::keeping::{Attempt, Residue};
use crate::key_scope::KeyScope;
use crate::master_key::MasterKey;
use crate::self_test;
use crate::slot::{OpenSlot, Outline};
use crate::slots::{Found, Slots};
use crate::state::{State, StoredKey};
use engine::{Engine, EngineError};
use tke_crypto::SigningKey;
use unit_api::admin::AuditKind;
use unit_api::{Command, Condition, Envelope, Refusal, Response, UnitError, UnitStatus};

/// One crypto unit.
///
/// It begins in imprint mode: administrators are added and thresholds set, and only then are master keys let in. What
/// needs a master key and what does not: `GenerateRandom` and `Status` do not; of the rest the registers' table says
/// which state serves what, and control points which mechanisms are open.
///
/// A unit in its error state answers `Status`, the queries for domain, device certificate and audit records, and zeroize.
/// Stored state that is lost is replaced by zeroize, which nobody has to sign then, since nobody is known, and after
/// which the unit works. What is wrong with the engine lasts until a start that finds it right; until then administrators
/// who are known can zeroize as ever, and nobody else. Where storage holds on to a key that was done away with, the unit
/// serves nothing until the slot is overwritten, which every command tries first.
pub struct Unit<E: Env> {
    pub(crate) engine: E::Engine,
    pub(crate) storage: E::Storage,
    pub(crate) module: E::Module,
    pub(crate) clock: E::Clock,
    pub(crate) state: State,
    pub(crate) slots: Slots,
    pub(crate) boot_nonce: [u8; 16],
    /// What key parts are sealed for. Volatile: gone with the power, with what it was made for, and with every other.
    pub(crate) importer: Option<SigningKey>,
    /// Why the unit is in its error state, if it is for good.
    pub(crate) failure: Option<Refusal>,
    pub(crate) residue: Residue,
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
            module,
            clock,
            state: State::unknown(identity),
            slots: Slots::unused(),
            boot_nonce: [0; 16],
            importer: None,
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
            Found::Nothing => {
                let mut first = State::first(self.state.identity);
                self.record(&mut first, &Attempt::by_itself(AuditKind::NewChain), None);
                self.begin(Slots::unused(), first)
            }
            Found::State(slots, newest, older) => self.restore(slots, newest, older.as_ref()),
            Found::Invalid => Err(UnitError::StateInvalid.into()),
        }
    }

    fn restore(&mut self, slots: Slots, newest: OpenSlot, older: Option<&Outline>) -> Result<(), Refusal> {
        if *newest.state.identity() != self.state.identity {
            return Err(UnitError::StateInvalid.into());
        }
        let settled = older.is_some_and(|older| older.is_of(&newest));
        self.forget_orphans(newest.state.keys())?;
        let keys = self.recall_both(newest.state.keys())?;
        self.state = newest.state.with_keys(keys).ok_or(UnitError::StateInvalid)?;
        self.slots = slots;
        if settled {
            return Ok(());
        }
        // The last change may have been cut short before the keys it did away with were forgotten.
        for gone in older.iter().flat_map(|older| &older.keys).flatten() {
            let kept = |kept: &MasterKey| kept.reference.as_bytes() == gone.reference.as_bytes();
            if !self.state.domain.registers.keys().any(kept) {
                self.forget(&gone.reference)?;
            }
        }
        self.residue = Residue::Old;
        self.tidy_up();
        Ok(())
    }

    /// Removes what no register refers to: keys persisted by a change that was cut short before its state was written.
    fn forget_orphans(&mut self, stored: &[Option<StoredKey>; 2]) -> Result<(), Refusal> {
        let kept = stored.each_ref().map(|key| key.as_ref().map_or(&[][..], |key| key.reference.as_bytes()));
        Ok(self.engine.forget_all_but(&kept)?)
    }

    fn recall_both(&mut self, stored: &[Option<StoredKey>; 2]) -> Result<[Option<MasterKey>; 2], Refusal> {
        let [first, second] = stored;
        let first = first.as_ref().map(|stored| self.recall(stored)).transpose()?;
        match second.as_ref().map(|stored| self.recall(stored)).transpose() {
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
            let candidate = command::derive(scope, handle)?.with_origins(stored.origins.clone());
            let recalled = candidate.with_reference(stored.reference.clone());
            if !recalled.has_pattern(&stored.pattern) {
                return Err(UnitError::StateInvalid.into());
            }
            scope.release_all();
            Ok(recalled)
        })
    }

    /// Carries out a command: the customer's only way in.
    ///
    /// What the response borrows is at the start of `out`; [`unit_api::MAX_FRAME_LEN`] bytes are enough for every
    /// answer. `out` may hold secrets afterwards and is the caller's to wipe. Administrative requests are always answered
    /// if there is room for the answer, which tells by itself whether they were carried out.
    ///
    /// # Errors
    /// The refusal; `out` is zero then, and the unit is as it was, but that a refusal for a fault of the unit's own
    /// ([`EngineError::DeviceError`], [`EngineError::KeyHandleInvalid`]) puts it into its error state.
    pub fn execute<'o>(
        &mut self,
        envelope: &Envelope<'_>,
        out: &'o mut [u8],
    ) -> Result<Response<'o>, Refusal> {
        self.tidy_up();
        match self.carry_out(&envelope.command, out) {
            Ok(answer) => answer.into_response(out),
            Err(refusal) => {
                out.fill(0);
                self.note_fault(refusal);
                Err(refusal)
            }
        }
    }

    /// Puts the unit into its error state if a refusal is for a fault of its own.
    pub(crate) fn note_fault(&mut self, refusal: Refusal) {
        if matches!(refusal.engine_error(), Some(EngineError::DeviceError | EngineError::KeyHandleInvalid)) {
            self.failure.get_or_insert(refusal);
        }
    }

    fn carry_out(&mut self, command: &Command<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
        if self.impediment().is_some() && !command.kind().is_handled_in_error_state() {
            return Err(UnitError::ErrorState.into());
        }
        if let Some(point) = command.kind().control_point() {
            self.state.domain.registers.serving()?;
            if !self.state.domain.control_points.is_on(point) {
                return Err(UnitError::MechanismInvalid.into());
            }
        }
        command.dispatch(Execution::new(self, out))
    }

    /// Why the unit is in its error state, if it is.
    pub(crate) fn impediment(&self) -> Option<Refusal> {
        let kept = matches!(self.residue, Residue::Old).then(|| UnitError::StorageFailed.into());
        self.failure.or(kept)
    }

    pub(crate) fn condition(&self) -> Condition {
        self.impediment().map_or(Condition::Operational, |why| Condition::Error(why.code()))
    }

    pub(crate) fn status(&self) -> UnitStatus {
        let State { identity, transaction_counter, domain, .. } = &self.state;
        let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        UnitStatus {
            unit: identity.unit,
            domain_index: identity.domain_index,
            domain_instance: domain.instance,
            boot_nonce: self.boot_nonce,
            condition: self.condition(),
            current: domain.registers.current().map(|key| key.pattern),
            new: domain.registers.shown_new(),
            transaction_counter: *transaction_counter,
            administrators: u8::try_from(domain.administrators.count()).unwrap_or(u8::MAX),
            signature_threshold: small(domain.attributes.signature_threshold),
            revocation_threshold: small(domain.attributes.revocation_threshold),
        }
    }
}
