//! The derivation family: SP 800-108 in counter mode with AES-CMAC as PRF.

use crate::mac::cmac;
use crate::symmetric::Cipher;
use engine::{CMAC_LEN, EngineError, Mechanism, MechanismInfo};

/// The family's mechanisms.
pub(crate) const MECHANISMS: &[MechanismInfo] =
    &[MechanismInfo { mechanism: Mechanism::Sp800108CounterCmac, min_key_bits: 128, max_key_bits: 256 }];

/// Fills `derived` with `K(1) ‖ K(2) ‖ …`, where `K(i)` is CMAC of `[i]₄ ‖ label ‖ 0x00 ‖ context ‖ [L]₄`.
///
/// Source: NIST SP 800-108r1 §4.1.
pub(crate) fn counter_cmac(
    base: &Cipher,
    label: &[u8],
    context: &[u8],
    derived: &mut [u8],
) -> Result<(), EngineError> {
    let bits = derived.len().checked_mul(8).and_then(|bits| u32::try_from(bits).ok());
    let bits = bits.ok_or(EngineError::KeySizeRange)?.to_be_bytes();
    for (i, block) in (1u32..).zip(derived.chunks_mut(CMAC_LEN)) {
        let mac = cmac(base, &[&i.to_be_bytes(), label, &[0], context, &bits]);
        for (to, from) in block.iter_mut().zip(mac.iter()) {
            *to = *from;
        }
    }
    Ok(())
}
