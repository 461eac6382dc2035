//! Mechanisms, named after their standards.

use serde::{Deserialize, Serialize};

/// Length of an AES-GCM initialisation vector, in bytes (SP 800-38D §5.2.1.1, 96 bits).
pub const AES_GCM_IV_LEN: usize = 12;
/// Length of an AES-GCM tag, in bytes.
pub const AES_GCM_TAG_LEN: usize = 16;
/// Length of an AES-CMAC, in bytes.
pub const CMAC_LEN: usize = 16;
/// Length of a SHA-256 digest and of an HMAC-SHA-256, in bytes.
pub const SHA256_LEN: usize = 32;

/// A mechanism an engine may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u16)]
pub enum Mechanism {
    /// Generation of AES keys.
    AesKeyGen = 1,
    /// Generation of generic secrets.
    GenericSecretKeyGen = 2,
    /// AES key wrap, SP 800-38F §6.2, RFC 3394.
    AesKw = 3,
    /// AES key wrap with padding, SP 800-38F §6.3, RFC 5649.
    AesKwp = 4,
    /// AES-GCM, SP 800-38D.
    AesGcm = 5,
    /// AES-CMAC, SP 800-38B.
    AesCmac = 6,
    /// Key derivation in counter mode with AES-CMAC, SP 800-108r1 §4.1.
    Sp800108CounterCmac = 7,
    /// SHA-256, FIPS 180-4.
    Sha256 = 8,
    /// HMAC-SHA-256, FIPS 198-1.
    HmacSha256 = 9,
}

/// A mechanism and the key sizes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MechanismInfo {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Smallest key, in bits; 0 for a mechanism without a key.
    pub min_key_bits: u16,
    /// Largest key, in bits; 0 for a mechanism without a key.
    pub max_key_bits: u16,
}

/// A mechanism that wraps a key under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum WrapMechanism {
    /// SP 800-38F §6.2: keys of 16 bytes or more, a multiple of 8.
    AesKw = 1,
    /// SP 800-38F §6.3: keys of any length.
    AesKwp = 2,
}

impl WrapMechanism {
    /// Length in bytes of a wrapped key of `key_len` bytes.
    #[must_use]
    pub const fn wrapped_len(self, key_len: usize) -> usize {
        match self {
            Self::AesKw => key_len + 8,
            Self::AesKwp => key_len.next_multiple_of(8) + 8,
        }
    }
}

/// A mechanism that encrypts data, with its parameters.
#[derive(Clone, Copy, Debug)]
pub enum CipherMechanism<'a> {
    /// SP 800-38D with a 96-bit IV and a 128-bit tag. The same IV must never be used twice with one key.
    AesGcm {
        /// Initialisation vector.
        iv: &'a [u8; AES_GCM_IV_LEN],
        /// Additional authenticated data.
        aad: &'a [u8],
    },
}

/// A mechanism that computes a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum MacMechanism {
    /// SP 800-38B, 16 bytes.
    AesCmac = 1,
    /// FIPS 198-1 with SHA-256, 32 bytes.
    HmacSha256 = 2,
}

impl MacMechanism {
    /// Length of the MAC, in bytes.
    #[must_use]
    pub const fn mac_len(self) -> usize {
        match self {
            Self::AesCmac => CMAC_LEN,
            Self::HmacSha256 => SHA256_LEN,
        }
    }
}

/// A mechanism that computes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum DigestMechanism {
    /// FIPS 180-4.
    Sha256 = 1,
}
