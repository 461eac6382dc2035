//! AES-KWP from single AES blocks, for tokens that lack the mechanism or implement it differently.
//!
//! The key-encryption key stays in the token, which encrypts and decrypts the blocks; the wrapped key is in this process's
//! memory.
//!
//! Source: NIST SP 800-38F §6.1 (W, W⁻¹) and §6.3 (KWP); RFC 5649 §4.

use crate::objects::ClearKey;
use engine::{EngineError, MAX_KEY_LEN, declassify};
use subtle::{Choice, ConstantTimeEq, ConstantTimeLess};
use zeroize::Zeroizing;

type Block = [u8; 16];
type Semiblock = [u8; 8];

/// First half of the alternative initial value (SP 800-38F §6.3); the second half is the key's length in bytes.
const ICV2: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];
/// Semiblocks of the longest key.
const MAX_SEMIBLOCKS: usize = MAX_KEY_LEN / 8;

/// Encrypts or decrypts one block in place.
pub(crate) trait BlockFn<E>: FnMut(&mut Block) -> Result<(), E> {}
impl<E, F: FnMut(&mut Block) -> Result<(), E>> BlockFn<E> for F {}

/// Wraps `key` into `wrapped`, whose length is that of the key, rounded up to a multiple of 8, plus 8.
pub(crate) fn wrap_kwp<E>(mut encrypt: impl BlockFn<E>, key: &[u8], wrapped: &mut [u8]) -> Result<(), E> {
    let mut semiblocks = Zeroizing::new([[0; 8]; MAX_SEMIBLOCKS]);
    let n = key.len().div_ceil(8);
    semiblocks.as_flattened_mut().iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let semiblocks = semiblocks.get_mut(..n).unwrap_or_default();
    let len = u32::try_from(key.len()).unwrap_or_default();
    let mut head = joined_halves(ICV2, len.to_be_bytes());
    if let [only] = semiblocks {
        let mut block = Zeroizing::new(joined(&head, only));
        encrypt(&mut block)?;
        (head, *only) = split(&block);
    } else {
        let mut t = 0u64;
        for _ in 0..6 {
            for semiblock in semiblocks.iter_mut() {
                t += 1;
                let mut block = Zeroizing::new(joined(&head, semiblock));
                encrypt(&mut block)?;
                (head, *semiblock) = split(&block);
                head = add_counter(head, t);
            }
        }
    }
    let all = head.iter().chain(semiblocks.as_flattened());
    wrapped.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
    Ok(())
}

/// Unwraps a key of `len` bytes.
///
/// # Errors
/// [`EngineError::WrappedKeyInvalid`] for another length, a wrong initial value or non-zero padding, not told apart;
/// errors of `decrypt`.
pub(crate) fn unwrap_kwp<E: From<EngineError>>(
    mut decrypt: impl BlockFn<E>,
    wrapped: &[u8],
    len: usize,
) -> Result<ClearKey, E> {
    let invalid = || E::from(EngineError::WrappedKeyInvalid);
    let (head, rest) = wrapped.split_first_chunk::<8>().ok_or_else(invalid)?;
    let n = len.div_ceil(8);
    if rest.len() != 8 * n || n > MAX_SEMIBLOCKS || n == 0 {
        return Err(invalid());
    }
    let mut head = *head;
    let mut semiblocks = Zeroizing::new([[0; 8]; MAX_SEMIBLOCKS]);
    semiblocks.as_flattened_mut().iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let semiblocks = semiblocks.get_mut(..n).unwrap_or_default();
    if let [only] = semiblocks {
        let mut block = Zeroizing::new(joined(&head, only));
        decrypt(&mut block)?;
        (head, *only) = split(&block);
    } else {
        for t in (1..=6 * n as u64).rev() {
            let at = (t as usize - 1) % n;
            let Some(semiblock) = semiblocks.get_mut(at) else { return Err(invalid()) };
            let mut block = Zeroizing::new(joined(&add_counter(head, t), semiblock));
            decrypt(&mut block)?;
            (head, *semiblock) = split(&block);
        }
    }
    let expected = joined_halves(ICV2, u32::try_from(len).unwrap_or_default().to_be_bytes());
    let mut valid = head.ct_eq(&expected);
    for (at, byte) in (0u32..).zip(semiblocks.as_flattened()) {
        let is_key_byte = at.ct_lt(&u32::try_from(len).unwrap_or_default());
        valid &= is_key_byte | byte.ct_eq(&0);
    }
    let key = semiblocks.as_flattened().get(..len).unwrap_or_default();
    if declassify(valid & Choice::from(u8::from(key.len() == len))) {
        Ok(ClearKey::copy(key))
    } else {
        Err(invalid())
    }
}

fn joined(head: &Semiblock, semiblock: &Semiblock) -> Block {
    let mut block = [0; 16];
    block.iter_mut().zip(head.iter().chain(semiblock)).for_each(|(to, from)| *to = *from);
    block
}

fn split(block: &Block) -> (Semiblock, Semiblock) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *block;
    ([a, b, c, d, e, f, g, h], rest)
}

const fn joined_halves([a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]) -> Semiblock {
    [a, b, c, d, e, f, g, h]
}

const fn add_counter(head: Semiblock, t: u64) -> Semiblock {
    (u64::from_be_bytes(head) ^ t).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::{unwrap_kwp, wrap_kwp};
    use aes::Aes256;
    use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
    use engine::EngineError;

    /// `key-wrap` is tested against the published vectors.
    #[test]
    fn diff_every_length_agrees_with_key_wrap() {
        let cipher = Aes256::new(&[7; 32].into());
        for len in 1..=64 {
            let key: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut expected = vec![0; key_wrap::kwp::wrapped_len(len)];
            key_wrap::kwp::wrap(&cipher, &key, &mut expected).unwrap();
            let mut wrapped = vec![0; expected.len()];
            let encrypt = |block: &mut [u8; 16]| -> Result<(), EngineError> {
                cipher.encrypt_block(block.into());
                Ok(())
            };
            wrap_kwp(encrypt, &key, &mut wrapped).unwrap();
            assert_eq!(wrapped, expected, "{len} bytes");
            let decrypt = |block: &mut [u8; 16]| -> Result<(), EngineError> {
                cipher.decrypt_block(block.into());
                Ok(())
            };
            assert_eq!(unwrap_kwp(decrypt, &wrapped, len).unwrap().expose(), key);
            for other in (1..=64).filter(|other| *other != len) {
                let refused = unwrap_kwp(decrypt, &wrapped, other).err();
                assert_eq!(refused, Some(EngineError::WrappedKeyInvalid), "{len} as {other} bytes");
            }
            for at in 0..wrapped.len() {
                let mut tampered = wrapped.clone();
                tampered[at] ^= 1;
                assert!(unwrap_kwp(decrypt, &tampered, len).is_err());
            }
        }
    }
}
