//! CTR_DRBG with AES-256 and without derivation function (SP 800-90A rev. 1 §10.2.1), a `rand_core` generator.

use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use core::fmt;
use engine::declassify;
use rand_core::utils::next_word_via_fill;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of a seed in bytes: a key and a block (SP 800-90A table 3).
pub(crate) const SEED_LEN: usize = 48;

/// Most bytes that one request may ask for (SP 800-90A table 3).
pub(crate) const MAX_REQUEST_LEN: usize = 1 << 16;

/// Most requests between two seeds (SP 800-90A table 3).
const MAX_REQUESTS: u64 = 1 << 48;

/// A seed of [`CtrDrbg`]: 48 bytes of full entropy, zeroized on drop, never printed.
///
/// `Clone` is what [`SeedableRng::Seed`] demands; nothing here clones a seed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DrbgSeed([u8; SEED_LEN]);

impl DrbgSeed {
    /// A seed with this value; the caller wipes its own copy.
    #[must_use]
    pub const fn new(value: [u8; SEED_LEN]) -> Self {
        Self(value)
    }
}

/// Zeros, to be filled.
impl Default for DrbgSeed {
    fn default() -> Self {
        Self([0; SEED_LEN])
    }
}

impl AsRef<[u8]> for DrbgSeed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for DrbgSeed {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for DrbgSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrbgSeed")
    }
}

/// Reason why a [`CtrDrbg`] generated nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrbgError {
    /// Two successive blocks of the cipher were equal, which a working cipher never gives under one key. Permanent.
    RepeatedBlock,
    /// The generator has answered 2⁴⁸ requests since its last seed.
    ReseedRequired,
}

impl fmt::Display for DrbgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RepeatedBlock => "the random bit generator repeated a block",
            Self::ReseedRequired => "the random bit generator needs a new seed",
        })
    }
}

impl core::error::Error for DrbgError {}

/// CTR_DRBG with AES-256, seeded once and deterministic from then on; the state is zeroized on drop and never printed.
///
/// Tests use it as a source of reproducible bytes. An engine wraps it in a [`ReseedingDrbg`](crate::ReseedingDrbg), which
/// takes new seeds from a source of entropy.
///
/// A request for more than 2¹⁶ bytes counts as several requests. Each word of [`TryRng::try_next_u32`] and
/// [`TryRng::try_next_u64`] is a request of its own.
///
/// Source: SP 800-90A rev. 1 §10.2.1.
pub struct CtrDrbg {
    cipher: Aes256Enc,
    v: u128,
    /// Requests since the last seed.
    requests: u64,
    /// Whether a block was ever repeated.
    is_stuck: bool,
}

impl CtrDrbg {
    /// Takes in a new seed (§10.2.1.4.1).
    ///
    /// # Errors
    /// [`DrbgError::RepeatedBlock`].
    pub fn reseed(&mut self, seed: &DrbgSeed) -> Result<(), DrbgError> {
        let mut watch = Watch::default();
        self.update(&seed.0, &mut watch);
        self.requests = 0;
        self.conclude(&watch)
    }

    /// Fills `out`, at most [`MAX_REQUEST_LEN`] bytes (§10.2.1.5.1), and then updates the state, so that a later state does
    /// not reveal these bytes.
    pub(crate) fn generate(&mut self, out: &mut [u8]) -> Result<(), DrbgError> {
        if self.requests >= MAX_REQUESTS {
            return Err(DrbgError::ReseedRequired);
        }
        self.requests += 1;
        let mut watch = Watch::default();
        for chunk in out.chunks_mut(16) {
            let block = Zeroizing::new(self.next_block(&mut watch).to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(block.iter()) {
                *to = *from;
            }
        }
        self.update(&[0; SEED_LEN], &mut watch);
        self.conclude(&watch)
    }

    /// Ends a request: a generator that once repeated a block stays unusable.
    fn conclude(&mut self, watch: &Watch) -> Result<(), DrbgError> {
        self.is_stuck |= declassify(watch.repeated);
        if self.is_stuck { Err(DrbgError::RepeatedBlock) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(crate) const fn break_for_test(&mut self) {
        self.is_stuck = true;
    }

    /// CTR_DRBG_Update (§10.2.1.2).
    fn update(&mut self, provided: &[u8; SEED_LEN], watch: &mut Watch) {
        let mut temp = Zeroizing::new([[0; 16]; SEED_LEN / 16]);
        for block in temp.iter_mut() {
            *block = self.next_block(watch).to_be_bytes();
        }
        for (to, from) in temp.as_flattened_mut().iter_mut().zip(provided) {
            *to ^= from;
        }
        let [left, right, v] = &*temp;
        let key = Zeroizing::new([*left, *right]);
        if let Ok(cipher) = Aes256Enc::new_from_slice(key.as_flattened()) {
            self.cipher = cipher;
        }
        self.v = u128::from_be_bytes(*v);
    }

    /// The cipher's next block.
    fn next_block(&mut self, watch: &mut Watch) -> u128 {
        self.v = self.v.wrapping_add(1);
        let mut block = self.v.to_be_bytes().into();
        self.cipher.encrypt_block(&mut block);
        let block = u128::from_be_bytes(block.into());
        watch.see(block);
        block
    }
}

/// Instantiates from a seed of full entropy (§10.2.1.3.1). A cipher that repeats a block is reported by the first request.
impl SeedableRng for CtrDrbg {
    type Seed = DrbgSeed;

    fn from_seed(seed: DrbgSeed) -> Self {
        let mut drbg = Self { cipher: Aes256Enc::new(&[0; 32].into()), v: 0, requests: 0, is_stuck: false };
        // `is_stuck` keeps the failure.
        let _ = drbg.reseed(&seed);
        drbg
    }
}

/// On a failure the whole buffer is zero.
impl TryRng for CtrDrbg {
    type Error = DrbgError;

    fn try_next_u32(&mut self) -> Result<u32, DrbgError> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, DrbgError> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), DrbgError> {
        let filled = out.chunks_mut(MAX_REQUEST_LEN).try_for_each(|chunk| self.generate(chunk));
        filled.inspect_err(|_| out.fill(0))
    }
}

impl TryCryptoRng for CtrDrbg {}

impl fmt::Debug for CtrDrbg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CtrDrbg")
    }
}

impl Drop for CtrDrbg {
    fn drop(&mut self) {
        // The cipher wipes its own schedule.
        self.v.zeroize();
    }
}

/// Compares each block of one request with the block before; the verdict is made public once, at the end.
struct Watch {
    last: Option<u128>,
    repeated: Choice,
}

impl Default for Watch {
    fn default() -> Self {
        Self { last: None, repeated: Choice::from(0) }
    }
}

impl Watch {
    fn see(&mut self, block: u128) {
        if let Some(last) = self.last {
            let [low, high] = [last ^ block, (last ^ block) >> 64].map(|half| half as u64);
            self.repeated |= (low | high).ct_eq(&0);
        }
        self.last = Some(block);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.last.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::{CtrDrbg, DrbgError, DrbgSeed, MAX_REQUESTS};
    use rand_core::{SeedableRng, TryRng};
    use std::format;
    use std::vec::Vec;

    const CAVP: &str = include_str!("../../../fixtures/kat/ctr-drbg/cavp-aes256-no-df.txt");

    fn hex<const N: usize>(digits: &str) -> [u8; N] {
        let bytes: Vec<u8> =
            (0..N).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    #[test]
    fn kat_ctr_drbg_cavp() {
        let mut ran = 0;
        for line in CAVP.lines().filter(|line| !line.starts_with('#')) {
            let [seed, reseed, expected] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let mut drbg = CtrDrbg::from_seed(DrbgSeed::new(hex(seed)));
            drbg.reseed(&DrbgSeed::new(hex(reseed))).unwrap();
            let mut out = [0; 64];
            drbg.try_fill_bytes(&mut out).unwrap();
            drbg.try_fill_bytes(&mut out).unwrap();
            assert_eq!(out, hex(expected));
            ran += 1;
        }
        assert_eq!(ran, 5);
    }

    #[test]
    fn a_repeated_block_makes_the_generator_unusable() {
        let mut drbg = CtrDrbg::seed_from_u64(7);
        drbg.try_fill_bytes(&mut [0; 64]).unwrap();
        let mut watch = super::Watch::default();
        drbg.next_block(&mut watch);
        assert_eq!(drbg.conclude(&watch), Ok(()));
        // The counter stands still, as if the cipher were stuck.
        drbg.v = drbg.v.wrapping_sub(1);
        drbg.next_block(&mut watch);
        assert_eq!(drbg.conclude(&watch), Err(DrbgError::RepeatedBlock));
        let mut out = [0xee; 32];
        assert_eq!(drbg.try_fill_bytes(&mut out), Err(DrbgError::RepeatedBlock));
        assert_eq!(out, [0; 32]);
        assert_eq!(drbg.try_next_u64(), Err(DrbgError::RepeatedBlock));
        assert_eq!(drbg.reseed(&DrbgSeed::new([9; 48])), Err(DrbgError::RepeatedBlock));
    }

    #[test]
    fn the_last_request_is_followed_by_a_new_seed_or_nothing() {
        let mut drbg = CtrDrbg::seed_from_u64(7);
        drbg.requests = MAX_REQUESTS - 1;
        let mut out = [0; 16];
        drbg.try_fill_bytes(&mut out).unwrap();
        assert_eq!(drbg.try_fill_bytes(&mut out), Err(DrbgError::ReseedRequired));
        assert_eq!(out, [0; 16]);
        drbg.reseed(&DrbgSeed::new(core::array::from_fn(|at| at as u8))).unwrap();
        drbg.try_fill_bytes(&mut out).unwrap();
    }

    #[test]
    fn a_long_request_is_several_requests() {
        let (mut at_once, mut in_pieces) = (CtrDrbg::seed_from_u64(1), CtrDrbg::seed_from_u64(1));
        let (mut long, mut first, mut second) = (std::vec![0; (1 << 16) + 5], std::vec![0; 1 << 16], [0; 5]);
        at_once.try_fill_bytes(&mut long).unwrap();
        in_pieces.try_fill_bytes(&mut first).unwrap();
        in_pieces.try_fill_bytes(&mut second).unwrap();
        assert!(long[..1 << 16] == first && long[1 << 16..] == second);
    }

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", DrbgSeed::new([0xa5; 48])), "DrbgSeed");
        assert_eq!(format!("{:?}", CtrDrbg::seed_from_u64(1)), "CtrDrbg");
    }
}
