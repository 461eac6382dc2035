//! What a unit says of itself.

use crate::{UnitMark, VerificationPattern};
use core::fmt;
use serde::{Deserialize, Serialize};

/// A unit's identity: its module's serial number (8 characters) and instance (8 bytes). Survives zeroize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnitId(pub [u8; 16]);

/// The serial as text where it is text, then the instance in hexadecimal.
impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (serial, instance) = self.0.split_at(8);
        for byte in serial {
            let shown = if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
            write!(f, "{shown}")?;
        }
        f.write_str("-")?;
        instance.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The New master-key register.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum NewRegister {
    /// Nothing in it.
    Empty,
    /// Loaded, not yet approved.
    FullUncommitted(VerificationPattern),
    /// Loaded and approved.
    FullCommitted(VerificationPattern),
}

/// Whether a unit works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// The unit executes every command.
    Operational,
    /// The error with this number occurred; the unit executes only status, queries and zeroize.
    Error(u16),
}

/// What a unit says of itself, unsigned. What its module signs is [`crate::admin::DomainInfo`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Whose status this is.
    pub unit: UnitId,
    /// Index of the domain in its module.
    pub domain_index: u32,
    /// Which life of the domain this is; a value never used before after every zeroize.
    pub domain_instance: u32,
    /// Random bytes, generated at every start of the unit.
    pub boot_nonce: [u8; 16],
    /// Whether it works.
    pub condition: Condition,
    /// Verification pattern of the current master-key register, if it is valid.
    pub current: Option<VerificationPattern>,
    /// State of the new master-key register.
    pub new: NewRegister,
    /// Counts administrative commands that were rightly signed; never goes back.
    pub transaction_counter: u128,
    /// Administrators installed.
    pub administrators: u8,
    /// Signatures an administrative command needs; 0 in imprint mode.
    pub signature_threshold: u8,
    /// Signatures a removal needs; 0 in imprint mode.
    pub revocation_threshold: u8,
    /// Audit records written so far.
    pub audit_records: u64,
    /// Hash of the newest audit record, and through it of all.
    pub audit_head: [u8; 32],
}

impl UnitStatus {
    /// How far the unit has come.
    #[must_use]
    pub const fn mark(&self) -> UnitMark {
        UnitMark {
            life: self.domain_instance,
            transaction_counter: self.transaction_counter,
            audit_records: self.audit_records,
            audit_head: self.audit_head,
        }
    }
}
