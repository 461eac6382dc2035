//! Arbitrary bytes as a sealed key part, or as the inputs of sealing. The first byte selects.

use std::sync::OnceLock;
use tke_crypto::{
    PublicKey, RandomFailed, SCALAR_LEN, SEALED_PART_MAX_LEN, SealError, SealedKeyPart, SealedPartInvalid,
    SigningKey, open_key_part, seal_key_part, sealed_for,
};
use unit_testkit::ScriptedRng;

/// The part in every valid file of the corpus.
const PART: &[u8; 32] = b"one of three parts of a fine key";

/// Length of a sealed part, and the ranges in which sealed parts differ: the originator's point, the keying material, the
/// recipient, the wrapped part.
const SEALED_LEN: usize = 317;
const FREE: [core::ops::Range<usize>; 4] = [35..168, 172..212, 243..275, 277..317];

fn importer() -> &'static (SigningKey, PublicKey) {
    static IMPORTER: OnceLock<(SigningKey, PublicKey)> = OnceLock::new();
    IMPORTER.get_or_init(|| {
        let mut scalar = [0x42; SCALAR_LEN];
        scalar[0] = 0;
        let key = SigningKey::from_scalar(&scalar).unwrap();
        let public = key.public();
        (key, public)
    })
}

/// A valid sealed part.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut next = 0_u8;
        let mut rng = ScriptedRng::new(|out: &mut [u8]| {
            out.iter_mut().for_each(|byte| {
                next = next.wrapping_mul(5).wrapping_add(3);
                *byte = next;
            });
            Ok(())
        });
        seal_key_part(&importer().1, PART, &mut rng, &mut [0; SEALED_PART_MAX_LEN]).unwrap().to_vec()
    })
}

/// Panics if the reader panics, opens bytes that were not sealed, or does not open a sealed part.
pub(crate) fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, der)) => open(der),
        Some((_, random)) => seal(random),
        None => {}
    }
}

fn open(der: &[u8]) {
    let (key, public) = importer();
    let parsed = SealedKeyPart::parse(der);
    assert_eq!(sealed_for(der).ok(), parsed.as_ref().map(SealedKeyPart::recipient).ok());
    if parsed.is_ok() {
        assert_eq!(der.len(), SEALED_LEN, "a sealed part of another length");
        let is_fixed = |at: &usize| !FREE.iter().any(|free| free.contains(at));
        assert!(
            (0..SEALED_LEN).filter(is_fixed).all(|at| der[at] == good()[at]),
            "a sealed part of another shape"
        );
        assert!(PublicKey::from_point(&der[FREE[0].clone()]).is_ok(), "an originator off the curve");
        assert_eq!(sealed_for(der).unwrap().as_bytes()[..], der[FREE[2].clone()]);
    }
    let for_us = parsed.as_ref().map(|sealed| sealed.recipient() == public.importer_ski());
    match open_key_part(key, der) {
        Ok(part) => {
            assert!(for_us == Ok(true), "what is sealed for another was opened");
            assert_eq!((*part, der), (*PART, good()), "opened bytes that were not sealed");
        }
        Err(SealedPartInvalid::Malformed) => assert!(for_us.is_err()),
        Err(SealedPartInvalid::WrongRecipient) => assert!(for_us == Ok(false)),
        Err(_) => assert!(for_us == Ok(true)),
    }
}

/// Seals the first 32 bytes with the rest as randomness: the sealed part must open, and must not with a flipped bit.
fn seal(data: &[u8]) {
    let (key, public) = importer();
    let Some((part, mut random)) = data.split_first_chunk() else { return };
    let bit = random.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
    let mut rng = ScriptedRng::new(|out: &mut [u8]| {
        let (drawn, rest) = random.split_at_checked(out.len()).ok_or(RandomFailed)?;
        out.copy_from_slice(drawn);
        random = rest;
        Ok(())
    });
    let mut out = [0; SEALED_PART_MAX_LEN];
    let mut der = match seal_key_part(public, part, &mut rng, &mut out) {
        Ok(der) => der.to_vec(),
        Err(error) => return assert_eq!(error, SealError::RandomFailed),
    };
    assert_eq!(open_key_part(key, &der).as_deref(), Ok(part), "a sealed part did not open");
    let bit = bit % (8 * der.len());
    der[bit / 8] ^= 1 << (bit % 8);
    assert!(open_key_part(key, &der).is_err(), "bit {bit} makes no difference");
}

/// Seeds: a valid sealed part, one for another importer, one of another curve, and inputs of sealing.
#[allow(dead_code, reason = "who fuzzes starts from files")]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut elsewhere = good().to_vec();
    elsewhere[FREE[2].start] ^= 1;
    // The last byte of the originator's algorithm, which identifies the curve.
    let mut other_curve = good().to_vec();
    other_curve[30] ^= 1;
    let random: Vec<u8> = (0..SCALAR_LEN + 40).map(|at| (at * 37 + 11) as u8).collect();
    vec![
        ("good", [&[0], good()].concat()),
        ("for-another", [&[0], &elsewhere[..]].concat()),
        ("other-curve", [&[0], &other_curve[..]].concat()),
        ("to-seal", [&[1], &PART[..], &random].concat()),
        ("no-scalar", [&[1], &PART[..], &[0; SCALAR_LEN + 40]].concat()),
    ]
}
