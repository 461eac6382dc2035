//! State keys: each an object that is generated on the token, and destroyed there.

use super::reference::ObjectId;
use super::role::{self, ExpectedObject, ObjectRole};
use super::{DEVICE_KEY_SPEC, ObjectUsage, Profile, template};
use crate::error::CallError;
use crate::random;
use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{STATE_KEY_ID_LEN, StateKeyId};

/// Generates a state key.
pub(crate) fn create_state_key(
    session: &Session,
    unit_name: &str,
    profile: &Profile,
) -> Result<StateKeyId, CallError> {
    let mut id = [0; STATE_KEY_ID_LEN];
    random::fill(session, &mut id)?;
    let id = StateKeyId(id);
    let expected = expected(&id, profile);
    let key = session.generate_key(&Ck::AesKeyGen, &expected.to_create(unit_name))?;
    role::verify(session, key, &expected).map(|()| id).inspect_err(|_| {
        let _ = session.destroy_object(key);
    })
}

/// Finds a state key.
///
/// # Errors
/// As [`role::find`].
pub(crate) fn find_state_key(
    session: &Session,
    unit_name: &str,
    profile: &Profile,
    id: &StateKeyId,
) -> Result<Option<ObjectHandle>, CallError> {
    role::find(session, unit_name, &expected(id, profile))
}

/// Whether the token has an object under the label of the unit's state keys.
pub(crate) fn has_state_key(session: &Session, unit_name: &str) -> Result<bool, Error> {
    Ok(!list(session, unit_name)?.is_empty())
}

/// Destroys every object under the label of the unit's state keys but these.
pub(crate) fn destroy_state_keys_but(
    session: &Session,
    unit_name: &str,
    kept: &[StateKeyId],
) -> Result<(), Error> {
    for object in list(session, unit_name)? {
        let attributes = session.get_attributes(object, &[AttributeType::Id])?;
        let is_kept =
            kept.iter().any(|id| attributes.contains(&Attribute::Id(ObjectId::of_state_key(id).to_vec())));
        if !is_kept {
            session.destroy_object(object)?;
        }
    }
    Ok(())
}

fn list(session: &Session, unit_name: &str) -> Result<Vec<ObjectHandle>, Error> {
    session.find_objects(&[Attribute::Token(true), Attribute::Label(ObjectRole::StateKey.label(unit_name))])
}

/// One AES key has to seal and to open.
fn expected(id: &StateKeyId, profile: &Profile) -> ExpectedObject {
    let usage = ObjectUsage {
        encrypt: true,
        decrypt: true,
        allowed: vec![MechanismType::AES_GCM],
        ..ObjectUsage::NONE
    };
    let attributes = template(KeyType::AES, &usage, false);
    ExpectedObject::of_template(ObjectRole::StateKey, ObjectId::of_state_key(id), attributes)
        .unmodifiable(profile)
        .uncopyable(profile.protects_objects)
        .generated(profile, DEVICE_KEY_SPEC.key_len)
}
