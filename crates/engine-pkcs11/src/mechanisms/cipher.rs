//! AES-GCM.

use crate::error::CallError;
use crate::objects::CallContext;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use engine::{AES_GCM_TAG_LEN, CipherMechanism};
use zeroize::Zeroizing;

/// Given explicitly, because some tokens accept tags of other lengths too.
const TAG_BITS: u64 = 8 * AES_GCM_TAG_LEN as u64;

/// Encrypts `plaintext`; the result is ciphertext ‖ tag.
pub(crate) fn encrypt(
    call: &CallContext<'_>,
    mechanism: CipherMechanism<'_>,
    key: ObjectHandle,
    plaintext: &[u8],
) -> Result<Vec<u8>, CallError> {
    let result = with_gcm(mechanism, |gcm| call.session.encrypt(gcm, key, plaintext));
    Ok(result?)
}

/// Decrypts ciphertext ‖ tag.
pub(crate) fn decrypt(
    call: &CallContext<'_>,
    mechanism: CipherMechanism<'_>,
    key: ObjectHandle,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let result = with_gcm(mechanism, |gcm| call.session.decrypt(gcm, key, ciphertext));
    Ok(Zeroizing::new(result?))
}

fn with_gcm<T>(
    mechanism: CipherMechanism<'_>,
    run: impl FnOnce(&Ck<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let CipherMechanism::AesGcm { iv, aad } = mechanism;
    // `CK_GCM_PARAMS` has a mutable IV, for tokens that generate it.
    let mut iv = *iv;
    run(&Ck::AesGcm(GcmParams::new(&mut iv, aad, TAG_BITS.into())?))
}
