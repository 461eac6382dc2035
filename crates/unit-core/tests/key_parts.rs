//! How a master key comes into a unit: sealed parts, the request around them, and the permissions for it.

use crate::common::administrators::{
    Ask, administer, attributes, import_parts, import_sealed, importer_of, query, ruled, seal, send,
    signed_as_of,
};
use crate::common::{OTHER_PARTS, PARTS, run, status};
use unit_api::admin::{AdminCommand, Permissions};
use unit_api::{Target, UnitError, UnitId};

const ALL: Permissions = Permissions::recovery().with(Permissions::WK_1PART);

#[test]
fn parts_of_an_import_are_held_to_the_request_round_them() {
    let mut unit = ruled(2, 2, 2, ALL);
    let shown = administer(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], &[1]).unwrap();
    let importer = importer_of(&shown);
    let sealed: Vec<_> = [1, 2].map(|byte| seal(&importer, &[byte; 32])).into();
    let right = Ask::of(&mut unit, AdminCommand::ImportKeyParts, b"");
    let strangers = [
        (Ask { counter: right.counter + 1, ..right }, UnitError::KeyPartCommandMismatch),
        (Ask { command: AdminCommand::CommitNew.id(), ..right }, UnitError::KeyPartCommandMismatch),
        (
            Ask { target: Target { domain_instance: 9, ..right.target }, ..right },
            UnitError::KeyPartTargetMismatch,
        ),
        (
            Ask { target: Target { unit: UnitId([9; 16]), ..right.target }, ..right },
            UnitError::KeyPartTargetMismatch,
        ),
        (
            Ask { target: Target { domain_index: 9, ..right.target }, ..right },
            UnitError::KeyPartTargetMismatch,
        ),
    ];
    for (stranger, expected) in strangers {
        let parts =
            [signed_as_of(2, &right, &sealed[..1], &[0]), signed_as_of(2, &stranger, &sealed[1..], &[1])]
                .concat();
        let request = Ask { input: &parts, ..right }.signed_by(&[]);
        assert_eq!(send(&mut unit, &request), Err(expected));
        assert_eq!(status(&mut unit).transaction_counter + 1, right.counter);
    }
    // Every part must be signed; one signature for each part is enough.
    let unsigned =
        [signed_as_of(2, &right, &sealed[..1], &[0, 1]), signed_as_of(2, &right, &sealed[1..], &[])].concat();
    let request = Ask { input: &unsigned, ..right }.signed_by(&[]);
    assert_eq!(send(&mut unit, &request), Err(UnitError::NotEnoughSignatures));
    let request = Ask { input: &unsigned, ..right }.signed_by(&[0, 1]);
    assert_eq!(send(&mut unit, &request), Err(UnitError::NotEnoughSignatures));
    let parts =
        [signed_as_of(2, &right, &sealed[..1], &[0]), signed_as_of(2, &right, &sealed[1..], &[1])].concat();
    let cut = Ask { input: &parts[..parts.len() - 1], ..right }.signed_by(&[]);
    assert_eq!(send(&mut unit, &cut), Err(UnitError::RequestMalformed));
    send(&mut unit, &Ask { input: &parts, ..right }.signed_by(&[])).unwrap();
}

#[test]
fn sealed_parts_open_once_and_for_their_importer_only() {
    let mut unit = ruled(1, 1, 1, ALL);
    assert_eq!(import_sealed(&mut unit, &[vec![1; 9]], &[0]).unwrap_err(), UnitError::ImporterMissing);
    let renew = |unit: &mut _| {
        let shown = administer(unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], &[0]).unwrap();
        assert_eq!(query(unit, AdminCommand::QueryImporterKey, b""), shown);
        importer_of(&shown)
    };
    let old = renew(&mut unit);
    let importer = renew(&mut unit);
    let part = seal(&importer, &[5; 32]);
    let mut spoilt = part.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    let refused = [
        (seal(&old, &[5; 32]), UnitError::KeyPartRecipientMismatch),
        (vec![], UnitError::KeyPartMalformed),
        (part[..part.len() - 1].to_vec(), UnitError::KeyPartMalformed),
        (spoilt, UnitError::KeyPartUnwrapFailed),
    ];
    for (part, expected) in refused {
        assert_eq!(import_sealed(&mut unit, &[part], &[0]).unwrap_err(), expected);
    }
    import_sealed(&mut unit, std::slice::from_ref(&part), &[0]).unwrap();
    assert!(query(&mut unit, AdminCommand::QueryImporterKey, b"").is_empty());
    run(&mut unit, AdminCommand::ClearNew, b"").unwrap();
    assert_eq!(import_sealed(&mut unit, &[part], &[0]).unwrap_err(), UnitError::ImporterMissing);
    renew(&mut unit);
    run(&mut unit, AdminCommand::Zeroize, b"").unwrap();
    assert!(query(&mut unit, AdminCommand::QueryImporterKey, b"").is_empty());
}

#[test]
fn permissions_govern_how_a_master_key_comes() {
    let mut unit = ruled(1, 1, 1, ALL.without(Permissions::WK_IMPORT));
    assert_eq!(import_parts(&mut unit, &PARTS, &[0]).unwrap_err(), UnitError::ImportForbidden);
    for preset in [Permissions::operational(), Permissions::recovery()] {
        let mut unit = ruled(1, 1, 1, preset);
        assert_eq!(import_parts(&mut unit, &[5; 32], &[0]).unwrap_err(), UnitError::SinglePartForbidden);
        let permits = attributes(1, 1, preset.with(Permissions::WK_1PART)).to_bytes();
        run(&mut unit, AdminCommand::SetAttributes, &permits).unwrap();
        import_parts(&mut unit, &[5; 32], &[0]).unwrap();
    }
    let mut unit = ruled(1, 1, 1, ALL.without(Permissions::WK_1PART));
    import_parts(&mut unit, &PARTS, &[0]).unwrap();
    let refused = import_parts(&mut unit, &OTHER_PARTS, &[0]);
    assert_eq!(refused.unwrap_err(), UnitError::NewNotEmpty);
    let mut unit = ruled(1, 1, 1, ALL.without(Permissions::WK_RANDOM));
    let refused = administer(&mut unit, AdminCommand::GenerateMasterKey, b"", &[0]);
    assert_eq!(refused, Err(UnitError::GenerateForbidden));
}

/// Parts as tools of earlier versions sign them are refused by name, and the refusal uses up the counter.
#[test]
fn a_part_signed_without_the_number_of_parts_is_refused_as_such() {
    let mut unit = ruled(1, 1, 1, ALL);
    let shown = administer(&mut unit, AdminCommand::GenerateImporterKey, &[0, 0, 0, 3], &[0]).unwrap();
    let importer = importer_of(&shown);
    let ask = Ask::of(&mut unit, AdminCommand::ImportKeyParts, b"");
    let parts: Vec<u8> = [1, 2]
        .map(|byte| seal(&importer, &[byte; 32]))
        .iter()
        .flat_map(|sealed| Ask { input: sealed, ..ask }.signed_by(&[0]))
        .collect();
    let refused = send(&mut unit, &Ask { input: &parts, ..ask }.signed_by(&[]));
    assert_eq!(refused, Err(UnitError::KeyPartUncounted));
    assert_eq!(status(&mut unit).transaction_counter, ask.counter);
}
