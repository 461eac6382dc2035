//! The crate `key-wrap`: wrap and unwrap, for every size of AES key and every padding, valid and changed.

use crate::harness::{Case, public, secret};
use ::key_wrap::{kw, kwp};
use aes::Aes256;
use aes::cipher::KeyInit;
use subtle::{ConditionallySelectable, CtOption};

/// A change to a wrapped key before it is unwrapped.
type Tamper = fn(&mut [u8]);

const TAMPERINGS: [(&str, Tamper); 3] =
    [("good", |_| {}), ("first_half", |wrapped| wrapped[1] ^= 1), ("last_half", flip_last)];

fn flip_last(wrapped: &mut [u8]) {
    if let Some(last) = wrapped.last_mut() {
        *last ^= 0x80;
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // 16, 24 and 32 bytes have code of their own; 64 bytes stand for the other lengths.
    kw_cases::<16, 24>(&mut cases);
    kw_cases::<24, 32>(&mut cases);
    kw_cases::<32, 40>(&mut cases);
    kw_cases::<64, 72>(&mut cases);
    // Every padding length, in one semiblock, in four, and in eight.
    kwp_cases::<16>(&mut cases, 1..=8);
    kwp_cases::<40>(&mut cases, 25..=32);
    kwp_cases::<72>(&mut cases, 57..=64);
    cases
}

fn kek() -> Aes256 {
    Aes256::new(&secret([0x42; 32]).into())
}

/// The verdict, marked as public.
fn verdict<T: Default + ConditionallySelectable>(result: &CtOption<T>) -> bool {
    public(result.is_some().unwrap_u8()) == 1
}

fn kw_cases<const KEY: usize, const WRAPPED: usize>(cases: &mut Vec<Case>) {
    cases.push(Case::silent(format!("kw_wrap_{KEY}"), || {
        let mut wrapped = [0; WRAPPED];
        kw::wrap(&kek(), &secret([5; KEY]), &mut wrapped).unwrap();
        assert_ne!(public(wrapped), [0; WRAPPED]);
    }));
    for (name, tamper) in TAMPERINGS {
        cases.push(Case::silent(format!("kw_unwrap_{KEY}_{name}"), move || {
            let mut wrapped = [0; WRAPPED];
            kw::wrap(&kek(), &[5; KEY], &mut wrapped).unwrap();
            let mut wrapped = public(wrapped);
            tamper(&mut wrapped);
            let mut wrapped = secret(wrapped);
            let result = kw::unwrap_in_place_ct(&kek(), &mut wrapped);
            let valid = verdict(&result);
            assert_eq!(valid, name == "good");
            assert_eq!(public(wrapped)[..KEY], [if valid { 5 } else { 0 }; KEY]);
        }));
    }
}

fn kwp_cases<const WRAPPED: usize>(cases: &mut Vec<Case>, lens: std::ops::RangeInclusive<usize>) {
    for key_len in lens {
        cases.push(Case::silent(format!("kwp_wrap_{key_len}"), move || {
            let mut wrapped = [0; WRAPPED];
            kwp::wrap(&kek(), &secret([5; WRAPPED])[..key_len], &mut wrapped).unwrap();
            assert_ne!(public(wrapped), [0; WRAPPED]);
        }));
        for (name, tamper) in TAMPERINGS {
            cases.push(Case::silent(format!("kwp_unwrap_{key_len}_{name}"), move || {
                let mut wrapped = [0; WRAPPED];
                kwp::wrap(&kek(), &[5; WRAPPED][..key_len], &mut wrapped).unwrap();
                let mut wrapped = public(wrapped);
                tamper(&mut wrapped);
                let mut wrapped = secret(wrapped);
                let result = kwp::unwrap_in_place_ct(&kek(), &mut wrapped);
                let found_len = public(result.unwrap_or(0)) as usize;
                assert_eq!(found_len, if name == "good" { key_len } else { 0 });
                let key = public(wrapped);
                assert!(key[..found_len].iter().all(|byte| *byte == 5));
                assert!(key[found_len..].iter().all(|byte| *byte == 0));
            }));
        }
    }
}
