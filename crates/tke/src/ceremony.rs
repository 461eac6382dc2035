//! Commands executed on units: built, signed, sent, checked, recorded.

use crate::converge::{ConvergeError, ConvergeStep, UnitGoal, next_step};
use crate::part::{KeyPartHolder, PartError, PartId};
use crate::proposal::block_for;
use crate::quorum::{Quorum, QuorumError};
use crate::unit::{
    AdminUnit, AdminUnitError, BlockSignature, PortError, Snapshot, UnitPort, VerifiedResponse, encode_block,
    signed_request,
};
use crate::{AdminOperation, UnitDescriptor};
use sha2::{Digest, Sha256};
use tke_crypto::PublicKey;
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRefusal, ExportTarget, ImporterKey, KeyPartInput, MAX_CERTIFICATE_LEN,
};
use unit_api::{UnitError, VerificationPattern};
use wire::text::error_chain;

/// A command that was sent to a unit, for the record of the ceremony.
#[derive(Clone, Debug)]
pub struct CeremonyEvent {
    /// The unit.
    pub unit: UnitDescriptor,
    /// The operation as people read it.
    pub description: String,
    /// The command.
    pub command: AdminCommand,
    /// Transaction counter in the signed block.
    pub transaction_counter: u128,
    /// SHA-256 of the signed block, as in the unit's audit record.
    pub block_hash: [u8; 32],
    /// Name and subject key identifier of each signer.
    pub signers: Vec<(String, String)>,
    /// Verification pattern of the master key that the command concerns.
    pub pattern: Option<VerificationPattern>,
    /// Label and identifier of each key part that was imported.
    pub parts: Vec<(String, PartId)>,
    /// Error message if the command failed.
    pub refused: Option<String>,
}

/// The port to the record of a ceremony.
pub trait CeremonyLog {
    /// Appends an event. Returns once it is durable.
    ///
    /// # Errors
    /// The reason why it could not be written.
    fn record(&mut self, event: &CeremonyEvent) -> Result<(), PortError>;

    /// Appends an alarm: the ceremony stops here. Returns once it is durable.
    ///
    /// # Errors
    /// The reason why it could not be written.
    fn record_alarm(&mut self, unit: u16, what: &str) -> Result<(), PortError>;
}

/// Records nothing: for development regions, whose master keys protect nothing.
impl CeremonyLog for () {
    fn record(&mut self, _: &CeremonyEvent) -> Result<(), PortError> {
        Ok(())
    }

    fn record_alarm(&mut self, _: u16, _: &str) -> Result<(), PortError> {
        Ok(())
    }
}

/// Reason why a ceremony stopped. Commands that were executed until then stay in effect: compare the units, and complete
/// the ceremony with [`Ceremony::converge`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// A unit did not execute a command.
    #[error(transparent)]
    Unit(#[from] AdminUnitError),
    /// A command could not be signed.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// No step leads from the state of the unit to the goal.
    #[error("crypto unit {unit} cannot be set up as planned")]
    Converge {
        /// Number of the unit.
        unit: u16,
        /// The reason.
        source: ConvergeError,
    },
    /// A key part could not be sealed.
    #[error("a key part could not be sealed for the crypto unit")]
    Part(#[from] PartError),
    /// The importer key of a unit is not a valid point, or not the one that its identifier names.
    #[error("crypto unit {unit} returned an invalid importer key")]
    ImporterKey {
        /// Number of the unit.
        unit: u16,
    },
    /// The master key in the unit is not the one that was calculated from the parts.
    #[error(
        "crypto unit {unit} combined the key parts to {found}, but the expected pattern is {expected}: do not commit it. \
         Clear the new register and find out which part is wrong"
    )]
    OtherPattern {
        /// Number of the unit.
        unit: u16,
        /// Pattern that the unit reports.
        found: VerificationPattern,
        /// Pattern that was calculated.
        expected: VerificationPattern,
    },
    /// The unit needs a master key, and there are neither parts nor another unit to load it from.
    #[error(
        "crypto unit {unit} needs master key {pattern}: name its key parts, or a recovery unit that holds it"
    )]
    NoSource {
        /// Number of the unit.
        unit: u16,
        /// Pattern of the master key.
        pattern: VerificationPattern,
    },
    /// The record could not be written.
    #[error("the record of the ceremony could not be written")]
    Record(#[source] PortError),
    /// Another command changed the unit between two commands that belong together.
    #[error(
        "another command was executed on crypto unit {unit} meanwhile: find out whose it was, and repeat this one when no \
         other administrator works on the unit"
    )]
    Interfered {
        /// Number of the unit.
        unit: u16,
    },
    /// What an honest unit never does, and no failure of a machine explains.
    #[error(
        "ALARM: crypto unit {unit} {what}. An attacker may be between you and the unit, and may have the key parts that were \
         sealed in this run. Do not repeat the command. Compare the module's certificate and the root with what the \
         manufacturer gave you, over another way; replace the key parts; then continue in a new connection"
    )]
    Alarm {
        /// Number of the unit.
        unit: u16,
        /// What it does.
        what: &'static str,
    },
    /// The unit did not reach the goal within the number of steps that any path has.
    #[error("crypto unit {unit} does not reach its goal: check whether another administrator works on it")]
    NoProgress {
        /// Number of the unit.
        unit: u16,
    },
}

impl CeremonyError {
    /// Whether no honest unit and no failure of a machine gives this result.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Alarm { .. } | Self::ImporterKey { .. } => true,
            Self::Unit(error) => error.is_alarm(),
            Self::Quorum(_)
            | Self::Record(_)
            | Self::Interfered { .. }
            | Self::Converge { .. }
            | Self::Part(_)
            | Self::OtherPattern { .. }
            | Self::NoSource { .. }
            | Self::NoProgress { .. } => false,
        }
    }

    /// Whether the ceremony stops for all units: after an alarm; where a signer does not sign, who would not sign for the
    /// next unit either; and where a command could not be recorded, since no other may follow it.
    #[must_use]
    pub const fn stops_ceremony(&self) -> bool {
        match self {
            Self::Quorum(_) | Self::Record(_) | Self::Alarm { .. } | Self::ImporterKey { .. } => true,
            Self::Unit(error) => error.is_alarm(),
            Self::Interfered { .. }
            | Self::Converge { .. }
            | Self::Part(_)
            | Self::OtherPattern { .. }
            | Self::NoSource { .. }
            | Self::NoProgress { .. } => false,
        }
    }
}

/// Source from which a master key is loaded into a unit.
pub enum KeySource<'a, P> {
    /// No source.
    None,
    /// Key parts, which combine to the pattern.
    Parts(&'a [&'a dyn KeyPartHolder]),
    /// Another unit that permits export.
    Unit {
        /// The exporting unit.
        source: &'a AdminUnit<P>,
        /// Whether the master key is in its new register, instead of the current one.
        new: bool,
    },
}

/// More steps than any path to a goal has.
const MAX_STEPS: usize = 64;

/// Executes commands on units, signed by a quorum and recorded.
pub struct Ceremony<'a> {
    /// Signature keys.
    pub quorum: &'a Quorum,
    /// Record of the ceremony.
    pub record: &'a mut (dyn CeremonyLog + Send),
}

impl Ceremony<'_> {
    /// Executes one operation on a unit.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub async fn execute<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        operation: &AdminOperation,
    ) -> Result<VerifiedResponse, CeremonyError> {
        let result = self.try_execute(unit, operation).await;
        self.with_alarm(unit, result)
    }

    async fn try_execute<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        operation: &AdminOperation,
    ) -> Result<VerifiedResponse, CeremonyError> {
        let snapshot = unit.snapshot().await?;
        let block = block_for(&snapshot, operation);
        let signatures = self
            .quorum
            .sign(unit.listed().number, &snapshot, operation.command(), &block, operation.sets())
            .await?;
        let done = unit.submit(&block, &signatures).await;
        let sent = SentCommand::new(&snapshot, operation.command(), operation.to_string(), &block);
        self.record_event(unit, SentCommand { pattern: operation.pattern(), ..sent }, &signatures, &done)?;
        Ok(done?)
    }

    /// Brings a unit to a goal from any state. The state is read before each step.
    ///
    /// # Errors
    /// [`CeremonyError`]; a repeated call continues where this one stopped.
    pub async fn converge<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        goal: &UnitGoal,
        source: &KeySource<'_, P>,
    ) -> Result<Snapshot, CeremonyError> {
        let result = self.try_converge(unit, goal, source).await;
        self.with_alarm(unit, result)
    }

    async fn try_converge<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        goal: &UnitGoal,
        source: &KeySource<'_, P>,
    ) -> Result<Snapshot, CeremonyError> {
        let number = unit.listed().number;
        for _ in 0..MAX_STEPS {
            let snapshot = unit.snapshot().await?;
            let step = next_step(&snapshot, goal)
                .map_err(|source| CeremonyError::Converge { unit: number, source })?;
            match step {
                ConvergeStep::Done => return Ok(snapshot),
                ConvergeStep::Do(operation) => drop(self.try_execute(unit, &operation).await?),
                ConvergeStep::Load(pattern) => match source {
                    KeySource::Parts(parts) => self.try_load(unit, parts, pattern).await?,
                    KeySource::Unit { source, new } => {
                        self.try_transport(source, *new, unit, pattern).await?;
                    }
                    KeySource::None => return Err(CeremonyError::NoSource { unit: number, pattern }),
                },
            }
        }
        Err(CeremonyError::NoProgress { unit: number })
    }

    /// Loads key parts into the new register: generates an importer key, and has each holder seal its part for it. Each
    /// part is signed on its own.
    ///
    /// # Errors
    /// [`CeremonyError`]; [`CeremonyError::OtherPattern`] when the parts are not those of `expected`.
    pub async fn load<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        parts: &[&dyn KeyPartHolder],
        expected: VerificationPattern,
    ) -> Result<(), CeremonyError> {
        let result = self.try_load(unit, parts, expected).await;
        self.with_alarm(unit, result)
    }

    async fn try_load<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        parts: &[&dyn KeyPartHolder],
        expected: VerificationPattern,
    ) -> Result<(), CeremonyError> {
        let answer = self.try_execute(unit, &AdminOperation::GenerateImporterKey).await?;
        let importer = self.importer_key(unit, &answer)?;
        let mut sealed = Vec::new();
        for part in parts {
            sealed.push(part.seal_for(&importer).await?.0);
        }
        let inputs: Vec<_> = sealed
            .iter()
            .map(|sealed| encode(KeyPartInput::Part { parts: number_of(parts), sealed }))
            .collect();
        let text = format!("import {} key parts", parts.len());
        let ids = parts.iter().map(|part| (part.label().as_str().to_owned(), part.id())).collect();
        let import = Import { inputs: &inputs, text, parts: ids, expected };
        self.import(unit, answer.transaction_counter, import).await
    }

    /// Copies the master key of one unit into the new register of another. Between them it is sealed for the target.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub async fn transport<P: UnitPort>(
        &mut self,
        source: &AdminUnit<P>,
        from_new: bool,
        target: &AdminUnit<P>,
        expected: VerificationPattern,
    ) -> Result<(), CeremonyError> {
        let result = self.try_transport(source, from_new, target, expected).await;
        self.with_alarm(target, result)
    }

    async fn try_transport<P: UnitPort>(
        &mut self,
        source: &AdminUnit<P>,
        from_new: bool,
        target: &AdminUnit<P>,
        expected: VerificationPattern,
    ) -> Result<(), CeremonyError> {
        let answer = self.try_execute(target, &AdminOperation::GenerateImporterKey).await?;
        self.importer_key(target, &answer)?;
        let shown = ExportTarget { response: &answer.response, certificate: target.certificate() };
        let mut input = vec![0; answer.response.len() + MAX_CERTIFICATE_LEN + 64];
        let len = shown.encode(&mut input).map_or(0, <[u8]>::len);
        input.truncate(len);
        let command = if from_new { AdminCommand::ExportNew } else { AdminCommand::ExportCurrent };
        let snapshot = source.snapshot().await?;
        let block = block_of(&snapshot, command, &input);
        let signatures = self.quorum.sign(source.listed().number, &snapshot, command, &block, None).await?;
        let exported = source.submit(&block, &signatures).await;
        let to = target.listed();
        let text = format!("{} to crypto unit {} {}", command.name(), to.number, to.location);
        let sent =
            SentCommand { pattern: Some(expected), ..SentCommand::new(&snapshot, command, text, &block) };
        self.record_event(source, sent, &signatures, &exported)?;
        let from = source.listed();
        let text = format!("import the master key of crypto unit {} {}", from.number, from.location);
        // The target verifies that a genuine module has exported it: a part of anyone else's needs another permission.
        let export =
            KeyPartInput::Export { response: &exported?.response, certificate: source.certificate() };
        let import = Import { inputs: &[encode(export)], text, parts: Vec::new(), expected };
        self.import(target, answer.transaction_counter, import).await
    }

    /// Imports parts that were sealed for the importer key which the command with this counter value generated.
    async fn import<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        generated_at: u128,
        import: Import<'_>,
    ) -> Result<(), CeremonyError> {
        let Import { inputs, text, parts, expected } = import;
        let (number, command) = (unit.listed().number, AdminCommand::ImportKeyParts);
        let snapshot = unit.snapshot().await?;
        // Another administrator's command in between may have made another importer key. With it out of the way, a part
        // that was sealed for another key than the unit's is no accident.
        if snapshot.transaction_counter != generated_at {
            return Err(CeremonyError::Interfered { unit: number });
        }
        let mut signed = Vec::new();
        let mut requests = Vec::new();
        for input in inputs {
            let block = block_of(&snapshot, command, input);
            let signatures = self.quorum.sign(number, &snapshot, command, &block, None).await?;
            requests.extend(signed_request(&block, &signatures).unwrap_or_default());
            signed.extend(signatures);
        }
        let envelope = block_of(&snapshot, command, &requests);
        let done = unit.submit(&envelope, &[]).await;
        let sent = SentCommand {
            pattern: Some(expected),
            parts,
            ..SentCommand::new(&snapshot, command, text, &envelope)
        };
        self.record_event(unit, sent, &signed, &done)?;
        let refusal = done.as_ref().err().and_then(AdminUnitError::refusal);
        if let Some(what) = refusal.and_then(forgery) {
            return Err(CeremonyError::Alarm { unit: number, what });
        }
        let found = <[u8; 32]>::try_from(done?.output.as_slice())
            .map(VerificationPattern::from_bytes)
            .map_err(|_| AdminUnitError::InvalidResponse { unit: number, command: command.name() })?;
        if found.is_of_same_key(&expected) {
            Ok(())
        } else {
            Err(CeremonyError::OtherPattern { unit: number, found, expected })
        }
    }

    fn importer_key<P: UnitPort>(
        &self,
        unit: &AdminUnit<P>,
        answer: &VerifiedResponse,
    ) -> Result<PublicKey, CeremonyError> {
        let bad = || CeremonyError::ImporterKey { unit: unit.listed().number };
        let shown = ImporterKey::decode(&answer.output).map_err(|_| bad())?;
        let key = PublicKey::from_point(shown.point).map_err(|_| bad())?;
        if *key.importer_ski().as_bytes() == shown.ski { Ok(key) } else { Err(bad()) }
    }

    /// Records an alarm before the ceremony stops.
    fn with_alarm<P: UnitPort, T>(
        &mut self,
        unit: &AdminUnit<P>,
        result: Result<T, CeremonyError>,
    ) -> Result<T, CeremonyError> {
        if let Err(error) = &result
            && error.is_alarm()
        {
            let recorded = self.record.record_alarm(unit.listed().number, &error_chain(error));
            recorded.map_err(CeremonyError::Record)?;
        }
        result
    }

    fn record_event<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        sent: SentCommand,
        signatures: &[BlockSignature],
        outcome: &Result<VerifiedResponse, AdminUnitError>,
    ) -> Result<(), CeremonyError> {
        let mut skis: Vec<_> = signatures.iter().map(|made| made.ski).collect();
        skis.sort_unstable();
        skis.dedup();
        let name = |ski| {
            let key = self.quorum.keys().find(|key| key.ski() == ski);
            (key.map_or_else(String::new, |key| key.name().as_str().to_owned()), ski.to_string())
        };
        // The pattern of a generated master key is known only from the response.
        let made = match (sent.command, outcome) {
            (AdminCommand::GenerateMasterKey, Ok(answer)) => {
                answer.output.as_slice().try_into().ok().map(VerificationPattern::from_bytes)
            }
            _ => None,
        };
        let event = CeremonyEvent {
            unit: unit.listed().clone(),
            description: sent.text,
            command: sent.command,
            transaction_counter: sent.transaction_counter,
            block_hash: sent.block_hash,
            signers: skis.into_iter().map(name).collect(),
            pattern: sent.pattern.or(made),
            parts: sent.parts,
            refused: outcome.as_ref().err().map(|fault| error_chain(fault)),
        };
        self.record.record(&event).map_err(CeremonyError::Record)
    }
}

/// What a unit does that refuses parts which this program has sealed, signed and counted for it, in the next command after
/// its module has signed the importer key; `None` for what an honest unit also does. An honest unit that gets those parts
/// opens them.
fn forgery(refusal: AdminRefusal) -> Option<&'static str> {
    match refusal.unit_error()? {
        UnitError::KeyPartMalformed
        | UnitError::KeyPartRecipientMismatch
        | UnitError::KeyPartUnwrapFailed
        | UnitError::KeyPartTargetMismatch
        | UnitError::KeyPartCommandMismatch => {
            Some("refuses key parts that were sealed for the importer key which it has shown")
        }
        UnitError::KeyPartsCountMismatch => Some("received another number of key parts than were signed"),
        _ => None,
    }
}

fn encode(input: KeyPartInput<'_>) -> Vec<u8> {
    let content = match input {
        KeyPartInput::Part { sealed, .. } => sealed.len(),
        KeyPartInput::Export { response, certificate } => response.len() + certificate.len(),
    };
    let mut out = vec![0; content + 32];
    let len = input.encode(&mut out).map_or(0, <[u8]>::len);
    out.truncate(len);
    out
}

/// A number of parts, which a unit refuses above 3.
fn number_of(parts: &[&dyn KeyPartHolder]) -> u32 {
    u32::try_from(parts.len()).unwrap_or(u32::MAX)
}

/// What is imported.
struct Import<'a> {
    /// The input of each part's signed request.
    inputs: &'a [Vec<u8>],
    text: String,
    parts: Vec<(String, PartId)>,
    expected: VerificationPattern,
}

/// A command that was sent, before its result is known.
struct SentCommand {
    text: String,
    command: AdminCommand,
    transaction_counter: u128,
    block_hash: [u8; 32],
    pattern: Option<VerificationPattern>,
    parts: Vec<(String, PartId)>,
}

impl SentCommand {
    fn new(unit: &Snapshot, command: AdminCommand, text: String, block: &[u8]) -> Self {
        Self {
            text,
            command,
            transaction_counter: unit.transaction_counter.saturating_add(1),
            block_hash: Sha256::digest(block).into(),
            pattern: None,
            parts: Vec::new(),
        }
    }
}

/// The block of a command that is not an [`AdminOperation`].
fn block_of(unit: &Snapshot, command: AdminCommand, input: &[u8]) -> Vec<u8> {
    encode_block(&AdminBlock {
        command: command.id(),
        target: unit.target,
        transaction_counter: unit.transaction_counter.saturating_add(1),
        input,
    })
}
