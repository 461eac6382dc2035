//! Functions whose time must not depend on secrets, exposed for the constant-time gate.
//!
//! Nothing else should call them; the entry of a unit is [`crate::Unit::execute`].

use crate::blob::UncheckedBlob;
use crate::key_scope::KeyScope;
use crate::master_key::Candidate;
use engine::{Engine, KeyHandle};
use subtle::{Choice, ConstantTimeEq};
use unit_api::{Refusal, VerificationPattern};

pub use crate::key_parts::key_parts_are_sound;

/// Verifies a blob's MAC under `master`, a key for derivation, as [`crate::Unit::execute`] does.
///
/// Time depends on the blob's length alone, as far as this holds for the engine's derivation and [`Engine::verify`]. The
/// WKID is not checked.
///
/// # Errors
/// [`unit_api::UnitError::BlobError`] for a wrong MAC or an impossible length; the engine's errors.
pub fn check_blob_mac<E: Engine>(engine: &mut E, master: KeyHandle, blob: &[u8]) -> Result<(), Refusal> {
    let blob = UncheckedBlob::parse(blob)?;
    KeyScope::run(engine, |scope| {
        let mac = Candidate::derive(scope, master)?.mac;
        crate::blob_seal::check_blob_mac(scope.engine(), mac, blob.authenticated(), blob.mac())
    })
}

/// Whether two patterns identify the same key, by the bytes that are compared.
#[must_use]
pub fn patterns_match(a: &VerificationPattern, b: &VerificationPattern) -> Choice {
    a.ct_eq(b)
}
