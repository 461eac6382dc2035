//! Laws of the attestation key.

use super::support::aes;
use crate::{ATTESTATION_SIGNATURE_LEN, Engine, KeyUses, MAX_REFERENCE_LEN};
use tke_crypto::{PublicKey, Signature};

/// Signs a message and verifies it under the key that the engine shows.
pub(super) fn check(engine: &mut dyn Engine) {
    let key = PublicKey::from_point(&engine.attestation_key().point).unwrap();
    for message in [&b""[..], b"answer", &[7; 4096]] {
        let mut raw = [0; ATTESTATION_SIGNATURE_LEN];
        engine.attest(message, &mut raw).unwrap();
        let signature = Signature::from_raw(&raw).unwrap();
        key.verify(message, &signature).unwrap();
        assert!(key.verify(b"another message", &signature).is_err());
    }
}

pub(super) fn a_signature_verifies_under_the_attestation_key(engine: &mut dyn Engine) {
    check(engine);
}

/// What removes keys leaves the attestation key alone.
pub(super) fn the_attestation_key_stays(engine: &mut dyn Engine) {
    let before = *engine.attestation_key();
    let key = aes(engine, &[7; 32], KeyUses::SIGN);
    let mut reference = [0; MAX_REFERENCE_LEN];
    engine.persist_key(key, &mut reference).unwrap();
    engine.destroy_key(key).unwrap();
    engine.forget_all_but(&[]).unwrap();
    assert_eq!(*engine.attestation_key(), before);
    check(engine);
}
