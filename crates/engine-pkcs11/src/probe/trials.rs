//! The trials: each has the token do one thing and says whether it did as it should.

use super::vectors::{
    BLOCK, BLOCK_ENCRYPTED, CMAC, CMAC_KEY, CMAC_MESSAGE, COUNTING, DERIVED, GCM_AAD, GCM_CIPHERTEXT, GCM_IV,
    GCM_KEY, GCM_PLAINTEXT, HMAC, KW_KEY, KW_WRAPPED, KWP_KEY, KWP_WRAPPED, PATTERN,
};
use crate::error::CallError;
use crate::mechanisms::derivation;
use crate::mechanisms::kwp_blocks::unwrap_padded;
use crate::objects::call::Desk;
use crate::objects::persistence::digest_key;
use crate::objects::template::{Role, template, with};
use cryptoki::error::Error;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectHandle};
use sha2::{Digest, Sha256};

pub(super) fn random(desk: &Desk<'_>) -> Result<bool, CallError> {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    desk.session.generate_random_slice(&mut a)?;
    desk.session.generate_random_slice(&mut b)?;
    Ok(a != b && a != [0; 32])
}

pub(super) fn generates(desk: &Desk<'_>, kind: KeyType, by: &Ck<'_>) -> Result<bool, CallError> {
    let make = || {
        let mut attributes =
            template(kind, &Role { allowed: vec![MechanismType::SHA256], ..Role::NONE }, false);
        attributes.push(Attribute::ValueLen(32.into()));
        desk.session.generate_key(by, &attributes).map(|key| desk.keep(key))
    };
    let (a, b) = (make()?, make()?);
    Ok(digest_key(desk.session, &[], a)? != digest_key(desk.session, &[], b)?)
}

fn aes(desk: &Desk<'_>, value: &[u8], role: &Role, extractable: bool) -> Result<ObjectHandle, CallError> {
    desk.create(template(KeyType::AES, role, extractable), value)
}

fn wrapping_role() -> Role {
    let allowed = vec![MechanismType::AES_KEY_WRAP, MechanismType::AES_KEY_WRAP_PAD];
    Role { wrap: true, unwrap: true, allowed, ..Role::NONE }
}

/// The value is not shown, a key that may not leave is not wrapped, and no key does what its role leaves out.
pub(super) fn keeps_keys(desk: &Desk<'_>) -> Result<bool, CallError> {
    let kept = aes(desk, &COUNTING, &Role::NONE, false)?;
    let kek = aes(desk, &[7; 32], &wrapping_role(), false)?;
    let shown = desk.session.get_attributes(kept, &[AttributeType::Value]);
    let hidden =
        !shown.is_ok_and(|shown| shown.iter().any(|attribute| matches!(attribute, Attribute::Value(_))));
    let stays = desk.session.wrap_key(&Ck::AesKeyWrap, kek, kept).is_err();
    let idle = desk.session.sign(&Ck::AesCMac, kek, b"data").is_err();
    let for_good = desk.session.update_attributes(kept, &[Attribute::Extractable(true)]).is_err()
        && desk.session.update_attributes(kept, &[Attribute::Sensitive(false)]).is_err();
    Ok(hidden && stays && idle && for_good)
}

pub(super) fn key_wrap(desk: &Desk<'_>) -> Result<bool, CallError> {
    let kek = aes(desk, &COUNTING, &wrapping_role(), false)?;
    let key = aes(desk, &KW_KEY, &Role::NONE, true)?;
    let wrapped = desk.session.wrap_key(&Ck::AesKeyWrap, kek, key)?;
    let mac = Role { sign: true, allowed: vec![MechanismType::AES_CMAC], ..Role::NONE };
    let attributes = template(KeyType::AES, &mac, false);
    let unwrapped = desk.keep(desk.session.unwrap_key(&Ck::AesKeyWrap, kek, &KW_WRAPPED, &attributes)?);
    let expected = aes(desk, &KW_KEY, &mac, false)?;
    let same = desk.session.sign(&Ck::AesCMac, unwrapped, b"data")?
        == desk.session.sign(&Ck::AesCMac, expected, b"data")?;
    let mut tampered = KW_WRAPPED;
    tampered[39] ^= 1;
    let refused = desk.session.unwrap_key(&Ck::AesKeyWrap, kek, &tampered, &attributes).is_err();
    Ok(wrapped == KW_WRAPPED && same && refused)
}

/// A secret of 20 bytes comes out as one of 20, and a tampered one does not.
pub(super) fn padded_unwrap(desk: &Desk<'_>) -> Result<bool, CallError> {
    let kek = aes(desk, &COUNTING, &wrapping_role(), false)?;
    let attributes = with(template(KeyType::GENERIC_SECRET, &Role::NONE, true), Attribute::Sensitive(false));
    let key = desk.keep(desk.session.unwrap_key(&Ck::AesKeyWrapPad, kek, &KWP_WRAPPED, &attributes)?);
    let size = desk.session.get_attribute_info(key, &[AttributeType::Value])?;
    let mut tampered = KWP_WRAPPED;
    tampered[31] ^= 1;
    let refused = desk.session.unwrap_key(&Ck::AesKeyWrapPad, kek, &tampered, &attributes).is_err();
    // Of 32 bytes, every token wraps what RFC 5649 says.
    let whole = aes(desk, &COUNTING, &Role::NONE, true)?;
    let wrapped = desk.session.wrap_key(&Ck::AesKeyWrapPad, kek, whole)?;
    let cipher_key = aes(desk, &COUNTING, &blocks_role(), false)?;
    let back = unwrap_padded(|block| desk.decrypt_block(cipher_key, block), &wrapped, 32);
    let right = back.is_ok_and(|back| back.expose() == COUNTING);
    Ok(matches!(size.as_slice(), [AttributeInfo::Available(20)]) && refused && right)
}

pub(super) fn padded_wrap(desk: &Desk<'_>) -> Result<bool, CallError> {
    let kek = aes(desk, &COUNTING, &wrapping_role(), false)?;
    let key = desk.create(template(KeyType::GENERIC_SECRET, &Role::NONE, true), &KWP_KEY)?;
    Ok(desk.session.wrap_key(&Ck::AesKeyWrapPad, kek, key)? == KWP_WRAPPED)
}

fn blocks_role() -> Role {
    Role { encrypt: true, decrypt: true, allowed: vec![MechanismType::AES_ECB], ..Role::NONE }
}

pub(super) fn single_blocks(desk: &Desk<'_>) -> Result<bool, CallError> {
    let key = aes(desk, &COUNTING, &blocks_role(), false)?;
    let mut block = BLOCK;
    desk.encrypt_block(key, &mut block)?;
    let right = block == BLOCK_ENCRYPTED;
    desk.decrypt_block(key, &mut block)?;
    Ok(right && block == BLOCK)
}

pub(super) fn gcm(desk: &Desk<'_>) -> Result<bool, CallError> {
    let role = Role { encrypt: true, decrypt: true, allowed: vec![MechanismType::AES_GCM], ..Role::NONE };
    let key = aes(desk, &GCM_KEY, &role, false)?;
    let with = |work: &dyn Fn(&Ck<'_>) -> Result<Vec<u8>, Error>| {
        let mut iv = GCM_IV;
        work(&Ck::AesGcm(GcmParams::new(&mut iv, &GCM_AAD, 128.into())?))
    };
    let encrypted = with(&|by| desk.session.encrypt(by, key, &GCM_PLAINTEXT))?;
    let decrypted = with(&|by| desk.session.decrypt(by, key, &GCM_CIPHERTEXT))?;
    let mut tampered = GCM_CIPHERTEXT;
    tampered[31] ^= 1;
    let refused = with(&|by| desk.session.decrypt(by, key, &tampered)).is_err();
    Ok(encrypted == GCM_CIPHERTEXT && decrypted == GCM_PLAINTEXT && refused)
}

fn mac_role(by: MechanismType) -> Role {
    Role { sign: true, verify: true, allowed: vec![by], ..Role::NONE }
}

/// The MAC is the published one, and a tampered one is refused.
fn macs(
    desk: &Desk<'_>,
    by: &Ck<'_>,
    key: ObjectHandle,
    data: &[u8],
    expected: &[u8],
) -> Result<bool, CallError> {
    let right = desk.session.sign(by, key, data)? == expected;
    desk.session.verify(by, key, data, expected)?;
    let mut tampered = expected.to_vec();
    tampered.iter_mut().for_each(|byte| *byte ^= 1);
    Ok(right && desk.session.verify(by, key, data, &tampered).is_err())
}

pub(super) fn cmac(desk: &Desk<'_>) -> Result<bool, CallError> {
    let key = aes(desk, &CMAC_KEY, &mac_role(MechanismType::AES_CMAC), false)?;
    macs(desk, &Ck::AesCMac, key, &CMAC_MESSAGE, &CMAC)
}

/// The key of 20 bytes, with zeros behind it up to this length.
pub(super) fn hmac(desk: &Desk<'_>, len: usize) -> Result<bool, CallError> {
    let mut value = vec![0x0b; 20];
    value.resize(len, 0);
    let role = mac_role(MechanismType::SHA256_HMAC);
    let key = desk.create(template(KeyType::GENERIC_SECRET, &role, false), &value)?;
    macs(desk, &Ck::Sha256Hmac, key, b"Hi There", &HMAC)
}

pub(super) fn sha256(desk: &Desk<'_>) -> Result<bool, CallError> {
    Ok(desk.session.digest(&Ck::Sha256, b"abc")? == Sha256::digest(b"abc").as_slice())
}

fn digest_role() -> Role {
    Role { allowed: vec![MechanismType::SHA256], ..Role::NONE }
}

pub(super) fn pattern(desk: &Desk<'_>) -> Result<bool, CallError> {
    let key = aes(desk, &COUNTING, &digest_role(), false)?;
    Ok(digest_key(desk.session, &[1], key)?.starts_with(&PATTERN))
}

pub(super) fn counter_kdf(desk: &Desk<'_>) -> Result<bool, CallError> {
    let role = Role { derive: true, allowed: vec![MechanismType::SP800_108_COUNTER_KDF], ..Role::NONE };
    let base = aes(desk, &COUNTING, &role, false)?;
    let mut attributes = template(KeyType::AES, &digest_role(), false);
    attributes.push(Attribute::ValueLen(32.into()));
    let derived = desk.keep(derivation::inside(desk, base, b"label", b"context", &attributes)?);
    Ok(digest_key(desk.session, &[], derived)? == <[u8; 32]>::from(Sha256::digest(DERIVED)))
}

pub(super) fn xor(desk: &Desk<'_>) -> Result<bool, CallError> {
    let role = Role { derive: true, allowed: vec![MechanismType::XOR_BASE_AND_DATA], ..Role::NONE };
    let base = aes(desk, &COUNTING, &role, false)?;
    let mut attributes = template(KeyType::AES, &digest_role(), false);
    attributes.push(Attribute::ValueLen(32.into()));
    let by = Ck::XorBaseAndData(KeyDerivationStringData::new(&[0xa5; 32]));
    let sum = desk.keep(desk.session.derive_key(&by, base, &attributes)?);
    let expected = COUNTING.map(|byte| byte ^ 0xa5);
    Ok(digest_key(desk.session, &[], sum)? == <[u8; 32]>::from(Sha256::digest(expected)))
}
