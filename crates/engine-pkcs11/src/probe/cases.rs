//! The probe's cases: each makes the token do one thing and checks the result.

use super::vectors::{
    BLOCK, BLOCK_ENCRYPTED, CMAC, CMAC_KEY, CMAC_MESSAGE, COUNTING, DERIVED, GCM_AAD, GCM_CIPHERTEXT, GCM_IV,
    GCM_KEY, GCM_PLAINTEXT, HMAC, KW_KEY, KW_WRAPPED, KWP_KEY, KWP_WRAPPED, PATTERN,
};
use crate::error::CallError;
use crate::mechanisms::{derive_on_token, unwrap_kwp};
use crate::objects::{CallContext, ObjectUsage, digest_key, template, with_attribute};
use cryptoki::error::Error;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectHandle};
use sha2::{Digest, Sha256};

/// Two random strings are different.
pub(super) fn random(call: &CallContext<'_>) -> Result<bool, CallError> {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    call.session.generate_random_slice(&mut a)?;
    call.session.generate_random_slice(&mut b)?;
    Ok(a != b && a != [0; 32])
}

/// Two generated keys are different.
pub(super) fn generates_keys(
    call: &CallContext<'_>,
    key_type: KeyType,
    mechanism: &Ck<'_>,
) -> Result<bool, CallError> {
    let generate = || {
        let mut attributes = template(
            key_type,
            &ObjectUsage { allowed: vec![MechanismType::SHA256], ..ObjectUsage::NONE },
            false,
        );
        attributes.push(Attribute::ValueLen(32.into()));
        call.session.generate_key(mechanism, &attributes).map(|key| call.track(key))
    };
    let (a, b) = (generate()?, generate()?);
    Ok(digest_key(call.session, &[], a)? != digest_key(call.session, &[], b)?)
}

fn aes(
    call: &CallContext<'_>,
    value: &[u8],
    usage: &ObjectUsage,
    extractable: bool,
) -> Result<ObjectHandle, CallError> {
    call.create(template(KeyType::AES, usage, extractable), value)
}

fn wrapping_usage() -> ObjectUsage {
    let allowed = vec![MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD];
    ObjectUsage { wrap: true, unwrap: true, allowed, ..ObjectUsage::NONE }
}

/// A sensitive value is not readable, a key that is not extractable is not wrapped, a key does not do what its usage excludes,
/// and none of that can be changed.
pub(super) fn protects_keys(call: &CallContext<'_>) -> Result<bool, CallError> {
    let key = aes(call, &COUNTING, &ObjectUsage::NONE, false)?;
    let kek = aes(call, &[7; 32], &wrapping_usage(), false)?;
    let value = call.session.get_attributes(key, &[AttributeType::Value]);
    let hidden =
        !value.is_ok_and(|value| value.iter().any(|attribute| matches!(attribute, Attribute::Value(_))));
    let not_wrapped = call.session.wrap_key(&Ck::AesKeyWrap, kek, key).is_err();
    let unused_refused = call.session.sign(&Ck::AesCMac, kek, b"data").is_err();
    let permanent = call.session.update_attributes(key, &[Attribute::Extractable(true)]).is_err()
        && call.session.update_attributes(key, &[Attribute::Sensitive(false)]).is_err();
    Ok(hidden && not_wrapped && unused_refused && permanent)
}

/// Wraps and unwraps the published key, and refuses a modified wrapped key.
pub(super) fn aes_kw(call: &CallContext<'_>) -> Result<bool, CallError> {
    let kek = aes(call, &COUNTING, &wrapping_usage(), false)?;
    let key = aes(call, &KW_KEY, &ObjectUsage::NONE, true)?;
    let wrapped = call.session.wrap_key(&Ck::AesKeyWrap, kek, key)?;
    let mac = ObjectUsage { sign: true, allowed: vec![MechanismType::AES_CMAC], ..ObjectUsage::NONE };
    let attributes = template(KeyType::AES, &mac, false);
    let unwrapped = call.track(call.session.unwrap_key(&Ck::AesKeyWrap, kek, &KW_WRAPPED, &attributes)?);
    let expected = aes(call, &KW_KEY, &mac, false)?;
    let same = call.session.sign(&Ck::AesCMac, unwrapped, b"data")?
        == call.session.sign(&Ck::AesCMac, expected, b"data")?;
    let mut tampered = KW_WRAPPED;
    tampered[39] ^= 1;
    let refused = call.session.unwrap_key(&Ck::AesKeyWrap, kek, &tampered, &attributes).is_err();
    Ok(wrapped == KW_WRAPPED && same && refused)
}

/// Unwraps a secret of 20 bytes to that length, refuses a modified one, and wraps a key of 32 bytes as RFC 5649 specifies.
pub(super) fn kwp_unwrap(call: &CallContext<'_>) -> Result<bool, CallError> {
    let kek = aes(call, &COUNTING, &wrapping_usage(), false)?;
    let attributes = with_attribute(
        template(KeyType::GENERIC_SECRET, &ObjectUsage::NONE, true),
        Attribute::Sensitive(false),
    );
    let key = call.track(call.session.unwrap_key(&Ck::AesKeyWrapPad, kek, &KWP_WRAPPED, &attributes)?);
    let size = call.session.get_attribute_info(key, &[AttributeType::Value])?;
    let mut tampered = KWP_WRAPPED;
    tampered[31] ^= 1;
    let refused = call.session.unwrap_key(&Ck::AesKeyWrapPad, kek, &tampered, &attributes).is_err();
    let key = aes(call, &COUNTING, &ObjectUsage::NONE, true)?;
    let wrapped = call.session.wrap_key(&Ck::AesKeyWrapPad, kek, key)?;
    let cipher_key = aes(call, &COUNTING, &blocks_usage(), false)?;
    let unwrapped = unwrap_kwp(|block| call.decrypt_block(cipher_key, block), &wrapped, 32);
    let correct = unwrapped.is_ok_and(|unwrapped| unwrapped.expose() == COUNTING);
    Ok(matches!(size.as_slice(), [AttributeInfo::Available(20)]) && refused && correct)
}

/// Wraps a secret of 20 bytes.
pub(super) fn kwp_wrap(call: &CallContext<'_>) -> Result<bool, CallError> {
    let kek = aes(call, &COUNTING, &wrapping_usage(), false)?;
    let key = call.create(template(KeyType::GENERIC_SECRET, &ObjectUsage::NONE, true), &KWP_KEY)?;
    Ok(call.session.wrap_key(&Ck::AesKeyWrapPad, kek, key)? == KWP_WRAPPED)
}

fn blocks_usage() -> ObjectUsage {
    ObjectUsage { encrypt: true, decrypt: true, allowed: vec![MechanismType::AES_ECB], ..ObjectUsage::NONE }
}

/// Encrypts and decrypts one block.
pub(super) fn single_blocks(call: &CallContext<'_>) -> Result<bool, CallError> {
    let key = aes(call, &COUNTING, &blocks_usage(), false)?;
    let mut block = BLOCK;
    call.encrypt_block(key, &mut block)?;
    let correct = block == BLOCK_ENCRYPTED;
    call.decrypt_block(key, &mut block)?;
    Ok(correct && block == BLOCK)
}

/// Encrypts and decrypts the published plaintext, and refuses a modified ciphertext.
pub(super) fn gcm(call: &CallContext<'_>) -> Result<bool, CallError> {
    let usage = ObjectUsage {
        encrypt: true,
        decrypt: true,
        allowed: vec![MechanismType::AES_GCM],
        ..ObjectUsage::NONE
    };
    let key = aes(call, &GCM_KEY, &usage, false)?;
    let with_gcm = |work: &dyn Fn(&Ck<'_>) -> Result<Vec<u8>, Error>| {
        let mut iv = GCM_IV;
        work(&Ck::AesGcm(GcmParams::new(&mut iv, &GCM_AAD, 128.into())?))
    };
    let encrypted = with_gcm(&|gcm| call.session.encrypt(gcm, key, &GCM_PLAINTEXT))?;
    let decrypted = with_gcm(&|gcm| call.session.decrypt(gcm, key, &GCM_CIPHERTEXT))?;
    let mut tampered = GCM_CIPHERTEXT;
    tampered[31] ^= 1;
    let refused = with_gcm(&|gcm| call.session.decrypt(gcm, key, &tampered)).is_err();
    Ok(encrypted == GCM_CIPHERTEXT && decrypted == GCM_PLAINTEXT && refused)
}

fn mac_usage(mechanism: MechanismType) -> ObjectUsage {
    ObjectUsage { sign: true, verify: true, allowed: vec![mechanism], ..ObjectUsage::NONE }
}

/// Computes and verifies the published MAC, and refuses a modified one.
fn check_mac(
    call: &CallContext<'_>,
    mechanism: &Ck<'_>,
    key: ObjectHandle,
    data: &[u8],
    expected: &[u8],
) -> Result<bool, CallError> {
    let correct = call.session.sign(mechanism, key, data)? == expected;
    call.session.verify(mechanism, key, data, expected)?;
    let mut tampered = expected.to_vec();
    tampered.iter_mut().for_each(|byte| *byte ^= 1);
    Ok(correct && call.session.verify(mechanism, key, data, &tampered).is_err())
}

/// Computes and verifies the published MAC.
pub(super) fn cmac(call: &CallContext<'_>) -> Result<bool, CallError> {
    let key = aes(call, &CMAC_KEY, &mac_usage(MechanismType::AES_CMAC), false)?;
    check_mac(call, &Ck::AesCMac, key, &CMAC_MESSAGE, &CMAC)
}

/// The published key of 20 bytes, with zeros appended up to `key_len`.
pub(super) fn hmac(call: &CallContext<'_>, key_len: usize) -> Result<bool, CallError> {
    let mut value = vec![0x0b; 20];
    value.resize(key_len, 0);
    let usage = mac_usage(MechanismType::SHA256_HMAC);
    let key = call.create(template(KeyType::GENERIC_SECRET, &usage, false), &value)?;
    check_mac(call, &Ck::Sha256Hmac, key, b"Hi There", &HMAC)
}

/// Computes the published digest.
pub(super) fn sha256(call: &CallContext<'_>) -> Result<bool, CallError> {
    Ok(call.session.digest(&Ck::Sha256, b"abc")? == Sha256::digest(b"abc").as_slice())
}

fn digest_usage() -> ObjectUsage {
    ObjectUsage { allowed: vec![MechanismType::SHA256], ..ObjectUsage::NONE }
}

/// Digests a byte and a key by `C_DigestKey`.
pub(super) fn key_digest(call: &CallContext<'_>) -> Result<bool, CallError> {
    let key = aes(call, &COUNTING, &digest_usage(), false)?;
    Ok(digest_key(call.session, &[1], key)?.starts_with(&PATTERN))
}

/// Derives the expected key.
pub(super) fn counter_kdf(call: &CallContext<'_>) -> Result<bool, CallError> {
    let usage = ObjectUsage {
        derive: true,
        allowed: vec![MechanismType::SP800_108_COUNTER_KDF],
        ..ObjectUsage::NONE
    };
    let base = aes(call, &COUNTING, &usage, false)?;
    let mut attributes = template(KeyType::AES, &digest_usage(), false);
    attributes.push(Attribute::ValueLen(32.into()));
    let derived = call.track(derive_on_token(call, base, b"label", b"context", &attributes)?);
    Ok(digest_key(call.session, &[], derived)? == <[u8; 32]>::from(Sha256::digest(DERIVED)))
}

/// Derives the exclusive or of a key and a string.
pub(super) fn xor(call: &CallContext<'_>) -> Result<bool, CallError> {
    let usage =
        ObjectUsage { derive: true, allowed: vec![MechanismType::XOR_BASE_AND_DATA], ..ObjectUsage::NONE };
    let base = aes(call, &COUNTING, &usage, false)?;
    let mut attributes = template(KeyType::AES, &digest_usage(), false);
    attributes.push(Attribute::ValueLen(32.into()));
    let mechanism = Ck::XorBaseAndData(KeyDerivationStringData::new(&[0xa5; 32]));
    let sum = call.track(call.session.derive_key(&mechanism, base, &attributes)?);
    let expected = COUNTING.map(|byte| byte ^ 0xa5);
    Ok(digest_key(call.session, &[], sum)? == <[u8; 32]>::from(Sha256::digest(expected)))
}
