//! Counts of AES-GCM invocations: limits, records, and what this process may still use.
//!
//! Wrap encrypts with AES-GCM and random IVs under a key version. SP 800-38D §8.3 permits 2^32 invocations under one key
//! then. Invocations are leased in blocks: a block is durable in the store before its first invocation, so that a crash
//! loses the rest of the block and the count is too high, never too low.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::record::{MAX_VERSIONS, decode};
use crate::{InstanceId, RecordError, VersionId};

/// Invocations that one command may cause: units draw the IVs, and a command may be sent to three of them.
pub const INVOCATIONS_PER_COMMAND: u64 = 3;
/// Key versions for which this process holds a block. Of one more, another one's block is given up.
const MAX_COUNTERS: usize = 1 << 16;
/// Most invocations that are taken from the ledger at once: it is asked again after 16384 commands.
const LEDGER_BLOCK: u64 = INVOCATIONS_PER_COMMAND << 14;

/// How many AES-GCM invocations a key version may have, and how they are leased.
///
/// Of the limit, a sixteenth is set aside for stores that accept no writes, or are mirrors, in which they cannot be counted. The other
/// invocations are counted in the store. Half of the limit is where a rotation is advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvocationLimits {
    limit: u64,
    block: u64,
}

impl InvocationLimits {
    /// 2^32 invocations (SP 800-38D §8.3), leased in blocks of 2^20.
    pub const STANDARD: Self = Self { limit: 1 << 32, block: 1 << 20 };

    /// Sets a lower limit. More than 2^32 is taken as that.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        Self { limit: limit.min(Self::STANDARD.limit), ..self }
    }

    /// Sets how many invocations are leased at once, at least those of one command.
    #[must_use]
    pub fn with_block(self, block: u64) -> Self {
        Self { block: block.max(INVOCATIONS_PER_COMMAND), ..self }
    }

    /// Most invocations of a key version.
    #[must_use]
    pub const fn limit(self) -> u64 {
        self.limit
    }

    /// Number of leased invocations from which a rotation is advised.
    #[must_use]
    pub const fn advised(self) -> u64 {
        self.limit / 2
    }

    /// Most invocations that are leased in the store.
    #[must_use]
    pub const fn leasable(self) -> u64 {
        self.limit - self.limit / 16
    }

    /// Most invocations by the users of one store while it accepts no writes, or is a mirror. Sixteen such stores share what is set aside.
    #[must_use]
    pub const fn without_writes(self) -> u64 {
        self.limit / 256
    }

    /// The next block of a version of which so many are leased; `None` at the limit.
    pub(crate) fn next_block(self, leased: u64) -> Option<u64> {
        let block = self.block.min(self.leasable().saturating_sub(leased));
        (block >= INVOCATIONS_PER_COMMAND).then_some(block)
    }

    pub(crate) const fn ledger_block(self) -> u64 {
        if self.block < LEDGER_BLOCK { self.block } else { LEDGER_BLOCK }
    }
}

/// Where invocations are counted while a store accepts no writes, or is a mirror.
///
/// All services over one store share one ledger. An implementation that is not durable counts too few if the service is
/// restarted in such a time.
pub trait InvocationLedger: Send + Sync + 'static {
    /// Adds `amount` to what was taken of a version, unless that exceeds `most`; returns whether it was added. It is durable
    /// when this returns. It may block for one write of a file; it is called once in thousands of wraps.
    ///
    /// # Errors
    /// [`LedgerFailed`]; `amount` may have been added.
    fn take(
        &self,
        instance: InstanceId,
        version: VersionId,
        amount: u64,
        most: u64,
    ) -> Result<bool, LedgerFailed>;
}

/// The ledger could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger of invocations could not be written")]
pub struct LedgerFailed;

/// A ledger in memory, for tests and demonstrations.
#[derive(Debug, Default)]
pub struct VolatileLedger(Mutex<BTreeMap<(InstanceId, VersionId), u64>>);

impl InvocationLedger for VolatileLedger {
    fn take(
        &self,
        instance: InstanceId,
        version: VersionId,
        amount: u64,
        most: u64,
    ) -> Result<bool, LedgerFailed> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.entry((instance, version)).or_default();
        let sum = taken.saturating_add(amount);
        let fits = sum <= most;
        if fits {
            *taken = sum;
        }
        Ok(fits)
    }
}

/// Invocations of a key version that are leased: all that were made, and those that leased blocks still permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvocationCount {
    /// The key version.
    pub version: VersionId,
    /// Number of leased invocations.
    pub leased: u64,
}

/// What this process has seen of counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvocationStats {
    /// Key versions for which a rotation is advised, of those that this process has used lately.
    pub versions_to_rotate: usize,
    /// Wraps that were refused because the key version has no invocations left.
    pub refused: u64,
}

/// The counts of a key's versions, as stored. A new field needs a new format number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Version and leased invocations, in the order of their first lease.
    versions: Vec<([u8; 16], u64)>,
}

impl Counts {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let counts: Self = decode(bytes)?;
        if counts.versions.len() > MAX_VERSIONS { Err(RecordError::Malformed) } else { Ok(counts) }
    }

    /// Leased invocations of a version. A version without a count has none: it was not used, or before there were counts.
    pub(crate) fn leased(&self, version: VersionId) -> u64 {
        let id = version.0.as_bytes();
        self.versions.iter().find(|(found, _)| found == id).map_or(0, |(_, leased)| *leased)
    }

    pub(crate) fn set(&mut self, version: VersionId, leased: u64) {
        let id = version.0.into_bytes();
        match self.versions.iter_mut().find(|(found, _)| *found == id) {
            Some((_, count)) => *count = leased,
            None => self.versions.push((id, leased)),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = InvocationCount> {
        self.versions.iter().map(|(id, leased)| InvocationCount {
            version: VersionId(uuid::Uuid::from_bytes(*id)),
            leased: *leased,
        })
    }
}

/// What this process may still use of a version's leased invocations.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    left: AtomicU64,
    /// All that is leased, as this process has seen it last.
    leased: AtomicU64,
    /// Held while a block is leased, so that waiting requests share it.
    pub(crate) leasing: tokio::sync::Mutex<()>,
}

impl Counter {
    /// Takes the invocations of one command, if enough are left.
    pub(crate) fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(INVOCATIONS_PER_COMMAND);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    /// Adds a block that is durable.
    pub(crate) fn add(&self, block: u64) {
        self.left.fetch_add(block, Ordering::AcqRel);
    }

    pub(crate) fn note_leased(&self, leased: u64) {
        self.leased.fetch_max(leased, Ordering::AcqRel);
    }
}

/// The counters of the versions that this process has used.
#[derive(Default)]
pub(crate) struct Counters {
    counters: RwLock<BTreeMap<(InstanceId, VersionId), Arc<Counter>>>,
    refused: AtomicU64,
}

impl Counters {
    pub(crate) fn of(&self, instance: InstanceId, version: VersionId) -> Arc<Counter> {
        let key = (instance, version);
        let known = self.counters.read().unwrap_or_else(PoisonError::into_inner).get(&key).map(Arc::clone);
        known.unwrap_or_else(|| {
            let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
            if counters.len() >= MAX_COUNTERS && !counters.contains_key(&key) {
                counters.pop_first();
            }
            Arc::clone(counters.entry(key).or_default())
        })
    }

    pub(crate) fn note_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, limits: InvocationLimits) -> InvocationStats {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        let is_advised = |counter: &&Arc<Counter>| counter.leased.load(Ordering::Acquire) >= limits.advised();
        InvocationStats {
            versions_to_rotate: counters.values().filter(is_advised).count(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// The number of counters alone.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Counters").field("len", &counters.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Counter, Counters, Counts, InvocationLedger, InvocationLimits, MAX_COUNTERS, VolatileLedger,
    };
    use crate::record::{MAX_VERSIONS, encode};
    use crate::{InstanceId, VersionId};
    use uuid::Uuid;

    fn version(n: u128) -> VersionId {
        VersionId(Uuid::from_u128(n))
    }

    #[test]
    fn the_parts_of_the_limit_never_exceed_it() {
        let limits = InvocationLimits::STANDARD;
        assert_eq!((limits.limit(), limits.advised()), (1 << 32, 1 << 31));
        assert!(limits.leasable() + 16 * limits.without_writes() <= limits.limit());
        assert_eq!(limits.with_limit(u64::MAX), limits);
        assert_eq!(limits.next_block(0), Some(1 << 20));
        assert_eq!(limits.next_block(limits.leasable() - 5), Some(5));
        assert_eq!(limits.next_block(limits.leasable() - 2), None);
        assert_eq!(limits.next_block(u64::MAX), None);
    }

    #[test]
    fn a_counter_permits_what_was_leased() {
        let counter = Counter::default();
        assert!(!counter.take());
        counter.add(7);
        assert_eq!((0..4).filter(|_| counter.take()).count(), 2);
    }

    #[test]
    fn counters_are_bounded() {
        let (counters, instance) = (Counters::default(), InstanceId(Uuid::from_u128(1)));
        for n in 0..MAX_COUNTERS as u128 + 3 {
            counters.of(instance, version(n)).add(3);
        }
        assert_eq!(counters.counters.read().unwrap().len(), MAX_COUNTERS);
        assert!(counters.of(instance, version(MAX_COUNTERS as u128)).take());
        assert!(!counters.of(instance, version(0)).take());
    }

    #[test]
    fn a_ledger_gives_no_more_than_the_most() {
        let (ledger, instance) = (VolatileLedger::default(), InstanceId(Uuid::from_u128(1)));
        let take = |n, amount| ledger.take(instance, version(n), amount, 10).unwrap();
        assert_eq!(
            [take(1, 6), take(1, 6), take(1, 4), take(1, 1), take(2, 10)],
            [true, false, true, false, true]
        );
    }

    /// Existing stores depend on these bytes.
    #[test]
    fn wire_counts_are_the_documented_bytes() {
        let mut counts = Counts::default();
        counts.set(version(1), 5);
        counts.set(version(2), 1 << 20);
        counts.set(version(1), 300);
        let one = 1_u128.to_be_bytes();
        let two = 2_u128.to_be_bytes();
        let bytes = [&[2][..], &one, &[0xac, 2], &two, &[0x80, 0x80, 0x40]].concat();
        assert_eq!(encode(&counts).as_slice(), bytes);
        assert_eq!(Counts::decode(&bytes).unwrap(), counts);
        assert_eq!((counts.leased(version(1)), counts.leased(version(3))), (300, 0));
    }

    #[test]
    fn the_largest_counts_fit_a_value_of_the_store() {
        let mut counts = Counts::default();
        for n in 0..MAX_VERSIONS as u128 {
            counts.set(version(n), u64::MAX);
        }
        let bytes = encode(&counts);
        assert!(bytes.len() + 64 < keystore::MAX_VALUE_LEN);
        Counts::decode(&bytes).unwrap();
        counts.set(version(u128::MAX), 1);
        Counts::decode(&encode(&counts)).unwrap_err();
    }
}
