//! Keys as callers see them.

use jiff::Timestamp;

use crate::{KeyId, Payload, Plaintext, VersionId};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Wraps data keys inside the units; its material never leaves (`extractable` false).
    Root,
    /// A secret kept for its owner, who reads it back (`extractable` true).
    Standard,
}

/// Where a key's material comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// A unit made it: 256 bits.
    Generated,
    /// The caller brought it.
    Imported,
}

/// The state of a key (SP 800-57 part 1 §7), with the number that the API gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyState {
    /// Not yet in use. No operation makes such a key today.
    PreActive = 0,
    /// In use.
    Active = 1,
    /// Disabled by its owner.
    Suspended = 2,
    /// Expired: opens old data, protects no new.
    Deactivated = 3,
    /// Deleted; may be restored for a while.
    Destroyed = 5,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::PreActive, Self::Active, Self::Suspended, Self::Deactivated, Self::Destroyed];

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// A set of key states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSet(u8);

impl StateSet {
    /// No state.
    pub const NONE: Self = Self(0);
    /// Every state but [`KeyState::Destroyed`]: what a list shows unless asked otherwise.
    pub const LIVE: Self = Self(0b1111);

    /// This set and one more state.
    #[must_use]
    pub const fn with(self, state: KeyState) -> Self {
        Self(self.0 | 1 << state as u8)
    }

    /// Whether the state is in the set.
    #[must_use]
    pub const fn contains(self, state: KeyState) -> bool {
        self.0 & 1 << state as u8 != 0
    }
}

impl FromIterator<KeyState> for StateSet {
    fn from_iter<I: IntoIterator<Item = KeyState>>(states: I) -> Self {
        states.into_iter().fold(Self::NONE, Self::with)
    }
}

/// A key to create. Lengths are in characters unless said otherwise.
#[derive(Debug)]
pub struct NewKey {
    /// What it is for.
    pub kind: KeyKind,
    /// 2 to 90, not unique.
    pub name: String,
    /// 2 to 240.
    pub description: Option<String>,
    /// At most 5, each 2 to 90 of `[A-Za-z0-9_-]`, unique in the instance, no UUID, no word of a path.
    pub aliases: Vec<String>,
    /// At most 30, each 1 to 30 without `< > , : & |`.
    pub tags: Vec<String>,
    /// When it stops protecting new data; ahead of now.
    pub expires_at: Option<Timestamp>,
    /// Material to import: 16, 24 or 32 bytes for a root key, 1 to 7500 for a standard key, not all zero.
    /// Without it a unit makes 32 bytes.
    pub payload: Option<Payload>,
}

/// A key version, without its material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its id.
    pub id: VersionId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What is known of a key, without its material. Times have millisecond precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub kind: KeyKind,
    /// Where its material comes from.
    pub origin: KeyOrigin,
    /// As given.
    pub name: String,
    /// As given.
    pub description: Option<String>,
    /// As given.
    pub aliases: Vec<String>,
    /// As given.
    pub tags: Vec<String>,
    /// By the service's clock at the time of the answer.
    pub state: KeyState,
    /// When it expires or expired.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last changed; its creation counts.
    pub updated_at: Timestamp,
    /// When it was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// The version that wraps.
    pub latest_version: KeyVersion,
    /// How many versions there are.
    pub version_count: usize,
    /// Set in state [`KeyState::Destroyed`], and only there.
    pub deletion: Option<Deletion>,
}

/// A key's deletion, and what may still be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// The last moment of a restore.
    pub restorable_until: Timestamp,
    /// Whether a restore is possible; the pause after the deletion only delays it.
    pub restorable: bool,
    /// The first moment of a purge.
    pub purgeable_from: Timestamp,
    /// Whether a purge would be accepted now.
    pub purgeable: bool,
    /// When the key is purged by itself.
    pub purged_at: Timestamp,
}

/// A key as [`get_key`](crate::Kms::get_key) shows it.
#[derive(Debug)]
pub struct Key {
    /// All but the material.
    pub metadata: KeyMetadata,
    /// The material of a standard key that is not destroyed; never a root key's.
    pub payload: Option<Payload>,
}

/// Which keys to list, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    /// In one of these states.
    pub states: StateSet,
    /// Of this kind only.
    pub kind: Option<KeyKind>,
    /// By these properties, the first weighing most; ties, and an empty list, by id.
    pub sort: Vec<SortBy>,
    /// Keys to leave out at the beginning.
    pub offset: usize,
    /// Most keys to give.
    pub limit: usize,
}

/// Live keys of both kinds by id, the first 200.
impl Default for KeyQuery {
    fn default() -> Self {
        Self { states: StateSet::LIVE, kind: None, sort: Vec::new(), offset: 0, limit: 200 }
    }
}

/// One property to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortBy {
    /// The property. Keys without it come first.
    pub property: SortProperty,
    /// Largest first.
    pub descending: bool,
}

/// A property that keys can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortProperty {
    /// `id`.
    Id,
    /// `state`, by number.
    State,
    /// `extractable`: root keys before standard keys.
    Kind,
    /// `imported`: generated keys before imported keys.
    Origin,
    /// `creationDate`.
    CreatedAt,
    /// `lastUpdateDate`.
    UpdatedAt,
    /// `lastRotateDate`.
    RotatedAt,
    /// `deletionDate`.
    DeletedAt,
    /// `expirationDate`.
    ExpiresAt,
}

/// What [`wrap`](crate::Kms::wrap) gives.
#[derive(Debug)]
pub struct Wrapped {
    /// To be kept by the caller: base64, opaque.
    pub ciphertext: String,
    /// The version that wrapped.
    pub version: VersionId,
    /// The data key, where the caller gave none.
    pub generated: Option<Plaintext>,
}

/// What [`unwrap`](crate::Kms::unwrap) gives.
#[derive(Debug)]
pub struct Unwrapped {
    /// What was wrapped.
    pub plaintext: Plaintext,
    /// The version that opened the ciphertext.
    pub version: VersionId,
    /// The same plaintext under the latest version, where another version opened the ciphertext.
    pub rewrapped: Option<Rewrapping>,
}

/// A ciphertext made anew under the latest version.
#[derive(Debug)]
pub struct Rewrapping {
    /// To be kept instead of the old one.
    pub ciphertext: String,
    /// The version that wrapped it.
    pub version: VersionId,
}

/// What [`rewrap`](crate::Kms::rewrap) gives.
#[derive(Debug)]
pub struct Rewrapped {
    /// The version that opened the old ciphertext.
    pub version: VersionId,
    /// The new one.
    pub new: Rewrapping,
}

#[cfg(test)]
mod tests {
    use super::{KeyState, StateSet};

    #[test]
    fn live_states_are_all_but_destroyed() {
        let live: StateSet = KeyState::ALL.into_iter().filter(|s| *s != KeyState::Destroyed).collect();
        assert_eq!(live, StateSet::LIVE);
        assert!(!StateSet::LIVE.contains(KeyState::Destroyed));
        assert!(StateSet::LIVE.with(KeyState::Destroyed).contains(KeyState::Destroyed));
    }

    #[test]
    fn a_state_has_its_number() {
        assert_eq!(KeyState::from_number(5), Some(KeyState::Destroyed));
        assert_eq!(KeyState::from_number(4), None);
    }
}
