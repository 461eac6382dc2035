//! Errors of replication, and whose fault each is.

use keystore::{Revision, StoreError, StoreIdentity};

use super::{Digest, SourcePosition};
use crate::{RandomFailed, RecordError};

/// Reason why a source yields no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The store that is mirrored failed. The next call goes on where this one failed.
    #[error("the store that is mirrored failed")]
    Store(#[from] StoreError),
}

/// Reason why bytes or an event are refused: the peer is broken, or is another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The event has another format.
    #[error("the event has format {found}; this program reads format {expected}")]
    Format {
        /// Format number of the event.
        found: u8,
        /// Format number that this program reads.
        expected: u8,
    },
    /// The event is longer than [`MAX_EVENT_LEN`](super::MAX_EVENT_LEN).
    #[error("the event has {len} bytes, more than {} bytes", super::MAX_EVENT_LEN)]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// The bytes are no event.
    #[error("the bytes are no event")]
    Malformed,
    /// A name is not one of those that are replicated.
    #[error("the event has a name that is not replicated")]
    NotReplicated,
    /// Names are not in ascending order, or not within the page.
    #[error("the names of the event are not in ascending order, or not within its range")]
    Order,
    /// An event has more entries, or a value more bytes, than a store accepts.
    #[error("the event exceeds a limit of the store")]
    TooLarge,
    /// The secrets are not those that the values name.
    #[error("the secrets of the event are not those that its values name")]
    Secrets,
}

/// Reason why an event was not applied. The mirror is as it was, except where it says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The event is invalid.
    #[error("the event of the source is invalid")]
    Event(#[from] EventError),
    /// The event is of another store than the one that is mirrored. Start the source again from the replica's position.
    #[error("the event is of store {found}, but store {expected} is mirrored")]
    Foreign {
        /// The store that is mirrored.
        expected: StoreIdentity,
        /// The store that the event is of.
        found: StoreIdentity,
    },
    /// Changes between the mirror and the event are missing. Start the source again from the replica's position.
    #[error("the changes from revision {} to {} are missing", .reached.0, .after.0)]
    Gap {
        /// The mirror has all changes up to this revision.
        reached: Revision,
        /// The event follows this revision.
        after: Revision,
    },
    /// The event does not fit the state of the mirror: a page without a copy, or a transaction during one. Start the source
    /// again from the replica's position.
    #[error("the event does not fit the state of the mirror")]
    OutOfOrder,
    /// Another replica has changed the mirror. Open the replica again.
    #[error("another replica has changed the mirror's position")]
    Superseded,
    /// The source is another store than the one that the mirror has a complete copy of: its store was lost, or an earlier state
    /// of it was restored. What the mirror has may be the only copy.
    #[error(
        "the source is store {found}, but this is a complete copy of store {kept}, which may be the only one left; it is \
         not overwritten"
    )]
    OtherSource {
        /// The store that the mirror is a copy of.
        kept: StoreIdentity,
        /// The store that would be copied.
        found: StoreIdentity,
    },
    /// The store is a store of its own, not a mirror.
    #[error("the store is a store of its own, which is not overwritten")]
    Own,
    /// The mirror is not complete, so that it cannot take over.
    #[error("the mirror is not complete")]
    Incomplete,
    /// Mirror and source differ. The mirror stays as it is; a new copy makes them equal.
    #[error("mirror and source differ at {at}: digest {found} instead of {expected}")]
    Diverged {
        /// Where they were compared.
        at: SourcePosition,
        /// The source's digest.
        expected: Digest,
        /// The mirror's digest.
        found: Digest,
    },
    /// The record of the position is damaged.
    #[error("the record of the mirror's position is invalid")]
    PositionInvalid(#[source] RecordError),
    /// The mirror's store failed. What it has acknowledged is kept; the same event may be applied again.
    #[error("the store of the mirror failed")]
    Store(#[from] StoreError),
    /// The source of random bytes failed.
    #[error("no random bytes are available")]
    Random(#[from] RandomFailed),
}

impl ReplicaError {
    /// Whether the same event may be applied a little later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Random(_) => true,
            Self::Event(_)
            | Self::Foreign { .. }
            | Self::Gap { .. }
            | Self::OutOfOrder
            | Self::Superseded
            | Self::OtherSource { .. }
            | Self::Own
            | Self::Incomplete
            | Self::Diverged { .. }
            | Self::PositionInvalid(_) => false,
        }
    }

    /// Whether a new copy is needed: the source is to be started without a position.
    #[must_use]
    pub const fn needs_copy(&self) -> bool {
        matches!(
            self,
            Self::Diverged { .. }
                | Self::Store(StoreError::SecretConflict { .. } | StoreError::TooLarge { .. })
        )
    }
}
