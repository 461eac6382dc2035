//! Part lists: the patterns of the parts of a master key on cards, and of the master key.
//!
//! The pattern of a master key cannot be calculated from the patterns of its parts. A card that has one part and receives
//! the others calculates it, and signs the list. The list reveals nothing about the parts.

use super::content::{Content, PartInCard};
use super::{CardCertificate, CardError, Serial, ZoneId};
use crate::part::{MAX_PARTS, MIN_PARTS, PartLabel, combine, pattern_of};
use serde::{Deserialize, Serialize};
use tke_crypto::PublicKey;
use unit_api::VerificationPattern;
use wire::text::{decode_hex, decode_hex_vec, encode_hex};

const FORMAT: &str = "hsm-sim part list";
const VERSION: u32 = 1;
const WORDS: &[u8] = b"hsm-sim part list 1\0";

/// The patterns of a master key and of its parts on cards of a zone, signed by one of the cards. Verified.
#[derive(Clone, Debug)]
pub struct PartList {
    zone_key: PublicKey,
    by: CardCertificate,
    parts: Vec<ListedPart>,
    combined: VerificationPattern,
    signature: Vec<u8>,
}

/// A part in a list.
#[derive(Clone, Debug)]
pub struct ListedPart {
    /// Label of the part.
    pub label: PartLabel,
    /// Serial number of its card.
    pub card: Serial,
    /// Verification pattern of the part.
    pub pattern: VerificationPattern,
}

/// Reason why a part list is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartListInvalid {
    /// Not a part list.
    #[error("not a part list")]
    Malformed,
    /// The list is from another zone.
    #[error("the part list is from another zone")]
    OtherZone,
    /// No card of the zone signed the list in this form.
    #[error("the part list was changed, or no card of the zone signed it")]
    SignatureInvalid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredList {
    format: String,
    version: u32,
    zone_key: String,
    card: StoredCard,
    parts: Vec<StoredPart>,
    combined: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCard {
    serial: String,
    identity: String,
    transport: String,
    certificate: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPart {
    label: String,
    card: String,
    pattern: String,
}

pub(super) fn sign(by: &Content, parts: &[(Serial, &PartInCard)]) -> Result<PartList, CardError> {
    if !(MIN_PARTS..=MAX_PARTS).contains(&parts.len()) {
        return Err(CardError::NoMasterKey);
    }
    let combined = combine(parts.iter().map(|(_, held)| &*held.part)).ok_or(CardError::NoMasterKey)?;
    let listed = |(card, held): &(Serial, &PartInCard)| ListedPart {
        label: held.label.clone(),
        card: *card,
        pattern: pattern_of(&held.part),
    };
    let mut list = PartList {
        zone_key: by.zone_key.clone(),
        by: by.certificate.clone(),
        parts: parts.iter().map(listed).collect(),
        combined,
        signature: Vec::new(),
    };
    list.signature = by.identity.sign(&list.statement()).to_vec();
    Ok(list)
}

impl PartList {
    /// Decodes a list and verifies that a card of this zone signed it.
    ///
    /// # Errors
    /// [`PartListInvalid`].
    pub fn parse(bytes: &[u8], zone: ZoneId) -> Result<Self, PartListInvalid> {
        let stored: StoredList = serde_json::from_slice(bytes).map_err(|_| PartListInvalid::Malformed)?;
        let list = Self::read(&stored).ok_or(PartListInvalid::Malformed)?;
        if ZoneId::of(&list.zone_key) != zone {
            return Err(PartListInvalid::OtherZone);
        }
        let signed = list.by.identity.verify(&list.statement(), &list.signature).is_ok();
        if !signed || !list.by.is_of(&list.zone_key) {
            return Err(PartListInvalid::SignatureInvalid);
        }
        Ok(list)
    }

    /// The list as JSON, for a file; nothing in it is secret.
    #[must_use]
    pub fn to_json(&self) -> String {
        let stored = StoredList {
            format: FORMAT.to_owned(),
            version: VERSION,
            zone_key: encode_hex(&self.zone_key.to_point()),
            card: StoredCard {
                serial: self.by.serial.to_string(),
                identity: encode_hex(&self.by.identity.to_point()),
                transport: encode_hex(&self.by.transport.to_point()),
                certificate: encode_hex(self.by.signature()),
            },
            parts: self.parts.iter().map(ListedPart::stored).collect(),
            combined: self.combined.to_string(),
            signature: encode_hex(&self.signature),
        };
        serde_json::to_string_pretty(&stored).unwrap_or_default()
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[ListedPart] {
        &self.parts
    }

    /// The pattern of the master key that they make.
    #[must_use]
    pub const fn combined(&self) -> VerificationPattern {
        self.combined
    }

    /// The card that worked it out.
    #[must_use]
    pub const fn by(&self) -> Serial {
        self.by.serial
    }

    fn read(stored: &StoredList) -> Option<Self> {
        let known = stored.format == FORMAT && stored.version == VERSION;
        let by = CardCertificate::from_parts(
            Serial(*decode_hex(&stored.card.serial)?),
            point(&stored.card.identity)?,
            point(&stored.card.transport)?,
            decode_hex_vec(&stored.card.certificate)?.to_vec(),
        );
        let parts: Vec<_> = stored.parts.iter().map(ListedPart::read).collect::<Option<_>>()?;
        let number = (MIN_PARTS..=MAX_PARTS).contains(&parts.len());
        (known && number).then_some(Self {
            zone_key: point(&stored.zone_key)?,
            by,
            parts,
            combined: VerificationPattern::from_bytes(*decode_hex(&stored.combined)?),
            signature: decode_hex_vec(&stored.signature)?.to_vec(),
        })
    }

    fn statement(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(WORDS);
        bytes.push(u8::try_from(self.parts.len()).unwrap_or(u8::MAX));
        for part in &self.parts {
            bytes.push(u8::try_from(part.label.as_str().len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(part.label.as_str().as_bytes());
            bytes.extend_from_slice(&part.card.0);
            bytes.extend_from_slice(part.pattern.as_bytes());
        }
        bytes.extend_from_slice(self.combined.as_bytes());
        bytes
    }
}

impl ListedPart {
    fn stored(&self) -> StoredPart {
        StoredPart {
            label: self.label.to_string(),
            card: self.card.to_string(),
            pattern: self.pattern.to_string(),
        }
    }

    fn read(stored: &StoredPart) -> Option<Self> {
        Some(Self {
            label: PartLabel::try_from(stored.label.as_str()).ok()?,
            card: Serial(*decode_hex(&stored.card)?),
            pattern: VerificationPattern::from_bytes(*decode_hex(&stored.pattern)?),
        })
    }
}

fn point(text: &str) -> Option<PublicKey> {
    PublicKey::from_point(&decode_hex_vec(text)?).ok()
}
