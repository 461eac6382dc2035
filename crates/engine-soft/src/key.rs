//! A key in the table: its value, its permitted uses, and its schedules after its first use.

use crate::symmetric::Cipher;
use engine::{Algorithm, EngineError, KeySpec, KeyUses, MAX_KEY_LEN, Mechanism, MechanismInfo};
use zeroize::Zeroizing;

/// Generation of keys, a mechanism for each algorithm.
pub(crate) const MECHANISMS: &[MechanismInfo] = &[
    MechanismInfo { mechanism: Mechanism::AesKeyGen, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::GenericSecretKeyGen, min_key_bits: 8, max_key_bits: 512 },
];

/// Origin of a key, as far as its permissions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Origin {
    /// Generated, imported or unwrapped for a user.
    User = 0,
    /// A master key: combined from parts, or generated for derivation alone.
    Master = 1,
    /// Derived from a master key; may wrap any key.
    Derived = 2,
    /// The device key, or a state key.
    Device = 3,
}

impl Origin {
    /// The origin with this number, if a persisted key may have it.
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::User),
            1 => Some(Self::Master),
            2 => Some(Self::Derived),
            _ => None,
        }
    }
}

/// A key.
pub(crate) struct SoftKey {
    pub(crate) spec: KeySpec,
    pub(crate) origin: Origin,
    /// The value, then zeros. Words, because words are wiped eight bytes at a time.
    value: Zeroizing<[u64; MAX_KEY_LEN / 8]>,
    cipher: Option<Cipher>,
}

impl SoftKey {
    /// A key whose value `fill` writes to a buffer of the specified length.
    pub(crate) fn new(
        spec: &KeySpec,
        origin: Origin,
        fill: impl FnOnce(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<Self, EngineError> {
        spec.check()?;
        let mut bytes = Zeroizing::new([[0; 8]; MAX_KEY_LEN / 8]);
        fill(bytes.as_flattened_mut().get_mut(..spec.len()).ok_or(EngineError::KeySizeRange)?)?;
        let mut value = Zeroizing::new([0; MAX_KEY_LEN / 8]);
        for (word, bytes) in value.iter_mut().zip(bytes.iter()) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(Self { spec: *spec, origin, value, cipher: None })
    }

    /// A key with this value.
    pub(crate) fn copied(spec: &KeySpec, origin: Origin, value: &[u8]) -> Result<Self, EngineError> {
        Self::new(spec, origin, |to| {
            if to.len() != value.len() {
                return Err(EngineError::KeySizeRange);
            }
            to.copy_from_slice(value);
            Ok(())
        })
    }

    /// Runs `with` on the value.
    pub(crate) fn expose<T>(&self, with: impl FnOnce(&[u8]) -> T) -> T {
        let mut bytes = Zeroizing::new([[0; 8]; MAX_KEY_LEN / 8]);
        for (bytes, word) in bytes.iter_mut().zip(self.value.iter()) {
            *bytes = word.to_ne_bytes();
        }
        with(bytes.as_flattened().get(..self.spec.len()).unwrap_or_default())
    }

    /// Refuses a use that the specification does not permit.
    pub(crate) const fn permit(&self, uses: KeyUses) -> Result<(), EngineError> {
        if self.spec.uses.permits(uses) { Ok(()) } else { Err(EngineError::KeyFunctionNotPermitted) }
    }

    /// Refuses a key of another algorithm.
    pub(crate) fn require(&self, algorithm: Algorithm) -> Result<(), EngineError> {
        if self.spec.algorithm == algorithm { Ok(()) } else { Err(EngineError::MechanismInvalid) }
    }

    /// Prepares the schedules of an AES key, unless they are prepared already.
    pub(crate) fn prepare(&mut self) -> Result<(), EngineError> {
        self.require(Algorithm::Aes)?;
        if self.cipher.is_none() {
            self.cipher = Some(self.expose(Cipher::new)?);
        }
        Ok(())
    }

    /// The prepared schedules.
    pub(crate) fn cipher(&self) -> Result<&Cipher, EngineError> {
        self.cipher.as_ref().ok_or(EngineError::MechanismInvalid)
    }
}
