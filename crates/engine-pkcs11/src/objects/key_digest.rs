//! The digest of a key, computed inside the token.

use crate::error::CallError;
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use engine::{EngineError, SHA256_LEN};

/// SHA-256 over `prefix ‖ key`, by `C_DigestKey`: the key's value stays in the token.
pub(crate) fn digest_key(
    session: &Session,
    prefix: &[u8],
    key: ObjectHandle,
) -> Result<[u8; SHA256_LEN], CallError> {
    session.digest_init(&Ck::Sha256)?;
    if !prefix.is_empty() {
        session.digest_update(prefix)?;
    }
    session.digest_key(key)?;
    let digest = session.digest_final()?;
    digest.try_into().map_err(|_| EngineError::DeviceError.into())
}
