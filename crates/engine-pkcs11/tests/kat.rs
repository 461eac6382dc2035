//! Published vectors on a token: the same vectors as for the software engine.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "../../engine-soft/tests/vectors/mod.rs"]
mod vectors;

use common::on_token;
use engine::Engine;
use engine_pkcs11::{DeviceKeyMode, Pkcs11Engine};

fn run_on_token(name: &str, run: fn(&mut dyn Engine)) {
    on_token(name, |token| {
        run(&mut Pkcs11Engine::open(token, "one", DeviceKeyMode::CreateIfMissing).unwrap())
    });
}

#[test]
fn kat_aes_kw_rfc3394() {
    run_on_token("kat_aes_kw_rfc3394", vectors::aes_kw_rfc3394);
}

#[test]
fn kat_aes_kwp_rfc5649() {
    run_on_token("kat_aes_kwp_rfc5649", vectors::aes_kwp_rfc5649);
}

#[test]
fn kat_aes_kw_wycheproof() {
    run_on_token("kat_aes_kw_wycheproof", vectors::aes_kw_wycheproof);
}

#[test]
fn kat_aes_kwp_wycheproof() {
    run_on_token("kat_aes_kwp_wycheproof", vectors::aes_kwp_wycheproof);
}

#[test]
fn kat_aes_gcm_wycheproof() {
    run_on_token("kat_aes_gcm_wycheproof", vectors::aes_gcm_wycheproof);
}

#[test]
fn kat_aes_cmac_wycheproof() {
    run_on_token("kat_aes_cmac_wycheproof", vectors::aes_cmac_wycheproof);
}

#[test]
fn kat_hmac_sha256_wycheproof() {
    run_on_token("kat_hmac_sha256_wycheproof", vectors::hmac_sha256_wycheproof);
}

#[test]
fn kat_sp800_108_counter_cmac() {
    run_on_token("kat_sp800_108_counter_cmac", vectors::sp800_108_counter_cmac);
}
