//! Keys that live no longer than a command.

use engine::{Engine, EngineError, KeyHandle};
use unit_api::{Refusal, UnitError};

/// Most keys that one command has open at once: a master key under way with its two derived keys, and one more.
const MAX_OPEN: usize = 4;

/// The engine for the length of one command: every key that is noted here is destroyed at the end, whichever way
/// the command ends.
pub(crate) struct KeyScope<'e, E: Engine> {
    engine: &'e mut E,
    open: [Option<KeyHandle>; MAX_OPEN],
}

impl<'e, E: Engine> KeyScope<'e, E> {
    /// Does `work` and then destroys what it left open. A key that cannot be destroyed fails the work.
    pub(crate) fn run<T>(
        engine: &'e mut E,
        work: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut scope = Self { engine, open: [None; MAX_OPEN] };
        let done = work(&mut scope)?;
        scope.destroy_all()?;
        Ok(done)
    }

    pub(crate) const fn engine(&mut self) -> &mut E {
        self.engine
    }

    /// Notes a key that was just made.
    pub(crate) fn keep(&mut self, key: KeyHandle) -> Result<KeyHandle, Refusal> {
        if let Some(free) = self.open.iter_mut().find(|place| place.is_none()) {
            *free = Some(key);
            return Ok(key);
        }
        self.engine.destroy_key(key)?;
        Err(UnitError::ErrorState.into())
    }

    /// Lets everything noted live on: it has found another owner.
    pub(crate) const fn release_all(&mut self) {
        self.open = [None; MAX_OPEN];
    }

    /// Tries all, and gives the first failure.
    pub(crate) fn destroy_all(&mut self) -> Result<(), EngineError> {
        let mut outcome = Ok(());
        for key in self.open.iter_mut().filter_map(Option::take) {
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
