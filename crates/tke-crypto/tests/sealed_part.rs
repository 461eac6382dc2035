//! Key parts, sealed, opened, altered and sent to the wrong importer.

use crate::common::{generator, signing_key};
use rand_core::TryRng;
use tke_crypto::{
    RandomFailed, SEALED_PART_MAX_LEN, SealError, SealedKeyPart, SealedPartInvalid, SigningKey,
    open_key_part, seal_key_part, sealed_for,
};
use unit_testkit::ScriptedRng;

const PART: &[u8; 32] = b"one of three parts of a fine key";

fn sealed(importer: &SigningKey, seed: u64) -> Vec<u8> {
    let mut out = [0; SEALED_PART_MAX_LEN];
    seal_key_part(&importer.public(), PART, &mut generator(seed), &mut out).unwrap().to_vec()
}

#[test]
fn a_sealed_part_is_opened_by_its_importer_alone() {
    let (importer, other) = (signing_key(1), signing_key(2));
    let der = sealed(&importer, 3);
    assert_eq!(sealed_for(&der).unwrap(), importer.public().importer_ski());
    assert_eq!(*open_key_part(&importer, &der).unwrap(), *PART);
    assert_eq!(open_key_part(&other, &der).unwrap_err(), SealedPartInvalid::WrongRecipient);
}

#[test]
fn a_part_relabelled_for_another_importer_does_not_open() {
    let (importer, other) = (signing_key(1), signing_key(2));
    let mut der = sealed(&importer, 3);
    let [from, to] = [&importer, &other].map(|key| key.public().importer_ski());
    let at = der.windows(32).position(|window| window == from.as_bytes()).unwrap();
    der[at..at + 32].copy_from_slice(to.as_bytes());
    assert_eq!(open_key_part(&other, &der).unwrap_err(), SealedPartInvalid::UnwrapFailed);
}

#[test]
fn the_same_part_is_sealed_differently_each_time() {
    let importer = signing_key(1);
    assert_ne!(sealed(&importer, 3), sealed(&importer, 4));
}

#[test]
fn a_sealed_part_with_any_bit_flipped_is_refused() {
    let importer = signing_key(5);
    let der = sealed(&importer, 6);
    let mut refusals = [0; 3];
    for bit in 0..8 * der.len() {
        let mut tampered = der.clone();
        tampered[bit / 8] ^= 1 << (bit % 8);
        let refusal = open_key_part(&importer, &tampered).expect_err("a flipped bit went unnoticed");
        refusals[refusal as usize] += 1;
    }
    // Recipient: 32 bytes; user keying material and wrapped part: 40 bytes each; all other bytes are structure.
    assert_eq!(refusals, [8 * (der.len() - 112), 8 * 32, 8 * 80]);
}

#[test]
fn a_truncated_or_extended_sealed_part_is_malformed() {
    let der = sealed(&signing_key(7), 8);
    for len in 0..der.len() {
        assert_eq!(SealedKeyPart::parse(&der[..len]).unwrap_err(), SealedPartInvalid::Malformed);
    }
    assert_eq!(sealed_for(&[&der[..], &[0]].concat()), Err(SealedPartInvalid::Malformed));
}

#[test]
fn a_failing_generator_and_a_small_buffer_seal_nothing() {
    let importer = signing_key(9).public();
    let mut out = [0; SEALED_PART_MAX_LEN];
    // Fails at the ephemeral key, then at the keying material.
    for good in 0..2 {
        let (mut calls, mut random) = (0, generator(10));
        let mut failing = ScriptedRng::new(|out: &mut [u8]| {
            calls += 1;
            if calls > good { Err(RandomFailed) } else { random.try_fill_bytes(out) }
        });
        assert_eq!(seal_key_part(&importer, PART, &mut failing, &mut out), Err(SealError::RandomFailed));
    }
    assert_eq!(out, [0; SEALED_PART_MAX_LEN]);
    let len = seal_key_part(&importer, PART, &mut generator(11), &mut out).unwrap().len();
    let mut short = vec![0; len - 1];
    assert_eq!(
        seal_key_part(&importer, PART, &mut generator(11), &mut short),
        Err(SealError::BufferTooSmall)
    );
}
