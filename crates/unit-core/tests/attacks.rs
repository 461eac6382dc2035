//! Attacks of the threat model on a unit's administration, carried out with real signatures.

use crate::common::Fixture;
use crate::common::administrators::{administer, administrator, attributes, installed, secure};
use unit_api::UnitError;
use unit_api::admin::{AdminCommand, Permissions};

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
