//! Text of secrets: hexadecimal digits and base64. Lengths and layout are public, values are not.

use crate::harness::{Case, secret_bytes, set_up};
use ::wire::{base64, text};
use std::hint::black_box;

/// Lengths of secrets, and the branches on the kind of a character while their base64 is decoded: a line end, padding, in the
/// alphabet or not. The layout of the text makes the kind public, and the number is the same for every value.
const LENGTHS: [(usize, usize); 3] = [(31, 164), (32, 165), (33, 166)];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, fill) in [("zeros", 0_u8), ("digits", 0x5a), ("ones", 0xff)] {
        for (len, kinds) in LENGTHS {
            cases.push(Case::silent(format!("wire_hex_encode_{name}_{len}"), move || {
                black_box(text::encode_secret_hex(&secret_bytes(&vec![fill; len])));
            }));
            // Whether all characters are digits.
            cases.push(Case::with_verdicts(format!("wire_hex_decode_{name}_{len}"), 1, move || {
                let encoded = secret_text(&text::encode_secret_hex(&vec![fill; len]));
                black_box(text::decode_hex_vec(&encoded));
            }));
            cases.push(Case::silent(format!("wire_base64_encode_{name}_{len}"), move || {
                black_box(base64::encode(&secret_bytes(&vec![fill; len])));
            }));
            cases.push(Case::with_verdicts(format!("wire_base64_decode_{name}_{len}"), kinds, move || {
                let encoded = secret_text(&base64::encode(&vec![fill; len]));
                let _ = black_box(base64::decode(&encoded));
            }));
        }
    }
    cases
}

/// Text whose characters are secret.
fn secret_text(characters: &str) -> String {
    set_up(|| String::from_utf8(secret_bytes(characters.as_bytes())).unwrap())
}
