//! The secret that makes an engine the same device after a restart.

use crate::derivation::counter_cmac;
use crate::symmetric::Cipher;
use core::fmt;
use engine::EngineError;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What only one device knows: 32 random bytes, zeroized on drop, never printed.
///
/// Firmware has it in fuses, a process in a file that only it may read. Alone it opens no key blob. Together with a
/// stored reference it gives the key that was persisted, master keys included, and with a master key every blob
/// under it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DeviceSecret([u8; 32]);

impl DeviceSecret {
    /// A secret with this value; the caller's copy is the caller's to wipe.
    #[must_use]
    pub const fn new(value: [u8; 32]) -> Self {
        Self(value)
    }

    /// The key of 32 bytes that the device has for one purpose.
    pub(crate) fn derive(&self, purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>, EngineError> {
        let mut key = Zeroizing::new([0; 32]);
        counter_cmac(&Cipher::new(&self.0)?, purpose, b"engine-soft", &mut *key)?;
        Ok(key)
    }
}

impl ConstantTimeEq for DeviceSecret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceSecret;
    use std::format;

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", DeviceSecret::new([0xa5; 32])), "DeviceSecret");
    }

    #[test]
    fn purposes_and_devices_have_keys_of_their_own() {
        let derive = |secret, purpose| *DeviceSecret::new([secret; 32]).derive(purpose).unwrap();
        assert_eq!(derive(1, b"one"), derive(1, b"one"));
        assert_ne!(derive(1, b"one"), derive(1, b"two"));
        assert_ne!(derive(1, b"one"), derive(2, b"one"));
    }
}
