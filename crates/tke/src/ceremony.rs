//! Commands carried out on units: bound, signed, sent, checked, and written down.

use crate::converge::{Goal, Step, Stuck, next_step};
use crate::part::{KeyPartHolder, PartError, PartId};
use crate::proposal::block_for;
use crate::quorum::{Quorum, QuorumError};
use crate::unit::{
    AdminUnit, Answer, BlockSignature, PortError, Snapshot, UnitFault, UnitPort, encode_block, signed_request,
};
use crate::{Listed, Order};
use sha2::{Digest, Sha256};
use tke_crypto::PublicKey;
use unit_api::VerificationPattern;
use unit_api::admin::{AdminBlock, AdminCommand, ExportTarget, ImporterKey, MAX_CERTIFICATE_LEN};
use wire::text::error_chain;

/// What was done to a unit, for whoever keeps the record.
#[derive(Clone, Debug)]
pub struct Event {
    /// To which unit.
    pub unit: Listed,
    /// What, in words.
    pub what: String,
    /// The command.
    pub command: AdminCommand,
    /// The counter it was signed for.
    pub transaction_counter: u128,
    /// SHA-256 of the signed block, as the unit's own audit record has it.
    pub block_hash: [u8; 32],
    /// Who signed: name and identifier.
    pub signers: Vec<(String, String)>,
    /// The pattern that the command was about.
    pub pattern: Option<VerificationPattern>,
    /// Which key parts went in: label, and hash of the container that it is kept in.
    pub parts: Vec<(String, PartId)>,
    /// Why it did not happen, if it did not.
    pub refused: Option<String>,
}

/// Keeps the record of a ceremony. Returns once the event is durable.
pub trait Record {
    /// Writes an event down.
    ///
    /// # Errors
    /// Whatever kept it from being written.
    fn record(&mut self, event: &Event) -> Result<(), PortError>;
}

/// Keeps no record: for development regions, whose ceremonies mean nothing.
impl Record for () {
    fn record(&mut self, _: &Event) -> Result<(), PortError> {
        Ok(())
    }
}

/// Why a ceremony did not go on. What was done until then stays done: look with `compare`, go on with `converge`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeremonyError {
    /// A unit did not do it.
    #[error(transparent)]
    Unit(#[from] UnitFault),
    /// It was not signed.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// Nothing should be done to the unit.
    #[error("crypto unit {unit} cannot be brought to what it should be")]
    Stuck {
        /// Number of the unit.
        unit: u16,
        /// Why.
        source: Stuck,
    },
    /// A key part could not be sealed.
    #[error("a key part could not be sealed for the crypto unit")]
    Part(#[from] PartError),
    /// What a unit says of itself does not fit together.
    #[error("crypto unit {unit} gave an importer key that is none")]
    ImporterKey {
        /// Number of the unit.
        unit: u16,
    },
    /// The key in the unit is not the one that the ceremony worked out.
    #[error(
        "crypto unit {unit} combined the parts to {found}, but the ceremony worked out {expected}: \
         do not commit it. Clear the new register and find out which part is wrong"
    )]
    OtherPattern {
        /// Number of the unit.
        unit: u16,
        /// What the unit has.
        found: VerificationPattern,
        /// What it should have.
        expected: VerificationPattern,
    },
    /// A key is needed and there is nothing to load it from.
    #[error(
        "crypto unit {unit} needs the master key {pattern}: give its key parts, or a recovery unit that holds it"
    )]
    NoSource {
        /// Number of the unit.
        unit: u16,
        /// The key.
        pattern: VerificationPattern,
    },
    /// The record could not be written.
    #[error("the record of the ceremony could not be written")]
    Record(#[source] PortError),
    /// The unit keeps changing, or does not change at all.
    #[error("crypto unit {unit} does not become what it should be: is somebody else working on it?")]
    NoProgress {
        /// Number of the unit.
        unit: u16,
    },
}

impl CeremonyError {
    /// Whether the ceremony stops for all units: a signer who does not sign for one unit does not sign for the next, and
    /// no command may follow one that could not be recorded.
    #[must_use]
    pub const fn stops_ceremony(&self) -> bool {
        match self {
            Self::Quorum(_) | Self::Record(_) => true,
            Self::Unit(_)
            | Self::Stuck { .. }
            | Self::Part(_)
            | Self::ImporterKey { .. }
            | Self::OtherPattern { .. }
            | Self::NoSource { .. }
            | Self::NoProgress { .. } => false,
        }
    }
}

/// From where a master key comes into a unit.
pub enum KeySource<'a, P> {
    /// From nowhere.
    None,
    /// From key parts, which combine to the pattern.
    Parts(&'a [&'a dyn KeyPartHolder]),
    /// From another unit that permits export.
    Unit {
        /// That unit.
        source: &'a AdminUnit<P>,
        /// Whether the key stands in its New register.
        new: bool,
    },
}

/// More steps than any way to a goal has.
const MAX_STEPS: usize = 64;

/// Whoever carries out a ceremony: with these signature keys, writing it down here.
pub struct Ceremony<'a> {
    /// Who signs.
    pub quorum: &'a Quorum,
    /// Who writes it down.
    pub record: &'a mut (dyn Record + Send),
}

impl Ceremony<'_> {
    /// Has a unit carry out one order.
    ///
    /// # Errors
    /// [`CeremonyError`].
    pub async fn carry_out<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        order: &Order,
    ) -> Result<Answer, CeremonyError> {
        let snapshot = unit.snapshot().await?;
        let block = block_for(&snapshot, order);
        let signatures =
            self.quorum.sign(unit.listed().number, &snapshot, order.command(), &block, order.sets()).await?;
        let done = unit.submit(&block, &signatures).await;
        let deed = Deed::new(&snapshot, order.command(), order.to_string(), &block);
        self.write_down(unit, Deed { pattern: order.pattern(), ..deed }, &signatures, &done)?;
        Ok(done?)
    }

    /// Brings a unit to what it should be, whatever it is now, one looked-at step after the other.
    ///
    /// # Errors
    /// [`CeremonyError`]; called again, it goes on where it stopped.
    pub async fn converge<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        goal: &Goal,
        source: &KeySource<'_, P>,
    ) -> Result<Snapshot, CeremonyError> {
        let number = unit.listed().number;
        for _ in 0..MAX_STEPS {
            let snapshot = unit.snapshot().await?;
            let step =
                next_step(&snapshot, goal).map_err(|source| CeremonyError::Stuck { unit: number, source })?;
            match step {
                Step::Done => return Ok(snapshot),
                Step::Do(order) => drop(self.carry_out(unit, &order).await?),
                Step::Load(pattern) => match source {
                    KeySource::Parts(parts) => self.load(unit, parts, pattern).await?,
                    KeySource::Unit { source, new } => self.transport(source, *new, unit, pattern).await?,
                    KeySource::None => return Err(CeremonyError::NoSource { unit: number, pattern }),
                },
            }
        }
        Err(CeremonyError::NoProgress { unit: number })
    }

    /// Loads key parts into New: a fresh importer key, each part sealed for it by its holder and signed on its own.
    ///
    /// # Errors
    /// [`CeremonyError`]; [`CeremonyError::OtherPattern`] when the parts are not those of `expected`.
    pub async fn load<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        parts: &[&dyn KeyPartHolder],
        expected: VerificationPattern,
    ) -> Result<(), CeremonyError> {
        let importer = self.carry_out(unit, &Order::GenerateImporterKey).await?;
        let importer = self.importer_key(unit, &importer)?;
        let mut sealed = Vec::new();
        for part in parts {
            sealed.push(part.seal_for(&importer).await?.0);
        }
        let what = format!("import {} key parts", parts.len());
        let ids = parts.iter().map(|part| (part.label().as_str().to_owned(), part.id())).collect();
        self.import(unit, &sealed, what, ids, expected).await
    }

    /// Brings the master key of one unit into New of another; outside of both it is only ever sealed for the target.
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
        let answer = self.carry_out(target, &Order::GenerateImporterKey).await?;
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
        let what = format!("{} to crypto unit {} {}", command.name(), to.number, to.location);
        let deed = Deed { pattern: Some(expected), ..Deed::new(&snapshot, command, what, &block) };
        self.write_down(source, deed, &signatures, &exported)?;
        let from = source.listed();
        let what = format!("import the master key of crypto unit {} {}", from.number, from.location);
        self.import(target, &[exported?.output], what, Vec::new(), expected).await
    }

    async fn import<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        sealed: &[Vec<u8>],
        what: String,
        parts: Vec<(String, PartId)>,
        expected: VerificationPattern,
    ) -> Result<(), CeremonyError> {
        let (number, command) = (unit.listed().number, AdminCommand::ImportKeyParts);
        let snapshot = unit.snapshot().await?;
        let mut signed = Vec::new();
        let mut requests = Vec::new();
        for part in sealed {
            let block = block_of(&snapshot, command, part);
            let signatures = self.quorum.sign(number, &snapshot, command, &block, None).await?;
            requests.extend(signed_request(&block, &signatures).unwrap_or_default());
            signed.extend(signatures);
        }
        let envelope = block_of(&snapshot, command, &requests);
        let done = unit.submit(&envelope, &[]).await;
        let deed = Deed { pattern: Some(expected), parts, ..Deed::new(&snapshot, command, what, &envelope) };
        self.write_down(unit, deed, &signed, &done)?;
        let found = <[u8; 32]>::try_from(done?.output.as_slice())
            .map(VerificationPattern::from_bytes)
            .map_err(|_| UnitFault::Garbled { unit: number, command: command.name() })?;
        if found.is_of_same_key(&expected) {
            Ok(())
        } else {
            Err(CeremonyError::OtherPattern { unit: number, found, expected })
        }
    }

    fn importer_key<P: UnitPort>(
        &self,
        unit: &AdminUnit<P>,
        answer: &Answer,
    ) -> Result<PublicKey, CeremonyError> {
        let bad = || CeremonyError::ImporterKey { unit: unit.listed().number };
        let shown = ImporterKey::decode(&answer.output).map_err(|_| bad())?;
        let key = PublicKey::from_point(shown.point).map_err(|_| bad())?;
        if *key.importer_ski().as_bytes() == shown.ski { Ok(key) } else { Err(bad()) }
    }

    fn write_down<P: UnitPort>(
        &mut self,
        unit: &AdminUnit<P>,
        deed: Deed,
        signatures: &[BlockSignature],
        outcome: &Result<Answer, UnitFault>,
    ) -> Result<(), CeremonyError> {
        let mut skis: Vec<_> = signatures.iter().map(|made| made.ski).collect();
        skis.sort_unstable();
        skis.dedup();
        let name = |ski| {
            let key = self.quorum.keys().find(|key| key.ski() == ski);
            (key.map_or_else(String::new, |key| key.name().as_str().to_owned()), ski.to_string())
        };
        // What a random generation made is known only now.
        let made = match (deed.command, outcome) {
            (AdminCommand::GenerateMasterKey, Ok(answer)) => {
                answer.output.as_slice().try_into().ok().map(VerificationPattern::from_bytes)
            }
            _ => None,
        };
        let event = Event {
            unit: unit.listed().clone(),
            what: deed.what,
            command: deed.command,
            transaction_counter: deed.transaction_counter,
            block_hash: deed.block_hash,
            signers: skis.into_iter().map(name).collect(),
            pattern: deed.pattern.or(made),
            parts: deed.parts,
            refused: outcome.as_ref().err().map(|fault| error_chain(fault)),
        };
        self.record.record(&event).map_err(CeremonyError::Record)
    }
}

/// What was asked of a unit, before it is known how it went.
struct Deed {
    what: String,
    command: AdminCommand,
    transaction_counter: u128,
    block_hash: [u8; 32],
    pattern: Option<VerificationPattern>,
    parts: Vec<(String, PartId)>,
}

impl Deed {
    fn new(unit: &Snapshot, command: AdminCommand, what: String, block: &[u8]) -> Self {
        Self {
            what,
            command,
            transaction_counter: unit.transaction_counter.saturating_add(1),
            block_hash: Sha256::digest(block).into(),
            pattern: None,
            parts: Vec::new(),
        }
    }
}

/// The block of a command whose input is no order's.
fn block_of(unit: &Snapshot, command: AdminCommand, input: &[u8]) -> Vec<u8> {
    encode_block(&AdminBlock {
        command: command.id(),
        target: unit.target,
        transaction_counter: unit.transaction_counter.saturating_add(1),
        input,
    })
}
