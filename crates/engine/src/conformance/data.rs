//! Laws of encryption.

use super::support::{FILLER, GCM, aes, assert_refused, destroy, offers_len};
use super::vectors::{self, GCM_AAD, GCM_IV, GCM_PLAINTEXT};
use crate::{AES_GCM_TAG_LEN, CipherMechanism, Engine, EngineError, KeyUses, Mechanism};

const BOTH: KeyUses = KeyUses::ENCRYPT.with(KeyUses::DECRYPT);

pub(super) fn gcm_gives_the_published_values(engine: &mut dyn Engine) {
    let by = CipherMechanism::AesGcm { iv: &GCM_IV, aad: &GCM_AAD };
    for (key, expected) in vectors::GCM {
        if !offers_len(engine, Mechanism::AesGcm, key.len()) {
            continue;
        }
        let key = aes(engine, key, BOTH);
        let mut ciphertext = [FILLER; 80];
        assert_eq!(engine.encrypt(by, key, &GCM_PLAINTEXT, &mut ciphertext), Ok(expected.len()));
        assert_eq!(ciphertext[..76], expected);
        assert_eq!(ciphertext[76..], [FILLER; 4], "bytes beyond the result were written");
        let mut plaintext = [FILLER; 64];
        assert_eq!(engine.decrypt(by, key, &expected, &mut plaintext), Ok(60));
        assert_eq!(plaintext[..60], GCM_PLAINTEXT);
        assert_eq!(plaintext[60..], [FILLER; 4], "bytes beyond the result were written");
        destroy(engine, &[key]);
    }
}

pub(super) fn gcm_takes_every_length(engine: &mut dyn Engine) {
    if !offers_len(engine, Mechanism::AesGcm, 32) {
        return;
    }
    let key = aes(engine, &[1; 32], BOTH);
    for len in 0..80 {
        let (mut ciphertext, mut plaintext) = ([0; 96], [0; 80]);
        let data: [u8; 80] = core::array::from_fn(|at| at as u8);
        assert_eq!(engine.encrypt(GCM, key, &data[..len], &mut ciphertext), Ok(len + AES_GCM_TAG_LEN));
        assert_eq!(engine.decrypt(GCM, key, &ciphertext[..len + AES_GCM_TAG_LEN], &mut plaintext), Ok(len));
        assert_eq!(plaintext[..len], data[..len]);
    }
    destroy(engine, &[key]);
}

pub(super) fn a_tampered_ciphertext_is_refused(engine: &mut dyn Engine) {
    const INVALID: EngineError = EngineError::EncryptedDataInvalid;
    if !offers_len(engine, Mechanism::AesGcm, 32) {
        return;
    }
    let key = aes(engine, &[1; 32], BOTH);
    let by = CipherMechanism::AesGcm { iv: &GCM_IV, aad: &GCM_AAD };
    let mut ciphertext = [0; 76];
    engine.encrypt(by, key, &GCM_PLAINTEXT, &mut ciphertext).unwrap();
    for at in 0..ciphertext.len() {
        let mut tampered = ciphertext;
        tampered[at] ^= 1 << (at % 8);
        let mut plaintext = [FILLER; 60];
        assert_refused(engine.decrypt(by, key, &tampered, &mut plaintext), INVALID, &plaintext);
    }
    for len in 0..ciphertext.len() {
        let mut plaintext = [FILLER; 60];
        assert_refused(engine.decrypt(by, key, &ciphertext[..len], &mut plaintext), INVALID, &plaintext);
    }
    let mut other_iv = GCM_IV;
    other_iv[11] ^= 1;
    for other in [
        CipherMechanism::AesGcm { iv: &other_iv, aad: &GCM_AAD },
        CipherMechanism::AesGcm { iv: &GCM_IV, aad: &[] },
    ] {
        let mut plaintext = [FILLER; 60];
        assert_refused(engine.decrypt(other, key, &ciphertext, &mut plaintext), INVALID, &plaintext);
    }
    destroy(engine, &[key]);
}

pub(super) fn a_short_buffer_is_refused_and_zeroed(engine: &mut dyn Engine) {
    if !offers_len(engine, Mechanism::AesGcm, 32) {
        return;
    }
    let key = aes(engine, &[1; 32], BOTH);
    let mut ciphertext = [0; 48];
    engine.encrypt(GCM, key, &[7; 32], &mut ciphertext).unwrap();
    for len in [0, 1, 16, 31, 47] {
        let mut buffer = [FILLER; 48];
        let refused = engine.encrypt(GCM, key, &[7; 32], &mut buffer[..len]);
        assert_refused(refused, EngineError::BufferTooSmall, &buffer[..len]);
    }
    for len in [0, 1, 31] {
        let mut buffer = [FILLER; 48];
        let refused = engine.decrypt(GCM, key, &ciphertext, &mut buffer[..len]);
        assert_refused(refused, EngineError::BufferTooSmall, &buffer[..len]);
    }
    destroy(engine, &[key]);
}
