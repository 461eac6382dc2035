//! Attacks of the threat model on a unit's administration, carried out with real signatures.

use crate::blobs::{WRAP_AND_DECRYPT_BLOB, known_master_key, unhex};
use crate::common::administrators::{
    Ask, administer, administrator, attributes, audit, importer_of, installed, ruled, seal, secure, send,
    signed_as_of,
};
use crate::common::{
    CIPHER, Fixture, OTHER_PARTS, PARTS, WRAPPING, bring_into_service, bytes, generate, lasting, load,
    refusal, run, spec, status,
};
use engine::{Algorithm, KeyUses, WrapMechanism};
use unit_api::admin::{AdminCommand, AuditChain, AuditKind, AuditRecord, Permissions};
use unit_api::{Command, Condition, NewRegister, UnitError, UseFamily};
use unit_core::Slot;

/// Two of four administrators, who are enough for the signature threshold, try to get rid of the others.
#[test]
fn attack_a_minority_does_not_get_round_the_revocation_threshold() {
    let mut unit = Fixture::quick(1).start();
    let all = Permissions::recovery();
    secure(&mut unit, 4, attributes(2, 4, all));
    let before = installed(&mut unit);
    let victim = administrator(3);
    let replacement = [&victim.ski[..], &administrator(4).certificate].concat();
    let lowered = attributes(2, 2, all).to_bytes();
    for (command, input) in [
        (AdminCommand::RemoveAdministrator, &victim.ski[..]),
        (AdminCommand::ReplaceAdministrator, &replacement),
        (AdminCommand::SetAttributes, &lowered),
    ] {
        for signers in [&[0, 1][..], &[0, 1, 2]] {
            let refused = administer(&mut unit, command, input, signers);
            assert_eq!(refused, Err(UnitError::NotEnoughSignatures), "{command:?} by {signers:?}");
        }
        assert_eq!(installed(&mut unit), before, "{command:?}");
    }
    // What lowers nothing needs the signature threshold only.
    let without = attributes(2, 4, all.without(Permissions::CP_1SIGN)).to_bytes();
    administer(&mut unit, AdminCommand::SetAttributes, &without, &[0, 1]).unwrap();
    administer(&mut unit, AdminCommand::ReplaceAdministrator, &replacement, &[0, 1, 2, 3]).unwrap();
    assert!(!installed(&mut unit).contains(&victim.ski));
}

/// The service leaves signed parts of an import out, and adds others, so that a master key comes about that no administrator
/// has signed for.
#[test]
fn attack_the_number_of_parts_is_what_was_signed() {
    let permissions = Permissions::recovery().with(Permissions::WK_1PART);
    let mut unit = ruled(2, 2, 2, permissions);
    let shown = administer(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], &[0]).unwrap();
    let importer = importer_of(&shown);
    let sealed: Vec<_> = [1, 2, 4].map(|byte| seal(&importer, &[byte; 32])).into();
    let ask = Ask::of(&mut unit, AdminCommand::ImportKeyParts, b"");
    let of = |parts: usize, which: usize| signed_as_of(parts, &ask, &sealed[which..=which], &[which % 2]);
    let imports = [
        ("one of two is left out", of(2, 0)),
        ("one of three is left out", [of(3, 0), of(3, 1)].concat()),
        ("two of three are left out", of(3, 2)),
        ("one is added to two", [of(2, 0), of(2, 1), of(2, 2)].concat()),
        ("one is added to one", [of(1, 0), of(1, 1)].concat()),
        ("the parts of two loads are mixed", [of(2, 0), of(3, 1)].concat()),
        ("there are more than any unit takes", [of(9, 0), of(9, 1)].concat()),
    ];
    for (name, parts) in imports {
        let refused = send(&mut unit, &Ask { input: &parts, ..ask }.signed_by(&[]));
        assert_eq!(refused, Err(UnitError::KeyPartsCountMismatch), "{name}");
        assert_eq!(status(&mut unit).transaction_counter + 1, ask.counter, "{name}");
        assert!(matches!(status(&mut unit).new, NewRegister::Empty), "{name}");
    }
    // What they signed still loads.
    let parts = [of(3, 0), of(3, 1), of(3, 2)].concat();
    send(&mut unit, &Ask { input: &parts, ..ask }.signed_by(&[])).unwrap();
}

/// A caller without any signature sends commands, to push the ceremony out of the audit log.
#[test]
fn attack_unsigned_commands_do_not_push_a_ceremony_out_of_the_audit_log() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.start();
    secure(&mut unit, 3, attributes(2, 2, Permissions::recovery()));
    let before = records(&mut unit);
    let sent = 60_u64;
    for _ in 0..sent {
        let refused = administer(&mut unit, AdminCommand::ClearCurrent, b"", &[]);
        assert_eq!(refused, Err(UnitError::NotEnoughSignatures));
    }
    // One record, however many there were.
    let after = records(&mut unit);
    assert_eq!(after[..before.len()], before, "records of the ceremony are gone");
    assert_eq!(after.len(), before.len() + 1);
    // The others are told before the next authorised command.
    let ski = administrator(2).ski;
    administer(&mut unit, AdminCommand::RemoveAdministrator, &ski, &[0, 1]).unwrap();
    let told = records(&mut unit);
    assert_eq!(told.len(), before.len() + 3);
    let summary = &told[before.len() + 1];
    assert_eq!((summary.kind, summary.attempts()), (AuditKind::RefusedAttempts, sent - 1));
    assert_eq!((summary.command, summary.reason), (AdminCommand::ClearCurrent.id(), 21));
    assert_eq!(told[before.len() + 2].command, AdminCommand::RemoveAdministrator.id());
    // Whatever is sent between authorised commands, each of them has its record among the newest ten.
    for round in 0..10 {
        for _ in 0..sent {
            let _ = administer(&mut unit, AdminCommand::ClearCurrent, b"", &[]);
        }
        let points = [round; 16];
        let _ = administer(&mut unit, AdminCommand::SetControlPoints, &points, &[0, 1]);
    }
    let kept = records(&mut unit);
    let authorised = kept.iter().filter(|record| record.command == AdminCommand::SetControlPoints.id());
    assert_eq!(authorised.count(), 10);
}

/// A caller who may use a key that wraps tries to decrypt what it has wrapped, and so to have another key in the clear.
#[test]
fn attack_a_key_does_not_decrypt_what_it_has_wrapped() {
    let mut unit = known_master_key();
    let by = WrapMechanism::AesKw;
    let victim = generate(&mut unit, CIPHER, true);
    let kek = generate(&mut unit, WRAPPING, true);
    let wrapped_kek = bytes(&mut unit, Command::WrapKey { by, kek: &kek, key: &kek });
    // No command makes a key that does both, nor one with any other two kinds of uses.
    for one in UseFamily::ALL {
        for other in UseFamily::ALL.into_iter().filter(|other| *other != one) {
            let spec = spec(Algorithm::Aes, 32, one.uses().with(other.uses()), false);
            for command in [
                Command::GenerateKey { spec },
                Command::ImportKey { spec, value: &[7; 32] },
                Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped_kek, spec },
            ] {
                assert_eq!(
                    refusal(&mut unit, command),
                    UnitError::KeyUsesInconsistent,
                    "{command:?} {spec:?}"
                );
            }
        }
    }
    let spec = spec(Algorithm::Aes, 32, KeyUses::WRAP.with(KeyUses::DECRYPT), false);
    assert_eq!(refusal(&mut unit, Command::GenerateKey { spec }), UnitError::KeyUsesInconsistent);
    // One of an earlier version wraps nothing.
    let mixed = unhex(WRAP_AND_DECRYPT_BLOB);
    let wrap = Command::WrapKey { by, kek: &mixed, key: &victim };
    assert_eq!(refusal(&mut unit, wrap), UnitError::KeyUsesInconsistent);
    // A key that wraps does not decrypt, and what it has wrapped is no ciphertext.
    let wrapped = bytes(&mut unit, Command::WrapKey { by, kek: &kek, key: &victim });
    let decrypt = |key| Command::Decrypt { key, iv: [0; 12], aad: b"", ciphertext: &wrapped };
    assert_eq!(refusal(&mut unit, decrypt(&kek)), UnitError::KeyFunctionNotPermitted);
    assert_eq!(refusal(&mut unit, decrypt(&mixed)), UnitError::EncryptedDataInvalid);
}

fn records(unit: &mut unit_core::Unit<crate::common::TestEnv>) -> Vec<AuditRecord> {
    let bytes = audit(unit);
    AuditChain::decode(&bytes).unwrap().records().collect()
}

/// The content of both slots.
fn slots(fixture: &Fixture) -> [Vec<u8>; 2] {
    Slot::ALL.map(|slot| fixture.disk.content(slot))
}

fn put_back(fixture: &Fixture, slots: &[Vec<u8>; 2]) {
    for (slot, content) in Slot::ALL.into_iter().zip(slots) {
        fixture.disk.set_content(slot, content.clone());
    }
}

/// Old slot files are copied back after a master key was removed: by zeroize, clear, and activation of the next one.
#[test]
fn attack_old_slots_do_not_bring_a_removed_master_key_back() {
    for command in
        [AdminCommand::Zeroize, AdminCommand::ClearCurrent, AdminCommand::ClearNew, AdminCommand::ActivateNew]
    {
        for fixture in Fixture::of_both_kinds() {
            let mut unit = fixture.rotating();
            let old = slots(&fixture);
            let input = match (command, status(&mut unit).new) {
                (AdminCommand::ActivateNew, NewRegister::FullCommitted(pattern)) => {
                    pattern.as_bytes().to_vec()
                }
                _ => Vec::new(),
            };
            run(&mut unit, command, &input).unwrap();
            let after = lasting(&mut unit);
            let kept = slots(&fixture);
            drop(unit);
            put_back(&fixture, &old);
            let mut unit = fixture.start();
            let found = status(&mut unit);
            assert_eq!(found.condition, Condition::Error(UnitError::StateInvalid as u16), "{command:?}");
            assert!(found.current.is_none() && fixture.device.live() == 0, "{command:?}");
            drop(unit);
            // One old slot beside the present one changes nothing.
            for slot in Slot::ALL {
                put_back(&fixture, &kept);
                fixture.disk.set_content(slot, old[slot as usize].clone());
                assert_eq!(lasting(&mut fixture.start()), after, "{command:?}");
            }
        }
    }
}

/// Old slot files are copied back while the engine has a newer master key, which must not be taken for a remain of an
/// interrupted change.
#[test]
fn attack_old_slots_destroy_no_newer_master_key() {
    for fixture in Fixture::of_both_kinds() {
        let mut unit = fixture.in_service();
        let empty = slots(&fixture);
        bring_into_service(&mut unit, &PARTS);
        let one = slots(&fixture);
        load(&mut unit, &OTHER_PARTS);
        let (after, kept) = (lasting(&mut unit), slots(&fixture));
        drop(unit);
        for old in [empty, one] {
            put_back(&fixture, &old);
            drop(fixture.start());
            assert_eq!(fixture.device.persisted(), 2, "a master key was destroyed");
        }
        put_back(&fixture, &kept);
        assert_eq!(lasting(&mut fixture.start()), after);
    }
}
