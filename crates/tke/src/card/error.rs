//! Errors of cards.

use super::ZoneId;
use crate::part::PartInvalid;
use std::io;
use std::path::PathBuf;

/// Reason why a card did not do an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// Error of the file system; on creation, also if the card exists.
    #[error("{}", path.display())]
    Disk {
        /// Path of the card.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Not a card, or of another kind.
    #[error("not a card of the expected kind: {0}")]
    InvalidFormat(&'static str),
    /// Another process has inserted the card.
    #[error("the card is in use")]
    InUse,
    /// Wrong PIN; for a CA card, at least one of the two is wrong.
    #[error("wrong PIN, {tries_left} tries left")]
    WrongPin {
        /// Number of tries until the card is blocked; 0 if this was the last one.
        tries_left: u8,
    },
    /// Too many wrong PINs. A CA card of its zone can unblock the card.
    #[error("the card is blocked; unblock it with a CA card of its zone (`card-unblock`)")]
    Blocked,
    /// Too many wrong PINs of a CA card.
    #[error("the CA card is permanently blocked")]
    PermanentlyBlocked,
    /// The card is not blocked, so that it cannot be unblocked.
    #[error("the card is not blocked")]
    NotBlocked,
    /// The PIN was correct, but the content of the card was changed.
    #[error("the card is damaged")]
    Damaged,
    /// The certificate of the other card is not from this card's zone.
    #[error("the other card is not of zone {zone}")]
    OtherZone {
        /// Zone of this card.
        zone: ZoneId,
    },
    /// The transfer was sealed for another card, was changed, or has another purpose.
    #[error("the transfer is not valid for this card")]
    TransferInvalid,
    /// The card has no space left.
    #[error("the card is full: {0}")]
    Full(CardFull),
    /// The card has a part with this label already.
    #[error("the card has a part with this label already")]
    LabelTaken,
    /// The card has no part with this label.
    #[error("the card has no part with this label")]
    NoSuchPart,
    /// The card has no signature key.
    #[error("the card has no signature key")]
    NoSignatureKey,
    /// The entered value is not a key part.
    #[error("the value is not a key part")]
    Part(#[from] PartInvalid),
    /// Neither two nor three parts, two equal parts, or parts that combine to zero.
    #[error("these parts do not combine to a master key")]
    NoMasterKey,
    /// The operating system provided no randomness, or no memory.
    #[error("the operating system provided no randomness or no memory")]
    System,
}

/// Limit of a card that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardFull {
    /// One signature key per card.
    #[error("it has a signature key already")]
    SignatureKey,
    /// 85 parts per card.
    #[error("it has {} key parts", super::MAX_PARTS_PER_CARD)]
    Parts,
}
