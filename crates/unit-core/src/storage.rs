//! The port to durable storage.

use core::fmt;

/// One of the two places that a unit's state is written to alternately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first slot.
    A,
    /// The second slot.
    B,
}

impl Slot {
    /// Both slots in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Two slots of bytes that survive power loss.
///
/// A unit writes to the slot of the older state, so that a write that is interrupted at any byte loses nothing. The content is
/// sealed: the storage sees lengths and times. It is trusted in one respect, to keep what it confirmed: it does not restore an
/// old content of both slots, and does not lose the newer slot or both. A unit cannot distinguish a restored old content from
/// a restart, nor the loss of both slots from its first start. After the loss of the newer slot it is in the state before its
/// last change, with the counter of that state, but without keys that were cleared. An old content of before a change of the
/// master keys, or of before a zeroize, is refused: the engine has destroyed its key. Against the rest, only storage that
/// cannot be rolled back protects.
pub trait Storage {
    /// Reads a slot into the start of `content` and returns the number of bytes, 0 if the slot was never written.
    ///
    /// Content that is longer than the buffer is truncated; [`crate::MAX_SLOT_LEN`] bytes hold everything that a unit writes.
    ///
    /// # Errors
    /// [`StorageFailed`] when the slot cannot be read. A slot never written is not a failure.
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed>;

    /// Replaces a slot's content with at most [`crate::MAX_SLOT_LEN`] bytes. On return they are durable.
    ///
    /// An interrupted write may leave any bytes in this slot; it does not change the other slot.
    ///
    /// # Errors
    /// [`StorageFailed`] when the content may not be durable; the unit then assumes that the slot holds either content.
    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed>;
}

/// The storage failed; it reports the cause itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageFailed;

impl fmt::Display for StorageFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the storage failed")
    }
}

impl core::error::Error for StorageFailed {}
