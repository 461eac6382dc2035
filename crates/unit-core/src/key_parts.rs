//! The clear parts of a master key, and the checks before they are combined.

use crate::master_key::{Origins, pattern_of_part};
use engine::{Engine, EngineError, KEY_PART_LEN, KeyPart};
use heapless::Vec;
use subtle::{Choice, ConstantTimeEq};
use unit_api::{MAX_KEY_PARTS, UnitError, VerificationPattern};

/// The verification pattern of a key of 32 zero bytes.
const ZERO_KEY_PATTERN: VerificationPattern = VerificationPattern::from_bytes([
    0x1a, 0x7d, 0xfd, 0xea, 0xff, 0xee, 0xda, 0xc4, 0x89, 0x28, 0x7e, 0x85, 0xbe, 0x5e, 0x9c, 0x04, 0x9a,
    0x2f, 0xf6, 0x47, 0x0f, 0x55, 0xcf, 0x30, 0x26, 0x0f, 0x55, 0x39, 0x00, 0x00, 0x00, 0x00,
]);

/// Up to three parts, not checked yet. Zeroized on drop.
pub(crate) struct KeyParts {
    parts: Vec<KeyPart, MAX_KEY_PARTS, u8>,
}

impl KeyParts {
    /// No parts.
    pub(crate) const fn none() -> Self {
        Self { parts: Vec::new() }
    }

    /// Adds a part; the caller wipes its own copy.
    pub(crate) fn push(&mut self, part: &[u8; KEY_PART_LEN]) -> Result<(), UnitError> {
        self.parts.push(KeyPart::new([0; KEY_PART_LEN])).map_err(|_| UnitError::KeyPartsTooMany)?;
        // Written in its place, because moving a part would leave a copy behind.
        if let Some(last) = self.parts.last_mut() {
            last.set(part);
        }
        Ok(())
    }

    /// The verification patterns of several parts, by which custodians recognise them. A single part has the master key's
    /// own pattern, which is not repeated.
    pub(crate) fn origins<E: Engine + ?Sized>(&self, engine: &mut E) -> Result<Origins, EngineError> {
        let mut origins = Origins::none();
        if let several @ [_, _, ..] = self.as_slice() {
            for part in several {
                origins.push(pattern_of_part(engine, part)?);
            }
        }
        Ok(origins)
    }

    pub(crate) fn as_slice(&self) -> &[KeyPart] {
        &self.parts
    }
}

/// Whether parts may be combined to a master key with the pattern `combined`: no part is zero, no two parts are equal (they
/// would cancel each other), and their exclusive or is not zero. A single part is sound if it is not zero.
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
    fn a_single_part_is_sound_unless_it_is_zero() {
        assert!(sound(&[1], &ANY));
        assert!(!sound(&[0], &ZERO_KEY_PATTERN));
    }

    #[test]
    fn at_most_three_parts_are_taken() {
        let mut parts = KeyParts::none();
        for count in 1..=3 {
            parts.push(&[count; 32]).unwrap();
            assert_eq!(parts.as_slice().len(), usize::from(count));
        }
        assert_eq!(parts.push(&[4; 32]), Err(UnitError::KeyPartsTooMany));
    }
}
