//! Attributes of new objects. Every usage attribute is given explicitly, because tokens differ in their defaults.

use super::Profile;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use engine::{Algorithm, KeySpec, KeyUses};

/// The usage attributes of one object (`CKA_ENCRYPT`, `CKA_DECRYPT`, …), and its `CKA_ALLOWED_MECHANISMS`, which
/// cannot be changed after creation.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectUsage {
    pub(crate) encrypt: bool,
    pub(crate) decrypt: bool,
    pub(crate) sign: bool,
    pub(crate) verify: bool,
    pub(crate) wrap: bool,
    pub(crate) unwrap: bool,
    pub(crate) derive: bool,
    pub(crate) allowed: Vec<MechanismType>,
}

impl ObjectUsage {
    /// No operation.
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

    /// The usage of a key's primary object.
    ///
    /// Where the token has no SP 800-108, a key that derives is permitted to sign: the derivation is built from MACs.
    pub(crate) fn of(spec: &KeySpec, profile: &Profile) -> Self {
        let permits = |uses| spec.uses.permits(uses);
        let mut usage = Self::NONE;
        match spec.algorithm {
            Algorithm::Aes => {
                usage.encrypt = permits(KeyUses::ENCRYPT);
                usage.decrypt = permits(KeyUses::DECRYPT);
                usage.wrap = permits(KeyUses::WRAP);
                usage.unwrap = permits(KeyUses::UNWRAP);
                usage.verify = permits(KeyUses::VERIFY);
                usage.derive = permits(KeyUses::DERIVE) && profile.derives_on_token;
                usage.sign = permits(KeyUses::SIGN) || permits(KeyUses::DERIVE) && !profile.derives_on_token;
                if usage.encrypt || usage.decrypt {
                    usage.allowed.push(MechanismType::AES_GCM);
                }
                if usage.sign || usage.verify {
                    usage.allowed.push(MechanismType::AES_CMAC);
                }
                if usage.wrap || usage.unwrap {
                    usage.allowed.push(MechanismType::AES_KEY_WRAP);
                    usage.allowed.push(MechanismType::AES_KEY_WRAP_PAD);
                }
                if usage.derive {
                    usage.allowed.push(MechanismType::SP800_108_COUNTER_KDF);
                }
            }
            Algorithm::GenericSecret => {
                usage.sign = permits(KeyUses::SIGN);
                usage.verify = permits(KeyUses::VERIFY);
                usage.allowed.push(MechanismType::SHA256_HMAC);
            }
        }
        // Digests of keys are verification patterns, of keys that derive. An empty list would permit every mechanism.
        if permits(KeyUses::DERIVE) || usage.allowed.is_empty() {
            usage.allowed.push(MechanismType::SHA256);
        }
        usage
    }

    /// The usage of the secondary object of a key that wraps or unwraps: AES-KWP outside the token, block by block.
    pub(crate) fn single_blocks(spec: &KeySpec, profile: &Profile) -> Self {
        Self {
            encrypt: spec.uses.permits(KeyUses::WRAP),
            decrypt: spec.uses.permits(KeyUses::UNWRAP) && !profile.has_kwp,
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

/// The template of a private, sensitive session object with this usage.
pub(crate) fn template(key_type: KeyType, usage: &ObjectUsage, extractable: bool) -> Vec<Attribute> {
    // With room for a length, a value, and what stored objects have besides. Reallocation was measured to take
    // a twentieth of the time in which SoftHSM unwraps a key.
    let mut attributes = Vec::with_capacity(24);
    attributes.extend([
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Encrypt(usage.encrypt),
        Attribute::Decrypt(usage.decrypt),
        Attribute::Sign(usage.sign),
        Attribute::Verify(usage.verify),
        Attribute::Wrap(usage.wrap),
        Attribute::Unwrap(usage.unwrap),
        Attribute::Derive(usage.derive),
    ]);
    if !usage.allowed.is_empty() {
        attributes.push(Attribute::AllowedMechanisms(usage.allowed.clone()));
    }
    attributes
}

/// The templates of a key's objects, primary and secondary.
///
/// | key | primary object | secondary object |
/// |---|---|---|
/// | AES that wraps or unwraps | the key | the key for single blocks, if [`Profile::needs_single_blocks`] |
/// | other AES, and generic secrets that every token can hold | the key | none |
/// | padded secrets ([`Profile::is_padded_secret`]) | the value; if extractable, with zeros up to the next length that AES-KW can wrap | for an HMAC key: the value, with zeros up to the token's shortest HMAC key |
pub(crate) fn of_key(spec: &KeySpec, profile: &Profile) -> (Vec<Attribute>, Option<Vec<Attribute>>) {
    let usage = ObjectUsage::of(spec, profile);
    if profile.is_padded_secret(spec) {
        let no_mac = ObjectUsage { sign: false, verify: false, ..usage.clone() };
        let computes = usage.sign || usage.verify;
        return (
            template(KeyType::GENERIC_SECRET, &no_mac, spec.extractable),
            computes.then(|| template(KeyType::GENERIC_SECRET, &usage, false)),
        );
    }
    let primary = template(key_type(spec.algorithm), &usage, spec.extractable);
    let single_blocks = profile
        .needs_single_blocks(spec)
        .then(|| template(KeyType::AES, &ObjectUsage::single_blocks(spec, profile), false));
    (primary, single_blocks)
}

/// Replaces the attribute of the same type.
pub(crate) fn with_attribute(mut attributes: Vec<Attribute>, attribute: Attribute) -> Vec<Attribute> {
    attributes.retain(|other| other.attribute_type() != attribute.attribute_type());
    attributes.push(attribute);
    attributes
}
