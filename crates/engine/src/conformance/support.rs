//! Helpers of the laws: keys for one use, and tests for whether an engine offers a mechanism.

use crate::{
    AES_GCM_IV_LEN, Algorithm, CipherMechanism, Engine, EngineError, KeyHandle, KeySpec, KeyUses, Mechanism,
    WrapMechanism,
};

/// The IV of the laws, whose keys exist for a few calls only.
pub(super) const IV: [u8; AES_GCM_IV_LEN] = *b"conformance!";

/// AES-GCM with [`IV`] and without associated data.
pub(super) const GCM: CipherMechanism<'static> = CipherMechanism::AesGcm { iv: &IV, aad: &[] };

/// Both wrap mechanisms, each with the name under which engines list it.
pub(super) const WRAPPINGS: [(WrapMechanism, Mechanism); 2] =
    [(WrapMechanism::AesKw, Mechanism::AesKw), (WrapMechanism::AesKwp, Mechanism::AesKwp)];

/// Whether the engine lists the mechanism.
pub(super) fn offers(engine: &dyn Engine, mechanism: Mechanism) -> bool {
    engine.mechanisms().iter().any(|info| info.mechanism == mechanism)
}

/// Whether the engine lists the mechanism for keys of this length.
pub(super) fn offers_len(engine: &dyn Engine, mechanism: Mechanism, key_len: usize) -> bool {
    let takes = |min: u16, max: u16| (usize::from(min)..=usize::from(max)).contains(&(8 * key_len));
    engine
        .mechanisms()
        .iter()
        .any(|info| info.mechanism == mechanism && takes(info.min_key_bits, info.max_key_bits))
}

/// An extractable specification.
pub(super) fn spec(algorithm: Algorithm, key_len: usize, uses: KeyUses) -> KeySpec {
    KeySpec { algorithm, key_len: u16::try_from(key_len).unwrap(), uses, extractable: true }
}

/// An AES key with this value.
pub(super) fn aes(engine: &mut dyn Engine, value: &[u8], uses: KeyUses) -> KeyHandle {
    engine.import_key(&spec(Algorithm::Aes, value.len(), uses), value).unwrap()
}

/// A generic secret with this value.
pub(super) fn secret(engine: &mut dyn Engine, value: &[u8], uses: KeyUses) -> KeyHandle {
    engine.import_key(&spec(Algorithm::GenericSecret, value.len(), uses), value).unwrap()
}

/// Destroys the keys of a law.
pub(super) fn destroy(engine: &mut dyn Engine, keys: &[KeyHandle]) {
    for key in keys {
        engine.destroy_key(*key).unwrap();
    }
}

/// Fills buffers before a call, so that zeros in them are the engine's.
pub(super) const FILLER: u8 = 0xee;

/// Asserts that the call was refused with this error and that its buffer is zero.
#[track_caller]
pub(super) fn assert_refused<T: core::fmt::Debug>(
    result: Result<T, EngineError>,
    error: EngineError,
    buffer: &[u8],
) {
    assert_eq!(result.unwrap_err(), error);
    assert!(buffer.iter().all(|byte| *byte == 0), "the refused call left bytes in its buffer");
}

/// Whether two keys have the same value, by wrapping both under a third. Both must be extractable.
pub(super) fn same_value(engine: &mut dyn Engine, a: KeyHandle, b: KeyHandle) -> bool {
    // KWP where there is a choice: it takes every length.
    let (by, _) = *WRAPPINGS.iter().rev().find(|(_, mechanism)| offers(engine, *mechanism)).unwrap();
    let kek = aes(engine, &[0x77; 32], KeyUses::WRAP);
    let (mut of_a, mut of_b) = ([0; 72], [0; 72]);
    let len_a = engine.wrap_key(by, kek, a, &mut of_a).unwrap();
    let len_b = engine.wrap_key(by, kek, b, &mut of_b).unwrap();
    destroy(engine, &[kek]);
    of_a[..len_a] == of_b[..len_b]
}
