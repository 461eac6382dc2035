//! AES key wrap (KW): SP 800-38F §6.2, RFC 3394.

use crate::{LengthInvalid, MAX_KEY_LEN, WrappedKeyInvalid, semiblock, transform};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, consts::U16};
use subtle::{Choice, CtOption};

/// Shortest key, in bytes: two semiblocks (SP 800-38F §5.3.1).
pub const MIN_KEY_LEN: usize = 16;

/// The check value ICV1 (SP 800-38F §6.2). Its bytes are all the same, so it has no byte order.
const ICV1: u64 = 0xa6a6_a6a6_a6a6_a6a6;

/// Wraps `key` under AES-KW into the front of `wrapped`, and returns the length written.
///
/// `key` is a multiple of 8 bytes, at least 16 and at most [`MAX_KEY_LEN`]; the result is 8 bytes longer. Time
/// depends on the lengths alone.
///
/// # Errors
/// [`LengthInvalid`] for a key of another length or too small a buffer; `wrapped` is zeroed.
///
/// Source: NIST SP 800-38F §6.2 (KW-AE); RFC 3394 §2.2.1.
pub fn wrap<C>(kek: &C, key: &[u8], wrapped: &mut [u8]) -> Result<usize, LengthInvalid>
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    let wrapped_len = key.len().saturating_add(semiblock::LEN);
    let out = match wrapped.get_mut(..wrapped_len) {
        Some(out) if is_key_len(key.len()) => out,
        _ => {
            wrapped.fill(0);
            return Err(LengthInvalid);
        }
    };
    let (s, _) = out.as_chunks_mut();
    if let Some((icv, body)) = s.split_first_mut() {
        *icv = ICV1.to_ne_bytes();
        body.as_flattened_mut().copy_from_slice(key);
    }
    transform::wrap(kek, s);
    Ok(wrapped_len)
}

/// Unwraps `wrapped` under AES-KW, in place.
///
/// `wrapped` is a multiple of 8 bytes, at least 24. On success the key is its first `n` bytes, where `n` is
/// `wrapped.len()` − 8, and the rest is zero. Time depends on the length alone.
///
/// # Errors
/// [`WrappedKeyInvalid`] for a bad length or a failed check, without distinction; the buffer is zeroed.
///
/// Source: NIST SP 800-38F §6.2 (KW-AD); RFC 3394 §2.2.2.
pub fn unwrap_in_place<C>(kek: &C, wrapped: &mut [u8]) -> Result<usize, WrappedKeyInvalid>
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    unwrap_in_place_ct(kek, wrapped).into_option().map(|key_len| key_len as usize).ok_or(WrappedKeyInvalid)
}

/// Same as [`unwrap_in_place`], but the result stays secret, for callers that have more to check before they branch on it.
pub fn unwrap_in_place_ct<C>(kek: &C, wrapped: &mut [u8]) -> CtOption<u32>
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    let key_len = wrapped.len().saturating_sub(semiblock::LEN);
    if !is_key_len(key_len) {
        wrapped.fill(0);
        return CtOption::new(0, Choice::from(0));
    }
    let (s, _) = wrapped.as_chunks_mut();
    transform::unwrap(kek, s);
    let mask = semiblock::mask_if_zero(s.first().map_or(0, |icv| u64::from_ne_bytes(*icv)) ^ ICV1);
    semiblock::shift_masked(s, mask);
    CtOption::new(key_len as u32, Choice::from((mask & 1) as u8))
}

const fn is_key_len(key_len: usize) -> bool {
    key_len >= MIN_KEY_LEN && key_len <= MAX_KEY_LEN && key_len.is_multiple_of(semiblock::LEN)
}
