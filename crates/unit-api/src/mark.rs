//! How far a unit has come, so that its host and its customer notice an earlier state.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Lowest life that a unit draws when it has lost its state; lives that are counted stay below.
pub const FIRST_DRAWN_LIFE: u32 = 1 << 31;

/// A drawn life is taken for an earlier one if it is this close below the last: more zeroizes than a unit sees, and close
/// enough that one draw in 16,000 falls there.
const MOST_ZEROIZES: u32 = 1 << 16;

/// What of a unit only ever grows.
///
/// A unit cannot tell from its own storage that an earlier content was put back. Its host and its customer, who keep
/// its mark outside of it, can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitMark {
    /// Which life of the domain it is.
    pub life: u32,
    /// Authorised commands so far.
    pub transaction_counter: u128,
    /// Audit records so far.
    pub audit_records: u64,
    /// Hash of the newest audit record, and through it of all.
    pub audit_head: [u8; 32],
}

/// What shows that a unit is not in a state that follows an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolledBack {
    /// It is in an earlier life: before a zeroize.
    Life {
        /// The life that was seen.
        seen: u32,
        /// The life now.
        found: u32,
    },
    /// It has carried out fewer commands.
    TransactionCounter {
        /// The value that was seen.
        seen: u128,
        /// The value now.
        found: u128,
    },
    /// It has fewer audit records.
    AuditRecords {
        /// The number that was seen.
        seen: u64,
        /// The number now.
        found: u64,
    },
    /// It has as many audit records as before, and others: there are two copies of the unit.
    OtherHistory {
        /// Number of the records.
        records: u64,
    },
}

impl UnitMark {
    /// Checks that `now` can follow this mark.
    ///
    /// A later life says nothing about the ones before: it begins with nothing of them.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn may_become(&self, now: &Self) -> Result<(), RolledBack> {
        if now.life != self.life {
            let (seen, found) = (self.life, now.life);
            // A unit that has lost everything draws its life at random, far away from the last one.
            let is_drawn = found >= FIRST_DRAWN_LIFE && seen.saturating_sub(found) > MOST_ZEROIZES;
            return if found > seen || is_drawn { Ok(()) } else { Err(RolledBack::Life { seen, found }) };
        }
        if now.transaction_counter < self.transaction_counter {
            let (seen, found) = (self.transaction_counter, now.transaction_counter);
            return Err(RolledBack::TransactionCounter { seen, found });
        }
        if now.audit_records < self.audit_records {
            let (seen, found) = (self.audit_records, now.audit_records);
            return Err(RolledBack::AuditRecords { seen, found });
        }
        if now.audit_records == self.audit_records && now.audit_head != self.audit_head {
            return Err(RolledBack::OtherHistory { records: now.audit_records });
        }
        Ok(())
    }
}

impl fmt::Display for RolledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life { seen, found } => {
                write!(f, "it is in life {found} after life {seen}: an old state, from before a zeroize")
            }
            Self::TransactionCounter { seen, found } => {
                write!(f, "its transaction counter went back from {seen} to {found}: an old state, or a copy")
            }
            Self::AuditRecords { seen, found } => {
                write!(f, "it has {found} audit records after {seen}: an old state, or a copy")
            }
            Self::OtherHistory { records } => {
                write!(
                    f,
                    "its {records} audit records are others than before: a copy with a history of its own"
                )
            }
        }
    }
}

impl core::error::Error for RolledBack {}

#[cfg(test)]
mod tests {
    use super::{FIRST_DRAWN_LIFE, RolledBack, UnitMark};

    const SEEN: UnitMark =
        UnitMark { life: 2, transaction_counter: 17, audit_records: 40, audit_head: [1; 32] };

    #[test]
    fn a_unit_may_stay_or_go_on() {
        SEEN.may_become(&SEEN).unwrap();
        let later =
            UnitMark { transaction_counter: u128::MAX, audit_records: 41, audit_head: [2; 32], ..SEEN };
        SEEN.may_become(&later).unwrap();
        // After a second loss of everything the drawn life may be lower.
        let drawn = UnitMark { life: FIRST_DRAWN_LIFE + 900_000_000, ..SEEN };
        drawn.may_become(&UnitMark { life: FIRST_DRAWN_LIFE + 5, transaction_counter: 1, ..SEEN }).unwrap();
        assert!(drawn.may_become(&UnitMark { life: drawn.life - 1, ..SEEN }).is_err());
        assert!(drawn.may_become(&SEEN).is_err());
        // A unit that lost its state and was zeroized begins another chain.
        let next = UnitMark { life: 3, transaction_counter: 1, audit_records: 2, audit_head: [3; 32] };
        SEEN.may_become(&next).unwrap();
    }

    #[test]
    fn attack_an_earlier_state_or_a_copy_does_not_follow() {
        let cases = [
            (UnitMark { life: 1, audit_records: 99, ..SEEN }, RolledBack::Life { seen: 2, found: 1 }),
            (
                UnitMark { transaction_counter: 16, ..SEEN },
                RolledBack::TransactionCounter { seen: 17, found: 16 },
            ),
            (UnitMark { audit_records: 39, ..SEEN }, RolledBack::AuditRecords { seen: 40, found: 39 }),
            (UnitMark { audit_head: [9; 32], ..SEEN }, RolledBack::OtherHistory { records: 40 }),
        ];
        for (now, expected) in cases {
            assert_eq!(SEEN.may_become(&now), Err(expected));
        }
    }
}
