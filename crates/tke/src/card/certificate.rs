//! Certificates by which cards of a zone recognize each other.

use sha2::{Digest, Sha256};
use std::fmt;
use tke_crypto::{POINT_LEN, PublicKey, SigningKey};

/// Serial number of a card, generated at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 8]);

/// Identifier of a zone: the first 16 bytes of SHA-256 of its public key.
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
    /// The zone of this key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.to_point()).into();
        digest.first_chunk().map_or(Self([0; 16]), |id| Self(*id))
    }
}

/// Certificate of an EP11 card, signed by the CA card of its zone.
#[derive(Clone, Debug)]
pub struct CardCertificate {
    /// Serial number of the card.
    pub serial: Serial,
    /// Public key for signatures of the card.
    pub identity: PublicKey,
    /// Public key for which transfers to the card are sealed.
    pub transport: PublicKey,
    signature: Vec<u8>,
}

impl CardCertificate {
    /// Prefix of the signed statement. Every kind of statement has another one, and an administrative command begins with
    /// `0x30`, so that no statement is valid as another.
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

    /// Whether the zone with this key has signed the certificate.
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
