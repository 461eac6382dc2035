//! The probe's cases of what a token can withhold from other programs that have its PIN. Each makes the token do one thing
//! and checks the result.

use crate::error::CallError;
use crate::objects::{CallContext, ObjectUsage, template, unwrap_template, with_attribute};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};

fn wrapping() -> Vec<Attribute> {
    let allowed = vec![MechanismType::AES_KEY_WRAP];
    let usage = ObjectUsage { wrap: true, unwrap: true, allowed, ..ObjectUsage::NONE };
    let mut attributes = template(KeyType::AES, &usage, false);
    attributes.push(Attribute::ValueLen(32.into()));
    attributes
}

fn generate(call: &CallContext<'_>, attributes: &[Attribute]) -> Result<ObjectHandle, CallError> {
    Ok(call.track(call.session.generate_key(&Ck::AesKeyGen, attributes)?))
}

fn refuses_copies(call: &CallContext<'_>, object: ObjectHandle) -> bool {
    match call.session.copy_object(object, &[Attribute::Token(false)]) {
        Ok(copy) => {
            call.track(copy);
            false
        }
        Err(_) => true,
    }
}

/// A key that is generated unmodifiable and uncopyable is neither changed nor copied.
pub(super) fn protects_objects(call: &CallContext<'_>) -> Result<bool, CallError> {
    let permanent = [Attribute::Modifiable(false), Attribute::Copyable(false)];
    let mut attributes = wrapping();
    attributes.extend(permanent.clone());
    let key = generate(call, &attributes)?;
    let found = call.session.get_attributes(key, &[AttributeType::Modifiable, AttributeType::Copyable])?;
    let told = permanent.iter().all(|attribute| found.contains(attribute));
    let changed = [Attribute::Encrypt(true), Attribute::Modifiable(true), Attribute::Copyable(true)]
        .into_iter()
        .any(|change| call.session.update_attributes(key, &[change]).is_ok());
    Ok(told && !changed && refuses_copies(call, key))
}

/// A copy that is made uncopyable is not copied.
pub(super) fn makes_uncopyable_copies(call: &CallContext<'_>) -> Result<bool, CallError> {
    let key = generate(call, &wrapping())?;
    let restrictions = [Attribute::Token(false), Attribute::Copyable(false)];
    let copy = call.track(call.session.copy_object(key, &restrictions)?);
    Ok(refuses_copies(call, copy))
}

/// A key that is generated with a template unwraps to the attributes in it, and to no others.
pub(super) fn obeys_unwrap_templates(call: &CallContext<'_>) -> Result<bool, CallError> {
    let usage = ObjectUsage { sign: true, allowed: vec![MechanismType::AES_CMAC], ..ObjectUsage::NONE };
    let required = template(KeyType::AES, &usage, false);
    let kek = unwrap_template::with(wrapping(), &required, |attributes| generate(call, attributes))?;
    let mut attributes = template(KeyType::AES, &ObjectUsage::NONE, true);
    attributes.push(Attribute::ValueLen(32.into()));
    let key = generate(call, &attributes)?;
    let wrapped = call.session.wrap_key(&Ck::AesKeyWrap, kek, key)?;
    let unwraps_to = |attributes: &[Attribute]| {
        let unwrapped = call.session.unwrap_key(&Ck::AesKeyWrap, kek, &wrapped, attributes);
        unwrapped.map(|object| call.track(object)).is_ok()
    };
    let readable = with_attribute(required.clone(), Attribute::Sensitive(false));
    let others = [
        Attribute::Extractable(true),
        Attribute::Token(true),
        Attribute::Decrypt(true),
        Attribute::AllowedMechanisms(vec![MechanismType::AES_ECB]),
    ];
    let refused = !unwraps_to(&readable)
        && others.into_iter().all(|other| !unwraps_to(&with_attribute(required.clone(), other)));
    Ok(unwraps_to(&required) && refused)
}

/// A generated key is told to be one whose value was never elsewhere, and an imported one is not.
pub(super) fn tells_origin(call: &CallContext<'_>) -> Result<bool, CallError> {
    let kinds = [AttributeType::Local, AttributeType::AlwaysSensitive, AttributeType::NeverExtractable];
    let tells = |key| -> Result<bool, CallError> {
        let found = call.session.get_attributes(key, &kinds)?;
        let expected =
            [Attribute::Local(true), Attribute::AlwaysSensitive(true), Attribute::NeverExtractable(true)];
        Ok(expected.iter().all(|attribute| found.contains(attribute)))
    };
    let generated = generate(call, &wrapping())?;
    let imported = call.create(template(KeyType::AES, &ObjectUsage::NONE, false), &[7; 32])?;
    Ok(tells(generated)? && !tells(imported)?)
}
