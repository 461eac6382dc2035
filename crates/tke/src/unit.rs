//! One crypto unit as its customer sees it: over any wire, and believed only where its module has signed.

use crate::Location;
use std::fmt;
use tke_crypto::{ModuleCertificate, PublicKey, Ski};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRefusal, AdminRequest, AdminResponse, AdminResponseBlock,
    AdministratorEntries, AdministratorEntry, Attributes, ControlPoints, DomainInfo, InstanceId,
    MAX_ADMIN_RESPONSE_LEN, SignatureAlgorithm, SignerInfo, SignerInfos,
};
use unit_api::{Condition, NewRegister, Target, UnitId, VerificationPattern};

/// What a unit is for. The same device; its permissions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitKind {
    /// Serves requests.
    Operational,
    /// Draws the master key and keeps a copy.
    Recovery,
    /// Stands by in another region.
    Failover,
}

impl UnitKind {
    /// As listings show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operational => "OPERATIONAL",
            Self::Recovery => "RECOVERY",
            Self::Failover => "FAILOVER",
        }
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A unit as the service lists it. What is in here is the operator's word; the unit's module has the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Counts from 1, in the order of the listing.
    pub number: u16,
    /// What for.
    pub kind: UnitKind,
    /// Where.
    pub location: Location,
    /// Module and its instance.
    pub unit: UnitId,
}

/// Why an exchange with a unit failed on the way.
pub type PortError = Box<dyn std::error::Error + Send + Sync>;

/// The way to one unit: the DER of a request there, the DER of its answer back.
pub trait UnitPort: Send + Sync {
    /// Has the unit answer a request. An error means that the outcome is unknown.
    fn exchange(&self, request: &[u8]) -> impl Future<Output = Result<Vec<u8>, PortError>> + Send;
}

impl<P: UnitPort> UnitPort for &P {
    fn exchange(&self, request: &[u8]) -> impl Future<Output = Result<Vec<u8>, PortError>> + Send {
        P::exchange(self, request)
    }
}

/// Why a unit did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitFault {
    /// No answer came. Whether the command was carried out is unknown: look at the unit before trying again.
    #[error("crypto unit {unit} did not answer")]
    Unreachable {
        /// Number of the unit.
        unit: u16,
        /// What happened on the way.
        source: PortError,
    },
    /// What came is no answer.
    #[error("crypto unit {unit} gave no proper answer to `{command}`")]
    Garbled {
        /// Number of the unit.
        unit: u16,
        /// What was asked.
        command: &'static str,
    },
    /// The answer is not signed by the module that the service lists. Somebody may stand in between.
    #[error(
        "the answer to `{command}` is not the listed module's of crypto unit {unit}: {why}. Trust nothing it said"
    )]
    NotAuthentic {
        /// Number of the unit.
        unit: u16,
        /// What was asked.
        command: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The unit refused.
    #[error("crypto unit {unit} refused `{command}`")]
    Refused {
        /// Number of the unit.
        unit: u16,
        /// What was asked.
        command: &'static str,
        /// Why.
        source: AdminRefusal,
    },
}

impl UnitFault {
    /// Why the unit refused, if it did.
    #[must_use]
    pub const fn refusal(&self) -> Option<AdminRefusal> {
        match self {
            Self::Refused { source, .. } => Some(*source),
            _ => None,
        }
    }
}

/// A signature over a block, with who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSignature {
    /// Whose.
    pub ski: Ski,
    /// How.
    pub algorithm: SignatureAlgorithm,
    /// The signature.
    pub signature: Vec<u8>,
}

/// All that a unit told of itself, under its module's signature.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The unit, in this life of its domain.
    pub target: Target,
    /// Its transaction counter.
    pub transaction_counter: u128,
    /// Current, if valid.
    pub current: Option<VerificationPattern>,
    /// New.
    pub new: NewRegister,
    /// Thresholds, permissions, mode.
    pub attributes: Attributes,
    /// Control points.
    pub control_points: ControlPoints,
    /// The instance that it belongs to.
    pub instance: InstanceId,
    /// Whether it works.
    pub condition: Condition,
    /// Who rules it; nobody that is known, while it is in its error state.
    pub administrators: Vec<AdministratorEntry>,
    /// Audit records so far.
    pub audit_records: u64,
    /// Head of the audit chain.
    pub audit_head: [u8; 32],
}

impl Snapshot {
    /// Whether an administrator with this identifier is installed.
    #[must_use]
    pub fn has_administrator(&self, ski: &Ski) -> bool {
        self.administrators.iter().any(|entry| entry.ski == *ski.as_bytes())
    }

    /// Whether the new register holds the master key with this pattern, committed or not.
    #[must_use]
    pub fn holds_new(&self, pattern: VerificationPattern) -> bool {
        match self.new {
            NewRegister::Empty => false,
            NewRegister::FullUncommitted(found) | NewRegister::FullCommitted(found) => {
                found.is_of_same_key(&pattern)
            }
        }
    }

    /// Whether the new register holds the master key with this pattern, committed.
    #[must_use]
    pub fn has_committed(&self, pattern: VerificationPattern) -> bool {
        matches!(self.new, NewRegister::FullCommitted(found) if found.is_of_same_key(&pattern))
    }
}

/// A unit whose module has proved to be the listed one, with its state at that time.
pub struct VerifiedUnit<P> {
    /// The unit, for further commands.
    pub unit: AdminUnit<P>,
    /// Its state when it was verified.
    pub snapshot: Snapshot,
}

impl<P: UnitPort> VerifiedUnit<P> {
    /// Checks the module's certificate against `root` and reads the unit's state.
    ///
    /// # Errors
    /// [`UnitFault`].
    pub async fn verify(listed: Listed, port: P, root: &PublicKey) -> Result<Self, UnitFault> {
        let unit = AdminUnit::meet(listed, port, root).await?;
        let snapshot = unit.snapshot().await?;
        Ok(Self { unit, snapshot })
    }

    /// The unit as the service lists it.
    pub const fn listed(&self) -> &Listed {
        self.unit.listed()
    }

    /// Number of the unit in the instance, from 1.
    pub const fn number(&self) -> u16 {
        self.unit.listed().number
    }
}

/// A unit whose module has shown its certificate.
pub struct AdminUnit<P> {
    listed: Listed,
    port: P,
    device_key: PublicKey,
    certificate: Vec<u8>,
}

impl<P: UnitPort> AdminUnit<P> {
    /// Meets a unit: its module's certificate must be issued by `root` for the module that is listed.
    ///
    /// # Errors
    /// [`UnitFault`].
    pub async fn meet(listed: Listed, port: P, root: &PublicKey) -> Result<Self, UnitFault> {
        let command = AdminCommand::QueryDeviceCertificate;
        let request = query_request(&listed, command, &[]);
        let answer = port
            .exchange(&request)
            .await
            .map_err(|source| UnitFault::Unreachable { unit: listed.number, source })?;
        let garbled = || UnitFault::Garbled { unit: listed.number, command: command.name() };
        let response = AdminResponse::decode(&answer).map_err(|_| garbled())?;
        let block = AdminResponseBlock::decode(response.block).map_err(|_| garbled())?;
        let not_authentic =
            |why| UnitFault::NotAuthentic { unit: listed.number, command: command.name(), why };
        let shown = ModuleCertificate::verify(block.output, root)
            .map_err(|_| not_authentic("the module's certificate is not issued by the manufacturer"))?;
        if shown.module_id != listed.unit.0 {
            return Err(not_authentic("the certificate is another module's"));
        }
        let certificate = block.output.to_vec();
        let unit = Self { listed, port, device_key: shown.key, certificate };
        unit.check(&answer, command, None)?;
        Ok(unit)
    }

    /// As the service lists it.
    pub const fn listed(&self) -> &Listed {
        &self.listed
    }

    /// The module's certificate.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What a query gives.
    ///
    /// # Errors
    /// [`UnitFault`].
    pub async fn query(&self, command: AdminCommand, input: &[u8]) -> Result<Answer, UnitFault> {
        let request = query_request(&self.listed, command, input);
        let answer = self.exchange(&request).await?;
        self.check(&answer, command, None)
    }

    /// The whole unit as it is now, freshly signed.
    ///
    /// # Errors
    /// [`UnitFault`].
    pub async fn snapshot(&self) -> Result<Snapshot, UnitFault> {
        let command = AdminCommand::QueryDomain;
        let garbled = || UnitFault::Garbled { unit: self.listed.number, command: command.name() };
        loop {
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce).map_err(|_| garbled())?;
            let answer = self.query(command, &nonce).await?;
            let info = DomainInfo::decode(&answer.output).map_err(|_| garbled())?;
            if info.nonce != nonce {
                return Err(UnitFault::NotAuthentic {
                    unit: self.listed.number,
                    command: command.name(),
                    why: "it is an old answer played back",
                });
            }
            // A unit in its error state does not say who rules it, and may not know.
            let administrators = if info.condition == Condition::Operational {
                let told = self.query(AdminCommand::QueryAdministrators, &[]).await?;
                // Somebody else's command in between: what was read does not belong together.
                if told.transaction_counter != answer.transaction_counter {
                    continue;
                }
                AdministratorEntries::decode(&told.output).map_err(|_| garbled())?.iter().collect()
            } else {
                Vec::new()
            };
            return Ok(Snapshot {
                target: answer.target,
                transaction_counter: answer.transaction_counter,
                current: info.current,
                new: info.new,
                attributes: info.attributes,
                control_points: info.control_points,
                instance: info.instance,
                condition: info.condition,
                administrators,
                audit_records: info.audit_records,
                audit_head: info.audit_head,
            });
        }
    }

    /// Sends a signed block and gives what the command gives.
    ///
    /// # Errors
    /// [`UnitFault`]; after [`UnitFault::Unreachable`] the command may have been carried out.
    pub async fn submit(&self, block: &[u8], signatures: &[BlockSignature]) -> Result<Answer, UnitFault> {
        let garbled = || UnitFault::Garbled { unit: self.listed.number, command: "a signed block" };
        let signed = AdminBlock::decode(block).map_err(|_| garbled())?;
        let command = AdminCommand::from_id(signed.command).ok_or_else(garbled)?;
        let request = signed_request(block, signatures).ok_or_else(garbled)?;
        let answer = self.exchange(&request).await?;
        self.check(&answer, command, Some(signed.transaction_counter))
    }

    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, UnitFault> {
        self.port
            .exchange(request)
            .await
            .map_err(|source| UnitFault::Unreachable { unit: self.listed.number, source })
    }

    /// Holds an answer against what was asked, and against the module's key.
    fn check(
        &self,
        answer: &[u8],
        command: AdminCommand,
        counter: Option<u128>,
    ) -> Result<Answer, UnitFault> {
        let unit = self.listed.number;
        let garbled = || UnitFault::Garbled { unit, command: command.name() };
        let response = AdminResponse::decode(answer).map_err(|_| garbled())?;
        if response.block.is_empty() {
            let source = AdminRefusal { return_code: response.return_code, reason: 0 };
            return Err(UnitFault::Refused { unit, command: command.name(), source });
        }
        let not_authentic = |why| UnitFault::NotAuthentic { unit, command: command.name(), why };
        let signer = response.signer().map_err(|_| not_authentic("it is not signed"))?;
        self.device_key
            .verify(response.block, signer.signature)
            .map_err(|_| not_authentic("the module's signature is wrong"))?;
        let block = AdminResponseBlock::decode(response.block).map_err(|_| garbled())?;
        if block.target.unit != self.listed.unit {
            return Err(not_authentic("it is another module's"));
        }
        if block.target.domain_index != self.listed.location.domain {
            return Err(not_authentic("it is another domain's"));
        }
        if block.command != command.id() {
            return Err(not_authentic("it answers another command"));
        }
        match block.result() {
            Ok(_)
                if counter.is_some_and(|counter| !is_of_now(command, counter, block.transaction_counter)) =>
            {
                Err(not_authentic("it answers a command of another time"))
            }
            Ok(output) => Ok(Answer {
                target: block.target,
                transaction_counter: block.transaction_counter,
                output: output.to_vec(),
                response: answer.to_vec(),
            }),
            Err(source) => Err(UnitFault::Refused { unit, command: command.name(), source }),
        }
    }
}

/// Whether a command that was carried out has left the counter where it should: at its own. A unit that has lost its
/// state goes on, when it is zeroized, from above every number that it can have had.
fn is_of_now(command: AdminCommand, named: u128, after: u128) -> bool {
    match command {
        AdminCommand::Zeroize => after >= named,
        _ => after == named,
    }
}

/// What a unit answered, checked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answered.
    pub target: Target,
    /// Its counter afterwards.
    pub transaction_counter: u128,
    /// What the command gives.
    pub output: Vec<u8>,
    /// The whole answer with the module's signature, to be shown to another unit.
    pub response: Vec<u8>,
}

/// Room around the input of a request: the block's and the request's own fields.
const REQUEST_OVERHEAD: usize = 256;

fn query_request(listed: &Listed, command: AdminCommand, input: &[u8]) -> Vec<u8> {
    let target = Target { unit: UnitId([0; 16]), domain_index: listed.location.domain, domain_instance: 0 };
    let block = AdminBlock { command: command.id(), target, transaction_counter: 0, input };
    let block = encode_block(&block);
    signed_request(&block, &[]).unwrap_or_default()
}

/// The DER of a block.
pub(crate) fn encode_block(block: &AdminBlock<'_>) -> Vec<u8> {
    let mut out = vec![0; block.input.len() + REQUEST_OVERHEAD];
    let len = block.encode(&mut out).map_or(0, <[u8]>::len);
    out.truncate(len);
    out
}

/// The DER of a request: a block with its signatures. `None` if the block is none.
pub(crate) fn signed_request(block: &[u8], signatures: &[BlockSignature]) -> Option<Vec<u8>> {
    let domain_index = AdminBlock::decode(block).ok()?.target.domain_index;
    let infos: Vec<SignerInfo<'_>> = signatures
        .iter()
        .map(|made| SignerInfo {
            ski: *made.ski.as_bytes(),
            algorithm: made.algorithm,
            signature: &made.signature,
        })
        .collect();
    let mut signed = vec![0; infos.iter().map(|info| info.signature.len() + 128).sum()];
    let signatures = SignerInfos::encode(&infos, &mut signed).ok()?;
    let request = AdminRequest { domain_index, block, signatures };
    let mut out = vec![0; block.len() + signatures.len() + REQUEST_OVERHEAD];
    let len = request.encode(&mut out).ok()?.len();
    out.truncate(len);
    Some(out)
}

const _: () = assert!(MAX_ADMIN_RESPONSE_LEN < unit_api::MAX_FRAME_LEN);
