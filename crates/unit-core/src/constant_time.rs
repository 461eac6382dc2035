//! What has to take the same time for every secret of one length, in reach of a harness that measures it.
//!
//! Nothing else should call these: a unit is entered by [`crate::Unit::execute`].

use crate::blob::UncheckedBlob;
use crate::key_scope::KeyScope;
use crate::master_key::Candidate;
use engine::{Engine, KeyHandle};
use subtle::{Choice, ConstantTimeEq};
use unit_api::{Refusal, VerificationPattern};

pub use crate::key_parts::key_parts_are_sound;

/// Whether a blob's MAC is right under `master`, a key for derivation, as [`crate::Unit::execute`] asks it.
///
/// Time depends on the blob's length alone, as far as the engine's derivation and [`Engine::verify`] do. The WKID
/// is not looked at.
///
/// # Errors
/// [`unit_api::UnitError::BlobError`] for a wrong MAC or an impossible length; what the engine refuses.
pub fn check_blob_mac<E: Engine>(engine: &mut E, master: KeyHandle, blob: &[u8]) -> Result<(), Refusal> {
    let blob = UncheckedBlob::parse(blob)?;
    KeyScope::run(engine, |scope| {
        let mac = Candidate::derive(scope, master)?.mac;
        crate::blob_seal::check_blob_mac(scope.engine(), mac, blob.authenticated(), blob.mac())
    })
}

/// Whether two patterns are of the same key, on the bytes that count.
#[must_use]
pub fn patterns_match(a: &VerificationPattern, b: &VerificationPattern) -> Choice {
    a.ct_eq(b)
}
