//! Random bytes, encryption, decryption.

use super::check_data_len;
use crate::blob_seal::{Purpose, open};
use crate::key_scope::KeyScope;
use crate::registers::Registers;
use crate::response_layout::ResponseLayout;
use engine::{AES_GCM_IV_LEN, AES_GCM_TAG_LEN, CipherMechanism, Engine, KeyUses};
use unit_api::{MAX_RANDOM_LEN, Refusal, UnitError};

/// Needs no master key.
pub(crate) fn generate_random<E: Engine>(
    engine: &mut E,
    len: u16,
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let len = usize::from(len);
    if len > MAX_RANDOM_LEN {
        return Err(UnitError::DataLenRange.into());
    }
    engine.random(out.get_mut(..len).ok_or(UnitError::ResponseTooLong)?)?;
    Ok(ResponseLayout::Random(len))
}

/// AES-GCM with an IV of 96 random bits from the unit (SP 800-38D §8.2.2). One key may encrypt at most 2³² messages, so that
/// IVs do not repeat (§8.3); the owner of the key counts them.
pub(crate) fn encrypt<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    key: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_data_len(aad)?;
    check_data_len(plaintext)?;
    let opened = open(scope, master, key, Purpose::Use(KeyUses::ENCRYPT))?;
    let mut iv = [0; AES_GCM_IV_LEN];
    scope.engine().random(&mut iv)?;
    let by = CipherMechanism::AesGcm { iv: &iv, aad };
    let len = scope.engine().encrypt(by, opened.key, plaintext, out)?;
    Ok(ResponseLayout::Ciphertext { iv, len })
}

pub(crate) fn decrypt<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    key: &[u8],
    iv: &[u8; AES_GCM_IV_LEN],
    aad: &[u8],
    ciphertext: &[u8],
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_data_len(aad)?;
    if ciphertext.len() >= AES_GCM_TAG_LEN {
        check_data_len(ciphertext.get(AES_GCM_TAG_LEN..).unwrap_or_default())?;
    }
    let opened = open(scope, master, key, Purpose::Use(KeyUses::DECRYPT))?;
    let len = scope.engine().decrypt(CipherMechanism::AesGcm { iv, aad }, opened.key, ciphertext, out)?;
    Ok(ResponseLayout::Plaintext(len))
}
