//! Administrative requests: from their bytes through every check to the one durable write and the signed answer.

use crate::administration::decision::{Next, Refused, decide};
use crate::administration::query::{self, Asked};
use crate::administration::reply::{About, Space, write_malformed};
use crate::administration::verify::verify;
use crate::administration::{target, transport};
use crate::command;
use crate::domain::Domain;
use crate::env::{Env, Module};
use crate::keeping::Attempt;
use crate::key_parts::KeyParts;
use crate::key_scope::KeyScope;
use crate::master_key::{Candidate, MasterKey, Reference};
use crate::registers::RegisterCommand;
use crate::unit::Unit;
use engine::{Engine, KeyHandle};
use unit_api::admin::{AdminBlock, AdminCommand, AdminRequest};
use unit_api::{Refusal, UnitError, VerificationPattern};

/// Numbers above it are queries', which nobody signs and nobody records, also those of later units.
const LAST_COMMAND: u32 = 0x1_0000;

/// Why a command that is for this unit ends without having been carried out.
enum Stop {
    /// It was not rightly signed: recorded, the counter stays.
    Unauthorised(UnitError),
    /// It was rightly signed: recorded, the counter advances.
    Refused(Refusal),
    /// What came of it could not be saved, so that nothing has come of it.
    Unsaved(Refusal),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthorised(error) => Self::Unauthorised(error),
            Refused::Rightly(error) => Self::Refused(error.into()),
        }
    }
}

fn refused(refusal: impl Into<Refusal>) -> Stop {
    Stop::Refused(refusal.into())
}

/// A command that is under way, by what its record and its counter will be.
struct Underway<'a> {
    attempt: &'a Attempt,
    counter: u128,
}

impl<E: Env> Unit<E> {
    /// Answers an administrative request at the start of `out`.
    pub(crate) fn administer(&mut self, request: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
        let space = Space::of(out)?;
        let parsed = AdminRequest::decode(request).and_then(|request| {
            let block = AdminBlock::decode(request.block)?;
            Ok((request, block))
        });
        let Ok((request, block)) = parsed else {
            return Ok(write_malformed(self.state.identity.domain_index, out)?);
        };
        let result = self.answer_to(&request, &block, space.output);
        if let Err(refusal) = result {
            self.note_fault(refusal);
        }
        let about = About {
            command: block.command,
            target: self.state.target(),
            transaction_counter: self.state.transaction_counter,
        };
        Ok(space.finish(&self.module, &about, result)?)
    }

    /// What is not for this unit is refused unseen. What is, in this life, is recorded however it ends.
    fn answer_to(
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
        let attempt = Attempt::command(request, block);
        if self.impediment().is_some() {
            if command != Some(AdminCommand::Zeroize) {
                return Err(UnitError::ErrorState.into());
            }
            if !self.state.is_known() {
                return self.zeroize_lost(block, &attempt).map(|()| 0);
            }
        }
        self.attempt(command, request, block, attempt, output)
    }

    fn query(&mut self, query: AdminCommand, input: &[u8], output: &mut [u8]) -> Result<usize, Refusal> {
        if self.impediment().is_some() && !query::is_answered_in_error(query) {
            return Err(UnitError::ErrorState.into());
        }
        if query == AdminCommand::QueryImporterKey && input.is_empty() {
            return match &self.importer {
                Some(key) => Ok(transport::show_importer(key, &self.state.identity, output)?),
                None => Ok(0),
            };
        }
        let asked = Asked {
            state: &self.state,
            boot_nonce: self.boot_nonce,
            condition: self.condition(),
            certificate: self.module.certificate(),
        };
        Ok(query::answer(&asked, query, input, output)?)
    }

    /// Zeroizes a unit that has lost its state. Nobody is known whose signature could be asked for; a unit that may yet
    /// find its state again, once its engine or its storage works, stays as it is.
    fn zeroize_lost(&mut self, block: &AdminBlock<'_>, attempt: &Attempt) -> Result<(), Refusal> {
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
        mut attempt: Attempt,
        output: &mut [u8],
    ) -> Result<usize, Refusal> {
        // Zeroize waits for nothing.
        if command != Some(AdminCommand::Zeroize) {
            self.settle_unknown()?;
        }
        let before = self.state.transaction_counter;
        let (refusal, counter) = match self.try_to(command, request, block, &mut attempt, output) {
            Ok(len) => return Ok(len),
            Err(Stop::Unsaved(refusal)) => return Err(refusal),
            Err(Stop::Unauthorised(error)) => (error.into(), before),
            // The command named the counter's next value, so that there is one.
            Err(Stop::Refused(refusal)) => (refusal, block.transaction_counter),
        };
        let mut next = self.state.clone();
        next.transaction_counter = counter;
        self.record(&mut next, &attempt, Some(refusal));
        self.adopt(next, None)?;
        Err(refusal)
    }

    fn try_to(
        &mut self,
        command: Option<AdminCommand>,
        request: &AdminRequest<'_>,
        block: &AdminBlock<'_>,
        attempt: &mut Attempt,
        output: &mut [u8],
    ) -> Result<usize, Stop> {
        let counter = target::check_counter(self.state.transaction_counter, block.transaction_counter)
            .map_err(Stop::Unauthorised)?;
        let command = command.ok_or(Stop::Unauthorised(UnitError::CommandUnknown))?;
        let administrators = &self.state.domain.administrators;
        let verified = verify(administrators, command, request, block, &mut attempt.signers)
            .map_err(Stop::Unauthorised)?;
        let next = decide(&self.state.domain, command, verified.order, verified.signatures)?;
        let underway = Underway { attempt, counter };
        match next {
            Next::Domain(domain) => self.change_domain(&underway, domain).map(|()| 0),
            Next::ImporterKey => self.renew_importer(&underway, output),
            Next::RandomMasterKey => {
                let may_leave = self.state.domain.may_ever_export();
                let made = KeyScope::run(&mut self.engine, |scope| {
                    let candidate = command::generate_master_key(scope, may_leave)?;
                    persist(scope, candidate)
                });
                let made = made.map_err(Stop::Refused)?;
                self.take_in(&underway, &made, &RegisterCommand::Generate(made.clone()))?;
                show_pattern(&made.pattern, output)
            }
            Next::KeyParts => {
                let made = self.combine_parts(block)?;
                self.take_in(&underway, &made, &RegisterCommand::Load(made.clone()))?;
                self.importer = None;
                show_pattern(&made.pattern, output)
            }
            Next::Export(key) => self.export(&underway, key, block.input, output),
        }
    }

    /// Saves the domain with the record of the command that made it so.
    fn save(
        &mut self,
        underway: &Underway<'_>,
        domain: Domain,
        made: Option<&MasterKey>,
    ) -> Result<(), Stop> {
        let mut next = self.state.clone();
        next.domain = domain;
        next.transaction_counter = underway.counter;
        self.record(&mut next, underway.attempt, None);
        self.adopt(next, made).map_err(Stop::Unsaved)
    }

    fn change_domain(&mut self, underway: &Underway<'_>, domain: Domain) -> Result<(), Stop> {
        let life = self.state.domain.instance;
        self.save(underway, domain, None)?;
        if self.state.domain.instance != life {
            self.importer = None;
        }
        Ok(())
    }

    fn renew_importer(&mut self, underway: &Underway<'_>, output: &mut [u8]) -> Result<usize, Stop> {
        let key = transport::make_importer(&mut self.engine).map_err(Stop::Refused)?;
        let len = transport::show_importer(&key, &self.state.identity, output).map_err(refused)?;
        self.save(underway, self.state.domain.clone(), None)?;
        self.importer = Some(key);
        Ok(len)
    }

    /// The master key that an import's parts make, persisted.
    fn combine_parts(&mut self, block: &AdminBlock<'_>) -> Result<MasterKey, Stop> {
        let importer = self.importer.as_ref().ok_or(refused(UnitError::ImporterMissing))?;
        let mut parts = KeyParts::none();
        transport::open_parts(importer, block, &mut parts).map_err(refused)?;
        let Domain { registers, .. } = &self.state.domain;
        let may_leave = self.state.domain.may_ever_export();
        let made = KeyScope::run(&mut self.engine, |scope| {
            let candidate = command::load_key_parts(scope, registers, &parts, may_leave)?;
            persist(scope, candidate)
        });
        made.map_err(Stop::Refused)
    }

    /// Brings a master key that was just made and persisted into a register, or does away with it.
    fn take_in(
        &mut self,
        underway: &Underway<'_>,
        made: &MasterKey,
        command: &RegisterCommand,
    ) -> Result<(), Stop> {
        match self.state.domain.with_registers(command) {
            Ok(domain) => self.save(underway, domain, Some(made)),
            Err(error) => {
                made.destroy(&mut self.engine).map_err(refused)?;
                self.forget(&made.reference).map_err(Stop::Refused)?;
                Err(refused(error))
            }
        }
    }

    fn export(
        &mut self,
        underway: &Underway<'_>,
        key: KeyHandle,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, Stop> {
        let Domain { attributes, .. } = &self.state.domain;
        let identity = &self.state.identity;
        let importer = transport::check_target(input, self.module.root(), identity, attributes.permissions)
            .map_err(refused)?;
        let sealed = transport::seal_master_key(&mut self.engine, key, &importer, output);
        let len = sealed.map_err(Stop::Refused)?;
        // Nobody sees it before it is on record.
        self.save(underway, self.state.domain.clone(), None)?;
        Ok(len)
    }
}

fn persist<En: Engine>(scope: &mut KeyScope<'_, En>, candidate: Candidate) -> Result<MasterKey, Refusal> {
    let reference = Reference::persist(scope.engine(), candidate.handle)?;
    scope.release_all();
    Ok(candidate.with_reference(reference))
}

/// The pattern of a master key that is in its register by now.
fn show_pattern(pattern: &VerificationPattern, output: &mut [u8]) -> Result<usize, Stop> {
    let bytes = pattern.as_bytes();
    // There is room for every output.
    if let Some(to) = output.first_chunk_mut() {
        *to = *bytes;
    }
    Ok(bytes.len())
}
