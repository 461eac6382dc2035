//! Loss of power at any write, and faulty storage: a unit has the state before or after a command, never one between.

use crate::common::administrators::{
    Ask, administer, administrator, attributes, audit, export_target, importer_of, query, seal, secure, send,
    signed_parts, with_domain,
};
use crate::common::disk::Fault;
use crate::common::{
    Fixture, Lasting, PARTS, TestEnv, execute, lasting, refusal, run, status, try_load, zeroize,
};
use engine::{DigestMechanism, Engine};
use sha2::{Digest, Sha256};
use unit_api::admin::{AdminCommand, AuditChain, AuditKind, ControlPoint, ControlPoints, Permissions};
use unit_api::{Command, Condition, NewRegister, UnitError};
use unit_core::{MAX_SLOT_LEN, Slot, Unit};

use AdminCommand::{
    ActivateNew, AddAdministrator, AddControlPoints, ClearCurrent, ClearNew, CommitNew, DeleteControlPoints,
    ExportCurrent, ExportNew, GenerateImporterKey, GenerateMasterKey, ImportKeyParts, RemoveAdministrator,
    ReplaceAdministrator, SetAttributes, SetControlPoints, Zeroize,
};

/// Every administrative command, in every state of the registers, before and after a zeroize, with each kind of refusal.
const CEREMONY: [AdminCommand; 39] = [
    AddAdministrator,
    SetAttributes,
    AddAdministrator,
    // Already installed: refused, and counted.
    AddAdministrator,
    ReplaceAdministrator,
    RemoveAdministrator,
    AddControlPoints,
    DeleteControlPoints,
    SetControlPoints,
    GenerateImporterKey,
    ImportKeyParts,
    CommitNew,
    ExportNew,
    ActivateNew,
    ExportCurrent,
    GenerateImporterKey,
    ImportKeyParts,
    ClearNew,
    GenerateMasterKey,
    CommitNew,
    ActivateNew,
    GenerateMasterKey,
    // The new register is full: refused.
    GenerateMasterKey,
    CommitNew,
    ClearCurrent,
    ActivateNew,
    ClearCurrent,
    GenerateMasterKey,
    GenerateMasterKey,
    Zeroize,
    AddAdministrator,
    SetAttributes,
    GenerateMasterKey,
    Zeroize,
    Zeroize,
    // In imprint mode: refused.
    ClearNew,
    AddAdministrator,
    RemoveAdministrator,
    Zeroize,
];

/// The signed request of a command of the ceremony, with an input that fits the state. A command that is to be refused is
/// refused in every state in which the ceremony reaches it.
fn request(unit: &mut Unit<TestEnv>, command: AdminCommand) -> Vec<u8> {
    let shown = status(unit);
    let pattern = match shown.new {
        NewRegister::FullUncommitted(pattern) | NewRegister::FullCommitted(pattern) => *pattern.as_bytes(),
        NewRegister::Empty => [0; 32],
    };
    let second = usize::from(shown.administrators.min(1));
    let input = match command {
        AddAdministrator => administrator(second).certificate.clone(),
        ReplaceAdministrator => [&administrator(1).ski[..], &administrator(2).certificate].concat(),
        RemoveAdministrator => {
            administrator(if second == 1 && shown.administrators > 1 { 2 } else { 0 }).ski.to_vec()
        }
        SetAttributes => attributes(1, 1, Permissions::recovery()).to_bytes().to_vec(),
        AddControlPoints | DeleteControlPoints => ControlPoint::Btc.alone().to_bytes().to_vec(),
        SetControlPoints => ControlPoints::first().to_bytes().to_vec(),
        GenerateImporterKey => vec![0, 0, 0, 3],
        CommitNew | ActivateNew => pattern.to_vec(),
        ExportCurrent | ExportNew => target().clone(),
        ImportKeyParts => parts_of_import(unit),
        _ => vec![],
    };
    let imprint = shown.signature_threshold == 0;
    let signers: &[usize] = match command {
        ImportKeyParts => &[],
        SetAttributes => &[0],
        _ if imprint => &[],
        _ => &[0],
    };
    Ask::of(unit, command, &input).signed_by(signers)
}

fn target() -> &'static Vec<u8> {
    static TARGET: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    TARGET.get_or_init(|| export_target(&Fixture::new(7)))
}

/// Key parts for the importer key of the unit.
fn parts_of_import(unit: &mut Unit<TestEnv>) -> Vec<u8> {
    let importer = importer_of(&query(unit, AdminCommand::QueryImporterKey, b""));
    let base = if status(unit).current.is_some() { 4 } else { 1 };
    let sealed: Vec<_> = [base, 2 * base].map(|byte| seal(&importer, &[byte; 32])).into();
    signed_parts(&Ask::of(unit, ImportKeyParts, b""), &sealed, &[0])
}

/// Executes a step and returns whether it was executed or refused, or the failure of storage.
fn take(unit: &mut Unit<TestEnv>, step: AdminCommand) -> Result<bool, UnitError> {
    let request = request(unit, step);
    match send(unit, &request) {
        Ok(_) => Ok(true),
        Err(failed @ (UnitError::StorageFailed | UnitError::ErrorState)) => Err(failed),
        Err(UnitError::AdministratorInstalled | UnitError::NewNotEmpty | UnitError::ImprintMode) => Ok(false),
        Err(other) => panic!("{step:?}: {other:?}"),
    }
}

/// State of a unit that a restart must keep, including its audit chain.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    state: Lasting,
    records: u64,
    head: [u8; 32],
}

fn kept(unit: &mut Unit<TestEnv>) -> Kept {
    let (records, head) = with_domain(unit, |info| (info.audit_records, info.audit_head));
    Kept { state: lasting(unit), records, head }
}

/// A state without values that differ between runs: patterns of random keys, hashes of signed blocks.
fn shape(kept: &Kept) -> (u32, u128, bool, Option<bool>, u8, [u8; 2], u64) {
    let Lasting { domain_instance, transaction_counter, current, new, administrators, thresholds } =
        kept.state;
    let new = new.map(|(committed, _)| committed);
    (domain_instance, transaction_counter, current.is_some(), new, administrators, thresholds, kept.records)
}

/// Checks the audit chain of the unit, and returns the sequence number of each record with the hash up to it.
fn checked_chain(unit: &mut Unit<TestEnv>) -> Vec<(u64, [u8; 32])> {
    let bytes = audit(unit);
    let chain = AuditChain::decode(&bytes).unwrap();
    let mut hash = chain.before;
    let mut hashes = Vec::new();
    let mut counters = std::collections::BTreeMap::new();
    for (record, bytes) in chain.records().zip(chain.record_bytes()) {
        hash = Sha256::new().chain_update(hash).chain_update(bytes).finalize().into();
        hashes.push((record.sequence, hash));
        // Of the records with one transaction counter, only the first may be of an executed command: later ones are of
        // refusals that did not increment it.
        if record.kind != AuditKind::Command {
            continue;
        }
        let first = *counters.entry(record.transaction_counter).or_insert(record.sequence);
        assert!(first == record.sequence || record.return_code != 0, "a counter was used twice");
    }
    assert_eq!(hash, with_domain(unit, |info| info.audit_head));
    hashes
}

/// A fixture before a step of the ceremony, the steps to execute, and the states before each of them and after the last.
///
/// Importer keys are volatile: for an import, the fixture is before the command that generates the importer key.
struct Stage {
    fixture: Fixture,
    steps: &'static [AdminCommand],
    before: Vec<Kept>,
    writes: usize,
}

fn stages(fixture: &Fixture) -> Vec<Stage> {
    let mut unit = fixture.start();
    let mut stages = Vec::new();
    let mut at = 0;
    while at < CEREMONY.len() {
        let len = if CEREMONY[at] == GenerateImporterKey { 2 } else { 1 };
        let steps = &CEREMONY[at..at + len];
        let stage_fixture = fixture.copy();
        let begun = fixture.disk.writes();
        let mut before = vec![kept(&mut unit)];
        for step in steps {
            take(&mut unit, *step).unwrap();
            before.push(kept(&mut unit));
        }
        stages.push(Stage { fixture: stage_fixture, steps, before, writes: fixture.disk.writes() - begun });
        at += len;
    }
    stages
}

#[test]
fn an_undisturbed_ceremony_survives_a_restart_after_every_step() {
    for fixture in Fixture::of_both_kinds() {
        for stage in stages(&fixture) {
            let found = kept(&mut stage.fixture.start());
            assert_eq!(found, stage.before[0], "{:?}", stage.steps);
            assert_eq!(stage.fixture.device.persisted(), found.state.master_keys());
        }
        let mut unit = fixture.start();
        checked_chain(&mut unit);
        assert_eq!((fixture.device.live(), fixture.device.persisted()), (0, 0));
    }
}

#[test]
fn power_that_goes_at_any_write_leaves_before_or_after() {
    let tears = [0, 1, 20, 40, MAX_SLOT_LEN / 2, MAX_SLOT_LEN - 1];
    let faults = [Fault::CutBefore, Fault::CutAfter, Fault::Truncated(1)];
    let faults: Vec<_> = faults.into_iter().chain(tears.map(Fault::Torn)).collect();
    for fixture in Fixture::of_both_kinds() {
        for stage in stages(&fixture) {
            for fault in &faults {
                for nth in 0..stage.writes {
                    crash_at(&stage, nth, *fault);
                }
            }
        }
    }
}

fn crash_at(stage: &Stage, nth: usize, fault: Fault) {
    let (steps, fixture) = (stage.steps, stage.fixture.copy());
    let mut unit = fixture.start();
    let chain_before = checked_chain(&mut unit);
    fixture.disk.plan(fixture.disk.writes() + nth, fault);
    let mut taken = 0;
    for step in steps {
        if take(&mut unit, *step).is_err() {
            break;
        }
        taken += 1;
    }
    // If only the last write, which erases the old slot, failed, the step was answered as executed.
    let answered = taken;
    drop(unit);
    fixture.disk.repair();
    let mut unit = fixture.start();
    let found = kept(&mut unit);
    let context = format!("{fault:?} at write {nth} of {steps:?}: {found:?}");
    let acknowledged = &stage.before[answered];
    assert!(found.state.transaction_counter >= acknowledged.state.transaction_counter, "{context}");
    let allowed = &stage.before[answered..(answered + 2).min(stage.before.len())];
    assert!(allowed.iter().any(|state| shape(state) == shape(&found)), "{context}");
    let chain = checked_chain(&mut unit);
    let common: Vec<_> = chain.iter().filter(|(n, _)| chain_before.iter().any(|(m, _)| m == n)).collect();
    assert!(common.iter().all(|link| chain_before.contains(link)), "{context}: the chain was rewritten");
    // Only a key that was made for a lost write can be unreferenced.
    let orphans = fixture.device.persisted() - found.state.master_keys();
    let was_before = answered < steps.len() && shape(&found) == shape(&stage.before[answered]);
    let made_one = matches!(steps.get(answered), Some(ImportKeyParts | GenerateMasterKey));
    assert!(orphans <= usize::from(was_before && made_one), "{context}");
    // The ceremony can be continued; the importer key, which is volatile, is generated again.
    if shape(&found) != shape(stage.before.last().unwrap()) {
        for step in steps {
            take(&mut unit, *step).unwrap();
        }
    }
    let after = stage.before.last().unwrap();
    assert_eq!(kept(&mut unit).state.master_keys(), after.state.master_keys(), "{context}");
    assert!(fixture.device.persisted() <= after.state.master_keys() + orphans, "{context}");
    checked_chain(&mut unit);
}

#[test]
fn a_write_that_fails_changes_nothing_and_the_step_can_be_taken_again() {
    for fault in [Fault::Refused, Fault::Unconfirmed] {
        for count in 1..=5 {
            for fixture in Fixture::of_both_kinds() {
                for stage in stages(&fixture) {
                    for nth in 0..stage.writes {
                        fail_at(&stage, nth, count, fault);
                    }
                }
            }
        }
    }
}

fn fail_at(stage: &Stage, nth: usize, count: usize, fault: Fault) {
    let fixture = stage.fixture.copy();
    let mut unit = fixture.start();
    fixture.disk.plan_many(fixture.disk.writes() + nth, count, fault);
    for (taken, step) in stage.steps.iter().enumerate() {
        let context = format!("{count} × {fault:?} at write {nth} of {:?}", stage.steps);
        let mut attempts = 0;
        while let Err(refused) = take(&mut unit, *step) {
            assert_eq!(refused, UnitError::StorageFailed, "{context}");
            assert_eq!(shape(&kept(&mut unit)), shape(&stage.before[taken]), "{context}");
            attempts += 1;
            assert!(attempts <= count, "{context}: still refused");
        }
        // If a slot could not be erased, the unit reports an error; each query retries.
        let asked = (0..count).take_while(|_| status(&mut unit).condition != Condition::Operational).count();
        assert!(asked < count, "{context}");
        let after = &stage.before[taken + 1];
        assert_eq!(shape(&kept(&mut unit)), shape(after), "{context}");
        let keys = after.state.master_keys();
        assert_eq!((fixture.device.live(), fixture.device.persisted()), (3 * keys, keys), "{context}");
    }
    checked_chain(&mut unit);
    drop(unit);
    assert_eq!(shape(&kept(&mut fixture.start())), shape(stage.before.last().unwrap()));
}

/// A cleared key that is still in a slot is reported.
#[test]
fn a_slot_that_cannot_be_tidied_up_takes_the_unit_out_of_service_until_it_can() {
    for clear in [ClearNew, ClearCurrent, ActivateNew, Zeroize] {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.rotating();
        let asked = request(&mut unit, clear);
        // The new state key and the new state are written; nothing more.
        fixture.disk.plan_many(fixture.disk.writes() + 2, 1000, Fault::Refused);
        send(&mut unit, &asked).unwrap();
        let out_of_service = Condition::Error(UnitError::StorageFailed as u16);
        assert_eq!(status(&mut unit).condition, out_of_service, "{clear:?}");
        assert_eq!(refusal(&mut unit, Command::GenerateRandom { len: 1 }), UnitError::ErrorState);
        assert_eq!(with_domain(&mut unit, |info| info.condition), out_of_service);
        fixture.disk.repair();
        assert_eq!(status(&mut unit).condition, Condition::Operational, "{clear:?}");
        execute(&mut unit, Command::GenerateRandom { len: 1 }).unwrap();
        let after = lasting(&mut unit);
        for damaged in Slot::ALL {
            let other = fixture.copy();
            other.disk.set_content(damaged, vec![0; 7]);
            assert_eq!(lasting(&mut other.start()), after, "{clear:?}");
        }
    }
}

#[test]
fn zeroize_does_away_with_a_key_whose_load_has_no_known_end() {
    for fault in [Fault::Refused, Fault::Unconfirmed] {
        // The write of the load and its repair fail; with a higher count, writes of the zeroize fail, too.
        for failing in 2..6 {
            for fixture in Fixture::of_both_kinds() {
                let mut unit = fixture.ready();
                fixture.disk.plan_many(fixture.disk.writes(), failing, fault);
                let refused = run(&mut unit, GenerateMasterKey, b"");
                assert_eq!(refused, Err(UnitError::StorageFailed));
                let failed = (0..).take_while(|_| take(&mut unit, Zeroize).is_err()).count();
                assert!(failed < failing, "{fault:?}, {failing} times");
                while status(&mut unit).condition != Condition::Operational {}
                assert_eq!(lasting(&mut unit).master_keys(), 0);
                let left = (fixture.device.live(), fixture.device.persisted());
                assert_eq!(left, (0, 0), "{fault:?}, {failing} times");
            }
        }
    }
}

#[test]
fn a_restart_while_the_end_of_a_write_is_unknown_finds_a_whole_state() {
    for fault in [Fault::Refused, Fault::Unconfirmed] {
        for stage in stages(&Fixture::quick(1)) {
            for nth in 0..stage.writes {
                let fixture = stage.fixture.copy();
                let mut unit = fixture.start();
                // The write and its repair fail.
                fixture.disk.plan_many(fixture.disk.writes() + nth, 2, fault);
                let refused = stage.steps.iter().position(|step| take(&mut unit, *step).is_err());
                let Some(taken) = refused else { continue };
                drop(unit);
                fixture.disk.repair();
                let mut unit = fixture.start();
                let found = kept(&mut unit);
                let last = if fault == Fault::Refused { taken } else { taken + 1 };
                let expected = &stage.before[taken..=last];
                assert!(expected.iter().any(|state| shape(state) == shape(&found)), "{fault:?}: {found:?}");
                checked_chain(&mut unit);
            }
        }
    }
}

#[test]
fn a_key_that_is_cleared_is_in_no_slot_any_more() {
    for step in [ClearNew, ClearCurrent, ActivateNew, Zeroize] {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.rotating();
        take(&mut unit, step).unwrap();
        let after = lasting(&mut unit);
        for damaged in Slot::ALL {
            let content = fixture.disk.content(damaged);
            fixture.disk.set_content(damaged, vec![0; 7]);
            let found = lasting(&mut fixture.start());
            assert_eq!(found, after, "{step:?}: {damaged:?} was the only slot with the state after");
            fixture.disk.set_content(damaged, content);
        }
    }
}

#[test]
fn every_damaged_byte_of_the_newest_slot_is_noticed() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.ready();
    let before = lasting(&mut unit);
    drop(unit);
    for slot in Slot::ALL {
        // Every bit of the header and the checksum, and some of the content.
        let bytes =
            (0..100).chain((100..MAX_SLOT_LEN - 64).step_by(41)).chain(MAX_SLOT_LEN - 64..MAX_SLOT_LEN);
        for byte in bytes {
            let content = fixture.disk.content(slot);
            let mut damaged = content.clone();
            damaged[byte] ^= 0x04;
            fixture.disk.set_content(slot, damaged);
            let mut unit = fixture.start();
            let found = lasting(&mut unit);
            assert!(found.transaction_counter >= before.transaction_counter - 1, "{slot:?}, byte {byte}");
            drop(unit);
            fixture.disk.set_content(slot, content);
        }
    }
}

#[test]
fn both_slots_damaged_is_an_error_state_that_only_zeroize_ends() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.ready();
    let before = lasting(&mut unit);
    drop(unit);
    for slot in Slot::ALL {
        fixture.disk.set_content(slot, vec![0x55; MAX_SLOT_LEN]);
    }
    let after = only_zeroize_helps(&fixture);
    assert!(after.domain_instance > before.domain_instance);
    assert!(after.transaction_counter > before.transaction_counter);
}

/// The checksum of a slot has no key: an attacker with write access to the disk can set any sequence number.
#[test]
fn a_forged_number_keeps_no_unit_from_being_zeroized() {
    for forged in [u64::MAX, u64::from(u32::MAX), u64::from(u32::MAX) - 2] {
        let fixture = Fixture::quick(1);
        let mut unit = fixture.ready();
        let before = lasting(&mut unit);
        drop(unit);
        let mut content = fixture.disk.content(Slot::A);
        content[10..18].copy_from_slice(&forged.to_be_bytes());
        let (dated, checksum) = content.split_at_mut(MAX_SLOT_LEN - 32);
        fixture
            .device
            .power_on(&fixture.disk, false)
            .digest(DigestMechanism::Sha256, dated, checksum)
            .unwrap();
        fixture.disk.set_content(Slot::A, content);
        let after = only_zeroize_helps(&fixture);
        assert!(after.domain_instance > before.domain_instance, "{forged:#x}");
        assert!(after.transaction_counter > before.transaction_counter, "{forged:#x}");
        let mut unit = fixture.start();
        for _ in 0..3 {
            zeroize(&mut unit);
        }
    }
}

#[test]
fn a_state_sealed_by_another_engine_is_refused() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.ready();
    let before = lasting(&mut unit);
    drop(unit);
    let other = Fixture { device: Fixture::quick(2).device, ..fixture };
    let after = only_zeroize_helps(&other);
    // No slot could be opened, but the new sequence numbers are above all used ones.
    assert!(after.domain_instance > before.domain_instance);
    assert!(after.transaction_counter > before.transaction_counter);
}

#[test]
fn a_state_of_another_identity_is_refused() {
    type Change = fn(&mut Fixture);
    let changes: [Change; 3] = [
        |other| other.identity.domain_index += 1,
        |other| other.identity.instance.0[0] ^= 1,
        |other| other.identity.unit.0[0] ^= 1,
    ];
    for change in changes {
        let fixture = Fixture::quick(1);
        drop(fixture.ready());
        let mut other = fixture.clone();
        change(&mut other);
        only_zeroize_helps(&other);
        assert_eq!(fixture.device.persisted(), 0, "zeroize forgot what the other identity's state named");
    }
}

#[test]
fn a_state_whose_master_key_is_gone_is_refused() {
    let [_, fixture] = Fixture::of_both_kinds();
    drop(fixture.ready());
    let [_, Fixture { device, .. }] = Fixture::of_both_kinds();
    let emptied = Fixture { device, ..fixture };
    only_zeroize_helps(&emptied);
}

#[test]
fn storage_that_cannot_be_read_is_an_error_state_and_not_a_new_unit() {
    let fixture = Fixture::quick(1);
    let mut unit = fixture.ready();
    let before = lasting(&mut unit);
    drop(unit);
    fixture.disk.fail_reads();
    let mut unit = fixture.start();
    assert_eq!(status(&mut unit).condition, Condition::Error(UnitError::StorageFailed as u16));
    // The stored state may become readable again, with administrators who did not sign.
    assert_eq!(run(&mut unit, Zeroize, b""), Err(UnitError::ErrorState));
    drop(unit);
    fixture.disk.repair();
    assert_eq!(lasting(&mut fixture.start()), before);
}

#[test]
fn zeroize_of_a_unit_without_state_survives_power_that_goes_at_any_write() {
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::Torn(50), Fault::Refused, Fault::Unconfirmed] {
        for nth in 0..2 {
            let fixture = Fixture::quick(1);
            drop(fixture.ready());
            let other = Fixture { device: Fixture::quick(2).device, ..fixture };
            let mut unit = other.start();
            other.disk.plan(other.disk.writes() + nth, fault);
            assert_eq!(run(&mut unit, Zeroize, b""), Err(UnitError::StorageFailed));
            other.disk.repair();
            zeroize(&mut unit);
            let after = lasting(&mut unit);
            drop(unit);
            assert_eq!(lasting(&mut other.start()), after);
        }
    }
}

/// Checks that a unit executes only status, three queries and zeroize, and works after the zeroize. Returns its state.
fn only_zeroize_helps(fixture: &Fixture) -> Lasting {
    let mut unit = fixture.start();
    let shown = status(&mut unit);
    assert_eq!(shown.condition, Condition::Error(UnitError::StateInvalid as u16));
    assert_eq!((shown.domain_instance, shown.transaction_counter), (0, 0));
    assert_eq!(fixture.device.live(), 0);
    assert_eq!(refusal(&mut unit, Command::GenerateRandom { len: 1 }), UnitError::ErrorState);
    for command in AdminCommand::ALL {
        let answered =
            [AdminCommand::QueryDomain, AdminCommand::QueryDeviceCertificate, AdminCommand::QueryAudit];
        if *command == Zeroize {
            continue;
        }
        let expected = if answered.contains(command) { None } else { Some(UnitError::ErrorState) };
        assert_eq!(administer(&mut unit, *command, b"", &[]).err(), expected, "{command:?}");
    }
    assert_eq!(try_load(&mut unit, &PARTS).unwrap_err(), UnitError::ErrorState);
    zeroize(&mut unit);
    let after = lasting(&mut unit);
    assert_eq!(after.master_keys(), 0);
    drop(unit);
    let mut unit = fixture.start();
    assert_eq!(lasting(&mut unit), after);
    checked_chain(&mut unit);
    secure(&mut unit, 1, attributes(1, 1, Permissions::first()));
    after
}
