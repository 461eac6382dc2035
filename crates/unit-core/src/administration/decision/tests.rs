//! The whole table, cell by cell: every lifecycle, register state, pair of thresholds and number of administrators, times
//! every command with every kind of input, times every number of signatures.

use super::{Decision, DecisionError, decide};
use crate::administration::parsed_command::ParsedCommand;
use crate::administrators::{Administrator, Administrators};
use crate::domain::Domain;
use crate::master_key::MasterKey;
use crate::registers::Registers;
use std::vec::Vec;
use unit_api::UnitError;
use unit_api::admin::{AdminCommand, Attributes, ControlPoint, ControlPoints, Permissions, SKI_LEN};

const CURRENT: u8 = 101;
const NEW: u8 = 102;

fn register_states() -> [Registers; 6] {
    let (current, new) = (MasterKey::for_test(CURRENT), MasterKey::for_test(NEW));
    [
        Registers::Empty,
        Registers::Loaded { new: new.clone() },
        Registers::Approved { new: new.clone() },
        Registers::Ready { current: current.clone() },
        Registers::RotationLoaded { current: current.clone(), new: new.clone() },
        Registers::RotationApproved { current, new },
    ]
}

/// The permissions under which commands differ.
fn permissions() -> [Permissions; 6] {
    let all = Permissions::recovery().with(Permissions::WK_1PART);
    [
        all,
        Permissions::operational(),
        all.with(Permissions::CP_1SIGN).with(Permissions::QUORUM_DESTRUCTIVE),
        all.without(Permissions::ONE_SIGN),
        all.without(Permissions::WK_IMPORT).without(Permissions::WK_RANDOM),
        all.without(Permissions::WK_1PART).without(Permissions::ZERO_1SIGN),
    ]
}

/// Calls `look` with every legal state; the installed administrators are numbered from 1.
fn for_each_state(mut look: impl FnMut(&Domain)) {
    for count in 0..=8_u8 {
        let mut administrators = Administrators::none();
        for n in 1..=count {
            administrators = administrators.with(Administrator::for_test(n)).unwrap();
        }
        for permissions in permissions() {
            let imprint = Attributes { permissions, ..Attributes::first() };
            look(&Domain { attributes: imprint, administrators: administrators.clone(), ..Domain::new(1) });
            for sign in 1..=u32::from(count) {
                for revoke in 1..=u32::from(count) {
                    if sign.min(revoke) == 1 && !permissions.contains(Permissions::ONE_SIGN) {
                        continue;
                    }
                    let attributes = Attributes {
                        signature_threshold: sign,
                        revocation_threshold: revoke,
                        permissions,
                        mode: 1,
                    };
                    for registers in register_states() {
                        look(&Domain {
                            attributes,
                            administrators: administrators.clone(),
                            registers,
                            ..Domain::new(1)
                        });
                    }
                }
            }
        }
    }
}

const LAST: usize = 8;

/// Every command with every kind of input that could make a difference.
fn orders() -> Vec<(AdminCommand, Result<ParsedCommand, UnitError>)> {
    use AdminCommand as C;
    let ski = |n: u8| Administrator::for_test(n).entry.ski;
    let pattern = |n: u8| MasterKey::for_test(n).pattern;
    let mut all = std::vec![
        (C::AddAdministrator, Ok(ParsedCommand::AddAdministrator(Administrator::for_test(1)))),
        (C::AddAdministrator, Ok(ParsedCommand::AddAdministrator(Administrator::for_test(9)))),
        (C::AddAdministrator, Err(UnitError::CertificateInvalid)),
        (C::RemoveAdministrator, Ok(ParsedCommand::RemoveAdministrator(ski(1)))),
        (C::RemoveAdministrator, Ok(ParsedCommand::RemoveAdministrator(ski(9)))),
        (C::RemoveAdministrator, Err(UnitError::SkiMalformed)),
        (C::GenerateImporterKey, Ok(ParsedCommand::GenerateImporterKey)),
        (C::GenerateImporterKey, Err(UnitError::ImporterTypeInvalid)),
        (C::GenerateMasterKey, Ok(ParsedCommand::GenerateMasterKey)),
        (C::GenerateMasterKey, Err(UnitError::RequestMalformed)),
        (C::ExportCurrent, Ok(ParsedCommand::ExportCurrent)),
        (C::ExportNew, Ok(ParsedCommand::ExportNew)),
        (C::ClearNew, Ok(ParsedCommand::ClearNew)),
        (C::ClearNew, Err(UnitError::RequestMalformed)),
        (C::ClearCurrent, Ok(ParsedCommand::ClearCurrent)),
        (C::Zeroize, Ok(ParsedCommand::Zeroize)),
        (C::Zeroize, Err(UnitError::RequestMalformed)),
        (C::SetControlPoints, Ok(ParsedCommand::SetControlPoints(ControlPoints::NONE))),
        (C::AddControlPoints, Ok(ParsedCommand::AddControlPoints(ControlPoints::known()))),
        (C::DeleteControlPoints, Ok(ParsedCommand::DeleteControlPoints(ControlPoints::known()))),
        (C::DeleteControlPoints, Err(UnitError::ControlPointsMalformed)),
        (C::SetAttributes, Err(UnitError::AttributesMalformed)),
    ];
    for (old, new) in [(1, 9), (9, 1), (1, 1), (9, 10), (1, 2)] {
        let order = ParsedCommand::ReplaceAdministrator { old: ski(old), new: Administrator::for_test(new) };
        all.push((C::ReplaceAdministrator, Ok(order)));
    }
    for parts in 1..=3 {
        all.push((C::ImportKeyParts, Ok(ParsedCommand::ImportKeyParts { parts })));
    }
    all.push((C::ImportKeyParts, Ok(ParsedCommand::ImportExport)));
    all.push((C::ImportKeyParts, Err(UnitError::KeyPartUncounted)));
    for n in [CURRENT, NEW, 103] {
        all.push((C::CommitNew, Ok(ParsedCommand::CommitNew(pattern(n)))));
        all.push((C::ActivateNew, Ok(ParsedCommand::ActivateNew(pattern(n)))));
    }
    for sign in 0..=9 {
        for revoke in 0..=9 {
            for permissions in permissions() {
                let mode = u32::from(sign != 0);
                let attributes =
                    Attributes { signature_threshold: sign, revocation_threshold: revoke, permissions, mode };
                all.push((C::SetAttributes, Ok(ParsedCommand::SetAttributes(attributes))));
            }
        }
    }
    all
}

/// What the table says, told again, as plainly as can be.
fn expected(
    domain: &Domain,
    command: AdminCommand,
    order: &Result<ParsedCommand, UnitError>,
    signatures: usize,
) -> Result<(), DecisionError> {
    let Attributes { signature_threshold, revocation_threshold, permissions, mode } = domain.attributes;
    let (st, rt) = (signature_threshold as usize, revocation_threshold as usize);
    let has = |bit: Permissions| permissions.0 & bit.0 != 0;
    let secured = mode == 1;
    let raised = has(Permissions::QUORUM_DESTRUCTIVE);
    use AdminCommand as C;
    let needed = match command {
        C::AddAdministrator | C::SetAttributes => Some(st),
        C::ReplaceAdministrator => Some(st.max(rt)),
        C::RemoveAdministrator => Some(rt),
        C::Zeroize if !secured => Some(0),
        C::Zeroize => Some(if has(Permissions::ZERO_1SIGN) && !raised { 1 } else { st }),
        _ if !secured => None,
        C::CommitNew | C::ExportCurrent | C::ExportNew => Some(st),
        C::ActivateNew | C::ClearCurrent => Some(if raised { st } else { 1 }),
        C::SetControlPoints | C::AddControlPoints | C::DeleteControlPoints => {
            Some(if has(Permissions::CP_1SIGN) { 1 } else { st })
        }
        _ => Some(1),
    };
    let Some(needed) = needed else { return Err(DecisionError::Refused(UnitError::ImprintMode)) };
    if signatures < needed {
        return Err(DecisionError::Unauthorised(UnitError::NotEnoughSignatures));
    }
    let order = (*order).map_err(DecisionError::Refused)?;
    let outcome = permitted(domain, &order).map_err(DecisionError::Refused);
    if let (ParsedCommand::SetAttributes(next), false, Ok(())) = (order, secured, outcome)
        && signatures < next.signature_threshold as usize
    {
        return Err(DecisionError::Unauthorised(UnitError::NotEnoughSignatures));
    }
    if let (ParsedCommand::SetAttributes(next), true, Ok(())) = (order, secured, outcome)
        && next.revocation_threshold < revocation_threshold
        && signatures < rt
    {
        return Err(DecisionError::Unauthorised(UnitError::NotEnoughSignatures));
    }
    outcome
}

/// The same of a command that enough have signed.
fn permitted(domain: &Domain, order: &ParsedCommand) -> Result<(), UnitError> {
    let Attributes { signature_threshold, revocation_threshold, permissions, mode } = domain.attributes;
    let has = |bit: Permissions| permissions.0 & bit.0 != 0;
    let count = domain.administrators.count();
    let installed = |ski: &[u8; 32]| (1..=count).any(|n| ski[0] as usize == n);
    let (current, new) = (domain.registers.current().is_some(), domain.registers.new_key().is_some());
    let committed =
        matches!(domain.registers, Registers::Approved { .. } | Registers::RotationApproved { .. });
    let is = |pattern: &unit_api::VerificationPattern, n: u8| pattern.as_bytes()[0] == n;
    let check = |holds: bool, error| if holds { Ok(()) } else { Err(error) };
    match order {
        ParsedCommand::AddAdministrator(who) => {
            check(!installed(&who.entry.ski), UnitError::AdministratorInstalled)?;
            check(count < LAST, UnitError::AdministratorsFull)
        }
        ParsedCommand::RemoveAdministrator(ski) => {
            check(installed(ski), UnitError::AdministratorNotInstalled)?;
            if mode == 0 {
                return Ok(());
            }
            check(count > 1, UnitError::RemovalOfLast)?;
            check(count > 2 || has(Permissions::ONE_SIGN), UnitError::RemovalOfSecondLast)?;
            let highest = signature_threshold.max(revocation_threshold) as usize;
            check(count > highest, UnitError::RemovalBreaksThreshold)
        }
        ParsedCommand::ReplaceAdministrator { old, new } => {
            check(installed(old), UnitError::AdministratorNotInstalled)?;
            check(!installed(&new.entry.ski), UnitError::AdministratorInstalled)
        }
        ParsedCommand::SetAttributes(next) => attributes(domain, next),
        ParsedCommand::GenerateImporterKey
        | ParsedCommand::ClearNew
        | ParsedCommand::ClearCurrent
        | ParsedCommand::Zeroize => Ok(()),
        ParsedCommand::GenerateMasterKey => {
            check(has(Permissions::WK_RANDOM), UnitError::GenerateForbidden)?;
            check(!new, UnitError::NewNotEmpty)
        }
        ParsedCommand::ImportKeyParts { parts } => {
            check(has(Permissions::WK_IMPORT), UnitError::ImportForbidden)?;
            check(*parts > 1 || has(Permissions::WK_1PART), UnitError::SinglePartForbidden)?;
            check(!new, UnitError::NewNotEmpty)
        }
        // What a unit has exported is no custodian's part.
        ParsedCommand::ImportExport => {
            check(has(Permissions::WK_IMPORT), UnitError::ImportForbidden)?;
            check(!new, UnitError::NewNotEmpty)
        }
        ParsedCommand::ExportCurrent => {
            check(has(Permissions::WK_EXPORT), UnitError::ExportForbidden)?;
            check(current, UnitError::CurrentMissing)
        }
        ParsedCommand::ExportNew => {
            check(has(Permissions::WK_EXPORT), UnitError::ExportForbidden)?;
            check(new, UnitError::NewMissing)
        }
        ParsedCommand::CommitNew(pattern) => {
            check(new, UnitError::NewMissing)?;
            check(is(pattern, NEW), UnitError::PatternMismatch)
        }
        ParsedCommand::ActivateNew(pattern) => {
            if current && !new && is(pattern, CURRENT) {
                return Ok(());
            }
            check(new, UnitError::NewMissing)?;
            check(committed, UnitError::NewNotCommitted)?;
            check(is(pattern, NEW), UnitError::PatternMismatch)
        }
        // Every state here has both switches on.
        ParsedCommand::SetControlPoints(_)
        | ParsedCommand::AddControlPoints(_)
        | ParsedCommand::DeleteControlPoints(_) => Ok(()),
    }
}

fn attributes(domain: &Domain, next: &Attributes) -> Result<(), UnitError> {
    let before = &domain.attributes;
    let count = domain.administrators.count() as u32;
    let (sign, revoke) = (next.signature_threshold, next.revocation_threshold);
    let imprint = before.mode == 0;
    let staying = imprint && sign == 0 && revoke == 0;
    if !staying && sign == 0 {
        return Err(UnitError::SignatureThresholdZero);
    }
    if !staying && revoke == 0 {
        let left = UnitError::RevocationThresholdMissing;
        return Err(if imprint { left } else { UnitError::RevocationThresholdZero });
    }
    if sign > count {
        return Err(UnitError::SignatureThresholdTooHigh);
    }
    if revoke > count {
        return Err(UnitError::RevocationThresholdTooHigh);
    }
    let (was, is) = (before.permissions.0, next.permissions.0);
    if is & !was & 0xffff_0000 != 0 {
        return Err(UnitError::ChangeControlReset);
    }
    for (_, bit, control) in Permissions::TABLE {
        if let Some(control) = control
            && was & control.0 == 0
            && (was ^ is) & bit.0 != 0
        {
            return Err(UnitError::PermissionProtected);
        }
    }
    // No state here has its thresholds protected.
    if is & Permissions::ONE_SIGN.0 == 0 {
        if (sign == 1 && before.signature_threshold == 1) || (revoke == 1 && before.revocation_threshold == 1)
        {
            return Err(UnitError::OneSignNeeded);
        }
        if sign == 1 {
            return Err(UnitError::SignatureThresholdOne);
        }
        if revoke == 1 {
            return Err(UnitError::RevocationThresholdOne);
        }
    }
    Ok(())
}

#[test]
fn exhaustive_states_commands_and_signatures() {
    let orders = orders();
    let mut cells = 0_u64;
    let mut seen = std::collections::BTreeSet::new();
    for_each_state(|domain| {
        for (command, order) in &orders {
            for signatures in 0..=domain.administrators.count() {
                let found = decide(domain, *command, *order, signatures);
                let found = found.map(|next| assert_is_sound(domain, order, signatures, &next));
                assert_eq!(
                    found,
                    expected(domain, *command, order, signatures),
                    "{command:?} with {signatures} signatures in {:?}, {} administrators",
                    domain.attributes,
                    domain.administrators.count()
                );
                if let Err(DecisionError::Refused(error) | DecisionError::Unauthorised(error)) = found {
                    seen.insert(error.code());
                }
                cells += 1;
            }
        }
    });
    assert!(cells > 10_000_000, "{cells} cells");
    assert!(seen.len() >= 29, "{} kinds of refusal", seen.len());
}

/// Checks what must hold after every command: no threshold exceeds the number of administrators; an administrator has left
/// the list, and the revocation threshold was lowered, only with as many signatures as that threshold.
fn assert_is_sound(
    before: &Domain,
    order: &Result<ParsedCommand, UnitError>,
    signatures: usize,
    next: &Decision,
) {
    let Decision::Domain(after) = next else { return };
    let Attributes { signature_threshold: sign, revocation_threshold: revoke, permissions, mode } =
        after.attributes;
    let count = after.administrators.count() as u32;
    let zeroized = matches!(order, Ok(ParsedCommand::Zeroize));
    if before.attributes.mode != 0
        && !zeroized
        && signatures < before.attributes.revocation_threshold as usize
    {
        let stays = |ski: &[u8; SKI_LEN]| after.administrators.find(ski).is_some();
        assert!(
            before.administrators.iter().all(|before| stays(&before.entry.ski)),
            "one left by {signatures} signatures"
        );
        assert!(revoke >= before.attributes.revocation_threshold, "lowered by {signatures} signatures");
    }
    if mode == 0 {
        assert!((sign, revoke) == (0, 0) && after.registers.keys().count() == 0);
        assert!(zeroized || before.attributes.mode == 0, "back in imprint mode without being zeroized");
    } else {
        assert!((1..=count).contains(&sign) && (1..=count).contains(&revoke));
        assert!(permissions.contains(Permissions::ONE_SIGN) || sign.min(revoke) > 1);
    }
    assert!(after.instance == before.instance || after.instance == before.instance + 1);
}

/// Every control point on or off before and after, with both switches on and off.
#[test]
fn exhaustive_control_points() {
    let all = [ControlPoint::AddCpbs, ControlPoint::DeleteCpbs, ControlPoint::SignSymm, ControlPoint::Btc];
    let set = |bits: usize| {
        let on = (0..all.len()).filter(|bit| bits >> bit & 1 == 1);
        on.fold(ControlPoints::NONE, |points, bit| points.with(all[bit].alone()))
    };
    for before in 0..16 {
        let attributes =
            Attributes { signature_threshold: 1, revocation_threshold: 1, mode: 1, ..Attributes::first() };
        let domain = Domain { attributes, control_points: set(before), ..Domain::new(1) };
        for given in 0..16 {
            let orders = [
                (AdminCommand::SetControlPoints, ParsedCommand::SetControlPoints(set(given)), given),
                (AdminCommand::AddControlPoints, ParsedCommand::AddControlPoints(set(given)), before | given),
                (
                    AdminCommand::DeleteControlPoints,
                    ParsedCommand::DeleteControlPoints(set(given)),
                    before & !given,
                ),
            ];
            for (command, order, after) in orders {
                let expected = if after & !before != 0 && before & 1 == 0 {
                    Err(DecisionError::Refused(UnitError::ControlPointsAddForbidden))
                } else if before & !after != 0 && before & 2 == 0 {
                    Err(DecisionError::Refused(UnitError::ControlPointsDeleteForbidden))
                } else {
                    Ok(set(after))
                };
                let found = decide(&domain, command, Ok(order), 1).map(|next| match next {
                    Decision::Domain(domain) => domain.control_points,
                    _ => panic!("not a domain"),
                });
                assert_eq!(found, expected, "{command:?} {given:04b} in {before:04b}");
            }
        }
    }
}

/// Every change of any two bits of the permissions, from every set of change-control bits with one missing.
#[test]
fn exhaustive_change_control() {
    let bits: Vec<u32> = Permissions::TABLE.iter().map(|(_, bit, _)| bit.0).collect();
    let mut domain = Domain::new(1);
    for n in 1..=3 {
        domain.administrators = domain.administrators.with(Administrator::for_test(n)).unwrap();
    }
    for missing in bits.iter().copied().chain([0]) {
        for one in &bits {
            for other in &bits {
                for (sign, revoke) in [(2, 2), (3, 2), (2, 3)] {
                    let was = Permissions::known().0 & !missing;
                    domain.attributes = Attributes {
                        signature_threshold: 2,
                        revocation_threshold: 2,
                        permissions: Permissions(was),
                        mode: 1,
                    };
                    let is = was ^ (one | other);
                    let next = Attributes {
                        signature_threshold: sign,
                        revocation_threshold: revoke,
                        permissions: Permissions(is),
                        mode: 1,
                    };
                    let thresholds_protected = sign != 2 && was & Permissions::CHG_SIGN_THR.0 == 0
                        || revoke != 2 && was & Permissions::CHG_REVOKE_THR.0 == 0;
                    let expected = match attributes(&domain, &next) {
                        Ok(()) if thresholds_protected => Err(UnitError::ThresholdProtected),
                        other => other,
                    };
                    let order = Ok(ParsedCommand::SetAttributes(next));
                    let found = decide(&domain, AdminCommand::SetAttributes, order, 2).map(|_| ());
                    assert_eq!(found, expected.map_err(DecisionError::Refused), "{was:08x} to {is:08x}");
                }
            }
        }
    }
}
