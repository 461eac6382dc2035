//! Storing keys on the token, and loading stored keys into a session.

use super::derived_keys::{self, CarriedKeys};
use super::reference::{self, KeyReference, ObjectId};
use super::role::ObjectRole;
use super::stored_objects::{ExpectedKey, destroy_stored, find_key, store_copies};
use super::{CallContext, KeyEntry, KeyObjects, KeyOrigin, digest_key};
use crate::error::CallError;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KeyHandle, KeySpec, SHA256_LEN};

/// The result of storing a key.
pub(crate) struct PersistedKey {
    pub(crate) id: ObjectId,
    pub(crate) reference: Vec<u8>,
    pub(crate) master: Option<PersistedMaster>,
}

/// The result of storing a master key.
pub(crate) struct PersistedMaster {
    /// The stored object, which replaces the session objects.
    pub(crate) objects: KeyObjects,
    pub(crate) digest: [u8; SHA256_LEN],
    pub(crate) carried: CarriedKeys,
    /// The keys derived from it: each with the identifier of its wrapping key, and the objects that replace its own.
    pub(crate) derived: Vec<(KeyHandle, ObjectId, KeyObjects)>,
}

/// Stores a key, and with a master key the keys derived from it, in at most `room` bytes of reference.
///
/// A stored master key permits no operation, and its attributes can never be changed: it serves to be recognised by its
/// digest and, on a recovery unit, to be exported. The derived keys do the work.
///
/// # Errors
/// The token's; [`EngineError::BufferTooSmall`]; [`EngineError::DeviceMemory`] for a master key with more derived keys, or
/// others, than a reference can carry.
pub(crate) fn persist_key(
    call: &CallContext<'_>,
    key: KeyHandle,
    entry: &KeyEntry,
    room: usize,
) -> Result<PersistedKey, CallError> {
    let is_master = entry.origin == KeyOrigin::Master;
    let derivations = if is_master { call.keys.derivations_of(key) } else { Vec::new() };
    if reference::len_with(is_master, derivations.len()) > room {
        return Err(EngineError::BufferTooSmall.into());
    }
    let mut nonce = [0; reference::NONCE_LEN];
    call.random(&mut nonce)?;
    let head = reference::encode_head(&entry.spec, entry.origin, nonce);
    let KeyReference { id, .. } = KeyReference::decode(call.unit_name, &head)?;
    let stored = if is_master {
        store_master(call, key, entry, id, &derivations).map(Some)
    } else {
        let expected = ExpectedKey::other(ObjectRole::Key, id, &entry.spec, call.profile);
        store_copies(call.session, call.unit_name, entry.objects()?, &expected).map(|_| None)
    };
    if stored.is_err() {
        // What cannot be destroyed now is destroyed as an orphan at the next start.
        let _ = destroy_stored(call.session, call.unit_name, |other| other.is_same_key(&id));
    }
    let master = stored?;
    let carried = master.iter().flat_map(|master| master.carried.iter()).flatten();
    let reference = head.iter().chain(carried).copied().collect();
    Ok(PersistedKey { id, reference, master })
}

fn store_master(
    call: &CallContext<'_>,
    key: KeyHandle,
    entry: &KeyEntry,
    id: ObjectId,
    derivations: &[(ObjectId, KeySpec, ObjectHandle)],
) -> Result<PersistedMaster, CallError> {
    let mut carried = CarriedKeys::default();
    for (derivation, spec, object) in derivations {
        if !derived_keys::is_carried(spec) {
            return Err(EngineError::DeviceMemory.into());
        }
        derived_keys::store(call, id.with_derivation_of(*derivation), spec, *object, &mut carried)?;
    }
    let mut derived = Vec::new();
    for (handle, derivation, spec, _) in call.keys.derived_from(key) {
        let id = id.with_derivation_of(derivation);
        derived.push((handle, id, derived_keys::load(call, id, spec, &carried)?));
    }
    let expected = ExpectedKey::master(id, &entry.spec, call.profile, false);
    let session_objects = entry.objects()?;
    let objects = store_copies(call.session, call.unit_name, session_objects, &expected)?;
    let digest = digest_key(call.session, &[], objects.primary)?;
    // The session objects: the master key's could still derive, and the derived keys' can still be wrapped.
    let replaced = call.keys.derived_from(key).flat_map(|(.., objects)| objects.iter());
    for object in session_objects.iter().chain(replaced) {
        call.session.destroy_object(object)?;
    }
    Ok(PersistedMaster { objects, digest, carried, derived })
}

/// Finds a stored key by its reference and loads it.
///
/// # Errors
/// The token's; [`CallError::Refused`]; [`EngineError::ReferenceInvalid`] if no object is stored under the reference.
pub(crate) fn recall_key(call: &CallContext<'_>, reference: &KeyReference) -> Result<KeyEntry, CallError> {
    let mut entry = KeyEntry::stored(reference.spec, reference.origin, reference.id);
    entry.carried = reference.carried;
    entry.objects = Some(load_stored(call, &entry, reference.id)?.ok_or(EngineError::ReferenceInvalid)?);
    if let (true, Some(objects)) = (entry.uses_stored_object(), entry.objects) {
        entry.digest = Some(digest_key(call.session, &[], objects.primary)?);
    }
    Ok(entry)
}

/// Finds the stored objects of a master key or another persisted key. The latter works with a copy in the session.
pub(crate) fn load_stored(
    call: &CallContext<'_>,
    entry: &KeyEntry,
    id: ObjectId,
) -> Result<Option<KeyObjects>, CallError> {
    let KeyEntry { spec, origin, carried, .. } = entry;
    let expected = match origin {
        KeyOrigin::Master => ExpectedKey::master(id, spec, call.profile, carried.is_none()),
        KeyOrigin::Derived => ExpectedKey::other(ObjectRole::DerivedKey, id, spec, call.profile),
        KeyOrigin::User | KeyOrigin::Device => ExpectedKey::other(ObjectRole::Key, id, spec, call.profile),
    };
    let stored = find_key(call.session, call.unit_name, &expected)?;
    if *origin == KeyOrigin::Master {
        return Ok(stored);
    }
    stored.map(|stored| working_copy(call, stored)).transpose()
}

/// Copies a key's stored objects into the session: tokens open and lock a stored object at every use.
fn working_copy(call: &CallContext<'_>, stored: KeyObjects) -> Result<KeyObjects, CallError> {
    let copy = |object: ObjectHandle, session: &Session| -> Result<ObjectHandle, Error> {
        session.copy_object(object, &[Attribute::Token(false)]).map(|copy| call.track(copy))
    };
    let primary = copy(stored.primary, call.session)?;
    let secondary = stored.secondary.map(|secondary| copy(secondary, call.session)).transpose()?;
    Ok(KeyObjects { primary, secondary })
}
