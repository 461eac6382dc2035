//! The roles of stored objects, and the one function that finds an object and verifies every attribute of it.

use super::reference::ObjectId;
use super::{Profile, unwrap_template};
use crate::error::{CallError, ObjectFault, ObjectRefusal};
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectHandle};
use cryptoki::session::Session;

/// What a stored object is for. It is part of the object's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectRole {
    /// The key that sealed the unit's state in earlier versions.
    DeviceKey,
    /// The private half of the module's attestation key.
    AttestationKey,
    /// The public half of the module's attestation key.
    AttestationPublicKey,
    /// The key that the module's attestation key is derived from.
    AttestationSeed,
    /// The key that seals the unit's state, or one that is to be destroyed.
    StateKey,
    /// A master key, which permits no operation.
    MasterKey,
    /// The key under which a key derived from a master key is wrapped; the wrapped key is in the reference.
    DerivedKeyWrapping,
    /// A key derived from a master key by an earlier version, as an object of its own.
    DerivedKey,
    /// Another persisted key.
    Key,
}

impl ObjectRole {
    /// The roles of persisted keys.
    pub(super) const PERSISTED: [Self; 4] =
        [Self::MasterKey, Self::DerivedKeyWrapping, Self::DerivedKey, Self::Key];

    /// The name in labels and errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DeviceKey => "device key",
            Self::AttestationKey => "attestation key",
            Self::AttestationPublicKey => "attestation public key",
            Self::AttestationSeed => "attestation seed",
            Self::StateKey => "state key",
            Self::MasterKey => "master key",
            Self::DerivedKeyWrapping => "derived key wrapping",
            Self::DerivedKey => "derived key",
            Self::Key => "key",
        }
    }

    /// The `CKA_LABEL` of a unit's objects of this role.
    pub(crate) fn label(self, unit_name: &str) -> Vec<u8> {
        format!("hsm-sim {unit_name} {}", self.name()).into_bytes()
    }
}

/// What a stored object has to be.
pub(crate) struct ExpectedObject {
    pub(crate) role: ObjectRole,
    pub(crate) id: ObjectId,
    /// Attributes with the only values that are accepted: all that the unit has set or relies on.
    pub(crate) attributes: Vec<Attribute>,
    /// Number of attributes in its `CKA_UNWRAP_TEMPLATE`; 0 without one.
    pub(crate) unwrap_template_len: usize,
}

impl ExpectedObject {
    /// An object with the attributes of this template of a session object, stored on the token.
    pub(crate) fn of_template(role: ObjectRole, id: ObjectId, mut attributes: Vec<Attribute>) -> Self {
        attributes.retain(|attribute| attribute.attribute_type() != AttributeType::Token);
        attributes.push(Attribute::Token(true));
        Self { role, id, attributes, unwrap_template_len: 0 }
    }

    /// The same, and it cannot be changed, where the token can hold that.
    pub(crate) fn unmodifiable(mut self, profile: &Profile) -> Self {
        if profile.protects_objects {
            self.attributes.push(Attribute::Modifiable(false));
        }
        self
    }

    /// The same, and it cannot be copied, if `held`.
    pub(crate) fn uncopyable(mut self, held: bool) -> Self {
        if held {
            self.attributes.push(Attribute::Copyable(false));
        }
        self
    }

    /// The same, generated on the token, so that its value was never elsewhere, where the token tells that.
    pub(crate) fn generated(mut self, profile: &Profile, key_len: u16) -> Self {
        self.attributes.push(Attribute::ValueLen(u64::from(key_len).into()));
        self.generated_inside(profile)
    }

    /// The same without a length.
    pub(crate) fn generated_inside(mut self, profile: &Profile) -> Self {
        if profile.tells_origin {
            self.attributes.extend([
                Attribute::Local(true),
                Attribute::AlwaysSensitive(true),
                Attribute::NeverExtractable(true),
            ]);
        }
        self
    }

    /// The attributes of the object to create, with its label and identifier. Attributes that the token sets are left out.
    pub(crate) fn to_create(&self, unit_name: &str) -> Vec<Attribute> {
        let by_token =
            [AttributeType::Local, AttributeType::AlwaysSensitive, AttributeType::NeverExtractable];
        let mut attributes = self.attributes.clone();
        attributes.retain(|attribute| !by_token.contains(&attribute.attribute_type()));
        attributes.push(Attribute::Label(self.role.label(unit_name)));
        attributes.push(Attribute::Id(self.id.to_vec()));
        attributes
    }

    fn refused(&self, fault: ObjectFault) -> CallError {
        CallError::Refused(ObjectRefusal { role: self.role.name(), fault })
    }
}

/// Finds the stored object of this role and identifier, and verifies every attribute of it.
///
/// # Errors
/// The token's; [`CallError::Refused`] if several objects have that label and identifier, of whatever class, or if an
/// attribute has another value.
pub(crate) fn find(
    session: &Session,
    unit_name: &str,
    expected: &ExpectedObject,
) -> Result<Option<ObjectHandle>, CallError> {
    let found = session.find_objects(&[
        Attribute::Token(true),
        Attribute::Label(expected.role.label(unit_name)),
        Attribute::Id(expected.id.to_vec()),
    ])?;
    match *found.as_slice() {
        [] => Ok(None),
        [one] => verify(session, one, expected).map(|()| Some(one)),
        _ => Err(expected.refused(ObjectFault::Several(found.len()))),
    }
}

/// Verifies every attribute of an object.
///
/// # Errors
/// The token's; [`CallError::Refused`] with the name of the first attribute that has another value.
pub(crate) fn verify(
    session: &Session,
    object: ObjectHandle,
    expected: &ExpectedObject,
) -> Result<(), CallError> {
    let differs = |kind: AttributeType| expected.refused(ObjectFault::Attribute(kind.to_string()));
    let kinds: Vec<AttributeType> = expected.attributes.iter().map(Attribute::attribute_type).collect();
    let found = match session.get_attributes(object, &kinds) {
        Ok(found) => found,
        Err(error @ Error::Pkcs11(..)) => return Err(error.into()),
        // A value that no unit sets cannot be read as one of the attribute's type.
        Err(_) => {
            let unreadable = kinds.iter().find(|kind| session.get_attributes(object, &[**kind]).is_err());
            return Err(differs(unreadable.copied().unwrap_or(AttributeType::Class)));
        }
    };
    for attribute in &expected.attributes {
        if !found.iter().any(|found| is_same(found, attribute)) {
            return Err(differs(attribute.attribute_type()));
        }
    }
    if expected.unwrap_template_len > 0 {
        let len = expected.unwrap_template_len * unwrap_template::ITEM_LEN;
        match session.get_attribute_info(object, &[unwrap_template::TYPE])?.as_slice() {
            [AttributeInfo::Available(found)] if *found == len => {}
            _ => return Err(expected.refused(ObjectFault::Attribute("CKA_UNWRAP_TEMPLATE".to_owned()))),
        }
    }
    Ok(())
}

/// Whether two attributes are the same; allowed mechanisms may be in any order.
fn is_same(found: &Attribute, expected: &Attribute) -> bool {
    match (found, expected) {
        (Attribute::AllowedMechanisms(found), Attribute::AllowedMechanisms(expected)) => {
            found.len() == expected.len() && expected.iter().all(|mechanism| found.contains(mechanism))
        }
        _ => found == expected,
    }
}
