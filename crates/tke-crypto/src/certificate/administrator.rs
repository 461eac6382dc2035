//! Certificates of administrators: self-signed, which proves that the administrator holds the key.

use super::read::{Certificate, Usage};
use super::time::Validity;
use super::write::{self, DistinguishedName, Purpose, Template};
use super::{CERTIFICATE_BUFFER_LEN, CertificateInvalid};
use crate::{AdministratorKey, AdministratorName, BufferTooSmall, PublicKey, SigningKey, Ski};

/// Organizational unit in the names of administrators.
const UNIT: &[u8] = b"TKE Administration";

/// Content of an administrator's certificate whose signature has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdministratorCertificate {
    /// The administrator's signature key.
    pub key: AdministratorKey,
    /// The administrator's name, without its padding.
    pub name: AdministratorName,
    /// The key's identifier.
    pub ski: Ski,
}

impl AdministratorCertificate {
    /// Reads a self-signed certificate, at most [`MAX_CERTIFICATE_LEN`](super::MAX_CERTIFICATE_LEN) bytes of DER, and
    /// verifies its signature.
    ///
    /// The name is the last common name of the subject, without trailing spaces. A subject key identifier, if present, must
    /// be the key's, and a key usage, if present, must allow signatures. The validity is not checked.
    ///
    /// # Errors
    /// [`CertificateInvalid`] with the first defect found.
    ///
    /// Source: RFC 5280 §4.1.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateInvalid> {
        let certificate = Certificate::read(der)?;
        let key = certificate.key()?;
        let ski = key.ski();
        certificate.check_extensions(&ski, Usage::SignMessages)?;
        let name = certificate.common_name.ok_or(CertificateInvalid::NameInvalid)?;
        let name = AdministratorName::try_from(name.trim_ascii_end())
            .map_err(|_| CertificateInvalid::NameInvalid)?;
        certificate.verify_self_signed(&key)?;
        Ok(Self { key, name, ski })
    }
}

/// Writes the part of an administrator's certificate that is signed, for callers whose private key is on a card or a token.
///
/// The result is at the end of `out`; [`CERTIFICATE_BUFFER_LEN`] bytes are enough. The caller signs
/// it with ECDSA and SHA-512 and passes both to [`assemble_certificate`].
///
/// # Errors
/// [`BufferTooSmall`].
pub fn administrator_tbs<'o>(
    name: &AdministratorName,
    key: &PublicKey,
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    let common_name = &name.padded();
    let subject = DistinguishedName { unit: Some(UNIT), common_name };
    let validity = Validity::CENTURY;
    write::tbs(&Template { issuer: subject, subject, key, purpose: Purpose::Administrator, validity }, out)
}

/// Assembles a certificate from [`administrator_tbs`] and the signature over it, `SEQUENCE { r, s }` in DER.
///
/// The result is at the end of `out`. The signature is not verified here; [`AdministratorCertificate::parse`] verifies it.
///
/// # Errors
/// [`BufferTooSmall`].
pub fn assemble_certificate<'o>(
    tbs: &[u8],
    signature: &[u8],
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    write::certificate(tbs, signature, out)
}

/// Writes an administrator's certificate with its private key.
///
/// The result is at the end of `out`; [`CERTIFICATE_BUFFER_LEN`] bytes are enough.
///
/// # Errors
/// [`BufferTooSmall`].
pub fn write_administrator_certificate<'o>(
    key: &SigningKey,
    name: &AdministratorName,
    out: &'o mut [u8],
) -> Result<&'o [u8], BufferTooSmall> {
    let mut tbs = [0; CERTIFICATE_BUFFER_LEN];
    let tbs = administrator_tbs(name, &key.public(), &mut tbs)?;
    assemble_certificate(tbs, &key.sign(tbs), out)
}
