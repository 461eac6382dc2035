//! Storing keys on the token, and loading stored keys into a session.

use super::reference::{self, KeyReference, ObjectId};
use super::stored_objects::{destroy_stored, find_key, store_copies};
use super::{CallContext, KeyEntry, KeyObjects, KeyOrigin, ObjectUsage, Profile, digest_key, key_type};
use crate::error::CallError;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KeyHandle, KeySpec, SHA256_LEN};

/// The result of storing a key.
pub(crate) struct PersistedKey {
    pub(crate) id: ObjectId,
    pub(crate) reference: [u8; reference::REFERENCE_LEN],
    /// For a master key: the stored object, which replaces the session objects, and its digest.
    pub(crate) master: Option<(KeyObjects, [u8; SHA256_LEN])>,
    /// For a master key: the keys derived from it, each with the identifier of its stored objects.
    pub(crate) derived: Vec<(KeyHandle, ObjectId)>,
}

/// Stores a key, and with a master key the keys derived from it.
///
/// A stored master key permits no operation, and its attributes can never be changed: it serves to be recognised by its
/// digest and, on a recovery unit, to be exported. The derived keys do the work.
pub(crate) fn persist_key(
    call: &CallContext<'_>,
    key: KeyHandle,
    entry: &KeyEntry,
) -> Result<PersistedKey, CallError> {
    let mut nonce = [0; reference::NONCE_LEN];
    call.session.generate_random_slice(&mut nonce)?;
    let reference = reference::encode_reference(&entry.spec, entry.origin, nonce);
    let KeyReference { id, .. } = KeyReference::decode(call.unit_name, &reference)?;
    let objects = entry.objects()?;
    let stored = store_all(call, key, entry, id, objects);
    if stored.is_err() {
        // What cannot be destroyed now is destroyed as an orphan at the next start.
        let _ = destroy_stored(call.session, call.unit_name, |other| other.is_same_key(&id));
    }
    let (master, derived) = stored?;
    Ok(PersistedKey { id, reference, master, derived })
}

type StoredKeys = (Option<(KeyObjects, [u8; SHA256_LEN])>, Vec<(KeyHandle, ObjectId)>);

fn store_all(
    call: &CallContext<'_>,
    key: KeyHandle,
    entry: &KeyEntry,
    id: ObjectId,
    objects: KeyObjects,
) -> Result<StoredKeys, CallError> {
    let store = |origin, id, objects, restrictions: &[Attribute]| {
        store_copies(call.session, call.unit_name, origin, id, objects, restrictions)
    };
    if entry.origin != KeyOrigin::Master {
        store(entry.origin, id, objects, &[])?;
        return Ok((None, Vec::new()));
    }
    let mut derived = Vec::new();
    for (handle, derivation, objects) in call.keys.derived_from(key) {
        let id = id.with_derivation_of(derivation);
        store(KeyOrigin::Derived, id, objects, &[])?;
        derived.push((handle, id));
    }
    let no_operation = [Attribute::Sign(false), Attribute::Derive(false), Attribute::Modifiable(false)];
    let stored = store(KeyOrigin::Master, id, objects, &no_operation)?;
    check_attributes(call.session, &entry.spec, KeyOrigin::Master, stored, call.profile)?;
    let digest = digest_key(call.session, &[], stored.primary)?;
    // The session objects, which could still derive.
    for object in objects.iter() {
        call.session.destroy_object(object)?;
    }
    Ok((Some((stored, digest)), derived))
}

/// Finds a stored key by its reference and loads it.
///
/// # Errors
/// The token's; [`EngineError::ReferenceInvalid`] if no object of these attributes is stored under the reference.
pub(crate) fn recall_key(call: &CallContext<'_>, reference: &KeyReference) -> Result<KeyEntry, CallError> {
    let KeyReference { id, spec, origin } = *reference;
    let stored = find_key(call.session, call.unit_name, origin, id)?.ok_or(EngineError::ReferenceInvalid)?;
    check_attributes(call.session, &spec, origin, stored, call.profile)?;
    let mut entry = KeyEntry::stored(spec, origin, id);
    if origin == KeyOrigin::Master {
        entry.digest = Some(digest_key(call.session, &[], stored.primary)?);
        entry.objects = Some(stored);
    } else {
        entry.objects = Some(tracked_working_copy(call, stored)?);
    }
    Ok(entry)
}

/// Finds and loads a stored key that was derived from a master key before the master key was stored.
///
/// # Errors
/// The token's; [`EngineError::KeyUnextractable`] if no such key was derived.
pub(crate) fn recall_derived_key(
    call: &CallContext<'_>,
    id: ObjectId,
    spec: &KeySpec,
) -> Result<KeyObjects, CallError> {
    let stored = find_key(call.session, call.unit_name, KeyOrigin::Derived, id)?;
    let stored = stored.ok_or(EngineError::KeyUnextractable)?;
    check_attributes(call.session, spec, KeyOrigin::Derived, stored, call.profile)?;
    tracked_working_copy(call, stored)
}

/// Refuses a stored object that permits more than the unit's own objects do. Another holder of the PIN created it.
///
/// # Errors
/// The token's; [`EngineError::ReferenceInvalid`].
fn check_attributes(
    session: &Session,
    spec: &KeySpec,
    origin: KeyOrigin,
    stored: KeyObjects,
    profile: &Profile,
) -> Result<(), CallError> {
    let is_master = origin == KeyOrigin::Master;
    let usage = if is_master { ObjectUsage::NONE } else { ObjectUsage::of(spec, profile) };
    let expected = [
        Attribute::KeyType(key_type(spec.algorithm)),
        Attribute::Sensitive(true),
        Attribute::Extractable(spec.extractable),
        Attribute::Encrypt(usage.encrypt),
        Attribute::Decrypt(usage.decrypt),
        Attribute::Wrap(usage.wrap),
        Attribute::Unwrap(usage.unwrap),
        Attribute::Derive(usage.derive),
    ];
    let types: Vec<AttributeType> = expected.iter().map(Attribute::attribute_type).collect();
    let found = session.get_attributes(stored.primary, &types)?;
    let may_sign = is_master
        && session.get_attributes(stored.primary, &[AttributeType::Sign])?.contains(&Attribute::Sign(true));
    if !may_sign && expected.iter().all(|attribute| found.contains(attribute)) {
        Ok(())
    } else {
        Err(EngineError::ReferenceInvalid.into())
    }
}

fn tracked_working_copy(call: &CallContext<'_>, stored: KeyObjects) -> Result<KeyObjects, CallError> {
    let copy = working_copy(call.session, stored)?;
    for object in copy.iter() {
        call.track(object);
    }
    Ok(copy)
}

/// Copies a key's stored objects into the session: tokens open and lock a stored object at every use.
pub(crate) fn working_copy(session: &Session, stored: KeyObjects) -> Result<KeyObjects, Error> {
    let copy = |object: ObjectHandle| session.copy_object(object, &[Attribute::Token(false)]);
    let primary = copy(stored.primary)?;
    match stored.secondary.map(copy).transpose() {
        Ok(secondary) => Ok(KeyObjects { primary, secondary }),
        Err(error) => {
            let _ = session.destroy_object(primary);
            Err(error)
        }
    }
}
