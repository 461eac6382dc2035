//! How cards of a zone know each other.

use sha2::{Digest, Sha256};
use std::fmt;
use tke_crypto::{POINT_LEN, PublicKey, SigningKey};

/// A card's number, drawn at random when it is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 8]);

/// A zone: the first 16 bytes of SHA-256 of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(pub [u8; 16]);

macro_rules! shown_in_hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&wire::text::encode_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
shown_in_hexadecimal!(Serial);
shown_in_hexadecimal!(ZoneId);

impl ZoneId {
    /// The zone that this key rules.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.to_point()).into();
        digest.first_chunk().map_or(Self([0; 16]), |id| Self(*id))
    }
}

/// What a CA card says of an EP11 card that it enrolled: it is of this zone, these are its keys.
#[derive(Clone, Debug)]
pub struct CardCertificate {
    /// The card.
    pub serial: Serial,
    /// The card signs with it what it sends.
    pub identity: PublicKey,
    /// What is for the card is sealed for it.
    pub transport: PublicKey,
    signature: Vec<u8>,
}

impl CardCertificate {
    /// Each statement of a card or a zone key begins with words of its own: none can be taken for another, nor for an
    /// administrative command, which begins with `0x30`.
    const WORDS: &[u8] = b"hsm-sim card certificate 1\0";

    pub(super) fn issue(
        zone: &SigningKey,
        serial: Serial,
        identity: PublicKey,
        transport: PublicKey,
    ) -> Self {
        let unsigned = Self { serial, identity, transport, signature: Vec::new() };
        let signature = zone.sign(&unsigned.statement()).to_vec();
        Self { signature, ..unsigned }
    }

    pub(super) fn from_parts(
        serial: Serial,
        identity: PublicKey,
        transport: PublicKey,
        signature: Vec<u8>,
    ) -> Self {
        Self { serial, identity, transport, signature }
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether the zone of this key says so.
    pub(super) fn is_of(&self, zone: &PublicKey) -> bool {
        zone.verify(&self.statement(), &self.signature).is_ok()
    }

    fn statement(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::WORDS.len() + 8 + 2 * POINT_LEN);
        bytes.extend_from_slice(Self::WORDS);
        bytes.extend_from_slice(&self.serial.0);
        bytes.extend_from_slice(&self.identity.to_point());
        bytes.extend_from_slice(&self.transport.to_point());
        bytes
    }
}
