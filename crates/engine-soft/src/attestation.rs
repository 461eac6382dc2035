//! The attestation key: derived from the device secret, so that nothing else has to be kept.

use crate::device::DeviceSecret;
use engine::{ATTESTATION_SIGNATURE_LEN, AttestationKey, EngineClass, EngineError};
use tke_crypto::SigningKey;

/// The purposes of the keys that a candidate for the scalar is made of. Each key gives 32 bytes.
const CANDIDATE: [&[u8]; 3] = [b"attestation key, 1", b"attestation key, 2", b"attestation key, 3"];

/// The device's attestation key, zeroized on drop.
pub(crate) struct SoftAttestationKey {
    key: SigningKey,
    public: AttestationKey,
}

impl SoftAttestationKey {
    /// Derives the key of the device whose secret this is.
    ///
    /// # Errors
    /// [`EngineError::DeviceError`] for the one device in 2²⁶¹ whose candidate is no scalar.
    pub(crate) fn new(secret: &DeviceSecret) -> Result<Self, EngineError> {
        let key = SigningKey::from_candidates(|_, candidate| {
            for (part, purpose) in candidate.chunks_mut(32).zip(CANDIDATE) {
                let derived = secret.derive(purpose)?;
                part.iter_mut().zip(derived.iter()).for_each(|(to, from)| *to = *from);
            }
            Ok::<_, EngineError>(())
        });
        let key = key.ok_or(EngineError::DeviceError)??;
        let public = AttestationKey { point: key.public().to_point(), class: EngineClass::Software };
        Ok(Self { key, public })
    }

    pub(crate) const fn public(&self) -> &AttestationKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8], signature: &mut [u8; ATTESTATION_SIGNATURE_LEN]) {
        self.key.sign_raw(message, signature);
    }
}
