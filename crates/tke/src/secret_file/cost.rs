//! Cost of one password guess.

use super::Password;
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// Cost of one password guess with Argon2id: memory, passes, lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The cost is above the maximum, or below [`KdfCost::STANDARD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cost has to be 64 MiB to 1 GiB, 3 to 16 passes, 1 to 4 lanes")]
pub struct CostOutOfRange;

impl KdfCost {
    /// 64 MiB, three passes, one lane: the second recommended option of RFC 9106 §4 with a single lane, well above
    /// OWASP's floor of 19 MiB and two passes.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

    /// The maximum that a file may ask for: a file from elsewhere must not exhaust the machine.
    const MAXIMUM: Self = Self { memory_kib: 1024 * 1024, passes: 16, lanes: 4 };

    /// A cost of at least the standard one.
    ///
    /// # Errors
    /// [`CostOutOfRange`].
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostOutOfRange> {
        let cost = Self { memory_kib, passes, lanes };
        if cost.is_weak() || cost.exceeds_maximum() { Err(CostOutOfRange) } else { Ok(cost) }
    }

    /// A cost that does not protect a password. For tests only; a release has no such function.
    #[cfg(debug_assertions)]
    #[must_use]
    pub const fn danger_weak() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }

    /// The cost that a file asks for, unless it exceeds the maximum.
    pub(super) fn stored(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        Some(Self { memory_kib, passes, lanes }).filter(|cost| !cost.exceeds_maximum())
    }

    /// Whether a guess takes less memory or time than with [`Self::STANDARD`].
    #[must_use]
    pub const fn is_weak(self) -> bool {
        self.memory_kib < Self::STANDARD.memory_kib || self.passes < Self::STANDARD.passes || self.lanes == 0
    }

    const fn exceeds_maximum(self) -> bool {
        self.memory_kib > Self::MAXIMUM.memory_kib
            || self.passes > Self::MAXIMUM.passes
            || self.lanes > Self::MAXIMUM.lanes
    }

    /// Memory in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Number of passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Number of lanes.
    #[must_use]
    pub const fn lanes(self) -> u32 {
        self.lanes
    }

    /// Derives a key from the password; `None` for parameters that Argon2 refuses, or without memory.
    pub(super) fn derive(self, password: &Password, salt: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let mut key = Zeroizing::new([0; 32]);
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(key.len())).ok()?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.expose(), salt, &mut *key)
            .ok()?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{CostOutOfRange, KdfCost};
    use crate::secret_file::Password;

    #[test]
    fn nothing_below_the_standard_but_by_its_dangerous_name() {
        assert_eq!(KdfCost::new(64 * 1024, 3, 1), Ok(KdfCost::STANDARD));
        assert_eq!(KdfCost::new(64 * 1024 - 1, 3, 1), Err(CostOutOfRange));
        assert_eq!(KdfCost::new(64 * 1024, 2, 1), Err(CostOutOfRange));
        assert_eq!(KdfCost::new(64 * 1024, 3, 0), Err(CostOutOfRange));
        assert_eq!(KdfCost::new(u32::MAX, 3, 1), Err(CostOutOfRange));
    }

    #[test]
    fn what_a_file_asks_for_is_bounded() {
        assert!(KdfCost::stored(8, 1, 1).is_some());
        assert!(KdfCost::stored(u32::MAX, 1, 1).is_none());
        assert!(KdfCost::stored(8, u32::MAX, 1).is_none());
        assert!(KdfCost::stored(8, 1, u32::MAX).is_none());
        // Fewer KiB than Argon2 takes: no key, no panic.
        let none = KdfCost::stored(0, 1, 1)
            .and_then(|cost| cost.derive(&Password::new("password".into()), &[0; 32]));
        assert!(none.is_none());
    }
}
