//! Random bits: the caller's entropy through the generator, with both watched.

use crate::drbg::{CtrDrbg, MAX_REQUEST_LEN, SEED_LEN};
use core::fmt;
use engine::{EngineError, SHA256_LEN, declassify};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Requests to the generator between two seeds: every one takes a new seed (prediction resistance, SP 800-90A §8.8).
///
/// The standard allows 2⁴⁸. But a copy of a running machine, from a snapshot say, would then give the same numbers as
/// the original, initialisation vectors of AES-GCM among them; with a seed at each request that is left to the entropy
/// source, and operating systems notice. A seed costs one system call, a tenth of a command.
const RESEED_INTERVAL: u32 = 1;

/// Where seeds come from: full entropy, as an operating system's generator or a hardware source gives it.
pub trait Entropy {
    /// Fills `seed`, or says that it cannot.
    ///
    /// # Errors
    /// [`EntropyFailed`] when the source has nothing to give; it is asked again when random bits are next needed.
    fn fill(&mut self, seed: &mut [u8]) -> Result<(), EntropyFailed>;
}

impl<F: FnMut(&mut [u8]) -> Result<(), EntropyFailed>> Entropy for F {
    fn fill(&mut self, seed: &mut [u8]) -> Result<(), EntropyFailed> {
        self(seed)
    }
}

/// The source of entropy has nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyFailed;

impl fmt::Display for EntropyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source of entropy failed")
    }
}

impl core::error::Error for EntropyFailed {}

/// A generator and its source.
pub(crate) struct Random<E> {
    entropy: E,
    state: State,
    /// Digest of the seed taken last: enough to know it again, not to find it.
    last_seed: [u8; SHA256_LEN],
}

#[expect(clippy::large_enum_variant, reason = "there is no heap to box it, and one generator per engine")]
enum State {
    /// Nothing is given out before a seed is taken.
    Unseeded,
    Seeded {
        drbg: CtrDrbg,
        requests: u32,
    },
    /// The generator repeated itself: a fault of the machine, from which only a restart leads back.
    Stuck,
}

impl<E: Entropy> Random<E> {
    pub(crate) const fn new(entropy: E) -> Self {
        Self { entropy, state: State::Unseeded, last_seed: [0; SHA256_LEN] }
    }

    /// Fills `out` with random bits, or with zeros when it fails.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        for chunk in out.chunks_mut(MAX_REQUEST_LEN) {
            if let Err(error) = self.fill_chunk(chunk) {
                out.fill(0);
                return Err(error);
            }
        }
        Ok(())
    }

    fn fill_chunk(&mut self, chunk: &mut [u8]) -> Result<(), EngineError> {
        self.seed_if_due()?;
        let State::Seeded { drbg, requests } = &mut self.state else { return Err(EngineError::RandomFailed) };
        *requests += 1;
        let generated = drbg.generate(chunk);
        generated.map_err(|_| self.stop())
    }

    fn seed_if_due(&mut self) -> Result<(), EngineError> {
        match &self.state {
            State::Seeded { requests, .. } if *requests < RESEED_INTERVAL => return Ok(()),
            State::Seeded { .. } | State::Unseeded => {}
            State::Stuck => return Err(EngineError::RandomFailed),
        }
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        self.entropy.fill(&mut *seed).map_err(|_| EngineError::RandomFailed)?;
        // A source that gives the same seed twice, or a seed of equal blocks, is broken (after SP 800-90B §4.4.1).
        let digest: [u8; SHA256_LEN] = Sha256::digest(*seed).into();
        let repeats = seed
            .chunks(16)
            .zip(seed.chunks(16).skip(1))
            .fold(Choice::from(0), |any, (a, b)| any | a.ct_eq(b));
        if declassify(repeats | digest.ct_eq(&self.last_seed)) {
            return Err(EngineError::RandomFailed);
        }
        self.last_seed = digest;
        let seeded = match &mut self.state {
            State::Seeded { drbg, requests } => {
                *requests = 0;
                drbg.reseed(&seed)
            }
            state => CtrDrbg::new(&seed).map(|drbg| *state = State::Seeded { drbg, requests: 0 }),
        };
        seeded.map_err(|_| self.stop())
    }

    fn stop(&mut self) -> EngineError {
        self.state = State::Stuck;
        EngineError::RandomFailed
    }
}

#[cfg(test)]
mod tests {
    use super::{EntropyFailed, RESEED_INTERVAL, Random, State};
    use engine::EngineError;

    /// A source that gives a new seed at each call until it is switched off.
    fn counting(limit: u64) -> impl FnMut(&mut [u8]) -> Result<(), EntropyFailed> {
        let mut calls = 0;
        move |seed| {
            if calls == limit {
                return Err(EntropyFailed);
            }
            calls += 1;
            for (at, chunk) in (0u64..).zip(seed.chunks_mut(8)) {
                chunk.copy_from_slice(&(calls << 32 | at).to_le_bytes());
            }
            Ok(())
        }
    }

    #[test]
    fn without_entropy_there_is_nothing() {
        let mut random = Random::new(counting(0));
        let mut out = [0xee; 32];
        assert_eq!(random.fill(&mut out), Err(EngineError::RandomFailed));
        assert_eq!(out, [0; 32]);
    }

    #[test]
    fn a_failed_reseed_stops_the_generator_until_it_succeeds() {
        let mut random = Random::new(counting(1));
        let mut out = [0; 8];
        for _ in 0..RESEED_INTERVAL {
            random.fill(&mut out).unwrap();
        }
        assert_eq!(random.fill(&mut out), Err(EngineError::RandomFailed));
        assert_eq!(random.fill(&mut out), Err(EngineError::RandomFailed));
        assert_eq!(out, [0; 8]);
        let mut other = Random::new(counting(2));
        for _ in 0..=RESEED_INTERVAL {
            other.fill(&mut out).unwrap();
        }
    }

    #[test]
    fn a_copy_of_a_seeded_generator_does_not_repeat_its_numbers() {
        // Two machines from one snapshot: the same state, and entropy that differs from here on.
        let run = |after: u8| {
            let mut calls = 0u8;
            let mut random = Random::new(move |seed: &mut [u8]| {
                let own = if calls == 0 { 0 } else { after };
                seed.iter_mut().zip(0..).for_each(|(to, at): (_, u8)| *to = at.wrapping_mul(7) ^ calls ^ own);
                calls += 1;
                Ok(())
            });
            let (mut before, mut iv) = ([0; 12], [0; 12]);
            random.fill(&mut before).unwrap();
            random.fill(&mut iv).unwrap();
            (before, iv)
        };
        let ((before, iv), (same, other)) = (run(0x40), run(0x80));
        assert_eq!(before, same);
        assert_ne!(iv, other);
    }

    #[test]
    fn a_source_that_repeats_itself_is_refused() {
        let mut random = Random::new(|seed: &mut [u8]| {
            seed.iter_mut().zip(0..).for_each(|(to, at)| *to = at);
            Ok(())
        });
        let mut out = [0; 8];
        for _ in 0..RESEED_INTERVAL {
            random.fill(&mut out).unwrap();
        }
        assert_eq!(random.fill(&mut out), Err(EngineError::RandomFailed));
        let mut constant = Random::new(|seed: &mut [u8]| {
            seed.fill(0x55);
            Ok(())
        });
        assert_eq!(constant.fill(&mut out), Err(EngineError::RandomFailed));
    }

    #[test]
    fn a_stuck_generator_stays_stuck() {
        let mut random = Random::new(counting(9));
        let mut out = [0xee; 8];
        random.fill(&mut out).unwrap();
        random.stop();
        assert!(matches!(random.state, State::Stuck));
        assert_eq!(random.fill(&mut out), Err(EngineError::RandomFailed));
        assert_eq!(out, [0; 8]);
    }

    #[test]
    fn long_requests_are_cut_into_what_the_standard_allows() {
        let mut random = Random::new(counting(2));
        let mut out = std::vec![0; (1 << 16) + 5];
        random.fill(&mut out).unwrap();
        assert_eq!(random.fill(&mut [0; 1]), Err(EngineError::RandomFailed), "two requests took two seeds");
        assert!(out[1 << 16..].iter().any(|byte| *byte != 0));
    }
}
