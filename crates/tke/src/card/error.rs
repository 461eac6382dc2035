//! Why a card did not do what was asked.

use super::ZoneId;
use crate::part::PartInvalid;
use std::io;
use std::path::PathBuf;

/// Why a card did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The disk failed, or the card is not there, or (on creation) it already is.
    #[error("{}", path.display())]
    Disk {
        /// The card.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Not a card of this kind.
    #[error("not such a card: {0}")]
    NotOne(&'static str),
    /// Somebody else has the card inserted.
    #[error("the card is in use")]
    InUse,
    /// Wrong PIN, or for a CA card one wrong PIN of the two.
    #[error("wrong PIN, {tries_left} tries left")]
    WrongPin {
        /// Tries until the card is blocked; 0 if this was the last one.
        tries_left: u8,
    },
    /// Too many wrong PINs; a CA card of its zone unblocks it.
    #[error("the card is blocked; a CA card of its zone unblocks it")]
    Blocked,
    /// Too many wrong PINs of a CA card.
    #[error("the CA card is blocked for ever")]
    BlockedForEver,
    /// There is nothing to unblock.
    #[error("the card is not blocked")]
    NotBlocked,
    /// The PIN was right, but what the card holds was changed.
    #[error("the card is damaged")]
    Damaged,
    /// The other card is not of this card's zone, or cannot prove it.
    #[error("the other card is not of zone {zone}")]
    OtherZone {
        /// This card's zone.
        zone: ZoneId,
    },
    /// What came was sealed for another card, was changed on the way, or was sent for another purpose.
    #[error("the transfer is not valid for this card")]
    TransferInvalid,
    /// No room.
    #[error("the card is full: {0}")]
    Full(Full),
    /// The card holds a part of that label.
    #[error("the card already holds a part of that label")]
    LabelTaken,
    /// The card holds no part of that label.
    #[error("the card holds no such part")]
    NoSuchPart,
    /// The card holds no signature key.
    #[error("the card holds no signature key")]
    NoSignatureKey,
    /// What was given is no key part.
    #[error("no key part")]
    Part(#[from] PartInvalid),
    /// Not two or three parts, two equal ones, or parts that give a master key of zeros.
    #[error("these parts make no master key")]
    NoMasterKey,
    /// The operating system gave no randomness, or no memory.
    #[error("the operating system gave no randomness or no memory")]
    System,
}

/// What there is no more room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// One signature key per card.
    #[error("it holds a signature key")]
    SignatureKey,
    /// 85 parts per card.
    #[error("it holds {} key parts", super::MAX_PARTS_PER_CARD)]
    Parts,
}
