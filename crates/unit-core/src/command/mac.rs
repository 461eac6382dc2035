//! MACs over data.

use super::check_data_len;
use crate::blob_seal::{Purpose, open};
use crate::key_scope::KeyScope;
use crate::registers::Registers;
use crate::response_layout::ResponseLayout;
use engine::{Engine, KeyUses, MacMechanism};
use unit_api::Refusal;

pub(crate) fn sign<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    by: MacMechanism,
    key: &[u8],
    data: &[u8],
    out: &mut [u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_data_len(data)?;
    let opened = open(scope, master, key, Purpose::Use(KeyUses::SIGN))?;
    let len = scope.engine().sign(by, opened.key, data, out)?;
    Ok(ResponseLayout::Signature(len))
}

pub(crate) fn verify<E: Engine>(
    scope: &mut KeyScope<'_, E>,
    registers: &Registers,
    by: MacMechanism,
    key: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<ResponseLayout, Refusal> {
    let master = registers.serving()?;
    check_data_len(data)?;
    let opened = open(scope, master, key, Purpose::Use(KeyUses::VERIFY))?;
    scope.engine().verify(by, opened.key, data, signature)?;
    Ok(ResponseLayout::Done)
}
