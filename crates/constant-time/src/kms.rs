//! Values in the keystore: keys that derive from the instance secret, records, headers.
//!
//! Secrets of the instance and of the key, and the record, are secret. What is stored is public.

use crate::engine_soft::{SecretEntropy, TAMPERINGS};
use crate::harness::{Case, public_bytes, secret, secret_bytes, set_up};
use ::kms::RecordError;
use ::kms::constant_time::Keys;
use std::hint::black_box;
use unit_api::proof::InstanceSecret;

const RECORD: [u8; 45] = [7; 45];
/// Format number, identifier of the secret, IV.
const BEFORE_CIPHERTEXT: usize = 1 + 8 + 12;

fn keys() -> Keys {
    let (instance, own) = (secret([5; 32]), secret([6; 32]));
    Keys::derived_from(InstanceSecret::from_slice(&instance).unwrap(), &own)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::silent("kms_derive_keys", || {
            black_box(keys());
        }),
        Case::silent("kms_seal_record", || {
            let keys = set_up(keys);
            black_box(keys.seal_record(&secret_bytes(&RECORD), &mut SecretEntropy::default()).unwrap());
        }),
    ];
    for (name, at) in TAMPERINGS {
        // The crate aes-gcm makes its verdict public itself.
        cases.push(Case::with_verdicts(format!("kms_open_record_{name}"), 1, move || {
            let keys = set_up(keys);
            let sealed = set_up(|| {
                let sealed = keys.seal_record(&secret(RECORD), &mut SecretEntropy::default()).unwrap();
                let mut sealed = public_bytes(&sealed);
                if let Some(last) = at {
                    let place = if last { sealed.len() - 1 } else { BEFORE_CIPHERTEXT };
                    sealed[place] ^= 1;
                }
                sealed
            });
            let opened = keys.open_record(&sealed);
            assert_eq!(opened.as_ref().err(), at.map(|_| RecordError::Forged).as_ref());
            assert!(opened.is_err() || public_bytes(&opened.unwrap()) == RECORD);
        }));
        // Whether the tag is right.
        cases.push(Case::with_verdicts(format!("kms_header_tag_{name}"), 1, move || {
            let keys = set_up(keys);
            let tag = set_up(|| {
                let mut tag: [u8; 32] = public_bytes(&keys.header_tag(b"body")).try_into().unwrap();
                if let Some(last) = at {
                    tag[if last { 31 } else { 0 }] ^= 1;
                }
                tag
            });
            assert_eq!(keys.header_is_authentic(b"body", &tag), at.is_none());
        }));
    }
    cases
}
