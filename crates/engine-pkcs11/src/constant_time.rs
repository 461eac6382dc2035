//! What the crate does with PINs, for the constant-time gate. Not part of the API.

use crate::Pin;
use zeroize::Zeroizing;

/// The PIN in the line that a PIN's source holds.
#[must_use]
pub fn parse_pin(line: &[u8]) -> Option<Pin> {
    crate::token::parse_pin(line)
}

/// The PIN of a token of a [`softhsm`](crate::softhsm) folder, from random bytes.
#[must_use]
pub fn softhsm_pin(bytes: &[u8]) -> Zeroizing<String> {
    crate::softhsm::pin_text(bytes)
}
