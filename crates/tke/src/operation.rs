//! Administrative operations: commands to one unit, not yet bound to it.

use tke_crypto::{AdministratorCertificate, Ski};
use unit_api::VerificationPattern;
use unit_api::admin::{AdminBlock, AdminCommand, Attributes, ControlPoints};

/// An administrator with its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// Name, 1 to 30 characters.
    pub name: String,
    /// Subject key identifier of the public key.
    pub ski: Ski,
    /// Self-signed certificate, DER. Empty if it is not known.
    pub certificate: Vec<u8>,
}

/// A command to a unit with its input, without target and transaction counter.
#[derive(Clone, Debug)]
pub enum AdminOperation {
    /// Install an administrator.
    AddAdministrator(Administrator),
    /// Remove an administrator.
    RemoveAdministrator(Ski),
    /// Set thresholds and permissions.
    SetAttributes(Attributes),
    /// Replace the control points.
    SetControlPoints(ControlPoints),
    /// Generate a new importer key.
    GenerateImporterKey,
    /// Generate a random master key in the new register.
    GenerateMasterKey,
    /// Commit the new register. The pattern was calculated from the key parts.
    Commit(VerificationPattern),
    /// Move the master key of the new register to the current one.
    Activate(VerificationPattern),
    /// Clear the new register.
    ClearNew,
    /// Clear the current register.
    ClearCurrent,
    /// Erase administrators, thresholds and both registers; back to imprint mode.
    Zeroize,
}

/// Type of the importer key in the command's input: P-521.
const IMPORTER_P521: u32 = 3;

impl AdminOperation {
    /// The command of the operation.
    #[must_use]
    pub const fn command(&self) -> AdminCommand {
        match self {
            Self::AddAdministrator(_) => AdminCommand::AddAdministrator,
            Self::RemoveAdministrator(_) => AdminCommand::RemoveAdministrator,
            Self::SetAttributes(_) => AdminCommand::SetAttributes,
            Self::SetControlPoints(_) => AdminCommand::SetControlPoints,
            Self::GenerateImporterKey => AdminCommand::GenerateImporterKey,
            Self::GenerateMasterKey => AdminCommand::GenerateMasterKey,
            Self::Commit(_) => AdminCommand::CommitNew,
            Self::Activate(_) => AdminCommand::ActivateNew,
            Self::ClearNew => AdminCommand::ClearNew,
            Self::ClearCurrent => AdminCommand::ClearCurrent,
            Self::Zeroize => AdminCommand::Zeroize,
        }
    }

    /// The input of the command.
    #[must_use]
    pub fn input(&self) -> Vec<u8> {
        match self {
            Self::AddAdministrator(administrator) => administrator.certificate.clone(),
            Self::RemoveAdministrator(ski) => ski.as_bytes().to_vec(),
            Self::SetAttributes(attributes) => attributes.to_bytes().to_vec(),
            Self::SetControlPoints(points) => points.to_bytes().to_vec(),
            Self::GenerateImporterKey => IMPORTER_P521.to_be_bytes().to_vec(),
            Self::Commit(pattern) | Self::Activate(pattern) => pattern.as_bytes().to_vec(),
            Self::GenerateMasterKey | Self::ClearNew | Self::ClearCurrent | Self::Zeroize => Vec::new(),
        }
    }

    /// Decodes the operation of a signed block. `None` for queries, for commands that move keys between units, and for an
    /// input that the unit would refuse as malformed.
    #[must_use]
    pub fn from_block(block: &AdminBlock<'_>) -> Option<Self> {
        let input = block.input;
        let pattern = || Some(VerificationPattern::from_bytes(input.try_into().ok()?));
        let empty = |operation| input.is_empty().then_some(operation);
        match AdminCommand::from_id(block.command)? {
            AdminCommand::AddAdministrator => {
                let parsed = AdministratorCertificate::parse(input).ok()?;
                Some(Self::AddAdministrator(Administrator {
                    name: parsed.name.as_str().to_owned(),
                    ski: parsed.ski,
                    certificate: input.to_vec(),
                }))
            }
            AdminCommand::RemoveAdministrator => {
                Some(Self::RemoveAdministrator(Ski(input.try_into().ok()?)))
            }
            AdminCommand::SetAttributes => Some(Self::SetAttributes(Attributes::from_bytes(input).ok()?)),
            AdminCommand::SetControlPoints => {
                Some(Self::SetControlPoints(ControlPoints::from_bytes(input).ok()?))
            }
            AdminCommand::GenerateImporterKey => {
                (input == IMPORTER_P521.to_be_bytes()).then_some(Self::GenerateImporterKey)
            }
            AdminCommand::GenerateMasterKey => empty(Self::GenerateMasterKey),
            AdminCommand::CommitNew => Some(Self::Commit(pattern()?)),
            AdminCommand::ActivateNew => Some(Self::Activate(pattern()?)),
            AdminCommand::ClearNew => empty(Self::ClearNew),
            AdminCommand::ClearCurrent => empty(Self::ClearCurrent),
            AdminCommand::Zeroize => empty(Self::Zeroize),
            _ => None,
        }
    }

    /// The attributes that the operation sets, if it does.
    #[must_use]
    pub const fn sets(&self) -> Option<Attributes> {
        match self {
            Self::SetAttributes(to) => Some(*to),
            _ => None,
        }
    }

    /// The verification pattern in the input, if there is one.
    #[must_use]
    pub const fn pattern(&self) -> Option<VerificationPattern> {
        match self {
            Self::Commit(pattern) | Self::Activate(pattern) => Some(*pattern),
            _ => None,
        }
    }
}

/// The operation as signers read it.
impl std::fmt::Display for AdminOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddAdministrator(who) => write!(f, "add administrator `{}` ({})", who.name, who.ski),
            Self::RemoveAdministrator(ski) => write!(f, "remove administrator {ski}"),
            Self::SetAttributes(to) => write!(
                f,
                "set signature threshold {}, revocation threshold {}, permissions {}",
                to.signature_threshold, to.revocation_threshold, to.permissions
            ),
            Self::SetControlPoints(points) => write!(f, "set control points {points}"),
            Self::Commit(pattern) => write!(f, "commit the new master key {pattern}"),
            Self::Activate(pattern) => write!(f, "activate the new master key {pattern}"),
            other => f.write_str(other.command().name()),
        }
    }
}
