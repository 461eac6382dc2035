//! Administrative requests: from their bytes through every check to one durable write and a signed response.

use crate::administration::decision::{Decision, DecisionError, decide};
use crate::administration::query::{self, QueryContext};
use crate::administration::response::{ResponseBuffers, ResponseHeader, write_malformed};
use crate::administration::verify::verify;
use crate::administration::{target, transport};
use crate::command;
use crate::domain::Domain;
use crate::env::{Clock, Env, Module};
use crate::key_parts::KeyParts;
use crate::key_scope::KeyScope;
use crate::master_key::{Candidate, MasterKey, Reference};
use crate::persistence::AuditedAction;
use crate::registers::RegisterCommand;
use crate::unit::Unit;
use engine::{Engine, KeyHandle};
use tke_crypto::Ski;
use unit_api::admin::{AdminBlock, AdminCommand, AdminRequest};
use unit_api::{Refusal, UnitError, VerificationPattern};

/// Higher numbers are queries, also those of later versions: they are unsigned and not recorded.
const LAST_COMMAND: u32 = 0x1_0000;

/// Reason why a command for this unit was not carried out.
enum CommandFailure {
    /// It was not signed by enough administrators: recorded, the counter stays.
    Unauthorised(UnitError),
    /// It was signed by enough administrators: recorded, the counter advances.
    Refused(Refusal),
    /// The new state could not be persisted; the command had no effect.
    NotPersisted(Refusal),
}

impl From<DecisionError> for CommandFailure {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::Unauthorised(error) => Self::Unauthorised(error),
            DecisionError::Refused(error) => Self::Refused(error.into()),
        }
    }
}

fn refused(refusal: impl Into<Refusal>) -> CommandFailure {
    CommandFailure::Refused(refusal.into())
}

/// An authorised command whose effect is not persisted yet.
struct PendingCommand<'a> {
    attempt: &'a AuditedAction,
    counter: u128,
}

impl<E: Env> Unit<E> {
    /// Writes the response to an administrative request to the start of `out` and returns its length.
    pub(crate) fn administer(&mut self, request: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
        let space = ResponseBuffers::of(out)?;
        let parsed = AdminRequest::decode(request).and_then(|request| {
            let block = AdminBlock::decode(request.block)?;
            Ok((request, block))
        });
        let Ok((request, block)) = parsed else {
            return Ok(write_malformed(self.state.identity.domain_index, out)?);
        };
        let result = self.handle_admin_request(&request, &block, space.output);
        if let Err(refusal) = result {
            self.record_fault(refusal);
        }
        let header = ResponseHeader {
            command: block.command,
            target: self.state.target(),
            transaction_counter: self.state.transaction_counter,
            signer: Ski::of_point(&self.engine.attestation_key().point),
        };
        space.finish(&mut self.engine, &header, result)
    }

    /// Refuses a request for another unit without recording it. A command for this unit, in this life of its domain, is
    /// recorded whether or not it succeeds.
    fn handle_admin_request(
        &mut self,
        request: &AdminRequest<'_>,
        block: &AdminBlock<'_>,
        output: &mut [u8],
    ) -> Result<usize, Refusal> {
        target::check_domain(&self.state.identity, request, block)?;
        let command = AdminCommand::from_id(block.command);
        if let Some(query) = command.filter(|command| command.is_query()) {
            return self.query(query, block.input, output);
        }
        if command.is_none() && block.command > LAST_COMMAND {
            return Err(UnitError::CommandUnknown.into());
        }
        target::check_target(&self.state.identity, self.state.domain.instance, &block.target)?;
        let attempt = AuditedAction::command(request, block);
        if self.error_cause().is_some() {
            if command != Some(AdminCommand::Zeroize) {
                return Err(UnitError::ErrorState.into());
            }
            if !self.state.is_known() {
                return self.zeroize_without_state(block, &attempt).map(|()| 0);
            }
        }
        self.attempt(command, request, block, attempt, output)
    }

    fn query(&mut self, query: AdminCommand, input: &[u8], output: &mut [u8]) -> Result<usize, Refusal> {
        if self.error_cause().is_some() && !query::is_answered_in_error(query) {
            return Err(UnitError::ErrorState.into());
        }
        if query == AdminCommand::QueryImporterKey && input.is_empty() {
            return match &self.importer {
                Some(key) => Ok(transport::show_importer(key, &self.state.identity, output)?),
                None => Ok(0),
            };
        }
        let context = QueryContext {
            state: &self.state,
            boot_nonce: self.boot_nonce,
            condition: self.condition(),
            certificate: self.module.certificate(),
        };
        Ok(query::answer(&context, query, input, output)?)
    }

    /// Zeroizes a unit that has lost its state. No signature is needed, since no administrator is known. A unit whose state
    /// may become readable again, once its engine or storage works, is not zeroized.
    fn zeroize_without_state(
        &mut self,
        block: &AdminBlock<'_>,
        attempt: &AuditedAction,
    ) -> Result<(), Refusal> {
        if self.failure.and_then(Refusal::unit_error) != Some(UnitError::StateInvalid) {
            return Err(UnitError::ErrorState.into());
        }
        target::check_counter(self.state.transaction_counter, block.transaction_counter)?;
        if !block.input.is_empty() {
            return Err(UnitError::RequestMalformed.into());
        }
        self.zeroize_unknown(attempt)
    }

    fn attempt(
        &mut self,
        command: Option<AdminCommand>,
        request: &AdminRequest<'_>,
        block: &AdminBlock<'_>,
        mut attempt: AuditedAction,
        output: &mut [u8],
    ) -> Result<usize, Refusal> {
        // Zeroize does not wait for storage.
        if command != Some(AdminCommand::Zeroize) {
            self.resolve_uncertain_write()?;
        }
        let refusal = match self.carry_out_signed(command, request, block, &mut attempt, output) {
            Ok(len) => return Ok(len),
            Err(CommandFailure::NotPersisted(refusal)) => return Err(refusal),
            Err(CommandFailure::Unauthorised(error)) => return Err(self.refuse_unauthorised(&attempt, error)),
            Err(CommandFailure::Refused(refusal)) => refusal,
        };
        let mut next = self.state.clone();
        // The command named the counter's next value, so that value exists.
        next.transaction_counter = block.transaction_counter;
        self.record(&mut next, &attempt, Some(refusal));
        self.save_and_swap(next, None)?;
        Err(refusal)
    }

    /// Records a command that was not signed by enough administrators, or counts it if another one is the newest record. The
    /// transaction counter stays.
    fn refuse_unauthorised(&mut self, attempt: &AuditedAction, error: UnitError) -> Refusal {
        let refusal = error.into();
        if !self.refused.is_first() {
            self.refused.count(attempt.audit_record(self.clock.now_ms(), &self.state, Some(refusal)));
            return refusal;
        }
        let mut next = self.state.clone();
        self.record(&mut next, attempt, Some(refusal));
        if let Err(failure) = self.save_and_swap(next, None) {
            return failure;
        }
        self.refused.begin();
        refusal
    }

    fn carry_out_signed(
        &mut self,
        command: Option<AdminCommand>,
        request: &AdminRequest<'_>,
        block: &AdminBlock<'_>,
        attempt: &mut AuditedAction,
        output: &mut [u8],
    ) -> Result<usize, CommandFailure> {
        let counter = target::check_counter(self.state.transaction_counter, block.transaction_counter)
            .map_err(CommandFailure::Unauthorised)?;
        let command = command.ok_or(CommandFailure::Unauthorised(UnitError::CommandUnknown))?;
        let administrators = &self.state.domain.administrators;
        let verified = verify(administrators, command, request, block, &mut attempt.signers)
            .map_err(CommandFailure::Unauthorised)?;
        let next = decide(&self.state.domain, command, verified.order, verified.signatures)?;
        let pending = PendingCommand { attempt, counter };
        match next {
            Decision::Domain(domain) => self.save_domain(&pending, domain).map(|()| 0),
            Decision::ImporterKey => self.generate_importer(&pending, output),
            Decision::RandomMasterKey => {
                let extractable = self.state.domain.may_ever_export();
                let made = KeyScope::run(&mut self.engine, |scope| {
                    let candidate = command::generate_master_key(scope, extractable)?;
                    persist(scope, candidate)
                });
                let made = made.map_err(CommandFailure::Refused)?;
                self.put_into_register(&pending, &made, &RegisterCommand::Generate(made.clone()))?;
                show_pattern(&made.pattern, output)
            }
            Decision::KeyParts => {
                let made = self.combine_parts(block)?;
                self.put_into_register(&pending, &made, &RegisterCommand::Load(made.clone()))?;
                self.importer = None;
                show_pattern(&made.pattern, output)
            }
            Decision::Export(key) => self.export(&pending, key, block.input, output),
        }
    }

    /// Persists the domain together with the audit record of the command.
    fn save(
        &mut self,
        pending: &PendingCommand<'_>,
        domain: Domain,
        made: Option<&MasterKey>,
    ) -> Result<(), CommandFailure> {
        let mut next = self.state.clone();
        next.domain = domain;
        next.transaction_counter = pending.counter;
        self.record(&mut next, pending.attempt, None);
        self.save_and_swap(next, made).map_err(CommandFailure::NotPersisted)
    }

    fn save_domain(&mut self, pending: &PendingCommand<'_>, domain: Domain) -> Result<(), CommandFailure> {
        let life = self.state.domain.instance;
        self.save(pending, domain, None)?;
        if self.state.domain.instance != life {
            self.importer = None;
        }
        Ok(())
    }

    fn generate_importer(
        &mut self,
        pending: &PendingCommand<'_>,
        output: &mut [u8],
    ) -> Result<usize, CommandFailure> {
        let key = transport::make_importer(&mut self.engine).map_err(CommandFailure::Refused)?;
        let len = transport::show_importer(&key, &self.state.identity, output).map_err(refused)?;
        self.save(pending, self.state.domain.clone(), None)?;
        self.importer = Some(key);
        Ok(len)
    }

    /// Combines the parts of an import to a master key and persists it in the engine.
    fn combine_parts(&mut self, block: &AdminBlock<'_>) -> Result<MasterKey, CommandFailure> {
        let importer = self.importer.as_ref().ok_or(refused(UnitError::ImporterMissing))?;
        let mut parts = KeyParts::none();
        transport::open_parts(importer, self.module.root(), block, &mut parts).map_err(refused)?;
        let Domain { registers, .. } = &self.state.domain;
        let extractable = self.state.domain.may_ever_export();
        let made = KeyScope::run(&mut self.engine, |scope| {
            let candidate = command::load_key_parts(scope, registers, &parts, extractable)?;
            persist(scope, candidate)
        });
        made.map_err(CommandFailure::Refused)
    }

    /// Puts a master key that was just made into a register, or destroys it.
    fn put_into_register(
        &mut self,
        pending: &PendingCommand<'_>,
        made: &MasterKey,
        command: &RegisterCommand,
    ) -> Result<(), CommandFailure> {
        match self.state.domain.with_registers(command) {
            Ok(domain) => self.save(pending, domain, Some(made)),
            Err(error) => {
                made.destroy(&mut self.engine).map_err(refused)?;
                self.forget(&made.reference).map_err(CommandFailure::Refused)?;
                Err(refused(error))
            }
        }
    }

    fn export(
        &mut self,
        pending: &PendingCommand<'_>,
        key: KeyHandle,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CommandFailure> {
        let Domain { attributes, .. } = &self.state.domain;
        let identity = &self.state.identity;
        let importer = transport::check_target(input, self.module.root(), identity, attributes.permissions)
            .map_err(refused)?;
        let sealed = transport::seal_master_key(&mut self.engine, key, &importer, output);
        let len = sealed.map_err(CommandFailure::Refused)?;
        // The key is shown only after the export is recorded.
        self.save(pending, self.state.domain.clone(), None)?;
        Ok(len)
    }
}

fn persist<En: Engine>(scope: &mut KeyScope<'_, En>, candidate: Candidate) -> Result<MasterKey, Refusal> {
    let reference = Reference::persist(scope.engine(), candidate.handle)?;
    scope.release_all();
    Ok(candidate.with_reference(reference))
}

/// Writes the pattern of a master key that is in its register.
fn show_pattern(pattern: &VerificationPattern, output: &mut [u8]) -> Result<usize, CommandFailure> {
    let bytes = pattern.as_bytes();
    // The buffer holds every output.
    if let Some(to) = output.first_chunk_mut() {
        *to = *bytes;
    }
    Ok(bytes.len())
}
