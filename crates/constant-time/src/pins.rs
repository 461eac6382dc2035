//! PINs of cards and tokens, and entries of a person that are compared.
//!
//! A card's PIN and a password are never compared with what is stored: Argon2id makes a key of them, and the key opens the
//! file or does not (the cases of AES-GCM). Argon2id itself has no case: by design, its memory accesses depend on the password
//! from the second half of the first pass on (RFC 9106 §3.4.1.3). A token compares its PIN itself.

use crate::harness::{Case, secret_bytes, set_up};
use ::engine_pkcs11::Pin as TokenPin;
use ::engine_pkcs11::constant_time::{parse_pin, softhsm_pin};
use ::tke::card::Pin as CardPin;
use ::tke::secret_file::same_entry;
use std::hint::black_box;

/// Text whose characters are secret.
fn secret_text(characters: &str) -> String {
    set_up(|| String::from_utf8(secret_bytes(characters.as_bytes())).unwrap())
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Whether all characters are digits.
    for (name, pin, is_pin) in [
        ("low", "000000", true),
        ("high", "999999", true),
        ("first_wrong", "/00000", false),
        ("last_wrong", "00000:", false),
    ] {
        cases.push(Case::with_verdicts(format!("card_pin_{name}"), 1, move || {
            assert_eq!(CardPin::parse(&secret_text(pin)).is_ok(), is_pin);
        }));
    }
    // Whether both are the same.
    for (name, second) in [("same", "correct horse"), ("first", "Correct horse"), ("last", "correct horsE")] {
        cases.push(Case::with_verdicts(format!("entries_{name}"), 1, move || {
            let (first, second) = (secret_text("correct horse"), secret_text(second));
            assert_eq!(same_entry(&first, &second), name == "same");
        }));
    }
    for (name, byte) in [("zeros", 0_u8), ("mixed", 0x9a), ("ones", 0xff)] {
        cases.push(Case::silent(format!("token_pin_random_{name}"), move || {
            black_box(softhsm_pin(&secret_bytes(&[byte; 16])));
        }));
    }
    for (name, pin) in [("digits", "00000000"), ("letters", "zzzzzzzz")] {
        let pin = format!("{pin}{pin}");
        let text = pin.clone();
        cases.push(Case::silent(format!("token_pin_{name}"), move || {
            black_box(TokenPin::new(secret_text(&text)));
        }));
        // Whether the characters are ASCII: the branches of the standard library's check of a line of 16.
        cases.push(Case::with_verdicts(format!("token_pin_line_{name}"), 3, move || {
            let line = set_up(|| secret_bytes(pin.as_bytes()));
            assert!(black_box(parse_pin(&line)).is_some());
        }));
    }
    cases
}
