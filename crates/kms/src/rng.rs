//! Random bytes for the host's own use: IVs of sealed records, names. Units generate keys.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use getrandom::SysRng;
use rand_core::utils::next_word_via_fill;
use rand_core::{TryCryptoRng, TryRng};

/// The source of random bytes failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source of random bytes failed")]
pub struct RandomFailed;

/// Any `rand_core` generator, shared by all requests of a service.
///
/// A clone draws from the same generator.
#[derive(Clone)]
pub struct SharedRng(Arc<Mutex<dyn TryCryptoRng<Error = RandomFailed> + Send>>);

impl SharedRng {
    /// Takes over a cryptographically secure generator; a test may give a seeded one.
    #[must_use]
    pub fn new(rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Opaque(rng))))
    }
}

/// The operating system's generator.
impl Default for SharedRng {
    fn default() -> Self {
        Self::new(SysRng)
    }
}

impl TryRng for SharedRng {
    type Error = RandomFailed;

    fn try_next_u32(&mut self) -> Result<u32, RandomFailed> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomFailed> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomFailed> {
        // A generator that panicked in another request is no worse than before for this one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).try_fill_bytes(out)
    }
}

impl TryCryptoRng for SharedRng {}

impl fmt::Debug for SharedRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedRng")
    }
}

/// A generator whose errors are all [`RandomFailed`].
struct Opaque<R>(R);

impl<R: TryCryptoRng> TryRng for Opaque<R> {
    type Error = RandomFailed;

    fn try_next_u32(&mut self) -> Result<u32, RandomFailed> {
        self.0.try_next_u32().map_err(|_| RandomFailed)
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomFailed> {
        self.0.try_next_u64().map_err(|_| RandomFailed)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomFailed> {
        self.0.try_fill_bytes(out).map_err(|_| RandomFailed)
    }
}

impl<R: TryCryptoRng> TryCryptoRng for Opaque<R> {}

/// Fills an array.
pub(crate) fn random_array<R: TryCryptoRng + ?Sized, const N: usize>(
    rng: &mut R,
) -> Result<[u8; N], RandomFailed> {
    let mut bytes = [0; N];
    rng.try_fill_bytes(&mut bytes).map_err(|_| RandomFailed)?;
    Ok(bytes)
}
