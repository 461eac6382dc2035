//! Laws of wrapping and unwrapping keys.

use super::master_keys::master_key;
use super::support::{
    FILLER, WRAPPINGS, aes, assert_refused, destroy, offers, offers_len, same_value, secret, spec,
};
use super::vectors::{KW, KWP, WrapVector};
use crate::{Algorithm, Engine, EngineError, KeySpec, KeyUses, MAX_KEY_LEN, Mechanism, WrapMechanism};

const BOTH: KeyUses = KeyUses::WRAP.with(KeyUses::UNWRAP);

fn gives(engine: &mut dyn Engine, by: WrapMechanism, listed: Mechanism, vectors: &[WrapVector]) {
    for (kek, value, expected) in vectors {
        if !offers_len(engine, listed, kek.len()) {
            continue;
        }
        let kek = aes(engine, kek, BOTH);
        let key = secret(engine, value, KeyUses::NONE);
        let mut wrapped = [FILLER; 80];
        let len = engine.wrap_key(by, kek, key, &mut wrapped).unwrap();
        assert_eq!(&wrapped[..len], *expected);
        let spec = spec(Algorithm::GenericSecret, value.len(), KeyUses::NONE);
        let unwrapped = engine.unwrap_key(by, kek, expected, &spec).unwrap();
        assert!(same_value(engine, unwrapped, key));
        destroy(engine, &[kek, key, unwrapped]);
    }
}

pub(super) fn kw_gives_the_published_values(engine: &mut dyn Engine) {
    gives(engine, WrapMechanism::AesKw, Mechanism::AesKw, &KW);
}

pub(super) fn kwp_gives_the_published_values(engine: &mut dyn Engine) {
    gives(engine, WrapMechanism::AesKwp, Mechanism::AesKwp, &KWP);
}

pub(super) fn every_length_unwraps_to_the_same_key(engine: &mut dyn Engine) {
    let kek = aes(engine, &[1; 32], BOTH);
    for (by, listed) in WRAPPINGS {
        if !offers_len(engine, listed, 32) {
            continue;
        }
        for key_len in 1..=MAX_KEY_LEN {
            let key = secret(engine, &[5; MAX_KEY_LEN][..key_len], KeyUses::SIGN);
            let mut wrapped = [FILLER; 80];
            let result = engine.wrap_key(by, kek, key, &mut wrapped);
            if by == WrapMechanism::AesKw && !(key_len >= 16 && key_len.is_multiple_of(8)) {
                assert_refused(result, EngineError::KeySizeRange, &wrapped);
            } else {
                let len = result.unwrap();
                assert_eq!(len, by.wrapped_len(key_len));
                let spec = spec(Algorithm::GenericSecret, key_len, KeyUses::SIGN);
                let unwrapped = engine.unwrap_key(by, kek, &wrapped[..len], &spec).unwrap();
                assert!(same_value(engine, key, unwrapped));
                destroy(engine, &[unwrapped]);
            }
            destroy(engine, &[key]);
        }
    }
    destroy(engine, &[kek]);
}

pub(super) fn a_tampered_wrapped_key_is_refused(engine: &mut dyn Engine) {
    let kek = aes(engine, &[1; 32], BOTH);
    let key = aes(engine, &[2; 32], KeyUses::NONE);
    let spec = spec(Algorithm::Aes, 32, KeyUses::NONE);
    for (by, listed) in WRAPPINGS {
        if !offers_len(engine, listed, 32) {
            continue;
        }
        let mut wrapped = [0; 40];
        engine.wrap_key(by, kek, key, &mut wrapped).unwrap();
        for at in 0..wrapped.len() {
            let mut tampered = wrapped;
            tampered[at] ^= 1 << (at % 8);
            let refused = engine.unwrap_key(by, kek, &tampered, &spec);
            assert_eq!(refused, Err(EngineError::WrappedKeyInvalid), "byte {at}");
        }
        for len in 0..40 {
            let refused = engine.unwrap_key(by, kek, &wrapped[..len], &spec);
            assert_eq!(refused, Err(EngineError::WrappedKeyInvalid), "{len} bytes");
        }
        let refused = engine.unwrap_key(by, kek, &[3; 200], &spec);
        assert_eq!(refused, Err(EngineError::WrappedKeyInvalid));
    }
    destroy(engine, &[kek, key]);
}

pub(super) fn another_length_or_mechanism_is_refused(engine: &mut dyn Engine) {
    const INVALID: EngineError = EngineError::WrappedKeyInvalid;
    let kek = aes(engine, &[1; 32], BOTH);
    for (by, listed) in WRAPPINGS {
        if !offers_len(engine, listed, 32) {
            continue;
        }
        let key = secret(engine, &[2; 32], KeyUses::NONE);
        let mut wrapped = [0; 40];
        engine.wrap_key(by, kek, key, &mut wrapped).unwrap();
        // Keys of 25 to 31 bytes have the same wrapped length under KWP; only the length inside differs.
        for key_len in (1..=MAX_KEY_LEN).filter(|len| *len != 32) {
            let spec = spec(Algorithm::GenericSecret, key_len, KeyUses::NONE);
            assert_eq!(engine.unwrap_key(by, kek, &wrapped, &spec), Err(INVALID), "{key_len} bytes");
        }
        if by == WrapMechanism::AesKwp {
            // A key of 31 bytes is refused as a key of 32 bytes.
            let shorter = secret(engine, &[2; 31], KeyUses::NONE);
            let mut wrapped = [0; 40];
            engine.wrap_key(by, kek, shorter, &mut wrapped).unwrap();
            for algorithm in [Algorithm::Aes, Algorithm::GenericSecret] {
                let refused = engine.unwrap_key(by, kek, &wrapped, &spec(algorithm, 32, KeyUses::NONE));
                assert_eq!(refused, Err(INVALID), "31 bytes as {algorithm:?} of 32");
            }
            destroy(engine, &[shorter]);
        }
        let refused = engine.unwrap_key(by, kek, &wrapped, &KeySpec::aes(31, KeyUses::NONE));
        assert_eq!(refused, Err(EngineError::KeySizeRange));
        for (other, listed) in WRAPPINGS.into_iter().filter(|(other, _)| *other != by) {
            if offers_len(engine, listed, 32) {
                let refused = engine.unwrap_key(other, kek, &wrapped, &KeySpec::aes(32, KeyUses::NONE));
                assert_eq!(refused, Err(INVALID));
            }
        }
        destroy(engine, &[key]);
    }
    destroy(engine, &[kek]);
}

pub(super) fn an_unextractable_key_leaves_under_derived_keys_only(engine: &mut dyn Engine) {
    const STAYS: EngineError = EngineError::KeyUnextractable;
    let kept = engine.import_key(&KeySpec::aes(32, KeyUses::SIGN), &[2; 32]).unwrap();
    let imported = aes(engine, &[1; 32], BOTH);
    for (by, listed) in WRAPPINGS {
        if !offers_len(engine, listed, 32) {
            continue;
        }
        let mut wrapped = [FILLER; 40];
        assert_refused(engine.wrap_key(by, imported, kept, &mut wrapped), STAYS, &wrapped);
        if !offers(engine, Mechanism::Sp800108CounterCmac) {
            continue;
        }
        let spec = KeySpec::aes(32, BOTH);
        let master = master_key(engine);
        let derived = engine.derive_key(master, b"wrap", b"", &spec).unwrap();
        let leaving = aes(engine, &[2; 32], KeyUses::NONE);
        match engine.wrap_key(by, derived, kept, &mut wrapped) {
            Ok(len) => assert_eq!(len, 40),
            // Hardware may refuse even this; then the test wraps the same value as an extractable key.
            Err(error) => {
                assert_eq!(error, STAYS);
                assert_eq!(engine.wrap_key(by, derived, leaving, &mut wrapped), Ok(40));
            }
        }
        let back = engine.unwrap_key(by, derived, &wrapped, &KeySpec::aes(32, KeyUses::SIGN)).unwrap();
        // The unwrapped key is unextractable as its new specification says.
        let mut wrapped = [FILLER; 40];
        assert_refused(engine.wrap_key(by, imported, back, &mut wrapped), STAYS, &wrapped);

        // The caller knows a key that is derived from an imported key.
        let known = aes(engine, &[3; 32], KeyUses::DERIVE);
        let from_known = engine.derive_key(known, b"wrap", b"", &spec).unwrap();
        let mut wrapped = [FILLER; 40];
        assert_refused(engine.wrap_key(by, from_known, kept, &mut wrapped), STAYS, &wrapped);
        destroy(engine, &[master, derived, leaving, back, known, from_known]);
    }
    destroy(engine, &[kept, imported]);
}

pub(super) fn a_short_buffer_is_refused_and_zeroed(engine: &mut dyn Engine) {
    let kek = aes(engine, &[1; 32], BOTH);
    let key = aes(engine, &[2; 32], KeyUses::NONE);
    for (by, listed) in WRAPPINGS {
        if !offers_len(engine, listed, 32) {
            continue;
        }
        for len in [0, 1, 8, 32, 39] {
            let mut buffer = [FILLER; 40];
            let refused = engine.wrap_key(by, kek, key, &mut buffer[..len]);
            assert_refused(refused, EngineError::BufferTooSmall, &buffer[..len]);
        }
    }
    destroy(engine, &[kek, key]);
}
