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
    /// A part with this value; the caller's copy is the caller's to wipe.
    #[must_use]
    pub const fn new(value: [u8; KEY_PART_LEN]) -> Self {
        Self(value)
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
