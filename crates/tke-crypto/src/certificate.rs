//! X.509 v3 certificates (RFC 5280) of trusted key entry.

pub(crate) mod administrator;
pub(crate) mod module;
mod read;
pub(crate) mod revocation;
pub(crate) mod serial;
pub(crate) mod time;
mod write;

use core::fmt;

/// Longest certificate that is accepted, in bytes.
pub const MAX_CERTIFICATE_LEN: usize = 12_288;

/// Length of a buffer, in bytes, that holds every certificate this crate writes.
pub const CERTIFICATE_BUFFER_LEN: usize = 1024;

/// Reason why a certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateInvalid {
    /// Longer than [`MAX_CERTIFICATE_LEN`].
    TooLong,
    /// Not an X.509 v3 certificate in DER.
    Malformed,
    /// The key or the signature has an unsupported algorithm.
    AlgorithmNotSupported,
    /// The key is not a valid key of its algorithm.
    KeyInvalid,
    /// The subject's common name is missing or does not fit this kind of certificate.
    NameInvalid,
    /// An extension is critical and unknown, forbids the use of the key, or identifies another key.
    ExtensionInvalid,
    /// The signature is not valid under the issuer's key.
    SignatureInvalid,
}

impl fmt::Display for CertificateInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the certificate is longer than 12288 bytes",
            Self::Malformed => "the certificate is not X.509 v3 in DER",
            Self::AlgorithmNotSupported => {
                "the certificate's key or signature is of an unsupported algorithm"
            }
            Self::KeyInvalid => "the certificate's key is not valid",
            Self::NameInvalid => "the certificate's common name does not fit",
            Self::ExtensionInvalid => "an extension of the certificate does not fit",
            Self::SignatureInvalid => "the certificate's signature is not valid",
        })
    }
}

impl core::error::Error for CertificateInvalid {}
