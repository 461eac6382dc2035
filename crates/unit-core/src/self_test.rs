//! The power-on self-test: known answers, through the engine, for every mechanism the unit uses.
//!
//! It detects an engine that computes wrong results, and one that accepts invalid input. It proves nothing more.

use crate::command::derive;
use crate::key_parts::KeyParts;
use crate::key_scope::KeyScope;
use crate::master_key::master_key_spec;
use engine::{
    AES_GCM_TAG_LEN, Algorithm, CipherMechanism, DigestMechanism, Engine, EngineError, KeySpec, KeyUses,
    MAX_KEY_LEN, MacMechanism, Mechanism, SHA256_LEN, WrapMechanism, declassify,
};
use subtle::ConstantTimeEq;
use unit_api::{Refusal, UnitError};

/// The mechanisms that the unit's commands need.
const NEEDED: [Mechanism; 9] = [
    Mechanism::AesKeyGen,
    Mechanism::GenericSecretKeyGen,
    Mechanism::AesKw,
    Mechanism::AesKwp,
    Mechanism::AesGcm,
    Mechanism::AesCmac,
    Mechanism::Sp800108CounterCmac,
    Mechanism::Sha256,
    Mechanism::HmacSha256,
];

/// One test; any error is a failure.
type Test<E> = fn(&mut KeyScope<'_, E>) -> Result<(), Refusal>;

/// Runs every test.
///
/// # Errors
/// [`UnitError::SelfTestFailed`], whichever test failed.
pub(crate) fn run<E: Engine>(engine: &mut E) -> Result<(), UnitError> {
    let tests: [Test<E>; 9] = [
        mechanisms_are_listed,
        random_bits_differ,
        generated_keys_differ,
        sha256,
        cmac,
        hmac_sha256,
        gcm,
        key_wrap,
        master_key_and_derivation,
    ];
    tests.into_iter().try_for_each(|test| KeyScope::run(engine, test)).map_err(|_| UnitError::SelfTestFailed)
}

fn expect(right: bool) -> Result<(), Refusal> {
    if right { Ok(()) } else { Err(UnitError::SelfTestFailed.into()) }
}

fn expect_refused<T>(result: Result<T, EngineError>, error: EngineError) -> Result<(), Refusal> {
    expect(result.err() == Some(error))
}

const fn secret(algorithm: Algorithm, key_len: u16, uses: KeyUses) -> KeySpec {
    KeySpec { algorithm, key_len, uses, extractable: false }
}

fn mechanisms_are_listed<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let engine = scope.engine();
    let listed = engine.mechanisms();
    expect(NEEDED.iter().all(|needed| listed.iter().any(|info| info.mechanism == *needed)))
}

fn random_bits_differ<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    scope.engine().random(&mut a)?;
    scope.engine().random(&mut b)?;
    let zero = [0; 32];
    expect(declassify(!(a.ct_eq(&b) | a.ct_eq(&zero) | b.ct_eq(&zero))))
}

fn generated_keys_differ<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let mut digests = [[0; SHA256_LEN]; 2];
    for digest in &mut digests {
        let made = scope.engine().generate_key(&master_key_spec(false))?;
        let key = scope.keep(made)?;
        scope.engine().digest_key(&[], key, digest)?;
    }
    let [a, b] = digests;
    expect(declassify(a.ct_ne(&b)))
}

fn sha256<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let mut digest = [0; SHA256_LEN];
    let len = scope.engine().digest(DigestMechanism::Sha256, b"abc", &mut digest)?;
    expect(len == SHA256_LEN && digest == SHA256_ABC)
}

fn cmac<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let uses = KeyUses::SIGN.with(KeyUses::VERIFY);
    let made = scope.engine().import_key(&secret(Algorithm::Aes, 32, uses), &CMAC_KEY)?;
    let key = scope.keep(made)?;
    mac_answers(scope, MacMechanism::AesCmac, key, &CMAC_MESSAGE, CMAC)
}

fn hmac_sha256<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let uses = KeyUses::SIGN.with(KeyUses::VERIFY);
    let made = scope.engine().import_key(&secret(Algorithm::GenericSecret, 20, uses), &[0x0b; 20])?;
    let key = scope.keep(made)?;
    mac_answers(scope, MacMechanism::HmacSha256, key, b"Hi There", HMAC)
}

fn mac_answers<E: Engine, const N: usize>(
    scope: &mut KeyScope<'_, E>,
    by: MacMechanism,
    key: engine::KeyHandle,
    message: &[u8],
    mut expected: [u8; N],
) -> Result<(), Refusal> {
    let mut mac = [0; N];
    let len = scope.engine().sign(by, key, message, &mut mac)?;
    expect(len == N && mac == expected)?;
    scope.engine().verify(by, key, message, &expected)?;
    if let Some(last) = expected.last_mut() {
        *last ^= 1;
    }
    expect_refused(scope.engine().verify(by, key, message, &expected), EngineError::SignatureInvalid)
}

fn gcm<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let uses = KeyUses::ENCRYPT.with(KeyUses::DECRYPT);
    let made = scope.engine().import_key(&secret(Algorithm::Aes, 32, uses), &GCM_KEY)?;
    let key = scope.keep(made)?;
    let by = CipherMechanism::AesGcm { iv: &GCM_IV, aad: &GCM_AAD };
    let mut encrypted = [0; GCM_CIPHERTEXT.len()];
    let len = scope.engine().encrypt(by, key, &GCM_PLAINTEXT, &mut encrypted)?;
    expect(len == encrypted.len() && encrypted == GCM_CIPHERTEXT)?;
    let mut decrypted = [0; GCM_CIPHERTEXT.len() - AES_GCM_TAG_LEN];
    let len = scope.engine().decrypt(by, key, &encrypted, &mut decrypted)?;
    expect(len == decrypted.len() && decrypted == GCM_PLAINTEXT)?;
    if let Some(last) = encrypted.last_mut() {
        *last ^= 1;
    }
    let refused = scope.engine().decrypt(by, key, &encrypted, &mut decrypted);
    expect_refused(refused, EngineError::EncryptedDataInvalid)
}

fn key_wrap<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let spec = KeySpec { extractable: true, ..secret(Algorithm::Aes, 32, KeyUses::NONE) };
    key_wrap_answers(scope, WrapMechanism::AesKw, &KW_KEK, &spec, &KW_KEY, KW_WRAPPED)?;
    let spec = KeySpec { extractable: true, ..secret(Algorithm::GenericSecret, 20, KeyUses::NONE) };
    key_wrap_answers(scope, WrapMechanism::AesKwp, &KWP_KEK, &spec, &KWP_KEY, KWP_WRAPPED)
}

fn key_wrap_answers<E: Engine, const N: usize>(
    scope: &mut KeyScope<'_, E>,
    by: WrapMechanism,
    kek: &[u8],
    spec: &KeySpec,
    key: &[u8],
    mut expected: [u8; N],
) -> Result<(), Refusal> {
    let kek_len = u16::try_from(kek.len()).unwrap_or_default();
    let uses = KeyUses::WRAP.with(KeyUses::UNWRAP);
    let kek = scope.engine().import_key(&secret(Algorithm::Aes, kek_len, uses), kek)?;
    let kek = scope.keep(kek)?;
    let key = scope.engine().import_key(spec, key)?;
    let key = scope.keep(key)?;
    let mut wrapped = [0; MAX_KEY_LEN + 8];
    let len = scope.engine().wrap_key(by, kek, key, &mut wrapped)?;
    expect(wrapped.get(..len) == Some(&expected[..]))?;
    let unwrapped = scope.engine().unwrap_key(by, kek, &expected, spec)?;
    let unwrapped = scope.keep(unwrapped)?;
    scope.engine().wrap_key(by, kek, unwrapped, &mut wrapped)?;
    expect(wrapped.get(..len) == Some(&expected[..]))?;
    if let Some(last) = expected.last_mut() {
        *last ^= 1;
    }
    let refused = scope.engine().unwrap_key(by, kek, &expected, spec);
    expect_refused(refused, EngineError::WrappedKeyInvalid)?;
    scope.destroy_all()?;
    Ok(())
}

fn master_key_and_derivation<E: Engine>(scope: &mut KeyScope<'_, E>) -> Result<(), Refusal> {
    let mut parts = KeyParts::none();
    for part in PARTS.as_chunks().0 {
        parts.push(part)?;
    }
    let combined = scope.engine().combine_key_parts(parts.as_slice(), false)?;
    let candidate = derive(scope, combined)?;
    expect(*candidate.pattern.as_bytes() == PATTERN)?;
    let mut mac = [0; DERIVED_CMAC.len()];
    candidate.mac.sign(scope.engine(), &CMAC_MESSAGE, &mut mac)?;
    expect(mac == DERIVED_CMAC)
}

/// FIPS 180-4, the example of one block: SHA-256 of `abc`.
const SHA256_ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0,
    0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

/// SP 800-38B, examples with AES-256: the key.
const CMAC_KEY: [u8; 32] = [
    0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f,
    0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
];

/// SP 800-38B, examples with AES-256: the message of one block.
const CMAC_MESSAGE: [u8; 16] =
    [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];

/// SP 800-38B, examples with AES-256: its CMAC.
const CMAC: [u8; 16] =
    [0x28, 0xa7, 0x02, 0x3f, 0x45, 0x2e, 0x8f, 0x82, 0xbd, 0x4b, 0xf2, 0x8d, 0x8c, 0x37, 0xc3, 0x5c];

/// RFC 4231 §4.2: HMAC-SHA-256 of `Hi There`.
const HMAC: [u8; 32] = [
    0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88,
    0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7,
];

/// GCM specification (McGrew, Viega), test case 16: the key.
const GCM_KEY: [u8; 32] = [
    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08, 0xfe,
    0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
];

/// Test case 16: the IV.
const GCM_IV: [u8; 12] = [0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];

/// Test case 16: the additional authenticated data.
const GCM_AAD: [u8; 20] = [
    0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab,
    0xad, 0xda, 0xd2,
];

/// Test case 16: the plaintext.
const GCM_PLAINTEXT: [u8; 60] = [
    0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a, 0x86,
    0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72, 0x1c, 0x3c,
    0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed,
    0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39,
];

/// Test case 16: ciphertext ‖ tag.
const GCM_CIPHERTEXT: [u8; 76] = [
    0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3, 0x2a, 0x84, 0x42, 0x7d, 0x64,
    0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75, 0x98, 0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa, 0x8c, 0xb0,
    0x8e, 0x48, 0x59, 0x0d, 0xbb, 0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38, 0xc5, 0xf6, 0x1e,
    0x63, 0x93, 0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62, 0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68,
    0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b,
];

/// RFC 3394 §4.6: the key that wraps.
const KW_KEK: [u8; 32] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
];

/// RFC 3394 §4.6: the key wrapped.
const KW_KEY: [u8; 32] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00,
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
];

/// RFC 3394 §4.6: wrapped.
const KW_WRAPPED: [u8; 40] = [
    0x28, 0xc9, 0xf4, 0x04, 0xc4, 0xb8, 0x10, 0xf4, 0xcb, 0xcc, 0xb3, 0x5c, 0xfb, 0x87, 0xf8, 0x26, 0x3f,
    0x57, 0x86, 0xe2, 0xd8, 0x0e, 0xd3, 0x26, 0xcb, 0xc7, 0xf0, 0xe7, 0x1a, 0x99, 0xf4, 0x3b, 0xfb, 0x98,
    0x8b, 0x9b, 0x7a, 0x02, 0xdd, 0x21,
];

/// RFC 5649 §6, 20 bytes: the key that wraps.
const KWP_KEK: [u8; 24] = [
    0x58, 0x40, 0xdf, 0x6e, 0x29, 0xb0, 0x2a, 0xf1, 0xab, 0x49, 0x3b, 0x70, 0x5b, 0xf1, 0x6e, 0xa1, 0xae,
    0x83, 0x38, 0xf4, 0xdc, 0xc1, 0x76, 0xa8,
];

/// RFC 5649 §6, 20 bytes: the key wrapped.
const KWP_KEY: [u8; 20] = [
    0xc3, 0x7b, 0x7e, 0x64, 0x92, 0x58, 0x43, 0x40, 0xbe, 0xd1, 0x22, 0x07, 0x80, 0x89, 0x41, 0x15, 0x50,
    0x68, 0xf7, 0x38,
];

/// RFC 5649 §6, 20 bytes: wrapped.
const KWP_WRAPPED: [u8; 32] = [
    0x13, 0x8b, 0xde, 0xaa, 0x9b, 0x8f, 0xa7, 0xfc, 0x61, 0xf9, 0x77, 0x42, 0xe7, 0x22, 0x48, 0xee, 0x5a,
    0xe6, 0xae, 0x53, 0x60, 0xd1, 0xae, 0x6a, 0x5f, 0x54, 0xf3, 0x73, 0xfa, 0x54, 0x3b, 0x6a,
];

/// Two key parts: 00 to 1f, and 32 times a5.
const PARTS: [u8; 64] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0xa5, 0xa5,
    0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5,
    0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5,
];

/// The verification pattern of their exclusive or.
const PATTERN: [u8; 32] = [
    0x0c, 0x71, 0x16, 0xb0, 0xca, 0xbd, 0xb3, 0x9a, 0xc9, 0xff, 0x60, 0x73, 0x86, 0x2e, 0x2a, 0x4f, 0x47,
    0x07, 0x86, 0x26, 0x5a, 0x3c, 0xe8, 0x72, 0x3c, 0x23, 0x7e, 0xb4, 0x00, 0x00, 0x00, 0x00,
];

/// CMAC of [`CMAC_MESSAGE`] under the MAC key derived from it, computed by another implementation of SP 800-108.
const DERIVED_CMAC: [u8; 16] =
    [0x0d, 0xbc, 0x72, 0x94, 0x4b, 0x7b, 0xa7, 0x69, 0x63, 0x2d, 0x31, 0x40, 0xbc, 0x0d, 0x8f, 0x67];
