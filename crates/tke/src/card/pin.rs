//! PINs of cards.

use super::CardError;
use std::fmt;
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
        let digits = text.as_bytes().try_into().ok();
        digits
            .filter(|digits: &[u8; Self::LEN]| digits.iter().all(u8::is_ascii_digit))
            .map(Self)
            .ok_or(CardError::InvalidFormat("a PIN has six digits"))
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
