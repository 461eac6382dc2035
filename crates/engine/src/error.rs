//! The errors of an engine.

use core::fmt;

/// Reason why an engine refused a call or failed. Block `0x01xx` of the project's error numbers; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EngineError {
    /// The mechanism is not in [`crate::Engine::mechanisms`], or not for this kind of key.
    MechanismInvalid = 0x0101,
    /// The handle was never issued, or its key is destroyed.
    KeyHandleInvalid = 0x0102,
    /// The key's length is not one that the algorithm has, or not the length of the value given.
    KeySizeRange = 0x0103,
    /// The key's specification does not permit this use.
    KeyFunctionNotPermitted = 0x0104,
    /// The key may not leave the engine, not even wrapped.
    KeyUnextractable = 0x0105,
    /// The caller's output buffer is too small.
    BufferTooSmall = 0x0106,
    /// The input is longer or shorter than the mechanism takes.
    DataLenRange = 0x0107,
    /// Not 1 to 3 key parts.
    KeyPartsInvalid = 0x0108,
    /// A wrapped key failed its check.
    WrappedKeyInvalid = 0x0109,
    /// A ciphertext failed its check.
    EncryptedDataInvalid = 0x010a,
    /// A MAC failed its check.
    SignatureInvalid = 0x010b,
    /// A reference to a stored key is damaged, forgotten, or written by another engine.
    ReferenceInvalid = 0x010c,
    /// No room for another key; destroy one and try again.
    DeviceMemory = 0x010d,
    /// The random bit generator or its source of entropy failed; whatever needs randomness fails until it works again.
    RandomFailed = 0x010e,
    /// The device is temporarily gone (token removed, session lost); retry.
    DeviceRemoved = 0x010f,
    /// The device answered wrongly or not at all and does not recover by itself.
    DeviceError = 0x0110,
    /// The engine's own durable storage failed; it may hold the old content or the new.
    StorageFailed = 0x0111,
}

impl EngineError {
    /// Every error, for tables and tests.
    pub const ALL: [Self; 17] = [
        Self::MechanismInvalid,
        Self::KeyHandleInvalid,
        Self::KeySizeRange,
        Self::KeyFunctionNotPermitted,
        Self::KeyUnextractable,
        Self::BufferTooSmall,
        Self::DataLenRange,
        Self::KeyPartsInvalid,
        Self::WrappedKeyInvalid,
        Self::EncryptedDataInvalid,
        Self::SignatureInvalid,
        Self::ReferenceInvalid,
        Self::DeviceMemory,
        Self::RandomFailed,
        Self::DeviceRemoved,
        Self::DeviceError,
        Self::StorageFailed,
    ];

    /// The error's number, as it stands on the wire and in audit records.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Whether the same command may succeed on another unit, or on this one a little later: the device failed, or the unit
    /// used a wrong handle, which no caller of a unit can name.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::KeyHandleInvalid
                | Self::DeviceMemory
                | Self::RandomFailed
                | Self::DeviceRemoved
                | Self::DeviceError
                | Self::StorageFailed
        )
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MechanismInvalid => "the engine does not offer this mechanism for this key",
            Self::KeyHandleInvalid => "no key has this handle",
            Self::KeySizeRange => "the key's length does not fit its algorithm",
            Self::KeyFunctionNotPermitted => "the key may not be used in this way",
            Self::KeyUnextractable => "the key may not leave the engine",
            Self::BufferTooSmall => "the output buffer is too small",
            Self::DataLenRange => "the mechanism does not take input of this length",
            Self::KeyPartsInvalid => "a master key is combined from 1 to 3 parts",
            Self::WrappedKeyInvalid => "the wrapped key is not valid under this key",
            Self::EncryptedDataInvalid => "the ciphertext is not valid under this key",
            Self::SignatureInvalid => "the MAC is not valid under this key",
            Self::ReferenceInvalid => "the reference to a stored key is not valid here",
            Self::DeviceMemory => "the engine has no room for another key",
            Self::RandomFailed => "the random bit generator failed",
            Self::DeviceRemoved => "the device is not reachable at present",
            Self::DeviceError => "the device failed",
            Self::StorageFailed => "the engine's storage failed",
        })
    }
}

impl core::error::Error for EngineError {}

#[cfg(test)]
mod tests {
    use super::EngineError;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_unique_and_in_their_block() {
        let numbers: BTreeSet<u16> = EngineError::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(numbers.len(), EngineError::ALL.len());
        assert!(numbers.iter().all(|n| n >> 8 == 0x01));
    }
}
