//! Key derivation in counter mode with AES-CMAC as PRF (SP 800-108r1 §4.1).

use crate::cipher::Cipher;
use engine::{CMAC_LEN, EngineError};
use zeroize::Zeroizing;

/// Fills `derived` with `K(1) ‖ K(2) ‖ …`, where `K(i)` is CMAC of `[i]₄ ‖ label ‖ 0x00 ‖ context ‖ [L]₄`.
pub(crate) fn counter_cmac(
    base: &Cipher,
    label: &[u8],
    context: &[u8],
    derived: &mut [u8],
) -> Result<(), EngineError> {
    let bits = derived.len().checked_mul(8).and_then(|bits| u32::try_from(bits).ok());
    let bits = bits.ok_or(EngineError::KeySizeRange)?.to_be_bytes();
    for (i, block) in (1u32..).zip(derived.chunks_mut(CMAC_LEN)) {
        let mac = Zeroizing::new(base.cmac(&[&i.to_be_bytes(), label, &[0], context, &bits]));
        for (to, from) in block.iter_mut().zip(mac.iter()) {
            *to = *from;
        }
    }
    Ok(())
}
