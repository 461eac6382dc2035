//! The port to durable storage.

use core::fmt;

/// One of the two places a unit's state is written to, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Two slots of bytes that outlive the unit's power.
///
/// A unit writes to the slot whose content it can do without, so that a write cut short at any byte costs nothing.
/// What is written is sealed: storage learns sizes and times. It is trusted in one thing, to keep what it confirmed: it
/// neither brings back an old content of both slots, nor loses the newer one, nor both. A unit cannot tell the first
/// from a restart, nor the last from its first day; without the newer slot it is as it was one change before, its
/// counter included, but without a key that was cleared, for those are overwritten in both slots as soon as storage
/// takes it. Only storage that cannot be set back protects from replay by whoever owns the disk.
pub trait Storage {
    /// Reads a slot into the start of `content` and returns how many bytes it holds, 0 if it was never written.
    ///
    /// Content longer than the buffer is cut to it; a buffer of [`crate::MAX_SLOT_LEN`] cuts nothing a unit wrote.
    ///
    /// # Errors
    /// [`StorageFailed`] when the slot cannot be read. A slot never written is not a failure.
    fn read(&mut self, slot: Slot, content: &mut [u8]) -> Result<usize, StorageFailed>;

    /// Replaces a slot's content by at most [`crate::MAX_SLOT_LEN`] bytes. On return they are durable.
    ///
    /// A write that is cut short may leave anything in this slot, and nothing in the other.
    ///
    /// # Errors
    /// [`StorageFailed`] when the content may not be durable; the unit takes it that either may be there, old or new.
    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed>;
}

/// Storage did not do what was asked; the cause is the storage's to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageFailed;

impl fmt::Display for StorageFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the storage failed")
    }
}

impl core::error::Error for StorageFailed {}
