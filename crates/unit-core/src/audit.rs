//! The unit's audit log: a hash chain over all records, and the newest records.

use sha2::{Digest, Sha256};
use unit_api::UnitError;
use unit_api::admin::{AUDIT_RECORD_LEN, AuditChain, AuditRecord, MAX_AUDIT_RECORDS};

/// The audit log. Survives zeroize.
///
/// Hashes are computed here and not by the engine, so that events can be recorded after the engine has failed.
#[derive(Clone, Copy)]
pub(crate) struct AuditLog {
    /// Number of the newest record; records are counted from 1.
    last: u64,
    /// Hash of the newest record and all records before it.
    head: [u8; 32],
    /// Hash up to the record before the oldest kept one.
    before: [u8; 32],
    /// Record number n is at index (n − 1) modulo the length.
    ring: [[u8; AUDIT_RECORD_LEN]; MAX_AUDIT_RECORDS],
}

impl AuditLog {
    /// Length of the log's bytes.
    pub(crate) const LEN: usize = 8 + 32 + 32 + MAX_AUDIT_RECORDS * AUDIT_RECORD_LEN;

    /// A log without records.
    pub(crate) const EMPTY: Self =
        Self { last: 0, head: [0; 32], before: [0; 32], ring: [[0; AUDIT_RECORD_LEN]; MAX_AUDIT_RECORDS] };

    pub(crate) const fn records(&self) -> u64 {
        self.last
    }

    pub(crate) const fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Numbers a record and appends it; a full log drops its oldest record.
    pub(crate) fn append(&mut self, mut record: AuditRecord) {
        // One record is one write of storage, which wears out long before the numbers end.
        self.last = self.last.saturating_add(1);
        record.sequence = self.last;
        let bytes = record.to_bytes();
        let full = self.last > MAX_AUDIT_RECORDS as u64;
        if let Some(place) = self.ring.get_mut(index(self.last)) {
            if full {
                self.before = link(&self.before, place);
            }
            *place = bytes;
        }
        self.head = link(&self.head, &bytes);
    }

    /// Writes the chain from record `first`, or from the oldest kept record, to the start of `out`.
    pub(crate) fn write_chain<'o>(&self, first: u64, out: &'o mut [u8]) -> Result<&'o [u8], UnitError> {
        let oldest = self.last.saturating_sub(MAX_AUDIT_RECORDS as u64) + 1;
        // Not `clamp`, which panics if the bounds are the wrong way round.
        let first = first.max(oldest).min(self.last.saturating_add(1));
        let before = self.bytes_of(oldest..first).fold(self.before, |hash, bytes| link(&hash, bytes));
        let records = self.bytes_of(first..self.last.saturating_add(1));
        let records = records.filter_map(|bytes| AuditRecord::from_bytes(bytes).ok());
        AuditChain::encode(&before, records, out).map_err(|_| UnitError::ResponseTooLong)
    }

    fn bytes_of(&self, numbers: core::ops::Range<u64>) -> impl Iterator<Item = &[u8; AUDIT_RECORD_LEN]> {
        numbers.filter_map(|number| self.ring.get(index(number)))
    }

    /// Hashes and records, as they are stored after the number of the newest record.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.head, &self.before, self.ring.as_flattened()]
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (last, rest) = bytes.split_first_chunk::<8>()?;
        let (head, rest) = rest.split_first_chunk::<32>()?;
        let (before, rest) = rest.split_first_chunk::<32>()?;
        let (records, _) = rest.as_chunks::<AUDIT_RECORD_LEN>();
        let ring = records.try_into().ok()?;
        Some(Self { last: u64::from_be_bytes(*last), head: *head, before: *before, ring })
    }
}

const fn index(number: u64) -> usize {
    // Less than the number of records.
    (number.wrapping_sub(1) % MAX_AUDIT_RECORDS as u64) as usize
}

fn link(before: &[u8; 32], record: &[u8; AUDIT_RECORD_LEN]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(record).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{AuditLog, link};
    use unit_api::admin::{AuditChain, AuditKind, AuditRecord, MAX_AUDIT_RECORDS};

    fn record(command: u32) -> AuditRecord {
        AuditRecord {
            sequence: 0,
            time_ms: 0,
            kind: AuditKind::Command,
            signers: 0,
            command,
            return_code: 0,
            reason: 0,
            domain_instance: 1,
            transaction_counter: 2,
            current: [3; 16],
            new: [4; 16],
            block_hash: [5; 32],
            signer_prefixes: [[0; 8]; 8],
        }
    }

    /// From every first record, the chain leads from its first hash to the head.
    #[test]
    fn every_part_of_the_chain_leads_to_the_head() {
        let mut log = AuditLog::EMPTY;
        let mut heads = std::vec![[0; 32]];
        for total in 1..100_u64 {
            log.append(record(u32::try_from(total).unwrap()));
            heads.push(log.head());
            for first in 0..=total + 2 {
                let mut out = [0; 16 * 1024];
                let chain = AuditChain::decode(log.write_chain(first, &mut out).unwrap()).unwrap();
                let oldest = total.saturating_sub(MAX_AUDIT_RECORDS as u64) + 1;
                let start = first.clamp(oldest, total + 1);
                assert_eq!(chain.before, *heads.get(usize::try_from(start).unwrap() - 1).unwrap());
                let numbers: std::vec::Vec<_> = chain.records().map(|record| record.sequence).collect();
                assert!(numbers.iter().copied().eq(start..=total), "{first} of {total}: {numbers:?}");
                let end = chain.record_bytes().iter().fold(chain.before, |hash, bytes| link(&hash, bytes));
                assert_eq!(end, log.head());
            }
        }
    }
}
