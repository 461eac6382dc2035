//! Commands that make, wrap, unwrap and re-encipher keys.

use crate::blob_seal::{Purpose, open, seal, to_seal};
use crate::key_scope::KeyScope;
use crate::registers::Registers;
use crate::response_layout::ResponseLayout;
use engine::{Engine, KeySpec, KeyUses, WrapMechanism};
use unit_api::{KeyAttributes, Refusal, UnitError, UseFamily};

/// Checks length and uses of a key whose first blob is made here.
fn check_new_key(spec: &KeySpec) -> Result<(), Refusal> {
    spec.check()?;
    UseFamily::of(spec)?;
    Ok(())
}

pub(crate) fn generate_key<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    spec: &KeySpec,
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_new_key(spec)?;
    let made = scope.engine().generate_key(&to_seal(spec))?;
    let key = scope.keep(made)?;
    seal(scope.engine(), master, key, KeyAttributes::generated(*spec), out).map(ResponseLayout::Blob)
}

pub(crate) fn import_key<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    spec: &KeySpec,
    value: &[u8],
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_new_key(spec)?;
    if value.len() != spec.len() {
        return Err(UnitError::KeySizeRange.into());
    }
    let made = scope.engine().import_key(&to_seal(spec), value)?;
    let key = scope.keep(made)?;
    seal(scope.engine(), master, key, KeyAttributes::imported(*spec), out).map(ResponseLayout::Blob)
}

pub(crate) fn wrap_key<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    by: WrapMechanism,
    kek: &[u8],
    key: &[u8],
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    let kek = open(scope, master, kek, Purpose::Use(KeyUses::WRAP))?;
    let key = open(scope, master, key, Purpose::Extract)?;
    Ok(ResponseLayout::Wrapped(scope.engine().wrap_key(by, kek.key, key.key, out)?))
}

pub(crate) fn unwrap_key<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    by: WrapMechanism,
    kek: &[u8],
    wrapped: &[u8],
    spec: &KeySpec,
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_new_key(spec)?;
    let kek = open(scope, master, kek, Purpose::Use(KeyUses::UNWRAP))?;
    let made = scope.engine().unwrap_key(by, kek.key, wrapped, &to_seal(spec))?;
    let key = scope.keep(made)?;
    seal(scope.engine(), master, key, KeyAttributes::imported(*spec), out).map(ResponseLayout::Blob)
}

/// Seals the same key with the same attributes under New. The given blob stays valid until New is activated.
pub(crate) fn reencipher<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    blob: &[u8],
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let (current, new) = registers.re_enciphering()?;
    let opened = open(scope, current, blob, Purpose::Reencipher)?;
    seal(scope.engine(), new, opened.key, opened.attributes, out).map(ResponseLayout::Blob)
}
