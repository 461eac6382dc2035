//! Decides whether an administrative command may be carried out, and what it changes. Pure.

use super::attributes;
use super::parsed_command::ParsedCommand;
use crate::administrators::Administrators;
use crate::domain::Domain;
use crate::registers::RegisterCommand;
use engine::KeyHandle;
use unit_api::UnitError;
use unit_api::admin::{AdminCommand, Attributes, ControlPoint, ControlPoints, Permissions, SKI_LEN};

/// The effect of a command that may be carried out.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and there is no heap to put it on")]
pub(crate) enum Decision {
    /// The domain after the command; it only has to be persisted.
    Domain(Domain),
    /// Generate an importer key.
    ImporterKey,
    /// Generate a random master key, for [`RegisterCommand::Generate`].
    RandomMasterKey,
    /// Open and combine the parts, for [`RegisterCommand::Load`].
    KeyParts,
    /// Seal this master key for the target.
    Export(KeyHandle),
}

/// Reason why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecisionError {
    /// Too few administrators have signed: the transaction counter stays.
    Unauthorised(UnitError),
    /// Enough administrators have signed, so that the command must not be repeated later: the transaction counter advances.
    Refused(UnitError),
}

/// Decides `command` in `domain`. `order` is the parsed input or the error in it; `signatures` is the number of administrators
/// with valid signatures (of an import, the smallest number on any part).
///
/// The rules of the registers are at [`crate::registers::Registers`], those of attributes at [`attributes::check`]. ST and
/// RT are the thresholds, ST′ the new signature threshold; numbers are reason codes.
///
/// | command | imprint mode | secured, signatures | refused, in this order |
/// |---|---|---|---|
/// | add administrator | unsigned | ST | 40, installed already 38, eight installed 39 |
/// | remove administrator | unsigned, the last one too | RT | 32, not installed 33, last 68, second-last without `1SIGN` 67, fewer left than a threshold 66 |
/// | replace administrator | unsigned | ST and RT | 32, 40, old not installed 33, new installed already 38 |
/// | set attributes | unsigned, or ST′ to leave imprint mode | ST; RT too if it lowers RT | 41, then [`attributes::check`] |
/// | generate importer key | 34 | 1 | another type 55 |
/// | import key parts | 34 | 1 on each part | without `WK_IMPORT` 80, a custodian's only part without `WK_1PART` 81, New full 53 |
/// | generate master key | 34 | 1 | without `WK_RANDOM` 52, New full 53 |
/// | export Current, New | 34 | ST | without `WK_EXPORT` 131, register empty 49, 50 |
/// | commit, activate | 34 | ST, 1 | as the registers |
/// | clear New, clear Current | 34 | 1 | never |
/// | set, add, delete control points | 34 | ST, or 1 with `CP_1SIGN` | 44, on without `ADD_CPBS` 46, off without `DELETE_CPBS` 47 |
/// | zeroize | unsigned | 1 with `ZERO_1SIGN`, else ST | never |
///
/// With `QUORUM_DESTRUCTIVE`, activate, clear Current and zeroize need ST. A command that imprint mode forbids is refused
/// before any other check. In a secured unit the number of signatures is checked first (21), then the form of the input,
/// then the rest. In imprint mode a refusal needs no signature.
pub(crate) fn decide(
    domain: &Domain,
    command: AdminCommand,
    order: Result<ParsedCommand, UnitError>,
    signatures: usize,
) -> Result<Decision, DecisionError> {
    let imprint = domain.attributes.imprint();
    if imprint && command.needs_secured_unit() {
        return Err(DecisionError::Refused(UnitError::ImprintMode));
    }
    if signatures < needed(domain, command, None) {
        return Err(DecisionError::Unauthorised(UnitError::NotEnoughSignatures));
    }
    let next = order.and_then(|order| carry_out(domain, &order)).map_err(DecisionError::Refused)?;
    let sets = match &next {
        Decision::Domain(after) => Some(&after.attributes),
        Decision::ImporterKey | Decision::RandomMasterKey | Decision::KeyParts | Decision::Export(_) => None,
    };
    if signatures < needed(domain, command, sets) {
        return Err(DecisionError::Unauthorised(UnitError::NotEnoughSignatures));
    }
    Ok(next)
}

fn count(threshold: u32) -> usize {
    usize::try_from(threshold).unwrap_or(usize::MAX)
}

/// Number of signatures needed. For a change of thresholds it depends on those that are set.
fn needed(domain: &Domain, command: AdminCommand, sets: Option<&Attributes>) -> usize {
    let Attributes { permissions, .. } = domain.attributes;
    let needed = command.signatures_needed(domain.attributes.imprint(), permissions);
    count(needed.count(&domain.attributes, sets))
}

fn carry_out(domain: &Domain, order: &ParsedCommand) -> Result<Decision, UnitError> {
    let permissions = domain.attributes.permissions;
    let permit = |needed: Permissions, otherwise: UnitError| {
        if permissions.contains(needed) { Ok(()) } else { Err(otherwise) }
    };
    let with_administrators = |administrators| Decision::Domain(Domain { administrators, ..domain.clone() });
    let with_control_points = |control_points| Decision::Domain(Domain { control_points, ..domain.clone() });
    Ok(match *order {
        ParsedCommand::AddAdministrator(new) => with_administrators(domain.administrators.with(new)?),
        ParsedCommand::RemoveAdministrator(ski) => with_administrators(removed(domain, &ski)?),
        ParsedCommand::ReplaceAdministrator { old, new } => {
            with_administrators(domain.administrators.replacing(&old, new)?)
        }
        ParsedCommand::SetAttributes(attributes) => {
            attributes::check(domain, &attributes)?;
            Decision::Domain(Domain { attributes, ..domain.clone() })
        }
        ParsedCommand::GenerateImporterKey => Decision::ImporterKey,
        ParsedCommand::GenerateMasterKey => {
            permit(Permissions::WK_RANDOM, UnitError::GenerateForbidden)?;
            domain.registers.check_room()?;
            Decision::RandomMasterKey
        }
        ParsedCommand::ImportKeyParts { parts } => {
            permit(Permissions::WK_IMPORT, UnitError::ImportForbidden)?;
            if parts == 1 {
                permit(Permissions::WK_1PART, UnitError::SinglePartForbidden)?;
            }
            domain.registers.check_room()?;
            Decision::KeyParts
        }
        ParsedCommand::ImportExport => {
            permit(Permissions::WK_IMPORT, UnitError::ImportForbidden)?;
            domain.registers.check_room()?;
            Decision::KeyParts
        }
        ParsedCommand::ExportCurrent => {
            permit(Permissions::WK_EXPORT, UnitError::ExportForbidden)?;
            Decision::Export(domain.registers.current().ok_or(UnitError::CurrentMissing)?.handle)
        }
        ParsedCommand::ExportNew => {
            permit(Permissions::WK_EXPORT, UnitError::ExportForbidden)?;
            Decision::Export(domain.registers.new_key().ok_or(UnitError::NewMissing)?.handle)
        }
        ParsedCommand::CommitNew(pattern) => {
            with_register_command(domain, &RegisterCommand::Commit(pattern))?
        }
        ParsedCommand::ActivateNew(pattern) => {
            with_register_command(domain, &RegisterCommand::Activate(pattern))?
        }
        ParsedCommand::ClearNew => with_register_command(domain, &RegisterCommand::ClearNew)?,
        ParsedCommand::ClearCurrent => with_register_command(domain, &RegisterCommand::ClearCurrent)?,
        ParsedCommand::Zeroize => Decision::Domain(domain.next_life()?),
        ParsedCommand::SetControlPoints(points) => {
            with_control_points(switch(domain.control_points, points)?)
        }
        ParsedCommand::AddControlPoints(points) => {
            with_control_points(switch(domain.control_points, domain.control_points.with(points))?)
        }
        ParsedCommand::DeleteControlPoints(points) => {
            with_control_points(switch(domain.control_points, domain.control_points.without(points))?)
        }
    })
}

fn with_register_command(domain: &Domain, command: &RegisterCommand) -> Result<Decision, UnitError> {
    Ok(Decision::Domain(domain.with_registers(command)?))
}

impl Domain {
    /// The domain after a command to its registers.
    pub(crate) fn with_registers(&self, command: &RegisterCommand) -> Result<Self, UnitError> {
        Ok(Self { registers: self.registers.after(command)?, ..self.clone() })
    }
}

/// The administrators without one of them, if enough remain for the thresholds.
fn removed(domain: &Domain, ski: &[u8; SKI_LEN]) -> Result<Administrators, UnitError> {
    let left = domain.administrators.without(ski)?;
    let Attributes { signature_threshold, revocation_threshold, permissions, .. } = domain.attributes;
    if domain.attributes.imprint() {
        return Ok(left);
    }
    match left.count() {
        0 => Err(UnitError::RemovalOfLast),
        1 if !permissions.contains(Permissions::ONE_SIGN) => Err(UnitError::RemovalOfSecondLast),
        few if few < count(signature_threshold.max(revocation_threshold)) => {
            Err(UnitError::RemovalBreaksThreshold)
        }
        _ => Ok(left),
    }
}

/// The control points after a change, if the control points for changes permit it.
fn switch(before: ControlPoints, after: ControlPoints) -> Result<ControlPoints, UnitError> {
    if !before.contains(after) && !before.is_on(ControlPoint::AddCpbs) {
        return Err(UnitError::ControlPointsAddForbidden);
    }
    if !after.contains(before) && !before.is_on(ControlPoint::DeleteCpbs) {
        return Err(UnitError::ControlPointsDeleteForbidden);
    }
    Ok(after)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
