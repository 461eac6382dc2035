//! AES-KW and AES-KWP: the token's mechanisms, or AES-KWP from single blocks where the token lacks it.

use super::kwp_blocks::{unwrap_kwp, wrap_kwp};
use crate::error::CallError;
use crate::objects::{
    CallContext, KeyEntry, KeyObjects, ObjectUsage, key_type, padded_len, template, with_attribute,
};
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectHandle};
use engine::{EngineError, KeySpec, WrapMechanism};

/// Whether the mechanism wraps keys of this length, in bytes.
pub(crate) const fn accepts_len(mechanism: WrapMechanism, len: usize) -> bool {
    match mechanism {
        WrapMechanism::AesKw => len >= 16 && len.is_multiple_of(8),
        WrapMechanism::AesKwp => len > 0,
    }
}

/// Wraps a key into `wrapped`, whose length is that of the result.
pub(crate) fn wrap_key(
    call: &CallContext<'_>,
    mechanism: WrapMechanism,
    kek: KeyObjects,
    key: &KeyEntry,
    wrapped: &mut [u8],
) -> Result<(), CallError> {
    let object = key.objects()?.primary;
    let needs_no_padding = accepts_len(WrapMechanism::AesKw, key.spec.len());
    let mechanism = match mechanism {
        WrapMechanism::AesKw => Ck::AesKeyWrap,
        WrapMechanism::AesKwp if needs_no_padding && call.profile.has_kwp => Ck::AesKeyWrapPad,
        WrapMechanism::AesKwp => return wrap_by_blocks(call, kek, key, object, wrapped),
    };
    let result = call.session.wrap_key(&mechanism, kek.primary, object)?;
    if result.len() != wrapped.len() {
        return Err(EngineError::DeviceError.into());
    }
    wrapped.copy_from_slice(&result);
    Ok(())
}

fn wrap_by_blocks(
    call: &CallContext<'_>,
    kek: KeyObjects,
    key: &KeyEntry,
    object: ObjectHandle,
    wrapped: &mut [u8],
) -> Result<(), CallError> {
    // A key-encryption key generated on the token has no secondary object; a unit generates none.
    let blocks = kek.secondary.ok_or(EngineError::MechanismInvalid)?;
    let is_padded = call.profile.is_padded_secret(&key.spec);
    let len = if is_padded { padded_len(&key.spec) } else { key.spec.len() };
    let mut value = call.read(object, len)?;
    value.resize(key.spec.len());
    wrap_kwp(|block| call.encrypt_block(blocks, block), value.expose(), wrapped)
}

/// Unwraps a key and creates its objects. The caller has checked that `wrapped` has the length for `spec.key_len`.
///
/// # Errors
/// [`EngineError::WrappedKeyInvalid`] if the key inside has another length than `spec.key_len`; the token's errors.
pub(crate) fn unwrap_key(
    call: &CallContext<'_>,
    mechanism: WrapMechanism,
    kek: KeyObjects,
    wrapped: &[u8],
    spec: &KeySpec,
) -> Result<KeyObjects, CallError> {
    let ck = match mechanism {
        WrapMechanism::AesKw => Ck::AesKeyWrap,
        WrapMechanism::AesKwp if call.profile.has_kwp => Ck::AesKeyWrapPad,
        WrapMechanism::AesKwp => {
            let blocks = kek.secondary.ok_or(EngineError::MechanismInvalid)?;
            let value = unwrap_kwp(|block| call.decrypt_block(blocks, block), wrapped, spec.len())?;
            return call.create_key(spec, &value);
        }
    };
    let unwrap_object = |key_type, usage: &ObjectUsage, extractable| -> Result<ObjectHandle, CallError> {
        let attributes = template(key_type, usage, extractable);
        Ok(call.track(call.session.unwrap_key(&ck, kek.primary, wrapped, &attributes)?))
    };
    if call.profile.is_padded_secret(spec) {
        return unwrap_padded_secret(call, &ck, kek, wrapped, spec);
    }
    let usage = ObjectUsage::of(spec, call.profile);
    let primary = unwrap_object(key_type(spec.algorithm), &usage, spec.extractable)?;
    // AES-KWP wraps keys of, for example, 25 to 32 bytes to the same length, so the length inside has to be checked.
    if mechanism == WrapMechanism::AesKwp && unwrapped_len(call, &ck, kek, wrapped, primary)? != spec.len() {
        return Err(EngineError::WrappedKeyInvalid.into());
    }
    let secondary = if call.profile.needs_single_blocks(spec) {
        Some(unwrap_object(KeyType::AES, &ObjectUsage::single_blocks(spec, call.profile), false)?)
    } else {
        None
    };
    Ok(KeyObjects { primary, secondary })
}

/// Unwraps a padded secret into a temporary object, reads its value, and creates the padded objects from it.
fn unwrap_padded_secret(
    call: &CallContext<'_>,
    mechanism: &Ck<'_>,
    kek: KeyObjects,
    wrapped: &[u8],
    spec: &KeySpec,
) -> Result<KeyObjects, CallError> {
    let (temporary, len) = unwrap_temporary(call, mechanism, kek, wrapped)?;
    if len != spec.len() {
        return Err(EngineError::WrappedKeyInvalid.into());
    }
    let value = call.read(temporary, len)?;
    call.destroy(temporary)?;
    call.create_key(spec, &value)
}

/// Length of an unwrapped key, in bytes. For tokens that report 0 for sensitive objects, the key is unwrapped once more.
fn unwrapped_len(
    call: &CallContext<'_>,
    mechanism: &Ck<'_>,
    kek: KeyObjects,
    wrapped: &[u8],
    unwrapped: ObjectHandle,
) -> Result<usize, CallError> {
    let attributes = call.session.get_attributes(unwrapped, &[AttributeType::ValueLen])?;
    if let [Attribute::ValueLen(len)] = attributes.as_slice()
        && let Ok(len @ 1..) = usize::try_from(u64::from(*len))
    {
        return Ok(len);
    }
    let (temporary, len) = unwrap_temporary(call, mechanism, kek, wrapped)?;
    call.destroy(temporary)?;
    Ok(len)
}

/// Unwraps into an object that is not sensitive and returns the length of its value. The value itself is not requested.
fn unwrap_temporary(
    call: &CallContext<'_>,
    mechanism: &Ck<'_>,
    kek: KeyObjects,
    wrapped: &[u8],
) -> Result<(ObjectHandle, usize), CallError> {
    let generic_secret = template(KeyType::GENERIC_SECRET, &ObjectUsage::NONE, true);
    let attributes = with_attribute(generic_secret, Attribute::Sensitive(false));
    let object = call.track(call.session.unwrap_key(mechanism, kek.primary, wrapped, &attributes)?);
    match call.session.get_attribute_info(object, &[AttributeType::Value])?.as_slice() {
        [AttributeInfo::Available(len)] => Ok((object, *len)),
        _ => Err(EngineError::DeviceError.into()),
    }
}
