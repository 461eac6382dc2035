//! A generator whose every byte a test decides.

use rand_core::utils::next_word_via_fill;
use rand_core::{TryCryptoRng, TryRng};
use tke_crypto::RandomFailed;

/// Calls a closure for every request: for tests that need certain bytes, or a failure at a certain request.
///
/// Where any reproducible bytes will do, a seeded [`engine_soft::CtrDrbg`] is the better choice.
pub struct ScriptedRng<F>(F);

impl<F: FnMut(&mut [u8]) -> Result<(), RandomFailed>> ScriptedRng<F> {
    /// A generator that fills each buffer by this closure.
    pub const fn new(fill: F) -> Self {
        Self(fill)
    }
}

impl<F: FnMut(&mut [u8]) -> Result<(), RandomFailed>> TryRng for ScriptedRng<F> {
    type Error = RandomFailed;

    fn try_next_u32(&mut self) -> Result<u32, RandomFailed> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomFailed> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomFailed> {
        (self.0)(out)
    }
}

impl<F: FnMut(&mut [u8]) -> Result<(), RandomFailed>> TryCryptoRng for ScriptedRng<F> {}
