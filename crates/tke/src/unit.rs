//! One crypto unit as its customer sees it: over any transport, with every response verified.

use crate::Location;
use crate::seen::Regression;
use crate::trust::{ModuleRefused, ModuleTrust};
use std::fmt;
use tke_crypto::{ModuleCertificate, Ski};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRefusal, AdminRequest, AdminResponse, AdminResponseBlock,
    AdministratorEntries, AdministratorEntry, Attributes, ControlPoints, DomainInfo, InstanceId,
    MAX_ADMIN_RESPONSE_LEN, SignatureAlgorithm, SignerInfo, SignerInfos,
};
use unit_api::{Condition, NewRegister, Target, UnitId, VerificationPattern};

/// Purpose of a unit. The device is the same; permissions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitKind {
    /// Serves requests.
    Operational,
    /// Generates the master key and keeps a copy.
    Recovery,
    /// Replaces operational units from another region.
    Failover,
}

impl UnitKind {
    /// The name in listings.
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

/// A unit as the service lists it. Not verified: the unit's module proves what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitDescriptor {
    /// Number of the unit in the instance, from 1.
    pub number: u16,
    /// Purpose of the unit.
    pub kind: UnitKind,
    /// Location of the unit.
    pub location: Location,
    /// Serial number and instance of the module.
    pub unit: UnitId,
    /// The service instance that the unit is listed for.
    pub instance: InstanceId,
}

/// Error of the transport to a unit.
pub type PortError = Box<dyn std::error::Error + Send + Sync>;

/// The port to one unit: carries the DER of a request there, and the DER of the response back.
pub trait UnitPort: Send + Sync {
    /// Sends a request and returns the response. After an error it is unknown whether the unit executed the request.
    fn exchange(&self, request: &[u8]) -> impl Future<Output = Result<Vec<u8>, PortError>> + Send;
}

impl<P: UnitPort> UnitPort for &P {
    fn exchange(&self, request: &[u8]) -> impl Future<Output = Result<Vec<u8>, PortError>> + Send {
        P::exchange(self, request)
    }
}

/// Reason why a unit gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminUnitError {
    /// There was no response. It is unknown whether the unit executed the command: read its state before trying again.
    #[error("crypto unit {unit} did not answer")]
    Unreachable {
        /// Number of the unit.
        unit: u16,
        /// Error of the transport.
        source: PortError,
    },
    /// The response is malformed.
    #[error("crypto unit {unit} sent an invalid response to `{command}`")]
    InvalidResponse {
        /// Number of the unit.
        unit: u16,
        /// Name of the command.
        command: &'static str,
    },
    /// The response is not signed by the module that the service lists. It may be forged.
    #[error(
        "the response to `{command}` is not from the listed module of crypto unit {unit}: {why}. Do not trust it"
    )]
    NotAuthentic {
        /// Number of the unit.
        unit: u16,
        /// Name of the command.
        command: &'static str,
        /// The check that failed.
        why: &'static str,
    },
    /// The module's certificate is not acceptable.
    #[error("the module of crypto unit {unit} is not used")]
    ModuleRefused {
        /// Number of the unit.
        unit: u16,
        /// The reason.
        source: ModuleRefused,
    },
    /// The module says that the unit belongs to another service instance than the service lists it for.
    #[error(
        "crypto unit {unit} belongs to service instance {found}, and is listed for {listed}: the service offers you a unit of \
         another customer. Do not use it"
    )]
    OtherInstance {
        /// Number of the unit.
        unit: u16,
        /// Instance that the module signs.
        found: InstanceId,
        /// Instance that the service lists.
        listed: InstanceId,
    },
    /// The unit is not what it was when this customer saw it last.
    #[error(
        "crypto unit {unit} is not used, because it is not what it was. If you know why, accept it with \
         `cryptounit-accept {unit}`"
    )]
    Regressed {
        /// Number of the unit.
        unit: u16,
        /// The difference.
        source: Regression,
    },
    /// The response says that the command was not understood, and is not signed: anybody can have made it.
    #[error(
        "an unsigned response to `{command}` says that crypto unit {unit} did not understand it. Whether the command was \
         carried out is unknown: read the state of the unit before you go on"
    )]
    OutcomeUnknown {
        /// Number of the unit.
        unit: u16,
        /// Name of the command.
        command: &'static str,
    },
    /// The unit refused the command.
    #[error("crypto unit {unit} refused `{command}`")]
    Refused {
        /// Number of the unit.
        unit: u16,
        /// Name of the command.
        command: &'static str,
        /// Return code and reason.
        source: AdminRefusal,
    },
}

impl AdminUnitError {
    /// Return code and reason, if the unit refused the command.
    #[must_use]
    pub const fn refusal(&self) -> Option<AdminRefusal> {
        match self {
            Self::Refused { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// Number of the unit, if the error is an alarm.
    #[must_use]
    pub const fn alarming_unit(&self) -> Option<u16> {
        if self.is_alarm() { Some(self.unit()) } else { None }
    }

    const fn unit(&self) -> u16 {
        match self {
            Self::Unreachable { unit, .. }
            | Self::InvalidResponse { unit, .. }
            | Self::NotAuthentic { unit, .. }
            | Self::ModuleRefused { unit, .. }
            | Self::OtherInstance { unit, .. }
            | Self::Regressed { unit, .. }
            | Self::OutcomeUnknown { unit, .. }
            | Self::Refused { unit, .. } => *unit,
        }
    }

    /// Whether no honest unit and no failure of a machine gives this answer: an attacker is between, or in the unit's
    /// place.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::NotAuthentic { .. } | Self::OtherInstance { .. } | Self::Regressed { .. } => true,
            Self::ModuleRefused { source, .. } => source.is_alarm(),
            Self::Unreachable { .. }
            | Self::InvalidResponse { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// A signature over a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSignature {
    /// Subject key identifier of the signer.
    pub ski: Ski,
    /// Signature algorithm.
    pub algorithm: SignatureAlgorithm,
    /// Signature, DER.
    pub signature: Vec<u8>,
}

/// State of a unit, signed by its module.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Module, domain, and how many times the domain was zeroized.
    pub target: Target,
    /// Transaction counter.
    pub transaction_counter: u128,
    /// Master key in the current register, if it is valid.
    pub current: Option<VerificationPattern>,
    /// State of the new register.
    pub new: NewRegister,
    /// Thresholds, permissions and mode.
    pub attributes: Attributes,
    /// Control points.
    pub control_points: ControlPoints,
    /// Service instance that the unit belongs to.
    pub instance: InstanceId,
    /// Operational, or in its error state.
    pub condition: Condition,
    /// Installed administrators; empty while the unit is in its error state, in which it does not report them.
    pub administrators: Vec<AdministratorEntry>,
    /// Number of audit records so far.
    pub audit_records: u64,
    /// Hash of the newest audit record, and through it of all.
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
    /// Checks the module's certificate and reads the unit's state.
    ///
    /// # Errors
    /// [`AdminUnitError`].
    pub async fn verify(
        listed: UnitDescriptor,
        port: P,
        trust: &ModuleTrust,
    ) -> Result<Self, AdminUnitError> {
        let unit = AdminUnit::authenticate(listed, port, trust).await?;
        let snapshot = unit.snapshot().await?;
        Ok(Self { unit, snapshot })
    }

    /// The unit as the service lists it.
    pub const fn listed(&self) -> &UnitDescriptor {
        self.unit.listed()
    }

    /// Number of the unit in the instance, from 1.
    pub const fn number(&self) -> u16 {
        self.unit.listed().number
    }
}

/// A unit whose module has proved its identity. Responses are verified under its key.
pub struct AdminUnit<P> {
    listed: UnitDescriptor,
    port: P,
    module: ModuleCertificate,
    certificate: Vec<u8>,
}

impl<P: UnitPort> AdminUnit<P> {
    /// Queries the certificate of the module, which has to be acceptable and for the listed module.
    ///
    /// # Errors
    /// [`AdminUnitError`].
    pub async fn authenticate(
        listed: UnitDescriptor,
        port: P,
        trust: &ModuleTrust,
    ) -> Result<Self, AdminUnitError> {
        let command = AdminCommand::QueryDeviceCertificate;
        let request = query_request(&listed, command, &[]);
        let answer = port
            .exchange(&request)
            .await
            .map_err(|source| AdminUnitError::Unreachable { unit: listed.number, source })?;
        let invalid = || AdminUnitError::InvalidResponse { unit: listed.number, command: command.name() };
        let response = AdminResponse::decode(&answer).map_err(|_| invalid())?;
        let block = AdminResponseBlock::decode(response.block).map_err(|_| invalid())?;
        let not_authentic =
            |why| AdminUnitError::NotAuthentic { unit: listed.number, command: command.name(), why };
        let shown = trust
            .verify(block.output)
            .map_err(|source| AdminUnitError::ModuleRefused { unit: listed.number, source })?;
        if shown.module_id != listed.unit.0 {
            return Err(not_authentic("the certificate is for another module"));
        }
        let certificate = block.output.to_vec();
        let unit = Self { listed, port, module: shown, certificate };
        unit.check(&answer, command, None)?;
        Ok(unit)
    }

    /// The unit as the service lists it.
    pub const fn listed(&self) -> &UnitDescriptor {
        &self.listed
    }

    /// What the certificate says of the module.
    #[must_use]
    pub const fn module(&self) -> &ModuleCertificate {
        &self.module
    }

    /// Certificate of the module, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Executes a query and returns its output.
    ///
    /// # Errors
    /// [`AdminUnitError`].
    pub async fn query(
        &self,
        command: AdminCommand,
        input: &[u8],
    ) -> Result<VerifiedResponse, AdminUnitError> {
        let request = query_request(&self.listed, command, input);
        let answer = self.exchange(&request).await?;
        self.check(&answer, command, None)
    }

    /// Reads the state of the unit. A nonce proves that the response is not an old one.
    ///
    /// # Errors
    /// [`AdminUnitError`].
    pub async fn snapshot(&self) -> Result<Snapshot, AdminUnitError> {
        let command = AdminCommand::QueryDomain;
        let invalid =
            || AdminUnitError::InvalidResponse { unit: self.listed.number, command: command.name() };
        for _ in 0..MAX_SNAPSHOTS {
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce).map_err(|_| invalid())?;
            let answer = self.query(command, &nonce).await?;
            let info = DomainInfo::decode(&answer.output).map_err(|_| invalid())?;
            if info.nonce != nonce {
                return Err(AdminUnitError::NotAuthentic {
                    unit: self.listed.number,
                    command: command.name(),
                    why: "it is an old response, replayed",
                });
            }
            if info.instance != self.listed.instance {
                return Err(AdminUnitError::OtherInstance {
                    unit: self.listed.number,
                    found: info.instance,
                    listed: self.listed.instance,
                });
            }
            // A unit in its error state does not report administrators: it may have lost them.
            let administrators = if info.condition == Condition::Operational {
                let response = self.query(AdminCommand::QueryAdministrators, &[]).await?;
                // Another command was executed in between: the two responses describe different states.
                if response.transaction_counter != answer.transaction_counter {
                    continue;
                }
                // The list is in a response of its own, without the nonce: the state that was signed says which list it is.
                if AdministratorEntries::digest(&response.output) != info.administrators_digest {
                    return Err(AdminUnitError::NotAuthentic {
                        unit: self.listed.number,
                        command: AdminCommand::QueryAdministrators.name(),
                        why: "the list of administrators is not the one that the unit has signed",
                    });
                }
                AdministratorEntries::decode(&response.output).map_err(|_| invalid())?.iter().collect()
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
        Err(AdminUnitError::NotAuthentic {
            unit: self.listed.number,
            command: AdminCommand::QueryAdministrators.name(),
            why: "its lists of administrators are never of the present state",
        })
    }

    /// Sends a signed block and returns the output of the command.
    ///
    /// # Errors
    /// [`AdminUnitError`]; after [`AdminUnitError::Unreachable`] the command may have been executed.
    pub async fn submit(
        &self,
        block: &[u8],
        signatures: &[BlockSignature],
    ) -> Result<VerifiedResponse, AdminUnitError> {
        let invalid =
            || AdminUnitError::InvalidResponse { unit: self.listed.number, command: "a signed block" };
        let signed = AdminBlock::decode(block).map_err(|_| invalid())?;
        let command = AdminCommand::from_id(signed.command).ok_or_else(invalid)?;
        let request = signed_request(block, signatures).ok_or_else(invalid)?;
        let answer = self.exchange(&request).await?;
        self.check(&answer, command, Some(signed.transaction_counter))
    }

    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, AdminUnitError> {
        self.port
            .exchange(request)
            .await
            .map_err(|source| AdminUnitError::Unreachable { unit: self.listed.number, source })
    }

    /// Verifies a response: signature, module, domain, command and transaction counter.
    fn check(
        &self,
        answer: &[u8],
        command: AdminCommand,
        counter: Option<u128>,
    ) -> Result<VerifiedResponse, AdminUnitError> {
        let unit = self.listed.number;
        let invalid = || AdminUnitError::InvalidResponse { unit, command: command.name() };
        let response = AdminResponse::decode(answer).map_err(|_| invalid())?;
        if response.block.is_empty() {
            return Err(AdminUnitError::OutcomeUnknown { unit, command: command.name() });
        }
        let not_authentic = |why| AdminUnitError::NotAuthentic { unit, command: command.name(), why };
        let signer = response.signer().map_err(|_| not_authentic("it is not signed"))?;
        self.module
            .key
            .verify(response.block, signer.signature)
            .map_err(|_| not_authentic("the module's signature is invalid"))?;
        let block = AdminResponseBlock::decode(response.block).map_err(|_| invalid())?;
        if block.target.unit != self.listed.unit {
            return Err(not_authentic("it is from another module"));
        }
        if block.target.domain_index != self.listed.location.domain {
            return Err(not_authentic("it is from another domain"));
        }
        if block.command != command.id() {
            return Err(not_authentic("it answers another command"));
        }
        match block.result() {
            Ok(_)
                if counter
                    .is_some_and(|counter| !counter_matches(command, counter, block.transaction_counter)) =>
            {
                Err(not_authentic("it answers an earlier or later command"))
            }
            Ok(output) => Ok(VerifiedResponse {
                target: block.target,
                transaction_counter: block.transaction_counter,
                output: output.to_vec(),
                response: answer.to_vec(),
            }),
            // A refused command leaves the counter at its own value or at the one before. A lower one is that of an old
            // response, replayed to hide that the command was carried out.
            Err(_)
                if counter.is_some_and(|counter| block.transaction_counter.saturating_add(1) < counter) =>
            {
                Err(not_authentic("it is the refusal of an earlier command"))
            }
            Err(source) => Err(AdminUnitError::Refused { unit, command: command.name(), source }),
        }
    }
}

/// Whether the counter after a command is the one of the command. A unit that has lost its state and is zeroized continues
/// above every counter that it can have had.
fn counter_matches(command: AdminCommand, named: u128, after: u128) -> bool {
    match command {
        AdminCommand::Zeroize => after >= named,
        _ => after == named,
    }
}

/// A response of a unit, verified.
#[derive(Clone, Debug)]
pub struct VerifiedResponse {
    /// Module, domain, and how many times the domain was zeroized.
    pub target: Target,
    /// Transaction counter after the command.
    pub transaction_counter: u128,
    /// Output of the command.
    pub output: Vec<u8>,
    /// The whole response with the module's signature, which another unit can verify.
    pub response: Vec<u8>,
}

/// How often a state is read that another command changes meanwhile.
const MAX_SNAPSHOTS: usize = 16;

/// Upper bound, in bytes, of what a request and its block add to the input.
const REQUEST_OVERHEAD: usize = 256;

fn query_request(listed: &UnitDescriptor, command: AdminCommand, input: &[u8]) -> Vec<u8> {
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

/// The DER of a request: a block with its signatures. `None` if the block is malformed.
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
