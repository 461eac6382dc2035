//! Errors of stores, and what each of them means for the operation.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::{Revision, SecretId, StoreIdentity};

/// Why an operation failed. With every variant but [`Self::Unknown`], nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot serve the operation now. Retry it after `retry_after`.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// Shortest time to wait before a retry.
        retry_after: Duration,
        /// Why the store is unavailable.
        reason: Cow<'static, str>,
    },
    /// The deadline passed or the disk failed during the commit, which may have been applied. A retry with the same
    /// [`OpId`](crate::OpId) returns the outcome.
    #[error("the outcome of the operation is unknown; retry it with the same operation ID")]
    Unknown,
    /// The request exceeds a limit of the contract; a bug of the caller.
    #[error("the request exceeds a limit of the store: {limit}")]
    TooLarge {
        /// The limit that was exceeded.
        limit: Limit,
    },
    /// The disk is full. Transactions that only delete are still accepted.
    #[error("the disk of the store is full, only deletions are accepted; free some space")]
    Full,
    /// The store accepts no writes: it is a standby, frozen or fenced.
    #[error("{reason}")]
    ReadOnly {
        /// The current epoch.
        epoch: u64,
        /// Shortest time to wait before a retry.
        retry_after: Duration,
        /// Why, and who accepts writes.
        reason: Cow<'static, str>,
    },
    /// The requested history is no longer kept. Scan, then watch from the revision of the scan.
    #[error("the requested history is no longer kept; the oldest revision is {}", .oldest.0)]
    Compacted {
        /// Oldest revision that can be watched from or scanned at.
        oldest: Revision,
    },
    /// The data may be older than what the caller has read. Discard every cache before continuing.
    #[error("the identity of the store changed to {now}")]
    IdentityChanged {
        /// The current identity.
        now: StoreIdentity,
    },
    /// The lease has ended and its keys are deleted. Grant a new one.
    #[error("the lease has ended")]
    LeaseGone,
    /// The slot of an adopted secret is in use by another one. The two stores have drawn secrets independently.
    #[error("the slot of secret {:x} is in use by secret {:x}", .id.0, .found.0)]
    SecretConflict {
        /// The secret that was to be adopted.
        id: SecretId,
        /// The secret in its slot, which may have the same identifier and another owner or content.
        found: SecretId,
    },
    /// The store is damaged or its disk failed; it must not be used any longer. Holds what is wrong and what to do.
    #[error("the store must not be used any longer: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether the same call may succeed later. After [`Self::Unknown`], the retry must have the same
    /// [`OpId`](crate::OpId).
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown)
    }

    pub(crate) fn unavailable(retry_after: Duration, reason: &'static str) -> Self {
        Self::Unavailable { retry_after, reason: reason.into() }
    }
}

/// A limit of the contract, the same for every store.
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
    DuplicateKey,
    /// A read names at most [`crate::MAX_KEYS_PER_READ`] keys.
    KeysPerRead,
    /// A page has 1 to [`crate::MAX_PAGE_ENTRIES`] entries.
    PageEntries,
    /// A lease lasts at most [`crate::MAX_LEASE_TTL`].
    LeaseTtl,
    /// The identifier of a secret names a slot from 1 to [`crate::MAX_SECRETS`] and a generation from 1.
    SecretId,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyLen => write!(f, "a key has 1 to {} bytes", crate::MAX_KEY_LEN),
            Self::ValueLen => write!(f, "a value has at most {} bytes", crate::MAX_VALUE_LEN),
            Self::KeysPerTxn => write!(f, "a transaction touches at most {} keys", crate::MAX_KEYS_PER_TXN),
            Self::TxnLen => write!(f, "a transaction has at most {} bytes", crate::MAX_TXN_LEN),
            Self::DuplicateKey => {
                f.write_str("a key has at most one condition and one write in a transaction")
            }
            Self::KeysPerRead => write!(f, "a read names at most {} keys", crate::MAX_KEYS_PER_READ),
            Self::PageEntries => write!(f, "a page has 1 to {} entries", crate::MAX_PAGE_ENTRIES),
            Self::SecretId => {
                write!(f, "a secret has a slot from 1 to {} and a generation from 1", crate::MAX_SECRETS)
            }
            Self::LeaseTtl => write!(f, "a lease lasts at most {} s", crate::MAX_LEASE_TTL.as_secs()),
        }
    }
}
