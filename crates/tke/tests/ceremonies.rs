//! Ceremonies over whole units: the customer's side of the wire against the unit's.

use crate::world::{
    self, Memory, Wired, administrators, combined, listed, meet, parts, pattern_of, quorum, trust,
};
use engine::{KeySpec, KeyUses};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use tke::admin_policy::AdminPolicy;
use tke::ceremony::{Ceremony, CeremonyError, KeySource};
use tke::compare::{ComparedUnit, Comparison, permissions_of};
use tke::converge::{ConvergeError, MasterKeyGoal, UnitGoal};
use tke::part::KeyPartHolder;
use tke::proposal::{Proposal, ProposalError};
use tke::{AdminOperation, AdminUnit, AdminUnitError, UnitDescriptor, UnitKind};
use unit_api::admin::{AdminCommand, InstanceId, Permissions};
use unit_api::{Command, NewRegister, UnitError, VerificationPattern};

fn policy(kind: UnitKind, administrators_wanted: u8, thresholds: u32) -> AdminPolicy {
    AdminPolicy {
        administrators: administrators(administrators_wanted).iter().map(|key| key.administrator()).collect(),
        signature_threshold: thresholds,
        revocation_threshold: thresholds,
        permissions: permissions_of(kind),
    }
}

pub(crate) fn goal(kind: UnitKind, master_key: MasterKeyGoal) -> UnitGoal {
    UnitGoal { policy: policy(kind, 2, 2), control_points: None, master_key }
}

async fn with_parts(unit: &AdminUnit<Wired>, master_key: MasterKeyGoal) -> Result<(), CeremonyError> {
    let (quorum, parts) = (quorum(2), parts());
    let holders: Vec<&dyn KeyPartHolder> = parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let goal = goal(unit.listed().kind, master_key);
    ceremony.converge(unit, &goal, &KeySource::Parts(&holders)).await.map(drop)
}

fn refused(error: &CeremonyError) -> Option<UnitError> {
    match error {
        CeremonyError::Unit(fault) => fault.refusal()?.unit_error(),
        _ => None,
    }
}

#[tokio::test]
async fn key_parts_bring_units_into_service_from_imprint_mode() {
    let pattern = pattern_of(&combined());
    let mut compared = Vec::new();
    for number in [1, 2] {
        let (unit, wired) = meet(number, UnitKind::Operational).await;
        with_parts(&unit, MasterKeyGoal::Current(pattern)).await.unwrap();
        let spec = KeySpec::aes(32, KeyUses::ENCRYPT);
        assert!(wired.serves(&Command::GenerateKey { spec }));
        compared
            .push(ComparedUnit { listed: unit.listed().clone(), snapshot: unit.snapshot().await.unwrap() });
        // A second time there is nothing to do.
        let before = unit.snapshot().await.unwrap().transaction_counter;
        with_parts(&unit, MasterKeyGoal::Current(pattern)).await.unwrap();
        assert_eq!(unit.snapshot().await.unwrap().transaction_counter, before);
    }
    let comparison = Comparison::of(compared);
    assert!(comparison.alike(), "{:?}", comparison.differences);
    assert!(comparison.common_current().unwrap().is_of_same_key(&pattern));
}

/// The wire goes dead after every possible number of exchanges; another run brings the unit to the same end.
#[tokio::test]
async fn an_interrupted_ceremony_goes_on_wherever_it_stopped() {
    let pattern = pattern_of(&combined());
    let mut stops = 0;
    loop {
        let (unit, wired) = meet(1, UnitKind::Operational).await;
        *wired.life.lock().unwrap() = Some(stops);
        let interrupted = with_parts(&unit, MasterKeyGoal::Current(pattern)).await;
        *wired.life.lock().unwrap() = None;
        if interrupted.is_ok() {
            break;
        }
        with_parts(&unit, MasterKeyGoal::Current(pattern)).await.unwrap();
        assert!(unit.snapshot().await.unwrap().current.unwrap().is_of_same_key(&pattern));
        stops += 1;
    }
    assert!(stops > 20, "only {stops} places to stop at");
}

#[tokio::test]
async fn a_recovery_unit_s_key_reaches_the_others_and_is_never_seen() {
    let quorum = quorum(2);
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let (source, source_wire) = meet(1, UnitKind::Recovery).await;
    let (target, target_wire) = meet(2, UnitKind::Operational).await;
    for unit in [&source, &target] {
        let goal = goal(unit.listed().kind, MasterKeyGoal::AsItIs);
        ceremony.converge(unit, &goal, &KeySource::None).await.unwrap();
    }
    let made = ceremony.execute(&source, &AdminOperation::GenerateMasterKey).await.unwrap();
    let pattern = VerificationPattern::from_bytes(made.output.try_into().unwrap());
    let key = KeySource::Unit { source: &source, new: false };
    let wanted = goal(UnitKind::Operational, MasterKeyGoal::Current(pattern));
    ceremony.converge(&target, &wanted, &key).await.unwrap();
    assert!(target.snapshot().await.unwrap().current.unwrap().is_of_same_key(&pattern));

    // An operational unit does not give its key away, not even to a quorum.
    let error = ceremony.transport(&target, false, &source, pattern).await.unwrap_err();
    assert_eq!(refused(&error), Some(UnitError::ExportForbidden));
    let allow = AdminPolicy {
        permissions: permissions_of(UnitKind::Operational).with(Permissions::WK_EXPORT),
        ..policy(UnitKind::Operational, 2, 2)
    };
    assert!(tke::admin_policy::operations(&target.snapshot().await.unwrap(), &allow).unwrap().is_empty());

    // A unit of another instance gets nothing.
    let foreign = Wired::new(3, InstanceId([0xf0; 16]));
    let elsewhere = UnitDescriptor { instance: InstanceId([0xf0; 16]), ..listed(3, UnitKind::Operational) };
    let foreign = AdminUnit::authenticate(elsewhere, foreign, &trust()).await.unwrap();
    let error = ceremony.converge(&foreign, &wanted, &key).await.unwrap_err();
    assert_eq!(refused(&error), Some(UnitError::ExportTargetForeign));

    assert!(record.0.borrow().iter().any(|event| event.refused.is_some()), "refusals are on record");
    for seen in [&source_wire, &target_wire] {
        assert!(!seen.wire.lock().unwrap().is_empty());
    }
}

/// Units that were set up by an earlier tool load a custodian's single part until they are brought to their plan again.
#[tokio::test]
async fn a_unit_set_up_earlier_loads_a_single_part_until_converge() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    let quorum = quorum(2);
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let part = &parts()[0];
    let single = MasterKeyGoal::Committed(part.pattern());
    let earlier = AdminPolicy {
        permissions: permissions_of(UnitKind::Operational).with(Permissions::WK_1PART),
        ..policy(UnitKind::Operational, 2, 2)
    };
    let earlier = UnitGoal { policy: earlier, control_points: None, master_key: single };
    ceremony.converge(&unit, &earlier, &KeySource::Parts(&[part])).await.unwrap();
    assert!(unit.snapshot().await.unwrap().attributes.permissions.contains(Permissions::WK_1PART));
    ceremony.execute(&unit, &AdminOperation::ClearNew).await.unwrap();

    let planned = goal(UnitKind::Operational, MasterKeyGoal::AsItIs);
    ceremony.converge(&unit, &planned, &KeySource::None).await.unwrap();
    let permissions = unit.snapshot().await.unwrap().attributes.permissions;
    assert!(!permissions.contains(Permissions::WK_1PART), "converge leaves single parts permitted");
    assert_eq!(permissions, permissions_of(UnitKind::Operational));
    let planned = goal(UnitKind::Operational, single);
    let error = ceremony.converge(&unit, &planned, &KeySource::Parts(&[part])).await.unwrap_err();
    assert_eq!(refused(&error), Some(UnitError::SinglePartForbidden));
    assert!(matches!(unit.snapshot().await.unwrap().new, NewRegister::Empty));
}

/// Nothing on a wire, on a disk or in the record has a key part or the master key in it.
#[tokio::test]
async fn no_wire_disk_or_record_has_a_part_or_the_key_in_it() {
    let (unit, wired) = meet(1, UnitKind::Operational).await;
    let (quorum, parts) = (quorum(2), parts());
    let holders: Vec<&dyn KeyPartHolder> = parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let goal = goal(UnitKind::Operational, MasterKeyGoal::Current(pattern_of(&combined())));
    ceremony.converge(&unit, &goal, &KeySource::Parts(&holders)).await.unwrap();
    let record = format!("{:?}", record.0.borrow()).into_bytes();
    let everything = [wired.wire.lock().unwrap().clone(), wired.disk.content(), record].concat();
    assert!(everything.len() > 20_000);
    for secret in [world::PART_A, world::PART_B, combined()] {
        for half in secret.chunks(8) {
            let hex: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
            for form in [half, hex.as_bytes()] {
                assert!(!everything.windows(form.len()).any(|window| window == form), "{hex}");
            }
        }
    }
}

#[tokio::test]
async fn a_unit_with_another_key_is_left_alone() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    with_parts(&unit, MasterKeyGoal::Current(pattern_of(&combined()))).await.unwrap();
    let other = VerificationPattern::from_bytes([9; 32]);
    let error = with_parts(&unit, MasterKeyGoal::Current(other)).await.unwrap_err();
    assert!(matches!(error, CeremonyError::Converge { source: ConvergeError::OtherMasterKey { .. }, .. }));
}

/// The parts make another key than the ceremony has worked out: it stops before the commit.
#[tokio::test]
async fn what_was_not_worked_out_is_not_committed() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    let other = VerificationPattern::from_bytes([9; 32]);
    let error = with_parts(&unit, MasterKeyGoal::Current(other)).await.unwrap_err();
    assert!(matches!(error, CeremonyError::OtherPattern { .. }), "{error}");
    let left = unit.snapshot().await.unwrap();
    assert!(matches!(left.new, NewRegister::FullUncommitted(_)) && left.current.is_none());
}

/// A unit that has lost its state reports it and accepts only a zeroize, which needs no signature.
#[tokio::test]
async fn a_broken_unit_is_named_and_can_be_zeroized() {
    let wired = Wired::without_state(1);
    let unit = AdminUnit::authenticate(listed(1, UnitKind::Operational), wired, &trust()).await.unwrap();
    let error = with_parts(&unit, MasterKeyGoal::Current(pattern_of(&combined()))).await.unwrap_err();
    assert!(
        matches!(error, CeremonyError::Converge { source: ConvergeError::ErrorState(0x0242), .. }),
        "{error}"
    );
    let quorum = quorum(2);
    Ceremony { quorum: &quorum, record: &mut () }.execute(&unit, &AdminOperation::Zeroize).await.unwrap();
    with_parts(&unit, MasterKeyGoal::Current(pattern_of(&combined()))).await.unwrap();
}

#[tokio::test]
async fn a_modified_response_is_rejected() {
    let (unit, wired) = meet(1, UnitKind::Operational).await;
    // Every byte of the signed block and of its signature counts.
    let changes: [world::Tampering; 4] = [
        Arc::new(|answer: &mut Vec<u8>| {
            let last = answer.len() - 1;
            answer[last] ^= 1;
        }),
        Arc::new(|answer| {
            let middle = answer.len() / 2;
            answer[middle] ^= 0x40;
        }),
        Arc::new(|answer| answer.truncate(answer.len() - 1)),
        Arc::new(Vec::clear),
    ];
    for change in changes {
        *wired.tamper.lock().unwrap() = Some(change);
        let error = unit.snapshot().await.unwrap_err();
        assert!(
            matches!(error, AdminUnitError::NotAuthentic { .. } | AdminUnitError::InvalidResponse { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_unit_in_another_s_place_is_not_met() {
    let wired = Wired::new(2, world::INSTANCE);
    let Err(error) = AdminUnit::authenticate(listed(1, UnitKind::Operational), wired, &trust()).await else {
        panic!("met a unit in another's place")
    };
    assert!(matches!(error, AdminUnitError::NotAuthentic { .. }), "{error}");
    let wired = Wired::new(1, world::INSTANCE);
    let other_root = tke::trust::ModuleTrust::new(world::fixed_key(0x33).public());
    assert!(AdminUnit::authenticate(listed(1, UnitKind::Operational), wired, &other_root).await.is_err());
}

#[tokio::test]
async fn a_proposal_is_signed_apart_and_good_once() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    with_parts(&unit, MasterKeyGoal::Current(pattern_of(&combined()))).await.unwrap();
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000);
    let day = SignedDuration::from_hours(24);
    let keys = administrators(3);
    let operation = AdminOperation::AddAdministrator(keys[2].administrator());
    let snapshot = unit.snapshot().await.unwrap();
    let mut proposal = Proposal::new(unit.listed(), &snapshot, &operation, now, day);
    proposal.sign(&keys[0], now).await.unwrap();
    assert!(matches!(proposal.sign(&keys[0], now).await, Err(ProposalError::SignedAlready(_))));
    assert!(matches!(proposal.submit(&unit, now).await, Err(ProposalError::TooFew { have: 1, needed: 2 })));

    // It travels as a file.
    let mut carried = Proposal::from_json(&proposal.to_json()).unwrap();
    carried.sign(&keys[1], now).await.unwrap();
    assert!(carried.describe().contains("add administrator `Administrator 3`"), "{}", carried.describe());
    let forged = carried.to_json().replace("Administrator 1", "Another name");
    assert!(Proposal::from_json(&forged).is_ok(), "names are for people; keys are what counts");
    let at = carried.to_json().find("\"block\"").unwrap() + 60;
    let mut forged = carried.to_json();
    let digit = if forged.as_bytes()[at] == b'0' { "1" } else { "0" };
    forged.replace_range(at..=at, digit);
    assert!(Proposal::from_json(&forged).is_err(), "one digit of the block was changed");

    let late = now + day + SignedDuration::from_secs(1);
    assert!(matches!(carried.submit(&unit, late).await, Err(ProposalError::Expired(_))));
    let (other, _) = meet(2, UnitKind::Operational).await;
    assert!(matches!(carried.submit(&other, now).await, Err(ProposalError::OtherUnit { .. })));
    carried.submit(&unit, now).await.unwrap();
    assert_eq!(unit.snapshot().await.unwrap().administrators.len(), 3);
    assert!(matches!(carried.submit(&unit, now).await, Err(ProposalError::Void { .. })));
}

/// Names in a proposal are not signed: a holder of the file may write anything there.
#[tokio::test]
async fn attack_names_in_a_proposal_show_as_what_they_are() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    with_parts(&unit, MasterKeyGoal::Current(pattern_of(&combined()))).await.unwrap();
    let (now, hour) = (Timestamp::UNIX_EPOCH, SignedDuration::from_hours(1));
    let (keys, snapshot) = (administrators(1), unit.snapshot().await.unwrap());
    let mut proposal = Proposal::new(unit.listed(), &snapshot, &AdminOperation::Zeroize, now, hour);
    proposal.sign(&keys[0], now).await.unwrap();
    let lines = proposal.describe().lines().count();
    // Goes up, overwrites the command that is proposed, and forges a line.
    let forged = r"x\u001b[9A\rproposal:   query domain\u009b2K\nproposal:   query domain\u202e";
    let forged = Proposal::from_json(&proposal.to_json().replace("Administrator 1", forged)).unwrap();
    let shown = forged.describe();
    assert!(shown.starts_with("proposal:   zeroize\n"), "{shown}");
    assert_eq!(shown.lines().count(), lines, "{shown}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()) && !shown.contains('\u{202e}'), "{shown:?}");
}

/// Whatever was done to the unit in between makes a proposal void, even what was refused.
#[tokio::test]
async fn a_proposal_is_void_once_anything_else_was_done() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    with_parts(&unit, MasterKeyGoal::Current(pattern_of(&combined()))).await.unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let keys = administrators(2);
    let snapshot = unit.snapshot().await.unwrap();
    let mut proposal = Proposal::new(
        unit.listed(),
        &snapshot,
        &AdminOperation::ClearCurrent,
        now,
        SignedDuration::from_hours(1),
    );
    proposal.sign(&keys[0], now).await.unwrap();
    let quorum = quorum(2);
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut () };
    let commit = AdminOperation::Commit(pattern_of(&combined()));
    assert_eq!(refused(&ceremony.execute(&unit, &commit).await.unwrap_err()), Some(UnitError::NewMissing));
    assert!(matches!(proposal.submit(&unit, now).await, Err(ProposalError::Void { .. })));
}

/// The unit's own audit chain has the hash of every block that the record of the ceremony has.
#[tokio::test]
async fn the_record_and_the_unit_s_audit_chain_agree() {
    let (unit, _) = meet(1, UnitKind::Operational).await;
    let (quorum, parts) = (quorum(2), parts());
    let holders: Vec<&dyn KeyPartHolder> = parts.iter().map(|part| part as &dyn KeyPartHolder).collect();
    let mut record = Memory::default();
    let mut ceremony = Ceremony { quorum: &quorum, record: &mut record };
    let goal = goal(UnitKind::Operational, MasterKeyGoal::Current(pattern_of(&combined())));
    ceremony.converge(&unit, &goal, &KeySource::Parts(&holders)).await.unwrap();
    let answer = unit.query(AdminCommand::QueryAudit, &[]).await.unwrap();
    let chain = unit_api::admin::AuditChain::decode(&answer.output).unwrap();
    let audited: Vec<[u8; 32]> = chain.records().skip(1).map(|record| record.block_hash).collect();
    let recorded: Vec<[u8; 32]> = record.0.borrow().iter().map(|event| event.block_hash).collect();
    assert_eq!(audited, recorded);
}
