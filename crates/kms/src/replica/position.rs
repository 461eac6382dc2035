//! How far a mirror has come, and whether it may be used.

use std::fmt;
use std::time::Duration;

use keystore::{Deadline, Freshness, Key, Keystore, MAX_KEYS_PER_TXN, Revision, SecretId, StoreIdentity};
use serde::{Deserialize, Serialize};

use super::ReplicaError;
use crate::record::{decode, encode};
use crate::{RecordError, layout};

const FORMAT: u8 = 1;
/// Bytes of a transaction that its copy in a mirror needs for the position: the record's key twice, as condition and as
/// write, and its value with the secrets to erase, one for each key at most.
pub(crate) const POSITION_ROOM: usize = 128 + 10 * MAX_KEYS_PER_TXN;

/// A revision of the store that is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// Identity of that store.
    pub source: StoreIdentity,
    /// All changes up to this one.
    pub revision: Revision,
}

impl SourcePosition {
    /// The form in which clients are told it: the identity in 32 hexadecimal digits, `-`, and the revision.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{}-{}", self.source, self.revision.0)
    }

    /// Reads that form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (source, revision) = text.split_once('-')?;
        let source = StoreIdentity(u128::from_str_radix(source, 16).ok()?.to_be_bytes());
        let revision = Revision(revision.parse().ok()?);
        // As it is written: no signs, no leading zeros, no capitals.
        Some(Self { source, revision }).filter(|at| at.to_text() == text)
    }
}

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} of store {}", self.revision.0, self.source)
    }
}

/// What a store is, as far as replication is concerned.
///
/// | state | `CopyBegins` | end of the copy | [`take_over`](super::Replica::take_over) | [`danger_replace`](super::Replica::danger_replace) |
/// |---|---|---|---|---|
/// | `Empty` | `Copying` | refused | refused | – |
/// | `Copying` | `Copying` | `Following` | refused | – |
/// | `Following` | of the same store `Copying`, of another one refused | refused | `Own` | `Copying` |
/// | `Own` | refused | refused | – | `Copying` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It has no instance and was never a mirror.
    Empty,
    /// It is a mirror that is being copied, which must not be used: its values are of different times.
    Copying,
    /// It is a mirror, as its source was at this position or later.
    Following(SourcePosition),
    /// It is a store of its own, which others may mirror: it was never a mirror, or has taken over at this position.
    Own(Option<SourcePosition>),
}

impl ReplicaState {
    /// Reads the state of a store, without a unit.
    ///
    /// # Errors
    /// [`ReplicaError::Store`], [`ReplicaError::PositionInvalid`].
    pub async fn read<S: Keystore>(store: &S, deadline: Duration) -> Result<Self, ReplicaError> {
        Ok(Stored::read(store, Deadline(deadline)).await?.0)
    }
}

/// The record `v1/repl/pos`. A new field needs a new format number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stored {
    /// A copy is under way; what it has been given is of no use.
    Copying,
    /// Up to a revision of the source.
    Following {
        source: [u8; 16],
        revision: u64,
        /// The source's time at which this was its newest state, in milliseconds since 1970; 0: unknown.
        complete_ms: u64,
        /// Secrets of keys whose records the last transaction has deleted. They are erased after it.
        erase: Vec<u64>,
    },
    /// It has taken over at a revision of the source.
    Own { source: [u8; 16], revision: u64 },
}

impl Stored {
    /// The state, and the record with its revision.
    pub(super) async fn read<S: Keystore>(
        store: &S,
        deadline: Deadline,
    ) -> Result<(ReplicaState, Option<(Self, Revision)>), ReplicaError> {
        let found = store.get(&[layout::position()], Freshness::Linearizable, deadline).await?;
        if let Some(entry) = found.entries.into_iter().flatten().next() {
            let stored = Self::decode(&entry.value).map_err(ReplicaError::PositionInvalid)?;
            return Ok((stored.state(), Some((stored, entry.modified))));
        }
        let page = store.scan(layout::instances(), 1, None, Freshness::Linearizable, deadline).await?;
        let state = if page.entries.is_empty() { ReplicaState::Empty } else { ReplicaState::Own(None) };
        Ok((state, None))
    }

    const fn state(&self) -> ReplicaState {
        match self {
            Self::Copying => ReplicaState::Copying,
            Self::Following { source, revision, .. } => ReplicaState::Following(position(*source, *revision)),
            Self::Own { source, revision } => ReplicaState::Own(Some(position(*source, *revision))),
        }
    }

    pub(super) fn following(at: SourcePosition, complete_ms: u64, erase: &[SecretId]) -> Self {
        let erase = erase.iter().map(|id| id.0).collect();
        Self::Following { source: at.source.0, revision: at.revision.0, complete_ms, erase }
    }

    /// Format number ‖ body.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&[FORMAT][..], &encode(self)].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let (&found, body) = value.split_first().ok_or(RecordError::Malformed)?;
        if found != FORMAT {
            return Err(RecordError::Format { found, expected: FORMAT });
        }
        decode(body)
    }

    /// The place of the record.
    pub(super) fn place() -> Key {
        layout::position()
    }
}

/// Whether the record of a position says that its store follows another one, so that only a replica writes to it. A damaged
/// one does.
pub(crate) fn is_following(value: &[u8]) -> bool {
    !matches!(Stored::decode(value), Ok(Stored::Own { .. }))
}

/// Whether the record of a position says that its mirror is being copied. A damaged one does.
pub(crate) fn is_copying(value: &[u8]) -> bool {
    matches!(Stored::decode(value), Ok(Stored::Copying) | Err(_))
}

/// Panics if the decoder of a mirror's position is wrong.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_position(data: &[u8]) {
    let _ = (is_following(data), is_copying(data));
    if let Ok(stored) = Stored::decode(data) {
        assert_eq!(Stored::decode(&stored.encode()), Ok(stored));
    }
}

const fn position(source: [u8; 16], revision: u64) -> SourcePosition {
    SourcePosition { source: StoreIdentity(source), revision: Revision(revision) }
}

#[cfg(test)]
mod tests {
    use super::{POSITION_ROOM, SourcePosition, Stored};
    use crate::RecordError;
    use keystore::{MAX_KEYS_PER_TXN, Revision, SecretId, StoreIdentity};

    /// Existing mirrors depend on these bytes.
    #[test]
    fn wire_the_position_is_the_documented_one() {
        let at = SourcePosition { source: StoreIdentity([0xab; 16]), revision: Revision(300) };
        let stored = Stored::following(at, 5, &[SecretId(7), SecretId(1 << 32 | 1)]);
        let erase = [2, 7, 0x81, 0x80, 0x80, 0x80, 0x10];
        assert_eq!(stored.encode(), [&[1, 1][..], &[0xab; 16], &[0xac, 2, 5], &erase].concat());
        assert_eq!(Stored::Copying.encode(), [1, 0]);
        let own = Stored::Own { source: [0xab; 16], revision: 300 };
        assert_eq!(own.encode(), [&[1, 2][..], &[0xab; 16], &[0xac, 2]].concat());
        for stored in [stored, Stored::Copying, own] {
            let value = stored.encode();
            assert_eq!(Stored::decode(&value).unwrap(), stored);
            for cut in 0..value.len() {
                assert_eq!(Stored::decode(&value[..cut]), Err(RecordError::Malformed));
            }
            assert_eq!(Stored::decode(&[&value[..], &[0]].concat()), Err(RecordError::Malformed));
        }
        assert_eq!(Stored::decode(&[2, 0]), Err(RecordError::Format { found: 2, expected: 1 }));
    }

    #[test]
    fn wire_clients_are_told_a_position_in_this_form() {
        let at = SourcePosition { source: StoreIdentity([0xab; 16]), revision: Revision(300) };
        let text = format!("{}-300", "ab".repeat(16));
        assert_eq!(at.to_text(), text);
        assert_eq!(SourcePosition::from_text(&text), Some(at));
        let store = "ab".repeat(16);
        for other in ["", "-", "300", "ab-1", &store, &format!("{store}-"), &format!("{store}-+1")] {
            assert_eq!(SourcePosition::from_text(other), None, "{other}");
        }
        for other in [format!("{store}-01"), format!("{store}-1-1"), format!("{}-1", "AB".repeat(16))] {
            assert_eq!(SourcePosition::from_text(&other), None, "{other}");
        }
        assert_eq!(SourcePosition::from_text(&format!("{store}-{}0", u64::MAX)), None);
    }

    #[test]
    fn the_longest_position_fits_its_room() {
        let at = SourcePosition { source: StoreIdentity([0xff; 16]), revision: Revision(u64::MAX) };
        let erase = [SecretId(u64::MAX); MAX_KEYS_PER_TXN];
        let value = Stored::following(at, u64::MAX, &erase).encode();
        assert!(value.len() + 2 * Stored::place().0.len() <= POSITION_ROOM, "{}", value.len());
    }
}
