//! EP11 cards: one signature key and up to 85 key parts, generated and used inside.

use super::content::{Content, KeyInCard, PartInCard};
use super::store::{ContentKey, Counted, Kind, NewCard, Store};
use super::transfer::{Purpose, Transfer};
use super::{CaSession, CardCertificate, CardError, CardFull, CardPart, CardSignatureKey, PartList, Pin};
use super::{Serial, ZoneId, part_list};
use crate::holder::{SignatureKey, SignatureKeyFile, generate_key};
use crate::part::{
    KeyPartFile, KeyPartHolder, PartId, PartLabel, PartOrigin, SealedPart, from_hex, generate, pattern_of,
    seal, take,
};
use crate::secret_file::{KdfCost, random};
use engine::KeyPart;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tke_crypto::{AdministratorName, PublicKey, SigningKey, Ski};
use unit_api::VerificationPattern;
use zeroize::Zeroizing;

/// Largest number of key parts on a card.
pub const MAX_PARTS_PER_CARD: usize = 85;

/// An EP11 card in a reader, before its PIN is entered.
pub struct Ep11Card(Store);

/// An EP11 card for which one try was counted, before its PIN is checked.
pub struct Ep11PinAttempt(Counted);

/// An EP11 card whose PIN was correct. Clones are the same card, which is ejected when the last one is dropped.
#[derive(Clone)]
pub struct Ep11Session(Arc<Mutex<Inserted>>);

struct Inserted {
    store: Store,
    content_key: ContentKey,
    content: Content,
}

/// Public properties of the content of a card.
#[derive(Clone, Debug)]
pub struct CardContent {
    /// Name and subject key identifier of the signature key.
    pub signature_key: Option<(AdministratorName, Ski)>,
    /// The key parts, oldest first.
    pub parts: Vec<HeldPart>,
}

/// Public properties of a key part on a card.
#[derive(Clone, Debug)]
pub struct HeldPart {
    /// Label of the part.
    pub label: PartLabel,
    /// Origin of the part.
    pub origin: PartOrigin,
    /// Identifier in records; copies have the same.
    pub id: PartId,
    /// Verification pattern of the part.
    pub pattern: VerificationPattern,
}

impl Ep11Card {
    /// Creates an empty card in a new file, in the zone of the CA card.
    ///
    /// # Errors
    /// [`CardError::Disk`], [`CardError::System`].
    pub fn enrol(path: &Path, zone: &CaSession, pin: &Pin, cost: KdfCost) -> Result<Serial, CardError> {
        let serial = Serial(random()?);
        let (identity, transport) = (Box::new(generate_key()?), Box::new(generate_key()?));
        let content = Content {
            zone_key: zone.zone_key(),
            certificate: zone.certify(serial, identity.public(), transport.public()),
            identity,
            transport,
            signature_key: None,
            parts: Vec::new(),
        };
        let content_key: ContentKey = Zeroizing::new(random()?);
        let for_unblocking = seal(&zone.unblocking_key(), &KeyPart::new(*content_key));
        Store::create(
            path,
            &NewCard {
                kind: Kind::Ep11,
                serial,
                zone: zone.zone(),
                pins: pin.expose(),
                cost,
                content_key: &content_key,
                unblock: Some(for_unblocking.map_err(|_| CardError::System)?.0),
                content: &content.encode().ok_or(CardError::System)?,
            },
        )?;
        Ok(serial)
    }

    /// Inserts a card into a reader.
    ///
    /// # Errors
    /// [`CardError::Disk`], [`CardError::InvalidFormat`], [`CardError::InUse`].
    pub fn insert(path: &Path) -> Result<Self, CardError> {
        Store::insert(path, Kind::Ep11).map(Self)
    }

    /// Number of tries until the card is blocked.
    #[must_use]
    pub const fn tries_left(&self) -> u8 {
        self.0.tries_left()
    }

    /// Serial number of the card.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.0.serial
    }

    /// Enters the PIN. A wrong one ejects the card.
    ///
    /// # Errors
    /// [`CardError::WrongPin`], [`CardError::Blocked`].
    pub fn enter_pin(self, pin: &Pin) -> Result<Ep11Session, CardError> {
        self.count_try()?.check(pin)
    }

    /// Counts one try, durably. A failure before [`Ep11PinAttempt::check`] costs the try.
    ///
    /// # Errors
    /// [`CardError::Blocked`], [`CardError::Disk`].
    pub fn count_try(self) -> Result<Ep11PinAttempt, CardError> {
        self.0.count_try().map(Ep11PinAttempt)
    }
}

impl Ep11PinAttempt {
    /// Checks the PIN.
    ///
    /// # Errors
    /// [`CardError::WrongPin`], [`CardError::Damaged`].
    pub fn check(self, pin: &Pin) -> Result<Ep11Session, CardError> {
        let (store, content_key) = self.0.check(pin.expose())?;
        let content = Content::decode(&store.open_content(&content_key)?).ok_or(CardError::Damaged)?;
        let same_card =
            content.certificate.serial == store.serial && ZoneId::of(&content.zone_key) == store.zone;
        if !same_card || !content.certificate.is_of(&content.zone_key) {
            return Err(CardError::Damaged);
        }
        Ok(Ep11Session(Arc::new(Mutex::new(Inserted { store, content_key, content }))))
    }
}

impl Ep11Session {
    /// Serial number of the card.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.inserted().store.serial
    }

    /// Zone of the card.
    #[must_use]
    pub fn zone(&self) -> ZoneId {
        self.inserted().store.zone
    }

    /// Path of the card's file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inserted().store.path().to_owned()
    }

    /// Certificate of the card, for which other cards seal transfers.
    #[must_use]
    pub fn certificate(&self) -> CardCertificate {
        self.inserted().content.certificate.clone()
    }

    /// Lists the content of the card.
    #[must_use]
    pub fn list(&self) -> CardContent {
        let inserted = self.inserted();
        let key = inserted.content.signature_key.as_ref();
        CardContent {
            signature_key: key.map(|held| (held.name.clone(), held.key.public().ski())),
            parts: inserted.content.parts.iter().map(PartInCard::shown).collect(),
        }
    }

    /// Generates the signature key inside the card. It leaves the card only for cards of the zone.
    ///
    /// # Errors
    /// [`CardError::Full`], [`CardError::Disk`], [`CardError::System`].
    pub fn generate_signature_key(&self, name: AdministratorName) -> Result<CardSignatureKey, CardError> {
        self.keep_signature_key(KeyInCard { name, key: Box::new(generate_key()?) })
    }

    /// Copies the key of a file into the card.
    ///
    /// # Errors
    /// [`CardError::Full`], [`CardError::Disk`].
    pub fn import_signature_key(&self, file: &SignatureKeyFile) -> Result<CardSignatureKey, CardError> {
        let key = SigningKey::from_scalar(&file.expose_scalar()).map_err(|_| CardError::Damaged)?;
        self.keep_signature_key(KeyInCard { name: file.name().clone(), key: Box::new(key) })
    }

    /// The signature key of the card.
    ///
    /// # Errors
    /// [`CardError::NoSignatureKey`].
    pub fn signature_key(&self) -> Result<CardSignatureKey, CardError> {
        let inserted = self.inserted();
        let held = inserted.content.signature_key.as_ref().ok_or(CardError::NoSignatureKey)?;
        Ok(CardSignatureKey::new(self.clone(), inserted.store.serial, held.name.clone(), held.key.public()))
    }

    /// Generates a random key part inside the card.
    ///
    /// # Errors
    /// [`CardError::Full`], [`CardError::LabelTaken`], [`CardError::Disk`], [`CardError::System`].
    pub fn generate_part(&self, label: PartLabel) -> Result<HeldPart, CardError> {
        self.keep_part(PartInCard {
            label,
            origin: PartOrigin::Random,
            id: PartId(random()?),
            part: generate()?,
        })
    }

    /// Stores a part that is given as 64 hexadecimal digits. The caller zeroizes the text.
    ///
    /// # Errors
    /// [`CardError::Part`], [`CardError::Full`], [`CardError::LabelTaken`], [`CardError::Disk`].
    pub fn enter_part(&self, label: PartLabel, hexadecimal: &str) -> Result<HeldPart, CardError> {
        self.keep_part(PartInCard {
            label,
            origin: PartOrigin::Entered,
            id: PartId(random()?),
            part: from_hex(hexadecimal)?,
        })
    }

    /// Copies the part of a file into the card, with its label and identifier.
    ///
    /// # Errors
    /// [`CardError::Full`], [`CardError::LabelTaken`], [`CardError::Disk`].
    pub fn import_part(&self, file: &KeyPartFile) -> Result<HeldPart, CardError> {
        self.keep_part(PartInCard {
            label: file.label().clone(),
            origin: PartOrigin::Imported,
            id: file.id(),
            part: take(file.expose().expose())?,
        })
    }

    /// A part on the card, for loading into units.
    ///
    /// # Errors
    /// [`CardError::NoSuchPart`].
    pub fn part(&self, label: &PartLabel) -> Result<CardPart, CardError> {
        let inserted = self.inserted();
        let held = inserted.content.part(label).ok_or(CardError::NoSuchPart)?;
        Ok(CardPart::new(self.clone(), inserted.store.serial, held.shown()))
    }

    /// Erases a part from the card.
    ///
    /// # Errors
    /// [`CardError::NoSuchPart`], [`CardError::Disk`].
    pub fn remove_part(&self, label: &PartLabel) -> Result<(), CardError> {
        self.inserted().change(|content| {
            let place = content.parts.iter().position(|held| held.label == *label);
            content.parts.remove(place.ok_or(CardError::NoSuchPart)?);
            Ok(())
        })
    }

    /// Erases the signature key from the card.
    ///
    /// # Errors
    /// [`CardError::NoSignatureKey`], [`CardError::Disk`].
    pub fn remove_signature_key(&self) -> Result<(), CardError> {
        self.inserted()
            .change(|content| content.signature_key.take().map(|_| ()).ok_or(CardError::NoSignatureKey))
    }

    /// Copies the content of this card to another card of its zone. What that card has already is not changed.
    ///
    /// # Errors
    /// [`CardError::OtherZone`], [`CardError::Full`], [`CardError::LabelTaken`]; what was copied before the error stays there.
    pub fn copy_to(&self, other: &Self) -> Result<(), CardError> {
        let (mine, theirs) = (self.list(), other.list());
        if let Some((_, ski)) = mine.signature_key
            && theirs.signature_key.is_none_or(|(_, there)| there != ski)
        {
            other.receive_signature_key(&self.send_signature_key(&other.certificate())?)?;
        }
        for part in mine.parts {
            if !theirs.parts.iter().any(|there| there.id == part.id && there.label == part.label) {
                other.receive_part(&self.send_part(&part.label, &other.certificate())?)?;
            }
        }
        Ok(())
    }

    /// Encrypts the signature key for another card of the zone.
    ///
    /// # Errors
    /// [`CardError::NoSignatureKey`], [`CardError::OtherZone`], [`CardError::System`].
    pub fn send_signature_key(&self, to: &CardCertificate) -> Result<Transfer, CardError> {
        let inserted = self.inserted();
        let held = inserted.content.signature_key.as_ref().ok_or(CardError::NoSignatureKey)?;
        let secret = held.encode().ok_or(CardError::System)?;
        Transfer::send(&inserted.content, to, Purpose::KeepSignatureKey, &secret)
    }

    /// Encrypts a part for another card of the zone, which may store it.
    ///
    /// # Errors
    /// [`CardError::NoSuchPart`], [`CardError::OtherZone`], [`CardError::System`].
    pub fn send_part(&self, label: &PartLabel, to: &CardCertificate) -> Result<Transfer, CardError> {
        self.inserted().send_part(label, to, Purpose::KeepPart)
    }

    /// Encrypts a part for another card of the zone, which may only calculate the pattern of a master key with it.
    ///
    /// # Errors
    /// [`CardError::NoSuchPart`], [`CardError::OtherZone`], [`CardError::System`].
    pub fn send_part_for_combining(
        &self,
        label: &PartLabel,
        to: &CardCertificate,
    ) -> Result<Transfer, CardError> {
        self.inserted().send_part(label, to, Purpose::CombinePart)
    }

    /// Stores the signature key of another card of the zone.
    ///
    /// # Errors
    /// [`CardError::OtherZone`], [`CardError::TransferInvalid`], [`CardError::Full`], [`CardError::Disk`].
    pub fn receive_signature_key(&self, transfer: &Transfer) -> Result<CardSignatureKey, CardError> {
        let secret = transfer.receive(&self.inserted().content, Purpose::KeepSignatureKey)?;
        self.keep_signature_key(KeyInCard::decode(&secret).ok_or(CardError::TransferInvalid)?)
    }

    /// Stores a part of another card of the zone.
    ///
    /// # Errors
    /// [`CardError::OtherZone`], [`CardError::TransferInvalid`], [`CardError::Full`], [`CardError::LabelTaken`].
    pub fn receive_part(&self, transfer: &Transfer) -> Result<HeldPart, CardError> {
        let secret = transfer.receive(&self.inserted().content, Purpose::KeepPart)?;
        self.keep_part(PartInCard::decode(&secret).ok_or(CardError::TransferInvalid)?)
    }

    /// Calculates and signs the pattern of the master key that parts of this card and parts of other cards combine to.
    /// Parts of other cards are not stored.
    ///
    /// # Errors
    /// [`CardError::NoMasterKey`] for equal parts, a combination of zero, or neither two nor three parts;
    /// [`CardError::NoSuchPart`], [`CardError::OtherZone`], [`CardError::TransferInvalid`].
    pub fn combine(&self, own: &[PartLabel], others: &[Transfer]) -> Result<PartList, CardError> {
        let inserted = self.inserted();
        let content = &inserted.content;
        let received = others
            .iter()
            .map(|transfer| {
                let secret = transfer.receive(content, Purpose::CombinePart)?;
                let part = PartInCard::decode(&secret).ok_or(CardError::TransferInvalid)?;
                Ok((transfer.from(), part))
            })
            .collect::<Result<Vec<_>, CardError>>()?;
        let mut parts = Vec::new();
        for label in own {
            parts.push((inserted.store.serial, content.part(label).ok_or(CardError::NoSuchPart)?));
        }
        parts.extend(received.iter().map(|(from, part)| (*from, part)));
        part_list::sign(content, &parts)
    }

    /// Seals a part for an importer key, inside the card.
    ///
    /// # Errors
    /// [`CardError::NoSuchPart`], [`CardError::System`].
    pub fn seal_part_for(&self, label: &PartLabel, importer: &PublicKey) -> Result<SealedPart, CardError> {
        let inserted = self.inserted();
        let held = inserted.content.part(label).ok_or(CardError::NoSuchPart)?;
        seal(importer, &held.part).map_err(|_| CardError::System)
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, CardError> {
        let inserted = self.inserted();
        let held = inserted.content.signature_key.as_ref().ok_or(CardError::NoSignatureKey)?;
        Ok(held.key.sign(bytes).to_vec())
    }

    fn keep_signature_key(&self, held: KeyInCard) -> Result<CardSignatureKey, CardError> {
        self.inserted().change(|content| {
            if content.signature_key.is_some() {
                return Err(CardError::Full(CardFull::SignatureKey));
            }
            content.signature_key = Some(held);
            Ok(())
        })?;
        self.signature_key()
    }

    fn keep_part(&self, held: PartInCard) -> Result<HeldPart, CardError> {
        let shown = held.shown();
        self.inserted().change(|content| {
            if content.part(&held.label).is_some() {
                return Err(CardError::LabelTaken);
            }
            if content.parts.len() >= MAX_PARTS_PER_CARD {
                return Err(CardError::Full(CardFull::Parts));
            }
            content.parts.push(held);
            Ok(())
        })?;
        Ok(shown)
    }

    /// A poisoned lock is safe: every change is saved before it becomes visible.
    fn inserted(&self) -> MutexGuard<'_, Inserted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inserted {
    /// Changes the content of the card, durably, or not at all.
    fn change(
        &mut self,
        change: impl FnOnce(&mut Content) -> Result<(), CardError>,
    ) -> Result<(), CardError> {
        let save = || {
            change(&mut self.content)?;
            let encoded = self.content.encode().ok_or(CardError::System)?;
            self.store.replace_content(&self.content_key, &encoded)
        };
        let saved = save();
        if saved.is_err() {
            let before = self.store.open_content(&self.content_key)?;
            self.content = Content::decode(&before).ok_or(CardError::Damaged)?;
        }
        saved
    }

    fn send_part(
        &self,
        label: &PartLabel,
        to: &CardCertificate,
        purpose: Purpose,
    ) -> Result<Transfer, CardError> {
        let held = self.content.part(label).ok_or(CardError::NoSuchPart)?;
        let secret = held.encode().ok_or(CardError::System)?;
        Transfer::send(&self.content, to, purpose, &secret)
    }
}

impl PartInCard {
    fn shown(&self) -> HeldPart {
        HeldPart {
            label: self.label.clone(),
            origin: self.origin,
            id: self.id,
            pattern: pattern_of(&self.part),
        }
    }
}

impl fmt::Debug for Ep11Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ep11Card({})", self.0.serial)
    }
}

impl fmt::Debug for Ep11PinAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ep11PinAttempt")
    }
}

impl fmt::Debug for Ep11Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ep11Session({})", self.serial())
    }
}
