//! An engine that signs nothing.

use engine::{ATTESTATION_SIGNATURE_LEN, AttestationKey, Engine, EngineClass, EngineError};
use tke_crypto::SigningKey;

/// An engine whose attestation key a test chooses, and whose signatures are all the same: valid for one message that no unit
/// signs. Signing takes longer than most commands; here it takes no time, and depends on nothing that a unit shows.
pub struct FixedAttestation<E> {
    engine: E,
    key: AttestationKey,
    signature: [u8; ATTESTATION_SIGNATURE_LEN],
}

impl<E> FixedAttestation<E> {
    /// `engine` with the public half of `key`.
    pub fn new(engine: E, key: &SigningKey) -> Self {
        let mut signature = [0; ATTESTATION_SIGNATURE_LEN];
        key.sign_raw(b"any other message", &mut signature);
        let key = AttestationKey { point: key.public().to_point(), class: EngineClass::Software };
        Self { engine, key, signature }
    }
}

impl<E: Engine> Engine for FixedAttestation<E> {
    engine::forward_engine!(self => self.engine;
        mechanisms, random, generate_key, import_key, combine_key_parts, export_key_part, derive_key, digest_key,
        destroy_key, persist_key, recall_key, forget_key, forget_all_but, device_key, renew_device_key, create_state_key, state_key, destroy_state_keys_but, wrap_key, unwrap_key, encrypt,
        decrypt, sign, verify, digest
    );

    fn attestation_key(&self) -> &AttestationKey {
        &self.key
    }

    fn attest(
        &mut self,
        _: &[u8],
        signature: &mut [u8; ATTESTATION_SIGNATURE_LEN],
    ) -> Result<(), EngineError> {
        *signature = self.signature;
        Ok(())
    }
}
