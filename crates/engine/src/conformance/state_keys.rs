//! Laws of state keys and the device key.

use super::support::{FILLER, GCM, aes, assert_refused, destroy};
use crate::{
    Engine, EngineError, KeyHandle, KeyUses, MAX_REFERENCE_LEN, MacMechanism, SHA256_LEN, StateKeyId,
    WrapMechanism,
};

const DATA: &[u8; 4] = b"data";
type Sealed = [u8; DATA.len() + 16];

fn seal(engine: &mut dyn Engine, key: KeyHandle) -> Sealed {
    let mut sealed = [0; DATA.len() + 16];
    assert_eq!(engine.encrypt(GCM, key, DATA, &mut sealed), Ok(20));
    sealed
}

#[track_caller]
fn assert_opens(engine: &mut dyn Engine, key: KeyHandle, sealed: &Sealed) {
    let mut opened = [FILLER; 4];
    assert_eq!(engine.decrypt(GCM, key, sealed, &mut opened), Ok(4));
    assert_eq!(&opened, DATA);
}

#[track_caller]
fn assert_closed(engine: &mut dyn Engine, key: KeyHandle, sealed: &Sealed) {
    let mut opened = [FILLER; 4];
    let refused = engine.decrypt(GCM, key, sealed, &mut opened);
    assert_refused(refused, EngineError::EncryptedDataInvalid, &opened);
}

pub(super) fn a_state_key_seals_until_it_is_destroyed(engine: &mut dyn Engine) {
    const GONE: EngineError = EngineError::ReferenceInvalid;
    engine.destroy_state_keys_but(&[]).unwrap();
    let ids: [StateKeyId; 3] = core::array::from_fn(|_| engine.create_state_key().unwrap());
    let [first, second, third] = ids.map(|id| engine.state_key(&id).unwrap());
    let sealed = [first, second, third].map(|key| seal(engine, key));
    for (at, id) in ids.iter().enumerate() {
        let key = engine.state_key(id).unwrap();
        assert_eq!(key, [first, second, third][at], "another handle");
        for (other, sealed) in sealed.iter().enumerate() {
            if other == at { assert_opens(engine, key, sealed) } else { assert_closed(engine, key, sealed) }
        }
    }
    assert_eq!(engine.state_key(&StateKeyId([7; 16])), Err(GONE));
    for _ in 0..2 {
        engine.destroy_state_keys_but(&[ids[1], StateKeyId([7; 16])]).unwrap();
        assert_eq!((engine.state_key(&ids[0]), engine.state_key(&ids[2])), (Err(GONE), Err(GONE)));
        assert!(engine.encrypt(GCM, first, DATA, &mut [0; 20]).is_err(), "the handle of a destroyed key");
        assert_opens(engine, second, &sealed[1]);
    }
    // There is room again, and what was sealed stays closed.
    for _ in 0..2 {
        let id = engine.create_state_key().unwrap();
        let key = engine.state_key(&id).unwrap();
        assert_closed(engine, key, &sealed[0]);
    }
    engine.destroy_state_keys_but(&[]).unwrap();
    assert_eq!(engine.state_key(&ids[1]), Err(GONE));
}

pub(super) fn a_state_key_stays_and_encrypts_only(engine: &mut dyn Engine) {
    const NOT_PERMITTED: EngineError = EngineError::KeyFunctionNotPermitted;
    engine.destroy_state_keys_but(&[]).unwrap();
    let id = engine.create_state_key().unwrap();
    let state_key = engine.state_key(&id).unwrap();
    assert_eq!(engine.destroy_key(state_key), Err(NOT_PERMITTED));
    let mut reference = [FILLER; MAX_REFERENCE_LEN];
    assert_refused(engine.persist_key(state_key, &mut reference), NOT_PERMITTED, &reference);
    let key = aes(engine, &[1; 32], KeyUses::ALL);
    let mut buffer = [FILLER; 80];
    let refused = engine.wrap_key(WrapMechanism::AesKw, state_key, key, &mut buffer);
    assert_refused(refused, NOT_PERMITTED, &buffer);
    let mut buffer = [FILLER; 80];
    let refused = engine.wrap_key(WrapMechanism::AesKw, key, state_key, &mut buffer);
    assert_refused(refused, EngineError::KeyUnextractable, &buffer);
    let mut digest = [FILLER; SHA256_LEN];
    assert_refused(engine.digest_key(&[1], state_key, &mut digest), NOT_PERMITTED, &digest);
    let mut mac = [FILLER; 16];
    assert_refused(engine.sign(MacMechanism::AesCmac, state_key, b"data", &mut mac), NOT_PERMITTED, &mac);
    // Forgetting persisted keys leaves it.
    let sealed = seal(engine, state_key);
    engine.forget_all_but(&[]).unwrap();
    assert_opens(engine, state_key, &sealed);
    destroy(engine, &[key]);
    engine.destroy_state_keys_but(&[]).unwrap();
}

pub(super) fn a_renewed_device_key_opens_nothing_of_before(engine: &mut dyn Engine) {
    let device_key = engine.device_key();
    let sealed = seal(engine, device_key);
    for _ in 0..2 {
        engine.renew_device_key().unwrap();
        let renewed = engine.device_key();
        assert_closed(engine, renewed, &sealed);
        let again = seal(engine, renewed);
        assert_opens(engine, renewed, &again);
    }
}

/// The part of [`restart`](super::restart) about state keys.
pub(super) fn restart(before: &mut dyn Engine, after: &mut dyn Engine, other: &mut dyn Engine) {
    let ids: [StateKeyId; 2] = core::array::from_fn(|_| before.create_state_key().unwrap());
    let key = before.state_key(&ids[1]).unwrap();
    let sealed = seal(before, key);
    for id in &ids {
        assert_eq!(other.state_key(id), Err(EngineError::ReferenceInvalid));
    }
    let key = after.state_key(&ids[1]).unwrap();
    assert_opens(after, key, &sealed);
    after.destroy_state_keys_but(&ids[1..]).unwrap();
    assert_eq!(after.state_key(&ids[0]), Err(EngineError::ReferenceInvalid));
    assert_opens(after, key, &sealed);
    after.destroy_state_keys_but(&[]).unwrap();
}
