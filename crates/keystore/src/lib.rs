//! The store contract, its conformance suite, and the stores that implement it.
//!
//! A [`Keystore`] is the only durable shared state of the system: an ordered map from short keys to small values, changed
//! by conditional transactions, that can be watched. [`MemoryStore`] is the reference model, [`RedbStore`] keeps one file
//! on one machine. [`AnyStore`] is either of them, chosen at run time. Each passes the suite in [`conformance`].
//!
//! Not in this crate: the meaning of keys and values, access control, units, instances and caches. A store has no locks,
//! elections, filters, nested transactions, unbounded scans or timestamps.
//!
//! Invariants:
//! - A transaction is applied as a whole or not at all, at one [`Revision`], and is on stable storage before it is
//!   acknowledged.
//! - Revisions only increase within one [`StoreIdentity`]; whenever the data may be older than before, the identity
//!   changes.
//! - A watch delivers every transaction once, complete and in order, or fails.
//! - A leased key is never deleted before its lease has ended.
//! - What a store deletes may remain in its file; what has to be erased is a [`Secret`].
//! - Damage is reported, never repaired silently.

mod any;
mod clock;
mod contract;
mod embedded;
mod error;
mod gated;
mod lease;
mod limits;
mod memory;
mod secret;
mod watch;

pub mod conformance;

pub use any::{AnyStore, AnyWatch};
pub use clock::{OP_RETENTION, WATCH_RETENTION, WallClock};
pub use contract::{
    Batch, Bytes, Change, Commit, Cond, Deadline, Entry, Freshness, Key, Keystore, Lease, LeaseId, OpId,
    Page, Revision, Snapshot, StoreIdentity, Txn, WatchEvent, WatchStream, Write,
};
#[cfg(any(test, feature = "fuzzing"))]
pub use embedded::fuzzing;
pub use embedded::{
    Accepted, CommitStats, FLUSH_BOUNDS, PinMark, RedbOptions, RedbStore, RedbWatch, StoreOpenError, StorePin,
};
pub use error::{Limit, StoreError};
pub use gated::{Acknowledging, GatedStore, WriteGate, WritePermit};
pub use lease::MAX_LEASE_TTL;
pub use limits::{
    MAX_KEY_LEN, MAX_KEYS_PER_READ, MAX_KEYS_PER_TXN, MAX_PAGE_ENTRIES, MAX_PAGE_LEN, MAX_TXN_LEN,
    MAX_VALUE_LEN,
};
pub use memory::{MemoryStore, MemoryWatch};
pub use secret::{
    AdoptedSecret, MAX_SECRETS, SECRET_LEN, Secret, SecretId, SecretOwner, SlotInUse, UnnamedSecrets,
};
pub use watch::PROGRESS_INTERVAL;

/// Runs the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
