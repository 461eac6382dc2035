//! What a unit leaves on its token: objects by label and identifier.
//!
//! ```text
//! CKA_LABEL   hsm-sim <unit> device key │ master key │ derived key │ key
//! CKA_ID      16 bytes of the key (0 for the device's own) ‖ 16 bytes of the role
//! role        0 for the key itself, else 16 bytes of SHA-256 over label, context and specification of a derivation;
//!             bit 0 of the last byte is set for the second object of a key
//! ```
//!
//! A reference is not authenticated, it need not be: the identifier is a digest of it and of the unit's name, so that a
//! reference which was changed, or is another unit's, names nothing.

use crate::error::CallError;
use crate::objects::key_table::{Objects, Origin};
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use engine::{Algorithm, EngineError, KeySpec, KeyUses};
use sha2::{Digest, Sha256};

/// Length of a reference, in bytes.
pub(crate) const REFERENCE_LEN: usize = 24;
const FORMAT: u8 = 1;
const NONCE_LEN: usize = 16;

/// An object's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id([u8; 32]);

impl Id {
    /// The device key's.
    pub(crate) const DEVICE: Self = Self([0; 32]);

    /// The key of a reference.
    fn of_reference(name: &str, reference: &[u8; REFERENCE_LEN]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"hsm-sim persisted key")
            .chain_update((name.len() as u64).to_be_bytes())
            .chain_update(name)
            .chain_update(reference)
            .finalize();
        let mut id = [0; 32];
        id.iter_mut().zip(digest).take(16).for_each(|(to, from)| *to = from);
        Self(id)
    }

    /// A derivation, of whichever master key.
    pub(crate) fn of_derivation(label: &[u8], context: &[u8], spec: &KeySpec) -> Self {
        let digest = Sha256::new()
            .chain_update(b"hsm-sim derived key")
            .chain_update((label.len() as u64).to_be_bytes())
            .chain_update(label)
            .chain_update((context.len() as u64).to_be_bytes())
            .chain_update(context)
            .chain_update(spec_bytes(spec, Origin::Derived))
            .finalize();
        let mut id = [0; 32];
        id.iter_mut().skip(16).zip(digest).for_each(|(to, from)| *to = from);
        if let Some(last) = id.last_mut() {
            *last &= !1;
        }
        Self(id)
    }

    /// That derivation of this key.
    pub(crate) fn with_role_of(mut self, derivation: Self) -> Self {
        self.0.iter_mut().zip(derivation.0).skip(16).for_each(|(to, from)| *to = from);
        self
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// The second object of the same key in the same role.
    const fn second(mut self) -> Self {
        self.0[31] |= 1;
        self
    }

    /// Whether it is an object of the same key, in whichever role.
    pub(crate) fn is_of_key(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).take(16).all(|(a, b)| *a == b)
    }
}

/// What a reference says of a key.
pub(crate) struct Referred {
    pub(crate) id: Id,
    pub(crate) spec: KeySpec,
    pub(crate) origin: Origin,
}

/// The reference of a key of this kind, by a number that was never used.
pub(crate) fn reference(spec: &KeySpec, origin: Origin, nonce: [u8; NONCE_LEN]) -> [u8; REFERENCE_LEN] {
    let mut reference = [0; REFERENCE_LEN];
    let bytes = spec_bytes(spec, origin).into_iter().chain(nonce);
    reference.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    reference
}

/// What a reference refers to, if it may be one of this unit's.
pub(crate) fn refer(name: &str, reference: &[u8]) -> Result<Referred, EngineError> {
    let reference: &[u8; REFERENCE_LEN] = reference.try_into().map_err(|_| EngineError::ReferenceInvalid)?;
    let [format, algorithm, flags, len, a, b, c, d, ..] = *reference;
    let decoded = || {
        let spec = KeySpec {
            algorithm: Algorithm::from_number(algorithm)?,
            key_len: u16::from(len),
            uses: KeyUses::from_bits(u32::from_be_bytes([a, b, c, d]))?,
            extractable: flags & 1 == 1,
        };
        let origin = Origin::from_number(flags >> 1)?;
        (format == FORMAT && spec.check().is_ok()).then_some((spec, origin))
    };
    let (spec, origin) = decoded().ok_or(EngineError::ReferenceInvalid)?;
    Ok(Referred { id: Id::of_reference(name, reference), spec, origin })
}

fn spec_bytes(spec: &KeySpec, origin: Origin) -> [u8; 8] {
    let flags = u8::from(spec.extractable) | (origin as u8) << 1;
    let len = u8::try_from(spec.key_len).unwrap_or(u8::MAX);
    let [a, b, c, d] = spec.uses.bits().to_be_bytes();
    [FORMAT, spec.algorithm as u8, flags, len, a, b, c, d]
}

/// The label of a unit's objects of this origin.
pub(crate) fn label(name: &str, origin: Origin) -> Vec<u8> {
    let what = match origin {
        Origin::Device => "device key",
        Origin::Master => "master key",
        Origin::Derived => "derived key",
        Origin::User => "key",
    };
    format!("hsm-sim {name} {what}").into_bytes()
}

/// Copies a key's objects to the token under an identifier; `narrow` is what the copies may less than they.
pub(crate) fn put(
    session: &Session,
    name: &str,
    origin: Origin,
    id: Id,
    objects: Objects,
    narrow: &[Attribute],
) -> Result<Objects, Error> {
    let copy = |object, id: Id| {
        let mut attributes =
            vec![Attribute::Token(true), Attribute::Label(label(name, origin)), Attribute::Id(id.0.to_vec())];
        attributes.extend_from_slice(narrow);
        session.copy_object(object, &attributes)
    };
    // What is half there is not there: the first object is the one that is looked for.
    let second = objects.second.map(|second| copy(second, id.second())).transpose()?;
    match copy(objects.first, id) {
        Ok(first) => Ok(Objects { first, second }),
        Err(error) => {
            second.map(|second| session.destroy_object(second)).transpose()?;
            Err(error)
        }
    }
}

/// The objects under an identifier.
///
/// # Errors
/// The token's; [`EngineError::ReferenceInvalid`] if several objects claim to be one key.
pub(crate) fn find(
    session: &Session,
    name: &str,
    origin: Origin,
    id: Id,
) -> Result<Option<Objects>, CallError> {
    let one = |id: Id| {
        let found = session.find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(label(name, origin)),
            Attribute::Id(id.0.to_vec()),
        ])?;
        match *found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(CallError::Refused(EngineError::ReferenceInvalid)),
        }
    };
    match one(id)? {
        Some(first) => Ok(Some(Objects { first, second: one(id.second())? })),
        None => Ok(None),
    }
}

/// Every object that a unit has on the token, its device key excepted.
pub(crate) fn list(session: &Session, name: &str) -> Result<Vec<(ObjectHandle, Option<Id>)>, Error> {
    let mut listed = Vec::new();
    for origin in [Origin::Master, Origin::Derived, Origin::User] {
        let found = session.find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(label(name, origin)),
        ])?;
        for object in found {
            let id =
                session.get_attributes(object, &[AttributeType::Id])?.into_iter().find_map(|attribute| {
                    let Attribute::Id(id) = attribute else { return None };
                    id.try_into().ok().map(Id)
                });
            listed.push((object, id));
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::{Id, refer, reference};
    use crate::objects::key_table::Origin;
    use engine::{EngineError, KeySpec, KeyUses};

    #[test]
    fn a_reference_says_what_the_key_is_and_names_it_for_one_unit() {
        let spec = KeySpec::aes(32, KeyUses::DERIVE);
        let bytes = reference(&spec, Origin::Master, [7; 16]);
        let read = refer("a", &bytes).unwrap();
        assert_eq!((read.spec, read.origin), (spec, Origin::Master));
        assert!(!read.id.is_of_key(&refer("b", &bytes).unwrap().id));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            match refer("a", &changed) {
                Ok(other) => assert!(!other.id.is_of_key(&read.id), "byte {at}"),
                Err(error) => assert_eq!(error, EngineError::ReferenceInvalid),
            }
        }
    }

    #[test]
    fn derivations_are_told_apart_and_belong_to_their_key() {
        let spec = KeySpec::aes(32, KeyUses::WRAP);
        let key = refer("a", &reference(&spec, Origin::Master, [1; 16])).unwrap().id;
        let ids: Vec<Id> = [(b"a", b"b"), (b"b", b"a")]
            .iter()
            .map(|(label, context)| key.with_role_of(Id::of_derivation(*label, *context, &spec)))
            .collect();
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.is_of_key(&key) && id.second() != *id && id.second().is_of_key(&key)));
    }
}
