//! A unit's stored objects on its token, found by label and identifier.
//!
//! ```text
//! CKA_LABEL   hsm-sim <unit> <role>, see `role.rs`
//! CKA_ID      see `reference.rs`
//! ```

use super::reference::ObjectId;
use super::role::{self, ExpectedObject, ObjectRole};
use super::{KeyObjects, ObjectUsage, Profile, template};
use crate::error::CallError;
use cryptoki::error::Error;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::KeySpec;

/// What the objects of a stored key have to be.
pub(crate) struct ExpectedKey {
    primary: ExpectedObject,
    /// The secondary object, if the key may have one.
    secondary: Option<ExpectedObject>,
    /// Attributes that its copies get instead of those of the session objects.
    restrictions: Vec<Attribute>,
}

impl ExpectedKey {
    /// A master key, which permits no operation. One that an earlier version has stored may be copied.
    pub(crate) fn master(id: ObjectId, spec: &KeySpec, profile: &Profile, is_earlier: bool) -> Self {
        let mut restrictions =
            vec![Attribute::Sign(false), Attribute::Derive(false), Attribute::Modifiable(false)];
        if profile.copies_uncopyable && !is_earlier {
            restrictions.push(Attribute::Copyable(false));
        }
        let usage = ObjectUsage { allowed: ObjectUsage::of(spec, profile).allowed, ..ObjectUsage::NONE };
        let mut attributes = template(KeyType::AES, &usage, spec.extractable);
        attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
        let mut primary = ExpectedObject::of_template(ObjectRole::MasterKey, id, attributes);
        let is_set = |attribute: &Attribute| !primary.attributes.contains(attribute);
        let added: Vec<Attribute> = restrictions.iter().filter(|it| is_set(it)).cloned().collect();
        primary.attributes.extend(added);
        Self { primary, secondary: None, restrictions }
    }

    /// Another persisted key, or a derived key of an earlier version. It works with a copy in the session, so that it stays
    /// modifiable and copyable.
    pub(crate) fn other(role: ObjectRole, id: ObjectId, spec: &KeySpec, profile: &Profile) -> Self {
        let (mut primary, secondary) = template::of_key(spec, profile);
        for attribute in &mut primary {
            // Earlier versions permitted every key to be digested.
            if let (ObjectRole::DerivedKey, Attribute::AllowedMechanisms(allowed)) = (role, attribute) {
                allowed.push(MechanismType::SHA256);
            }
        }
        let secondary =
            secondary.map(|secondary| ExpectedObject::of_template(role, id.secondary(), secondary));
        Self { primary: ExpectedObject::of_template(role, id, primary), secondary, restrictions: Vec::new() }
    }
}

/// Copies a key's session objects to the token, and verifies the copies.
///
/// # Errors
/// The token's; [`CallError::Refused`]. No copy is left then, unless the token refuses to destroy it.
pub(super) fn store_copies(
    session: &Session,
    unit_name: &str,
    objects: KeyObjects,
    expected: &ExpectedKey,
) -> Result<KeyObjects, CallError> {
    let copy = |object, expected_object: &ExpectedObject| {
        let mut attributes = vec![
            Attribute::Token(true),
            Attribute::Label(expected_object.role.label(unit_name)),
            Attribute::Id(expected_object.id.to_vec()),
        ];
        attributes.extend_from_slice(&expected.restrictions);
        let stored = session.copy_object(object, &attributes)?;
        role::verify(session, stored, expected_object).map(|()| stored).inspect_err(|_| {
            let _ = session.destroy_object(stored);
        })
    };
    // The primary object is stored last: `find_key` searches for it first, so a half-stored key is not found.
    let secondary = objects.secondary.zip(expected.secondary.as_ref());
    let secondary = secondary.map(|(secondary, expected)| copy(secondary, expected)).transpose()?;
    match copy(objects.primary, &expected.primary) {
        Ok(primary) => Ok(KeyObjects { primary, secondary }),
        Err(error) => {
            secondary.map(|secondary| session.destroy_object(secondary)).transpose()?;
            Err(error)
        }
    }
}

/// Finds the stored objects of a key, and verifies them.
///
/// # Errors
/// As [`role::find`].
pub(crate) fn find_key(
    session: &Session,
    unit_name: &str,
    expected: &ExpectedKey,
) -> Result<Option<KeyObjects>, CallError> {
    let Some(primary) = role::find(session, unit_name, &expected.primary)? else { return Ok(None) };
    let secondary = match &expected.secondary {
        Some(secondary) => role::find(session, unit_name, secondary)?,
        None => None,
    };
    Ok(Some(KeyObjects { primary, secondary }))
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
    for role in ObjectRole::PERSISTED {
        let label = Attribute::Label(role.label(unit_name));
        for object in session.find_objects(&[Attribute::Token(true), label])? {
            if id_of(session, object)?.is_none_or(|id| is_removed(&id)) {
                session.destroy_object(object)?;
                destroyed += 1;
            }
        }
    }
    Ok(destroyed)
}

/// The identifier of an object, if it has one of this crate's form.
fn id_of(session: &Session, object: ObjectHandle) -> Result<Option<ObjectId>, Error> {
    let attributes = session.get_attributes(object, &[AttributeType::Id])?;
    Ok(attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::Id(id) => ObjectId::from_bytes(id),
        _ => None,
    }))
}
