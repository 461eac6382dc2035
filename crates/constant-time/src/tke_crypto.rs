//! Private keys on P-521: signatures, and the agreement under which key parts are sealed.
//!
//! Private scalars, entropy and key parts are secret. The crate p521 branches on values that it makes public: whether a
//! scalar, a nonce or a half of a signature is in range, and whether a point is infinity. Each case states how many of those
//! branches there are. All of them are decided for every key that works, and none tells two such keys apart.

use crate::engine_soft::{SecretEntropy, TAMPERINGS, tamper};
use crate::harness::{Case, public_bytes, secret, set_up};
use ::tke_crypto::{
    PublicKey, SCALAR_LEN, SEALED_PART_MAX_LEN, SealedPartInvalid, SigningKey, open_key_part, seal_key_part,
};
use std::hint::black_box;

/// Scalars with few and with many bits, and one that is near the order of the group.
const SCALARS: [(&str, u8, u8); 3] = [("small", 0, 1), ("middle", 0, 0x5a), ("large", 1, 0xf0)];

fn scalar(first: u8, byte: u8) -> [u8; SCALAR_LEN] {
    let mut scalar = [byte; SCALAR_LEN];
    scalar[0] = first;
    scalar
}

/// A key whose scalar is secret.
fn secret_key(first: u8, byte: u8) -> SigningKey {
    set_up(|| SigningKey::from_scalar(&secret(scalar(first, byte))).unwrap())
}

/// The same key's public half, which is public.
fn public_key(first: u8, byte: u8) -> PublicKey {
    SigningKey::from_scalar(&scalar(first, byte)).unwrap().public()
}

pub(crate) fn cases() -> Vec<Case> {
    [keys(), signatures(), sealing(), opening()].into_iter().flatten().collect()
}

/// Whether the scalar is in range, whether it is zero, whether the public point is infinity.
fn keys() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, first, byte) in SCALARS {
        cases.push(Case::with_verdicts(format!("p521_key_{name}"), 3, move || {
            black_box(SigningKey::from_scalar(&secret(scalar(first, byte))).unwrap());
        }));
    }
    cases
}

/// Whether the nonce is in range, is zero and has an inverse, whether its point is infinity, whether r and s are in range and
/// not zero, and how many bytes of them, which are public by then, are written. The optimiser may leave more or fewer of these
/// branches after a change: look at each report before the number is changed.
fn signatures() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, first, byte) in SCALARS {
        let case = Case::with_verdicts(format!("p521_sign_{name}"), 13, move || {
            let key = secret_key(first, byte);
            let signature = key.sign(b"message");
            let signature = public_bytes(&signature);
            public_key(first, byte).verify(b"message", &signature).unwrap();
        });
        cases.push(case.or(23));
    }
    cases
}

/// As for keys, for the ephemeral key; its public point is written; whether the shared point is infinity.
fn sealing() -> Vec<Case> {
    vec![Case::with_verdicts("p521_seal_part", 6, || {
        let mut out = [0; SEALED_PART_MAX_LEN];
        let entropy = &mut SecretEntropy::default();
        seal_key_part(&public_key(0, 0x5a), &secret([7; 32]), entropy, &mut out).unwrap();
    })]
}

/// The importer's public point is written and its identifier compared; whether the shared point is infinity; whether the
/// wrapped part is sound is no report, but declassified by `key-wrap`.
fn opening() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, first, byte) in SCALARS {
        for (tampering, at) in TAMPERINGS {
            cases.push(Case::with_verdicts(format!("p521_open_part_{name}_{tampering}"), 5, move || {
                let importer = secret_key(first, byte);
                let sealed = set_up(|| sealed_for(&public_key(first, byte), at));
                let opened = open_key_part(&importer, &sealed);
                match at {
                    None => assert_eq!(public_bytes(&*opened.unwrap()), [7; 32]),
                    Some(_) => assert_eq!(opened.err(), Some(SealedPartInvalid::UnwrapFailed)),
                }
            }));
        }
    }
    cases
}

/// A sealed part, changed in the wrapped part: it is public.
fn sealed_for(importer: &PublicKey, at: Option<bool>) -> Vec<u8> {
    let mut out = [0; SEALED_PART_MAX_LEN];
    let entropy = &mut SecretEntropy::default();
    let mut sealed = public_bytes(seal_key_part(importer, &[7; 32], entropy, &mut out).unwrap());
    // The wrapped part has 40 bytes; it is found by its header, an octet string of that length.
    let place = sealed.windows(2).rposition(|header| header == [4, 40]).unwrap() + 2;
    let wrapped: [u8; 40] = sealed[place..place + 40].try_into().unwrap();
    sealed[place..place + 40].copy_from_slice(&tamper(wrapped, at));
    sealed
}
