//! The store contract, its conformance suite, and the stores that keep it.
//!
//! A [`Keystore`] is the only durable shared state of the system: an ordered map from short keys to small values
//! that changes by conditional transactions and can be watched. [`MemoryStore`] is the reference model,
//! [`RedbStore`] keeps one file on one machine. [`AnyStore`] picks one of them at run time; [`conformance`] is the
//! suite that each of them passes.
//!
//! What it deliberately does not know: what keys and values mean, who may touch them, units, instances, caches;
//! and it offers no locks, elections, filters, nested transactions, unbounded scans or time.
//!
//! Invariants:
//! - A transaction happens whole or not at all, at one [`Revision`], and is on stable storage before it is
//!   acknowledged.
//! - Revisions only grow within one [`StoreIdentity`]; whenever the data may have gone back, the identity changes.
//! - A watch tells every transaction once, whole and in order, or says that it cannot.
//! - Nothing leased vanishes before its time.
//! - Damage is reported, never repaired in silence.

mod any;
mod clock;
mod contract;
mod embedded;
mod error;
mod lease;
mod limits;
mod memory;

pub mod conformance;

pub use any::{AnyStore, AnyWatch};
pub use clock::{OP_RETENTION, WATCH_RETENTION, WallClock};
pub use contract::{
    Batch, Bytes, Change, Commit, Cond, Deadline, Entry, Freshness, Key, Keystore, Lease, LeaseId, OpId,
    Page, Revision, Snapshot, StoreIdentity, Txn, WatchEvent, WatchStream, Write,
};
pub use embedded::{OpenError, RedbOptions, RedbStore, RedbWatch};
pub use error::{Limit, StoreError};
pub use lease::MAX_LEASE_TTL;
pub use limits::{
    MAX_KEY_LEN, MAX_KEYS_PER_READ, MAX_KEYS_PER_TXN, MAX_PAGE_ENTRIES, MAX_PAGE_LEN, MAX_TXN_LEN,
    MAX_VALUE_LEN,
};
pub use memory::{MemoryStore, MemoryWatch};
pub use watch::PROGRESS_INTERVAL;

mod watch;
