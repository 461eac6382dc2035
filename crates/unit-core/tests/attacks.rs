//! Attacks of the threat model on a unit's administration, carried out with real signatures.

use crate::common::Fixture;
use crate::common::administrators::{administer, administrator, attributes, audit, installed, secure};
use unit_api::UnitError;
use unit_api::admin::{AdminCommand, AuditChain, AuditKind, AuditRecord, Permissions};

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

fn records(unit: &mut unit_core::Unit<crate::common::TestEnv>) -> Vec<AuditRecord> {
    let bytes = audit(unit);
    AuditChain::decode(&bytes).unwrap().records().collect()
}
