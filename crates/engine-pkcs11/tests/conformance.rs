//! The conformance suite of engines, on SoftHSM or another token.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::on_token;
use engine::conformance::{LAWS, restart};
use engine_pkcs11::{DeviceKeyMode, Pkcs11Engine};

#[test]
fn every_law_holds() {
    on_token("every_law_holds", |token| {
        for law in LAWS {
            // The last name printed is that of the law that failed.
            println!("{}", law.name);
            law.check(&mut Pkcs11Engine::open(token, "one", DeviceKeyMode::CreateIfMissing).unwrap());
        }
    });
}

#[test]
fn laws_hold_in_one_engine_after_another() {
    on_token("laws_hold_in_one_engine_after_another", |token| {
        engine::conformance::run(
            &mut Pkcs11Engine::open(token, "one", DeviceKeyMode::CreateIfMissing).unwrap(),
        );
    });
}

#[test]
fn a_restart_changes_nothing() {
    on_token("a_restart_changes_nothing", |token| {
        let open = |name, keys| Pkcs11Engine::open(token, name, keys).unwrap();
        let mut before = open("one", DeviceKeyMode::CreateIfMissing);
        restart(
            &mut before,
            &mut open("one", DeviceKeyMode::MustExist),
            &mut open("other", DeviceKeyMode::CreateIfMissing),
        );
    });
}
