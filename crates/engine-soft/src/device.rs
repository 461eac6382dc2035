//! The secret that makes an engine the same device after a restart.

use crate::derivation::counter_cmac;
use crate::symmetric::Cipher;
use core::fmt;
use engine::EngineError;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The secret of one device: 32 random bytes, zeroized on drop, never printed.
///
/// Firmware keeps it in fuses, a process in a file that only it can read. Alone it opens no key blob. Together with a
/// stored reference it reveals the persisted key, which may be a master key, and thereby every blob under that master key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DeviceSecret([u8; 32]);

impl DeviceSecret {
    /// A secret with this value; the caller wipes its own copy.
    #[must_use]
    pub const fn new(value: [u8; 32]) -> Self {
        Self(value)
    }

    /// Derives the device's key for one purpose.
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
    fn each_purpose_and_each_device_has_its_own_key() {
        let derive = |secret, purpose| *DeviceSecret::new([secret; 32]).derive(purpose).unwrap();
        assert_eq!(derive(1, b"one"), derive(1, b"one"));
        assert_ne!(derive(1, b"one"), derive(1, b"two"));
        assert_ne!(derive(1, b"one"), derive(2, b"one"));
    }
}
