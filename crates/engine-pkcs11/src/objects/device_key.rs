//! The unit's device key, which identifies the unit's token, and with which earlier versions sealed the unit's state.

use super::reference::ObjectId;
use super::role::{self, ExpectedObject, ObjectRole};
use super::state_keys::has_state_key;
use super::{ObjectUsage, Profile, template};
use crate::error::CallError;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{KeySpec, KeyUses};

pub(crate) const DEVICE_KEY_SPEC: KeySpec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));

/// Whether an engine may generate its unit's device key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKeyMode {
    /// For a new unit: the device key is generated if the token has none of this unit.
    CreateIfMissing,
    /// For a unit with sealed state: a token without its device key is refused.
    MustExist,
}

/// Finds the unit's device key. Earlier versions have generated it modifiable and copyable.
///
/// # Errors
/// As [`role::find`].
pub(crate) fn find_device_key(
    session: &Session,
    unit_name: &str,
    profile: &Profile,
) -> Result<Option<ObjectHandle>, CallError> {
    role::find(session, unit_name, &expected(profile))
}

/// Whether the unit's device key is on the token afterwards; generates it where `mode` permits.
pub(crate) fn ensure_device_key(
    session: &Session,
    unit_name: &str,
    profile: &Profile,
    mode: DeviceKeyMode,
) -> Result<bool, CallError> {
    if find_device_key(session, unit_name, profile)?.is_some() {
        return Ok(true);
    }
    // A renewal may have been interrupted; the unit is then known by its state key.
    if mode == DeviceKeyMode::MustExist && !has_state_key(session, unit_name)? {
        return Ok(false);
    }
    create(session, unit_name, profile).map(|()| true)
}

/// Replaces the device key. If that is interrupted, the next start generates the new one.
pub(crate) fn renew_device_key(
    session: &Session,
    unit_name: &str,
    profile: &Profile,
) -> Result<(), CallError> {
    let former = [
        Attribute::Token(true),
        Attribute::Label(ObjectRole::DeviceKey.label(unit_name)),
        Attribute::Id(ObjectId::DEVICE.to_vec()),
    ];
    for object in session.find_objects(&former)? {
        session.destroy_object(object)?;
    }
    create(session, unit_name, profile)
}

fn create(session: &Session, unit_name: &str, profile: &Profile) -> Result<(), CallError> {
    let expected = expected(profile).unmodifiable(profile).uncopyable(profile.protects_objects);
    let device_key = session.generate_key(&Ck::AesKeyGen, &expected.to_create(unit_name))?;
    role::verify(session, device_key, &expected)
}

/// One AES key has to seal and to open.
fn expected(profile: &Profile) -> ExpectedObject {
    let usage = ObjectUsage {
        encrypt: true,
        decrypt: true,
        allowed: vec![MechanismType::AES_GCM],
        ..ObjectUsage::NONE
    };
    let attributes = template(KeyType::AES, &usage, false);
    ExpectedObject::of_template(ObjectRole::DeviceKey, ObjectId::DEVICE, attributes)
        .generated(profile, DEVICE_KEY_SPEC.key_len)
}
