//! Laws of persisted keys.

use super::attestation;
use super::master_keys::master_key;
use super::state_keys;
use super::support::{FILLER, GCM, aes, assert_refused, destroy, offers, same_value, secret};
use crate::{
    Engine, EngineError, KeyHandle, KeySpec, KeyUses, MAX_KEY_LEN, MAX_REFERENCE_LEN, MacMechanism,
    Mechanism, SHA256_LEN, WrapMechanism,
};

/// A reference and its length.
struct Reference([u8; MAX_REFERENCE_LEN], usize);

impl Reference {
    fn of(engine: &mut dyn Engine, key: KeyHandle) -> Self {
        let mut bytes = [FILLER; MAX_REFERENCE_LEN];
        let len = engine.persist_key(key, &mut bytes).unwrap();
        Self(bytes, len)
    }

    fn bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

pub(super) fn a_persisted_key_is_recalled_unchanged(engine: &mut dyn Engine) {
    let values: [&[u8]; 3] = [&[4; 1], &[5; 20], &[6; MAX_KEY_LEN]];
    let secrets = values.map(|value| secret(engine, value, KeyUses::SIGN));
    let unextractable = engine.import_key(&KeySpec::aes(32, KeyUses::SIGN), &[7; 32]).unwrap();
    let by_kind = |at| if at < 3 { MacMechanism::HmacSha256 } else { MacMechanism::AesCmac };
    for (at, key) in secrets.into_iter().chain([unextractable]).enumerate() {
        let reference = Reference::of(engine, key);
        let (mut before, mut after) = ([0; 32], [0; 32]);
        engine.sign(by_kind(at), key, b"data", &mut before).unwrap();
        // Destroying the handle leaves the stored key.
        destroy(engine, &[key]);
        let recalled = engine.recall_key(reference.bytes()).unwrap();
        engine.sign(by_kind(at), recalled, b"data", &mut after).unwrap();
        assert_eq!(before, after);
        let refused = engine.verify(by_kind(at), recalled, b"data", &after);
        assert_eq!(refused, Err(EngineError::KeyFunctionNotPermitted), "recalling added a use");
        if at == 3 {
            let kek = aes(engine, &[1; 32], KeyUses::WRAP);
            let mut wrapped = [FILLER; 40];
            let refused = engine.wrap_key(WrapMechanism::AesKw, kek, recalled, &mut wrapped);
            assert_refused(refused, EngineError::KeyUnextractable, &wrapped);
            destroy(engine, &[kek]);
        }
        engine.forget_key(reference.bytes()).unwrap();
        engine.forget_key(reference.bytes()).unwrap();
        // The handle stays valid after the stored key is removed.
        engine.sign(by_kind(at), recalled, b"data", &mut after).unwrap();
        destroy(engine, &[recalled]);
    }
}

pub(super) fn a_damaged_reference_is_refused(engine: &mut dyn Engine) {
    const INVALID: EngineError = EngineError::ReferenceInvalid;
    let key = aes(engine, &[7; 32], KeyUses::SIGN);
    let reference = Reference::of(engine, key);
    for at in 0..reference.bytes().len() {
        let mut damaged = reference.0;
        damaged[at] ^= 1 << (at % 8);
        assert_eq!(engine.recall_key(&damaged[..reference.1]), Err(INVALID), "byte {at}");
    }
    for len in 0..reference.bytes().len() {
        assert_eq!(engine.recall_key(&reference.bytes()[..len]), Err(INVALID), "{len} bytes");
    }
    assert_eq!(engine.recall_key(&[0; 4 * MAX_REFERENCE_LEN]), Err(INVALID));
    engine.forget_key(reference.bytes()).unwrap();
    destroy(engine, &[key]);
}

/// Where the engine stores nothing outside the reference, only the reference itself can be forgotten.
pub(super) fn keys_of_unnamed_references_are_forgotten(engine: &mut dyn Engine) {
    let keys = [[1; 32], [2; 32], [3; 32]].map(|value| aes(engine, &value, KeyUses::SIGN));
    let references = keys.map(|key| Reference::of(engine, key));
    let [first, second, third] = &references;
    engine.forget_key(third.bytes()).unwrap();
    let kept_outside = engine.recall_key(third.bytes()).map(|key| destroy(engine, &[key])).is_ok();
    engine.forget_all_but(&[second.bytes(), b"unknown"]).unwrap();
    let recalled = engine.recall_key(second.bytes()).unwrap();
    assert!(same_value(engine, recalled, keys[1]));
    match engine.recall_key(first.bytes()) {
        Ok(key) => {
            assert!(kept_outside, "a key that was not named is still there");
            destroy(engine, &[key]);
        }
        Err(error) => assert_eq!(error, EngineError::ReferenceInvalid),
    }
    engine.forget_all_but(&[]).unwrap();
    // Handles stay valid after the stored keys are removed.
    assert!(same_value(engine, recalled, keys[1]));
    destroy(engine, &keys);
    destroy(engine, &[recalled]);
}

pub(super) fn a_short_buffer_is_refused_and_zeroed(engine: &mut dyn Engine) {
    let key = aes(engine, &[7; 32], KeyUses::SIGN);
    let reference = Reference::of(engine, key);
    for len in [0, 1, reference.1 - 1] {
        let mut buffer = [FILLER; MAX_REFERENCE_LEN];
        let refused = engine.persist_key(key, &mut buffer[..len]);
        assert_refused(refused, EngineError::BufferTooSmall, &buffer[..len]);
    }
    engine.forget_key(reference.bytes()).unwrap();
    destroy(engine, &[key]);
}

/// Checks the laws of a restart: `before` and `after` are the same engine before and after it, `other` is another engine.
///
/// # Panics
/// When a law is broken.
pub fn restart(before: &mut dyn Engine, after: &mut dyn Engine, other: &mut dyn Engine) {
    let (mut sealed, mut opened) = ([0; 20], [FILLER; 4]);
    let device_key = before.device_key();
    before.encrypt(GCM, device_key, b"data", &mut sealed).unwrap();
    let device_key = after.device_key();
    assert_eq!(after.decrypt(GCM, device_key, &sealed, &mut opened), Ok(4));
    assert_eq!(&opened, b"data");
    let device_key = other.device_key();
    let refused = other.decrypt(GCM, device_key, &sealed, &mut opened);
    assert_refused(refused, EngineError::EncryptedDataInvalid, &opened);

    assert_eq!(before.attestation_key(), after.attestation_key());
    assert_ne!(before.attestation_key().point, other.attestation_key().point);
    attestation::check(after);

    state_keys::restart(before, after, other);

    let master = master_key(before);
    let derives = offers(before, Mechanism::Sp800108CounterCmac) && offers(before, Mechanism::AesKw);
    let wrapping = KeySpec::aes(32, KeyUses::WRAP);
    let kek = derives.then(|| before.derive_key(master, b"wrap", b"", &wrapping).unwrap());
    let reference = Reference::of(before, master);
    assert_eq!(other.recall_key(reference.bytes()), Err(EngineError::ReferenceInvalid));
    let recalled = after.recall_key(reference.bytes()).unwrap();
    let mut digests = [[0; SHA256_LEN]; 2];
    before.digest_key(&[1], master, &mut digests[0]).unwrap();
    after.digest_key(&[1], recalled, &mut digests[1]).unwrap();
    assert_eq!(digests[0], digests[1]);

    // A recalled master key derives what it derived before.
    if let Some(kek) = kek {
        let again = after.derive_key(recalled, b"wrap", b"", &wrapping).unwrap();
        let wrap = |engine: &mut dyn Engine, kek| {
            let key = aes(engine, &[2; 32], KeyUses::SIGN);
            let mut wrapped = [0; 40];
            assert_eq!(engine.wrap_key(WrapMechanism::AesKw, kek, key, &mut wrapped), Ok(40));
            destroy(engine, &[key, kek]);
            wrapped
        };
        assert_eq!(wrap(before, kek), wrap(after, again));
    }
    let a = aes(before, &[9; 32], KeyUses::NONE);
    let reference_of_a = Reference::of(before, a);
    let (a_again, b) =
        (after.recall_key(reference_of_a.bytes()).unwrap(), aes(after, &[9; 32], KeyUses::NONE));
    assert!(same_value(after, a_again, b));
    for reference in [&reference, &reference_of_a] {
        after.forget_key(reference.bytes()).unwrap();
    }
    destroy(before, &[master, a]);
    destroy(after, &[recalled, a_again, b]);
}
