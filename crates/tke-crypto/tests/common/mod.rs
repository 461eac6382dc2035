//! Helpers of the tests.

use rand_core::TryCryptoRng;
use std::fs;
use std::path::Path;
use tke_crypto::{RandomFailed, SigningKey};
use unit_testkit::ScriptedRng;

/// Bytes for these hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A file of the fixtures, by its path in their folder.
pub(crate) fn fixture(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path)).unwrap()
}

/// A reproducible generator: xorshift64* (Vigna).
pub(crate) fn generator(seed: u64) -> impl TryCryptoRng<Error = RandomFailed> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    ScriptedRng::new(move |out: &mut [u8]| {
        for byte in out {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *byte = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8;
        }
        Ok(())
    })
}

/// The key generated from this seed.
pub(crate) fn signing_key(seed: u64) -> SigningKey {
    SigningKey::generate(&mut generator(seed)).unwrap()
}
