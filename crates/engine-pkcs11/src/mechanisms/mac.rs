//! AES-CMAC and HMAC-SHA-256.

use crate::error::CallError;
use crate::objects::CallContext;
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::object::ObjectHandle;
use engine::{Algorithm, EngineError, KeyHandle, KeyUses, MacMechanism};

/// The MAC of `data` by a key that permits [`KeyUses::SIGN`].
pub(crate) fn sign(
    call: &CallContext<'_>,
    mechanism: MacMechanism,
    key: KeyHandle,
    data: &[u8],
) -> Result<Vec<u8>, CallError> {
    let (key, mechanism) = mac_key(call, mechanism, key, KeyUses::SIGN)?;
    Ok(call.session.sign(&mechanism, key, data)?)
}

/// Verifies the MAC of `data` by a key that permits [`KeyUses::VERIFY`]. The token compares.
///
/// # Errors
/// [`EngineError::SignatureInvalid`] for another length; otherwise the token's error.
pub(crate) fn verify(
    call: &CallContext<'_>,
    mechanism: MacMechanism,
    key: KeyHandle,
    data: &[u8],
    signature: &[u8],
) -> Result<(), CallError> {
    let mac_len = mechanism.mac_len();
    let (key, mechanism) = mac_key(call, mechanism, key, KeyUses::VERIFY)?;
    if signature.len() != mac_len {
        return Err(EngineError::SignatureInvalid.into());
    }
    Ok(call.session.verify(&mechanism, key, data, signature)?)
}

/// The object that computes the MAC, and the token's mechanism.
fn mac_key<'m>(
    call: &CallContext<'_>,
    mechanism: MacMechanism,
    key: KeyHandle,
    uses: KeyUses,
) -> Result<(ObjectHandle, Ck<'m>), CallError> {
    match mechanism {
        MacMechanism::AesCmac => Ok((call.aes_key(key, uses)?.primary, Ck::AesCMac)),
        MacMechanism::HmacSha256 => {
            let entry = call.key(key, uses)?;
            if entry.spec.algorithm != Algorithm::GenericSecret {
                return Err(EngineError::MechanismInvalid.into());
            }
            let objects = entry.objects()?;
            Ok((objects.secondary.unwrap_or(objects.primary), Ck::Sha256Hmac))
        }
    }
}
