//! Reading certificates: first the DER, then the meaning.

use super::module::ModuleDescription;
use super::serial::CertificateSerial;
use super::time::{self, Validity};
use super::{CertificateInvalid, MAX_CERTIFICATE_LEN};
use crate::identifier::{
    BASIC_CONSTRAINTS, COMMON_NAME, ECDSA_WITH_SHA512, KEY_USAGE, MODULE_DESCRIPTION, P521_KEY, RSA_KEY,
    SHA256_WITH_RSA, SUBJECT_KEY_IDENTIFIER, VERSION_3,
};
use crate::reader::{require, whole, whole_bytes};
use crate::{AdministratorKey, PublicKey, RsaPublicKey, Ski};
use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::{Decode, Reader, SliceReader, Tag, Tagged};

/// Parts of a certificate, borrowed from its bytes. Only the shape of the DER has been checked.
pub(super) struct Certificate<'a> {
    /// The signed part, header included.
    tbs: &'a [u8],
    /// The signature's algorithm, header included.
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    /// The last common name in the subject.
    pub(super) common_name: Option<&'a [u8]>,
    pub(super) serial: CertificateSerial,
    pub(super) validity: Validity,
    /// The key's algorithm, header included.
    key_algorithm: &'a [u8],
    key: &'a [u8],
    extensions: Extensions<'a>,
}

/// Content of the extensions.
#[derive(Default)]
struct Extensions<'a> {
    subject_key_identifier: Option<&'a [u8]>,
    key_usage: Option<BitStringRef<'a>>,
    basic_constraints: Option<BasicConstraints>,
    module_description: Option<ModuleDescription>,
    has_unknown_critical: bool,
}

struct BasicConstraints {
    is_ca: bool,
}

/// Use of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// Bit digitalSignature of the key usage.
    SignMessages = 0,
    /// Bit keyCertSign of the key usage.
    SignCertificates = 5,
}

impl<'a> Certificate<'a> {
    /// Reads the parts of a certificate.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, CertificateInvalid> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateInvalid::TooLong);
        }
        Self::decode(der).map_err(|_| CertificateInvalid::Malformed)
    }

    /// The subject's key.
    pub(super) fn key(&self) -> Result<AdministratorKey, CertificateInvalid> {
        match self.key_algorithm {
            P521_KEY => {
                let key = PublicKey::from_point(self.key).map_err(|_| CertificateInvalid::KeyInvalid)?;
                Ok(AdministratorKey::P521(key))
            }
            RSA_KEY => {
                let key = RsaPublicKey::from_der(self.key).map_err(|_| CertificateInvalid::KeyInvalid)?;
                Ok(AdministratorKey::Rsa2048(key))
            }
            _ => Err(CertificateInvalid::AlgorithmNotSupported),
        }
    }

    /// Whether the extensions allow this use of the subject's key, which has the identifier `ski`.
    pub(super) fn check_extensions(&self, ski: &Ski, usage: Usage) -> Result<(), CertificateInvalid> {
        let extensions = &self.extensions;
        let is_named = extensions.subject_key_identifier.is_none_or(|named| named == ski.0);
        let is_usable =
            extensions.key_usage.as_ref().is_none_or(|bits| bits.get(usage as usize) == Some(true));
        let is_ca = extensions.basic_constraints.as_ref().map(|constraints| constraints.is_ca);
        // A root must have basic constraints with cA. Tools write them into every self-signed certificate, so that other
        // certificates may have them too.
        let is_in_place = usage != Usage::SignCertificates || is_ca == Some(true);
        if is_named && is_usable && is_in_place && !extensions.has_unknown_critical {
            Ok(())
        } else {
            Err(CertificateInvalid::ExtensionInvalid)
        }
    }

    /// What the issuer says of the module that is certified.
    pub(super) const fn module_description(&self) -> Option<ModuleDescription> {
        self.extensions.module_description
    }

    /// Whether issuer and subject are equal and the signature is valid under `key`.
    pub(super) fn verify_self_signed(&self, key: &AdministratorKey) -> Result<(), CertificateInvalid> {
        if self.issuer != self.subject {
            return Err(CertificateInvalid::SignatureInvalid);
        }
        self.verify(key)
    }

    /// Whether the signature is valid under `key`.
    pub(super) fn verify(&self, key: &AdministratorKey) -> Result<(), CertificateInvalid> {
        let verified = match (self.signature_algorithm, key) {
            (ECDSA_WITH_SHA512, AdministratorKey::P521(key)) => key.verify(self.tbs, self.signature),
            // No algorithm identifier names X9.31 padding with SHA-256: old certificates may have either padding.
            (SHA256_WITH_RSA, AdministratorKey::Rsa2048(key)) => {
                key.verify_pkcs1(self.tbs, self.signature).or_else(|_| key.verify(self.tbs, self.signature))
            }
            _ => return Err(CertificateInvalid::AlgorithmNotSupported),
        };
        verified.map_err(|_| CertificateInvalid::SignatureInvalid)
    }

    /// `Certificate` (RFC 5280 §4.1).
    fn decode(der: &'a [u8]) -> der::Result<Self> {
        let (tbs, signature_algorithm, signature) = whole(der, |r| {
            r.sequence(|r| Ok::<_, der::Error>((r.tlv_bytes()?, r.tlv_bytes()?, whole_bytes(r)?)))
        })?;
        whole(tbs, |r| r.sequence(|r| Self::decode_tbs(r, tbs, signature_algorithm, signature)))
    }

    /// `TBSCertificate` (RFC 5280 §4.1), without its header.
    fn decode_tbs(
        r: &mut SliceReader<'a>,
        tbs: &'a [u8],
        signature_algorithm: &'a [u8],
        signature: &'a [u8],
    ) -> der::Result<Self> {
        require(r.tlv_bytes()? == VERSION_3)?;
        let serial = CertificateSerial::decode(r)?;
        require(r.tlv_bytes()? == signature_algorithm)?;
        let issuer = r.tlv_bytes()?;
        whole(issuer, decode_name)?;
        let validity = r.sequence(|r| {
            Ok::<_, der::Error>(Validity { not_before: time::read(r)?, not_after: time::read(r)? })
        })?;
        let subject = r.tlv_bytes()?;
        let common_name = whole(subject, decode_name)?;
        let (key_algorithm, key) = r.sequence(|r| Ok::<_, der::Error>((r.tlv_bytes()?, whole_bytes(r)?)))?;
        let extensions = match r.is_finished() {
            true => Extensions::default(),
            false => {
                let extensions = AnyRef::decode(r)?;
                require(extensions.tag() == EXTENSIONS)?;
                whole(extensions.value(), |r| r.sequence(Extensions::decode))?
            }
        };
        Ok(Self {
            tbs,
            signature_algorithm,
            signature,
            issuer,
            subject,
            common_name,
            serial,
            validity,
            key_algorithm,
            key,
            extensions,
        })
    }
}

/// `[3]`, which contains the extensions.
const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: der::TagNumber(3) };

impl<'a> Extensions<'a> {
    /// `Extensions` (RFC 5280 §4.1), without the header. Known extensions are read whether critical or not.
    fn decode(r: &mut SliceReader<'a>) -> der::Result<Self> {
        let mut extensions = Self::default();
        require(!r.is_finished())?;
        while !r.is_finished() {
            let (id, is_critical, value) = r.sequence(decode_extension)?;
            match id {
                SUBJECT_KEY_IDENTIFIER => {
                    let identifier = <&OctetStringRef>::from_der(value)?.as_bytes();
                    require(extensions.subject_key_identifier.replace(identifier).is_none())?;
                }
                KEY_USAGE => {
                    require(extensions.key_usage.replace(BitStringRef::from_der(value)?).is_none())?;
                }
                BASIC_CONSTRAINTS => {
                    let constraints = whole(value, |r| r.sequence(decode_basic_constraints))?;
                    require(extensions.basic_constraints.replace(constraints).is_none())?;
                }
                MODULE_DESCRIPTION => {
                    let description = whole(value, |r| r.sequence(ModuleDescription::decode))?;
                    require(extensions.module_description.replace(description).is_none())?;
                }
                _ => extensions.has_unknown_critical |= is_critical,
            }
        }
        Ok(extensions)
    }
}

/// `Extension` (RFC 5280 §4.1), without the header: identifier, critical flag, value.
pub(super) fn decode_extension<'a>(r: &mut SliceReader<'a>) -> der::Result<(&'a [u8], bool, &'a [u8])> {
    let id = decode_identifier(r)?;
    let is_critical = decode_default_false(r)?;
    Ok((id, is_critical, <&OctetStringRef>::decode(r)?.as_bytes()))
}

/// `BasicConstraints` (RFC 5280 §4.2.1.9), without the header.
fn decode_basic_constraints(r: &mut SliceReader<'_>) -> der::Result<BasicConstraints> {
    let is_ca = decode_default_false(r)?;
    if !r.is_finished() {
        UintRef::decode(r)?;
    }
    Ok(BasicConstraints { is_ca })
}

/// `Name` (RFC 5280 §4.1.2.4): the value of its last common name.
pub(super) fn decode_name<'a>(r: &mut SliceReader<'a>) -> der::Result<Option<&'a [u8]>> {
    r.sequence(|r| {
        let mut common_name = None;
        while !r.is_finished() {
            let set = AnyRef::decode(r)?;
            require(set.tag() == Tag::Set && !set.value().is_empty())?;
            whole(set.value(), |r| {
                while !r.is_finished() {
                    let (id, value) =
                        r.sequence(|r| Ok::<_, der::Error>((decode_identifier(r)?, AnyRef::decode(r)?)))?;
                    if id == COMMON_NAME {
                        // The three string types that encode ASCII characters as themselves.
                        let is_text =
                            matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
                        require(is_text)?;
                        common_name = Some(value.value());
                    }
                }
                Ok(())
            })?;
        }
        Ok(common_name)
    })
}

/// A BOOLEAN with the default FALSE, which DER omits.
fn decode_default_false(r: &mut SliceReader<'_>) -> der::Result<bool> {
    if r.is_finished() || Tag::peek(r)? != Tag::Boolean {
        return Ok(false);
    }
    require(bool::decode(r)?)?;
    Ok(true)
}

/// The content of an object identifier.
fn decode_identifier<'a>(r: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let id = AnyRef::decode(r)?;
    require(id.tag() == Tag::ObjectIdentifier)?;
    Ok(id.value())
}
