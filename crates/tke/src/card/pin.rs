//! PINs of cards.

use super::CardError;
use std::fmt;
use subtle::{Choice, ConstantTimeLess as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Six decimal digits; zeroized on drop, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Pin([u8; Pin::LEN]);

impl Pin {
    /// Number of digits.
    pub const LEN: usize = 6;

    /// Decodes a PIN. The caller zeroizes the text.
    ///
    /// # Errors
    /// [`CardError::InvalidFormat`] unless it is six decimal digits.
    pub fn parse(text: &str) -> Result<Self, CardError> {
        const REFUSED: CardError = CardError::InvalidFormat("a PIN has six digits");
        let digits: &[u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| REFUSED)?;
        // Decided once, so that time does not tell which character is wrong. The value of a digit is below ten.
        let values = digits.iter().map(|digit| digit.wrapping_sub(b'0'));
        let all_digits = values.fold(Choice::from(1), |all, value| all & value.ct_lt(&10));
        if all_digits.into() { Ok(Self(*digits)) } else { Err(REFUSED) }
    }

    pub(super) const fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

#[cfg(test)]
mod tests {
    use super::Pin;

    #[test]
    fn a_pin_is_six_decimal_digits() {
        assert_eq!(Pin::parse("190827").unwrap().expose(), b"190827");
        for bad in [
            "",
            "12345",
            "1234567",
            "12345a",
            "/23456",
            "12345:",
            "12 456",
            "\u{0}23456",
            "12345\u{f}",
            "123é5",
        ] {
            assert!(Pin::parse(bad).is_err(), "{bad:?}");
        }
    }
}
