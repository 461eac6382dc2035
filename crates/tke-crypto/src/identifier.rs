//! Encoded identifiers of algorithms, name attributes and extensions.
//!
//! DER has one encoding for a value, so that identifiers are compared as bytes.

/// `AlgorithmIdentifier { ecdsa-with-SHA512 }`: 1.2.840.10045.4.3.4, no parameters (RFC 5758 §3.2).
pub(crate) const ECDSA_WITH_SHA512: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];

/// `AlgorithmIdentifier { sha256WithRSAEncryption, NULL }`: 1.2.840.113549.1.1.11 (RFC 4055 §5).
pub(crate) const SHA256_WITH_RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

/// `AlgorithmIdentifier { rsaEncryption, NULL }`: 1.2.840.113549.1.1.1 (RFC 4055 §1.2).
pub(crate) const RSA_KEY: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// `DigestInfo` of SHA-256, up to the digest (RFC 8017 §9.2, note 1).
pub(crate) const DIGEST_INFO_SHA256: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// `AlgorithmIdentifier { id-ecPublicKey, secp521r1 }`: 1.2.840.10045.2.1, 1.3.132.0.35 (RFC 5480 §2.1).
pub(crate) const P521_KEY: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x23,
];

/// `AlgorithmIdentifier { id-aes256-wrap }`: 2.16.840.1.101.3.4.1.45, no parameters (RFC 3565 §2.3.2).
pub(crate) const AES256_WRAP: &[u8] =
    &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d];

/// `AlgorithmIdentifier { dhSinglePass-stdDH-sha256kdf-scheme, id-aes256-wrap }`: 1.3.132.1.11.1 (RFC 5753 §7.1.4).
pub(crate) const STD_DH_SHA256_KDF_AES256_WRAP: &[u8] = &[
    0x30, 0x15, 0x06, 0x06, 0x2b, 0x81, 0x04, 0x01, 0x0b, 0x01, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48,
    0x01, 0x65, 0x03, 0x04, 0x01, 0x2d,
];

/// `[0] { INTEGER 2 }`: version 3 (RFC 5280 §4.1.2.1).
pub(crate) const VERSION_3: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];

/// id-at-commonName, 2.5.4.3 (RFC 5280 A.1); the content without its header, as in the following constants.
pub(crate) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// id-at-organizationalUnitName, 2.5.4.11 (RFC 5280 A.1).
pub(crate) const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 0x04, 0x0b];

/// id-ce-subjectKeyIdentifier, 2.5.29.14 (RFC 5280 §4.2.1.2).
pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];

/// id-ce-keyUsage, 2.5.29.15 (RFC 5280 §4.2.1.3).
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];

/// id-ce-basicConstraints, 2.5.29.19 (RFC 5280 §4.2.1.9).
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// id-ce-authorityKeyIdentifier, 2.5.29.35 (RFC 5280 §4.2.1.1).
pub(crate) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];

/// id-ce-cRLNumber, 2.5.29.20 (RFC 5280 §5.2.3).
pub(crate) const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];

/// Description of a module, 2.25.147697405702308148678878474602793479751: an identifier of this project's own, made from a
/// UUID (ITU-T X.667).
pub(crate) const MODULE_DESCRIPTION: &[u8] = &[
    0x69, 0x81, 0xde, 0x9d, 0xbe, 0x94, 0xd2, 0xbf, 0x82, 0xb0, 0x9d, 0x8a, 0xaa, 0xc6, 0xe3, 0xc5, 0xf8,
    0xb4, 0xdc, 0x47,
];
