//! Keys that exist for one command.

use engine::{Engine, EngineError, KeyHandle};
use heapless::Vec;
use unit_api::{Refusal, UnitError};

/// Most keys that one command has open at once: a new master key, its two derived keys, and one more.
const MAX_OPEN: usize = 4;

/// The engine for the duration of one command: every key that is registered here is destroyed at the end, whether the
/// command succeeds or fails.
pub(crate) struct KeyScope<'e, E: Engine> {
    engine: &'e mut E,
    open: Vec<KeyHandle, MAX_OPEN, u8>,
}

impl<'e, E: Engine> KeyScope<'e, E> {
    /// Runs `work` and then destroys its keys. A key that cannot be destroyed makes the work fail.
    pub(crate) fn run<T>(
        engine: &'e mut E,
        work: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut scope = Self { engine, open: Vec::new() };
        let done = work(&mut scope)?;
        scope.destroy_all()?;
        Ok(done)
    }

    pub(crate) const fn engine(&mut self) -> &mut E {
        self.engine
    }

    /// Registers a key that was just made.
    pub(crate) fn keep(&mut self, key: KeyHandle) -> Result<KeyHandle, Refusal> {
        if self.open.push(key).is_ok() {
            return Ok(key);
        }
        self.engine.destroy_key(key)?;
        Err(UnitError::ErrorState.into())
    }

    /// Keeps all registered keys alive, because they have another owner now.
    pub(crate) fn release_all(&mut self) {
        self.open.clear();
    }

    /// Tries to destroy every registered key, and returns the first failure.
    pub(crate) fn destroy_all(&mut self) -> Result<(), EngineError> {
        let mut outcome = Ok(());
        for key in core::mem::take(&mut self.open) {
            outcome = outcome.and(self.engine.destroy_key(key));
        }
        outcome
    }
}

impl<E: Engine> Drop for KeyScope<'_, E> {
    fn drop(&mut self) {
        // After success no key is left. After a refusal, the refusal is more informative than a failure to clean up.
        let _ = self.destroy_all();
    }
}
