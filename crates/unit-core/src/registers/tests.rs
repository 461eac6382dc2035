//! The whole table, cell by cell.

use super::{RegisterCommand, Registers};
use crate::master_key::MasterKey;
use std::format;
use std::string::String;
use std::vec::Vec;
use unit_api::{UnitError, VerificationPattern};

const CURRENT: u8 = 1;
const NEW: u8 = 2;
const OTHER: u8 = 3;

fn key(n: u8) -> MasterKey {
    MasterKey::for_test(n)
}

fn pattern(n: u8) -> VerificationPattern {
    key(n).pattern
}

fn states() -> [Registers; 6] {
    let (current, new) = (key(CURRENT), key(NEW));
    [
        Registers::Empty,
        Registers::Loaded { new: new.clone() },
        Registers::Approved { new: new.clone() },
        Registers::Ready { current: current.clone() },
        Registers::RotationLoaded { current: current.clone(), new: new.clone() },
        Registers::RotationApproved { current, new },
    ]
}

/// A state's number with the keys it holds, as `S4(1,2)`.
fn shown(state: &Registers) -> String {
    let number = match state {
        Registers::Empty => 0,
        Registers::Loaded { .. } => 1,
        Registers::Approved { .. } => 2,
        Registers::Ready { .. } => 3,
        Registers::RotationLoaded { .. } => 4,
        Registers::RotationApproved { .. } => 5,
    };
    let keys: Vec<String> = state.keys().map(|k| format!("{}", k.handle.to_raw() / 3)).collect();
    format!("S{number}({})", keys.join(","))
}

fn outcome(state: &Registers, command: &RegisterCommand) -> String {
    match state.after(command) {
        Ok(next) => shown(&next),
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[test]
fn exhaustive_states_and_commands() {
    use RegisterCommand::{Activate, ClearCurrent, ClearNew, Commit, Generate, Load};
    type Row = (&'static str, fn() -> RegisterCommand, [&'static str; 6]);
    const FULL: &str = "NewNotEmpty";
    const MISSING: &str = "NewMissing";
    const MISMATCH: &str = "PatternMismatch";
    const EARLY: &str = "NewNotCommitted";
    let table: [Row; 12] = [
        ("load another", || Load(key(OTHER)), ["S1(3)", FULL, FULL, "S4(1,3)", FULL, FULL]),
        ("load Current's", || Load(key(CURRENT)), ["S1(1)", FULL, FULL, "SameAsCurrent", FULL, FULL]),
        ("load New's", || Load(key(NEW)), ["S1(2)", FULL, FULL, "S4(1,2)", FULL, FULL]),
        ("generate", || Generate(key(OTHER)), ["S3(3)", FULL, FULL, "S4(1,3)", FULL, FULL]),
        ("commit New's", || Commit(pattern(NEW)), [MISSING, "S2(2)", "S2(2)", MISSING, "S5(1,2)", "S5(1,2)"]),
        (
            "commit Current's",
            || Commit(pattern(CURRENT)),
            [MISSING, MISMATCH, MISMATCH, MISSING, MISMATCH, MISMATCH],
        ),
        (
            "commit another",
            || Commit(pattern(OTHER)),
            [MISSING, MISMATCH, MISMATCH, MISSING, MISMATCH, MISMATCH],
        ),
        ("activate New's", || Activate(pattern(NEW)), [MISSING, EARLY, "S3(2)", MISSING, EARLY, "S3(2)"]),
        (
            "activate Current's",
            || Activate(pattern(CURRENT)),
            [MISSING, EARLY, MISMATCH, "S3(1)", EARLY, MISMATCH],
        ),
        (
            "activate another",
            || Activate(pattern(OTHER)),
            [MISSING, EARLY, MISMATCH, MISSING, EARLY, MISMATCH],
        ),
        ("clear New", || ClearNew, ["S0()", "S0()", "S0()", "S3(1)", "S3(1)", "S3(1)"]),
        ("clear Current", || ClearCurrent, ["S0()", "S1(2)", "S2(2)", "S0()", "S1(2)", "S2(2)"]),
    ];
    for (name, command, expected) in table {
        for (state, expected) in states().iter().zip(expected) {
            assert_eq!(outcome(state, &command()), expected, "{name} in {}", shown(state));
        }
    }
}

#[test]
fn exhaustive_states_and_the_data_path() {
    let serving: Vec<_> = states().iter().map(|s| s.serving().map(|k| k.handle.to_raw() / 3)).collect();
    let none = Err(UnitError::WkNotInitialized);
    assert_eq!(serving, [none, none, none, Ok(1), Ok(1), Ok(1)]);
    let re_enciphering: Vec<_> = states()
        .iter()
        .map(|s| s.re_enciphering().map(|(from, to)| (from.handle.to_raw() / 3, to.handle.to_raw() / 3)))
        .collect();
    let no_current = Err(UnitError::CurrentMissing);
    assert_eq!(
        re_enciphering,
        [
            no_current,
            no_current,
            no_current,
            Err(UnitError::NewMissing),
            Err(UnitError::NewNotCommitted),
            Ok((1, 2)),
        ]
    );
}

#[test]
fn exhaustive_room_is_refused_exactly_where_loading_is() {
    for state in states() {
        let loaded = state.after(&RegisterCommand::Load(key(OTHER))).map(|_| ());
        assert_eq!(state.check_room(), loaded, "{}", shown(&state));
    }
}

#[test]
fn activation_removes_the_replaced_key() {
    let [.., rotated] = states();
    let next = rotated.after(&RegisterCommand::Activate(pattern(NEW))).unwrap();
    let gone: Vec<_> = rotated.keys_removed_in(&next).map(|k| k.handle.to_raw() / 3).collect();
    assert_eq!(gone, [u32::from(CURRENT)]);
}
