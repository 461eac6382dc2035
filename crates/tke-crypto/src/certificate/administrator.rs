//! Certificates of administrators: self-signed, so that whoever shows one has proved to hold its key.

use super::read::{Certificate, Usage};
use super::write::{self, DistinguishedName, Purpose, Template};
use super::{CERTIFICATE_BUFFER_LEN, CertificateInvalid};
use crate::{AdministratorKey, AdministratorName, BufferTooSmall, PublicKey, SigningKey, Ski};

/// The organizational unit that administrators are in.
const UNIT: &[u8] = b"TKE Administration";

/// What an administrator's certificate says, after its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdministratorCertificate {
    /// The key that the administrator signs with.
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
    /// The name is the last common name of the subject, without spaces behind it. A subject key identifier, if there
    /// is one, has to be the key's, and a key usage has to allow signatures. The validity is not compared with anything.
    ///
    /// # Errors
    /// What is wrong first, as [`CertificateInvalid`] says.
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

/// Writes the part of an administrator's certificate that is to be signed, wherever the private key may be.
///
/// The result is at the end of `out`; [`CERTIFICATE_BUFFER_LEN`] bytes are enough. The signature over it is ECDSA
/// with SHA-512, and goes with it into [`assemble_certificate`].
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
    write::tbs(&Template { issuer: subject, subject, key, purpose: Purpose::Administrator }, out)
}

/// Puts a certificate together from [`administrator_tbs`] and the signature over it, `SEQUENCE { r, s }` in DER.
///
/// The result is at the end of `out`. Whether the signature is right, [`AdministratorCertificate::parse`] tells.
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

/// Writes an administrator's certificate with a key that is at hand.
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
