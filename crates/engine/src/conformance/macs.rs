//! Laws of MACs and digests.

use super::support::{FILLER, aes, assert_refused, destroy, offers, offers_len, secret};
use super::vectors::{CMAC, HMAC, SHA256};
use crate::{DigestMechanism, Engine, EngineError, KeyHandle, KeyUses, MacMechanism, Mechanism};

const BOTH: KeyUses = KeyUses::SIGN.with(KeyUses::VERIFY);

fn gives(engine: &mut dyn Engine, by: MacMechanism, key: KeyHandle, data: &[u8], expected: &[u8]) {
    let mut mac = [FILLER; 40];
    assert_eq!(engine.sign(by, key, data, &mut mac), Ok(expected.len()));
    assert_eq!(&mac[..expected.len()], expected);
    assert_eq!(engine.verify(by, key, data, expected), Ok(()));
    destroy(engine, &[key]);
}

pub(super) fn cmac_gives_the_published_values(engine: &mut dyn Engine) {
    for (key, data, expected) in CMAC {
        if offers_len(engine, Mechanism::AesCmac, key.len()) {
            let key = aes(engine, key, BOTH);
            gives(engine, MacMechanism::AesCmac, key, data, &expected);
        }
    }
}

pub(super) fn hmac_gives_the_published_values(engine: &mut dyn Engine) {
    for (key, data, expected) in HMAC {
        if offers_len(engine, Mechanism::HmacSha256, key.len()) {
            let key = secret(engine, key, BOTH);
            gives(engine, MacMechanism::HmacSha256, key, data, &expected);
        }
    }
}

pub(super) fn sha256_gives_the_published_values(engine: &mut dyn Engine) {
    if !offers(engine, Mechanism::Sha256) {
        return;
    }
    for (data, expected) in SHA256 {
        let mut digest = [FILLER; 33];
        assert_eq!(engine.digest(DigestMechanism::Sha256, data, &mut digest), Ok(32));
        assert_eq!(digest[..32], expected);
        assert_eq!(digest[32], FILLER);
    }
}

/// Each MAC that the engine offers, with a key for it.
fn offered(engine: &mut dyn Engine) -> impl Iterator<Item = (MacMechanism, KeyHandle)> + use<> {
    let cmac = offers_len(engine, Mechanism::AesCmac, 32);
    let cmac = cmac.then(|| (MacMechanism::AesCmac, aes(engine, &[1; 32], BOTH)));
    let hmac = offers_len(engine, Mechanism::HmacSha256, 32);
    let hmac = hmac.then(|| (MacMechanism::HmacSha256, secret(engine, &[1; 32], BOTH)));
    cmac.into_iter().chain(hmac)
}

pub(super) fn a_wrong_mac_is_refused(engine: &mut dyn Engine) {
    const INVALID: EngineError = EngineError::SignatureInvalid;
    for (by, key) in offered(engine) {
        let mut mac = [0; 33];
        let len = engine.sign(by, key, b"data", &mut mac).unwrap();
        for at in 0..len {
            let mut tampered = mac;
            tampered[at] ^= 1 << (at % 8);
            assert_eq!(engine.verify(by, key, b"data", &tampered[..len]), Err(INVALID), "byte {at}");
        }
        for other_len in (0..=33).filter(|other| *other != len) {
            assert_eq!(engine.verify(by, key, b"data", &mac[..other_len]), Err(INVALID), "{other_len} bytes");
        }
        assert_eq!(engine.verify(by, key, b"date", &mac[..len]), Err(INVALID));
        assert_eq!(engine.verify(by, key, b"data", &mac[..len]), Ok(()));
        destroy(engine, &[key]);
    }
}

pub(super) fn a_short_buffer_is_refused_and_zeroed(engine: &mut dyn Engine) {
    const TOO_SMALL: EngineError = EngineError::BufferTooSmall;
    for (by, key) in offered(engine) {
        for len in [0, 1, by.mac_len() - 1] {
            let mut buffer = [FILLER; 32];
            assert_refused(engine.sign(by, key, b"data", &mut buffer[..len]), TOO_SMALL, &buffer[..len]);
        }
        destroy(engine, &[key]);
    }
    if offers(engine, Mechanism::Sha256) {
        for len in [0, 1, 31] {
            let mut buffer = [FILLER; 32];
            let refused = engine.digest(DigestMechanism::Sha256, b"data", &mut buffer[..len]);
            assert_refused(refused, TOO_SMALL, &buffer[..len]);
        }
    }
}
