//! Laws of master keys: combination from parts, verification patterns, derivation as the only use.

use super::support::{
    FILLER, GCM, aes, assert_refused, destroy, offers, offers_len, same_value, secret, spec,
};
use super::vectors::{COUNTING, KDF, PATTERN_OF_ONE, PATTERN_OF_THREE, PATTERN_OF_TWO};
use crate::{
    Algorithm, Engine, EngineError, KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism, Mechanism,
    SHA256_LEN, WrapMechanism,
};

/// A master key combined from the first two parts.
pub(super) fn master_key(engine: &mut dyn Engine) -> KeyHandle {
    engine.combine_key_parts(&parts()[..2], false).unwrap()
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
    let two = engine.combine_key_parts(&[a, b], false).unwrap();
    assert_pattern(engine, two, PATTERN_OF_TWO);
    let [a, b, _] = parts();
    let three = engine.combine_key_parts(&[c, a, b], true).unwrap();
    assert_pattern(engine, three, PATTERN_OF_THREE);
    let [a, _, _] = parts();
    let one = engine.combine_key_parts(&[a], false).unwrap();
    assert_pattern(engine, one, PATTERN_OF_ONE);
    destroy(engine, &[two, three, one]);
}

const EXTRACTABLE: KeySpec = KeySpec { extractable: true, ..KeySpec::aes(32, KeyUses::DERIVE) };

/// Skipped where the hardware exports no master key.
pub(super) fn an_exported_master_key_combines_to_the_same_key(engine: &mut dyn Engine) {
    let made = engine.generate_key(&EXTRACTABLE).unwrap();
    let combined = engine.combine_key_parts(&parts()[..2], true).unwrap();
    for master in [combined, made] {
        let part = match engine.export_key_part(master) {
            Err(EngineError::KeyUnextractable) => None,
            other => Some(other.unwrap()),
        };
        if let Some(part) = part {
            let again = engine.combine_key_parts(&[part], false).unwrap();
            let (mut before, mut after) = ([0; SHA256_LEN], [1; SHA256_LEN]);
            engine.digest_key(&[1], master, &mut before).unwrap();
            engine.digest_key(&[1], again, &mut after).unwrap();
            assert_eq!(before, after);
            destroy(engine, &[again]);
        }
        destroy(engine, &[master]);
    }
}

pub(super) fn an_unextractable_master_key_is_not_exported(engine: &mut dyn Engine) {
    let made = engine.generate_key(&KeySpec::aes(32, KeyUses::DERIVE)).unwrap();
    for master in [master_key(engine), made] {
        assert_eq!(engine.export_key_part(master).err(), Some(EngineError::KeyUnextractable));
        destroy(engine, &[master]);
    }
}

pub(super) fn no_other_key_is_exported_as_a_part(engine: &mut dyn Engine) {
    let master = engine.combine_key_parts(&parts()[..2], true).unwrap();
    let others = [
        engine.generate_key(&KeySpec { extractable: true, ..KeySpec::aes(16, KeyUses::DERIVE) }).unwrap(),
        engine.generate_key(&KeySpec::aes(16, KeyUses::DERIVE)).unwrap(),
        aes(engine, &[1; 32], KeyUses::DERIVE),
        aes(engine, &[1; 32], KeyUses::ALL),
        secret(engine, &[1; 32], KeyUses::DERIVE),
        engine.derive_key(master, b"a", b"b", &KeySpec::aes(32, KeyUses::DERIVE)).unwrap(),
    ];
    for key in others.into_iter().chain([engine.device_key()]) {
        let refused = engine.export_key_part(key).err();
        assert_eq!(refused, Some(EngineError::KeyFunctionNotPermitted));
    }
    destroy(engine, &others);
    destroy(engine, &[master]);
}

pub(super) fn one_to_three_parts_combine_and_no_more(engine: &mut dyn Engine) {
    let four = [1, 2, 3, 4].map(|byte| KeyPart::new([byte; 32]));
    for count in 1..=3 {
        let combined = engine.combine_key_parts(&four[..count], false).unwrap();
        destroy(engine, &[combined]);
    }
    for count in [0, 4] {
        let refused = engine.combine_key_parts(&four[..count], false);
        assert_eq!(refused, Err(EngineError::KeyPartsInvalid), "{count} parts");
    }
}

pub(super) fn a_master_key_only_derives(engine: &mut dyn Engine) {
    const NOT_PERMITTED: EngineError = EngineError::KeyFunctionNotPermitted;
    let master = master_key(engine);
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.wrap_key(WrapMechanism::AesKw, master, key, &mut buffer), NOT_PERMITTED, &buffer);
    // A master key never leaves wrapped, even if it may leave as a part, and even under a key derived from it.
    let extractable = engine.combine_key_parts(&parts()[..2], true).unwrap();
    let derived = engine.derive_key(extractable, b"wrap", b"", &KeySpec::aes(32, KeyUses::WRAP)).ok();
    for kek in [Some(key), derived].into_iter().flatten() {
        for leaving in [master, extractable] {
            let mut buffer = [FILLER; 80];
            let refused = engine.wrap_key(WrapMechanism::AesKw, kek, leaving, &mut buffer);
            assert_refused(refused, EngineError::KeyUnextractable, &buffer);
        }
    }
    derived.iter().for_each(|key| destroy(engine, &[*key]));
    destroy(engine, &[extractable]);
    let spec = KeySpec::aes(32, KeyUses::ALL);
    assert_eq!(engine.unwrap_key(WrapMechanism::AesKw, master, &[1; 40], &spec), Err(NOT_PERMITTED));
    let mut buffer = [FILLER; 80];
    assert_refused(engine.encrypt(GCM, master, b"data", &mut buffer), NOT_PERMITTED, &buffer);
    let mut buffer = [FILLER; 80];
    assert_refused(engine.decrypt(GCM, master, &[1; 40], &mut buffer), NOT_PERMITTED, &buffer);
    let mut buffer = [FILLER; 16];
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
    // A derived key permits the uses it was derived for, and no other.
    let mut buffer = [FILLER; 80];
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
