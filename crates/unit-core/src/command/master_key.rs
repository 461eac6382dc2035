//! Making a master key for a register.

use crate::key_parts::{KeyParts, key_parts_are_sound};
use crate::key_scope::KeyScope;
use crate::master_key::{Candidate, master_key_spec};
use crate::registers::Registers;
use engine::{Engine, KeyHandle, declassify};
use unit_api::{Refusal, UnitError};

/// Combines parts to a master key by exclusive or. The scope owns its keys until it releases them.
pub(crate) fn load_key_parts<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    parts: &KeyParts,
    extractable: bool,
) -> Result<Candidate, Refusal> {
    let combined = scope.engine().combine_key_parts(parts.as_slice(), extractable)?;
    let candidate = derive(scope, combined)?;
    // One verdict over all parts and their combination.
    if !declassify(key_parts_are_sound(parts.as_slice(), &candidate.pattern)) {
        return Err(UnitError::KeyPartsInvalid.into());
    }
    registers.check_load(&candidate.pattern)?;
    let origins = parts.origins(scope.engine())?;
    Ok(candidate.with_origins(origins))
}

/// Generates a random master key.
pub(crate) fn generate_master_key<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    extractable: bool,
) -> Result<Candidate, Refusal> {
    let made = scope.engine().generate_key(&master_key_spec(extractable))?;
    derive(scope, made)
}

/// Registers a new master key in the scope, computes its pattern and derives its blob keys.
pub(crate) fn derive<E: Engine>(scope: &mut KeyScope<'_, E>, made: KeyHandle) -> Result<Candidate, Refusal> {
    let handle = scope.keep(made)?;
    Candidate::derive(scope, handle)
}
