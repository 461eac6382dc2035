//! Signature keys of administrators.

use crate::{KeyInvalid, POINT_LEN, PublicKey, RsaPublicKey, SignatureInvalid, Ski};

/// An administrator's public signature key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdministratorKey {
    /// ECDSA on P-521 with SHA-512.
    P521(PublicKey),
    /// RSA of 2048 bits with X9.31 padding and SHA-256: made before March 2021, still verified.
    Rsa2048(RsaPublicKey),
}

/// First byte of a P-521 key in its fixed encoding. Units store it: the number is never reused.
const P521: u8 = 1;

/// First byte of an RSA key in its fixed encoding.
const RSA_2048: u8 = 2;

impl AdministratorKey {
    /// Length in bytes of the fixed encoding: one byte for the kind of key, and room for RSA's 256 and 4.
    pub const ENCODED_LEN: usize = 261;

    /// Verifies a signature of this administrator over `message`.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for every failure.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        match self {
            Self::P521(key) => key.verify(message, signature),
            Self::Rsa2048(key) => key.verify(message, signature),
        }
    }

    /// The administrator's identifier.
    #[must_use]
    pub fn ski(&self) -> Ski {
        match self {
            Self::P521(key) => key.ski(),
            Self::Rsa2048(key) => key.ski(),
        }
    }

    /// The fixed encoding: kind of key, key, and zeros up to [`Self::ENCODED_LEN`].
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::ENCODED_LEN] {
        let mut bytes = [0; Self::ENCODED_LEN];
        match self {
            Self::P521(key) => put(&mut bytes, &[&[P521], &key.to_point()]),
            Self::Rsa2048(key) => {
                put(&mut bytes, &[&[RSA_2048], key.modulus(), &key.exponent().to_be_bytes()]);
            }
        }
        bytes
    }

    /// Reads the encoding that [`Self::to_bytes`] returns.
    ///
    /// # Errors
    /// [`KeyInvalid`] for anything else.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED_LEN]) -> Result<Self, KeyInvalid> {
        let (kind, body) = bytes.split_first().ok_or(KeyInvalid)?;
        match *kind {
            P521 => {
                let (point, rest) = body.split_at_checked(POINT_LEN).ok_or(KeyInvalid)?;
                require_zero(rest)?;
                PublicKey::from_point(point).map(Self::P521)
            }
            RSA_2048 => {
                let (modulus, exponent) = body.split_first_chunk().ok_or(KeyInvalid)?;
                let exponent = exponent.try_into().map_err(|_| KeyInvalid)?;
                RsaPublicKey::from_parts(modulus, u32::from_be_bytes(exponent)).map(Self::Rsa2048)
            }
            _ => Err(KeyInvalid),
        }
    }
}

fn put(bytes: &mut [u8], pieces: &[&[u8]]) {
    for (to, from) in bytes.iter_mut().zip(pieces.iter().copied().flatten()) {
        *to = *from;
    }
}

fn require_zero(rest: &[u8]) -> Result<(), KeyInvalid> {
    if rest.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(KeyInvalid) }
}
