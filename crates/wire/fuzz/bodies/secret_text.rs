//! Arbitrary bytes as a secret, and arbitrary text as the hexadecimal digits or the base64 of one.

use wire::text::{decode_hex_vec, encode_secret_hex};
use wire::{base64, base64url};

/// Panics if a decoder panics, reads something else than was written, or allocates by more than the text has.
pub(crate) fn check(data: &[u8]) {
    assert_eq!(decode_hex_vec(&encode_secret_hex(data)).expect("digits").as_slice(), data);
    assert_eq!(base64::decode(&base64::encode(data)).expect("base64").expose(), data);
    assert_eq!(base64url::decode(&base64url::encode(data)).expect("base64").expose(), data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(secret) = decode_hex_vec(text) {
        assert_eq!(encode_secret_hex(&secret).as_str(), text.to_ascii_lowercase());
    }
    if let Some(secret) = base64url::decode(text) {
        assert_eq!(base64url::encode(secret.expose()).as_str(), text, "a value has two texts");
    }
    match base64::decode(text) {
        Ok(secret) => assert!(secret.expose().len() <= text.len()),
        Err(error) => assert!(error.at <= text.len()),
    }
}

#[allow(dead_code, reason = "who fuzzes starts from files")]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seeds: [(&str, &[u8]); 5] = [
        ("hex", b"00ff5aA0"),
        ("base64", b"Zm9v\r\nYg=="),
        ("base64url", b"-__-Zg"),
        ("bad", b"Zm9=v"),
        ("bytes", &[0, 0xff, 0x80]),
    ];
    seeds.map(|(name, seed)| (name, seed.to_vec())).to_vec()
}
