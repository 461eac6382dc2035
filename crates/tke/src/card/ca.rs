//! CA cards, which decide what cards belong to a zone.

use super::store::{Counted, Kind, NewCard, Store};
use super::{CardCertificate, CardError, Pin, Serial, ZoneId};
use crate::holder::generate_key;
use crate::secret_file::{KdfCost, random};
use std::fmt;
use std::path::Path;
use tke_crypto::{PublicKey, SCALAR_LEN, SigningKey};
use zeroize::Zeroizing;

/// The two PINs of a CA card, each known to one owner.
#[derive(Debug)]
pub struct CaPins {
    /// PIN of the first owner.
    pub first: Pin,
    /// PIN of the second owner.
    pub second: Pin,
}

impl CaPins {
    fn joined(&self) -> Zeroizing<[u8; 2 * Pin::LEN]> {
        let mut joined = Zeroizing::new([0; 2 * Pin::LEN]);
        let (first, second) = joined.split_at_mut(Pin::LEN);
        first.copy_from_slice(self.first.expose());
        second.copy_from_slice(self.second.expose());
        joined
    }
}

/// A CA card in a reader, before its PINs are entered.
pub struct CaCard(Store);

/// A CA card for which one try was counted, before its PINs are checked.
pub struct CaPinAttempt(Counted);

/// A CA card whose PINs were correct.
pub struct CaSession {
    serial: Serial,
    keys: ZoneKeys,
    _inserted: Store,
}

/// Keys of a zone: one certifies its cards, the other unblocks them.
struct ZoneKeys {
    zone: Box<SigningKey>,
    unblock: Box<SigningKey>,
}

impl ZoneKeys {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * SCALAR_LEN));
        bytes.extend_from_slice(self.zone.expose_scalar().as_slice());
        bytes.extend_from_slice(self.unblock.expose_scalar().as_slice());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (scalars, []) = bytes.as_chunks::<SCALAR_LEN>() else { return None };
        let [zone, unblock] = scalars else { return None };
        let key = |scalar| SigningKey::from_scalar(scalar).map(Box::new).ok();
        Some(Self { zone: key(zone)?, unblock: key(unblock)? })
    }

    fn write_card(&self, path: &Path, pins: &CaPins, cost: KdfCost) -> Result<Serial, CardError> {
        let serial = Serial(random()?);
        Store::create(
            path,
            &NewCard {
                kind: Kind::Ca,
                serial,
                zone: ZoneId::of(&self.zone.public()),
                pins: &*pins.joined(),
                cost,
                content_key: &Zeroizing::new(random()?),
                unblock: None,
                content: &self.encode(),
            },
        )?;
        Ok(serial)
    }
}

impl CaCard {
    /// Creates a CA card in a new file, and with it a zone.
    ///
    /// # Errors
    /// [`CardError::Disk`], [`CardError::System`].
    pub fn found_zone(path: &Path, pins: &CaPins, cost: KdfCost) -> Result<ZoneId, CardError> {
        let keys = ZoneKeys { zone: Box::new(generate_key()?), unblock: Box::new(generate_key()?) };
        keys.write_card(path, pins, cost)?;
        Ok(ZoneId::of(&keys.zone.public()))
    }

    /// Inserts a card into a reader.
    ///
    /// # Errors
    /// [`CardError::Disk`], [`CardError::InvalidFormat`], [`CardError::InUse`].
    pub fn insert(path: &Path) -> Result<Self, CardError> {
        Store::insert(path, Kind::Ca).map(Self)
    }

    /// Number of tries until the card is permanently blocked.
    #[must_use]
    pub const fn tries_left(&self) -> u8 {
        self.0.tries_left()
    }

    /// Enters both PINs. Wrong ones eject the card.
    ///
    /// # Errors
    /// [`CardError::WrongPin`], [`CardError::PermanentlyBlocked`].
    pub fn enter_pins(self, pins: &CaPins) -> Result<CaSession, CardError> {
        self.count_try()?.check(pins)
    }

    /// Counts one try, durably. A failure before [`CaPinAttempt::check`] costs the try.
    ///
    /// # Errors
    /// [`CardError::PermanentlyBlocked`], [`CardError::Disk`].
    pub fn count_try(self) -> Result<CaPinAttempt, CardError> {
        self.0.count_try().map(CaPinAttempt)
    }
}

impl CaPinAttempt {
    /// Checks the PINs.
    ///
    /// # Errors
    /// [`CardError::WrongPin`], [`CardError::Damaged`].
    pub fn check(self, pins: &CaPins) -> Result<CaSession, CardError> {
        let (store, content_key) = self.0.check(pins.joined().as_slice())?;
        let keys = ZoneKeys::decode(&store.open_content(&content_key)?).ok_or(CardError::Damaged)?;
        if ZoneId::of(&keys.zone.public()) != store.zone {
            return Err(CardError::Damaged);
        }
        Ok(CaSession { serial: store.serial, keys, _inserted: store })
    }
}

impl CaSession {
    /// The zone.
    #[must_use]
    pub fn zone(&self) -> ZoneId {
        ZoneId::of(&self.zone_key())
    }

    /// The card's number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// Makes a backup CA card of the same zone where there is no file, with PINs of its own.
    ///
    /// # Errors
    /// [`CardError::Disk`], [`CardError::System`].
    pub fn back_up(&self, path: &Path, pins: &CaPins, cost: KdfCost) -> Result<Serial, CardError> {
        self.keys.write_card(path, pins, cost)
    }

    /// Unblocks an EP11 card of this zone and gives it a new PIN; what it holds stays.
    ///
    /// # Errors
    /// [`CardError::NotBlocked`], [`CardError::OtherZone`], [`CardError::Damaged`].
    pub fn unblock(&self, path: &Path, new_pin: &Pin, cost: KdfCost) -> Result<(), CardError> {
        let mut card = Store::insert(path, Kind::Ep11)?;
        if card.zone != self.zone() {
            return Err(CardError::OtherZone { zone: self.zone() });
        }
        if card.tries_left() > 0 {
            return Err(CardError::NotBlocked);
        }
        let wrapped = card.unblock_wrap().ok_or(CardError::Damaged)?;
        let content_key =
            tke_crypto::open_key_part(&self.keys.unblock, &wrapped).map_err(|_| CardError::Damaged)?;
        card.open_content(&content_key)?;
        card.renew_pin(new_pin.expose(), cost, &content_key)
    }

    pub(super) fn zone_key(&self) -> PublicKey {
        self.keys.zone.public()
    }

    pub(super) fn unblocking_key(&self) -> PublicKey {
        self.keys.unblock.public()
    }

    pub(super) fn certify(
        &self,
        serial: Serial,
        identity: PublicKey,
        transport: PublicKey,
    ) -> CardCertificate {
        CardCertificate::issue(&self.keys.zone, serial, identity, transport)
    }
}

impl fmt::Debug for CaCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaCard({})", self.0.serial)
    }
}

impl fmt::Debug for CaPinAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaPinAttempt")
    }
}

impl fmt::Debug for CaSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaSession({})", self.serial)
    }
}
