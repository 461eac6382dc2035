//! Writing certificates.

use super::module::ModuleDescription;
use super::time::{self, Validity};
use crate::identifier::{
    AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, COMMON_NAME, ECDSA_WITH_SHA512, KEY_USAGE,
    MODULE_DESCRIPTION, ORGANIZATIONAL_UNIT, P521_KEY, SUBJECT_KEY_IDENTIFIER, VERSION_3,
};
use crate::writer::{Tag, Writer};
use crate::{BufferTooSmall, PublicKey, Ski};

/// Length of a serial number without its first byte, in bytes: RFC 5280 §4.1.2.2 allows 20.
const SERIAL_DIGEST_LEN: usize = 19;

/// A distinguished name: a common name and an optional organizational unit.
#[derive(Clone, Copy)]
pub(super) struct DistinguishedName<'a> {
    pub(super) unit: Option<&'a [u8]>,
    pub(super) common_name: &'a [u8],
}

/// Use of a certificate's key, which decides its extensions.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// An administrator's signatures: no extension, as in the original's certificates.
    Administrator,
    /// Signing certificates.
    Root,
    /// Signing responses; with the issuer's key identifier.
    Module(Ski, ModuleDescription),
}

/// The fields in which certificates differ.
pub(super) struct Template<'a> {
    pub(super) issuer: DistinguishedName<'a>,
    pub(super) subject: DistinguishedName<'a>,
    pub(super) key: &'a PublicKey,
    pub(super) purpose: Purpose,
    pub(super) validity: Validity,
}

/// Writes the part that is signed, `TBSCertificate` (RFC 5280 §4.1), to the end of `out`.
pub(super) fn tbs<'o>(template: &Template<'_>, out: &'o mut [u8]) -> Result<&'o [u8], BufferTooSmall> {
    let point = template.key.to_point();
    let ski = template.key.ski();
    let mut writer = Writer::new(out);
    writer.element(Tag::SEQUENCE, |w| {
        w.element(Tag::context(3), |w| w.element(Tag::SEQUENCE, |w| extensions(w, template.purpose, &ski)))?;
        w.element(Tag::SEQUENCE, |w| {
            w.bit_string(&point)?;
            w.bytes(P521_KEY)
        })?;
        distinguished_name(w, template.subject)?;
        w.element(Tag::SEQUENCE, |w| {
            time::write(w, template.validity.not_after)?;
            time::write(w, template.validity.not_before)
        })?;
        distinguished_name(w, template.issuer)?;
        w.bytes(ECDSA_WITH_SHA512)?;
        w.element(Tag::INTEGER, |w| {
            // The serial number follows from what is certified, so that no counter or randomness is needed.
            let Ski(digest) = match template.purpose {
                Purpose::Administrator | Purpose::Root => Ski::of(&[&point, template.subject.common_name]),
                Purpose::Module(_, ModuleDescription { engine_class, firmware }) => Ski::of(&[
                    &point,
                    template.subject.common_name,
                    &[engine_class],
                    &firmware,
                    &template.validity.not_before.to_be_bytes(),
                    &template.validity.not_after.to_be_bytes(),
                ]),
            };
            let (digest, _) = digest.split_at(SERIAL_DIGEST_LEN);
            w.bytes(digest)?;
            w.bytes(&[1])
        })?;
        w.bytes(VERSION_3)
    })?;
    Ok(writer.finish())
}

/// Assembles `tbs` and the signature over it, at the end of `out`.
pub(super) fn certificate<'o>(
    tbs: &[u8],
    signature: &[u8],
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    let mut writer = Writer::new(out);
    writer.element(Tag::SEQUENCE, |w| {
        w.bit_string(signature)?;
        w.bytes(ECDSA_WITH_SHA512)?;
        w.bytes(tbs)
    })?;
    Ok(writer.finish())
}

pub(super) fn distinguished_name(
    w: &mut Writer<'_>,
    name: DistinguishedName<'_>,
) -> Result<(), BufferTooSmall> {
    w.element(Tag::SEQUENCE, |w| {
        attribute(w, COMMON_NAME, name.common_name)?;
        name.unit.map_or(Ok(()), |unit| attribute(w, ORGANIZATIONAL_UNIT, unit))
    })
}

fn attribute(w: &mut Writer<'_>, id: &[u8], value: &[u8]) -> Result<(), BufferTooSmall> {
    w.element(Tag::SET, |w| {
        w.element(Tag::SEQUENCE, |w| {
            w.primitive(Tag::UTF8_STRING, value)?;
            w.primitive(Tag::OBJECT_IDENTIFIER, id)
        })
    })
}

fn extensions(w: &mut Writer<'_>, purpose: Purpose, ski: &Ski) -> Result<(), BufferTooSmall> {
    match purpose {
        Purpose::Administrator => {}
        Purpose::Root => {
            // keyCertSign is bit 5, digitalSignature bit 0: two and seven bits of the byte are unused.
            extension(w, KEY_USAGE, true, |w| w.primitive(Tag::BIT_STRING, &[2, 0x04]))?;
            extension(w, BASIC_CONSTRAINTS, true, |w| {
                w.element(Tag::SEQUENCE, |w| w.primitive(Tag::BOOLEAN, &[0xff]))
            })?;
        }
        Purpose::Module(issuer, ModuleDescription { engine_class, firmware }) => {
            extension(w, MODULE_DESCRIPTION, false, |w| {
                w.element(Tag::SEQUENCE, |w| {
                    w.primitive(Tag::OCTET_STRING, &firmware)?;
                    w.unsigned(&[engine_class])
                })
            })?;
            extension(w, KEY_USAGE, true, |w| w.primitive(Tag::BIT_STRING, &[7, 0x80]))?;
            extension(w, AUTHORITY_KEY_IDENTIFIER, false, |w| {
                w.element(Tag::SEQUENCE, |w| w.primitive(Tag::context_primitive(0), &issuer.0))
            })?;
        }
    }
    extension(w, SUBJECT_KEY_IDENTIFIER, false, |w| w.primitive(Tag::OCTET_STRING, &ski.0))
}

pub(super) fn extension(
    w: &mut Writer<'_>,
    id: &[u8],
    critical: bool,
    value: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferTooSmall>,
) -> Result<(), BufferTooSmall> {
    w.element(Tag::SEQUENCE, |w| {
        w.element(Tag::OCTET_STRING, value)?;
        // DER omits default values.
        if critical {
            w.primitive(Tag::BOOLEAN, &[0xff])?;
        }
        w.primitive(Tag::OBJECT_IDENTIFIER, id)
    })
}
