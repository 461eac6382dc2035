//! Replication of the instances of a store to a store in another region, its mirror.
//!
//! A [`Source`] reads one store and yields [`Event`]s; a [`Replica`] applies them to another store. Both are moved by the
//! caller: neither connects, waits for a timer or starts a task. The caller carries the events, over a connection on which
//! both ends have proved who they are.
//!
//! The mirror has the same values byte by byte, sealed as they are, and the secrets that they name under the same
//! identifiers. Without units that have the master key, nothing in it can be read.
//!
//! | promise | by |
//! |---|---|
//! | whole transactions, in order, exactly once | each is one transaction here too, together with the position `v1/repl/pos`, on whose being unchanged it depends |
//! | a value is never here before its secret | secrets are adopted, durably, before the transaction |
//! | a purge erases here too | the position lists the secrets to erase; an interrupted erasure is completed when the replica is opened |
//! | a mirror that is being copied is not used | it is marked as [`Copying`](ReplicaState::Copying) first; the key service does not open it |
//! | a store of its own, and a complete copy of another store than the source, are not overwritten | [`Replica::danger_replace`] has to be called before |
//! | differences are noticed | [digests](Digest) of both sides at one revision are compared |
//!
//! Replicated are the store's own record and everything of instances; not jobs, leases and the position itself.

mod digest;
mod error;
mod event;
mod mirror;
mod position;
mod secrets;
mod source;

pub use digest::Digest;
pub use error::{EventError, ReplicaError, SourceError};
pub use event::{
    CopiedEntry, CopyPage, CopyReason, Event, MAX_EVENT_LEN, NamedSecret, SourceChange, SourceTxn,
};
pub use mirror::{Applied, Lag, Replica, ReplicaOptions};
pub use position::{ReplicaState, SourcePosition};
pub use source::{Source, SourceOptions};

pub use crate::layout::is_replicated;

pub(crate) use digest::{EntryHash, yield_now};
pub(crate) use mirror::{chunks, differences, to_adopt};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use position::check_position;
pub(crate) use position::{POSITION_ROOM, is_copying, is_following};
pub(crate) use secrets::secrets_named;
pub(crate) use source::copy_page;
