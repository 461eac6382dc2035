//! The conformance suite on this engine.

use engine::conformance::{LAWS, restart};
use engine::{CipherMechanism, Engine};
use engine_soft::{
    CtrDrbg, DEFAULT_KEYS, DeviceSecret, SoftEngine, StateKeyRecord, StateKeyStore, StateKeyStoreFailed,
    VolatileStateKeys,
};
use rand_core::SeedableRng;
use std::cell::RefCell;
use std::rc::Rc;

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

/// Places that several engines share.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<VolatileStateKeys>>);

impl StateKeyStore for Shared {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.0.borrow_mut().read(place, record)
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        self.0.borrow_mut().write(place, record)
    }
}

fn restarting(device: u8, store: &Shared) -> SoftEngine<CtrDrbg, DEFAULT_KEYS, Shared> {
    let entropy = CtrDrbg::seed_from_u64(device.into());
    SoftEngine::with_state_keys(&DeviceSecret::new([device; 32]), entropy, store.clone()).unwrap()
}

#[test]
fn a_restart_changes_nothing() {
    let store = Shared::default();
    restart(&mut restarting(1, &store), &mut restarting(1, &store), &mut restarting(2, &store));
}

#[test]
fn a_renewed_device_key_survives_a_restart() {
    const GCM: CipherMechanism<'_> = CipherMechanism::AesGcm { iv: &[1; 12], aad: b"" };
    let store = Shared::default();
    let mut before = restarting(1, &store);
    before.renew_device_key().unwrap();
    let mut sealed = [0; 20];
    before.encrypt(GCM, before.device_key(), b"data", &mut sealed).unwrap();
    let mut after = restarting(1, &store);
    assert_eq!(after.decrypt(GCM, after.device_key(), &sealed, &mut [0; 4]), Ok(4));
}

/// A borrowed engine forwards every method.
#[test]
fn a_borrowed_engine_is_the_engine() {
    let store = Shared::default();
    let (mut before, mut after, mut other) =
        (restarting(1, &store), restarting(1, &store), restarting(2, &store));
    engine::conformance::run(&mut &mut engine(1));
    restart(&mut &mut before, &mut &mut after, &mut &mut other);
}
