//! Export of master keys from unit to unit.

use crate::common::administrators::{
    Ask, administer, attributes, export_target, import_export, import_sealed, importer_of, output_of, query,
    seal, secure, send_raw, target_of,
};
use crate::common::module::{certificate, fixed_key, root};
use crate::common::{
    Fixture, OTHER_PARTS, PARTS, TestEnv, activate, bring_into_service, bytes, commit, generate, load, run,
    status,
};
use engine::{KeyUses, MacMechanism};
use unit_api::admin::{AdminCommand, AdminResponse, ExportTarget, InstanceId, Permissions};
use unit_api::{Command, UnitError, UnitId};
use unit_core::Unit;

/// A fixture of another module.
fn other_fixture() -> Fixture {
    let mut fixture = Fixture::new(2);
    fixture.identity.unit = UnitId(*b"BENCH002\0\0\0\0\0\0\0\x02");
    fixture
}

/// The response to a command to a unit with one administrator.
fn response(unit: &mut Unit<TestEnv>, command: AdminCommand, input: &[u8]) -> Vec<u8> {
    let request = Ask::of(unit, command, input).signed_by(&[0]);
    send_raw(unit, &request)
}

#[test]
fn a_recovery_unit_hands_its_master_key_on() {
    let mut source = Fixture::new(1).in_service();
    run(&mut source, AdminCommand::GenerateMasterKey, b"").unwrap();
    let blob = generate(&mut source, KeyUses::SIGN, false);
    let sign = Command::Sign { by: MacMechanism::AesCmac, key: &blob, data: b"data" };
    let signature = bytes(&mut source, sign);
    let fixture = other_fixture();
    let mut target = fixture.in_service();
    let shown = response(&mut target, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]);
    let certificate = query(&mut target, AdminCommand::QueryDeviceCertificate, b"");
    let exported = response(&mut source, AdminCommand::ExportCurrent, &target_of(&shown, &certificate));
    let module = query(&mut source, AdminCommand::QueryDeviceCertificate, b"");
    let pattern = import_export(&mut target, &exported, &module, &[0]).unwrap();
    assert!(status(&mut source).current.unwrap().is_of_same_key(&pattern));
    commit(&mut target, pattern);
    activate(&mut target, pattern);
    assert_eq!(bytes(&mut target, sign), signature);
}

#[test]
fn new_is_handed_on_as_current_is() {
    let mut source = Fixture::new(1).ready();
    let pattern = load(&mut source, &OTHER_PARTS);
    let mut target = other_fixture().in_service();
    response(&mut target, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]);
    // The response to the query is accepted like the response to the command.
    let shown = response(&mut target, AdminCommand::QueryImporterKey, b"");
    let certificate = certificate(other_fixture().identity.unit, root());
    let exported = response(&mut source, AdminCommand::ExportNew, &target_of(&shown, &certificate));
    let module = query(&mut source, AdminCommand::QueryDeviceCertificate, b"");
    let imported = import_export(&mut target, &exported, &module, &[0]).unwrap();
    assert!(imported.is_of_same_key(&pattern));
}

#[test]
fn only_what_a_genuine_module_signed_is_a_target() {
    let mut source = Fixture::new(1).ready();
    let mut target = other_fixture().in_service();
    let shown = response(&mut target, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]);
    let other_answer = response(&mut target, AdminCommand::QueryAttributes, b"");
    let refused_answer = response(&mut target, AdminCommand::GenerateImporterKey, &[0, 0, 0, 4]);
    let unit = other_fixture().identity.unit;
    let genuine = certificate(unit, root());
    let mut unsigned = AdminResponse::decode(&shown).unwrap();
    unsigned.signature = b"";
    let unsigned = unsigned.encode(&mut vec![0; 1024]).unwrap().to_vec();
    let mut other_key = shown.clone();
    let at = other_key.windows(2).position(|bytes| bytes == [0x81, 0xb5]).unwrap() + 20;
    other_key[at] ^= 1;
    let forged_source = Fixture { genuine: false, ..other_fixture() };
    let forged = export_target(&forged_source);
    let forged = ExportTarget::decode(&forged).unwrap();
    let targets = [
        ("of another root", target_of(&shown, &certificate(unit, &fixed_key(0x73)))),
        ("of another module", target_of(&shown, &certificate(Fixture::new(1).identity.unit, root()))),
        ("without a certificate", target_of(&shown, b"")),
        ("about something else", target_of(&other_answer, &genuine)),
        ("that was refused", target_of(&refused_answer, &genuine)),
        ("unsigned", target_of(&unsigned, &genuine)),
        ("with another key in it", target_of(&other_key, &genuine)),
        ("with a wrong signature", target_of(forged.response, &genuine)),
        ("without an answer", target_of(b"", &genuine)),
        ("that is no target", b"x".to_vec()),
        ("that is nothing", vec![]),
    ];
    for (name, target) in &targets {
        let refused = run(&mut source, AdminCommand::ExportCurrent, target);
        assert_eq!(refused, Err(UnitError::ExportTargetInvalid), "a target {name}");
    }
    run(&mut source, AdminCommand::ExportCurrent, &target_of(&shown, &genuine)).unwrap();
}

/// One administrator passes a part of its own off as what a unit has exported, where a custodian's single part is forbidden.
#[test]
fn attack_a_part_of_ones_own_does_not_pass_for_an_export() {
    let mut source = Fixture::new(1).ready();
    let unit = Fixture::new(1).identity.unit;
    let mut target = other_fixture().in_service();
    let preset = attributes(1, 1, Permissions::recovery()).to_bytes();
    run(&mut target, AdminCommand::SetAttributes, &preset).unwrap();
    let shown = response(&mut target, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3]);
    let to = target_of(&shown, &certificate(other_fixture().identity.unit, root()));
    let exported = response(&mut source, AdminCommand::ExportCurrent, &to);
    let genuine = certificate(unit, root());
    // The attacker's part in a genuine response, in one with an invalid signature, and in a module of the attacker's.
    let own = seal(&importer_of(&output_of(&shown)), &[5; 32]);
    let refused = import_sealed(&mut target, std::slice::from_ref(&own), &[0]);
    assert_eq!(refused.unwrap_err(), UnitError::SinglePartForbidden);
    let mut replaced = exported.clone();
    let sealed = output_of(&exported);
    assert_eq!(own.len(), sealed.len());
    let at = replaced.windows(sealed.len()).position(|bytes| bytes == sealed).unwrap();
    replaced[at..at + own.len()].copy_from_slice(&own);
    let refused_export = response(&mut source, AdminCommand::ExportNew, &to);
    let other_answer = response(&mut source, AdminCommand::QueryImporterKey, b"");
    let mut not_genuine = Fixture { genuine: false, ..Fixture::new(1) }.ready();
    let forged = response(&mut not_genuine, AdminCommand::ExportCurrent, &to);
    for (name, response, certificate) in [
        ("another part in it", &replaced, &genuine),
        ("a wrong signature", &forged, &genuine),
        ("a certificate of another root", &exported, &certificate(unit, &fixed_key(0x73))),
        ("another module's certificate", &exported, &certificate(other_fixture().identity.unit, root())),
        ("a refusal in it", &refused_export, &genuine),
        ("another answer in it", &other_answer, &genuine),
        ("the part alone in it", &own, &genuine),
        ("no certificate", &exported, &b"x".to_vec()),
    ] {
        let refused = import_export(&mut target, response, certificate, &[0]);
        assert_eq!(refused.unwrap_err(), UnitError::KeyPartSourceInvalid, "an export with {name}");
    }
    import_export(&mut target, &exported, &genuine, &[0]).unwrap();
}

#[test]
fn another_instance_gets_nothing_unless_permitted() {
    let mut fixture = other_fixture();
    fixture.identity.instance = InstanceId([0x2e; 16]);
    let target = export_target(&fixture);
    let mut source = Fixture::new(1).ready();
    let refused = run(&mut source, AdminCommand::ExportCurrent, &target);
    assert_eq!(refused, Err(UnitError::ExportTargetForeign));
    let open = attributes(1, 1, Permissions::recovery().with(Permissions::EXPORT_FOREIGN));
    run(&mut source, AdminCommand::SetAttributes, &open.to_bytes()).unwrap();
    run(&mut source, AdminCommand::ExportCurrent, &target).unwrap();
}

#[test]
fn exporting_needs_permission_a_quorum_and_a_key() {
    let target = export_target(&other_fixture());
    let mut unit = Fixture::new(1).start();
    secure(&mut unit, 2, attributes(2, 2, Permissions::recovery()));
    for (command, expected) in [
        (AdminCommand::ExportCurrent, UnitError::CurrentMissing),
        (AdminCommand::ExportNew, UnitError::NewMissing),
    ] {
        assert_eq!(run(&mut unit, command, &target), Err(expected));
    }
    bring_into_service(&mut unit, &PARTS);
    let refused = administer(&mut unit, AdminCommand::ExportCurrent, &target, &[0]);
    assert_eq!(refused, Err(UnitError::NotEnoughSignatures));
    let permissions = Permissions::recovery().without(Permissions::WK_EXPORT);
    run(&mut unit, AdminCommand::SetAttributes, &attributes(2, 2, permissions).to_bytes()).unwrap();
    for command in [AdminCommand::ExportCurrent, AdminCommand::ExportNew] {
        assert_eq!(run(&mut unit, command, &target), Err(UnitError::ExportForbidden));
    }
}
