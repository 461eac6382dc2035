//! Signature keys and key parts on inserted cards.

use super::{CardError, Ep11Session, HeldPart, PartList, Serial};
use crate::holder::{Carrier, SignatureKey, SigningFuture};
use crate::part::{KeyPartHolder, PartId, PartLabel, SealingFuture};
use tke_crypto::{AdministratorName, PublicKey};
use unit_api::VerificationPattern;

/// The signature key of an inserted card, which signs inside.
#[derive(Clone, Debug)]
pub struct CardSignatureKey {
    card: Ep11Session,
    serial: Serial,
    name: AdministratorName,
    public: PublicKey,
}

impl CardSignatureKey {
    pub(super) const fn new(
        card: Ep11Session,
        serial: Serial,
        name: AdministratorName,
        public: PublicKey,
    ) -> Self {
        Self { card, serial, name, public }
    }
}

impl SignatureKey for CardSignatureKey {
    fn name(&self) -> &AdministratorName {
        &self.name
    }

    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn carrier(&self) -> Carrier {
        Carrier::Card(self.serial)
    }

    fn sign<'a>(&'a self, bytes: &'a [u8]) -> SigningFuture<'a> {
        Box::pin(async { Ok(self.card.sign(bytes)?) })
    }
}

/// A key part on an inserted card, which seals it inside.
#[derive(Clone, Debug)]
pub struct CardPart {
    card: Ep11Session,
    serial: Serial,
    held: HeldPart,
}

impl CardPart {
    pub(super) const fn new(card: Ep11Session, serial: Serial, held: HeldPart) -> Self {
        Self { card, serial, held }
    }

    /// Public properties of the part.
    #[must_use]
    pub const fn held(&self) -> &HeldPart {
        &self.held
    }

    /// Calculates the pattern of the master key on the card of the last part. Parts on other cards are sent to it
    /// encrypted.
    pub(crate) fn combine(parts: &[Self]) -> Result<PartList, CardError> {
        let last = parts.last().ok_or(CardError::NoMasterKey)?;
        let certificate = last.card.certificate();
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for part in parts {
            if part.serial == last.serial {
                own.push(part.held.label.clone());
            } else {
                others.push(part.card.send_part_for_combining(&part.held.label, &certificate)?);
            }
        }
        last.card.combine(&own, &others)
    }
}

impl KeyPartHolder for CardPart {
    fn label(&self) -> &PartLabel {
        &self.held.label
    }

    fn pattern(&self) -> VerificationPattern {
        self.held.pattern
    }

    fn id(&self) -> PartId {
        self.held.id
    }

    fn carrier(&self) -> Carrier {
        Carrier::Card(self.serial)
    }

    fn seal_for<'a>(&'a self, importer: &'a PublicKey) -> SealingFuture<'a> {
        Box::pin(async { Ok(self.card.seal_part_for(&self.held.label, importer)?) })
    }
}
