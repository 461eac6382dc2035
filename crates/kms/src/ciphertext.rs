//! The ciphertext that wrap returns, and its associated data.
//!
//! A ciphertext is base64 of the JSON object `{"ciphertext", "iv", "version", "handle"}`: base64 of AES-GCM's
//! ciphertext ‖ tag, base64 of the IV of 12 bytes, `"4.0.0"`, and the id of the version that made it. The handle is a
//! hint only, and not authenticated: another key of the same material opens the ciphertext too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{AES_GCM_IV_LEN, AES_GCM_TAG_LEN};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ask::Encrypted;
use crate::{CiphertextError, Field, FieldRule, KmsError, VersionId};

/// Longest plaintext that is wrapped, in bytes; its ciphertext is within a unit's longest data.
pub(crate) const MAX_PLAINTEXT_LEN: usize = 32 * 1024;
/// Longest associated data, in bytes as encoded; with plaintext and blob it fits a unit's frame.
pub(crate) const MAX_AAD_LEN: usize = 16 * 1024;
/// Longest entry of the associated data, in characters.
pub(crate) const MAX_AAD_CHARS: usize = 255;
/// Longest text that is parsed; [`Ciphertext::encode`] makes shorter ones.
const MAX_TEXT_LEN: usize = 2 * (MAX_PLAINTEXT_LEN + 512);

const VERSION: &str = "4.0.0";

/// Prefix of the associated data, which distinguishes it from every other use of a root key.
const AAD_LABEL: &[u8] = b"hsm-sim wrap v1";

/// The parts of a ciphertext.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ciphertext {
    pub(crate) iv: [u8; AES_GCM_IV_LEN],
    /// Ciphertext ‖ tag of AES-GCM.
    pub(crate) body: Vec<u8>,
    /// The version to try first, if the handle names one.
    pub(crate) hint: Option<VersionId>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    ciphertext: String,
    iv: String,
    version: String,
    handle: String,
}

impl Ciphertext {
    pub(crate) fn encode(encrypted: &Encrypted, version: VersionId) -> String {
        let envelope = Envelope {
            ciphertext: STANDARD.encode(&encrypted.ciphertext),
            iv: STANDARD.encode(encrypted.iv),
            version: VERSION.to_owned(),
            handle: version.to_string(),
        };
        STANDARD.encode(serde_json::to_vec(&envelope).expect("four strings have a JSON form"))
    }

    pub(crate) fn decode(text: &str) -> Result<Self, CiphertextError> {
        if text.len() > MAX_TEXT_LEN {
            return Err(CiphertextError::NotEnvelope);
        }
        let json = STANDARD.decode(text).map_err(|_| CiphertextError::NotBase64)?;
        let envelope: Envelope = serde_json::from_slice(&json).map_err(|_| CiphertextError::NotEnvelope)?;
        if envelope.version != VERSION {
            return Err(CiphertextError::UnknownVersion);
        }
        let inner = |text: &str| STANDARD.decode(text).map_err(|_| CiphertextError::NotEnvelope);
        let body = inner(&envelope.ciphertext)?;
        let iv = inner(&envelope.iv)?.try_into().map_err(|_| CiphertextError::NotEnvelope)?;
        if body.len() < AES_GCM_TAG_LEN || body.len() > MAX_PLAINTEXT_LEN + AES_GCM_TAG_LEN {
            return Err(CiphertextError::NotEnvelope);
        }
        Ok(Self { iv, body, hint: Uuid::try_parse(&envelope.handle).ok().map(VersionId) })
    }
}

/// The caller's list as associated data: label ‖ number of entries ‖ each entry's length and bytes, numbers in 4 bytes,
/// big-endian. Two lists make the same bytes only if they are the same list.
pub(crate) fn encode_aad<A: AsRef<str>>(aad: &[A]) -> Result<Vec<u8>, KmsError> {
    let too_long = |found| KmsError::InvalidField {
        field: Field::Aad,
        rule: FieldRule::Bytes { min: 0, max: MAX_AAD_LEN, found },
    };
    let len = aad.iter().fold(AAD_LABEL.len() + 4, |len, entry| len + 4 + entry.as_ref().len());
    if len > MAX_AAD_LEN {
        return Err(too_long(len));
    }
    let number = |n: usize| u32::try_from(n).map(u32::to_be_bytes).map_err(|_| too_long(n));
    let mut encoded = Vec::with_capacity(len);
    encoded.extend_from_slice(AAD_LABEL);
    encoded.extend_from_slice(&number(aad.len())?);
    for entry in aad {
        let entry = entry.as_ref();
        let found = entry.chars().count();
        if found > MAX_AAD_CHARS {
            return Err(KmsError::InvalidField {
                field: Field::Aad,
                rule: FieldRule::Characters { min: 0, max: MAX_AAD_CHARS, found },
            });
        }
        encoded.extend_from_slice(&number(entry.len())?);
        encoded.extend_from_slice(entry.as_bytes());
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::{Ciphertext, MAX_PLAINTEXT_LEN, MAX_TEXT_LEN, STANDARD, encode_aad};
    use crate::ask::Encrypted;
    use crate::{CiphertextError, VersionId};
    use base64::Engine as _;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn encoded(body: Vec<u8>) -> String {
        let encrypted = Encrypted { iv: [9; 12], ciphertext: body };
        Ciphertext::encode(&encrypted, VersionId(Uuid::from_u128(5)))
    }

    #[test]
    fn the_inner_form_is_the_documented_one() {
        let json = STANDARD.decode(encoded(vec![0; 16])).unwrap();
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"ciphertext":"AAAAAAAAAAAAAAAAAAAAAA==","iv":"CQkJCQkJCQkJCQkJ","version":"4.0.0","handle":"00000000-0000-0000-0000-000000000005"}"#
        );
    }

    #[test]
    fn the_longest_ciphertext_is_within_the_longest_text() {
        let longest = encoded(vec![0; MAX_PLAINTEXT_LEN + 16]);
        assert!(longest.len() <= MAX_TEXT_LEN, "{}", longest.len());
        assert!(Ciphertext::decode(&longest).is_ok());
    }

    #[test]
    fn each_malformed_text_has_its_error() {
        let decode = |json: &str| Ciphertext::decode(&STANDARD.encode(json)).unwrap_err();
        assert_eq!(Ciphertext::decode("?").unwrap_err(), CiphertextError::NotBase64);
        assert_eq!(decode("hello"), CiphertextError::NotEnvelope);
        let tag = STANDARD.encode([0; 16]);
        let iv16 = format!(r#"{{"ciphertext":"{tag}","iv":"{tag}","version":"4.0.0","handle":""}}"#);
        assert_eq!(decode(&iv16), CiphertextError::NotEnvelope);
        let newer = iv16.replace("4.0.0", "5.0.0");
        assert_eq!(decode(&newer), CiphertextError::UnknownVersion);
    }

    /// Stored ciphertexts depend on these bytes.
    #[test]
    fn associated_data_is_label_count_and_each_entry_with_its_length() {
        let none: [&str; 0] = [];
        assert_eq!(encode_aad(&none).unwrap(), b"hsm-sim wrap v1\0\0\0\0");
        let two = b"hsm-sim wrap v1\0\0\0\x02\0\0\0\x02ab\0\0\0\0";
        assert_eq!(encode_aad(&["ab", ""]).unwrap(), two);
    }

    #[test]
    fn an_entry_of_associated_data_has_255_characters_at_most() {
        assert!(encode_aad(&["ä".repeat(255)]).is_ok());
        assert!(encode_aad(&["a".repeat(256)]).is_err());
        assert!(encode_aad(&vec!["a".repeat(255); 64]).is_err(), "16 KiB in all");
    }

    proptest! {
        #[test]
        fn prop_ciphertext_round_trips(
            body in prop::collection::vec(any::<u8>(), 16..200), iv: [u8; 12], version: u128,
        ) {
            let version = VersionId(Uuid::from_u128(version));
            let text = Ciphertext::encode(&Encrypted { iv, ciphertext: body.clone() }, version);
            prop_assert_eq!(Ciphertext::decode(&text).unwrap(), Ciphertext { iv, body, hint: Some(version) });
        }

        #[test]
        fn prop_any_text_decodes_or_is_refused(text in ".{0,300}", json in "[{}:,\"a-z0-9.=]{0,200}") {
            let _ = Ciphertext::decode(&text);
            let _ = Ciphertext::decode(&STANDARD.encode(json));
        }

        #[test]
        fn prop_two_lists_of_associated_data_are_equal_only_if_their_encodings_are(
            a in prop::collection::vec("[ab]{0,3}", 0..4), b in prop::collection::vec("[ab]{0,3}", 0..4),
        ) {
            prop_assert_eq!(a == b, encode_aad(&a).unwrap() == encode_aad(&b).unwrap());
        }
    }
}
