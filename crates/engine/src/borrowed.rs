//! An engine that is borrowed is still an engine.

use crate::{
    CipherMechanism, DigestMechanism, Engine, EngineError, KeyHandle, KeyPart, KeySpec, MacMechanism,
    MechanismInfo, SHA256_LEN, WrapMechanism,
};

impl<E: Engine + ?Sized> Engine for &mut E {
    fn mechanisms(&self) -> &[MechanismInfo] {
        (**self).mechanisms()
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        (**self).random(out)
    }

    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError> {
        (**self).generate_key(spec)
    }

    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError> {
        (**self).import_key(spec, value)
    }

    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError> {
        (**self).combine_key_parts(parts, extractable)
    }

    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError> {
        (**self).export_key_part(key)
    }

    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        (**self).derive_key(base, label, context, spec)
    }

    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError> {
        (**self).digest_key(prefix, key, digest)
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        (**self).destroy_key(key)
    }

    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError> {
        (**self).persist_key(key, reference)
    }

    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError> {
        (**self).recall_key(reference)
    }

    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError> {
        (**self).forget_key(reference)
    }

    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError> {
        (**self).forget_all_but(references)
    }

    fn device_key(&self) -> KeyHandle {
        (**self).device_key()
    }

    fn wrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        (**self).wrap_key(by, kek, key, wrapped)
    }

    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        (**self).unwrap_key(by, kek, wrapped, spec)
    }

    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        (**self).encrypt(by, key, plaintext, output)
    }

    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        (**self).decrypt(by, key, ciphertext, output)
    }

    fn sign(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, EngineError> {
        (**self).sign(by, key, data, signature)
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        (**self).verify(by, key, data, signature)
    }

    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError> {
        (**self).digest(by, data, digest)
    }
}
