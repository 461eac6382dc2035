//! Keys, their identifiers and their encodings.

use crate::common::{fixture, generator, hex, signing_key};
use rand_core::TryRng;
use sha2::{Digest, Sha256};
use tke_crypto::{
    AdministratorKey, KeyInvalid, MAX_SIGNATURE_LEN, PublicKey, RandomFailed, RsaPublicKey, SigningKey, Ski,
};
use unit_testkit::ScriptedRng;

/// The group's order n (SP 800-186 §3.2.1.5).
const ORDER: &str = "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa\
                     51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409";

fn scalar(digits: &str) -> [u8; 66] {
    hex(digits).try_into().unwrap()
}

#[test]
fn scalars_are_from_one_to_below_the_order() {
    let order = scalar(ORDER);
    let mut below = order;
    below[65] -= 1;
    let mut one = [0; 66];
    one[65] = 1;
    for good in [one, below] {
        let key = SigningKey::from_scalar(&good).unwrap();
        assert_eq!(*key.expose_scalar(), good);
        key.public().verify(b"message", &key.sign(b"message")).unwrap();
    }
    for bad in [[0; 66], order, [0xff; 66]] {
        assert_eq!(SigningKey::from_scalar(&bad).map(drop), Err(KeyInvalid));
    }
}

#[test]
fn candidates_are_masked_and_tested_and_generation_fails_after_four() {
    // All ones, masked to 521 bits, is above the order; the second candidate is taken.
    let mut calls = 0;
    let key = SigningKey::generate(&mut ScriptedRng::new(|out: &mut [u8]| {
        calls += 1;
        out.fill(if calls == 1 { 0xff } else { 0x5a });
        Ok(())
    }));
    let mut expected = [0x5a; 66];
    expected[0] = 0;
    assert_eq!(*key.unwrap().expose_scalar(), expected);
    for stuck in [0x00, 0xff] {
        let mut stuck = ScriptedRng::new(|out: &mut [u8]| {
            out.fill(stuck);
            Ok(())
        });
        assert_eq!(SigningKey::generate(&mut stuck).map(drop), Err(RandomFailed));
    }
}

#[test]
fn invalid_points_are_refused() {
    let point = signing_key(1).public().to_point();
    assert_eq!(PublicKey::from_point(&point).unwrap().to_point(), point);
    for len in 0..point.len() {
        assert_eq!(PublicKey::from_point(&point[..len]), Err(KeyInvalid), "{len} bytes");
    }
    for bit in 0..8 * point.len() {
        let mut tampered = point;
        tampered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(PublicKey::from_point(&tampered), Err(KeyInvalid), "bit {bit}");
    }
    assert_eq!(PublicKey::from_point(&[0; 133]), Err(KeyInvalid));
    let mut compressed = [0; 67];
    compressed[0] = 2 + (point[132] & 1);
    compressed[1..].copy_from_slice(&point[1..67]);
    assert_eq!(PublicKey::from_point(&compressed), Err(KeyInvalid));
}

#[test]
fn identifiers_are_digests_with_and_without_the_prefix() {
    let key = signing_key(2).public();
    let point = key.to_point();
    assert_eq!(key.ski(), Ski(Sha256::digest(point).into()));
    assert_eq!(key.importer_ski(), Ski(Sha256::digest(&point[1..]).into()));
    let shown = Ski([0xa5; 32]).to_string();
    assert_eq!(shown, "a5".repeat(32));
    assert_eq!(format!("{:?}", Ski([0xa5; 32])), format!("Ski({shown})"));
}

#[test]
fn a_private_key_is_not_printed() {
    assert_eq!(format!("{:?}", signing_key(3)), "SigningKey");
}

#[test]
fn administrators_keys_have_an_encoding_of_fixed_length() {
    let key = AdministratorKey::P521(signing_key(4).public());
    let bytes = key.to_bytes();
    assert_eq!(AdministratorKey::from_bytes(&bytes).as_ref(), Ok(&key));
    assert_eq!(key.ski(), signing_key(4).public().ski());
    for bit in 0..8 * bytes.len() {
        let mut tampered = bytes;
        tampered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(AdministratorKey::from_bytes(&tampered), Err(KeyInvalid), "bit {bit}");
    }
}

#[test]
fn signatures_are_short_enough_and_verify_only_the_signed_message() {
    let mut random = generator(5);
    for seed in 6..20 {
        let key = signing_key(seed);
        let mut message = [0; 100];
        random.try_fill_bytes(&mut message).unwrap();
        let signature = key.sign(&message);
        assert!(signature.len() <= MAX_SIGNATURE_LEN);
        key.public().verify(&message, &signature).unwrap();
        assert!(key.public().verify(&message[1..], &signature).is_err());
        assert!(signing_key(seed + 1).public().verify(&message, &signature).is_err());
    }
}

/// The key of OpenSSL's signatures, with the first message and its signature.
fn rsa_vector() -> (RsaPublicKey, Vec<u8>, Vec<u8>) {
    let text = String::from_utf8(fixture("kat/rsa-x931/openssl.txt")).unwrap();
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let [modulus, _, message, signature] = line.split(' ').map(hex).collect::<Vec<_>>().try_into().unwrap();
    (RsaPublicKey::from_parts(&modulus.try_into().unwrap(), 0x10001).unwrap(), message, signature)
}

#[test]
fn an_rsa_signature_with_any_bit_flipped_or_of_another_length_is_refused() {
    let (key, message, signature) = rsa_vector();
    key.verify(&message, &signature).unwrap();
    for bit in 0..8 * signature.len() {
        let mut tampered = signature.clone();
        tampered[bit / 8] ^= 1 << (bit % 8);
        assert!(key.verify(&message, &tampered).is_err(), "bit {bit}");
    }
    for wrong in [&[][..], &signature[1..], &[&[0], &signature[..]].concat(), &[0xff; 256], key.modulus()] {
        assert!(key.verify(&message, wrong).is_err());
    }
}

#[test]
fn rsa_keys_have_2048_bits_and_odd_exponents() {
    let modulus = *rsa_vector().0.modulus();
    for bad in [0, 1, 2, 4, 0x10000] {
        assert_eq!(RsaPublicKey::from_parts(&modulus, bad), Err(KeyInvalid));
    }
    for at in [0, 255] {
        let mut bad = modulus;
        bad[at] ^= if at == 0 { 0x80 } else { 0x01 };
        assert_eq!(RsaPublicKey::from_parts(&bad, 3), Err(KeyInvalid));
    }
}

#[test]
fn an_rsa_administrators_key_is_encoded_and_identified() {
    let key = rsa_vector().0;
    let modulus = key.modulus();
    let encoded = [&hex("3082010a0282010100")[..], modulus, &hex("0203010001")].concat();
    assert_eq!(key.ski(), Ski(Sha256::digest(encoded).into()));
    let key = AdministratorKey::Rsa2048(key);
    assert_eq!(AdministratorKey::from_bytes(&key.to_bytes()), Ok(key));
}
