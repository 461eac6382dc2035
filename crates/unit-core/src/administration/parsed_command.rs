//! Administrative commands, parsed from their input.

use crate::administrators::Administrator;
use unit_api::admin::{AdminCommand, Attributes, ControlPoints, Permissions, SKI_LEN};
use unit_api::{UnitError, VerificationPattern};

/// The type of importer keys on P-521.
const IMPORTER_P521: u32 = 3;

/// A command with its well-formed input.
#[derive(Clone, Copy)]
pub(crate) enum ParsedCommand {
    AddAdministrator(Administrator),
    RemoveAdministrator([u8; SKI_LEN]),
    ReplaceAdministrator {
        old: [u8; SKI_LEN],
        new: Administrator,
    },
    SetAttributes(Attributes),
    GenerateImporterKey,
    GenerateMasterKey,
    /// The target in the input is checked after the decision that export is permitted.
    ExportCurrent,
    ExportNew,
    /// Parts of custodians.
    ImportKeyParts {
        /// Number of parts, 1 to 3.
        parts: usize,
    },
    /// A whole master key that another unit exported. Its source is checked after the decision that import is permitted.
    ImportExport,
    CommitNew(VerificationPattern),
    ActivateNew(VerificationPattern),
    ClearNew,
    ClearCurrent,
    Zeroize,
    SetControlPoints(ControlPoints),
    AddControlPoints(ControlPoints),
    DeleteControlPoints(ControlPoints),
}

impl ParsedCommand {
    /// Parses the input of `command`. Imports are parsed by [`super::verify`], which counts their parts.
    ///
    /// # Errors
    /// The error in the input; [`UnitError::CommandUnknown`] for queries and unknown commands.
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

fn empty(input: &[u8], order: ParsedCommand) -> Result<ParsedCommand, UnitError> {
    if input.is_empty() { Ok(order) } else { Err(UnitError::RequestMalformed) }
}

fn parse_pattern(input: &[u8]) -> Result<VerificationPattern, UnitError> {
    input.try_into().map(VerificationPattern::from_bytes).map_err(|_| UnitError::RequestMalformed)
}

/// Refuses unknown bits; the decision checks whether the known ones may be set.
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
