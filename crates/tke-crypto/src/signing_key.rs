//! A private key of P-521.

use crate::{KeyInvalid, PublicKey, RAW_SIGNATURE_LEN, RandomFailed, Signature};
use core::fmt;
use p521::FieldBytes;
use p521::ecdsa::signature::Signer;
use rand_core::TryCryptoRng;
use zeroize::Zeroizing;

/// Length of a private scalar in bytes, big-endian.
pub const SCALAR_LEN: usize = 66;

/// Mask of a scalar's first byte: the group's order has 521 bits, one more than 65 bytes.
const FIRST_BYTE_MASK: u8 = 0x01;

/// Number of candidates to try. The first candidate of a working generator is rejected once in 2²⁶¹ times.
const MAX_CANDIDATES: u8 = 4;

/// A private key on P-521, of an administrator, a module, a root or an importer: zeroized on drop, never printed.
pub struct SigningKey(p521::ecdsa::SigningKey);

impl SigningKey {
    /// Generates a key, uniform in 1..n, by rejection.
    ///
    /// `rng` must have full entropy.
    ///
    /// # Errors
    /// [`RandomFailed`] if `rng` fails, or if four numbers in a row are out of range.
    ///
    /// Source: FIPS 186-5 A.2.2; SP 800-56A §5.6.1.2.2 (testing candidates).
    pub fn generate<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, RandomFailed> {
        Self::from_candidates(|_, candidate| rng.try_fill_bytes(candidate).map_err(|_| RandomFailed))
            .unwrap_or(Err(RandomFailed))
    }

    /// The key of the first candidate in 1..n. `fill` writes the candidate with this number, from 0: bytes that are not
    /// predictable, or that follow from a secret. `None` if four candidates in a row are out of range.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn from_candidates<E>(
        mut fill: impl FnMut(u8, &mut [u8; SCALAR_LEN]) -> Result<(), E>,
    ) -> Option<Result<Self, E>> {
        let mut candidate = Zeroizing::new([0; SCALAR_LEN]);
        for number in 0..MAX_CANDIDATES {
            if let Err(error) = fill(number, &mut candidate) {
                return Some(Err(error));
            }
            if let Some(first) = candidate.first_mut() {
                *first &= FIRST_BYTE_MASK;
            }
            // A rejected candidate is not the key, so that it need not stay secret.
            if let Ok(key) = Self::from_scalar(&candidate) {
                return Some(Ok(key));
            }
        }
        None
    }

    /// The key with this scalar, big-endian. The caller wipes its own copy.
    ///
    /// # Errors
    /// [`KeyInvalid`] if it is not in 1..n.
    pub fn from_scalar(scalar: &[u8; SCALAR_LEN]) -> Result<Self, KeyInvalid> {
        let scalar: &FieldBytes = scalar.into();
        p521::ecdsa::SigningKey::from_bytes(scalar).map(Self).map_err(|_| KeyInvalid)
    }

    /// The scalar, big-endian.
    #[must_use]
    pub fn expose_scalar(&self) -> Zeroizing<[u8; SCALAR_LEN]> {
        let bytes = Zeroizing::new(self.0.to_bytes());
        let mut scalar = Zeroizing::new([0; SCALAR_LEN]);
        scalar.copy_from_slice(bytes.as_slice());
        scalar
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().into())
    }

    /// The scalar, for key agreement.
    pub(crate) fn scalar(&self) -> &p521::NonZeroScalar {
        self.0.as_nonzero_scalar()
    }

    /// Signs the SHA-512 digest of `message` with ECDSA; the same message gives the same signature.
    ///
    /// Source: FIPS 186-5 §6.4.1 with the deterministic nonce of §6.3.2 (RFC 6979 §3.2).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::new(&self.0.sign(message))
    }

    /// As [`SigningKey::sign`]; writes `r ‖ s`, each [`SCALAR_LEN`] bytes, big-endian.
    pub fn sign_raw(&self, message: &[u8], raw: &mut [u8; RAW_SIGNATURE_LEN]) {
        let signature: p521::ecdsa::Signature = self.0.sign(message);
        raw.copy_from_slice(&signature.to_bytes());
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}
