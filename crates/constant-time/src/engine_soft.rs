//! The software engine: every method of the port that handles a secret.

use crate::harness::{Case, public, secret, set_up};
use ::engine_soft::{DeviceSecret, SoftEngine};
use engine::{
    Algorithm, CipherMechanism, Engine, EngineError, KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism,
    WrapMechanism,
};
use rand_core::utils::next_word_via_fill;
use rand_core::{Infallible, TryCryptoRng, TryRng};
use subtle::ConstantTimeEq;

const IV: [u8; 12] = [9; 12];
const GCM: CipherMechanism<'static> = CipherMechanism::AesGcm { iv: &IV, aad: b"associated" };

/// Where a message, tag or wrapped key is changed: nowhere, in its first byte, in its last byte.
pub(crate) const TAMPERINGS: [(&str, Option<bool>); 3] =
    [("good", None), ("first_half", Some(false)), ("last_half", Some(true))];

pub(crate) fn tamper<const N: usize>(mut bytes: [u8; N], at: Option<bool>) -> [u8; N] {
    if let Some(last) = at {
        bytes[if last { N - 1 } else { 0 }] ^= 1;
    }
    bytes
}

/// A source of seeds that are secret, and differ from call to call.
#[derive(Default)]
pub(crate) struct SecretEntropy {
    calls: u8,
}

impl TryRng for SecretEntropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, seed: &mut [u8]) -> Result<(), Infallible> {
        self.calls += 1;
        for (at, byte) in seed.iter_mut().enumerate() {
            *byte = secret(at as u8 ^ self.calls);
        }
        Ok(())
    }
}

impl TryCryptoRng for SecretEntropy {}

/// An engine whose device secret and entropy are secret.
fn engine() -> Box<dyn Engine> {
    // It makes its attestation key, whose cases are in `tke_crypto`.
    set_up(|| -> Box<dyn Engine> {
        Box::new(
            SoftEngine::<_, 8>::new(&DeviceSecret::new(secret([3; 32])), SecretEntropy::default()).unwrap(),
        )
    })
}

pub(crate) const fn spec(algorithm: Algorithm, key_len: u16) -> KeySpec {
    KeySpec { algorithm, key_len, uses: KeyUses::ALL, extractable: true }
}

/// A key with a secret value.
fn key(engine: &mut dyn Engine, algorithm: Algorithm, byte: u8) -> KeyHandle {
    engine.import_key(&spec(algorithm, 32), &secret([byte; 32])).unwrap()
}

pub(crate) fn cases() -> Vec<Case> {
    [keys(), wrapping(), gcm(), macs(), persistence()].into_iter().flatten().collect()
}

fn keys() -> Vec<Case> {
    vec![
        Case::silent("engine_import", || {
            key(&mut *engine(), Algorithm::Aes, 1);
        }),
        Case::silent("engine_combine_key_parts", || {
            let parts = [1, 2, 3].map(|byte| KeyPart::new(secret([byte; 32])));
            engine().combine_key_parts(&parts, false).unwrap();
        }),
        Case::silent("engine_derive_key", || {
            let mut engine = engine();
            let base = key(&mut *engine, Algorithm::Aes, 1);
            engine.derive_key(base, b"label", b"context", &spec(Algorithm::Aes, 32)).unwrap();
        }),
        Case::silent("engine_digest_key", || {
            let mut engine = engine();
            let key = key(&mut *engine, Algorithm::Aes, 1);
            engine.digest_key(&[1], key, &mut [0; 32]).unwrap();
        }),
        Case::silent("engine_random", || engine().random(&mut [0; 64]).unwrap()),
        Case::silent("engine_generate_key", || {
            engine().generate_key(&spec(Algorithm::Aes, 32)).unwrap();
        }),
        Case::silent("key_part_equality", || {
            let part = |byte| KeyPart::new(secret([byte; 32]));
            for (a, b) in [(1, 1), (1, 2)] {
                assert_eq!(public(part(a).ct_eq(&part(b)).unwrap_u8()) == 1, a == b);
            }
        }),
    ]
}

fn wrapping() -> Vec<Case> {
    let mut cases = Vec::new();
    for (by, name) in [(WrapMechanism::AesKw, "kw"), (WrapMechanism::AesKwp, "kwp")] {
        let wrapped = move |engine: &mut dyn Engine| {
            let kek = key(engine, Algorithm::Aes, 1);
            let key = key(engine, Algorithm::Aes, 2);
            let mut wrapped = [0; 40];
            engine.wrap_key(by, kek, key, &mut wrapped).unwrap();
            (kek, public(wrapped))
        };
        cases.push(Case::silent(format!("engine_{name}_wrap"), move || {
            wrapped(&mut *engine());
        }));
        for (tampering, at) in TAMPERINGS {
            cases.push(Case::silent(format!("engine_{name}_unwrap_{tampering}"), move || {
                let mut engine = engine();
                let (kek, wrapped) = wrapped(&mut *engine);
                let result =
                    engine.unwrap_key(by, kek, &secret(tamper(wrapped, at)), &spec(Algorithm::Aes, 32));
                assert_eq!(public(result.err()), at.map(|_| EngineError::WrappedKeyInvalid));
            }));
        }
    }
    // A length inside that differs from the specified one is part of the same verdict.
    cases.push(Case::silent("engine_kwp_unwrap_other_length", move || {
        let mut engine = engine();
        let kek = key(&mut *engine, Algorithm::Aes, 1);
        let key = engine.import_key(&spec(Algorithm::GenericSecret, 27), &secret([2; 27])).unwrap();
        let mut wrapped = [0; 40];
        engine.wrap_key(WrapMechanism::AesKwp, kek, key, &mut wrapped).unwrap();
        let result = engine.unwrap_key(
            WrapMechanism::AesKwp,
            kek,
            &secret(wrapped),
            &spec(Algorithm::GenericSecret, 30),
        );
        assert_eq!(public(result.err()), Some(EngineError::WrappedKeyInvalid));
    }));
    cases
}

fn gcm() -> Vec<Case> {
    let sealed = |engine: &mut dyn Engine| {
        let key = key(engine, Algorithm::Aes, 1);
        let mut sealed = [0; 61];
        engine.encrypt(GCM, key, &secret([7; 45]), &mut sealed).unwrap();
        (key, public(sealed))
    };
    let mut cases = vec![Case::silent("engine_gcm_seal", move || {
        sealed(&mut *engine());
    })];
    for (tampering, at) in TAMPERINGS {
        // The crate aes-gcm makes its verdict public itself, by the branch that decrypts.
        cases.push(Case::with_verdicts(format!("engine_gcm_open_{tampering}"), 1, move || {
            let mut engine = engine();
            let (key, sealed) = sealed(&mut *engine);
            let result = engine.decrypt(GCM, key, &secret(tamper(sealed, at)), &mut [0; 45]);
            assert_eq!(public(result.err()), at.map(|_| EngineError::EncryptedDataInvalid));
        }));
    }
    cases
}

fn macs() -> Vec<Case> {
    let mut cases = Vec::new();
    for (by, algorithm, name) in [
        (MacMechanism::AesCmac, Algorithm::Aes, "cmac"),
        (MacMechanism::HmacSha256, Algorithm::GenericSecret, "hmac"),
    ] {
        let signed = move |engine: &mut dyn Engine| {
            let key = key(engine, algorithm, 1);
            let mut mac = [0; 32];
            engine.sign(by, key, &secret([7; 45]), &mut mac).unwrap();
            (key, public(mac))
        };
        cases.push(Case::silent(format!("engine_{name}_sign"), move || {
            signed(&mut *engine());
        }));
        for (tampering, at) in TAMPERINGS {
            cases.push(Case::silent(format!("engine_{name}_verify_{tampering}"), move || {
                let mut engine = engine();
                let (key, mut mac) = signed(&mut *engine);
                if let Some(last) = at {
                    mac[if last { by.mac_len() - 1 } else { 0 }] ^= 1;
                }
                let result = engine.verify(by, key, &secret([7; 45]), &secret(mac)[..by.mac_len()]);
                assert_eq!(public(result.err()), at.map(|_| EngineError::SignatureInvalid));
            }));
        }
    }
    cases
}

fn persistence() -> Vec<Case> {
    let persisted = |engine: &mut dyn Engine| {
        let key = key(engine, Algorithm::Aes, 1);
        let mut reference = [0; 64];
        assert_eq!(engine.persist_key(key, &mut reference), Ok(64));
        public(reference)
    };
    let mut cases = vec![Case::silent("engine_persist", move || {
        persisted(&mut *engine());
    })];
    for (tampering, at) in TAMPERINGS {
        cases.push(Case::silent(format!("engine_recall_{tampering}"), move || {
            let mut engine = engine();
            let reference = tamper(persisted(&mut *engine), at);
            assert_eq!(
                public(engine.recall_key(&reference).err()),
                at.map(|_| EngineError::ReferenceInvalid)
            );
        }));
    }
    cases
}
