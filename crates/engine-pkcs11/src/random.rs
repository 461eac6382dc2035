//! Random bytes from two generators that do not know of each other: the token's and the system's.
//!
//! Initialisation vectors and keys that this process makes stay unpredictable while one of the two is sound.

use crate::error::CallError;
use cryptoki::session::Session;
use engine::EngineError;
use zeroize::Zeroizing;

/// Length of the seed given to the token, in bytes.
const SEED_LEN: usize = 32;

/// Fills `out` with the exclusive or of the token's and the system's random bytes.
///
/// # Errors
/// The token's, or [`EngineError::RandomFailed`] if the system's generator fails; `out` is zero then.
pub(crate) fn fill(session: &Session, out: &mut [u8]) -> Result<(), CallError> {
    mix(
        out,
        |out| Ok(session.generate_random_slice(out)?),
        |out| getrandom::fill(out).map_err(|_| EngineError::RandomFailed.into()),
    )
}

/// Gives the token random bytes of the system, for the keys that it generates. Tokens may refuse them.
pub(crate) fn seed(session: &Session) {
    let mut seed = Zeroizing::new([0; SEED_LEN]);
    if getrandom::fill(&mut *seed).is_ok() {
        let _ = session.seed_random(&*seed);
    }
}

/// Fills `out` with the exclusive or of what both sources give; zeroes it if one fails.
fn mix<E>(
    out: &mut [u8],
    one: impl FnOnce(&mut [u8]) -> Result<(), E>,
    other: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut mask = Zeroizing::new(vec![0; out.len()]);
    let filled = one(out).and_then(|()| other(&mut mask));
    if filled.is_err() {
        out.fill(0);
        return filled;
    }
    out.iter_mut().zip(mask.iter()).for_each(|(to, mask)| *to ^= mask);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::mix;

    fn constant(byte: u8) -> impl Fn(&mut [u8]) -> Result<(), &'static str> {
        move |out| {
            out.fill(byte);
            Ok(())
        }
    }

    #[test]
    fn attack_a_generator_that_repeats_itself_does_not_make_random_bytes_repeat() {
        let system = |out: &mut [u8]| getrandom::fill(out).map_err(|_| "no entropy");
        let mut drawn = [[0; 12]; 8];
        for out in &mut drawn {
            mix(out, constant(7), system).unwrap();
        }
        for out in &mut drawn[4..] {
            mix(out, system, constant(7)).unwrap();
        }
        for (at, bytes) in drawn.iter().enumerate() {
            assert!(!drawn[..at].contains(bytes), "{bytes:?} was drawn twice");
        }
        let mut both = [0xff; 4];
        mix(&mut both, constant(1), constant(2)).unwrap();
        assert_eq!(both, [3; 4]);
    }

    #[test]
    fn the_failure_of_either_source_leaves_nothing() {
        let fails = |out: &mut [u8]| {
            out.fill(9);
            Err("failed")
        };
        for first_fails in [true, false] {
            let mut out = [0xee; 16];
            let failed = if first_fails {
                mix(&mut out, fails, constant(1))
            } else {
                mix(&mut out, constant(1), fails)
            };
            assert_eq!(failed, Err("failed"));
            assert_eq!(out, [0; 16]);
        }
    }
}
