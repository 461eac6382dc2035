//! Keys under keys: the token's own mechanisms, and blocks where it pads in another way.

use crate::error::CallError;
use crate::mechanisms::kwp_blocks::{unwrap_padded, wrap_padded};
use crate::objects::call::{Desk, stored_len};
use crate::objects::key_table::{Entry, Objects};
use crate::objects::template::{Role, key_type, template, with};
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectHandle};
use engine::{EngineError, KeySpec, WrapMechanism};

/// Whether the mechanism takes keys of this length.
pub(crate) const fn takes(by: WrapMechanism, len: usize) -> bool {
    match by {
        WrapMechanism::AesKw => len >= 16 && len.is_multiple_of(8),
        WrapMechanism::AesKwp => len > 0,
    }
}

/// Wraps a key into `wrapped`, which is as long as the result.
pub(crate) fn wrap(
    desk: &Desk<'_>,
    by: WrapMechanism,
    kek: Objects,
    key: &Entry,
    wrapped: &mut [u8],
) -> Result<(), CallError> {
    let object = key.objects()?.first;
    let whole = takes(WrapMechanism::AesKw, key.spec.len());
    let mechanism = match by {
        WrapMechanism::AesKw => Ck::AesKeyWrap,
        WrapMechanism::AesKwp if whole && desk.profile.unwraps_padded => Ck::AesKeyWrapPad,
        WrapMechanism::AesKwp => return wrap_by_blocks(desk, kek, key, object, wrapped),
    };
    let result = desk.session.wrap_key(&mechanism, kek.first, object)?;
    if result.len() != wrapped.len() {
        return Err(EngineError::DeviceError.into());
    }
    wrapped.copy_from_slice(&result);
    Ok(())
}

fn wrap_by_blocks(
    desk: &Desk<'_>,
    kek: Objects,
    key: &Entry,
    object: ObjectHandle,
    wrapped: &mut [u8],
) -> Result<(), CallError> {
    // A key that was made inside to wrap has no second role; the unit makes none such.
    let blocks = kek.second.ok_or(EngineError::MechanismInvalid)?;
    let len = if desk.profile.is_short(&key.spec) { stored_len(&key.spec) } else { key.spec.len() };
    let mut value = desk.read(object, len)?;
    value.resize(key.spec.len());
    wrap_padded(|block| desk.encrypt_block(blocks, block), value.expose(), wrapped)
}

/// Unwraps a key that has to be as long as its specification says. The wrapped key has the length for that.
pub(crate) fn unwrap(
    desk: &Desk<'_>,
    by: WrapMechanism,
    kek: Objects,
    wrapped: &[u8],
    spec: &KeySpec,
) -> Result<Objects, CallError> {
    let mechanism = match by {
        WrapMechanism::AesKw => Ck::AesKeyWrap,
        WrapMechanism::AesKwp if desk.profile.unwraps_padded => Ck::AesKeyWrapPad,
        WrapMechanism::AesKwp => {
            let blocks = kek.second.ok_or(EngineError::MechanismInvalid)?;
            let value = unwrap_padded(|block| desk.decrypt_block(blocks, block), wrapped, spec.len())?;
            return desk.objects(spec, &value);
        }
    };
    let unwrap_as = |kind, role: &Role, extractable| -> Result<ObjectHandle, CallError> {
        let attributes = template(kind, role, extractable);
        Ok(desk.keep(desk.session.unwrap_key(&mechanism, kek.first, wrapped, &attributes)?))
    };
    if desk.profile.is_short(spec) {
        return unwrap_short(desk, &mechanism, kek, wrapped, spec);
    }
    let role = Role::of(spec, desk.profile);
    let first = unwrap_as(key_type(spec.algorithm), &role, spec.extractable)?;
    // Of 25 to 32 bytes, all have one length under KWP: what is inside is measured before the key may stay.
    if by == WrapMechanism::AesKwp && measure(desk, &mechanism, kek, wrapped, first)? != spec.len() {
        return Err(EngineError::WrappedKeyInvalid.into());
    }
    let second = if desk.profile.needs_blocks(spec) {
        Some(unwrap_as(KeyType::AES, &Role::blocks(spec, desk.profile), false)?)
    } else {
        None
    };
    Ok(Objects { first, second })
}

/// A short secret comes out of the token, from an object that shows its length and lives for this call.
fn unwrap_short(
    desk: &Desk<'_>,
    mechanism: &Ck<'_>,
    kek: Objects,
    wrapped: &[u8],
    spec: &KeySpec,
) -> Result<Objects, CallError> {
    let (shown, len) = show(desk, mechanism, kek, wrapped)?;
    if len != spec.len() {
        return Err(EngineError::WrappedKeyInvalid.into());
    }
    let value = desk.read(shown, len)?;
    desk.drop_object(shown)?;
    desk.objects(spec, &value)
}

/// The length of a key that was unwrapped. Some tokens leave it at 0 in sensitive objects; those are asked of another.
fn measure(
    desk: &Desk<'_>,
    mechanism: &Ck<'_>,
    kek: Objects,
    wrapped: &[u8],
    unwrapped: ObjectHandle,
) -> Result<usize, CallError> {
    let said = desk.session.get_attributes(unwrapped, &[AttributeType::ValueLen])?;
    if let [Attribute::ValueLen(len)] = said.as_slice()
        && let Ok(len @ 1..) = usize::try_from(u64::from(*len))
    {
        return Ok(len);
    }
    let (shown, len) = show(desk, mechanism, kek, wrapped)?;
    desk.drop_object(shown)?;
    Ok(len)
}

/// Unwraps into an object that is not sensitive, and asks how long its value is. The value is not asked for.
fn show(
    desk: &Desk<'_>,
    mechanism: &Ck<'_>,
    kek: Objects,
    wrapped: &[u8],
) -> Result<(ObjectHandle, usize), CallError> {
    let attributes = with(template(KeyType::GENERIC_SECRET, &Role::NONE, true), Attribute::Sensitive(false));
    let shown = desk.keep(desk.session.unwrap_key(mechanism, kek.first, wrapped, &attributes)?);
    match desk.session.get_attribute_info(shown, &[AttributeType::Value])?.as_slice() {
        [AttributeInfo::Available(len)] => Ok((shown, *len)),
        _ => Err(EngineError::DeviceError.into()),
    }
}
