//! Commands that not enough administrators signed, counted so that they cannot push other records out of the audit log.

use unit_api::admin::{AuditKind, AuditRecord, SIGNER_PREFIX_LEN};

/// Unauthorised commands since the last authorised one.
///
/// Anybody who reaches a unit can send them, in any number. The first is recorded at once. The others cost neither a place in
/// the log nor a write: they are counted, and one record before the next authorised command says how many there were, with
/// the last of them. A loss of power loses the count, not the first record.
#[derive(Clone, Default)]
pub(crate) struct RefusedAttempts {
    /// Whether the first is recorded.
    has_record: bool,
    /// Those after the first.
    more: u64,
    /// Record of the last, as it would have been.
    last: Option<AuditRecord>,
}

impl RefusedAttempts {
    /// Whether an unauthorised command gets a record of its own.
    pub(crate) const fn is_first(&self) -> bool {
        !self.has_record
    }

    /// The first has its record.
    pub(crate) const fn begin(&mut self) {
        self.has_record = true;
    }

    /// Counts one after the first.
    pub(crate) const fn count(&mut self, record: AuditRecord) {
        self.more = self.more.saturating_add(1);
        self.last = Some(record);
    }

    /// The record about those after the first: the last of them, with their number in the place of the first signer.
    pub(crate) fn summary(&self) -> Option<AuditRecord> {
        let mut record = self.last?;
        record.kind = AuditKind::RefusedAttempts;
        record.signers = 0;
        record.signer_prefixes = [[0; SIGNER_PREFIX_LEN]; 8];
        if let Some(place) = record.signer_prefixes.first_mut() {
            *place = self.more.to_be_bytes();
        }
        Some(record)
    }
}
