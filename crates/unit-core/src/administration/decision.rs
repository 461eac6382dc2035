//! Whether an administrative command may be carried out, and what comes of it. Pure.

use super::attributes;
use super::order::Order;
use crate::administrators::Administrators;
use crate::domain::Domain;
use crate::registers::RegisterCommand;
use engine::KeyHandle;
use unit_api::UnitError;
use unit_api::admin::{
    AdminCommand, Attributes, ControlPoint, ControlPoints, Permissions, SKI_LEN, SignaturesNeeded,
};

/// What comes of a command that may be carried out.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and there is no heap to put it on")]
pub(crate) enum Next {
    /// The domain as it is afterwards; only to be saved.
    Domain(Domain),
    /// A fresh importer key is to be made.
    ImporterKey,
    /// A random master key is to be made, for [`RegisterCommand::Generate`].
    RandomMasterKey,
    /// The parts are to be opened and combined, for [`RegisterCommand::Load`].
    KeyParts,
    /// This master key is to be sealed for the target.
    Export(KeyHandle),
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too few have signed: the transaction counter stays.
    Unauthorised(UnitError),
    /// It was rightly signed, so that it must never be carried out later: the transaction counter advances.
    Rightly(UnitError),
}

/// What comes of `command` in `domain`, given its input as far as it could be read and the number of administrators
/// whose signatures are right (of an import, the fewest on any of its parts).
///
/// The registers' part of the table stands at [`crate::registers::Registers`], attributes' at [`attributes::check`]. ST
/// and RT are the thresholds, ST′ the new one; numbers are reason codes.
///
/// | command | imprint mode | secured, signatures | refused, in this order |
/// |---|---|---|---|
/// | add administrator | unsigned | ST | 40, installed already 38, eight installed 39 |
/// | remove administrator | unsigned, the last one too | RT | 32, not installed 33, last 68, second-last without `1SIGN` 67, fewer left than a threshold 66 |
/// | replace administrator | unsigned | ST | 32, 40, old not installed 33, new installed already 38 |
/// | set attributes | unsigned, but ST′ if imprint mode is left | ST | 41, then [`attributes::check`] |
/// | generate importer key | 34 | 1 | another type 55 |
/// | import key parts | 34 | 1 on each part | without `WK_IMPORT` 80, one part without `WK_1PART` 81, New full 53 |
/// | generate master key | 34 | 1 | without `WK_RANDOM` 52, New full 53 |
/// | export Current, New | 34 | ST | without `WK_EXPORT` 131, register empty 49, 50 |
/// | commit, activate | 34 | ST, 1 | as the registers |
/// | clear New, clear Current | 34 | 1 | never |
/// | set, add, delete control points | 34 | ST, or 1 with `CP_1SIGN` | 44, on without `ADD_CPBS` 46, off without `DELETE_CPBS` 47 |
/// | zeroize | unsigned | 1 with `ZERO_1SIGN`, else ST | never |
///
/// With `QUORUM_DESTRUCTIVE` activate, clear Current and zeroize need ST. What imprint mode refuses is refused first of
/// all; in a secured unit the number of signatures comes first (21), then the form of the input, then the rest. In imprint
/// mode nobody has to sign what is refused.
pub(crate) fn decide(
    domain: &Domain,
    command: AdminCommand,
    order: Result<Order, UnitError>,
    signatures: usize,
) -> Result<Next, Refused> {
    let imprint = domain.attributes.imprint();
    if imprint && command.needs_secured_unit() {
        return Err(Refused::Rightly(UnitError::ImprintMode));
    }
    if signatures < needed(domain, command) {
        return Err(Refused::Unauthorised(UnitError::NotEnoughSignatures));
    }
    let next = order.and_then(|order| carry_out(domain, &order)).map_err(Refused::Rightly)?;
    match &next {
        Next::Domain(left) if imprint && signatures < count(left.attributes.signature_threshold) => {
            Err(Refused::Unauthorised(UnitError::NotEnoughSignatures))
        }
        _ => Ok(next),
    }
}

fn count(threshold: u32) -> usize {
    usize::try_from(threshold).unwrap_or(usize::MAX)
}

/// How many have to sign, but for leaving imprint mode, where only the outcome tells.
fn needed(domain: &Domain, command: AdminCommand) -> usize {
    let Attributes { signature_threshold, revocation_threshold, permissions, .. } = domain.attributes;
    match command.signatures_needed(domain.attributes.imprint(), permissions) {
        SignaturesNeeded::None | SignaturesNeeded::NewSignatureThreshold => 0,
        SignaturesNeeded::One | SignaturesNeeded::OneOnEachPart => 1,
        SignaturesNeeded::SignatureThreshold => count(signature_threshold),
        SignaturesNeeded::RevocationThreshold => count(revocation_threshold),
    }
}

fn carry_out(domain: &Domain, order: &Order) -> Result<Next, UnitError> {
    let permissions = domain.attributes.permissions;
    let permit = |needed: Permissions, otherwise: UnitError| {
        if permissions.contains(needed) { Ok(()) } else { Err(otherwise) }
    };
    let ruled_by = |administrators| Next::Domain(Domain { administrators, ..domain.clone() });
    let switched = |control_points| Next::Domain(Domain { control_points, ..domain.clone() });
    Ok(match *order {
        Order::AddAdministrator(new) => ruled_by(domain.administrators.with(new)?),
        Order::RemoveAdministrator(ski) => ruled_by(removed(domain, &ski)?),
        Order::ReplaceAdministrator { old, new } => ruled_by(domain.administrators.replacing(&old, new)?),
        Order::SetAttributes(attributes) => {
            attributes::check(domain, &attributes)?;
            Next::Domain(Domain { attributes, ..domain.clone() })
        }
        Order::GenerateImporterKey => Next::ImporterKey,
        Order::GenerateMasterKey => {
            permit(Permissions::WK_RANDOM, UnitError::GenerateForbidden)?;
            domain.registers.check_room()?;
            Next::RandomMasterKey
        }
        Order::ImportKeyParts { parts } => {
            permit(Permissions::WK_IMPORT, UnitError::ImportForbidden)?;
            if parts == 1 {
                permit(Permissions::WK_1PART, UnitError::SinglePartForbidden)?;
            }
            domain.registers.check_room()?;
            Next::KeyParts
        }
        Order::ExportCurrent => {
            permit(Permissions::WK_EXPORT, UnitError::ExportForbidden)?;
            Next::Export(domain.registers.current().ok_or(UnitError::CurrentMissing)?.handle)
        }
        Order::ExportNew => {
            permit(Permissions::WK_EXPORT, UnitError::ExportForbidden)?;
            Next::Export(domain.registers.new_key().ok_or(UnitError::NewMissing)?.handle)
        }
        Order::CommitNew(pattern) => moved(domain, &RegisterCommand::Commit(pattern))?,
        Order::ActivateNew(pattern) => moved(domain, &RegisterCommand::Activate(pattern))?,
        Order::ClearNew => moved(domain, &RegisterCommand::ClearNew)?,
        Order::ClearCurrent => moved(domain, &RegisterCommand::ClearCurrent)?,
        Order::Zeroize => Next::Domain(domain.next_life()?),
        Order::SetControlPoints(points) => switched(switch(domain.control_points, points)?),
        Order::AddControlPoints(points) => {
            switched(switch(domain.control_points, domain.control_points.with(points))?)
        }
        Order::DeleteControlPoints(points) => {
            switched(switch(domain.control_points, domain.control_points.without(points))?)
        }
    })
}

fn moved(domain: &Domain, command: &RegisterCommand) -> Result<Next, UnitError> {
    Ok(Next::Domain(domain.with_registers(command)?))
}

impl Domain {
    /// The domain after a command to its registers.
    pub(crate) fn with_registers(&self, command: &RegisterCommand) -> Result<Self, UnitError> {
        Ok(Self { registers: self.registers.after(command)?, ..self.clone() })
    }
}

/// The administrators without one, if those who are left can still rule.
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

/// The control points after a change, if those who rule over changes permit it.
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
