//! The unit's own record of what was asked of it.

use super::MAX_SIGNERS;
use super::fields::{Filler, Malformed, NoRoom};
use crate::Wkid;

/// Number of records that a unit keeps. The hash of the chain covers older records, too.
pub const MAX_AUDIT_RECORDS: usize = 32;
/// How much of a signer's subject key identifier a record holds, in bytes.
pub const SIGNER_PREFIX_LEN: usize = 8;
/// Length of a record, in bytes.
pub const AUDIT_RECORD_LEN: usize =
    8 + 8 + 1 + 1 + 4 + 4 + 4 + 4 + 16 + 16 + 16 + 32 + MAX_SIGNERS * SIGNER_PREFIX_LEN;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AuditKind {
    /// The first record of a unit.
    NewChain = 1,
    /// An administrative command, carried out or refused.
    Command = 2,
    /// The unit was zeroized at the module's level, without its administrators.
    ModuleZeroize = 3,
    /// The module noticed tampering and erased everything.
    Tamper = 4,
    /// Commands that not enough administrators signed, after a first one that has a record of its own. The record's fields
    /// are those of the last; the first signer's place holds their number.
    RefusedAttempts = 5,
}

impl AuditKind {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::NewChain),
            2 => Some(Self::Command),
            3 => Some(Self::ModuleZeroize),
            4 => Some(Self::Tamper),
            5 => Some(Self::RefusedAttempts),
            _ => None,
        }
    }
}

/// One record. As bytes, in the order of the fields, numbers big-endian, signers in eight places of which the first
/// `signers` are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counts records from 1, over all lives of the domain.
    pub sequence: u64,
    /// When, in milliseconds since 1970, by a clock that nothing else depends on; 0 where there is none.
    pub time_ms: u64,
    /// About what.
    pub kind: AuditKind,
    /// Signatures that were right.
    pub signers: u8,
    /// Number of the command.
    pub command: u32,
    /// 0, or why it was refused.
    pub return_code: u32,
    /// 0, or the reason code.
    pub reason: u32,
    /// Life of the domain, after the command.
    pub domain_instance: u32,
    /// Transaction counter, after the command.
    pub transaction_counter: u128,
    /// Key identifier of the current register after the command, zero if the register is empty.
    pub current: Wkid,
    /// Key identifier of the new register after the command, zero if the register is empty.
    pub new: Wkid,
    /// SHA-256 of the block that was signed.
    pub block_hash: [u8; 32],
    /// The first bytes of each signer's subject key identifier.
    pub signer_prefixes: [[u8; SIGNER_PREFIX_LEN]; MAX_SIGNERS],
}

impl AuditRecord {
    /// How many commands a record of [`AuditKind::RefusedAttempts`] is about; 1 for every other kind.
    #[must_use]
    pub const fn attempts(&self) -> u64 {
        match (self.kind, self.signer_prefixes) {
            (AuditKind::RefusedAttempts, [number, ..]) => u64::from_be_bytes(number),
            _ => 1,
        }
    }

    /// The record's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; AUDIT_RECORD_LEN] {
        let parts: [&[u8]; 13] = [
            &self.sequence.to_be_bytes(),
            &self.time_ms.to_be_bytes(),
            &[self.kind as u8],
            &[self.signers],
            &self.command.to_be_bytes(),
            &self.return_code.to_be_bytes(),
            &self.reason.to_be_bytes(),
            &self.domain_instance.to_be_bytes(),
            &self.transaction_counter.to_be_bytes(),
            &self.current,
            &self.new,
            &self.block_hash,
            self.signer_prefixes.as_flattened(),
        ];
        let mut bytes = [0; AUDIT_RECORD_LEN];
        bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The record in these bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8; AUDIT_RECORD_LEN]) -> Result<Self, Malformed> {
        let (sequence, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed)?;
        let (time_ms, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let (&[kind, signers], rest) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let (command, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (return_code, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (reason, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (domain_instance, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (transaction_counter, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        let (current, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        let (new, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        let (block_hash, rest) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let (prefixes, []) = rest.as_chunks::<SIGNER_PREFIX_LEN>() else { return Err(Malformed) };
        if usize::from(signers) > MAX_SIGNERS {
            return Err(Malformed);
        }
        Ok(Self {
            sequence: u64::from_be_bytes(*sequence),
            time_ms: u64::from_be_bytes(*time_ms),
            kind: AuditKind::from_number(kind).ok_or(Malformed)?,
            signers,
            command: u32::from_be_bytes(*command),
            return_code: u32::from_be_bytes(*return_code),
            reason: u32::from_be_bytes(*reason),
            domain_instance: u32::from_be_bytes(*domain_instance),
            transaction_counter: u128::from_be_bytes(*transaction_counter),
            current: *current,
            new: *new,
            block_hash: *block_hash,
            signer_prefixes: prefixes.try_into().map_err(|_| Malformed)?,
        })
    }
}

/// A stretch of the chain: the hash before its first record (32), then records one after the other.
///
/// The hash of a record is SHA-256(hash before it ‖ its bytes); before the first record of a unit it is zero. The
/// hash of a record reveals whether an earlier record was changed, removed or inserted.
#[derive(Clone, Copy, Debug)]
pub struct AuditChain<'a> {
    /// Hash up to the record before the first.
    pub before: [u8; 32],
    records: &'a [[u8; AUDIT_RECORD_LEN]],
}

impl<'a> AuditChain<'a> {
    /// The stretch in these bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (before, rest) = bytes.split_first_chunk::<32>().ok_or(Malformed)?;
        let (records, []) = rest.as_chunks() else { return Err(Malformed) };
        for record in records {
            AuditRecord::from_bytes(record)?;
        }
        Ok(Self { before: *before, records })
    }

    /// Writes a stretch to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(
        before: &[u8; 32],
        records: impl Iterator<Item = AuditRecord>,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], NoRoom> {
        let mut all = Filler::new(out);
        all.push(before)?;
        for record in records {
            all.push(&record.to_bytes())?;
        }
        all.finish()
    }

    /// The bytes of the records, to be hashed in order.
    #[must_use]
    pub const fn record_bytes(&self) -> &'a [[u8; AUDIT_RECORD_LEN]] {
        self.records
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = AuditRecord> + 'a {
        self.records.iter().filter_map(|bytes| AuditRecord::from_bytes(bytes).ok())
    }
}

const _: () = assert!(32 + MAX_AUDIT_RECORDS * AUDIT_RECORD_LEN < super::MAX_ADMIN_RESPONSE_LEN);

#[cfg(test)]
mod tests {
    use super::{AuditChain, AuditKind, AuditRecord};

    fn record() -> AuditRecord {
        AuditRecord {
            sequence: 1,
            time_ms: 2,
            kind: AuditKind::Command,
            signers: 3,
            command: 4,
            return_code: 5,
            reason: 6,
            domain_instance: 7,
            transaction_counter: 8,
            current: [9; 16],
            new: [10; 16],
            block_hash: [11; 32],
            signer_prefixes: [[12; 8]; 8],
        }
    }

    #[test]
    fn chains_read_as_they_were_written() {
        let mut out = [0; 1024];
        let bytes = AuditChain::encode(&[1; 32], [record(), record()].into_iter(), &mut out).unwrap();
        let chain = AuditChain::decode(bytes).unwrap();
        assert_eq!(chain.before, [1; 32]);
        assert!(chain.records().eq([record(), record()]));
        assert!(AuditChain::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut bytes = record().to_bytes();
        bytes[16] = 0;
        assert!(AuditRecord::from_bytes(&bytes).is_err());
        bytes[16] = 2;
        bytes[17] = 9;
        assert!(AuditRecord::from_bytes(&bytes).is_err());
    }
}
