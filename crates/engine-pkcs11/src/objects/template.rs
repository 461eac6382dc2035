//! What an object on a token may do, said in full: tokens differ in what they permit where nothing is said.

use crate::objects::profile::Profile;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use engine::{Algorithm, KeySpec, KeyUses};

/// The uses of one object, and the mechanisms that they are by. The mechanisms cannot be changed once it is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Role {
    pub(crate) encrypt: bool,
    pub(crate) decrypt: bool,
    pub(crate) sign: bool,
    pub(crate) verify: bool,
    pub(crate) wrap: bool,
    pub(crate) unwrap: bool,
    pub(crate) derive: bool,
    pub(crate) allowed: Vec<MechanismType>,
}

impl Role {
    /// Nothing at all.
    pub(crate) const NONE: Self = Self {
        encrypt: false,
        decrypt: false,
        sign: false,
        verify: false,
        wrap: false,
        unwrap: false,
        derive: false,
        allowed: Vec::new(),
    };

    /// What a key needs for the uses of its specification.
    ///
    /// To derive, a key that is no base of the token's own derivation signs: SP 800-108 is made of MACs.
    pub(crate) fn of(spec: &KeySpec, profile: &Profile) -> Self {
        let may = |uses| spec.uses.permits(uses);
        let mut role = Self::NONE;
        match spec.algorithm {
            Algorithm::Aes => {
                role.encrypt = may(KeyUses::ENCRYPT);
                role.decrypt = may(KeyUses::DECRYPT);
                role.wrap = may(KeyUses::WRAP);
                role.unwrap = may(KeyUses::UNWRAP);
                role.verify = may(KeyUses::VERIFY);
                role.derive = may(KeyUses::DERIVE) && profile.derives_inside;
                role.sign = may(KeyUses::SIGN) || may(KeyUses::DERIVE) && !profile.derives_inside;
                if role.encrypt || role.decrypt {
                    role.allowed.push(MechanismType::AES_GCM);
                }
                if role.sign || role.verify {
                    role.allowed.push(MechanismType::AES_CMAC);
                }
                if role.wrap || role.unwrap {
                    role.allowed.push(MechanismType::AES_KEY_WRAP);
                    role.allowed.push(MechanismType::AES_KEY_WRAP_PAD);
                }
                if role.derive {
                    role.allowed.push(MechanismType::SP800_108_COUNTER_KDF);
                }
            }
            Algorithm::GenericSecret => {
                role.sign = may(KeyUses::SIGN);
                role.verify = may(KeyUses::VERIFY);
                role.allowed.push(MechanismType::SHA256_HMAC);
            }
        }
        role.allowed.push(MechanismType::SHA256);
        role
    }

    /// Single blocks, for padding that the token has not.
    pub(crate) fn blocks(spec: &KeySpec, profile: &Profile) -> Self {
        Self {
            encrypt: spec.uses.permits(KeyUses::WRAP),
            decrypt: spec.uses.permits(KeyUses::UNWRAP) && !profile.unwraps_padded,
            allowed: vec![MechanismType::AES_ECB],
            ..Self::NONE
        }
    }
}

/// The PKCS#11 key type of an algorithm.
pub(crate) const fn key_type(algorithm: Algorithm) -> KeyType {
    match algorithm {
        Algorithm::Aes => KeyType::AES,
        Algorithm::GenericSecret => KeyType::GENERIC_SECRET,
    }
}

/// A session object: private, sensitive, every use said.
pub(crate) fn template(key_type: KeyType, role: &Role, extractable: bool) -> Vec<Attribute> {
    // Room for a length, a value and what a stored object has besides: a list that grows goes through the slow parts of
    // the system's allocator, which takes a twentieth of the time that a token in software takes to unwrap a key.
    let mut attributes = Vec::with_capacity(20);
    attributes.extend([
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Encrypt(role.encrypt),
        Attribute::Decrypt(role.decrypt),
        Attribute::Sign(role.sign),
        Attribute::Verify(role.verify),
        Attribute::Wrap(role.wrap),
        Attribute::Unwrap(role.unwrap),
        Attribute::Derive(role.derive),
    ]);
    if !role.allowed.is_empty() {
        attributes.push(Attribute::AllowedMechanisms(role.allowed.clone()));
    }
    attributes
}

/// The same with another value of one attribute.
pub(crate) fn with(mut attributes: Vec<Attribute>, attribute: Attribute) -> Vec<Attribute> {
    attributes.retain(|other| other.attribute_type() != attribute.attribute_type());
    attributes.push(attribute);
    attributes
}
