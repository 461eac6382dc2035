//! Authorisation of administrative commands: signatures, thresholds, replay, and every refusal by its code.

use crate::common::administrators::{
    Ask, administer, administrator, attributes, audit, domain, installed, query, ruled, secure, send,
    send_raw, sign, signed_parts, signer_info, with_domain,
};
use crate::common::{
    Fixture, OTHER_PARTS, PARTS, TestEnv, activate, bring_into_service, commit, load, run, status,
};
use unit_api::admin::{
    AdminCommand, AdminRequest, AdminResponse, AdministratorEntries, Attributes, AuditChain, ControlPoint,
    ControlPoints, Permissions, SignatureAlgorithm,
};
use unit_api::{Target, UnitError, UnitId};
use unit_core::Unit;

const ALL: Permissions = Permissions::recovery().with(Permissions::WK_1PART);

fn first(count: usize) -> Vec<usize> {
    (0..count).collect()
}

fn set(unit: &mut Unit<TestEnv>, to: Attributes, signers: &[usize]) -> Result<(), UnitError> {
    administer(unit, AdminCommand::SetAttributes, &to.to_bytes(), signers).map(drop)
}

/// Each command in a unit with thresholds 3 and 2 and five administrators: with one signature too few it is refused and
/// changes only the audit log; with enough signatures it is executed.
#[test]
fn each_command_needs_its_signatures_and_no_more() {
    use AdminCommand::*;
    let mut unit = Fixture::new(1).start();
    secure(&mut unit, 5, attributes(3, 2, ALL.with(Permissions::CP_1SIGN)));
    bring_into_service(&mut unit, &PARTS);
    let pattern = load(&mut unit, &OTHER_PARTS);
    let skis = [administrator(4).ski.to_vec(), administrator(3).ski.to_vec()];
    let replacement = [&administrator(5).ski[..], &administrator(4).certificate].concat();
    let points = ControlPoint::Btc.alone().to_bytes();
    let without = attributes(3, 2, ALL.without(Permissions::CP_1SIGN)).to_bytes();
    let commands: [(AdminCommand, &[u8], usize); 16] = [
        (AddAdministrator, &administrator(5).certificate, 3),
        (RemoveAdministrator, &skis[0], 2),
        (ReplaceAdministrator, &replacement, 3),
        (AddControlPoints, &points, 1),
        (DeleteControlPoints, &points, 1),
        (SetAttributes, &without, 3),
        (SetControlPoints, &ControlPoints::first().to_bytes(), 3),
        (CommitNew, pattern.as_bytes(), 3),
        (ActivateNew, pattern.as_bytes(), 1),
        (GenerateImporterKey, &[0, 0, 0, 3], 1),
        (GenerateMasterKey, b"", 1),
        (ClearNew, b"", 1),
        (ClearCurrent, b"", 1),
        (RemoveAdministrator, &skis[1], 2),
        (AddControlPoints, &points, 3),
        (Zeroize, b"", 1),
    ];
    for (command, input, needed) in commands {
        let before = status(&mut unit);
        let refused = administer(&mut unit, command, input, &first(needed - 1));
        assert_eq!(refused, Err(UnitError::NotEnoughSignatures), "{command:?}");
        assert_eq!(status(&mut unit).transaction_counter, before.transaction_counter, "{command:?}");
        administer(&mut unit, command, input, &first(needed)).unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert_eq!(status(&mut unit).transaction_counter, before.transaction_counter + 1, "{command:?}");
    }
    assert_eq!(status(&mut unit).administrators, 0);
}

#[test]
fn permissions_raise_and_lower_the_signatures_needed() {
    let mut unit = ruled(2, 2, 2, ALL.with(Permissions::QUORUM_DESTRUCTIVE));
    let pattern = bring_into_service(&mut unit, &PARTS);
    let destructive: [(AdminCommand, &[u8]); 3] = [
        (AdminCommand::ActivateNew, pattern.as_bytes()),
        (AdminCommand::ClearCurrent, b""),
        (AdminCommand::Zeroize, b""),
    ];
    for (command, input) in destructive {
        let refused = administer(&mut unit, command, input, &[1]);
        assert_eq!(refused, Err(UnitError::NotEnoughSignatures), "{command:?}");
        administer(&mut unit, command, input, &[1, 0]).unwrap();
    }
    let mut unit = ruled(2, 2, 2, ALL.without(Permissions::ZERO_1SIGN));
    let refused = administer(&mut unit, AdminCommand::Zeroize, b"", &[0]);
    assert_eq!(refused, Err(UnitError::NotEnoughSignatures));
    administer(&mut unit, AdminCommand::Zeroize, b"", &[0, 1]).unwrap();
}

#[test]
fn one_administrator_signs_once_however_often_he_does() {
    let mut unit = ruled(3, 2, 2, ALL);
    let clear = ControlPoint::Btc.alone().to_bytes();
    let refused = administer(&mut unit, AdminCommand::AddControlPoints, &clear, &[0, 0]);
    assert_eq!(refused, Err(UnitError::NotEnoughSignatures));
    administer(&mut unit, AdminCommand::AddControlPoints, &clear, &[0, 0, 1]).unwrap();
    administer(&mut unit, AdminCommand::DeleteControlPoints, &clear, &[0, 1, 2]).unwrap();
}

#[test]
fn one_bad_signature_spoils_all() {
    let mut unit = ruled(8, 1, 1, ALL);
    let ask = |unit: &mut _| Ask::of(unit, AdminCommand::ClearNew, b"");
    let block = ask(&mut unit).block();
    let (right, other) = (sign(0, &block), sign(1, b"another message"));
    let of_others = [
        (signer_info(1, &other), UnitError::SignatureWrong),
        (signer_info(1, &right), UnitError::SignatureWrong),
        (signer_info(1, &right[..right.len() - 1]), UnitError::SignatureWrong),
        (signer_info(1, b""), UnitError::SignatureWrong),
        (signer_info(8, &right), UnitError::SignerUnknown),
    ];
    for (bad, expected) in of_others {
        for signers in [[signer_info(0, &right), bad], [bad, signer_info(0, &right)]] {
            let request = ask(&mut unit).with_signatures(&signers);
            assert_eq!(send(&mut unit, &request), Err(expected));
        }
    }
    let mut rsa = signer_info(0, &right);
    rsa.algorithm = SignatureAlgorithm::Rsa2048X931Sha256;
    let request = ask(&mut unit).with_signatures(&[rsa]);
    assert_eq!(send(&mut unit, &request), Err(UnitError::SignatureMalformed));
    for malformed in [&b"\x30\x00"[..], b"x", b"\x30\x03\x02\x01\x03"] {
        let request = ask(&mut unit).with_raw_signatures(malformed);
        assert_eq!(send(&mut unit, &request), Err(UnitError::SignatureMalformed));
    }
    let nine: Vec<usize> = (0..8).chain([0]).collect();
    let request = ask(&mut unit).signed_by(&nine);
    assert_eq!(send(&mut unit, &request), Err(UnitError::TooManySignatures));
    assert_eq!(ask(&mut unit).block(), block, "a refused signature moved the counter");
    let request = ask(&mut unit).signed_by(&first(8));
    send(&mut unit, &request).unwrap();
}

#[test]
fn a_broken_signature_is_refused_in_imprint_mode_too() {
    let mut unit = Fixture::quick(1).start();
    let certificate = &administrator(0).certificate;
    let refused = administer(&mut unit, AdminCommand::AddAdministrator, certificate, &[0]);
    assert_eq!(refused, Err(UnitError::SignerUnknown));
    administer(&mut unit, AdminCommand::AddAdministrator, certificate, &[]).unwrap();
    let ask = Ask::of(&mut unit, AdminCommand::Zeroize, b"");
    let request = ask.with_signatures(&[signer_info(0, &sign(0, b"another message"))]);
    assert_eq!(send(&mut unit, &request), Err(UnitError::SignatureWrong));
    assert_eq!(installed(&mut unit), [administrator(0).ski]);
}

#[test]
fn a_command_is_good_for_one_unit_one_life_and_one_time() {
    let mut unit = ruled(1, 1, 1, ALL);
    let right = Ask::of(&mut unit, AdminCommand::ClearNew, b"");
    let Target { unit: UnitId(module), .. } = right.target;
    let of_module = |at: usize| {
        let mut other = module;
        other[at] ^= 1;
        Target { unit: UnitId(other), ..right.target }
    };
    let elsewhere = [
        (of_module(0), UnitError::ModuleSerialMismatch),
        (of_module(7), UnitError::ModuleSerialMismatch),
        (of_module(8), UnitError::ModuleInstanceMismatch),
        (of_module(15), UnitError::ModuleInstanceMismatch),
        (Target { domain_index: 4, ..right.target }, UnitError::DomainIndexMismatch),
        (Target { domain_instance: 2, ..right.target }, UnitError::DomainInstanceMismatch),
        (Target { domain_instance: 0, ..right.target }, UnitError::DomainInstanceMismatch),
    ];
    let records = |unit: &mut _| with_domain(unit, |info| info.audit_records);
    let before = records(&mut unit);
    for (target, expected) in elsewhere {
        let request = Ask { target, ..right }.signed_by(&[0]);
        assert_eq!(send(&mut unit, &request), Err(expected), "{target:?}");
    }
    // The domain in the request differs from the domain in the signed block.
    let block = right.block();
    let request = AdminRequest { domain_index: 4, block: &block, signatures: &[] };
    let mut buffer = vec![0; 512];
    assert_eq!(send(&mut unit, request.encode(&mut buffer).unwrap()), Err(UnitError::DomainIndexMismatch));
    assert_eq!(records(&mut unit), before, "a command for another domain was recorded");
    for counter in [0, right.counter - 1, right.counter + 1, u128::MAX] {
        let request = Ask { counter, ..right }.signed_by(&[0]);
        assert_eq!(send(&mut unit, &request), Err(UnitError::TransactionCounter), "{counter}");
    }
    assert_eq!(records(&mut unit), before + 1, "one record for all of them");
    let request = right.signed_by(&[0]);
    send(&mut unit, &request).unwrap();
    assert_eq!(send(&mut unit, &request), Err(UnitError::TransactionCounter), "it was carried out twice");
}

#[test]
fn nothing_signed_for_an_earlier_life_is_good_in_the_next() {
    let mut unit = ruled(1, 1, 1, ALL);
    let hoarded: Vec<_> = (1..8)
        .map(|ahead| {
            let ask = Ask::of(&mut unit, AdminCommand::ClearNew, b"");
            Ask { counter: ask.counter + ahead, ..ask }.signed_by(&[0])
        })
        .collect();
    run(&mut unit, AdminCommand::Zeroize, b"").unwrap();
    secure(&mut unit, 1, attributes(1, 1, ALL));
    for request in &hoarded {
        assert_eq!(send(&mut unit, request), Err(UnitError::DomainInstanceMismatch));
    }
}

#[test]
fn of_two_clients_that_read_one_counter_one_loses() {
    let mut unit = ruled(2, 1, 1, ALL);
    let first = Ask::of(&mut unit, AdminCommand::ClearNew, b"").signed_by(&[0]);
    let second = Ask::of(&mut unit, AdminCommand::ClearCurrent, b"").signed_by(&[1]);
    send(&mut unit, &first).unwrap();
    assert_eq!(send(&mut unit, &second), Err(UnitError::TransactionCounter));
}

/// A signed command that is refused must not be executable later; an unsigned one must not change the counter.
#[test]
fn a_refused_command_uses_up_its_counter_if_it_was_rightly_signed() {
    let mut unit = ruled(2, 2, 2, ALL);
    let counter = |unit: &mut _| status(unit).transaction_counter;
    let before = counter(&mut unit);
    let commit = Ask::of(&mut unit, AdminCommand::CommitNew, &[7; 32]).signed_by(&[0, 1]);
    assert_eq!(send(&mut unit, &commit), Err(UnitError::NewMissing));
    assert_eq!(counter(&mut unit), before + 1);
    assert_eq!(send(&mut unit, &commit), Err(UnitError::TransactionCounter));
    let strangers = [
        Ask::of(&mut unit, AdminCommand::CommitNew, &[7; 32]).signed_by(&[0]),
        Ask::of(&mut unit, AdminCommand::CommitNew, &[7; 32]).signed_by(&[0, 5]),
        Ask { command: 99, ..Ask::of(&mut unit, AdminCommand::ClearNew, b"") }.signed_by(&[0]),
        Ask::of(&mut unit, AdminCommand::ImportKeyParts, b"").signed_by(&[]),
    ];
    let expected = [
        UnitError::NotEnoughSignatures,
        UnitError::SignerUnknown,
        UnitError::CommandUnknown,
        UnitError::KeyPartsMissing,
    ];
    for (request, expected) in strangers.iter().zip(expected) {
        assert_eq!(send(&mut unit, request), Err(expected));
        assert_eq!(counter(&mut unit), before + 1, "{expected:?}");
    }
}

#[test]
fn what_is_no_request_is_answered_unsigned() {
    let mut unit = Fixture::new(1).start();
    for request in [&b""[..], b"x", &[0x30, 0x00], &[0xff; 100]] {
        let response = send_raw(&mut unit, request);
        let response = AdminResponse::decode(&response).unwrap();
        assert_eq!((response.return_code, response.block, response.signature), (7, &b""[..], &b""[..]));
    }
    let block = Ask::of(&mut unit, AdminCommand::ClearNew, b"").block();
    let request = AdminRequest { domain_index: 3, block: &block[1..], signatures: b"" };
    let mut buffer = vec![0; 512];
    let response = send_raw(&mut unit, request.encode(&mut buffer).unwrap());
    assert!(AdminResponse::decode(&response).unwrap().block.is_empty());
}

#[test]
fn administrators_come_and_go_by_the_rules() {
    use AdminCommand::{AddAdministrator, RemoveAdministrator, ReplaceAdministrator};
    let mut unit = Fixture::quick(1).start();
    let certificate = |n: usize| &administrator(n).certificate;
    // In imprint mode administrators are added without a signature, and the last one can be removed.
    administer(&mut unit, AddAdministrator, certificate(0), &[]).unwrap();
    let refused = administer(&mut unit, AddAdministrator, certificate(0), &[]);
    assert_eq!(refused, Err(UnitError::AdministratorInstalled));
    administer(&mut unit, RemoveAdministrator, &administrator(0).ski, &[]).unwrap();
    let refused = administer(&mut unit, RemoveAdministrator, &administrator(0).ski, &[]);
    assert_eq!(refused, Err(UnitError::AdministratorNotInstalled));
    for n in 0..8 {
        administer(&mut unit, AddAdministrator, certificate(n), &[]).unwrap();
    }
    let refused = administer(&mut unit, AddAdministrator, certificate(8), &[]);
    assert_eq!(refused, Err(UnitError::AdministratorsFull));
    let mut spoilt = certificate(9).clone();
    *spoilt.last_mut().unwrap() ^= 1;
    for input in [&spoilt[..], b"", &[0; 40]] {
        let refused = administer(&mut unit, AddAdministrator, input, &[]);
        assert_eq!(refused, Err(UnitError::CertificateInvalid));
    }
    let swap = |old: usize, new: usize| [&administrator(old).ski[..], certificate(new)].concat();
    administer(&mut unit, ReplaceAdministrator, &swap(7, 8), &[]).unwrap();
    let mut expected: Vec<_> = (0..7).map(|n| administrator(n).ski).collect();
    expected.push(administrator(8).ski);
    assert_eq!(installed(&mut unit), expected);
    // In a secured unit the number of administrators never falls below a threshold.
    set(&mut unit, attributes(3, 3, ALL), &first(3)).unwrap();
    for (old, new, expected) in
        [(7, 9, UnitError::AdministratorNotInstalled), (0, 1, UnitError::AdministratorInstalled)]
    {
        let refused = administer(&mut unit, ReplaceAdministrator, &swap(old, new), &first(3));
        assert_eq!(refused, Err(expected));
    }
    for input in [&b""[..], &[1; 31], &[1; 33]] {
        let refused = administer(&mut unit, RemoveAdministrator, input, &first(3));
        assert_eq!(refused, Err(UnitError::SkiMalformed));
    }
    let refused = administer(&mut unit, ReplaceAdministrator, &[1; 31], &first(3));
    assert_eq!(refused, Err(UnitError::SkiMalformed));
    for n in [8, 6, 5, 4, 3] {
        administer(&mut unit, RemoveAdministrator, &administrator(n).ski, &first(3)).unwrap();
    }
    let refused = administer(&mut unit, RemoveAdministrator, &administrator(2).ski, &first(3));
    assert_eq!(refused, Err(UnitError::RemovalBreaksThreshold));
    // An administrator may sign the own removal.
    set(&mut unit, attributes(2, 2, ALL), &first(3)).unwrap();
    administer(&mut unit, RemoveAdministrator, &administrator(2).ski, &[1, 2]).unwrap();
    set(&mut unit, attributes(2, 2, ALL.without(Permissions::ONE_SIGN)), &first(2)).unwrap();
    let refused = administer(&mut unit, RemoveAdministrator, &administrator(1).ski, &first(2));
    assert_eq!(refused, Err(UnitError::RemovalOfSecondLast));
    set(&mut unit, attributes(1, 1, ALL), &first(2)).unwrap();
    administer(&mut unit, RemoveAdministrator, &administrator(1).ski, &[0]).unwrap();
    let refused = administer(&mut unit, RemoveAdministrator, &administrator(0).ski, &[0]);
    assert_eq!(refused, Err(UnitError::RemovalOfLast));
}

#[test]
fn imprint_mode_is_left_by_those_who_will_rule() {
    let mut unit = Fixture::quick(1).start();
    for n in 0..3 {
        let certificate = &administrator(n).certificate;
        administer(&mut unit, AdminCommand::AddAdministrator, certificate, &[]).unwrap();
    }
    let one = ALL.with(Permissions::ONE_SIGN);
    let refused = [
        (attributes(2, 0, one), UnitError::RevocationThresholdMissing),
        (attributes(0, 2, one), UnitError::SignatureThresholdZero),
        (attributes(4, 2, one), UnitError::SignatureThresholdTooHigh),
        (attributes(9, 2, one), UnitError::SignatureThresholdTooHigh),
        (attributes(2, 4, one), UnitError::RevocationThresholdTooHigh),
        (attributes(1, 2, one.without(Permissions::ONE_SIGN)), UnitError::SignatureThresholdOne),
        (attributes(2, 1, one.without(Permissions::ONE_SIGN)), UnitError::RevocationThresholdOne),
        (Attributes { mode: 0, ..attributes(2, 2, one) }, UnitError::ModeReadOnly),
        (Attributes { mode: 1, ..attributes(0, 0, one) }, UnitError::ModeReadOnly),
        (Attributes { mode: 3, ..attributes(2, 2, one) }, UnitError::ModeReadOnly),
        (attributes(2, 2, one.with(Permissions(0x80))), UnitError::AttributesMalformed),
    ];
    for (to, expected) in refused {
        for signers in [&[][..], &[0, 1, 2]] {
            assert_eq!(set(&mut unit, to, signers), Err(expected), "{to:?}");
        }
    }
    let list = attributes(2, 2, one).to_bytes();
    for malformed in [&list[..31], &list[8..], &[list, list].concat()] {
        let refused = administer(&mut unit, AdminCommand::SetAttributes, malformed, &[0, 1]);
        assert_eq!(refused, Err(UnitError::AttributesMalformed));
    }
    // In imprint mode permissions can be set without administrators.
    set(&mut unit, attributes(0, 0, one), &[]).unwrap();
    let counter = status(&mut unit).transaction_counter;
    assert_eq!(set(&mut unit, attributes(3, 2, one), &[0, 1]), Err(UnitError::NotEnoughSignatures));
    assert_eq!(status(&mut unit).transaction_counter, counter);
    set(&mut unit, attributes(3, 2, one), &[2, 0, 1]).unwrap();
    let shown = status(&mut unit);
    assert_eq!((shown.signature_threshold, shown.revocation_threshold), (3, 2));
    assert!(with_domain(&mut unit, |info| !info.attributes.imprint()));
}

#[test]
fn thresholds_and_permissions_change_by_the_rules() {
    let mut unit = ruled(3, 1, 2, ALL);
    let refused = [
        (attributes(0, 2, ALL), UnitError::SignatureThresholdZero),
        (attributes(1, 0, ALL), UnitError::RevocationThresholdZero),
        (attributes(0, 0, ALL), UnitError::SignatureThresholdZero),
        (attributes(4, 2, ALL), UnitError::SignatureThresholdTooHigh),
        (attributes(1, 4, ALL), UnitError::RevocationThresholdTooHigh),
        (attributes(1, 2, ALL.without(Permissions::ONE_SIGN)), UnitError::OneSignNeeded),
        (attributes(2, 1, ALL.without(Permissions::ONE_SIGN)), UnitError::RevocationThresholdOne),
        (Attributes { mode: 0, ..attributes(1, 2, ALL) }, UnitError::ModeReadOnly),
        (attributes(1, 2, ALL.with(Permissions::CHG_DO_NOT_DISTURB)), UnitError::ChangeControlReset),
        (attributes(1, 2, ALL.without(Permissions::DO_NOT_DISTURB)), UnitError::PermissionProtected),
    ];
    for (to, expected) in refused {
        assert_eq!(set(&mut unit, to, &[0, 1, 2]), Err(expected), "{to:?}");
    }
    // One command may use a change-control bit and clear it at the same time.
    let frozen = ALL
        .without(Permissions::WK_EXPORT)
        .without(Permissions::CHG_WK_EXPORT)
        .without(Permissions::CHG_SIGN_THR);
    set(&mut unit, attributes(2, 2, frozen), &[0]).unwrap();
    let refused = [
        (attributes(2, 2, frozen.with(Permissions::WK_EXPORT)), UnitError::PermissionProtected),
        (attributes(2, 2, frozen.with(Permissions::CHG_WK_EXPORT)), UnitError::ChangeControlReset),
        (attributes(3, 2, frozen), UnitError::ThresholdProtected),
        (attributes(2, 3, frozen.without(Permissions::CHG_REVOKE_THR)), UnitError::ThresholdProtected),
    ];
    for (to, expected) in refused {
        let result = set(&mut unit, to, &[0, 1]);
        if expected == UnitError::ThresholdProtected && to.revocation_threshold == 3 {
            // The permissions before the command decide.
            result.unwrap();
            let back = attributes(2, 2, to.permissions);
            assert_eq!(set(&mut unit, back, &[0, 1]), Err(expected));
        } else {
            assert_eq!(result, Err(expected), "{to:?}");
        }
    }
    // Zeroize restores the initial attributes.
    run(&mut unit, AdminCommand::Zeroize, b"").unwrap();
    assert!(with_domain(&mut unit, |info| info.attributes == Attributes::first()));
}

#[test]
fn imprint_mode_knows_no_master_keys_and_no_control_points() {
    let mut unit = Fixture::quick(1).start();
    for installed in [false, true] {
        if installed {
            let certificate = &administrator(0).certificate;
            administer(&mut unit, AdminCommand::AddAdministrator, certificate, &[]).unwrap();
        }
        for command in AdminCommand::ALL.iter().filter(|command| command.needs_secured_unit()) {
            let sealed = [vec![0; 9]];
            let parts = signed_parts(&Ask::of(&mut unit, *command, b""), &sealed, &[]);
            let input = if *command == AdminCommand::ImportKeyParts { &parts[..] } else { b"" };
            let counter = status(&mut unit).transaction_counter;
            let refused = administer(&mut unit, *command, input, &[]);
            assert_eq!(refused, Err(UnitError::ImprintMode), "{command:?}");
            assert_eq!(status(&mut unit).transaction_counter, counter + 1);
        }
    }
}

#[test]
fn control_points_switch_by_the_rules() {
    use AdminCommand::{AddControlPoints, DeleteControlPoints, SetControlPoints};
    let mut unit = ruled(1, 1, 1, ALL);
    let mut change = |command, points: ControlPoints| {
        administer(&mut unit, command, &points.to_bytes(), &[0]).map(|_| {
            ControlPoints::from_bytes(&query(&mut unit, AdminCommand::QueryControlPoints, b"")).unwrap()
        })
    };
    let (first, btc) = (ControlPoints::first(), ControlPoint::Btc.alone());
    assert_eq!(change(AddControlPoints, btc), Ok(first.with(btc)));
    assert_eq!(change(AddControlPoints, btc), Ok(first.with(btc)));
    assert_eq!(change(DeleteControlPoints, btc), Ok(first));
    let unknown = ControlPoints::from_bytes(&2_u128.to_be_bytes()).unwrap();
    for command in [SetControlPoints, AddControlPoints, DeleteControlPoints] {
        assert_eq!(change(command, unknown), Err(UnitError::ControlPointsMalformed));
    }
    let no_delete = first.without(ControlPoint::DeleteCpbs.alone());
    assert_eq!(change(SetControlPoints, no_delete), Ok(no_delete));
    for (command, points) in [(DeleteControlPoints, ControlPoint::SignSymm.alone()), (SetControlPoints, btc)]
    {
        let refused = change(command, points.with(ControlPoint::AddCpbs.alone()));
        assert_eq!(refused, Err(UnitError::ControlPointsDeleteForbidden), "{command:?}");
    }
    // A control point that is off can be switched off again.
    assert_eq!(change(DeleteControlPoints, btc), Ok(no_delete));
    run(&mut unit, AdminCommand::Zeroize, b"").unwrap();
    secure(&mut unit, 1, attributes(1, 1, ALL));
    let mut change =
        |command, points: ControlPoints| administer(&mut unit, command, &points.to_bytes(), &[0]).map(drop);
    change(DeleteControlPoints, ControlPoint::AddCpbs.alone()).unwrap();
    assert_eq!(change(AddControlPoints, btc), Err(UnitError::ControlPointsAddForbidden));
    let sign = ControlPoint::SignSymm.alone();
    change(DeleteControlPoints, sign).unwrap();
    assert_eq!(change(SetControlPoints, first), Err(UnitError::ControlPointsAddForbidden));
    let mut unit = ruled(1, 1, 1, ALL);
    for input in [&b""[..], &[0; 15], &[0; 17]] {
        let refused = administer(&mut unit, SetControlPoints, input, &[0]);
        assert_eq!(refused, Err(UnitError::ControlPointsMalformed));
    }
}

#[test]
fn inputs_of_the_wrong_form_are_refused() {
    let mut unit = ruled(1, 1, 1, ALL);
    bring_into_service(&mut unit, &PARTS);
    let empty = [
        AdminCommand::GenerateMasterKey,
        AdminCommand::ClearNew,
        AdminCommand::ClearCurrent,
        AdminCommand::Zeroize,
    ];
    for command in empty {
        assert_eq!(run(&mut unit, command, b"x"), Err(UnitError::RequestMalformed), "{command:?}");
    }
    for command in [AdminCommand::CommitNew, AdminCommand::ActivateNew] {
        assert_eq!(run(&mut unit, command, &[0; 31]), Err(UnitError::RequestMalformed), "{command:?}");
    }
    for (input, expected) in
        [(&[0, 0, 0, 0][..], UnitError::ImporterTypeInvalid), (&[0, 0, 3], UnitError::RequestMalformed)]
    {
        assert_eq!(run(&mut unit, AdminCommand::GenerateImporterKey, input), Err(expected));
    }
    for command in AdminCommand::ALL.iter().filter(|command| command.is_query()) {
        let long = [0; 33];
        let request = Ask::of(&mut unit, *command, &long).signed_by(&[]);
        assert_eq!(send(&mut unit, &request), Err(UnitError::RequestMalformed), "{command:?}");
    }
}

/// Queries are answered for any target with the right domain index, without signatures, and change nothing.
#[test]
fn queries_are_answered_to_anybody() {
    let mut unit = Fixture::new(1).start();
    secure(&mut unit, 2, attributes(2, 1, ALL));
    let nowhere = Target { unit: UnitId([0; 16]), domain_index: 3, domain_instance: 0 };
    let before = domain(&mut unit);
    for command in AdminCommand::ALL.iter().filter(|command| command.is_query()) {
        let ask = Ask { command: command.id(), target: nowhere, counter: 0, input: b"" };
        send(&mut unit, &ask.signed_by(&[])).unwrap();
    }
    assert_eq!(domain(&mut unit), before);
    let ask = Ask { command: 0x1_00ff, target: nowhere, counter: 0, input: b"" };
    assert_eq!(send(&mut unit, &ask.signed_by(&[])), Err(UnitError::CommandUnknown));
    let nonce = [0x5a; 32];
    let answer = query(&mut unit, AdminCommand::QueryDomain, &nonce);
    assert_eq!(answer[answer.len() - 32..], nonce);
    assert_eq!(query(&mut unit, AdminCommand::QueryAttributes, b""), attributes(2, 1, ALL).to_bytes());
    let entries = query(&mut unit, AdminCommand::QueryAdministrators, b"");
    let names: Vec<_> = AdministratorEntries::decode(&entries).unwrap().iter().collect();
    assert_eq!(names[1].name(), Some("Administrator 2"));
}

#[test]
fn registers_and_origins_are_shown() {
    let mut unit = ruled(1, 1, 1, ALL);
    let shown = |unit: &mut _, command| query(unit, command, b"");
    assert_eq!(shown(&mut unit, AdminCommand::QueryCurrent), [0; 33]);
    assert_eq!(shown(&mut unit, AdminCommand::QueryNew), [0; 33]);
    let parts = [(0..32).collect::<Vec<u8>>(), vec![0xa5; 32]].concat();
    let pattern = load(&mut unit, &parts);
    let origins = shown(&mut unit, AdminCommand::QueryKeyOrigins);
    assert_eq!(origins.len(), 64);
    assert_eq!(origins[..4], [0x49, 0x11, 0x76, 0xb0]);
    assert_eq!(origins[32..36], [0xa0, 0x6d, 0x2a, 0x8e]);
    assert_eq!(shown(&mut unit, AdminCommand::QueryNew), [&[1], &pattern.as_bytes()[..]].concat());
    commit(&mut unit, pattern);
    assert_eq!(shown(&mut unit, AdminCommand::QueryNew), [&[2], &pattern.as_bytes()[..]].concat());
    activate(&mut unit, pattern);
    assert_eq!(shown(&mut unit, AdminCommand::QueryCurrent), [&[1], &pattern.as_bytes()[..]].concat());
    assert_eq!(shown(&mut unit, AdminCommand::QueryKeyOrigins), origins);
    // A master key that was loaded as one part has no origins.
    load(&mut unit, &[0x33; 32]);
    assert!(shown(&mut unit, AdminCommand::QueryKeyOrigins).is_empty());
}

/// Every command for this unit is recorded with its signers, and every record is covered by the chain.
#[test]
fn the_audit_chain_tells_everything_in_order() {
    let mut unit = Fixture::new(1).start();
    secure(&mut unit, 3, attributes(2, 2, ALL));
    let pattern = bring_into_service(&mut unit, &PARTS);
    use AdminCommand::*;
    let _ = administer(&mut unit, CommitNew, pattern.as_bytes(), &[2, 1]);
    let _ = administer(&mut unit, CommitNew, pattern.as_bytes(), &[2]);
    run(&mut unit, Zeroize, b"").unwrap();
    let bytes = audit(&mut unit);
    let chain = AuditChain::decode(&bytes).unwrap();
    let told: Vec<_> = chain
        .records()
        .map(|record| (AdminCommand::from_id(record.command), record.signers, record.reason))
        .collect();
    assert_eq!(
        told,
        [
            (None, 0, 0),
            (Some(AddAdministrator), 0, 0),
            (Some(AddAdministrator), 0, 0),
            (Some(AddAdministrator), 0, 0),
            (Some(SetAttributes), 2, 0),
            (Some(GenerateImporterKey), 2, 0),
            (Some(ImportKeyParts), 2, 0),
            (Some(CommitNew), 2, 0),
            (Some(ActivateNew), 2, 0),
            (Some(CommitNew), 2, 50),
            (Some(CommitNew), 1, 21),
            (Some(Zeroize), 2, 0),
        ]
    );
    let records: Vec<_> = chain.records().collect();
    let prefix = |n: usize| administrator(n).ski[..8].to_vec();
    assert_eq!(records[9].signer_prefixes[0].to_vec(), prefix(2));
    assert_eq!(records[9].signer_prefixes[1].to_vec(), prefix(1));
    assert_eq!(records[8].current, pattern.wkid());
    assert_eq!(records[11].current, [0; 16]);
    assert_eq!((records[10].domain_instance, records[11].domain_instance), (1, 2));
    assert!(records.iter().zip(1..).all(|(record, sequence)| record.sequence == sequence));
    assert!(records.windows(2).all(|pair| pair[0].time_ms < pair[1].time_ms));
    assert_eq!(with_domain(&mut unit, |info| info.audit_records), 12);
}
