//! Certificates of modules' attestation keys, and of the root that signs them.

use super::read::{Certificate, Usage};
use super::serial::CertificateSerial;
use super::time::Validity;
use super::write::{self, DistinguishedName, Purpose, Template};
use super::{CERTIFICATE_BUFFER_LEN, CertificateInvalid};
use crate::{AdministratorKey, BufferTooSmall, PublicKey, RootName, SigningKey};
use core::fmt;
use der::asn1::OctetStringRef;
use der::{Decode, Reader, SliceReader};

/// Length of a module's identifier, in bytes: a serial number of 8 characters and 8 bytes of instance.
const MODULE_ID_LEN: usize = 16;
const SERIAL_LEN: usize = 8;

/// Length of a module's common name, in characters: serial number, a hyphen, the instance in hexadecimal.
const COMMON_NAME_LEN: usize = SERIAL_LEN + 1 + 2 * (MODULE_ID_LEN - SERIAL_LEN);

/// Content of a module's certificate whose signature by a root has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleCertificate {
    /// The module's serial number, 8 characters, and its instance, 8 bytes.
    pub module_id: [u8; MODULE_ID_LEN],
    /// The key with which the module signs its responses.
    pub key: PublicKey,
    /// What the certificate says of the module's engine and firmware; absent from certificates of others' making.
    pub description: Option<ModuleDescription>,
    /// Period in which the certificate is valid. Units have no trusted clock: only customers' tools check it.
    pub validity: Validity,
    /// Serial number, by which the issuer revokes it.
    pub serial: CertificateSerial,
}

/// What a manufacturer certifies of a module besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleDescription {
    /// Number of the class of the module's engine: 1 software, 2 and 3 tokens.
    pub engine_class: u8,
    /// SHA-256 of the firmware.
    pub firmware: [u8; FIRMWARE_LEN],
}

/// Length of a firmware's digest, in bytes.
const FIRMWARE_LEN: usize = 32;

impl ModuleDescription {
    /// `SEQUENCE { engineClass INTEGER, firmware OCTET STRING }`, without the header. Later versions may add fields.
    pub(super) fn decode(r: &mut SliceReader<'_>) -> der::Result<Self> {
        let engine_class = u8::decode(r)?;
        let firmware = <&OctetStringRef>::decode(r)?.as_bytes();
        let firmware = firmware.try_into().map_err(|_| der::ErrorKind::Failed)?;
        while !r.is_finished() {
            r.tlv_bytes()?;
        }
        Ok(Self { engine_class, firmware })
    }
}

/// What a certificate is issued for.
#[derive(Clone, Copy, Debug)]
pub struct ModuleSubject<'a> {
    /// Serial number of the module, 8 visible ASCII characters, and its instance, 8 bytes.
    pub module_id: &'a [u8; MODULE_ID_LEN],
    /// The module's key.
    pub key: &'a PublicKey,
    /// Engine and firmware of the module.
    pub description: ModuleDescription,
    /// Period in which the certificate is valid.
    pub validity: Validity,
}

impl ModuleCertificate {
    /// Reads a module's certificate and verifies that `root` signed it.
    ///
    /// # Errors
    /// [`CertificateInvalid`] with the first defect found.
    pub fn verify(der: &[u8], root: &PublicKey) -> Result<Self, CertificateInvalid> {
        let certificate = Certificate::read(der)?;
        let key = p521_key(&certificate)?;
        certificate.check_extensions(&key.ski(), Usage::SignMessages)?;
        let module_id =
            certificate.common_name.and_then(parse_common_name).ok_or(CertificateInvalid::NameInvalid)?;
        certificate.verify(&AdministratorKey::P521(root.clone()))?;
        let (description, validity, serial) =
            (certificate.module_description(), certificate.validity, certificate.serial);
        Ok(Self { module_id, key, description, validity, serial })
    }
}

/// Reason why no certificate was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueError {
    /// The module's serial number is not 8 visible ASCII characters.
    ModuleIdInvalid,
    /// The output buffer is too small.
    BufferTooSmall,
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ModuleIdInvalid => "a module's serial number is 8 visible ASCII characters",
            Self::BufferTooSmall => "the output buffer is too small",
        })
    }
}

impl core::error::Error for IssueError {}

impl From<BufferTooSmall> for IssueError {
    fn from(_: BufferTooSmall) -> Self {
        Self::BufferTooSmall
    }
}

/// Writes the certificate of a module's attestation key, signed by the root of that name.
///
/// The result is at the end of `out`; [`CERTIFICATE_BUFFER_LEN`] bytes are enough.
///
/// # Errors
/// [`IssueError`].
pub fn issue_module_certificate<'o>(
    root: &SigningKey,
    root_name: &RootName,
    module: &ModuleSubject<'_>,
    out: &'o mut [u8],
) -> Result<&'o [u8], IssueError> {
    let common_name = write_common_name(module.module_id).ok_or(IssueError::ModuleIdInvalid)?;
    let template = Template {
        issuer: root_subject(root_name),
        subject: DistinguishedName { unit: None, common_name: &common_name },
        key: module.key,
        purpose: Purpose::Module(root.public().ski(), module.description),
        validity: module.validity,
    };
    Ok(sign(root, &template, out)?)
}

/// Writes a root's self-signed certificate.
///
/// The result is at the end of `out`; [`CERTIFICATE_BUFFER_LEN`] bytes are enough.
///
/// # Errors
/// [`BufferTooSmall`].
pub fn write_root_certificate<'o>(
    root: &SigningKey,
    name: &RootName,
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    let subject = root_subject(name);
    let (key, purpose, validity) = (&root.public(), Purpose::Root, Validity::CENTURY);
    sign(root, &Template { issuer: subject, subject, key, purpose, validity }, out)
}

/// The key of a root, from its self-signed certificate, whose signature is verified.
///
/// The self-signature does not show that the certificate is the expected root's: the caller must know that.
///
/// # Errors
/// [`CertificateInvalid`] with the first defect found.
pub fn root_certificate_key(der: &[u8]) -> Result<PublicKey, CertificateInvalid> {
    let certificate = Certificate::read(der)?;
    let key = p521_key(&certificate)?;
    certificate.check_extensions(&key.ski(), Usage::SignCertificates)?;
    certificate.verify_self_signed(&AdministratorKey::P521(key.clone()))?;
    Ok(key)
}

fn sign<'o>(
    root: &SigningKey,
    template: &Template<'_>,
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    let mut tbs = [0; CERTIFICATE_BUFFER_LEN];
    let tbs = write::tbs(template, &mut tbs)?;
    write::certificate(tbs, &root.sign(tbs), out)
}

pub(super) fn root_subject(name: &RootName) -> DistinguishedName<'_> {
    DistinguishedName { unit: None, common_name: name.as_str().as_bytes() }
}

fn p521_key(certificate: &Certificate<'_>) -> Result<PublicKey, CertificateInvalid> {
    match certificate.key()? {
        AdministratorKey::P521(key) => Ok(key),
        AdministratorKey::Rsa2048(_) => Err(CertificateInvalid::AlgorithmNotSupported),
    }
}

fn write_common_name(module_id: &[u8; MODULE_ID_LEN]) -> Option<[u8; COMMON_NAME_LEN]> {
    let (serial, instance) = module_id.split_at(SERIAL_LEN);
    let digits = instance.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(hex_digit);
    let mut name = [b'-'; COMMON_NAME_LEN];
    for (to, from) in name.iter_mut().zip(serial.iter().copied().chain([b'-']).chain(digits)) {
        *to = from;
    }
    serial.iter().all(u8::is_ascii_graphic).then_some(name)
}

fn parse_common_name(name: &[u8]) -> Option<[u8; MODULE_ID_LEN]> {
    let (serial, rest) = name.split_first_chunk::<SERIAL_LEN>()?;
    let digits = rest.strip_prefix(b"-")?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut module_id = [0; MODULE_ID_LEN];
    let (to_serial, to_instance) = module_id.split_at_mut(SERIAL_LEN);
    to_serial.copy_from_slice(serial);
    if pairs.len() != to_instance.len() {
        return None;
    }
    for (to, [high, low]) in to_instance.iter_mut().zip(pairs) {
        *to = hex_value(*high)? << 4 | hex_value(*low)?;
    }
    serial.iter().all(u8::is_ascii_graphic).then_some(module_id)
}

const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
