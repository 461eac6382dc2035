//! Combining key parts to a master key.

use crate::error::CallError;
use crate::objects::{CallContext, ObjectUsage, clear_key, template};
use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use engine::{KeyPart, KeySpec};

/// Creates a master key, the exclusive or of the parts: by `CKM_XOR_BASE_AND_DATA` if the token has it, otherwise in this
/// process's memory.
pub(crate) fn combine_key_parts(
    call: &CallContext<'_>,
    parts: &[KeyPart],
    spec: &KeySpec,
) -> Result<ObjectHandle, CallError> {
    let usage = ObjectUsage::of(spec, call.profile);
    let master = template(KeyType::AES, &usage, spec.extractable);
    let (Some((first, rest)), true) = (parts.split_first(), call.profile.xors_on_token && parts.len() > 1)
    else {
        return call.create(master, clear_key::xor(parts).expose());
    };
    let intermediate = || {
        let allowed = vec![MechanismType::XOR_BASE_AND_DATA];
        template(KeyType::AES, &ObjectUsage { derive: true, allowed, ..ObjectUsage::NONE }, false)
    };
    let mut sum = call.create(intermediate(), first.expose())?;
    for (at, part) in rest.iter().enumerate() {
        let is_last = at + 1 == rest.len();
        let mut attributes = if is_last { master.clone() } else { intermediate() };
        attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
        let mechanism = Ck::XorBaseAndData(KeyDerivationStringData::new(part.expose()));
        let next = call.track(call.session.derive_key(&mechanism, sum, &attributes)?);
        call.destroy(sum)?;
        sum = next;
    }
    Ok(sum)
}
