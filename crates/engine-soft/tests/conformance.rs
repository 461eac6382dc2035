//! The conformance suite on this engine.

use engine::conformance::{LAWS, restart};
use engine_soft::{CtrDrbg, DeviceSecret, SoftEngine};
use rand_core::SeedableRng;

/// An engine whose entropy is a seeded generator.
fn engine(device: u8) -> SoftEngine<CtrDrbg> {
    SoftEngine::new(&DeviceSecret::new([device; 32]), CtrDrbg::seed_from_u64(device.into())).unwrap()
}

#[test]
fn every_law_holds() {
    for law in LAWS {
        // The last name printed is the broken law.
        println!("{}", law.name);
        law.check(&mut engine(1));
    }
}

#[test]
fn laws_hold_in_one_engine_after_another() {
    engine::conformance::run(&mut engine(1));
}

#[test]
fn a_restart_changes_nothing() {
    restart(&mut engine(1), &mut engine(1), &mut engine(2));
}

/// A borrowed engine forwards every method.
#[test]
fn a_borrowed_engine_is_the_engine() {
    let (mut before, mut after, mut other) = (engine(1), engine(1), engine(2));
    engine::conformance::run(&mut &mut before);
    restart(&mut &mut before, &mut &mut after, &mut &mut other);
}
