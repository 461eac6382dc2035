//! Which uses one key may have together.

use crate::UnitError;
use engine::{Algorithm, KeySpec, KeyUses};

/// A family of uses that one key may have together. A key has at least one use, and all of its uses are of one family.
///
/// | family | uses | algorithms |
/// |---|---|---|
/// | [`Self::Cipher`] | ENCRYPT, DECRYPT | AES |
/// | [`Self::Mac`] | SIGN, VERIFY | AES, generic secrets |
/// | [`Self::Wrapping`] | WRAP, UNWRAP | AES |
/// | [`Self::Derivation`] | DERIVE | AES, generic secrets |
///
/// A key of two families undoes in one what it protects in the other: what a key with WRAP and DECRYPT has wrapped, it can
/// decrypt to the key's clear value; with SIGN and DERIVE it can sign what a derivation computes. Both are known attacks on
/// PKCS#11 tokens.
///
/// Source: NIST SP 800-57 part 1 rev. 5 §5.2 (a key is used for one purpose); J. Clulow, *On the Security of PKCS #11*, CHES
/// 2003.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseFamily {
    /// Encryption of data.
    Cipher,
    /// Message authentication.
    Mac,
    /// Wrapping of keys.
    Wrapping,
    /// Derivation of keys.
    Derivation,
}

impl UseFamily {
    /// Every family.
    pub const ALL: [Self; 4] = [Self::Cipher, Self::Mac, Self::Wrapping, Self::Derivation];

    /// The family of a new key's uses.
    ///
    /// # Errors
    /// [`UnitError::KeyUsesInconsistent`]: no use, uses of two families, or a use that the algorithm does not have.
    pub fn of(spec: &KeySpec) -> Result<Self, UnitError> {
        Self::ALL
            .into_iter()
            .find(|family| family.uses().permits(spec.uses))
            .filter(|family| spec.uses != KeyUses::NONE && family.has_algorithm(spec.algorithm))
            .ok_or(UnitError::KeyUsesInconsistent)
    }

    /// All uses of the family.
    #[must_use]
    pub const fn uses(self) -> KeyUses {
        match self {
            Self::Cipher => KeyUses::ENCRYPT.with(KeyUses::DECRYPT),
            Self::Mac => KeyUses::SIGN.with(KeyUses::VERIFY),
            Self::Wrapping => KeyUses::WRAP.with(KeyUses::UNWRAP),
            Self::Derivation => KeyUses::DERIVE,
        }
    }

    /// Whether keys of this algorithm have uses of the family.
    #[must_use]
    pub const fn has_algorithm(self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (_, Algorithm::Aes) | (Self::Mac | Self::Derivation, Algorithm::GenericSecret) => true,
            (Self::Cipher | Self::Wrapping, Algorithm::GenericSecret) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UseFamily;
    use crate::UnitError;
    use engine::{Algorithm, KeySpec, KeyUses};
    use std::vec::Vec;

    fn of(algorithm: Algorithm, uses: KeyUses) -> Result<UseFamily, UnitError> {
        UseFamily::of(&KeySpec { algorithm, key_len: 32, uses, extractable: false })
    }

    /// Every combination of uses: the legal ones are written out, everything else is refused.
    #[test]
    fn exhaustive_combinations_of_uses() {
        const ONE: [u32; 7] = [0x100, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x8000];
        let legal_of_aes: [(u32, UseFamily); 10] = [
            (0x100, UseFamily::Mac),
            (0x8000, UseFamily::Mac),
            (0x8100, UseFamily::Mac),
            (0x400, UseFamily::Cipher),
            (0x800, UseFamily::Cipher),
            (0xc00, UseFamily::Cipher),
            (0x2000, UseFamily::Wrapping),
            (0x4000, UseFamily::Wrapping),
            (0x6000, UseFamily::Wrapping),
            (0x1000, UseFamily::Derivation),
        ];
        let mut walked = 0;
        for number in 0..1_u32 << ONE.len() {
            let bits = ONE.iter().enumerate().filter(|(i, _)| number >> i & 1 == 1).map(|(_, bit)| bit).sum();
            let uses = KeyUses::from_bits(bits).unwrap();
            let family = legal_of_aes.iter().find(|(legal, _)| *legal == bits).map(|(_, family)| *family);
            let expected = family.ok_or(UnitError::KeyUsesInconsistent);
            assert_eq!(of(Algorithm::Aes, uses), expected, "AES {bits:#x}");
            let expected = family
                .filter(|family| matches!(family, UseFamily::Mac | UseFamily::Derivation))
                .ok_or(UnitError::KeyUsesInconsistent);
            assert_eq!(of(Algorithm::GenericSecret, uses), expected, "generic secret {bits:#x}");
            walked += 1;
        }
        assert_eq!(walked, 128);
    }

    #[test]
    fn every_use_is_of_one_family() {
        let all: Vec<_> = UseFamily::ALL.iter().map(|family| family.uses().bits()).collect();
        assert_eq!(all.iter().sum::<u32>(), KeyUses::ALL.bits());
        assert_eq!(all.iter().fold(0, |all, bits| all | bits), KeyUses::ALL.bits());
    }
}
