//! The unit: its parts, its start, and its entry [`Unit::execute`].

use crate::command;
use crate::env::{Env, UnitIdentity};
use crate::execution::Execution;
use crate::key_scope::KeyScope;
use crate::master_key::MasterKey;
use crate::persistence::{AuditedAction, StaleSlot};
use crate::refused_attempts::RefusedAttempts;
use crate::response_layout::ResponseLayout;
use crate::self_test;
use crate::slot::{OpenSlot, StateSummary};
use crate::slots::{Slots, StorageContent};
use crate::state::{State, StoredKey};
use engine::{Engine, EngineError};
use tke_crypto::SigningKey;
use unit_api::admin::AuditKind;
use unit_api::{Command, Condition, Envelope, Refusal, Response, UnitError, UnitStatus};

/// One crypto unit.
///
/// It begins in imprint mode: administrators are installed and thresholds set, and only then can master keys be loaded.
/// `GenerateRandom` and `Status` need no master key; for the other commands the table of the registers shows which state
/// serves them, and control points which mechanisms are enabled.
///
/// A unit in its error state answers `Status`, the queries for domain, device certificate and audit records, and zeroize. A
/// lost state is replaced by zeroize, which then needs no signature, since no administrator is known; afterwards the unit
/// works. A failure of the engine lasts until a start that passes the self-test; until then only the known administrators
/// can zeroize. While a slot of the storage refers to a removed key, the unit serves nothing; every command tries to
/// overwrite the slot first.
pub struct Unit<E: Env> {
    pub(crate) engine: E::Engine,
    pub(crate) storage: E::Storage,
    pub(crate) module: E::Module,
    pub(crate) clock: E::Clock,
    pub(crate) state: State,
    pub(crate) slots: Slots,
    pub(crate) boot_nonce: [u8; 16],
    /// Importer key, which key parts are sealed for. Volatile; removed by an import, by zeroize and by power loss.
    pub(crate) importer: Option<SigningKey>,
    /// The failure that put the unit into its error state until a restart or zeroize.
    pub(crate) failure: Option<Refusal>,
    pub(crate) stale_slot: StaleSlot,
    pub(crate) refused: RefusedAttempts,
    /// Whether a slot is in the earlier format, which the device key opens.
    pub(crate) has_earlier_format: bool,
}

impl<E: Env> Unit<E> {
    /// Starts a unit: self-test, boot nonce, then the stored state, or the first state if none is stored.
    ///
    /// Always returns a unit: a unit that could not start is in its error state, and its status has the error. `identity` is
    /// the same at every start; a state stored under another identity is refused.
    pub fn start(
        engine: E::Engine,
        storage: E::Storage,
        module: E::Module,
        clock: E::Clock,
        identity: UnitIdentity,
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
            stale_slot: StaleSlot::Harmless,
            refused: RefusedAttempts::default(),
            has_earlier_format: false,
        };
        unit.failure = unit.power_on().err();
        unit
    }

    fn power_on(&mut self) -> Result<(), Refusal> {
        self_test::run(&mut self.engine)?;
        self.engine.random(&mut self.boot_nonce)?;
        match Slots::find(&mut self.engine, &mut self.storage)? {
            StorageContent::Nothing => {
                let mut first = State::first(self.state.identity);
                self.record(&mut first, &AuditedAction::without_command(AuditKind::NewChain), None);
                self.begin(Slots::unused(), first)
            }
            StorageContent::State(slots, newest, older) => self.restore(slots, newest, older.as_ref()),
            StorageContent::Invalid => Err(UnitError::StateInvalid.into()),
        }
    }

    fn restore(
        &mut self,
        slots: Slots,
        newest: OpenSlot,
        older: Option<&StateSummary>,
    ) -> Result<(), Refusal> {
        if *newest.state.identity() != self.state.identity {
            return Err(UnitError::StateInvalid.into());
        }
        self.has_earlier_format = newest.key.is_none() || older.is_some_and(StateSummary::is_earlier_format);
        let is_clean = !self.has_earlier_format && older.is_some_and(|older| older.is_of(&newest));
        self.slots = slots;
        // A change may have been interrupted before it used the state key that it had made.
        let is_finished = is_clean
            && match self.destroy_other_state_keys() {
                // Repeated until storage permits it.
                Err(refusal) if refusal.unit_error() == Some(UnitError::StorageFailed) => false,
                destroyed => destroyed.map(|()| true)?,
            };
        self.forget_orphans(newest.state.keys())?;
        let keys = self.recall_both(newest.state.keys())?;
        self.state = newest.state.with_keys(keys).ok_or(UnitError::StateInvalid)?;
        if is_finished {
            return Ok(());
        }
        // The last change may have been interrupted before the keys that it removed were forgotten.
        for gone in older.iter().flat_map(|older| &older.keys).flatten() {
            let kept = |kept: &MasterKey| kept.reference.as_bytes() == gone.reference.as_bytes();
            if !self.state.domain.registers.keys().any(kept) {
                self.forget(&gone.reference)?;
            }
        }
        self.stale_slot = StaleSlot::Outdated;
        self.clean_up();
        Ok(())
    }

    /// Removes keys that no register refers to, persisted by a change that was interrupted before its state was written.
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
            let candidate = match command::derive(scope, handle) {
                Err(refusal) if refusal.engine_error() == Some(EngineError::ReferenceInvalid) => {
                    return Err(UnitError::StateInvalid.into());
                }
                derived => derived?.with_origins(stored.origins.clone()),
            };
            let recalled = candidate.with_reference(stored.reference.clone());
            if !recalled.has_pattern(&stored.pattern) {
                return Err(UnitError::StateInvalid.into());
            }
            scope.release_all();
            Ok(recalled)
        })
    }

    /// Carries out a command. This is the only entry for customers.
    ///
    /// The response borrows from the start of `out`; [`unit_api::MAX_FRAME_LEN`] bytes are enough for every response. `out`
    /// may hold secrets afterwards; the caller wipes it. An administrative request is always answered if `out` has room for
    /// the answer, which states whether the command was carried out.
    ///
    /// # Errors
    /// The refusal; `out` is zero then, and the unit is unchanged, except that a refusal for a fault of the unit itself
    /// ([`EngineError::DeviceError`], [`EngineError::KeyHandleInvalid`]) puts it into its error state.
    pub fn execute<'o>(
        &mut self,
        envelope: &Envelope<'_>,
        out: &'o mut [u8],
    ) -> Result<Response<'o>, Refusal> {
        self.clean_up();
        match self.carry_out(&envelope.command, out) {
            Ok(answer) => answer.into_response(out),
            Err(refusal) => {
                out.fill(0);
                self.record_fault(refusal);
                Err(refusal)
            }
        }
    }

    /// Puts the unit into its error state if a refusal is for a fault of the unit itself.
    pub(crate) fn record_fault(&mut self, refusal: Refusal) {
        if matches!(refusal.engine_error(), Some(EngineError::DeviceError | EngineError::KeyHandleInvalid)) {
            self.failure.get_or_insert(refusal);
        }
    }

    fn carry_out(&mut self, command: &Command<'_>, out: &mut [u8]) -> Result<ResponseLayout, Refusal> {
        if self.error_cause().is_some() && !command.kind().is_handled_in_error_state() {
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

    /// The reason for the error state, if the unit is in it.
    pub(crate) fn error_cause(&self) -> Option<Refusal> {
        let kept = matches!(self.stale_slot, StaleSlot::Outdated).then(|| UnitError::StorageFailed.into());
        self.failure.or(kept)
    }

    pub(crate) fn condition(&self) -> Condition {
        self.error_cause().map_or(Condition::Operational, |why| Condition::Error(why.code()))
    }

    pub(crate) fn status(&self) -> UnitStatus {
        let State { identity, transaction_counter, domain, audit, .. } = &self.state;
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
            audit_records: audit.records(),
            audit_head: audit.head(),
        }
    }
}
