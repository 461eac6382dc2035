//! What an administrative command asks for, read from its input.

use crate::administrators::Administrator;
use unit_api::admin::{AdminCommand, Attributes, ControlPoints, Permissions, SKI_LEN};
use unit_api::{UnitError, VerificationPattern};

/// The type of importer keys on P-521.
const IMPORTER_P521: u32 = 3;

/// A command with its input, well-formed.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    AddAdministrator(Administrator),
    RemoveAdministrator([u8; SKI_LEN]),
    ReplaceAdministrator {
        old: [u8; SKI_LEN],
        new: Administrator,
    },
    SetAttributes(Attributes),
    GenerateImporterKey,
    GenerateMasterKey,
    /// What it is sealed for is looked at once it may be exported at all.
    ExportCurrent,
    ExportNew,
    ImportKeyParts {
        /// How many, 1 to 3.
        parts: usize,
    },
    CommitNew(VerificationPattern),
    ActivateNew(VerificationPattern),
    ClearNew,
    ClearCurrent,
    Zeroize,
    SetControlPoints(ControlPoints),
    AddControlPoints(ControlPoints),
    DeleteControlPoints(ControlPoints),
}

impl Order {
    /// What `command` asks for with this input. How many parts an import has is [`super::verify`]'s to find out.
    ///
    /// # Errors
    /// What is wrong with the input; [`UnitError::CommandUnknown`] for what is no command to change anything.
    pub(crate) fn parse(command: AdminCommand, input: &[u8]) -> Result<Self, UnitError> {
        Ok(match command {
            AdminCommand::AddAdministrator => Self::AddAdministrator(Administrator::from_certificate(input)?),
            AdminCommand::RemoveAdministrator => {
                Self::RemoveAdministrator(input.try_into().map_err(|_| UnitError::SkiMalformed)?)
            }
            AdminCommand::ReplaceAdministrator => {
                let (old, certificate) = input.split_first_chunk().ok_or(UnitError::SkiMalformed)?;
                Self::ReplaceAdministrator { old: *old, new: Administrator::from_certificate(certificate)? }
            }
            AdminCommand::SetAttributes => Self::SetAttributes(parse_attributes(input)?),
            AdminCommand::GenerateImporterKey => {
                let kind = input.try_into().map_err(|_| UnitError::RequestMalformed)?;
                if u32::from_be_bytes(kind) != IMPORTER_P521 {
                    return Err(UnitError::ImporterTypeInvalid);
                }
                Self::GenerateImporterKey
            }
            AdminCommand::GenerateMasterKey => empty(input, Self::GenerateMasterKey)?,
            AdminCommand::ExportCurrent => Self::ExportCurrent,
            AdminCommand::ExportNew => Self::ExportNew,
            AdminCommand::CommitNew => Self::CommitNew(parse_pattern(input)?),
            AdminCommand::ActivateNew => Self::ActivateNew(parse_pattern(input)?),
            AdminCommand::ClearNew => empty(input, Self::ClearNew)?,
            AdminCommand::ClearCurrent => empty(input, Self::ClearCurrent)?,
            AdminCommand::Zeroize => empty(input, Self::Zeroize)?,
            AdminCommand::SetControlPoints => Self::SetControlPoints(parse_control_points(input)?),
            AdminCommand::AddControlPoints => Self::AddControlPoints(parse_control_points(input)?),
            AdminCommand::DeleteControlPoints => Self::DeleteControlPoints(parse_control_points(input)?),
            _ => return Err(UnitError::CommandUnknown),
        })
    }
}

fn empty(input: &[u8], order: Order) -> Result<Order, UnitError> {
    if input.is_empty() { Ok(order) } else { Err(UnitError::RequestMalformed) }
}

fn parse_pattern(input: &[u8]) -> Result<VerificationPattern, UnitError> {
    input.try_into().map(VerificationPattern::from_bytes).map_err(|_| UnitError::RequestMalformed)
}

/// Only bits that mean something; whether they may be set is the domain's to say.
fn parse_attributes(input: &[u8]) -> Result<Attributes, UnitError> {
    let attributes = Attributes::from_bytes(input).map_err(|_| UnitError::AttributesMalformed)?;
    if Permissions::known().contains(attributes.permissions) {
        Ok(attributes)
    } else {
        Err(UnitError::AttributesMalformed)
    }
}

fn parse_control_points(input: &[u8]) -> Result<ControlPoints, UnitError> {
    let points = ControlPoints::from_bytes(input).map_err(|_| UnitError::ControlPointsMalformed)?;
    if ControlPoints::known().contains(points) { Ok(points) } else { Err(UnitError::ControlPointsMalformed) }
}
