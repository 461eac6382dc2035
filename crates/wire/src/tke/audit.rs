//! `GET /v1/tke/{instance}/hsms/{hsm_id}/audit`: audit records of a crypto unit that the service has kept.
//!
//! The same lines are kept in files, by the service and by the customer's tool.

use super::HexBytes;
use serde::{Deserialize, Serialize};

/// Length of a record, in bytes.
pub const AUDIT_RECORD_LEN: usize = 178;
/// Most lines of one response.
pub const MAX_AUDIT_LINES: usize = 256;

/// Query parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditOptions {
    /// Number of the first wanted record.
    #[serde(default)]
    pub first: u64,
}

/// A line of kept records.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum AuditLine {
    /// One record, and the hash over all records up to it.
    Record {
        /// Number of the record.
        sequence: u64,
        /// Hash over all records up to it.
        hash: HexBytes<32>,
        /// The record.
        record: HexBytes<AUDIT_RECORD_LEN>,
    },
    /// Records that the unit had dropped before they were fetched.
    Gap {
        /// Number of the first missing record.
        first: u64,
        /// Number of the last missing record.
        last: u64,
        /// Hash over all records up to the last missing one.
        hash: HexBytes<32>,
    },
    /// What follows does not continue the lines before: the unit has another chain, or an older one.
    Break {
        /// Number of the next record.
        first: u64,
        /// Hash over all records before it, as the unit reports it.
        hash: HexBytes<32>,
    },
}

/// Body of a success: lines of the present chain from the wanted record, at most [`MAX_AUDIT_LINES`]. No more lines than the
/// caller has: all were sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptAudit {
    /// Records and gaps, in the order of their numbers.
    pub lines: Vec<AuditLine>,
    /// How often the chain of the unit broke while the service kept it.
    pub breaks: u64,
}
