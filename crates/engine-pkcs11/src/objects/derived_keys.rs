//! Keys derived from a stored master key: outside the token, wrapped under keys that never leave it.
//!
//! A key derived from a master key wraps or authenticates key blobs. As an object of the token it would do that for everyone
//! who has the PIN. So the token has only a key under which the derived key is wrapped, and the wrapped key is in the
//! reference, which the unit seals with its state: it takes the PIN and the unit's state to use a derived key.
//!
//! The wrapping key is generated on the token, and its `CKA_UNWRAP_TEMPLATE` has every attribute of the working objects:
//! they are session objects, sensitive, not extractable, and permit what the derived key permits.

use super::reference::ObjectId;
use super::role::{self, ExpectedObject, ObjectRole};
use super::template::{self, ObjectUsage};
use super::{CallContext, KeyObjects, Profile, unwrap_template};
use crate::error::{CallError, Fault};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use engine::{Algorithm, EngineError, KeySpec, WrapMechanism};

/// Derived keys that a reference has room for.
pub(crate) const MAX_DERIVED: usize = 2;

/// Length of the longest wrapped derived key, in bytes: AES-256 under AES-KW.
pub(crate) const WRAPPED_LEN: usize = WrapMechanism::AesKw.wrapped_len(32);

/// A derived key under its wrapping key. Shorter keys are followed by zeros.
pub(crate) type WrappedKey = [u8; WRAPPED_LEN];

/// The derived keys in the reference of a master key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CarriedKeys {
    places: [Option<WrappedKey>; MAX_DERIVED],
}

impl CarriedKeys {
    /// The carried keys with these bytes: one wrapped key after the other.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (wrapped, rest) = bytes.as_chunks::<WRAPPED_LEN>();
        let mut carried = Self::default();
        if !rest.is_empty() || wrapped.len() > MAX_DERIVED {
            return None;
        }
        for (place, wrapped) in carried.places.iter_mut().zip(wrapped) {
            *place = Some(*wrapped);
        }
        Some(carried)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &WrappedKey> {
        self.places.iter().flatten()
    }

    /// Adds a key and returns its place.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if there is no room.
    fn push(&mut self, wrapped: WrappedKey) -> Result<u8, EngineError> {
        let free = self.places.iter_mut().enumerate().find(|(_, place)| place.is_none());
        let (at, place) = free.ok_or(EngineError::DeviceMemory)?;
        *place = Some(wrapped);
        Ok(at as u8)
    }

    fn at(&self, place: u8) -> Option<&WrappedKey> {
        self.places.get(usize::from(place))?.as_ref()
    }
}

/// Whether a key with this specification, derived from a master key, can be carried in the reference.
pub(crate) const fn is_carried(spec: &KeySpec) -> bool {
    matches!(spec.algorithm, Algorithm::Aes)
}

/// The specification of the session objects of a derived key whose master key is not stored yet: it will be wrapped once.
pub(crate) const fn until_stored(spec: &KeySpec) -> KeySpec {
    KeySpec { extractable: true, ..*spec }
}

/// Stores a wrapping key for a derived key, and wraps the derived key into `carried`. `key` is its extractable object.
pub(super) fn store(
    call: &CallContext<'_>,
    id: ObjectId,
    spec: &KeySpec,
    key: ObjectHandle,
    carried: &mut CarriedKeys,
) -> Result<(), CallError> {
    // The place is known before the key is wrapped, because it is part of the identifier.
    let place = carried.push([0; WRAPPED_LEN])?;
    let (expected, required) = expected(id.with_place(place), spec, call.profile);
    let attributes = expected.to_create(call.unit_name);
    let generate = |attributes: &[Attribute]| call.session.generate_key(&Ck::AesKeyGen, attributes);
    let wrapping_key = if required.is_empty() {
        generate(&attributes)
    } else {
        unwrap_template::with(attributes, &required, generate)
    }?;
    role::verify(call.session, wrapping_key, &expected)?;
    let wrapped = call.session.wrap_key(&Ck::AesKeyWrap, wrapping_key, key)?;
    if wrapped.len() != wrapped_len(spec) {
        return Err(EngineError::DeviceError.into());
    }
    let place = carried.places.get_mut(usize::from(place)).and_then(Option::as_mut);
    place.into_iter().flatten().zip(wrapped).for_each(|(to, from)| *to = from);
    Ok(())
}

/// Loads a derived key into the session.
///
/// # Errors
/// The token's; [`EngineError::KeyUnextractable`] if the token has no wrapping key for this derivation;
/// [`EngineError::ReferenceInvalid`] if the carried key was not wrapped under it.
pub(crate) fn load(
    call: &CallContext<'_>,
    id: ObjectId,
    spec: &KeySpec,
    carried: &CarriedKeys,
) -> Result<KeyObjects, CallError> {
    for place in 0..MAX_DERIVED as u8 {
        let (expected, _) = expected(id.with_place(place), spec, call.profile);
        let Some(wrapping_key) = role::find(call.session, call.unit_name, &expected)? else { continue };
        let wrapped = carried.at(place).and_then(|wrapped| wrapped.get(..wrapped_len(spec)));
        let wrapped = wrapped.ok_or(EngineError::ReferenceInvalid)?;
        let unwrap = |attributes: &[Attribute]| -> Result<ObjectHandle, CallError> {
            match call.session.unwrap_key(&Ck::AesKeyWrap, wrapping_key, wrapped, attributes) {
                Ok(object) => Ok(call.track(object)),
                Err(error) if Fault::of(&error) == Fault::Integrity => {
                    Err(EngineError::ReferenceInvalid.into())
                }
                Err(error) => Err(error.into()),
            }
        };
        let (primary, secondary) = template::of_key(spec, call.profile);
        return Ok(KeyObjects {
            primary: unwrap(&primary)?,
            secondary: secondary.map(|secondary| unwrap(&secondary)).transpose()?,
        });
    }
    Err(EngineError::KeyUnextractable.into())
}

/// The wrapping key, and what its `CKA_UNWRAP_TEMPLATE` requires: the attributes that all objects of the derived key have.
fn expected(id: ObjectId, spec: &KeySpec, profile: &Profile) -> (ExpectedObject, Vec<Attribute>) {
    // One AES key has to wrap and to unwrap.
    let usage = ObjectUsage {
        wrap: true,
        unwrap: true,
        allowed: vec![MechanismType::AES_KEY_WRAP],
        ..ObjectUsage::NONE
    };
    let attributes = template::template(KeyType::AES, &usage, false);
    let mut expected = ExpectedObject::of_template(ObjectRole::DerivedKeyWrapping, id, attributes)
        .unmodifiable(profile)
        .uncopyable(profile.protects_objects)
        .generated(profile, 32);
    let mut required = Vec::new();
    if profile.has_unwrap_template {
        let (primary, secondary) = template::of_key(spec, profile);
        required = primary;
        required.retain(|attribute| secondary.as_ref().is_none_or(|other| other.contains(attribute)));
        expected.unwrap_template_len = required.len();
    }
    (expected, required)
}

const fn wrapped_len(spec: &KeySpec) -> usize {
    WrapMechanism::AesKw.wrapped_len(spec.len())
}
