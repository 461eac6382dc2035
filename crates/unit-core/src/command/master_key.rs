//! Master keys on their way into a register.

use crate::key_parts::{KeyParts, key_parts_are_sound};
use crate::key_scope::KeyScope;
use crate::master_key::{Candidate, master_key_spec};
use crate::registers::Registers;
use engine::{Engine, KeyHandle, declassify};
use unit_api::{Refusal, UnitError};

/// The master key that parts combine to by exclusive or. Its keys are the scope's until they are released.
pub(crate) fn load_key_parts<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    parts: &KeyParts,
    may_leave: bool,
) -> Result<Candidate, Refusal> {
    let combined = scope.engine().combine_key_parts(parts.as_slice(), may_leave)?;
    let candidate = derive(scope, combined)?;
    // Whether the parts are sound is asked once, of all of them and of what they make.
    if !declassify(key_parts_are_sound(parts.as_slice(), &candidate.pattern)) {
        return Err(UnitError::KeyPartsInvalid.into());
    }
    registers.check_load(&candidate.pattern)?;
    let origins = parts.origins(scope.engine())?;
    Ok(candidate.with_origins(origins))
}

/// A random master key.
pub(crate) fn generate_master_key<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    may_leave: bool,
) -> Result<Candidate, Refusal> {
    let made = scope.engine().generate_key(&master_key_spec(may_leave))?;
    derive(scope, made)
}

/// The pattern and the blob keys of a master key just made.
pub(crate) fn derive<E: Engine>(scope: &mut KeyScope<'_, E>, made: KeyHandle) -> Result<Candidate, Refusal> {
    let handle = scope.keep(made)?;
    Candidate::derive(scope, handle)
}
