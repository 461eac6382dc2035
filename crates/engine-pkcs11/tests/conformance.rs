//! The laws of every engine, held by this one on SoftHSM, or on any other token.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::on_token;
use engine::conformance::{LAWS, restart};
use engine_pkcs11::{Pkcs11Engine, UnitKeys};

#[test]
fn every_law_holds() {
    on_token("every_law_holds", |token| {
        for law in LAWS {
            // Shown when the law after it is the last: the broken one.
            println!("{}", law.name);
            law.check(&mut Pkcs11Engine::open(token, "one", UnitKeys::New).unwrap());
        }
    });
}

#[test]
fn laws_hold_in_one_engine_after_another() {
    on_token("laws_hold_in_one_engine_after_another", |token| {
        engine::conformance::run(&mut Pkcs11Engine::open(token, "one", UnitKeys::New).unwrap());
    });
}

#[test]
fn a_restart_changes_nothing() {
    on_token("a_restart_changes_nothing", |token| {
        let open = |name, keys| Pkcs11Engine::open(token, name, keys).unwrap();
        let mut before = open("one", UnitKeys::New);
        restart(&mut before, &mut open("one", UnitKeys::Known), &mut open("other", UnitKeys::New));
    });
}
