//! Random bits for an engine: CTR_DRBG, with a new seed before each request and health tests on every seed.

use crate::drbg::{CtrDrbg, DrbgError, DrbgSeed, MAX_REQUEST_LEN};
use core::fmt;
use engine::{SHA256_LEN, declassify};
use rand_core::utils::next_word_via_fill;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Requests to the generator between two seeds: every request takes a new seed (prediction resistance, SP 800-90A §8.8).
///
/// The standard allows 2⁴⁸. But a copy of a running machine, from a snapshot for instance, would then generate the same
/// numbers as the original, initialisation vectors of AES-GCM among them; with a seed at each request that is left to the
/// source of entropy, and operating systems detect it. A seed costs one system call, a tenth of a command.
const RESEED_INTERVAL: u32 = 1;

/// A [`CtrDrbg`] that takes a seed from `R`, a source of full entropy, before each request.
///
/// `R` is a hardware source in firmware, the operating system's generator in a process, and a seeded generator in a test.
/// A failure of `R` fails the request and is not kept: the next request asks `R` again. A repeated block of the generator
/// is kept, so that only a restart leads back to work. On a failure the whole buffer is zero.
pub struct ReseedingDrbg<R> {
    source: R,
    /// Absent until the first seed.
    drbg: Option<CtrDrbg>,
    /// Requests since the last seed.
    requests: u32,
    /// Digest of the last seed: recognises a repetition without keeping the seed.
    last_seed: [u8; SHA256_LEN],
}

/// Reason why a [`ReseedingDrbg`] generated nothing; `E` is the error of its source of entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReseedingError<E> {
    /// The source of entropy failed.
    Source(E),
    /// The source of entropy returned its last seed again, or a seed of equal blocks (after SP 800-90B §4.4.1).
    SourceRepeats,
    /// The generator failed.
    Generator(DrbgError),
}

impl<E> fmt::Display for ReseedingError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source(_) => "the source of entropy failed",
            Self::SourceRepeats => "the source of entropy repeated itself",
            Self::Generator(_) => "the random bit generator failed",
        })
    }
}

impl<E: core::error::Error + 'static> core::error::Error for ReseedingError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            Self::SourceRepeats => None,
            Self::Generator(error) => Some(error),
        }
    }
}

impl<R> ReseedingDrbg<R> {
    /// A generator over this source, which is first asked at the first request.
    pub const fn new(source: R) -> Self {
        Self { source, drbg: None, requests: 0, last_seed: [0; SHA256_LEN] }
    }
}

impl<R: TryCryptoRng> ReseedingDrbg<R> {
    /// Fills `out`, or zeroes it on a failure.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<(), ReseedingError<R::Error>> {
        let filled = out.chunks_mut(MAX_REQUEST_LEN).try_for_each(|chunk| self.generate(chunk));
        filled.inspect_err(|_| out.fill(0))
    }

    fn generate(&mut self, out: &mut [u8]) -> Result<(), ReseedingError<R::Error>> {
        let generated = match &mut self.drbg {
            Some(drbg) if self.requests < RESEED_INTERVAL => drbg.generate(out),
            _ => self.reseed()?.generate(out),
        };
        self.requests += 1;
        generated.map_err(ReseedingError::Generator)
    }

    /// Takes a new seed and gives the generator that has it.
    fn reseed(&mut self) -> Result<&mut CtrDrbg, ReseedingError<R::Error>> {
        let mut seed = DrbgSeed::default();
        self.source.try_fill_bytes(seed.as_mut()).map_err(ReseedingError::Source)?;
        let digest: [u8; SHA256_LEN] = Sha256::digest(seed.as_ref()).into();
        let blocks = seed.as_ref().chunks(16);
        let repeats =
            blocks.clone().zip(blocks.skip(1)).fold(Choice::from(0), |any, (a, b)| any | a.ct_eq(b));
        if declassify(repeats | digest.ct_eq(&self.last_seed)) {
            return Err(ReseedingError::SourceRepeats);
        }
        self.last_seed = digest;
        self.requests = 0;
        match &mut self.drbg {
            Some(drbg) => drbg.reseed(&seed).map(|()| drbg).map_err(ReseedingError::Generator),
            unseeded => Ok(unseeded.insert(CtrDrbg::from_seed(seed))),
        }
    }
}

impl<R: TryCryptoRng> TryRng for ReseedingDrbg<R>
where
    R::Error: 'static,
{
    type Error = ReseedingError<R::Error>;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.fill(out)
    }
}

impl<R: TryCryptoRng> TryCryptoRng for ReseedingDrbg<R> where R::Error: 'static {}

impl<R> fmt::Debug for ReseedingDrbg<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReseedingDrbg")
    }
}

#[cfg(test)]
mod tests {
    use super::{CtrDrbg, DrbgError, RESEED_INTERVAL, ReseedingDrbg, ReseedingError};
    use core::fmt;
    use rand_core::utils::next_word_via_fill;
    use rand_core::{SeedableRng, TryCryptoRng, TryRng};

    /// The end of a source that gives a limited number of seeds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Exhausted;

    impl fmt::Display for Exhausted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no more seeds")
        }
    }

    impl core::error::Error for Exhausted {}

    /// A source that does what a test says.
    struct Source<F>(F);

    impl<F: FnMut(&mut [u8]) -> Result<(), Exhausted>> TryRng for Source<F> {
        type Error = Exhausted;

        fn try_next_u32(&mut self) -> Result<u32, Exhausted> {
            next_word_via_fill(self)
        }

        fn try_next_u64(&mut self) -> Result<u64, Exhausted> {
            next_word_via_fill(self)
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Exhausted> {
            (self.0)(out)
        }
    }

    impl<F: FnMut(&mut [u8]) -> Result<(), Exhausted>> TryCryptoRng for Source<F> {}

    /// A source of so many seeds, each different.
    fn seeds(limit: u64) -> impl TryCryptoRng<Error = Exhausted> {
        let (mut calls, mut drbg) = (0, CtrDrbg::seed_from_u64(1));
        Source(move |seed: &mut [u8]| {
            if calls == limit {
                return Err(Exhausted);
            }
            calls += 1;
            drbg.try_fill_bytes(seed).map_err(|_| Exhausted)
        })
    }

    #[test]
    fn without_entropy_there_is_nothing() {
        let mut drbg = ReseedingDrbg::new(seeds(0));
        let mut out = [0xee; 32];
        assert_eq!(drbg.try_fill_bytes(&mut out), Err(ReseedingError::Source(Exhausted)));
        assert_eq!(out, [0; 32]);
        assert_eq!(drbg.try_next_u32(), Err(ReseedingError::Source(Exhausted)));
    }

    #[test]
    fn a_failed_reseed_stops_the_generator_until_one_succeeds() {
        let mut calls = 0;
        let mut entropy = seeds(u64::MAX);
        let mut drbg = ReseedingDrbg::new(Source(move |seed: &mut [u8]| {
            calls += 1;
            if matches!(calls, 2 | 3) { Err(Exhausted) } else { entropy.try_fill_bytes(seed) }
        }));
        let mut out = [0; 8];
        for _ in 0..RESEED_INTERVAL {
            drbg.try_fill_bytes(&mut out).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(drbg.try_fill_bytes(&mut out), Err(ReseedingError::Source(Exhausted)));
            assert_eq!(out, [0; 8]);
        }
        drbg.try_fill_bytes(&mut out).unwrap();
    }

    #[test]
    fn a_copy_of_a_seeded_generator_does_not_repeat_its_numbers() {
        // Two machines from one snapshot: the same state, and entropy that differs from here on.
        let run = |after: u8| {
            let mut calls = 0u8;
            let mut drbg = ReseedingDrbg::new(Source(move |seed: &mut [u8]| {
                let own = if calls == 0 { 0 } else { after };
                seed.iter_mut().zip(0..).for_each(|(to, at): (_, u8)| *to = at.wrapping_mul(7) ^ calls ^ own);
                calls += 1;
                Ok(())
            }));
            let (mut before, mut iv) = ([0; 12], [0; 12]);
            drbg.try_fill_bytes(&mut before).unwrap();
            drbg.try_fill_bytes(&mut iv).unwrap();
            (before, iv)
        };
        let ((before, iv), (same, other)) = (run(0x40), run(0x80));
        assert_eq!(before, same);
        assert_ne!(iv, other);
    }

    #[test]
    fn a_source_that_repeats_itself_is_refused() {
        let mut drbg = ReseedingDrbg::new(Source(|seed: &mut [u8]| {
            seed.iter_mut().zip(0..).for_each(|(to, at)| *to = at);
            Ok(())
        }));
        let mut out = [0; 8];
        for _ in 0..RESEED_INTERVAL {
            drbg.try_fill_bytes(&mut out).unwrap();
        }
        assert_eq!(drbg.try_fill_bytes(&mut out), Err(ReseedingError::SourceRepeats));
        let mut constant = ReseedingDrbg::new(Source(|seed: &mut [u8]| {
            seed.fill(0x55);
            Ok(())
        }));
        assert_eq!(constant.try_fill_bytes(&mut out), Err(ReseedingError::SourceRepeats));
    }

    #[test]
    fn a_stuck_generator_stays_stuck() {
        let mut drbg = ReseedingDrbg::new(seeds(u64::MAX));
        let mut out = [0xee; 8];
        drbg.try_fill_bytes(&mut out).unwrap();
        drbg.drbg.as_mut().unwrap().break_for_test();
        for _ in 0..2 {
            let stuck = ReseedingError::Generator(DrbgError::RepeatedBlock);
            assert_eq!(drbg.try_fill_bytes(&mut out), Err(stuck));
            assert_eq!(out, [0; 8]);
        }
    }

    #[test]
    fn long_requests_are_cut_into_what_the_standard_allows() {
        let mut drbg = ReseedingDrbg::new(seeds(2));
        let mut out = std::vec![0; (1 << 16) + 5];
        drbg.try_fill_bytes(&mut out).unwrap();
        let exhausted = Err(ReseedingError::Source(Exhausted));
        assert_eq!(drbg.try_fill_bytes(&mut [0; 1]), exhausted, "two requests took two seeds");
        assert!(out[1 << 16..].iter().any(|byte| *byte != 0));
    }
}
