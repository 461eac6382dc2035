//! Content of an EP11 card, and its encoding before encryption.

use super::{CardCertificate, Serial};
use crate::part::{PartId, PartLabel, PartOrigin, take};
use engine::KeyPart;
use serde::{Deserialize, Serialize};
use tke_crypto::{AdministratorName, PublicKey, SCALAR_LEN, SigningKey};
use zeroize::Zeroizing;

/// Longest encoding, in bytes: more than a signature key and 85 parts need.
const MAX_LEN: usize = 32 * 1024;

pub(super) struct Content {
    pub(super) zone_key: PublicKey,
    pub(super) certificate: CardCertificate,
    /// Signs transfers from the card.
    pub(super) identity: Box<SigningKey>,
    /// Opens transfers to the card.
    pub(super) transport: Box<SigningKey>,
    pub(super) signature_key: Option<KeyInCard>,
    pub(super) parts: Vec<PartInCard>,
}

pub(super) struct KeyInCard {
    pub(super) name: AdministratorName,
    pub(super) key: Box<SigningKey>,
}

pub(super) struct PartInCard {
    pub(super) label: PartLabel,
    pub(super) origin: PartOrigin,
    pub(super) id: PartId,
    pub(super) part: Box<KeyPart>,
}

#[derive(Serialize, Deserialize)]
struct StoredContent<'a> {
    zone_key: &'a [u8],
    serial: [u8; 8],
    certificate: &'a [u8],
    identity: &'a [u8],
    transport: &'a [u8],
    #[serde(borrow)]
    signature_key: Option<StoredKey<'a>>,
    #[serde(borrow)]
    parts: Vec<StoredPart<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey<'a> {
    name: &'a str,
    scalar: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct StoredPart<'a> {
    label: &'a str,
    origin: &'a str,
    id: [u8; 32],
    value: &'a [u8],
}

impl Content {
    pub(super) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (identity, transport) = (self.identity.expose_scalar(), self.transport.expose_scalar());
        let scalar = self.signature_key.as_ref().map(|held| held.key.expose_scalar());
        let signature_key = self.signature_key.as_ref().zip(scalar.as_ref());
        write(&StoredContent {
            zone_key: &self.zone_key.to_point(),
            serial: self.certificate.serial.0,
            certificate: self.certificate.signature(),
            identity: identity.as_slice(),
            transport: transport.as_slice(),
            signature_key: signature_key
                .map(|(held, scalar)| StoredKey { name: held.name.as_str(), scalar: scalar.as_slice() }),
            parts: self.parts.iter().map(PartInCard::stored).collect(),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: StoredContent<'_> = postcard::from_bytes(bytes).ok()?;
        let (identity, transport) = (signing_key(stored.identity)?, signing_key(stored.transport)?);
        let certificate = CardCertificate::from_parts(
            Serial(stored.serial),
            identity.public(),
            transport.public(),
            stored.certificate.to_vec(),
        );
        let signature_key = match stored.signature_key {
            Some(held) => Some(KeyInCard::read(&held)?),
            None => None,
        };
        Some(Self {
            zone_key: PublicKey::from_point(stored.zone_key).ok()?,
            certificate,
            identity,
            transport,
            signature_key,
            parts: stored.parts.iter().map(PartInCard::read).collect::<Option<_>>()?,
        })
    }

    pub(super) fn part(&self, label: &PartLabel) -> Option<&PartInCard> {
        self.parts.iter().find(|held| held.label == *label)
    }
}

impl KeyInCard {
    /// Encodes it for another card.
    pub(super) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        write(&StoredKey { name: self.name.as_str(), scalar: self.key.expose_scalar().as_slice() })
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Self::read(&postcard::from_bytes(bytes).ok()?)
    }

    fn read(stored: &StoredKey<'_>) -> Option<Self> {
        let name = AdministratorName::try_from(stored.name).ok()?;
        Some(Self { name, key: signing_key(stored.scalar)? })
    }
}

impl PartInCard {
    /// Encodes it for another card.
    pub(super) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        write(&self.stored())
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Self::read(&postcard::from_bytes(bytes).ok()?)
    }

    fn stored(&self) -> StoredPart<'_> {
        StoredPart {
            label: self.label.as_str(),
            origin: self.origin.name(),
            id: self.id.0,
            value: self.part.expose(),
        }
    }

    fn read(stored: &StoredPart<'_>) -> Option<Self> {
        Some(Self {
            label: PartLabel::try_from(stored.label).ok()?,
            origin: PartOrigin::from_name(stored.origin)?,
            id: PartId(stored.id),
            part: take(stored.value.try_into().ok()?).ok()?,
        })
    }
}

/// Encodes into a buffer of fixed size: a buffer that grows leaves copies behind.
fn write(stored: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; MAX_LEN]);
    let len = postcard::to_slice(stored, &mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(buffer)
}

fn signing_key(scalar: &[u8]) -> Option<Box<SigningKey>> {
    let scalar: &[u8; SCALAR_LEN] = scalar.try_into().ok()?;
    SigningKey::from_scalar(scalar).map(Box::new).ok()
}
