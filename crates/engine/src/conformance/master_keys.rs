//! Laws of master keys: combined from parts, known by pattern, good for derivation and nothing else.

use super::bench::{DIRT, GCM, aes, assert_refused, destroy, offers, offers_len, same_value, secret, spec};
use super::vectors::{COUNTING, KDF, PATTERN_OF_THREE, PATTERN_OF_TWO};
use crate::{
    Algorithm, Engine, EngineError, KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism, Mechanism,
    SHA256_LEN, WrapMechanism,
};

/// A master key, and the three parts it may be combined of.
pub(super) fn master_key(engine: &mut dyn Engine) -> KeyHandle {
    engine.combine_key_parts(&parts()[..2]).unwrap()
}

fn parts() -> [KeyPart; 3] {
    [KeyPart::new(COUNTING), KeyPart::new([0xa5; 32]), KeyPart::new(COUNTING.map(|byte| byte + 0xe0))]
}

#[track_caller]
fn assert_pattern(engine: &mut dyn Engine, key: KeyHandle, pattern: [u8; 28]) {
    let mut digest = [0; SHA256_LEN];
    engine.digest_key(&[1], key, &mut digest).unwrap();
    assert_eq!(digest[..28], pattern);
}

pub(super) fn parts_combine_to_the_published_patterns(engine: &mut dyn Engine) {
    let [a, b, c] = parts();
    let two = engine.combine_key_parts(&[a, b]).unwrap();
    assert_pattern(engine, two, PATTERN_OF_TWO);
    let [a, b, _] = parts();
    let three = engine.combine_key_parts(&[c, a, b]).unwrap();
    assert_pattern(engine, three, PATTERN_OF_THREE);
    destroy(engine, &[two, three]);
}

pub(super) fn only_two_or_three_parts_combine(engine: &mut dyn Engine) {
    let four = [1, 2, 3, 4].map(|byte| KeyPart::new([byte; 32]));
    for count in [0, 1, 4] {
        let refused = engine.combine_key_parts(&four[..count]);
        assert_eq!(refused, Err(EngineError::KeyPartsInvalid), "{count} parts");
    }
}

pub(super) fn a_master_key_only_derives(engine: &mut dyn Engine) {
    const NOT_PERMITTED: EngineError = EngineError::KeyFunctionNotPermitted;
    let master = master_key(engine);
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let mut buffer = [DIRT; 80];
    assert_refused(engine.wrap_key(WrapMechanism::AesKw, master, key, &mut buffer), NOT_PERMITTED, &buffer);
    let mut buffer = [DIRT; 80];
    let refused = engine.wrap_key(WrapMechanism::AesKw, key, master, &mut buffer);
    assert_refused(refused, EngineError::KeyUnextractable, &buffer);
    let spec = KeySpec::aes(32, KeyUses::ALL);
    assert_eq!(engine.unwrap_key(WrapMechanism::AesKw, master, &[1; 40], &spec), Err(NOT_PERMITTED));
    let mut buffer = [DIRT; 80];
    assert_refused(engine.encrypt(GCM, master, b"data", &mut buffer), NOT_PERMITTED, &buffer);
    let mut buffer = [DIRT; 80];
    assert_refused(engine.decrypt(GCM, master, &[1; 40], &mut buffer), NOT_PERMITTED, &buffer);
    let mut buffer = [DIRT; 16];
    assert_refused(engine.sign(MacMechanism::AesCmac, master, b"data", &mut buffer), NOT_PERMITTED, &buffer);
    assert_eq!(engine.verify(MacMechanism::AesCmac, master, b"data", &[1; 16]), Err(NOT_PERMITTED));
    destroy(engine, &[master, key]);
}

pub(super) fn derivation_gives_the_published_keys(engine: &mut dyn Engine) {
    for (base, derived) in KDF {
        if !offers_len(engine, Mechanism::Sp800108CounterCmac, base.len()) {
            continue;
        }
        let base = aes(engine, base, KeyUses::DERIVE);
        let spec = spec(Algorithm::GenericSecret, derived.len(), KeyUses::NONE);
        let key = engine.derive_key(base, b"label", b"context", &spec).unwrap();
        let expected = secret(engine, derived, KeyUses::NONE);
        assert!(same_value(engine, key, expected), "{} bytes", derived.len());
        destroy(engine, &[base, key, expected]);
    }
}

pub(super) fn derived_keys_differ_by_label_context_and_length(engine: &mut dyn Engine) {
    if !offers(engine, Mechanism::Sp800108CounterCmac) {
        return;
    }
    let master = master_key(engine);
    let spec = spec(Algorithm::Aes, 32, KeyUses::SIGN);
    let differing: [(&[u8], &[u8]); 5] =
        [(b"a", b"b"), (b"b", b"a"), (b"ab", b""), (b"", b"ab"), (b"a", b"bb")];
    let keys = differing.map(|(label, context)| engine.derive_key(master, label, context, &spec).unwrap());
    for (at, key) in keys.iter().enumerate() {
        for other in &keys[at + 1..] {
            assert!(!same_value(engine, *key, *other));
        }
    }
    let again = engine.derive_key(master, b"a", b"b", &spec).unwrap();
    assert!(same_value(engine, keys[0], again));
    // A key does what it was derived for, and nothing else.
    let mut buffer = [DIRT; 80];
    let refused = engine.encrypt(GCM, again, b"data", &mut buffer);
    assert_refused(refused, EngineError::KeyFunctionNotPermitted, &buffer);
    let refused = engine.derive_key(master, b"a", b"b", &KeySpec::aes(31, KeyUses::SIGN));
    assert_eq!(refused, Err(EngineError::KeySizeRange));
    destroy(engine, &keys);
    destroy(engine, &[master, again]);
}

pub(super) fn digests_of_keys_need_derive(engine: &mut dyn Engine) {
    let key = secret(engine, b"c", KeyUses::DERIVE);
    let mut digest = [0; SHA256_LEN];
    engine.digest_key(b"ab", key, &mut digest).unwrap();
    assert_eq!(digest, super::vectors::SHA256[0].1);
    let other = secret(engine, b"c", KeyUses::SIGN);
    let refused = engine.digest_key(b"ab", other, &mut digest);
    assert_refused(refused, EngineError::KeyFunctionNotPermitted, &digest);
    destroy(engine, &[key, other]);
}
