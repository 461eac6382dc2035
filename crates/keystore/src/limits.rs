//! The limits of the contract and their checks.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::lease::MAX_LEASE_TTL;
use crate::{AdoptedSecret, Key, Limit, StoreError, Txn, Write};

/// Longest key, in bytes.
pub const MAX_KEY_LEN: usize = 512;
/// Longest value, in bytes.
pub const MAX_VALUE_LEN: usize = 64 * 1024;
/// Most distinct keys of one transaction, conditions and writes together.
pub const MAX_KEYS_PER_TXN: usize = 100;
/// Largest transaction, in bytes: keys of conditions and writes, and values.
pub const MAX_TXN_LEN: usize = 1024 * 1024;
/// Most keys of one read.
pub const MAX_KEYS_PER_READ: usize = 100;
/// Most entries of one page.
pub const MAX_PAGE_ENTRIES: usize = 1000;
/// Largest page, in bytes of keys and values.
pub const MAX_PAGE_LEN: usize = 1024 * 1024;

const fn too_large(limit: Limit) -> Result<(), StoreError> {
    Err(StoreError::TooLarge { limit })
}

fn check_key(key: &Key) -> Result<(), StoreError> {
    if key.0.is_empty() || key.0.len() > MAX_KEY_LEN { too_large(Limit::KeyLen) } else { Ok(()) }
}

pub(crate) fn check_txn(txn: &Txn) -> Result<(), StoreError> {
    let mut len = 0usize;
    let mut conds = BTreeSet::new();
    for cond in &txn.conds {
        check_key(cond.key())?;
        len = len.saturating_add(cond.key().0.len());
        if !conds.insert(cond.key()) {
            return too_large(Limit::DuplicateKey);
        }
    }
    let mut writes = BTreeSet::new();
    for write in &txn.writes {
        check_key(write.key())?;
        len = len.saturating_add(write.key().0.len());
        if let Write::Put { value, .. } = write {
            if value.len() > MAX_VALUE_LEN {
                return too_large(Limit::ValueLen);
            }
            len = len.saturating_add(value.len());
        }
        if !writes.insert(write.key()) {
            return too_large(Limit::DuplicateKey);
        }
    }
    if conds.union(&writes).count() > MAX_KEYS_PER_TXN {
        return too_large(Limit::KeysPerTxn);
    }
    if len > MAX_TXN_LEN {
        return too_large(Limit::TxnLen);
    }
    Ok(())
}

pub(crate) fn check_keys(keys: &[Key]) -> Result<(), StoreError> {
    if keys.len() > MAX_KEYS_PER_READ {
        return too_large(Limit::KeysPerRead);
    }
    keys.iter().try_for_each(check_key)
}

pub(crate) fn check_page(limit: usize) -> Result<(), StoreError> {
    if (1..=MAX_PAGE_ENTRIES).contains(&limit) { Ok(()) } else { too_large(Limit::PageEntries) }
}

pub(crate) fn check_ttl(ttl: Duration) -> Result<(), StoreError> {
    if ttl <= MAX_LEASE_TTL { Ok(()) } else { too_large(Limit::LeaseTtl) }
}

/// Checks that the secrets have valid identifiers and slots of their own.
pub(crate) fn check_adopted(secrets: &[AdoptedSecret]) -> Result<(), StoreError> {
    let mut slots = BTreeSet::new();
    for secret in secrets {
        if !slots.insert(secret.id.parts()?.0) {
            return too_large(Limit::SecretId);
        }
    }
    Ok(())
}
