//! A whole unit on the software engine: key parts, blobs, and the commands that open them.
//!
//! Everything that can be secret is marked as secret, including the device secret and the entropy: the master key, everything
//! derived from it, and everything computed with it. Public are lengths, key specifications, blob headers with their WKID,
//! verification patterns after a unit has shown them, and the sealed content of the storage.

mod fixture;

use crate::canaries::equal_with_early_return;
use crate::engine_soft::{TAMPERINGS, spec, tamper};
use crate::harness::{Case, public, public_bytes, secret, secret_bytes};
use ::unit_core::REPLY_BUFFER_LEN;
use ::unit_core::constant_time::{check_blob_mac, key_parts_are_sound, patterns_match};
use engine::{Algorithm, Engine, KeyPart, KeySpec, MacMechanism, WrapMechanism};
use fixture::{BLOB_TAMPERINGS, Fixture, PARTS, engine, handed_in};
use std::hint::black_box;
use unit_api::admin::AdminCommand;
use unit_api::{Command, Envelope, Request, UnitError, UseFamily, VerificationPattern, encode_request};

const AES: KeySpec = KeySpec { uses: UseFamily::Cipher.uses(), ..spec(Algorithm::Aes, 32) };
const PART: [u8; 32] = PARTS[0];
const OTHER_PART: [u8; 32] = PARTS[1];

/// Sound parts, and every way in which parts are unsound.
const TWO_PARTS: [(&str, [[u8; 32]; 2], bool); 4] = [
    ("two", PARTS, true),
    ("two_equal", [PART, PART], false),
    ("zero_first", [[0; 32], PART], false),
    ("zero_last", [PART, [0; 32]], false),
];
const THREE_PARTS: [(&str, [[u8; 32]; 3], bool); 4] = [
    ("three", [PART, OTHER_PART, [0x44; 32]], true),
    ("first_and_last_equal", [PART, OTHER_PART, PART], false),
    ("zero_between", [PART, [0; 32], OTHER_PART], false),
    ("zero_sum", [PART, OTHER_PART, [0x3f; 32]], false),
];

pub(crate) fn cases() -> Vec<Case> {
    [
        canary(),
        parts_alone(),
        patterns(),
        blob_mac(),
        ceremony(),
        sealing(),
        crypt(),
        macs(),
        wrapping(),
        frames(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Shows that the cases below can fail: the results of a unit under its secret master key are secret for memcheck.
fn canary() -> Vec<Case> {
    vec![Case::silent("canary_unit_blob_mac", || {
        let blob = Fixture::ready().import(UseFamily::Cipher, Algorithm::Aes, 32);
        let forged = tamper::<16>(public(*blob.last_chunk().unwrap()), Some(true));
        black_box(equal_with_early_return(blob.last_chunk::<16>().unwrap(), &forged));
    })]
}

fn parts_alone() -> Vec<Case> {
    fn add<const N: usize>(cases: &mut Vec<Case>, name: &str, parts: [[u8; 32]; N], is_sound: bool) {
        cases.push(Case::silent(format!("unit_parts_are_sound_{name}"), move || {
            // The engine computes the pattern of the combined key.
            let mut engine = engine();
            let parts = parts.map(|part| KeyPart::new(secret(part)));
            let combined = engine.combine_key_parts(&parts, false).unwrap();
            let mut digest = [0; 32];
            engine.digest_key(&[1], combined, &mut digest).unwrap();
            let sound = key_parts_are_sound(&parts, &VerificationPattern::from_digest(digest));
            assert_eq!(public(sound.unwrap_u8()) == 1, is_sound);
        }));
    }
    let mut cases = Vec::new();
    for (name, parts, is_sound) in TWO_PARTS {
        add(&mut cases, name, parts, is_sound);
    }
    for (name, parts, is_sound) in THREE_PARTS {
        add(&mut cases, name, parts, is_sound);
    }
    cases
}

fn patterns() -> Vec<Case> {
    // The first 28 of 32 bytes are compared.
    let pairs =
        [("good", None), ("first_half", Some(0)), ("last_half", Some(27)), ("not_compared", Some(28))];
    let mut cases = Vec::new();
    for (name, at) in pairs {
        cases.push(Case::silent(format!("unit_patterns_match_{name}"), move || {
            let mut other = [9; 32];
            if let Some(at) = at {
                other[at] ^= 1;
            }
            let [a, b] = [[9; 32], other].map(|bytes| VerificationPattern::from_bytes(secret(bytes)));
            let same = patterns_match(&a, &b);
            assert_eq!(public(same.unwrap_u8()) == 1, matches!(at, None | Some(28)));
        }));
    }
    cases
}

fn blob_mac() -> Vec<Case> {
    let mut cases = Vec::new();
    for (tampering, at) in BLOB_TAMPERINGS {
        cases.push(Case::silent(format!("unit_blob_mac_{tampering}"), move || {
            let blob = handed_in(&Fixture::ready().import(UseFamily::Cipher, Algorithm::Aes, 32), at);
            let mut engine = engine();
            let master =
                engine.combine_key_parts(&PARTS.map(|part| KeyPart::new(secret(part))), true).unwrap();
            let result = check_blob_mac(&mut engine, master, &blob);
            let refused = result.err().and_then(|refusal| refusal.unit_error());
            assert_eq!(refused, at.map(|_| UnitError::BlobError));
        }));
    }
    cases
}

/// Administrative commands on master keys. The checks of key parts have cases of their own above; the unit does not open
/// sealed parts itself.
fn ceremony() -> Vec<Case> {
    let mut cases = vec![
        // The self-test and the first state, under secret entropy and a secret device key.
        Case::silent("unit_start", || drop(Fixture::new())),
        Case::silent("unit_generate_master_key", || {
            Fixture::in_service().administer(AdminCommand::GenerateMasterKey, b"").unwrap();
        }),
    ];
    for (name, at) in [("good", None), ("first_half", Some(0)), ("last_half", Some(27))] {
        let given = move |right: VerificationPattern| {
            let mut bytes = *right.as_bytes();
            if let Some(at) = at {
                bytes[at] ^= 1;
            }
            bytes
        };
        let expected = at.map(|_| UnitError::PatternMismatch);
        for (command, verb) in [(AdminCommand::CommitNew, "commit"), (AdminCommand::ActivateNew, "activate")]
        {
            cases.push(Case::silent(format!("unit_{verb}_{name}"), move || {
                let (mut fixture, right) =
                    if command == AdminCommand::CommitNew { Fixture::loaded() } else { Fixture::committed() };
                assert_eq!(fixture.administer(command, &given(right)).err(), expected);
            }));
        }
    }
    cases
}

fn sealing() -> Vec<Case> {
    let mut cases = vec![
        Case::silent("unit_generate_key", || {
            Fixture::ready().run(Command::GenerateKey { spec: AES }).unwrap();
        }),
        Case::silent("unit_open_other_master_key", || {
            let blob = handed_in(&Fixture::ready().import(UseFamily::Mac, Algorithm::Aes, 32), None);
            let mut other = Fixture::ready_with_other();
            let refused = other.run(Command::Sign { by: MacMechanism::AesCmac, key: &blob, data: b"data" });
            assert_eq!(refused.err(), Some(UnitError::WkidMismatch));
        }),
    ];
    // Wrapped without padding, and with it.
    for (algorithm, key_len) in [(Algorithm::Aes, 32), (Algorithm::GenericSecret, 21)] {
        cases.push(Case::silent(format!("unit_import_key_{key_len}"), move || {
            Fixture::ready().import(UseFamily::Mac, algorithm, key_len);
        }));
    }
    for (tampering, at) in BLOB_TAMPERINGS {
        cases.push(Case::silent(format!("unit_reencipher_{tampering}"), move || {
            let mut fixture = Fixture::rotating();
            let blob = handed_in(&fixture.import(UseFamily::Mac, Algorithm::GenericSecret, 21), at);
            let refused = fixture.run(Command::Reencipher { blob: &blob }).err();
            assert_eq!(refused, at.map(|_| UnitError::BlobError));
        }));
    }
    cases
}

fn crypt() -> Vec<Case> {
    fn encrypt(fixture: &mut Fixture, key: &[u8]) -> Result<Vec<u8>, UnitError> {
        fixture.run(Command::Encrypt { key, aad: b"aad", plaintext: &secret([7; 45]) })
    }
    fn decrypt(fixture: &mut Fixture, key: &[u8], encrypted: &[u8]) -> Result<Vec<u8>, UnitError> {
        let (iv, ciphertext) = encrypted.split_first_chunk().unwrap();
        fixture.run(Command::Decrypt { key, iv: *iv, aad: b"aad", ciphertext })
    }
    let mut cases = Vec::new();
    for (tampering, at) in BLOB_TAMPERINGS {
        cases.push(Case::silent(format!("unit_encrypt_{tampering}"), move || {
            let mut fixture = Fixture::ready();
            let blob = handed_in(&fixture.import(UseFamily::Cipher, Algorithm::Aes, 32), at);
            assert_eq!(encrypt(&mut fixture, &blob).err(), at.map(|_| UnitError::BlobError));
        }));
        // The crate aes-gcm makes its verdict public itself; a refused blob does not get that far.
        let verdicts = usize::from(at.is_none());
        cases.push(Case::with_verdicts(format!("unit_decrypt_{tampering}"), verdicts, move || {
            let mut fixture = Fixture::ready();
            let blob = fixture.import(UseFamily::Cipher, Algorithm::Aes, 32);
            let encrypted = encrypt(&mut fixture, &handed_in(&blob, None)).unwrap();
            let result = decrypt(&mut fixture, &handed_in(&blob, at), &encrypted);
            assert_eq!(result.as_ref().err(), at.map(|_| UnitError::BlobError).as_ref());
            assert!(result.is_err() || public_bytes(&result.unwrap()) == [7; 45]);
        }));
    }
    for (tampering, at) in TAMPERINGS {
        cases.push(Case::with_verdicts(format!("unit_decrypt_data_{tampering}"), 1, move || {
            let mut fixture = Fixture::ready();
            let blob = handed_in(&fixture.import(UseFamily::Cipher, Algorithm::Aes, 32), None);
            let encrypted: [u8; 12 + 45 + 16] = encrypt(&mut fixture, &blob).unwrap().try_into().unwrap();
            // The change is in the ciphertext or its tag, not in the IV.
            let (iv, ciphertext) = encrypted.split_first_chunk::<12>().unwrap();
            let ciphertext = tamper::<61>(ciphertext.try_into().unwrap(), at);
            let refused = decrypt(&mut fixture, &blob, &[&iv[..], &ciphertext].concat()).err();
            assert_eq!(refused, at.map(|_| UnitError::EncryptedDataInvalid));
        }));
    }
    cases
}

fn macs() -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds = [
        ("cmac", MacMechanism::AesCmac, Algorithm::Aes, 32),
        ("hmac", MacMechanism::HmacSha256, Algorithm::GenericSecret, 21),
    ];
    for (kind, by, algorithm, key_len) in kinds {
        let sign = move |fixture: &mut Fixture, key: &[u8]| {
            fixture.run(Command::Sign { by, key, data: &secret([7; 45]) })
        };
        for (tampering, at) in BLOB_TAMPERINGS {
            cases.push(Case::silent(format!("unit_sign_{kind}_{tampering}"), move || {
                let mut fixture = Fixture::ready();
                let blob = handed_in(&fixture.import(UseFamily::Mac, algorithm, key_len), at);
                assert_eq!(sign(&mut fixture, &blob).err(), at.map(|_| UnitError::BlobError));
            }));
        }
        for (tampering, at) in TAMPERINGS {
            cases.push(Case::silent(format!("unit_verify_{kind}_{tampering}"), move || {
                let mut fixture = Fixture::ready();
                let key = handed_in(&fixture.import(UseFamily::Mac, algorithm, key_len), None);
                let mut mac = public_bytes(&sign(&mut fixture, &key).unwrap());
                if let Some(last) = at {
                    let place = if last { by.mac_len() - 1 } else { 0 };
                    mac[place] ^= 1;
                }
                let signature = &secret_bytes(&mac);
                let refused =
                    fixture.run(Command::Verify { by, key: &key, data: &secret([7; 45]), signature }).err();
                assert_eq!(refused, at.map(|_| UnitError::SignatureInvalid));
            }));
        }
    }
    cases
}

fn wrapping() -> Vec<Case> {
    let mut cases = Vec::new();
    for (tampering, at) in BLOB_TAMPERINGS {
        cases.push(Case::silent(format!("unit_wrap_key_{tampering}"), move || {
            let mut fixture = Fixture::ready();
            let kek = handed_in(&fixture.import(UseFamily::Wrapping, Algorithm::Aes, 32), None);
            let key = handed_in(&fixture.import(UseFamily::Mac, Algorithm::GenericSecret, 21), at);
            let refused =
                fixture.run(Command::WrapKey { by: WrapMechanism::AesKwp, kek: &kek, key: &key }).err();
            assert_eq!(refused, at.map(|_| UnitError::BlobError));
        }));
    }
    for (by, name) in [(WrapMechanism::AesKw, "kw"), (WrapMechanism::AesKwp, "kwp")] {
        for (tampering, at) in TAMPERINGS {
            cases.push(Case::silent(format!("unit_unwrap_key_{name}_{tampering}"), move || {
                let mut fixture = Fixture::ready();
                let kek = handed_in(&fixture.import(UseFamily::Wrapping, Algorithm::Aes, 32), None);
                let wrapped = fixture.run(Command::WrapKey { by, kek: &kek, key: &kek }).unwrap();
                let wrapped = tamper::<40>(wrapped.try_into().unwrap(), at);
                let refused =
                    fixture.run(Command::UnwrapKey { by, kek: &kek, wrapped: &wrapped, spec: AES }).err();
                assert_eq!(refused, at.map(|_| UnitError::WrappedKeyInvalid));
            }));
        }
    }
    cases
}

/// Secrets in frames: numbers of requests, commands and lengths are public, content is secret.
fn frames() -> Vec<Case> {
    fn ask(fixture: &mut Fixture, command: Command<'_>) {
        let request = Request { number: 1, deadline_ms: 1, envelope: Envelope::plain(command) };
        let mut frame = [0; 512];
        let len = encode_request(&request, &mut frame).unwrap();
        let mut reply = vec![0; REPLY_BUFFER_LEN];
        let len = fixture.handle_request(&frame[4..len], &mut reply);
        // After the length: the request's number, then 0 for success.
        assert_eq!(reply[4..6], [1, 0]);
        assert!(len > 6);
    }
    vec![
        Case::silent("unit_frame_import_key", || {
            ask(&mut Fixture::ready(), Command::ImportKey { spec: AES, value: &secret([5; 32]) });
        }),
        Case::silent("unit_frame_encrypt", || {
            let mut fixture = Fixture::ready();
            let key = &handed_in(&fixture.import(UseFamily::Cipher, Algorithm::Aes, 32), None);
            ask(&mut fixture, Command::Encrypt { key, aad: b"aad", plaintext: &secret([7; 45]) });
        }),
    ]
}
