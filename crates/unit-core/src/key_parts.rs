//! The clear parts of a master key, and whether they are fit to make one.

use engine::{KEY_PART_LEN, KeyPart};
use subtle::{Choice, ConstantTimeEq};
use unit_api::{MAX_KEY_PARTS, UnitError, VerificationPattern};

/// The verification pattern of a key of 32 zero bytes.
const ZERO_KEY_PATTERN: VerificationPattern = VerificationPattern::from_bytes([
    0x1a, 0x7d, 0xfd, 0xea, 0xff, 0xee, 0xda, 0xc4, 0x89, 0x28, 0x7e, 0x85, 0xbe, 0x5e, 0x9c, 0x04, 0x9a,
    0x2f, 0xf6, 0x47, 0x0f, 0x55, 0xcf, 0x30, 0x26, 0x0f, 0x55, 0x39, 0x00, 0x00, 0x00, 0x00,
]);

/// Two or three parts; whether they are fit to be combined is not known yet. Zeroized on drop.
pub(crate) struct KeyParts {
    parts: [KeyPart; MAX_KEY_PARTS],
    count: usize,
}

impl KeyParts {
    /// The parts in `bytes`, 32 each, one after the other.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, UnitError> {
        let (chunks, rest) = bytes.as_chunks::<KEY_PART_LEN>();
        if !rest.is_empty() || !(2..=MAX_KEY_PARTS).contains(&chunks.len()) {
            return Err(UnitError::KeyPartsInvalid);
        }
        let parts = core::array::from_fn(|i| KeyPart::new(chunks.get(i).copied().unwrap_or_default()));
        Ok(Self { parts, count: chunks.len() })
    }

    pub(crate) fn as_slice(&self) -> &[KeyPart] {
        self.parts.get(..self.count).unwrap_or_default()
    }
}

/// Whether parts are fit to make a master key whose pattern is `combined`: none of them zero, no two equal (they
/// would cancel each other), their sum not zero.
///
/// Time depends on the number of parts alone.
#[must_use]
pub fn key_parts_are_sound(parts: &[KeyPart], combined: &VerificationPattern) -> Choice {
    let zero = KeyPart::new([0; KEY_PART_LEN]);
    let mut flaw = combined.ct_eq(&ZERO_KEY_PATTERN);
    for (i, part) in parts.iter().enumerate() {
        flaw |= part.ct_eq(&zero);
        for earlier in parts.iter().take(i) {
            flaw |= part.ct_eq(earlier);
        }
    }
    !flaw
}

#[cfg(test)]
mod tests {
    use super::{KeyParts, ZERO_KEY_PATTERN, key_parts_are_sound};
    use engine::KeyPart;
    use unit_api::{UnitError, VerificationPattern};

    const ANY: VerificationPattern = VerificationPattern::from_bytes([9; 32]);

    fn sound(parts: &[u8], combined: &VerificationPattern) -> bool {
        let parts: std::vec::Vec<KeyPart> = parts.iter().map(|byte| KeyPart::new([*byte; 32])).collect();
        key_parts_are_sound(&parts, combined).into()
    }

    #[test]
    fn different_parts_are_sound() {
        assert!(sound(&[1, 2], &ANY));
        assert!(sound(&[1, 2, 4], &ANY));
    }

    #[test]
    fn a_zero_part_is_refused_wherever_it_stands() {
        for parts in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
            assert!(!sound(&parts, &ANY), "{parts:?}");
        }
    }

    #[test]
    fn two_equal_parts_are_refused_wherever_they_stand() {
        for parts in [[1, 1, 2], [1, 2, 1], [2, 1, 1]] {
            assert!(!sound(&parts, &ANY), "{parts:?}");
        }
    }

    #[test]
    fn a_zero_sum_is_refused() {
        assert!(!sound(&[1, 2, 3], &ZERO_KEY_PATTERN));
    }

    #[test]
    fn two_or_three_whole_parts_parse_and_nothing_else() {
        for len in 0..=160 {
            match KeyParts::parse(&std::vec![1; len]) {
                Ok(parts) => assert_eq!(parts.as_slice().len() * 32, len),
                Err(refusal) => {
                    assert_eq!(refusal, UnitError::KeyPartsInvalid);
                    assert!(len != 64 && len != 96);
                }
            }
        }
    }
}
