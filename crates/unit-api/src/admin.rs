//! Administration: what administrators sign, what units answer, and the DER it travels in.
//!
//! An administrative command is an [`AdminBlock`], a DER sequence of octet strings that names the one unit, in one life
//! of its domain, and the one transaction counter it is good for. Administrators sign those bytes; block and signatures
//! make an [`AdminRequest`]. The unit answers with an [`AdminResponse`], whose [`AdminResponseBlock`] its module signs.
//!
//! Source: EP11's administrative wire format as its public headers show it.

mod attributes;
mod audit;
mod block;
mod command;
mod control_points;
mod fields;
mod importer;
mod info;
mod key_part_input;
mod request;
mod response;
mod signer;

pub use attributes::{Attributes, MODE_LEFT_IMPRINT, Permissions};
pub use audit::{AUDIT_RECORD_LEN, AuditChain, AuditKind, AuditRecord, MAX_AUDIT_RECORDS, SIGNER_PREFIX_LEN};
pub use block::{AdminBlock, TRANSACTION_COUNTER_LEN};
pub use command::{AdminCommand, SignaturesNeeded};
pub use control_points::{CONTROL_POINTS_LEN, ControlPoint, ControlPoints};
pub use fields::{Malformed, NoRoom};
pub use importer::{ExportTarget, ImporterKey, InstanceId};
pub use info::{AdministratorEntries, AdministratorEntry, DomainInfo, MAX_NONCE_LEN};
pub use key_part_input::{KeyPartInput, KeyPartInputError};
pub use request::AdminRequest;
pub use response::{AdminRefusal, AdminResponse, AdminResponseBlock};
pub use signer::{SignatureAlgorithm, SignerInfo, SignerInfos};

/// Most administrators of a unit.
pub const MAX_ADMINISTRATORS: usize = 8;
/// Most signatures of one command.
pub const MAX_SIGNERS: usize = MAX_ADMINISTRATORS;
/// Longest name of an administrator, in bytes; shorter ones are padded with spaces to it.
pub const ADMINISTRATOR_NAME_LEN: usize = 30;
/// Length of a subject key identifier: SHA-256 of a public key.
pub const SKI_LEN: usize = 32;
/// Longest certificate that a unit takes, in bytes.
pub const MAX_CERTIFICATE_LEN: usize = 12_288;
/// Longest administrative response, in bytes.
pub const MAX_ADMIN_RESPONSE_LEN: usize = 16 * 1024;
