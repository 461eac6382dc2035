//! Calls, for each command, the function that executes it.

use crate::command;
use crate::env::Env;
use crate::key_scope::KeyScope;
use crate::registers::Registers;
use crate::response_layout::ResponseLayout;
use crate::unit::Unit;
use engine::{AES_GCM_IV_LEN, KeySpec, MacMechanism, WrapMechanism};
use unit_api::{CommandHandler, Refusal};

/// One command that a unit executes; its result is written to the start of `out`.
pub(crate) struct Execution<'u, E: Env> {
    unit: &'u mut Unit<E>,
    out: &'u mut [u8],
}

impl<'u, E: Env> Execution<'u, E> {
    /// The caller has checked the error state and the control points of `unit`.
    pub(crate) const fn new(unit: &'u mut Unit<E>, out: &'u mut [u8]) -> Self {
        Self { unit, out }
    }

    /// Runs a command over keys, and destroys in the engine every key that it opened or made.
    fn with_keys(
        self,
        run: impl FnOnce(&mut KeyScope<'_, E::Engine>, &Registers, &mut [u8]) -> Result<ResponseLayout, Refusal>,
    ) -> Result<ResponseLayout, Refusal> {
        let Self { unit, out } = self;
        let registers = &unit.state.domain.registers;
        KeyScope::run(&mut unit.engine, |scope| run(scope, registers, out))
    }
}

impl<E: Env> CommandHandler for Execution<'_, E> {
    type Output = Result<ResponseLayout, Refusal>;

    fn status(self) -> Self::Output {
        Ok(ResponseLayout::Status(self.unit.status()))
    }

    fn generate_random(self, len: u16) -> Self::Output {
        self.with_keys(|scope, _, out| command::generate_random(scope.engine(), len, out))
    }

    fn generate_key(self, spec: &KeySpec) -> Self::Output {
        self.with_keys(|scope, registers, out| command::generate_key(scope, registers, spec, out))
    }

    fn import_key(self, spec: &KeySpec, value: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, out| command::import_key(scope, registers, spec, value, out))
    }

    fn wrap_key(self, by: WrapMechanism, kek: &[u8], key: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, out| command::wrap_key(scope, registers, by, kek, key, out))
    }

    fn unwrap_key(self, by: WrapMechanism, kek: &[u8], wrapped: &[u8], spec: &KeySpec) -> Self::Output {
        self.with_keys(|scope, registers, out| {
            command::unwrap_key(scope, registers, by, kek, wrapped, spec, out)
        })
    }

    fn encrypt(self, key: &[u8], aad: &[u8], plaintext: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, out| command::encrypt(scope, registers, key, aad, plaintext, out))
    }

    fn decrypt(self, key: &[u8], iv: &[u8; AES_GCM_IV_LEN], aad: &[u8], ciphertext: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, out| {
            command::decrypt(scope, registers, key, iv, aad, ciphertext, out)
        })
    }

    fn sign(self, by: MacMechanism, key: &[u8], data: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, out| command::sign(scope, registers, by, key, data, out))
    }

    fn verify(self, by: MacMechanism, key: &[u8], data: &[u8], signature: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, _| command::verify(scope, registers, by, key, data, signature))
    }

    fn reencipher(self, blob: &[u8]) -> Self::Output {
        self.with_keys(|scope, registers, out| command::reencipher(scope, registers, blob, out))
    }

    fn administer(self, request: &[u8]) -> Self::Output {
        self.unit.administer(request, self.out).map(ResponseLayout::Administered)
    }
}
