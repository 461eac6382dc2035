//! Secrets that pass through the port in the clear, each kind with a type of its own.

use core::fmt;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of a master-key part, in bytes.
pub const KEY_PART_LEN: usize = 32;

/// One clear part of a master key: 32 bytes, zeroized on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyPart([u8; KEY_PART_LEN]);

impl KeyPart {
    /// A part with this value; the caller wipes its own copy.
    #[must_use]
    pub const fn new(value: [u8; KEY_PART_LEN]) -> Self {
        Self(value)
    }

    /// Overwrites the value where it stands: a part that is moved leaves a copy behind.
    pub const fn set(&mut self, value: &[u8; KEY_PART_LEN]) {
        self.0.copy_from_slice(value);
    }

    /// The value.
    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_PART_LEN] {
        &self.0
    }
}

impl ConstantTimeEq for KeyPart {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPart")
    }
}

/// Makes the verdict of a check public: the one bit that an operation on secrets may reveal.
///
/// Combine all checks in one [`Choice`] and call this function once. Every branch on a secret passes through this
/// function, so that a review finds them all, and so that the constant-time gate can mark these verdicts, and no others, as
/// public (feature `declassify-hook`).
#[must_use]
pub fn declassify(verdict: Choice) -> bool {
    let bit = verdict.unwrap_u8();
    #[cfg(feature = "declassify-hook")]
    let bit = hook::DECLASSIFY.get().map_or(bit, |hook| hook(bit));
    bit == 1
}

/// Makes bytes public that are no secret although they come from the generator of secrets: identifiers. As for
/// [`declassify`], reviews and the constant-time gate find every use.
#[must_use]
pub fn publish<const N: usize>(bytes: [u8; N]) -> [u8; N] {
    #[cfg(feature = "declassify-hook")]
    let bytes = hook::DECLASSIFY.get().map_or(bytes, |hook| bytes.map(hook));
    bytes
}

#[cfg(feature = "declassify-hook")]
mod hook {
    extern crate std;

    /// Receives each verdict that [`super::declassify`] makes public, 0 or 1, and each byte that [`super::publish`] does, and
    /// returns the same value.
    pub static DECLASSIFY: std::sync::OnceLock<fn(u8) -> u8> = std::sync::OnceLock::new();
}

#[cfg(feature = "declassify-hook")]
pub use hook::DECLASSIFY as DECLASSIFY_HOOK;

#[cfg(test)]
mod tests {
    use super::KeyPart;
    use std::format;
    use subtle::ConstantTimeEq;

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", KeyPart::new([0xa5; 32])), "KeyPart");
    }

    #[test]
    fn equality_is_by_value() {
        assert!(bool::from(KeyPart::new([1; 32]).ct_eq(&KeyPart::new([1; 32]))));
        assert!(!bool::from(KeyPart::new([1; 32]).ct_eq(&KeyPart::new([2; 32]))));
    }
}
