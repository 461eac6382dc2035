//! A unit's stored objects on its token, found by label and identifier.
//!
//! ```text
//! CKA_LABEL   hsm-sim <unit> device key │ master key │ derived key │ key
//! CKA_ID      see `reference.rs`
//! ```

use super::reference::ObjectId;
use super::{KeyObjects, KeyOrigin};
use crate::error::CallError;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use engine::EngineError;

/// The `CKA_LABEL` of a unit's objects of this origin.
pub(super) fn label(unit_name: &str, origin: KeyOrigin) -> Vec<u8> {
    let kind = match origin {
        KeyOrigin::Device => "device key",
        KeyOrigin::Master => "master key",
        KeyOrigin::Derived => "derived key",
        KeyOrigin::User => "key",
    };
    format!("hsm-sim {unit_name} {kind}").into_bytes()
}

/// Copies a key's session objects to the token under an identifier. `restrictions` are attributes that the copies get
/// instead of the originals'.
///
/// # Errors
/// The token's. No copy is left then, unless the token refuses to destroy it.
pub(super) fn store_copies(
    session: &Session,
    unit_name: &str,
    origin: KeyOrigin,
    id: ObjectId,
    objects: KeyObjects,
    restrictions: &[Attribute],
) -> Result<KeyObjects, Error> {
    let copy = |object, id: ObjectId| {
        let mut attributes = vec![
            Attribute::Token(true),
            Attribute::Label(label(unit_name, origin)),
            Attribute::Id(id.to_vec()),
        ];
        attributes.extend_from_slice(restrictions);
        session.copy_object(object, &attributes)
    };
    // The primary object is stored last: `find_key` searches for it first, so a half-stored key is not found.
    let secondary = objects.secondary.map(|secondary| copy(secondary, id.secondary())).transpose()?;
    match copy(objects.primary, id) {
        Ok(primary) => Ok(KeyObjects { primary, secondary }),
        Err(error) => {
            secondary.map(|secondary| session.destroy_object(secondary)).transpose()?;
            Err(error)
        }
    }
}

/// Finds the stored objects of a key.
///
/// # Errors
/// The token's; [`EngineError::ReferenceInvalid`] if several objects have the same label and identifier.
pub(crate) fn find_key(
    session: &Session,
    unit_name: &str,
    origin: KeyOrigin,
    id: ObjectId,
) -> Result<Option<KeyObjects>, CallError> {
    let find_one = |id: ObjectId| {
        let found = session.find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(label(unit_name, origin)),
            Attribute::Id(id.to_vec()),
        ])?;
        match *found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(CallError::Engine(EngineError::ReferenceInvalid)),
        }
    };
    match find_one(id)? {
        Some(primary) => Ok(Some(KeyObjects { primary, secondary: find_one(id.secondary())? })),
        None => Ok(None),
    }
}

/// Destroys the unit's stored objects whose identifier `is_removed` selects, and returns how many. Objects under a label
/// of the unit without a valid identifier are destroyed too. The device key is kept.
///
/// # Errors
/// The token's. Some of the objects may be destroyed then.
pub(crate) fn destroy_stored(
    session: &Session,
    unit_name: &str,
    is_removed: impl Fn(&ObjectId) -> bool,
) -> Result<usize, Error> {
    let mut destroyed = 0;
    for (object, id) in list_objects(session, unit_name)? {
        if id.is_none_or(|id| is_removed(&id)) {
            session.destroy_object(object)?;
            destroyed += 1;
        }
    }
    Ok(destroyed)
}

/// Every stored object of the unit with its identifier, except the device key.
fn list_objects(session: &Session, unit_name: &str) -> Result<Vec<(ObjectHandle, Option<ObjectId>)>, Error> {
    let mut listed = Vec::new();
    for origin in [KeyOrigin::Master, KeyOrigin::Derived, KeyOrigin::User] {
        let found = session.find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(label(unit_name, origin)),
        ])?;
        for object in found {
            let id =
                session.get_attributes(object, &[AttributeType::Id])?.into_iter().find_map(|attribute| {
                    let Attribute::Id(id) = attribute else { return None };
                    ObjectId::from_bytes(id)
                });
            listed.push((object, id));
        }
    }
    Ok(listed)
}
