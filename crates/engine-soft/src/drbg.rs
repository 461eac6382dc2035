//! CTR_DRBG with AES-256 and without derivation function (SP 800-90A rev. 1 §10.2.1).

use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use engine::declassify;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// Length of a seed: a key and a block (SP 800-90A table 3).
pub(crate) const SEED_LEN: usize = 48;

/// Most bytes that one request may ask for (SP 800-90A table 3).
pub(crate) const MAX_REQUEST_LEN: usize = 1 << 16;

/// Two successive blocks of the cipher were equal, which a working cipher never gives under one key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck;

/// The working state.
pub(crate) struct CtrDrbg {
    cipher: Aes256Enc,
    v: u128,
}

impl CtrDrbg {
    /// Instantiates from a seed of full entropy (§10.2.1.3.1).
    pub(crate) fn new(seed: &[u8; SEED_LEN]) -> Result<Self, Stuck> {
        let mut drbg = Self { cipher: Aes256Enc::new(&[0; 32].into()), v: 0 };
        drbg.reseed(seed)?;
        Ok(drbg)
    }

    /// Takes in a new seed (§10.2.1.4.1).
    pub(crate) fn reseed(&mut self, seed: &[u8; SEED_LEN]) -> Result<(), Stuck> {
        let mut watch = Watch::default();
        self.update(seed, &mut watch);
        watch.verdict()
    }

    /// Fills `out`, at most [`MAX_REQUEST_LEN`] bytes (§10.2.1.5.1), and moves on so that it cannot be found again.
    pub(crate) fn generate(&mut self, out: &mut [u8]) -> Result<(), Stuck> {
        let mut watch = Watch::default();
        for chunk in out.chunks_mut(16) {
            let block = Zeroizing::new(self.next_block(&mut watch).to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(block.iter()) {
                *to = *from;
            }
        }
        self.update(&[0; SEED_LEN], &mut watch);
        watch.verdict()
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

impl Drop for CtrDrbg {
    fn drop(&mut self) {
        self.v.zeroize();
    }
}

/// Looks at the blocks of one request; whether any equalled the one before is decided once, at the end.
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

    fn verdict(&self) -> Result<(), Stuck> {
        if declassify(self.repeated) { Err(Stuck) } else { Ok(()) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.last.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::{CtrDrbg, Stuck, Watch};
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
            let mut drbg = CtrDrbg::new(&hex(seed)).unwrap();
            drbg.reseed(&hex(reseed)).unwrap();
            let mut out = [0; 64];
            drbg.generate(&mut out).unwrap();
            drbg.generate(&mut out).unwrap();
            assert_eq!(out, hex(expected));
            ran += 1;
        }
        assert_eq!(ran, 5);
    }

    #[test]
    fn a_cipher_that_repeats_itself_is_noticed() {
        let mut drbg = CtrDrbg::new(&[7; 48]).unwrap();
        let mut watch = Watch::default();
        drbg.next_block(&mut watch);
        drbg.next_block(&mut watch);
        assert_eq!(watch.verdict(), Ok(()));
        // The counter stands still: what a stuck cipher looks like from outside.
        drbg.v = drbg.v.wrapping_sub(1);
        drbg.next_block(&mut watch);
        drbg.next_block(&mut watch);
        assert_eq!(watch.verdict(), Err(Stuck));
    }
}
