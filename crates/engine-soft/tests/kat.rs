//! Published vectors through the engine in software.

use crate::vectors;
use engine::Engine;
use engine_soft::{CtrDrbg, DeviceSecret, SoftEngine};
use rand_core::SeedableRng;

fn engine() -> impl Engine {
    SoftEngine::<_>::new(&DeviceSecret::new([1; 32]), CtrDrbg::seed_from_u64(1)).unwrap()
}

#[test]
fn kat_aes_kw_rfc3394() {
    vectors::aes_kw_rfc3394(&mut engine());
}

#[test]
fn kat_aes_kwp_rfc5649() {
    vectors::aes_kwp_rfc5649(&mut engine());
}

#[test]
fn kat_aes_kw_wycheproof() {
    vectors::aes_kw_wycheproof(&mut engine());
}

#[test]
fn kat_aes_kwp_wycheproof() {
    vectors::aes_kwp_wycheproof(&mut engine());
}

#[test]
fn kat_aes_gcm_wycheproof() {
    vectors::aes_gcm_wycheproof(&mut engine());
}

#[test]
fn kat_aes_cmac_wycheproof() {
    vectors::aes_cmac_wycheproof(&mut engine());
}

#[test]
fn kat_hmac_sha256_wycheproof() {
    vectors::hmac_sha256_wycheproof(&mut engine());
}

#[test]
fn kat_sp800_108_counter_cmac() {
    vectors::sp800_108_counter_cmac(&mut engine());
}
