//! What a store refuses, what it can fail at, and what each promises the caller.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::{Revision, StoreIdentity};

/// Why a store did not do what was asked. Every variant but [`Self::Unknown`] promises that nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Certainly not applied. Retry within the deadline, not before `retry_after`.
    #[error("the store does not answer at present: {why}")]
    Unavailable {
        /// How long to wait at least.
        retry_after: Duration,
        /// What stands in the way.
        why: Cow<'static, str>,
    },
    /// May have been applied; the deadline has passed, or the disk failed in the act. The same
    /// [`OpId`](crate::OpId) sent later tells which.
    #[error("the outcome is not known; the same operation sent again will tell")]
    Unknown,
    /// Beyond the contract's limits: the caller's bug.
    #[error("beyond the limits of the store: {limit}")]
    TooLarge {
        /// The limit that was passed.
        limit: Limit,
    },
    /// No room. Transactions that only delete still go through.
    #[error("the disk under the store is full, and only removals are taken: free some space there")]
    Full,
    /// The store takes no writes: standby, frozen, or fenced.
    #[error("the store is read-only in epoch {epoch}")]
    ReadOnly {
        /// The epoch that is in force.
        epoch: u64,
    },
    /// The history asked for is gone. Scan, then watch from the scan's revision.
    #[error("history is kept from revision {} on", .oldest.0)]
    Compacted {
        /// The oldest revision that can still be watched from or scanned at.
        oldest: Revision,
    },
    /// The data may be older than what the caller has seen. Drop every cache, then resume.
    #[error("the store's identity is now {now}")]
    IdentityChanged {
        /// The identity in force.
        now: StoreIdentity,
    },
    /// The lease has ended and whatever hung on it is gone. Grant a new one.
    #[error("the lease has ended")]
    LeaseGone,
    /// Stop using the store and raise an alarm. Says what is wrong and what to do.
    #[error("the store must not be used any further: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the very same call may succeed a little later.
    ///
    /// A commit repeated after [`Self::Unknown`] must bear the same [`OpId`](crate::OpId).
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown)
    }

    pub(crate) fn unavailable(retry_after: Duration, why: &'static str) -> Self {
        Self::Unavailable { retry_after, why: why.into() }
    }
}

/// The limits of the contract, the same for every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// A key has 1 to [`crate::MAX_KEY_LEN`] bytes.
    KeyLen,
    /// A value has at most [`crate::MAX_VALUE_LEN`] bytes.
    ValueLen,
    /// A transaction touches at most [`crate::MAX_KEYS_PER_TXN`] distinct keys.
    KeysPerTxn,
    /// Keys and values of a transaction have at most [`crate::MAX_TXN_LEN`] bytes together.
    TxnLen,
    /// A key has at most one condition and at most one write in a transaction.
    KeyTwice,
    /// A read names at most [`crate::MAX_KEYS_PER_READ`] keys.
    KeysPerRead,
    /// A page has 1 to [`crate::MAX_PAGE_ENTRIES`] entries.
    PageEntries,
    /// A lease lasts at most [`crate::MAX_LEASE_TTL`].
    LeaseTtl,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyLen => write!(f, "a key has 1 to {} bytes", crate::MAX_KEY_LEN),
            Self::ValueLen => write!(f, "a value has at most {} bytes", crate::MAX_VALUE_LEN),
            Self::KeysPerTxn => write!(f, "a transaction touches at most {} keys", crate::MAX_KEYS_PER_TXN),
            Self::TxnLen => write!(f, "a transaction has at most {} bytes", crate::MAX_TXN_LEN),
            Self::KeyTwice => f.write_str("a key has at most one condition and one write in a transaction"),
            Self::KeysPerRead => write!(f, "a read names at most {} keys", crate::MAX_KEYS_PER_READ),
            Self::PageEntries => write!(f, "a page has 1 to {} entries", crate::MAX_PAGE_ENTRIES),
            Self::LeaseTtl => write!(f, "a lease lasts at most {} s", crate::MAX_LEASE_TTL.as_secs()),
        }
    }
}
