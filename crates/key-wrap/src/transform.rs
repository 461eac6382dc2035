//! The wrapping transform W and its inverse, in place over semiblocks (SP 800-38F §6.1).
//!
//! Each runs inside one closure of the cipher's back end, compiled with the CPU's AES instructions: blocks stay in
//! registers and no call is made per block. A block is built from two words and split into two words; a block written to
//! memory in halves and read back whole would wait for both stores. Words are little-endian on every machine, so that only
//! the step number, which the standard writes big-endian, is swapped.

use crate::semiblock::Semiblock;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, consts::U16,
};

/// Rounds over all semiblocks.
const ROUNDS: u64 = 6;

/// W: `s` is the check value followed by the plaintext, at least 3 semiblocks in all.
pub(crate) fn wrap<C: BlockCipherEncrypt<BlockSize = U16>>(cipher: &C, s: &mut [Semiblock]) {
    // The three sizes of AES keys have their own instances, with every semiblock in a register.
    if let Ok(s) = <&mut [Semiblock; 5]>::try_from(&mut *s) {
        cipher.encrypt_with_backend(Fixed(s));
    } else if let Ok(s) = <&mut [Semiblock; 4]>::try_from(&mut *s) {
        cipher.encrypt_with_backend(Fixed(s));
    } else if let Ok(s) = <&mut [Semiblock; 3]>::try_from(&mut *s) {
        cipher.encrypt_with_backend(Fixed(s));
    } else {
        cipher.encrypt_with_backend(Any(s));
    }
}

/// W⁻¹: `s` is the ciphertext, at least 3 semiblocks.
pub(crate) fn unwrap<C: BlockCipherDecrypt<BlockSize = U16>>(cipher: &C, s: &mut [Semiblock]) {
    if let Ok(s) = <&mut [Semiblock; 5]>::try_from(&mut *s) {
        cipher.decrypt_with_backend(Fixed(s));
    } else if let Ok(s) = <&mut [Semiblock; 4]>::try_from(&mut *s) {
        cipher.decrypt_with_backend(Fixed(s));
    } else if let Ok(s) = <&mut [Semiblock; 3]>::try_from(&mut *s) {
        cipher.decrypt_with_backend(Fixed(s));
    } else {
        cipher.decrypt_with_backend(Any(s));
    }
}

/// Encrypts one block, made of two semiblocks: KWP's case of a key of at most 8 bytes.
pub(crate) fn encrypt_pair<C: BlockCipherEncrypt<BlockSize = U16>>(cipher: &C, s: &mut [Semiblock; 2]) {
    let mut block = join(u64::from_le_bytes(s[0]), u64::from_le_bytes(s[1]));
    cipher.encrypt_block(&mut block);
    *s = split(block).map(u64::to_le_bytes);
}

/// The inverse of [`encrypt_pair`].
pub(crate) fn decrypt_pair<C: BlockCipherDecrypt<BlockSize = U16>>(cipher: &C, s: &mut [Semiblock; 2]) {
    let mut block = join(u64::from_le_bytes(s[0]), u64::from_le_bytes(s[1]));
    cipher.decrypt_block(&mut block);
    *s = split(block).map(u64::to_le_bytes);
}

/// A number of semiblocks known when compiled, the check value included.
struct Fixed<'a, const N: usize>(&'a mut [Semiblock; N]);

/// Any number of semiblocks.
struct Any<'a>(&'a mut [Semiblock]);

impl<const N: usize> BlockSizeUser for Fixed<'_, N> {
    type BlockSize = U16;
}

impl BlockSizeUser for Any<'_> {
    type BlockSize = U16;
}

impl<const N: usize> BlockCipherEncClosure for Fixed<'_, N> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut words = self.0.map(u64::from_le_bytes);
        if let Some((a, r)) = words.split_first_mut() {
            let mut t = 0;
            for _ in 0..ROUNDS {
                for r in r.iter_mut() {
                    t += 1;
                    (*a, *r) = wrap_step(backend, *a, *r, t);
                }
            }
        }
        *self.0 = words.map(u64::to_le_bytes);
    }
}

impl BlockCipherEncClosure for Any<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Some((first, rest)) = self.0.split_first_mut() else { return };
        let mut a = u64::from_le_bytes(*first);
        let mut t = 0;
        for _ in 0..ROUNDS {
            for semiblock in rest.iter_mut() {
                t += 1;
                let r;
                (a, r) = wrap_step(backend, a, u64::from_le_bytes(*semiblock), t);
                *semiblock = r.to_le_bytes();
            }
        }
        *first = a.to_le_bytes();
    }
}

impl<const N: usize> BlockCipherDecClosure for Fixed<'_, N> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let mut words = self.0.map(u64::from_le_bytes);
        if let Some((a, r)) = words.split_first_mut() {
            let mut t = ROUNDS * r.len() as u64;
            for _ in 0..ROUNDS {
                for r in r.iter_mut().rev() {
                    (*a, *r) = unwrap_step(backend, *a, *r, t);
                    t -= 1;
                }
            }
        }
        *self.0 = words.map(u64::to_le_bytes);
    }
}

impl BlockCipherDecClosure for Any<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let Some((first, rest)) = self.0.split_first_mut() else { return };
        let mut a = u64::from_le_bytes(*first);
        let mut t = ROUNDS * rest.len() as u64;
        for _ in 0..ROUNDS {
            for semiblock in rest.iter_mut().rev() {
                let r;
                (a, r) = unwrap_step(backend, a, u64::from_le_bytes(*semiblock), t);
                *semiblock = r.to_le_bytes();
                t -= 1;
            }
        }
        *first = a.to_le_bytes();
    }
}

/// SP 800-38F §6.1, algorithm 1, steps 2a to 2c, for one semiblock.
#[inline(always)]
fn wrap_step<B: BlockCipherEncBackend<BlockSize = U16>>(backend: &B, a: u64, r: u64, t: u64) -> (u64, u64) {
    let mut block = join(a, r);
    backend.encrypt_block((&mut block).into());
    let [a, r] = split(block);
    (a ^ t.swap_bytes(), r)
}

/// SP 800-38F §6.1, algorithm 2, steps 2a to 2c, for one semiblock.
#[inline(always)]
fn unwrap_step<B: BlockCipherDecBackend<BlockSize = U16>>(backend: &B, a: u64, r: u64, t: u64) -> (u64, u64) {
    let mut block = join(a ^ t.swap_bytes(), r);
    backend.decrypt_block((&mut block).into());
    let [a, r] = split(block);
    (a, r)
}

#[inline(always)]
fn join(left: u64, right: u64) -> aes::Block {
    (u128::from(left) | u128::from(right) << 64).to_le_bytes().into()
}

#[inline(always)]
fn split(block: aes::Block) -> [u64; 2] {
    let both = u128::from_le_bytes(block.into());
    [both as u64, (both >> 64) as u64]
}
