//! A checked point of P-521.

use crate::{KeyInvalid, SignatureInvalid, Ski, signature};
use core::fmt;
use p521::ecdsa::VerifyingKey;
use p521::ecdsa::signature::Verifier;
use p521::elliptic_curve::sec1::ToSec1Point;

/// Length of a point in bytes: `04 ‖ X ‖ Y`.
pub const POINT_LEN: usize = 133;

/// First byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// A public key on P-521 (FIPS 186-5, SP 800-186 §3.2.1.5): a point of the curve other than infinity.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(p521::PublicKey);

impl PublicKey {
    pub(crate) const fn new(key: p521::PublicKey) -> Self {
        Self(key)
    }

    /// Reads an uncompressed point, [`POINT_LEN`] bytes.
    ///
    /// # Errors
    /// [`KeyInvalid`] for another length, another form of point, or coordinates that are not on the curve.
    ///
    /// Source: SEC 1 §2.3.4; the check is SP 800-56A §5.6.2.3.3 (P-521 has cofactor 1, so it is the full one).
    pub fn from_point(point: &[u8]) -> Result<Self, KeyInvalid> {
        if point.len() != POINT_LEN || point.first() != Some(&UNCOMPRESSED) {
            return Err(KeyInvalid);
        }
        p521::PublicKey::from_sec1_bytes(point).map(Self).map_err(|_| KeyInvalid)
    }

    /// The point, uncompressed.
    #[must_use]
    pub fn to_point(&self) -> [u8; POINT_LEN] {
        let mut point = [0; POINT_LEN];
        let encoded = self.0.to_sec1_point(false);
        // Both are 133 bytes: only the point at infinity has a shorter encoding, and no key of this type is that point.
        for (to, from) in point.iter_mut().zip(encoded.as_bytes()) {
            *to = *from;
        }
        point
    }

    /// The identifier of a signature key: over all of `04 ‖ X ‖ Y`.
    #[must_use]
    pub fn ski(&self) -> Ski {
        Ski::of_point(&self.to_point())
    }

    /// The identifier of an importer key: over `X ‖ Y`, without the prefix.
    #[must_use]
    pub fn importer_ski(&self) -> Ski {
        let point = self.to_point();
        let (_, coordinates) = point.split_at(1);
        Ski::of(&[coordinates])
    }

    /// Verifies an ECDSA signature over the SHA-512 digest of `message`.
    ///
    /// `signature` is `SEQUENCE { r INTEGER, s INTEGER }` in strict DER. As in FIPS 186-5, (r, −s) is valid whenever (r, s) is:
    /// a signature must not serve as an identifier.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for every failure.
    ///
    /// Source: FIPS 186-5 §6.4.2; encoding RFC 3279 §2.2.3.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        let signature = signature::decode(signature)?;
        VerifyingKey::from(self.0).verify(message, &signature).map_err(|_| SignatureInvalid)
    }

    pub(crate) const fn inner(&self) -> &p521::PublicKey {
        &self.0
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.ski())
    }
}
