//! The laws of every engine, held by this one on SoftHSM.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::on_softhsm;
use engine::conformance::{LAWS, restart};
use engine_pkcs11::{Pkcs11Engine, UnitKeys};

#[test]
fn every_law_holds() {
    on_softhsm("every_law_holds", |softhsm| {
        let (token, _) = softhsm.token();
        for law in LAWS {
            // Shown when the law after it is the last: the broken one.
            println!("{}", law.name);
            law.check(&mut Pkcs11Engine::open(&token, "one", UnitKeys::New).unwrap());
        }
    });
}

#[test]
fn laws_hold_in_one_engine_after_another() {
    on_softhsm("laws_hold_in_one_engine_after_another", |softhsm| {
        let (token, _) = softhsm.token();
        engine::conformance::run(&mut Pkcs11Engine::open(&token, "one", UnitKeys::New).unwrap());
    });
}

#[test]
fn a_restart_changes_nothing() {
    on_softhsm("a_restart_changes_nothing", |softhsm| {
        let (token, _) = softhsm.token();
        let open = |name, keys| Pkcs11Engine::open(&token, name, keys).unwrap();
        let mut before = open("one", UnitKeys::New);
        restart(&mut before, &mut open("one", UnitKeys::Known), &mut open("other", UnitKeys::New));
    });
}
