//! AES key wrap with padding (KWP): SP 800-38F §6.3, RFC 5649.

use crate::semiblock::{self, Semiblock, mask_if_less, mask_if_zero};
use crate::{LengthInvalid, MAX_KEY_LEN, WrappedKeyInvalid, transform};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, consts::U16};
use subtle::{Choice, CtOption};

/// The check value ICV2 (SP 800-38F §6.3): the first half of the first semiblock; the second is the key's length.
const ICV2: u64 = 0xa659_59a6;

/// Length of a wrapped key of `key_len` bytes, in bytes.
#[must_use]
pub const fn wrapped_len(key_len: usize) -> usize {
    key_len.next_multiple_of(semiblock::LEN) + semiblock::LEN
}

/// Wraps `key` under AES-KWP into the front of `wrapped`, and returns the length written.
///
/// `key` is 1 to [`MAX_KEY_LEN`] bytes; the result is [`wrapped_len`] bytes. Time depends on the lengths alone.
///
/// # Errors
/// [`LengthInvalid`] for a key of another length or too small a buffer; `wrapped` is zeroed.
///
/// Source: NIST SP 800-38F §6.3 (KWP-AE); RFC 5649 §4.1.
pub fn wrap<C>(kek: &C, key: &[u8], wrapped: &mut [u8]) -> Result<usize, LengthInvalid>
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    if !is_key_len(key.len()) {
        wrapped.fill(0);
        return Err(LengthInvalid);
    }
    let wrapped_len = wrapped_len(key.len());
    let Some(out) = wrapped.get_mut(..wrapped_len) else {
        wrapped.fill(0);
        return Err(LengthInvalid);
    };
    let (s, _) = out.as_chunks_mut();
    if let Some((icv, body)) = s.split_first_mut() {
        *icv = (ICV2 << 32 | key.len() as u64).to_be_bytes();
        // The last semiblock is zeroed first: the bytes after the key are its padding.
        if let Some(last) = body.last_mut() {
            *last = [0; semiblock::LEN];
        }
        if let Some(to) = body.as_flattened_mut().get_mut(..key.len()) {
            to.copy_from_slice(key);
        }
    }
    match <&mut [Semiblock; 2]>::try_from(&mut *s) {
        Ok(pair) => transform::encrypt_pair(kek, pair),
        Err(_) => transform::wrap(kek, s),
    }
    Ok(wrapped_len)
}

/// Unwraps `wrapped` under AES-KWP, in place.
///
/// `wrapped` is a multiple of 8 bytes, at least 16. On success the key is its first `n` bytes,
/// 1 ≤ n ≤ `wrapped.len()` − 8, and the rest is zero. Time depends on the length alone.
///
/// # Errors
/// [`WrappedKeyInvalid`] for a bad length or a failed check, without distinction; the buffer is zeroed.
///
/// Source: NIST SP 800-38F §6.3 (KWP-AD); RFC 5649 §4.2.
pub fn unwrap_in_place<C>(kek: &C, wrapped: &mut [u8]) -> Result<usize, WrappedKeyInvalid>
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    unwrap_in_place_ct(kek, wrapped).into_option().map(|key_len| key_len as usize).ok_or(WrappedKeyInvalid)
}

/// Same as [`unwrap_in_place`], but result and length stay secret, for callers that have more to check before they branch
/// on them.
pub fn unwrap_in_place_ct<C>(kek: &C, wrapped: &mut [u8]) -> CtOption<u32>
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    let padded_len = wrapped.len().saturating_sub(semiblock::LEN);
    if !(is_key_len(padded_len) && padded_len.is_multiple_of(semiblock::LEN)) {
        wrapped.fill(0);
        return CtOption::new(0, Choice::from(0));
    }
    let (s, _) = wrapped.as_chunks_mut::<{ semiblock::LEN }>();
    match <&mut [Semiblock; 2]>::try_from(&mut *s) {
        Ok(pair) => transform::decrypt_pair(kek, pair),
        Err(_) => transform::unwrap(kek, s),
    }
    let [first, last] = [s.first(), s.last()].map(|s| s.map_or(0, |s| u64::from_be_bytes(*s)));
    let (key_len, mask) = check(padded_len as u64, first, last);
    semiblock::shift_masked(s, mask);
    CtOption::new(key_len as u32, Choice::from((mask & 1) as u8))
}

/// SP 800-38F §6.3, algorithm 6, steps 6 to 10: prefix, length range and padding, as one mask.
///
/// `first` and `last` are the first and last semiblock of the transform's output, read big-endian. The length
/// returned is 0 when the mask is.
fn check(padded_len: u64, first: u64, last: u64) -> (u64, u64) {
    let prefix = first >> 32;
    let key_len = first & 0xffff_ffff;
    // 0 to 7 for a length in range; wraps to a large number for a length that is too long.
    let padding_len = padded_len.wrapping_sub(key_len);
    // A shift by a secret distance is a loop on some machines; seven masked bytes are not.
    let mut padding_bits = 0;
    for n in 0..7u32 {
        padding_bits |= (0xff << (8 * n)) & mask_if_less(u64::from(n), padding_len & 7);
    }
    let mask = mask_if_zero((prefix ^ ICV2) | (padding_len >> 3) | (last & padding_bits));
    (key_len & mask, mask)
}

const fn is_key_len(key_len: usize) -> bool {
    key_len >= 1 && key_len <= MAX_KEY_LEN
}

#[cfg(test)]
mod tests {
    use super::{ICV2, check};

    /// The check in the standard's own steps, with branches.
    fn plain_check(padded_len: u64, first: u64, last: u64) -> Option<u64> {
        let key_len = first & 0xffff_ffff;
        if first >> 32 != ICV2 || key_len > padded_len || padded_len - key_len > 7 {
            return None;
        }
        let padding = usize::try_from(padded_len - key_len).unwrap();
        last.to_be_bytes()[8 - padding..].iter().all(|byte| *byte == 0).then_some(key_len)
    }

    #[test]
    fn exhaustive_check_agrees_with_the_standard() {
        let lens = (0..80).chain([0x8000_0000, 0xffff_fff8, 0xffff_ffff]);
        for (key_len, padded_len) in lens.flat_map(|len| (1..8).map(move |n| (len, 8 * n))) {
            for prefix in [ICV2, 0, ICV2 ^ 1, ICV2 ^ 0x8000_0000] {
                for last in
                    (0..64).map(|bit| 1 << bit).chain((0..=64).map(|n| u64::MAX.checked_shl(n).unwrap_or(0)))
                {
                    let (n, mask) = check(padded_len, prefix << 32 | key_len, last);
                    let expected = plain_check(padded_len, prefix << 32 | key_len, last);
                    assert_eq!((n, mask), expected.map_or((0, 0), |n| (n, u64::MAX)));
                }
            }
        }
    }
}
