//! Laws of keys: listing, generation, permitted uses, destruction.

use super::support::{
    FILLER, GCM, WRAPPINGS, aes, assert_refused, destroy, offers, offers_len, secret, spec,
};
use crate::{
    Algorithm, DigestMechanism, Engine, EngineError, KeyHandle, KeySpec, KeyUses, MAX_KEY_LEN,
    MAX_REFERENCE_LEN, MacMechanism, Mechanism, SHA256_LEN, WrapMechanism,
};

/// Most keys that a law makes to fill an engine; an engine with more room need not be full.
const MOST_KEYS: usize = 512;

pub(super) fn mechanisms_are_listed_once(engine: &mut dyn Engine) {
    let listed = engine.mechanisms();
    for (at, info) in listed.iter().enumerate() {
        assert!(info.min_key_bits <= info.max_key_bits, "{info:?}");
        assert!(
            listed[at + 1..].iter().all(|other| other.mechanism != info.mechanism),
            "{info:?} is listed twice"
        );
    }
}

pub(super) fn unlisted_mechanisms_are_refused(engine: &mut dyn Engine) {
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let hmac_key = secret(engine, &[1; 32], KeyUses::ALL);
    for (by, mechanism) in WRAPPINGS {
        if !offers(engine, mechanism) {
            assert_eq!(engine.wrap_key(by, key, key, &mut [0; 80]), Err(EngineError::MechanismInvalid));
        }
    }
    if !offers(engine, Mechanism::AesGcm) {
        assert_eq!(engine.encrypt(GCM, key, &[1], &mut [0; 80]), Err(EngineError::MechanismInvalid));
    }
    if !offers(engine, Mechanism::AesCmac) {
        let refused = engine.sign(MacMechanism::AesCmac, key, &[1], &mut [0; 80]);
        assert_eq!(refused, Err(EngineError::MechanismInvalid));
    }
    if !offers(engine, Mechanism::HmacSha256) {
        let refused = engine.sign(MacMechanism::HmacSha256, hmac_key, &[1], &mut [0; 80]);
        assert_eq!(refused, Err(EngineError::MechanismInvalid));
    }
    if !offers(engine, Mechanism::Sp800108CounterCmac) {
        let refused = engine.derive_key(key, b"label", b"", &KeySpec::aes(32, KeyUses::NONE));
        assert_eq!(refused, Err(EngineError::MechanismInvalid));
    }
    if !offers(engine, Mechanism::Sha256) {
        let refused = engine.digest(DigestMechanism::Sha256, &[1], &mut [0; 80]);
        assert_eq!(refused, Err(EngineError::MechanismInvalid));
    }
    destroy(engine, &[key, hmac_key]);
}

pub(super) fn random_bytes_differ(engine: &mut dyn Engine) {
    let mut drawn = [[FILLER; 32]; 16];
    for bytes in &mut drawn {
        engine.random(bytes).unwrap();
    }
    for (at, bytes) in drawn.iter().enumerate() {
        assert!(drawn[at + 1..].iter().all(|other| other != bytes), "the same 32 bytes were drawn twice");
    }
    // A run of 32 unchanged bytes at the end means that the end was not written.
    let mut long = [FILLER; 1000];
    engine.random(&mut long).unwrap();
    assert!(long[968..].iter().any(|byte| *byte != FILLER), "the end of the buffer was not filled");
    engine.random(&mut []).unwrap();
}

pub(super) fn every_listed_size_is_made_and_no_other(engine: &mut dyn Engine) {
    let making =
        [(Algorithm::Aes, Mechanism::AesKeyGen), (Algorithm::GenericSecret, Mechanism::GenericSecretKeyGen)];
    for (algorithm, mechanism) in making {
        for key_len in 0..=MAX_KEY_LEN + 1 {
            let made = engine.generate_key(&spec(algorithm, key_len, KeyUses::NONE));
            if !algorithm.has_key_len(key_len) {
                assert_eq!(made, Err(EngineError::KeySizeRange), "{algorithm:?}, {key_len} bytes");
            } else if offers_len(engine, mechanism, key_len) {
                destroy(engine, &[made.unwrap()]);
            }
        }
    }
}

pub(super) fn generated_keys_differ(engine: &mut dyn Engine) {
    if !offers_len(engine, Mechanism::AesKeyGen, 32) {
        return;
    }
    let spec = spec(Algorithm::Aes, 32, KeyUses::NONE);
    let (a, b) = (engine.generate_key(&spec).unwrap(), engine.generate_key(&spec).unwrap());
    assert_ne!(a, b);
    assert!(!super::support::same_value(engine, a, b));
    destroy(engine, &[a, b]);
}

pub(super) fn imported_values_have_the_stated_length(engine: &mut dyn Engine) {
    for (value_len, key_len) in [(31, 32), (33, 32), (0, 16), (16, 32), (20, 20), (0, 0)] {
        let spec = spec(Algorithm::Aes, key_len, KeyUses::ALL);
        let refused = engine.import_key(&spec, &[1; 40][..value_len]);
        assert_eq!(refused, Err(EngineError::KeySizeRange), "{value_len} bytes for {key_len}");
    }
    let long = spec(Algorithm::GenericSecret, MAX_KEY_LEN + 1, KeyUses::ALL);
    assert_eq!(engine.import_key(&long, &[1; MAX_KEY_LEN + 1]), Err(EngineError::KeySizeRange));
}

/// Calls each method with a key that permits every use except the one that the method needs.
pub(super) fn a_use_that_is_not_permitted_is_refused(engine: &mut dyn Engine) {
    const NOT_PERMITTED: EngineError = EngineError::KeyFunctionNotPermitted;
    let without = |needed: KeyUses| KeyUses::from_bits(KeyUses::ALL.bits() & !needed.bits()).unwrap();
    let other = aes(engine, &[2; 32], KeyUses::NONE);
    for (by, mechanism) in WRAPPINGS {
        if !offers(engine, mechanism) {
            continue;
        }
        let key = aes(engine, &[1; 32], without(KeyUses::WRAP));
        let mut buffer = [FILLER; 80];
        assert_refused(engine.wrap_key(by, key, other, &mut buffer), NOT_PERMITTED, &buffer);
        destroy(engine, &[key]);

        let key = aes(engine, &[1; 32], without(KeyUses::UNWRAP));
        let len = engine.wrap_key(by, key, other, &mut buffer).unwrap();
        let refused = engine.unwrap_key(by, key, &buffer[..len], &spec(Algorithm::Aes, 32, KeyUses::ALL));
        assert_eq!(refused, Err(NOT_PERMITTED));
        destroy(engine, &[key]);
    }
    if offers(engine, Mechanism::AesGcm) {
        let key = aes(engine, &[1; 32], without(KeyUses::ENCRYPT));
        let mut buffer = [FILLER; 80];
        assert_refused(engine.encrypt(GCM, key, b"data", &mut buffer), NOT_PERMITTED, &buffer);
        destroy(engine, &[key]);

        let key = aes(engine, &[1; 32], without(KeyUses::DECRYPT));
        let len = engine.encrypt(GCM, key, b"data", &mut buffer).unwrap();
        let mut plaintext = [FILLER; 80];
        assert_refused(engine.decrypt(GCM, key, &buffer[..len], &mut plaintext), NOT_PERMITTED, &plaintext);
        destroy(engine, &[key]);
    }
    for (by, mechanism) in
        [(MacMechanism::AesCmac, Mechanism::AesCmac), (MacMechanism::HmacSha256, Mechanism::HmacSha256)]
    {
        if !offers(engine, mechanism) {
            continue;
        }
        let make = if by == MacMechanism::AesCmac { aes } else { secret };
        let key = make(engine, &[1; 32], without(KeyUses::SIGN));
        let mut mac = [FILLER; SHA256_LEN];
        assert_refused(engine.sign(by, key, b"data", &mut mac), NOT_PERMITTED, &mac);
        destroy(engine, &[key]);

        let key = make(engine, &[1; 32], without(KeyUses::VERIFY));
        let len = engine.sign(by, key, b"data", &mut mac).unwrap();
        assert_eq!(engine.verify(by, key, b"data", &mac[..len]), Err(NOT_PERMITTED));
        destroy(engine, &[key]);
    }
    let key = aes(engine, &[1; 32], without(KeyUses::DERIVE));
    if offers(engine, Mechanism::Sp800108CounterCmac) {
        let refused = engine.derive_key(key, b"label", b"", &KeySpec::aes(32, KeyUses::ALL));
        assert_eq!(refused, Err(NOT_PERMITTED));
    }
    let mut digest = [FILLER; SHA256_LEN];
    assert_refused(engine.digest_key(&[1], key, &mut digest), NOT_PERMITTED, &digest);
    destroy(engine, &[key, other]);
}

pub(super) fn a_mechanism_takes_its_own_kind_of_key(engine: &mut dyn Engine) {
    const INVALID: EngineError = EngineError::MechanismInvalid;
    let generic = secret(engine, &[1; 32], KeyUses::ALL);
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.wrap_key(WrapMechanism::AesKw, generic, key, &mut buffer), INVALID, &buffer);
    let refused =
        engine.unwrap_key(WrapMechanism::AesKwp, generic, &[1; 40], &KeySpec::aes(32, KeyUses::ALL));
    assert_eq!(refused, Err(INVALID));
    let mut buffer = [FILLER; 80];
    assert_refused(engine.encrypt(GCM, generic, b"data", &mut buffer), INVALID, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.decrypt(GCM, generic, &[1; 40], &mut buffer), INVALID, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.sign(MacMechanism::AesCmac, generic, b"data", &mut buffer), INVALID, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.sign(MacMechanism::HmacSha256, key, b"data", &mut buffer), INVALID, &buffer);
    assert_eq!(engine.verify(MacMechanism::AesCmac, generic, b"data", &[0; 16]), Err(INVALID));
    let refused = engine.derive_key(generic, b"label", b"", &KeySpec::aes(32, KeyUses::ALL));
    assert_eq!(refused, Err(INVALID));
    destroy(engine, &[generic, key]);
}

pub(super) fn a_destroyed_key_is_gone(engine: &mut dyn Engine) {
    const GONE: EngineError = EngineError::KeyHandleInvalid;
    let gone = aes(engine, &[1; 32], KeyUses::ALL);
    destroy(engine, &[gone]);
    // This key may take the destroyed key's place, but never its handle.
    let next = aes(engine, &[2; 32], KeyUses::ALL);
    assert_ne!(gone, next);
    assert_eq!(engine.destroy_key(gone), Err(GONE));
    let mut buffer = [FILLER; 80];
    assert_refused(engine.wrap_key(WrapMechanism::AesKw, gone, next, &mut buffer), GONE, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.wrap_key(WrapMechanism::AesKw, next, gone, &mut buffer), GONE, &buffer);
    let spec = KeySpec::aes(32, KeyUses::ALL);
    assert_eq!(engine.unwrap_key(WrapMechanism::AesKw, gone, &[1; 40], &spec), Err(GONE));
    let mut buffer = [FILLER; 80];
    assert_refused(engine.encrypt(GCM, gone, b"data", &mut buffer), GONE, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.decrypt(GCM, gone, &[1; 40], &mut buffer), GONE, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.sign(MacMechanism::AesCmac, gone, b"data", &mut buffer), GONE, &buffer);
    assert_eq!(engine.verify(MacMechanism::AesCmac, gone, b"data", &[1; 16]), Err(GONE));
    assert_eq!(engine.derive_key(gone, b"label", b"", &spec), Err(GONE));
    let mut digest = [FILLER; SHA256_LEN];
    assert_refused(engine.digest_key(&[1], gone, &mut digest), GONE, &digest);
    let mut reference = [FILLER; MAX_REFERENCE_LEN];
    assert_refused(engine.persist_key(gone, &mut reference), GONE, &reference);
    destroy(engine, &[next]);
}

pub(super) fn a_full_engine_refuses_and_recovers(engine: &mut dyn Engine) {
    let mut made = [None; MOST_KEYS];
    let spec = spec(Algorithm::Aes, 32, KeyUses::ALL);
    let mut refused = None;
    for place in &mut made {
        match engine.import_key(&spec, &[3; 32]) {
            Ok(key) => *place = Some(key),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    if refused.is_some() {
        assert_eq!(refused, Some(EngineError::DeviceMemory));
        assert_eq!(engine.generate_key(&spec), Err(EngineError::DeviceMemory));
        assert_eq!(engine.import_key(&spec, &[3; 32]), Err(EngineError::DeviceMemory));
    }
    for key in made.into_iter().flatten() {
        destroy(engine, &[key]);
    }
    let key = engine.import_key(&spec, &[3; 32]).unwrap();
    destroy(engine, &[key]);
}

pub(super) fn refusals_leave_no_key_behind(engine: &mut dyn Engine) {
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let spec = KeySpec::aes(32, KeyUses::ALL);
    for _ in 0..256 {
        assert!(engine.unwrap_key(WrapMechanism::AesKw, key, &[1; 40], &spec).is_err());
        assert!(engine.import_key(&spec, &[1; 31]).is_err());
        assert!(engine.combine_key_parts(&[], false).is_err());
        assert!(engine.derive_key(key, b"label", b"", &KeySpec::aes(31, KeyUses::ALL)).is_err());
        assert!(engine.recall_key(&[1; 40]).is_err());
    }
    // If each refusal had kept a key, the engine would be full.
    let keys: [KeyHandle; 8] = core::array::from_fn(|_| engine.import_key(&spec, &[1; 32]).unwrap());
    destroy(engine, &keys);
    destroy(engine, &[key]);
}

pub(super) fn the_device_key_stays_and_encrypts_only(engine: &mut dyn Engine) {
    const NOT_PERMITTED: EngineError = EngineError::KeyFunctionNotPermitted;
    let device_key = engine.device_key();
    assert_eq!(engine.destroy_key(device_key), Err(NOT_PERMITTED));
    let mut reference = [FILLER; MAX_REFERENCE_LEN];
    assert_refused(engine.persist_key(device_key, &mut reference), NOT_PERMITTED, &reference);
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let mut buffer = [FILLER; 80];
    assert_refused(
        engine.wrap_key(WrapMechanism::AesKw, device_key, key, &mut buffer),
        NOT_PERMITTED,
        &buffer,
    );
    let mut buffer = [FILLER; 80];
    let refused = engine.wrap_key(WrapMechanism::AesKw, key, device_key, &mut buffer);
    assert_refused(refused, EngineError::KeyUnextractable, &buffer);
    let mut digest = [FILLER; SHA256_LEN];
    assert_refused(engine.digest_key(&[1], device_key, &mut digest), NOT_PERMITTED, &digest);
    let mut mac = [FILLER; 16];
    assert_refused(engine.sign(MacMechanism::AesCmac, device_key, b"data", &mut mac), NOT_PERMITTED, &mac);

    assert_eq!(engine.device_key(), device_key);
    let (mut ciphertext, mut plaintext) = ([0; 20], [0; 4]);
    assert_eq!(engine.encrypt(GCM, device_key, b"data", &mut ciphertext), Ok(20));
    assert_eq!(engine.decrypt(GCM, device_key, &ciphertext, &mut plaintext), Ok(4));
    assert_eq!(&plaintext, b"data");
    destroy(engine, &[key]);
}
