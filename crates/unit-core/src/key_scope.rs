//! Keys that live no longer than a command.

use engine::{Engine, EngineError, KeyHandle};
use heapless::Vec;
use unit_api::{Refusal, UnitError};

/// Most keys that one command has open at once: a master key under way with its two derived keys, and one more.
const MAX_OPEN: usize = 4;

/// The engine for the length of one command: every key that is noted here is destroyed at the end, whichever way
/// the command ends.
pub(crate) struct KeyScope<'e, E: Engine> {
    engine: &'e mut E,
    open: Vec<KeyHandle, MAX_OPEN, u8>,
}

impl<'e, E: Engine> KeyScope<'e, E> {
    /// Does `work` and then destroys what it left open. A key that cannot be destroyed fails the work.
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

    /// Notes a key that was just made.
    pub(crate) fn keep(&mut self, key: KeyHandle) -> Result<KeyHandle, Refusal> {
        if self.open.push(key).is_ok() {
            return Ok(key);
        }
        self.engine.destroy_key(key)?;
        Err(UnitError::ErrorState.into())
    }

    /// Lets everything noted live on: it has found another owner.
    pub(crate) fn release_all(&mut self) {
        self.open.clear();
    }

    /// Tries all, and gives the first failure.
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
        // After success nothing is left to do; on a refusal the refusal says more than a failure to tidy up.
        let _ = self.destroy_all();
    }
}
