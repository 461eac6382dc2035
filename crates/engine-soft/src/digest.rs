//! The digest family: SHA-256.

use crate::key::SoftKey;
use engine::{DigestMechanism, EngineError, Mechanism, MechanismInfo, SHA256_LEN};
use sha2::{Digest, Sha256};

/// The family's mechanisms; a digest has no key.
pub(crate) const MECHANISMS: &[MechanismInfo] =
    &[MechanismInfo { mechanism: Mechanism::Sha256, min_key_bits: 0, max_key_bits: 0 }];

/// Writes the digest of `data` to the front of `output` and returns its length.
pub(crate) fn digest(by: DigestMechanism, data: &[u8], output: &mut [u8]) -> Result<usize, EngineError> {
    let DigestMechanism::Sha256 = by;
    let output = output.first_chunk_mut::<SHA256_LEN>().ok_or(EngineError::BufferTooSmall)?;
    *output = Sha256::digest(data).into();
    Ok(SHA256_LEN)
}

/// SHA-256 over `prefix ‖ key value` (FIPS 180-4).
pub(crate) fn digest_key(prefix: &[u8], key: &SoftKey) -> [u8; SHA256_LEN] {
    key.expose(|value| Sha256::new().chain_update(prefix).chain_update(value).finalize().into())
}
