//! EP11 cards: one signature key and up to 85 key parts, made and used inside.

use super::content::{Content, KeyInCard, PartInCard};
use super::store::{ContentKey, Counted, Kind, NewCard, Store};
use super::transfer::{Purpose, Transfer};
use super::{CaSession, CardCertificate, CardError, CardPart, CardSignatureKey, Full, PartList, Pin};
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

/// Most key parts of a card.
pub const MAX_PARTS_PER_CARD: usize = 85;

/// An EP11 card in a reader, before its PIN is entered.
pub struct Ep11Card(Store);

/// An EP11 card of which one try was taken off, before its PIN is looked at.
pub struct CountedEp11Card(Counted);

/// An EP11 card at work: its PIN was right. Clones are the same card, which is ejected when the last one is dropped.
#[derive(Clone)]
pub struct Ep11Session(Arc<Mutex<Inserted>>);

struct Inserted {
    store: Store,
    content_key: ContentKey,
    content: Content,
}

/// What a card shows of what it holds.
#[derive(Clone, Debug)]
pub struct CardContent {
    /// Name and identifier of the signature key.
    pub signature_key: Option<(AdministratorName, Ski)>,
    /// The key parts, in the order they came.
    pub parts: Vec<HeldPart>,
}

/// What a card shows of a key part.
#[derive(Clone, Debug)]
pub struct HeldPart {
    /// What the part is called.
    pub label: PartLabel,
    /// Where it came from.
    pub origin: PartOrigin,
    /// What audit records call it; copies bear the same.
    pub id: PartId,
    /// Its verification pattern.
    pub pattern: VerificationPattern,
}

impl Ep11Card {
    /// Makes an empty card of the CA card's zone where there is no file.
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

    /// Puts a card into a reader.
    ///
    /// # Errors
    /// [`CardError::Disk`], [`CardError::NotOne`], [`CardError::InUse`].
    pub fn insert(path: &Path) -> Result<Self, CardError> {
        Store::insert(path, Kind::Ep11).map(Self)
    }

    /// Tries until the card is blocked.
    #[must_use]
    pub const fn tries_left(&self) -> u8 {
        self.0.tries_left()
    }

    /// The card's number.
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

    /// Takes one try off, durably: what stands between it and [`CountedEp11Card::check`] costs a try.
    ///
    /// # Errors
    /// [`CardError::Blocked`], [`CardError::Disk`].
    pub fn count_try(self) -> Result<CountedEp11Card, CardError> {
        self.0.count_try().map(CountedEp11Card)
    }
}

impl CountedEp11Card {
    /// Looks at the PIN.
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
    /// The card's number.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.inserted().store.serial
    }

    /// The card's zone.
    #[must_use]
    pub fn zone(&self) -> ZoneId {
        self.inserted().store.zone
    }

    /// The card's file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inserted().store.path().to_owned()
    }

    /// What other cards of the zone need to send something to this one.
    #[must_use]
    pub fn certificate(&self) -> CardCertificate {
        self.inserted().content.certificate.clone()
    }

    /// What the card holds.
    #[must_use]
    pub fn list(&self) -> CardContent {
        let inserted = self.inserted();
        let key = inserted.content.signature_key.as_ref();
        CardContent {
            signature_key: key.map(|held| (held.name.clone(), held.key.public().ski())),
            parts: inserted.content.parts.iter().map(PartInCard::shown).collect(),
        }
    }

    /// Generates the card's signature key inside; it never leaves but to cards of the zone.
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

    /// The card's signature key, to sign with.
    ///
    /// # Errors
    /// [`CardError::NoSignatureKey`].
    pub fn signature_key(&self) -> Result<CardSignatureKey, CardError> {
        let inserted = self.inserted();
        let held = inserted.content.signature_key.as_ref().ok_or(CardError::NoSignatureKey)?;
        Ok(CardSignatureKey::new(self.clone(), inserted.store.serial, held.name.clone(), held.key.public()))
    }

    /// Draws a key part inside.
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

    /// Keeps the part that 64 hexadecimal digits say. The text is the caller's to wipe.
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

    /// A part on the card, to be sealed for units.
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

    /// Copies everything this card holds to another card of its zone; what that card holds already is left as it is.
    ///
    /// # Errors
    /// [`CardError::OtherZone`], [`CardError::Full`], [`CardError::LabelTaken`]; what was copied before stays copied.
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

    /// Encrypts a part for another card of the zone, which may keep it.
    ///
    /// # Errors
    /// [`CardError::NoSuchPart`], [`CardError::OtherZone`], [`CardError::System`].
    pub fn send_part(&self, label: &PartLabel, to: &CardCertificate) -> Result<Transfer, CardError> {
        self.inserted().send_part(label, to, Purpose::KeepPart)
    }

    /// Encrypts a part for another card of the zone, which may work out a master key's pattern with it and no more.
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

    /// Keeps the signature key of another card of the zone.
    ///
    /// # Errors
    /// [`CardError::OtherZone`], [`CardError::TransferInvalid`], [`CardError::Full`], [`CardError::Disk`].
    pub fn receive_signature_key(&self, transfer: &Transfer) -> Result<CardSignatureKey, CardError> {
        let secret = transfer.receive(&self.inserted().content, Purpose::KeepSignatureKey)?;
        self.keep_signature_key(KeyInCard::decode(&secret).ok_or(CardError::TransferInvalid)?)
    }

    /// Keeps the part of another card of the zone.
    ///
    /// # Errors
    /// [`CardError::OtherZone`], [`CardError::TransferInvalid`], [`CardError::Full`], [`CardError::LabelTaken`].
    pub fn receive_part(&self, transfer: &Transfer) -> Result<HeldPart, CardError> {
        let secret = transfer.receive(&self.inserted().content, Purpose::KeepPart)?;
        self.keep_part(PartInCard::decode(&secret).ok_or(CardError::TransferInvalid)?)
    }

    /// Works out the pattern of the master key that parts of this card and parts sent by others make, signs it, and
    /// forgets the others' parts.
    ///
    /// # Errors
    /// [`CardError::NoMasterKey`] for equal parts, a key of zeros, or not two or three parts;
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
                return Err(CardError::Full(Full::SignatureKey));
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
                return Err(CardError::Full(Full::Parts));
            }
            content.parts.push(held);
            Ok(())
        })?;
        Ok(shown)
    }

    /// A thread that panicked left the card as it is on disk or better: every change is saved before it is seen.
    fn inserted(&self) -> MutexGuard<'_, Inserted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inserted {
    /// Changes what the card holds, durably, or not at all.
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

impl fmt::Debug for CountedEp11Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountedEp11Card")
    }
}

impl fmt::Debug for Ep11Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ep11Session({})", self.serial())
    }
}
