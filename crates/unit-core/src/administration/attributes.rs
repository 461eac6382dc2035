//! Rules for changes of thresholds and permissions. Pure.

use crate::domain::Domain;
use unit_api::UnitError;
use unit_api::admin::{Attributes, MODE_LEFT_IMPRINT, Permissions};

/// Checks whether the attributes of `domain` may be replaced by `next`.
///
/// In imprint mode, permissions can be set while both thresholds stay 0; setting thresholds leaves imprint mode. All checks
/// use the attributes before the command, so that one command can use a change-control bit and clear it. The checks in
/// order; the first that fails is the refusal:
///
/// | check | refusal (reason) |
/// |---|---|
/// | a secured unit has thresholds above 0; leaving imprint mode needs both above 0 | `SignatureThresholdZero` (76), `RevocationThresholdZero` (77), leaving imprint mode `RevocationThresholdMissing` (36) |
/// | no threshold is above the number of administrators, and so none above 8 | `SignatureThresholdTooHigh` (57), `RevocationThresholdTooHigh` (58) |
/// | the mode is 1 if the thresholds are set, else 0 | `ModeReadOnly` (72) |
/// | no cleared change-control bit is set again | `ChangeControlReset` (69) |
/// | a permission changes only while its change-control bit is set | `PermissionProtected` (70) |
/// | a threshold changes only while `CHG_SIGN_THR`, `CHG_REVOKE_THR` is set | `ThresholdProtected` (71) |
/// | a threshold that stays 1 needs `1SIGN` to stay set | `OneSignNeeded` (74) |
/// | a threshold set to 1 needs `1SIGN` | `SignatureThresholdOne` (78), `RevocationThresholdOne` (79) |
pub(crate) fn check(domain: &Domain, next: &Attributes) -> Result<(), UnitError> {
    let before = &domain.attributes;
    check_zero(before, next)?;
    let administrators = u32::try_from(domain.administrators.count()).unwrap_or(u32::MAX);
    ensure(next.signature_threshold <= administrators, UnitError::SignatureThresholdTooHigh)?;
    ensure(next.revocation_threshold <= administrators, UnitError::RevocationThresholdTooHigh)?;
    let mode = if next.signature_threshold == 0 { 0 } else { MODE_LEFT_IMPRINT };
    ensure(next.mode == mode, UnitError::ModeReadOnly)?;
    check_protection(before, next)?;
    check_one(before, next)
}

fn ensure(holds: bool, otherwise: UnitError) -> Result<(), UnitError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn check_zero(before: &Attributes, next: &Attributes) -> Result<(), UnitError> {
    match (next.signature_threshold, next.revocation_threshold) {
        (0, 0) if before.imprint() => Ok(()),
        (0, _) => Err(UnitError::SignatureThresholdZero),
        (_, 0) if before.imprint() => Err(UnitError::RevocationThresholdMissing),
        (_, 0) => Err(UnitError::RevocationThresholdZero),
        _ => Ok(()),
    }
}

fn check_protection(before: &Attributes, next: &Attributes) -> Result<(), UnitError> {
    let (had, has) = (before.permissions, next.permissions);
    let back = Permissions(has.0 & !had.0 & Permissions::change_control().0);
    ensure(back.0 == 0, UnitError::ChangeControlReset)?;
    let changed = Permissions(had.0 ^ has.0);
    for (_, bit, control) in Permissions::TABLE {
        let protected = control.is_some_and(|control| !had.contains(control));
        ensure(!(protected && changed.contains(*bit)), UnitError::PermissionProtected)?;
    }
    let thresholds = [
        (before.signature_threshold, next.signature_threshold, Permissions::CHG_SIGN_THR),
        (before.revocation_threshold, next.revocation_threshold, Permissions::CHG_REVOKE_THR),
    ];
    for (was, is, control) in thresholds {
        ensure(was == is || had.contains(control), UnitError::ThresholdProtected)?;
    }
    Ok(())
}

fn check_one(before: &Attributes, next: &Attributes) -> Result<(), UnitError> {
    if next.permissions.contains(Permissions::ONE_SIGN) {
        return Ok(());
    }
    let stays = |was, is| was == 1 && is == 1;
    let stay = stays(before.signature_threshold, next.signature_threshold)
        || stays(before.revocation_threshold, next.revocation_threshold);
    ensure(!stay, UnitError::OneSignNeeded)?;
    ensure(next.signature_threshold != 1, UnitError::SignatureThresholdOne)?;
    ensure(next.revocation_threshold != 1, UnitError::RevocationThresholdOne)
}
