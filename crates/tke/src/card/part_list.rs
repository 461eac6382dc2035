//! What custodians write down when the parts of a master key are on cards: each part's pattern and the master key's.
//!
//! A card shows the pattern of each part, and nobody outside can work the pattern of the master key out of them. A card
//! that holds one part and is sent the others can, and it signs what it worked out. The list says nothing of the parts.

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

/// The parts of a master key, on cards of a zone, and the master key's pattern: signed by one of the cards, and
/// verified.
#[derive(Clone, Debug)]
pub struct PartList {
    zone_key: PublicKey,
    by: CardCertificate,
    parts: Vec<ListedPart>,
    combined: VerificationPattern,
    signature: Vec<u8>,
}

/// A part as a list has it.
#[derive(Clone, Debug)]
pub struct ListedPart {
    /// What it is called.
    pub label: PartLabel,
    /// The card it was on.
    pub card: Serial,
    /// Its pattern.
    pub pattern: VerificationPattern,
}

/// Why a part list is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartListInvalid {
    /// Not a part list.
    #[error("not a part list")]
    Malformed,
    /// It is another zone's.
    #[error("a part list of another zone")]
    OtherZone,
    /// No card of the zone signed it as it stands.
    #[error("the part list was changed, or no card of the zone signed it")]
    SignatureInvalid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
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
    /// Reads a list and verifies that a card of this zone signed it.
    ///
    /// # Errors
    /// [`PartListInvalid`].
    pub fn parse(bytes: &[u8], zone: ZoneId) -> Result<Self, PartListInvalid> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| PartListInvalid::Malformed)?;
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
        let stored = Stored {
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

    fn read(stored: &Stored) -> Option<Self> {
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
