//! The module's attestation key on the token.
//!
//! A key pair on P-521 where the token has `CKM_ECDSA` on that curve; else an AES key, from whose MACs the scalar is derived.

use super::reference::ObjectId;
use super::role::{self, ExpectedObject, ObjectRole};
use super::{ObjectUsage, Profile, template};
use crate::error::CallError;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use engine::{ATTESTATION_POINT_LEN, ATTESTATION_SIGNATURE_LEN, AttestationKey, EngineClass, EngineError};
use sha2::{Digest, Sha512};
use tke_crypto::{PublicKey, SCALAR_LEN, Signature, SigningKey};
use zeroize::Zeroizing;

/// `OBJECT IDENTIFIER secp521r1`, 1.3.132.0.35 (RFC 5480 §2.1.1.1): the value of `CKA_EC_PARAMS`.
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Header of `CKA_EC_POINT`: an octet string of [`ATTESTATION_POINT_LEN`] bytes.
const POINT_HEADER: [u8; 3] = [0x04, 0x81, ATTESTATION_POINT_LEN as u8];

/// Length of the AES key that a scalar is derived from, in bytes.
const SEED_LEN: u16 = 32;

/// Start of the input of the MACs that a scalar is derived from, after the number of the block.
const SCALAR_LABEL: &[u8] = b"hsm-sim attestation key";

/// The attestation key of an open engine.
pub(crate) enum TokenAttestationKey {
    /// The private half is on the token.
    OnToken(AttestationKey),
    /// The private half is derived from a key on the token.
    Derived(Box<SigningKey>, AttestationKey),
}

impl TokenAttestationKey {
    /// Finds the unit's attestation key, or makes it: on P-521 where the token can, else an AES key to derive it from.
    ///
    /// # Errors
    /// As [`role::find`]; [`EngineError::ReferenceInvalid`] if the private half does not belong to the public half.
    pub(crate) fn ensure(session: &Session, unit_name: &str, profile: &Profile) -> Result<Self, CallError> {
        if let Some(found) = Self::find(session, unit_name, profile)? {
            return Ok(found);
        }
        if profile.signs_on_p521 {
            let (public, private) = (public_half(profile), private_half(profile));
            make_pair(session, &public.to_create(unit_name), &private.to_create(unit_name))?;
        } else {
            session.generate_key(&Ck::AesKeyGen, &seed(profile).to_create(unit_name))?;
        }
        Self::find(session, unit_name, profile)?.ok_or(CallError::Engine(EngineError::DeviceError))
    }

    /// The public half.
    pub(crate) const fn public(&self) -> &AttestationKey {
        match self {
            Self::OnToken(public) | Self::Derived(_, public) => public,
        }
    }

    fn find(session: &Session, unit_name: &str, profile: &Profile) -> Result<Option<Self>, CallError> {
        if let Some(public) = role::find(session, unit_name, &public_half(profile))? {
            let key = AttestationKey { point: read_point(session, public)?, class: EngineClass::Token };
            // Whether the private half belongs to it shows in a signature only.
            let message = b"hsm-sim: this key signs";
            let raw = sign_on_token(session, unit_name, profile, message)?;
            if !verifies(&key.point, message, &raw) {
                return Err(EngineError::ReferenceInvalid.into());
            }
            return Ok(Some(Self::OnToken(key)));
        }
        let Some(seed) = role::find(session, unit_name, &seed(profile))? else { return Ok(None) };
        let key = derive(session, seed)?;
        let public = AttestationKey { point: key.public().to_point(), class: EngineClass::TokenDerived };
        Ok(Some(Self::Derived(Box::new(key), public)))
    }
}

/// Signs the SHA-512 digest of `message` with the pair on the token.
///
/// # Errors
/// As [`role::find`]; [`EngineError::DeviceRemoved`] if the private half is not there.
pub(crate) fn sign_on_token(
    session: &Session,
    unit_name: &str,
    profile: &Profile,
    message: &[u8],
) -> Result<[u8; ATTESTATION_SIGNATURE_LEN], CallError> {
    let private = role::find(session, unit_name, &private_half(profile))?;
    sign_with(session, private.ok_or(EngineError::DeviceRemoved)?, message)
}

/// Makes a key pair, signs with it, and verifies: whether the token can sign on P-521. For the probe, on session objects.
pub(crate) fn signs_on_p521(session: &Session) -> Result<bool, CallError> {
    let of_session = |expected: ExpectedObject| {
        let mut attributes = expected.attributes;
        attributes.retain(|attribute| attribute.attribute_type() != AttributeType::Token);
        attributes
    };
    let public = of_session(public_half(&Profile::MINIMAL));
    let private = of_session(private_half(&Profile::MINIMAL));
    let (public, private) = make_pair(session, &public, &private)?;
    let signed = sign_with(session, private, b"probe")
        .and_then(|raw| Ok(verifies(&read_point(session, public)?, b"probe", &raw)));
    for object in [public, private] {
        session.destroy_object(object)?;
    }
    signed
}

fn make_pair(
    session: &Session,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<(ObjectHandle, ObjectHandle), CallError> {
    Ok(session.generate_key_pair(&Ck::EccKeyPairGen, public, private)?)
}

fn public_half(profile: &Profile) -> ExpectedObject {
    let attributes = vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::EcParams(P521.to_vec()),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ];
    ExpectedObject::of_template(ObjectRole::AttestationPublicKey, ObjectId::DEVICE, attributes)
        .unmodifiable(profile)
        .uncopyable(profile.protects_objects)
}

fn private_half(profile: &Profile) -> ExpectedObject {
    let attributes = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::AllowedMechanisms(vec![MechanismType::ECDSA]),
    ];
    ExpectedObject::of_template(ObjectRole::AttestationKey, ObjectId::DEVICE, attributes)
        .generated_inside(profile)
        .unmodifiable(profile)
        .uncopyable(profile.protects_objects)
}

fn seed(profile: &Profile) -> ExpectedObject {
    let usage = ObjectUsage { sign: true, allowed: vec![MechanismType::AES_CMAC], ..ObjectUsage::NONE };
    let attributes = template(KeyType::AES, &usage, false);
    ExpectedObject::of_template(ObjectRole::AttestationSeed, ObjectId::DEVICE, attributes)
        .generated(profile, SEED_LEN)
        .unmodifiable(profile)
        .uncopyable(profile.protects_objects)
}

fn read_point(session: &Session, public: ObjectHandle) -> Result<[u8; ATTESTATION_POINT_LEN], CallError> {
    let found = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let point = found.iter().find_map(|attribute| match attribute {
        // Some tokens leave the header of the octet string out.
        Attribute::EcPoint(point) => point.strip_prefix(&POINT_HEADER).unwrap_or(point).try_into().ok(),
        _ => None,
    });
    point.ok_or_else(|| EngineError::ReferenceInvalid.into())
}

fn sign_with(
    session: &Session,
    private: ObjectHandle,
    message: &[u8],
) -> Result<[u8; ATTESTATION_SIGNATURE_LEN], CallError> {
    let signature = session.sign(&Ck::Ecdsa, private, &Sha512::digest(message))?;
    signature.try_into().map_err(|_| EngineError::DeviceError.into())
}

fn verifies(point: &[u8], message: &[u8], raw: &[u8; ATTESTATION_SIGNATURE_LEN]) -> bool {
    let (key, signature) = (PublicKey::from_point(point), Signature::from_raw(raw));
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
}

/// Derives the scalar: MACs of number of the block, label and number of the candidate, as in SP 800-108 in counter mode.
fn derive(session: &Session, seed: ObjectHandle) -> Result<SigningKey, CallError> {
    let key = SigningKey::from_candidates(|number, candidate: &mut [u8; SCALAR_LEN]| {
        for (block, part) in (1_u8..).zip(candidate.chunks_mut(16)) {
            let input = [&[block][..], SCALAR_LABEL, &[0, number]].concat();
            let mac = Zeroizing::new(session.sign(&Ck::AesCMac, seed, &input)?);
            part.iter_mut().zip(mac.iter()).for_each(|(to, from)| *to = *from);
        }
        Ok::<_, CallError>(())
    });
    key.ok_or(EngineError::DeviceError)?
}
