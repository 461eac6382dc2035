//! The unit's device key, with which it seals the state it keeps outside the token.

use super::reference::ObjectId;
use super::stored_objects::{find_key, label};
use super::{KeyOrigin, ObjectUsage, template, with_attribute};
use crate::error::CallError;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType};
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

/// Whether the unit's device key is on the token afterwards; generates it where `mode` permits.
pub(crate) fn ensure_device_key(
    session: &Session,
    unit_name: &str,
    mode: DeviceKeyMode,
) -> Result<bool, CallError> {
    if find_key(session, unit_name, KeyOrigin::Device, ObjectId::DEVICE)?.is_some() {
        return Ok(true);
    }
    if mode == DeviceKeyMode::MustExist {
        return Ok(false);
    }
    // The template is the same for every token: AES-GCM depends on no probed feature.
    let usage = ObjectUsage {
        encrypt: true,
        decrypt: true,
        allowed: vec![MechanismType::AES_GCM],
        ..ObjectUsage::NONE
    };
    let mut attributes = with_attribute(template(KeyType::AES, &usage, false), Attribute::Token(true));
    attributes.push(Attribute::ValueLen(u64::from(DEVICE_KEY_SPEC.key_len).into()));
    attributes.push(Attribute::Label(label(unit_name, KeyOrigin::Device)));
    attributes.push(Attribute::Id(ObjectId::DEVICE.to_vec()));
    session.generate_key(&Ck::AesKeyGen, &attributes)?;
    Ok(true)
}
