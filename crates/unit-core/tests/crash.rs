//! Power that goes at any write, and storage that lies: before or after, never between.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::disk::Fault;
use common::{
    Answer, Bench, BenchEnv, Lasting, OTHER_PARTS, PARTS, THIRD_PARTS, done, execute, lasting, refusal,
    status,
};
use engine::{DigestMechanism, Engine};
use unit_api::{Command, Condition, NewRegister, UnitError};
use unit_core::{MAX_SLOT_LEN, Slot, Unit};

/// One step of a ceremony; patterns are taken from the register.
#[derive(Clone, Copy, Debug)]
enum Step {
    Load(&'static [u8]),
    Generate,
    Commit,
    Activate,
    ClearNew,
    ClearCurrent,
    Zeroize,
}

/// Through every state, and out of every state that holds a key.
const CEREMONY: [Step; 21] = [
    Step::Load(&PARTS),
    Step::Commit,
    Step::Activate,
    Step::Load(&OTHER_PARTS),
    Step::ClearNew,
    Step::Load(&OTHER_PARTS),
    Step::Commit,
    Step::Activate,
    Step::Load(&THIRD_PARTS),
    Step::Commit,
    Step::ClearCurrent,
    Step::Activate,
    Step::ClearCurrent,
    Step::Generate,
    Step::Generate,
    Step::Commit,
    Step::Commit,
    Step::Zeroize,
    Step::Generate,
    Step::Zeroize,
    Step::Zeroize,
];

fn take(unit: &mut Unit<BenchEnv>, step: Step) -> Result<Answer, UnitError> {
    let pattern = match status(unit).new {
        NewRegister::FullUncommitted(pattern) | NewRegister::FullCommitted(pattern) => Some(pattern),
        NewRegister::Empty => None,
    };
    let command = match step {
        Step::Load(parts) => Command::LoadKeyParts { parts },
        Step::Generate => Command::GenerateMasterKey,
        Step::Commit => Command::Commit { pattern: pattern.unwrap() },
        Step::Activate => Command::Activate { pattern: pattern.unwrap() },
        Step::ClearNew => Command::ClearNew,
        Step::ClearCurrent => Command::ClearCurrent,
        Step::Zeroize => Command::Zeroize,
    };
    execute(unit, command).map_err(|refusal| refusal.unit_error().unwrap())
}

/// The states of an undisturbed ceremony, the first before its first step, and the number of its writes.
fn undisturbed() -> (Vec<Lasting>, usize) {
    let bench = Bench::new(1);
    let mut unit = bench.start();
    let mut states = vec![lasting(&mut unit)];
    for step in CEREMONY {
        take(&mut unit, step).unwrap();
        states.push(lasting(&mut unit));
        assert_eq!(bench.device.persisted(), states.last().unwrap().master_keys(), "{step:?}");
        assert_eq!(bench.device.live(), 3 * states.last().unwrap().master_keys(), "{step:?}");
    }
    (states, bench.disk.writes())
}

#[test]
fn an_undisturbed_ceremony_survives_a_restart_after_every_step() {
    let bench = Bench::new(1);
    let mut unit = bench.start();
    for step in CEREMONY {
        take(&mut unit, step).unwrap();
        let before = lasting(&mut unit);
        drop(unit);
        unit = bench.start();
        assert_eq!(lasting(&mut unit), before, "{step:?}");
        assert_eq!(bench.device.persisted(), before.master_keys());
    }
}

#[test]
fn power_that_goes_at_any_write_leaves_before_or_after() {
    let (states, writes) = undisturbed();
    let tears = [0, 1, 9, 20, 40, 200, MAX_SLOT_LEN / 2, MAX_SLOT_LEN - 1];
    let faults = [Fault::CutBefore, Fault::CutAfter, Fault::Truncated(1), Fault::Truncated(100)]
        .into_iter()
        .chain(tears.map(Fault::Torn));
    for fault in faults {
        for nth in 0..writes {
            for bench in Bench::of_both_kinds() {
                crash_at(&bench, &states, nth, fault);
            }
        }
    }
}

fn crash_at(bench: &Bench, states: &[Lasting], nth: usize, fault: Fault) {
    bench.disk.plan(nth, fault);
    let mut unit = bench.start();
    if status(&mut unit).condition != Condition::Operational {
        assert!(nth < 2, "the start ended at write {nth}");
        bench.disk.repair();
        assert_eq!(lasting(&mut bench.start()), states[0], "{fault:?} at write {nth}");
        return;
    }
    // Where the last write only tidied up, the step was answered as done, and the next one meets the power gone.
    let mut taken = 0;
    let refused = CEREMONY.iter().find_map(|step| {
        let refused = take(&mut unit, *step).err();
        taken += usize::from(refused.is_none());
        refused
    });
    let Some(refused) = refused else {
        assert_eq!(nth + 1, bench.disk.writes(), "{fault:?} at write {nth} was not noticed");
        return;
    };
    assert_eq!(refused, UnitError::StorageFailed);
    assert_eq!(shape(&lasting(&mut unit)), shape(&states[taken]));
    drop(unit);
    bench.disk.repair();
    let mut unit = bench.start();
    let found = lasting(&mut unit);
    let acknowledged = states[taken].transaction_counter;
    assert!(found.transaction_counter >= acknowledged, "an acknowledged step was lost");
    let expected: Vec<_> = states[taken..taken + 2].iter().map(shape).collect();
    assert!(
        expected.contains(&shape(&found)),
        "{fault:?} at write {nth}: {found:?} is neither of {expected:?}"
    );
    // A key made for a write of which nothing is left is the only one that nobody can know of.
    let orphans = bench.device.persisted() - found.master_keys();
    let was_before = found.transaction_counter == acknowledged;
    let made_one = matches!(CEREMONY[taken], Step::Load(_) | Step::Generate);
    assert_eq!(orphans, usize::from(was_before && made_one && orphans > 0), "{fault:?} at write {nth}");
    // The ceremony can be taken up where it stopped.
    for step in &CEREMONY[taken + usize::from(!was_before)..] {
        take(&mut unit, *step).unwrap();
    }
    assert_eq!(shape(&lasting(&mut unit)), shape(states.last().unwrap()));
    assert!(bench.device.persisted() <= orphans);
}

/// A state without the patterns of random keys, which differ from run to run.
fn shape(state: &Lasting) -> (u32, u128, bool, Option<bool>) {
    let Lasting { domain_instance, transaction_counter, current, new } = state;
    (*domain_instance, *transaction_counter, current.is_some(), new.map(|(committed, _)| committed))
}

#[test]
fn a_write_that_fails_changes_nothing_and_the_step_can_be_taken_again() {
    let (states, writes) = undisturbed();
    for fault in [Fault::Refused, Fault::Unconfirmed] {
        for count in 1..=3 {
            for nth in 2..writes {
                for bench in Bench::of_both_kinds() {
                    let mut unit = bench.start();
                    bench.disk.plan_many(nth, count, fault);
                    for (taken, step) in CEREMONY.iter().enumerate() {
                        let mut attempts = 0;
                        while let Err(refused) = take(&mut unit, *step) {
                            assert_eq!(refused, UnitError::StorageFailed);
                            assert_eq!(shape(&lasting(&mut unit)), shape(&states[taken]));
                            attempts += 1;
                            assert!(attempts <= count, "{fault:?} at write {nth}: still refused");
                        }
                        assert_eq!(shape(&lasting(&mut unit)), shape(&states[taken + 1]));
                        let keys = states[taken + 1].master_keys();
                        assert_eq!(bench.device.live(), 3 * keys, "{fault:?} at write {nth}");
                        assert_eq!(bench.device.persisted(), keys, "{fault:?} at write {nth}, {step:?}");
                    }
                    assert_eq!(shape(&lasting(&mut bench.start())), shape(states.last().unwrap()));
                }
            }
        }
    }
}

#[test]
fn zeroize_does_away_with_a_key_whose_load_has_no_known_end() {
    for fault in [Fault::Refused, Fault::Unconfirmed] {
        // The load's write and the attempt to settle it fail; with more, so do writes of the zeroize.
        for failing in 2..6 {
            for bench in Bench::of_both_kinds() {
                let mut unit = bench.ready();
                bench.disk.plan_many(bench.disk.writes(), failing, fault);
                let load = Command::LoadKeyParts { parts: &OTHER_PARTS };
                assert_eq!(refusal(&mut unit, load), UnitError::StorageFailed);
                let failed = (0..).take_while(|_| take(&mut unit, Step::Zeroize).is_err()).count();
                assert!(failed < failing, "{fault:?}, {failing} times");
                assert_eq!(lasting(&mut unit).master_keys(), 0);
                assert_eq!(
                    (bench.device.live(), bench.device.persisted()),
                    (0, 0),
                    "{fault:?}, {failing} times"
                );
            }
        }
    }
}

#[test]
fn a_restart_while_the_end_of_a_write_is_unknown_finds_a_whole_state() {
    let (states, writes) = undisturbed();
    for fault in [Fault::Refused, Fault::Unconfirmed] {
        for nth in 2..writes {
            let bench = Bench::new(1);
            let mut unit = bench.start();
            // The attempt to settle it fails as well.
            bench.disk.plan_many(nth, 2, fault);
            let refused = CEREMONY.iter().position(|step| take(&mut unit, *step).is_err());
            let Some(taken) = refused else { continue };
            drop(unit);
            bench.disk.repair();
            let found = lasting(&mut bench.start());
            let expected =
                if fault == Fault::Refused { &states[taken..=taken] } else { &states[taken..taken + 2] };
            assert!(expected.iter().any(|state| shape(state) == shape(&found)), "{fault:?} at write {nth}");
        }
    }
}

#[test]
fn a_key_that_is_cleared_is_in_no_slot_any_more() {
    for step in [Step::ClearNew, Step::ClearCurrent, Step::Activate, Step::Zeroize] {
        let bench = Bench::new(1);
        let mut unit = bench.rotating();
        take(&mut unit, step).unwrap();
        let after = lasting(&mut unit);
        for damaged in Slot::ALL {
            let content = bench.disk.content(damaged);
            bench.disk.set_content(damaged, vec![0; 7]);
            let found = lasting(&mut bench.start());
            assert_eq!(found, after, "{step:?}: {damaged:?} was the only slot with the state after");
            bench.disk.set_content(damaged, content);
        }
    }
}

#[test]
fn every_damaged_byte_of_the_newest_slot_is_noticed() {
    let bench = Bench::new(1);
    let mut unit = bench.ready();
    let before = lasting(&mut unit);
    drop(unit);
    for slot in Slot::ALL {
        for byte in 0..MAX_SLOT_LEN {
            let content = bench.disk.content(slot);
            let mut damaged = content.clone();
            damaged[byte] ^= 0x04;
            bench.disk.set_content(slot, damaged);
            let mut unit = bench.start();
            let found = lasting(&mut unit);
            assert!(found.transaction_counter >= before.transaction_counter - 1, "{slot:?}, byte {byte}");
            drop(unit);
            bench.disk.set_content(slot, content);
        }
    }
}

#[test]
fn both_slots_damaged_is_an_error_state_that_only_zeroize_ends() {
    let bench = Bench::new(1);
    let mut unit = bench.ready();
    let before = lasting(&mut unit);
    drop(unit);
    for slot in Slot::ALL {
        bench.disk.set_content(slot, vec![0x55; MAX_SLOT_LEN]);
    }
    let after = only_zeroize_helps(&bench, UnitError::StateInvalid);
    assert!(after.domain_instance > before.domain_instance);
    assert!(after.transaction_counter > before.transaction_counter);
}

/// The checksum of a slot is no secret's: whoever can write to the disk can give a slot any number.
#[test]
fn a_forged_number_keeps_no_unit_from_being_zeroized() {
    for forged in [u64::MAX, u64::from(u32::MAX), u64::from(u32::MAX) - 2] {
        let bench = Bench::new(1);
        let mut unit = bench.ready();
        let before = lasting(&mut unit);
        drop(unit);
        let mut content = bench.disk.content(Slot::A);
        content[10..18].copy_from_slice(&forged.to_be_bytes());
        let (dated, checksum) = content.split_at_mut(MAX_SLOT_LEN - 32);
        bench.device.power_on().digest(DigestMechanism::Sha256, dated, checksum).unwrap();
        bench.disk.set_content(Slot::A, content);
        let after = only_zeroize_helps(&bench, UnitError::StateInvalid);
        assert!(after.domain_instance > before.domain_instance, "{forged:#x}");
        assert!(after.transaction_counter > before.transaction_counter, "{forged:#x}");
        let mut unit = bench.start();
        for _ in 0..3 {
            done(&mut unit, Command::Zeroize);
        }
    }
}

#[test]
fn a_state_sealed_by_another_engine_is_refused() {
    let bench = Bench::new(1);
    let mut unit = bench.ready();
    let before = lasting(&mut unit);
    drop(unit);
    let other = Bench { device: Bench::new(2).device, ..bench };
    let after = only_zeroize_helps(&other, UnitError::StateInvalid);
    // Nothing could be opened, yet the numbers go on above all that were used.
    assert!(after.domain_instance > before.domain_instance);
    assert!(after.transaction_counter > before.transaction_counter);
}

#[test]
fn a_state_of_another_identity_is_refused() {
    let bench = Bench::new(1);
    drop(bench.ready());
    let mut other = bench.clone();
    other.identity.domain_index += 1;
    only_zeroize_helps(&other, UnitError::StateInvalid);
    assert_eq!(bench.device.persisted(), 0, "zeroize forgot what the other identity's state named");
}

#[test]
fn a_state_whose_master_key_is_gone_is_refused() {
    let bench = Bench::new(1);
    drop(bench.ready());
    let emptied = Bench { device: Bench::new(1).device, ..bench };
    only_zeroize_helps(&emptied, UnitError::StateInvalid);
}

#[test]
fn storage_that_cannot_be_read_is_an_error_state_and_not_a_new_unit() {
    let bench = Bench::new(1);
    let mut unit = bench.ready();
    let before = lasting(&mut unit);
    drop(unit);
    bench.disk.fail_reads();
    let mut unit = bench.start();
    assert_eq!(status(&mut unit).condition, Condition::Error(UnitError::StorageFailed as u16));
    assert_eq!(refusal(&mut unit, Command::Zeroize), UnitError::StorageFailed);
    drop(unit);
    bench.disk.repair();
    assert_eq!(lasting(&mut bench.start()), before);
}

#[test]
fn zeroize_of_a_unit_without_state_survives_power_that_goes_at_any_write() {
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::Torn(50), Fault::Refused, Fault::Unconfirmed] {
        for nth in 0..2 {
            let bench = Bench::new(1);
            drop(bench.ready());
            let other = Bench { device: Bench::new(2).device, ..bench };
            let mut unit = other.start();
            other.disk.plan(other.disk.writes() + nth, fault);
            assert_eq!(refusal(&mut unit, Command::Zeroize), UnitError::StorageFailed);
            other.disk.repair();
            done(&mut unit, Command::Zeroize);
            let after = lasting(&mut unit);
            drop(unit);
            assert_eq!(lasting(&mut other.start()), after);
        }
    }
}

/// Checks that a unit answers status and zeroize only, and works after the latter; gives its state then.
fn only_zeroize_helps(bench: &Bench, why: UnitError) -> Lasting {
    let mut unit = bench.start();
    let shown = status(&mut unit);
    assert_eq!(shown.condition, Condition::Error(why as u16));
    assert_eq!((shown.domain_instance, shown.transaction_counter), (0, 0));
    assert_eq!(bench.device.live(), 0);
    for command in
        [Command::GenerateRandom { len: 1 }, Command::LoadKeyParts { parts: &PARTS }, Command::ClearNew]
    {
        assert_eq!(refusal(&mut unit, command), UnitError::ErrorState);
    }
    done(&mut unit, Command::Zeroize);
    let after = lasting(&mut unit);
    assert_eq!(after.master_keys(), 0);
    drop(unit);
    assert_eq!(lasting(&mut bench.start()), after);
    after
}
