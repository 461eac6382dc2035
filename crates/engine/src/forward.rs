//! Forwarding an engine's methods to another engine, written once.

use crate::Engine;

/// Implements methods of [`Engine`] by calling the same methods of another engine.
///
/// `forward_engine!(self => PLACE)` inside `impl Engine for …` forwards every method to `PLACE`, an expression for the
/// other engine such as `*self.engine`. `forward_engine!(self => PLACE; NAME, …)` forwards the named methods only, for a
/// wrapper that changes the others.
///
/// ```
/// use engine::{Engine, EngineError, KeyHandle, KeyPart, KeySpec};
///
/// /// An engine that exports no master key.
/// struct Sealed<E>(E);
///
/// impl<E: Engine> Engine for Sealed<E> {
///     engine::forward_engine!(self => self.0;
///         mechanisms, random, generate_key, import_key, combine_key_parts, derive_key, digest_key, destroy_key,
///         persist_key, recall_key, forget_key, forget_all_but, device_key, attestation_key, attest, renew_device_key,
///         create_state_key, state_key, destroy_state_keys_but, wrap_key, unwrap_key, encrypt, decrypt, sign, verify, digest
///     );
///
///     fn export_key_part(&mut self, _: KeyHandle) -> Result<KeyPart, EngineError> {
///         Err(EngineError::KeyUnextractable)
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward_engine {
    ($this:ident => $engine:expr) => {
        $crate::forward_engine!($this => $engine;
            mechanisms, random, generate_key, import_key, combine_key_parts, export_key_part, derive_key, digest_key,
            destroy_key, persist_key, recall_key, forget_key, forget_all_but, device_key, attestation_key, attest,
            renew_device_key, create_state_key, state_key, destroy_state_keys_but, wrap_key, unwrap_key, encrypt, decrypt,
            sign, verify, digest
        );
    };
    ($this:ident => $engine:expr; $($method:ident),+ $(,)?) => {
        $($crate::forward_engine!(@$method $this, $engine);)+
    };
    (@mechanisms $this:ident, $engine:expr) => {
        fn mechanisms(&$this) -> &[$crate::MechanismInfo] {
            $crate::Engine::mechanisms(&$engine)
        }
    };
    (@random $this:ident, $engine:expr) => {
        fn random(&mut $this, out: &mut [u8]) -> Result<(), $crate::EngineError> {
            $crate::Engine::random(&mut $engine, out)
        }
    };
    (@generate_key $this:ident, $engine:expr) => {
        fn generate_key(&mut $this, spec: &$crate::KeySpec) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::generate_key(&mut $engine, spec)
        }
    };
    (@import_key $this:ident, $engine:expr) => {
        fn import_key(
            &mut $this,
            spec: &$crate::KeySpec,
            value: &[u8],
        ) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::import_key(&mut $engine, spec, value)
        }
    };
    (@combine_key_parts $this:ident, $engine:expr) => {
        fn combine_key_parts(
            &mut $this,
            parts: &[$crate::KeyPart],
            extractable: bool,
        ) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::combine_key_parts(&mut $engine, parts, extractable)
        }
    };
    (@export_key_part $this:ident, $engine:expr) => {
        fn export_key_part(&mut $this, key: $crate::KeyHandle) -> Result<$crate::KeyPart, $crate::EngineError> {
            $crate::Engine::export_key_part(&mut $engine, key)
        }
    };
    (@derive_key $this:ident, $engine:expr) => {
        fn derive_key(
            &mut $this,
            base: $crate::KeyHandle,
            label: &[u8],
            context: &[u8],
            spec: &$crate::KeySpec,
        ) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::derive_key(&mut $engine, base, label, context, spec)
        }
    };
    (@digest_key $this:ident, $engine:expr) => {
        fn digest_key(
            &mut $this,
            prefix: &[u8],
            key: $crate::KeyHandle,
            digest: &mut [u8; $crate::SHA256_LEN],
        ) -> Result<(), $crate::EngineError> {
            $crate::Engine::digest_key(&mut $engine, prefix, key, digest)
        }
    };
    (@destroy_key $this:ident, $engine:expr) => {
        fn destroy_key(&mut $this, key: $crate::KeyHandle) -> Result<(), $crate::EngineError> {
            $crate::Engine::destroy_key(&mut $engine, key)
        }
    };
    (@persist_key $this:ident, $engine:expr) => {
        fn persist_key(
            &mut $this,
            key: $crate::KeyHandle,
            reference: &mut [u8],
        ) -> Result<usize, $crate::EngineError> {
            $crate::Engine::persist_key(&mut $engine, key, reference)
        }
    };
    (@recall_key $this:ident, $engine:expr) => {
        fn recall_key(&mut $this, reference: &[u8]) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::recall_key(&mut $engine, reference)
        }
    };
    (@forget_key $this:ident, $engine:expr) => {
        fn forget_key(&mut $this, reference: &[u8]) -> Result<(), $crate::EngineError> {
            $crate::Engine::forget_key(&mut $engine, reference)
        }
    };
    (@forget_all_but $this:ident, $engine:expr) => {
        fn forget_all_but(&mut $this, references: &[&[u8]]) -> Result<(), $crate::EngineError> {
            $crate::Engine::forget_all_but(&mut $engine, references)
        }
    };
    (@device_key $this:ident, $engine:expr) => {
        fn device_key(&$this) -> $crate::KeyHandle {
            $crate::Engine::device_key(&$engine)
        }
    };
    (@attestation_key $this:ident, $engine:expr) => {
        fn attestation_key(&$this) -> &$crate::AttestationKey {
            $crate::Engine::attestation_key(&$engine)
        }
    };
    (@attest $this:ident, $engine:expr) => {
        fn attest(
            &mut $this,
            message: &[u8],
            signature: &mut [u8; $crate::ATTESTATION_SIGNATURE_LEN],
        ) -> Result<(), $crate::EngineError> {
            $crate::Engine::attest(&mut $engine, message, signature)
        }
    };
    (@renew_device_key $this:ident, $engine:expr) => {
        fn renew_device_key(&mut $this) -> Result<(), $crate::EngineError> {
            $crate::Engine::renew_device_key(&mut $engine)
        }
    };
    (@create_state_key $this:ident, $engine:expr) => {
        fn create_state_key(&mut $this) -> Result<$crate::StateKeyId, $crate::EngineError> {
            $crate::Engine::create_state_key(&mut $engine)
        }
    };
    (@state_key $this:ident, $engine:expr) => {
        fn state_key(&mut $this, id: &$crate::StateKeyId) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::state_key(&mut $engine, id)
        }
    };
    (@destroy_state_keys_but $this:ident, $engine:expr) => {
        fn destroy_state_keys_but(
            &mut $this,
            kept: &[$crate::StateKeyId],
        ) -> Result<(), $crate::EngineError> {
            $crate::Engine::destroy_state_keys_but(&mut $engine, kept)
        }
    };
    (@wrap_key $this:ident, $engine:expr) => {
        fn wrap_key(
            &mut $this,
            by: $crate::WrapMechanism,
            kek: $crate::KeyHandle,
            key: $crate::KeyHandle,
            wrapped: &mut [u8],
        ) -> Result<usize, $crate::EngineError> {
            $crate::Engine::wrap_key(&mut $engine, by, kek, key, wrapped)
        }
    };
    (@unwrap_key $this:ident, $engine:expr) => {
        fn unwrap_key(
            &mut $this,
            by: $crate::WrapMechanism,
            kek: $crate::KeyHandle,
            wrapped: &[u8],
            spec: &$crate::KeySpec,
        ) -> Result<$crate::KeyHandle, $crate::EngineError> {
            $crate::Engine::unwrap_key(&mut $engine, by, kek, wrapped, spec)
        }
    };
    (@encrypt $this:ident, $engine:expr) => {
        fn encrypt(
            &mut $this,
            by: $crate::CipherMechanism<'_>,
            key: $crate::KeyHandle,
            plaintext: &[u8],
            output: &mut [u8],
        ) -> Result<usize, $crate::EngineError> {
            $crate::Engine::encrypt(&mut $engine, by, key, plaintext, output)
        }
    };
    (@decrypt $this:ident, $engine:expr) => {
        fn decrypt(
            &mut $this,
            by: $crate::CipherMechanism<'_>,
            key: $crate::KeyHandle,
            ciphertext: &[u8],
            output: &mut [u8],
        ) -> Result<usize, $crate::EngineError> {
            $crate::Engine::decrypt(&mut $engine, by, key, ciphertext, output)
        }
    };
    (@sign $this:ident, $engine:expr) => {
        fn sign(
            &mut $this,
            by: $crate::MacMechanism,
            key: $crate::KeyHandle,
            data: &[u8],
            signature: &mut [u8],
        ) -> Result<usize, $crate::EngineError> {
            $crate::Engine::sign(&mut $engine, by, key, data, signature)
        }
    };
    (@verify $this:ident, $engine:expr) => {
        fn verify(
            &mut $this,
            by: $crate::MacMechanism,
            key: $crate::KeyHandle,
            data: &[u8],
            signature: &[u8],
        ) -> Result<(), $crate::EngineError> {
            $crate::Engine::verify(&mut $engine, by, key, data, signature)
        }
    };
    (@digest $this:ident, $engine:expr) => {
        fn digest(
            &mut $this,
            by: $crate::DigestMechanism,
            data: &[u8],
            digest: &mut [u8],
        ) -> Result<usize, $crate::EngineError> {
            $crate::Engine::digest(&mut $engine, by, data, digest)
        }
    };
}

/// A `&mut` to an engine is that engine, for owners that move while the keys stay where they are.
impl<E: Engine + ?Sized> Engine for &mut E {
    forward_engine!(self => **self);
}
