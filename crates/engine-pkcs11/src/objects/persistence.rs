//! Keys that outlive the process: copies on the token, and working copies of those in the session.

use crate::error::CallError;
use crate::objects::call::Desk;
use crate::objects::key_table::{Entry, Objects, Origin};
use crate::objects::profile::Profile;
use crate::objects::store::{self, Id, Referred};
use crate::objects::template::{Role, key_type, template, with};
use crate::pkcs11_engine::{DEVICE_KEY, UnitKeys};
use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KeyHandle, KeySpec, SHA256_LEN};

/// What was stored for a key.
pub(crate) struct Stored {
    pub(crate) id: Id,
    pub(crate) reference: [u8; store::REFERENCE_LEN],
    /// For a master key: the object that takes its place, and its digest.
    pub(crate) itself: Option<(Objects, [u8; SHA256_LEN])>,
    /// Keys derived from it, by handle, each under its own identifier now.
    pub(crate) derived: Vec<(KeyHandle, Id)>,
}

/// Stores a key, and with a master key what was derived from it.
///
/// A stored master key can do nothing at all, and nobody can change that: it is there to be known by its digest, and, on
/// a recovery unit, to be exported. What it is for, the derived keys do.
pub(crate) fn persist(desk: &Desk<'_>, key: KeyHandle, entry: &Entry) -> Result<Stored, CallError> {
    let mut nonce = [0; 16];
    desk.session.generate_random_slice(&mut nonce)?;
    let reference = store::reference(&entry.spec, entry.origin, nonce);
    let Referred { id, .. } = store::refer(desk.name, &reference)?;
    let objects = entry.objects()?;
    let stored = store_all(desk, key, entry, id, objects);
    if stored.is_err() {
        // What stays all the same is an orphan, and goes at the next start.
        let _ = remove(desk.session, desk.name, |other| other.is_of_key(&id));
    }
    let (itself, derived) = stored?;
    Ok(Stored { id, reference, itself, derived })
}

type StoredObjects = (Option<(Objects, [u8; SHA256_LEN])>, Vec<(KeyHandle, Id)>);

fn store_all(
    desk: &Desk<'_>,
    key: KeyHandle,
    entry: &Entry,
    id: Id,
    objects: Objects,
) -> Result<StoredObjects, CallError> {
    let put = |origin, id, objects, narrow: &[Attribute]| {
        store::put(desk.session, desk.name, origin, id, objects, narrow)
    };
    if entry.origin != Origin::Master {
        put(entry.origin, id, objects, &[])?;
        return Ok((None, Vec::new()));
    }
    let mut derived = Vec::new();
    for (handle, derivation, objects) in desk.keys.derived_from(key) {
        let id = id.with_role_of(derivation);
        put(Origin::Derived, id, objects, &[])?;
        derived.push((handle, id));
    }
    let idle = [Attribute::Sign(false), Attribute::Derive(false), Attribute::Modifiable(false)];
    let stored = put(Origin::Master, id, objects, &idle)?;
    check(desk.session, &entry.spec, Origin::Master, stored, desk.profile)?;
    let digest = digest_key(desk.session, &[], stored.first)?;
    // The one that could still derive.
    for object in objects.iter() {
        desk.session.destroy_object(object)?;
    }
    Ok((Some((stored, digest)), derived))
}

/// Finds a stored key and makes it ready for work.
pub(crate) fn recall(desk: &Desk<'_>, referred: &Referred) -> Result<Entry, CallError> {
    let Referred { id, spec, origin } = *referred;
    let stored = store::find(desk.session, desk.name, origin, id)?.ok_or(EngineError::ReferenceInvalid)?;
    check(desk.session, &spec, origin, stored, desk.profile)?;
    let mut entry = Entry::stored(spec, origin, id);
    if origin == Origin::Master {
        entry.digest = Some(digest_key(desk.session, &[], stored.first)?);
        entry.objects = Some(stored);
    } else {
        let copy = working_copy(desk.session, stored)?;
        copy.iter().for_each(|object| {
            desk.keep(object);
        });
        entry.objects = Some(copy);
    }
    Ok(entry)
}

/// What a stored master key derived before it was stored.
pub(crate) fn derived(desk: &Desk<'_>, id: Id, spec: &KeySpec) -> Result<Objects, CallError> {
    let stored = store::find(desk.session, desk.name, Origin::Derived, id)?;
    let stored = stored.ok_or(EngineError::KeyUnextractable)?;
    check(desk.session, spec, Origin::Derived, stored, desk.profile)?;
    let copy = working_copy(desk.session, stored)?;
    copy.iter().for_each(|object| {
        desk.keep(object);
    });
    Ok(copy)
}

/// Refuses an object that permits more than the unit made it to: one that somebody brought along is not the unit's.
fn check(
    session: &Session,
    spec: &KeySpec,
    origin: Origin,
    stored: Objects,
    profile: &Profile,
) -> Result<(), CallError> {
    let role = if origin == Origin::Master { Role::NONE } else { Role::of(spec, profile) };
    let expected = [
        Attribute::KeyType(key_type(spec.algorithm)),
        Attribute::Sensitive(true),
        Attribute::Extractable(spec.extractable),
        Attribute::Encrypt(role.encrypt),
        Attribute::Decrypt(role.decrypt),
        Attribute::Wrap(role.wrap),
        Attribute::Unwrap(role.unwrap),
        Attribute::Derive(role.derive),
    ];
    let types: Vec<AttributeType> = expected.iter().map(Attribute::attribute_type).collect();
    let found = session.get_attributes(stored.first, &types)?;
    let signs = if origin == Origin::Master {
        session.get_attributes(stored.first, &[AttributeType::Sign])?.contains(&Attribute::Sign(true))
    } else {
        false
    };
    if !signs && expected.iter().all(|attribute| found.contains(attribute)) {
        Ok(())
    } else {
        Err(EngineError::ReferenceInvalid.into())
    }
}

/// Copies of a key's objects for the session: objects of the token are opened and locked at every use.
pub(crate) fn working_copy(session: &Session, stored: Objects) -> Result<Objects, Error> {
    let copy = |object: ObjectHandle| session.copy_object(object, &[Attribute::Token(false)]);
    let first = copy(stored.first)?;
    match stored.second.map(copy).transpose() {
        Ok(second) => Ok(Objects { first, second }),
        Err(error) => {
            let _ = session.destroy_object(first);
            Err(error)
        }
    }
}

/// Removes the unit's stored objects that are to go, and says how many.
///
/// # Errors
/// The token's; some may be gone then. Objects under a label of the unit that have no identifier of its kind go, too.
pub(crate) fn remove(session: &Session, name: &str, goes: impl Fn(&Id) -> bool) -> Result<usize, Error> {
    let mut removed = 0;
    for (object, id) in store::list(session, name)? {
        if id.is_none_or(|id| goes(&id)) {
            session.destroy_object(object)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// SHA-256 over `prefix ‖ key`, inside the token.
pub(crate) fn digest_key(
    session: &Session,
    prefix: &[u8],
    key: ObjectHandle,
) -> Result<[u8; SHA256_LEN], CallError> {
    session.digest_init(&Ck::Sha256)?;
    if !prefix.is_empty() {
        session.digest_update(prefix)?;
    }
    session.digest_key(key)?;
    let digest = session.digest_final()?;
    digest.try_into().map_err(|_| EngineError::DeviceError.into())
}

/// Whether the unit's own key is on the token; makes it for a unit that is new.
pub(crate) fn see_to_device_key(session: &Session, name: &str, keys: UnitKeys) -> Result<bool, CallError> {
    if store::find(session, name, Origin::Device, Id::DEVICE)?.is_some() {
        return Ok(true);
    }
    if keys == UnitKeys::Known {
        return Ok(false);
    }
    // The same whatever the token: encryption needs nothing that is probed for.
    let role = Role { encrypt: true, decrypt: true, allowed: vec![MechanismType::AES_GCM], ..Role::NONE };
    let mut attributes = with(template(KeyType::AES, &role, false), Attribute::Token(true));
    attributes.push(Attribute::ValueLen(u64::from(DEVICE_KEY.key_len).into()));
    attributes.push(Attribute::Label(store::label(name, Origin::Device)));
    attributes.push(Attribute::Id(Id::DEVICE.to_vec()));
    session.generate_key(&Ck::AesKeyGen, &attributes)?;
    Ok(true)
}
