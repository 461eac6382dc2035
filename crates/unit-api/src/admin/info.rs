//! What a unit tells of its domain, signed.

use super::fields::{self, Filler, Malformed, NoRoom};
use super::{ADMINISTRATOR_NAME_LEN, Attributes, ControlPoints, InstanceId, SKI_LEN};
use crate::{Condition, NewRegister, VerificationPattern};
use sha2::{Digest, Sha256};

/// Longest nonce of an asker, in bytes.
pub const MAX_NONCE_LEN: usize = 32;

/// Flags of the domain-information answer, as EP11 has them.
const ADMINISTRATORS_PRESENT: u32 = 0x1;
const CURRENT_VALID: u32 = 0x2;
const NEW_FULL: u32 = 0x4;
const NEW_COMMITTED: u32 = 0x8;
const LEFT_IMPRINT: u32 = 0x10;

/// All of a domain at once.
///
/// As bytes: Current's pattern (32, zero when empty), New's (32), flags (4), attribute list (32), control points (16),
/// instance (16), boot nonce (16), condition (2, 0 when operational), number of administrators (1), of audit records
/// (8), head of the audit chain (32), digest of the list of administrators (32), the asker's nonce (to the end).
#[derive(Clone, Copy, Debug)]
pub struct DomainInfo<'a> {
    /// Verification pattern of the current master-key register, if it is valid.
    pub current: Option<VerificationPattern>,
    /// State of the new master-key register.
    pub new: NewRegister,
    /// Thresholds, permissions, mode.
    pub attributes: Attributes,
    /// Control points.
    pub control_points: ControlPoints,
    /// The instance that the unit was assigned to.
    pub instance: InstanceId,
    /// Random bytes, generated at every start of the unit.
    pub boot_nonce: [u8; 16],
    /// Whether the unit works.
    pub condition: Condition,
    /// Administrators installed.
    pub administrators: u8,
    /// Audit records written so far.
    pub audit_records: u64,
    /// Hash of the last audit record with all before it.
    pub audit_head: [u8; 32],
    /// Digest of the administrators in the order in which the query for them shows them.
    pub administrators_digest: [u8; 32],
    /// What the asker sent.
    pub nonce: &'a [u8],
}

impl<'a> DomainInfo<'a> {
    /// Writes the information to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let (current, new, flags) = self.registers_and_flags();
        let condition = match self.condition {
            Condition::Operational => 0,
            Condition::Error(code) => code,
        };
        let mut all = Filler::new(out);
        all.push(&current)?;
        all.push(&new)?;
        all.push(&flags.to_be_bytes())?;
        all.push(&self.attributes.to_bytes())?;
        all.push(&self.control_points.to_bytes())?;
        all.push(&self.instance.0)?;
        all.push(&self.boot_nonce)?;
        all.push(&condition.to_be_bytes())?;
        all.push(&[self.administrators])?;
        all.push(&self.audit_records.to_be_bytes())?;
        all.push(&self.audit_head)?;
        all.push(&self.administrators_digest)?;
        all.push(self.nonce)?;
        all.finish()
    }

    /// The information in these bytes.
    ///
    /// # Errors
    /// [`Malformed`], also for flags that contradict the rest or mean nothing, and for patterns of empty registers.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (current, rest) = bytes.split_first_chunk::<32>().ok_or(Malformed)?;
        let (new, rest) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let (flags, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let (attributes, rest) = rest.split_first_chunk::<{ Attributes::LEN }>().ok_or(Malformed)?;
        let (control_points, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        let (instance, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        let (boot_nonce, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        let (condition, rest) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let (&administrators, rest) = rest.split_first().ok_or(Malformed)?;
        let (audit_records, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let (audit_head, rest) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let (administrators_digest, nonce) = rest.split_first_chunk::<32>().ok_or(Malformed)?;
        let flags = u32::from_be_bytes(*flags);
        let attributes = Attributes::from_bytes(attributes)?;
        if nonce.len() > MAX_NONCE_LEN {
            return Err(Malformed);
        }
        let pattern = VerificationPattern::from_bytes;
        let info = Self {
            current: (flags & CURRENT_VALID != 0).then(|| pattern(*current)),
            new: match (flags & NEW_FULL != 0, flags & NEW_COMMITTED != 0) {
                (false, false) => NewRegister::Empty,
                (true, false) => NewRegister::FullUncommitted(pattern(*new)),
                (true, true) => NewRegister::FullCommitted(pattern(*new)),
                (false, true) => return Err(Malformed),
            },
            attributes,
            control_points: ControlPoints::from_bytes(control_points)?,
            instance: InstanceId(*instance),
            boot_nonce: *boot_nonce,
            condition: match u16::from_be_bytes(*condition) {
                0 => Condition::Operational,
                code => Condition::Error(code),
            },
            administrators,
            audit_records: u64::from_be_bytes(*audit_records),
            audit_head: *audit_head,
            administrators_digest: *administrators_digest,
            nonce,
        };
        // What is said twice has to be said alike.
        if info.registers_and_flags() == (*current, *new, flags) { Ok(info) } else { Err(Malformed) }
    }

    /// Current's and New's patterns and the flags, as they are written.
    fn registers_and_flags(&self) -> ([u8; 32], [u8; 32], u32) {
        let (new, new_flags) = match self.new {
            NewRegister::Empty => ([0; 32], 0),
            NewRegister::FullUncommitted(pattern) => (*pattern.as_bytes(), NEW_FULL),
            NewRegister::FullCommitted(pattern) => (*pattern.as_bytes(), NEW_FULL | NEW_COMMITTED),
        };
        let current = self.current.map_or([0; 32], |pattern| *pattern.as_bytes());
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let flags = new_flags
            | flag(self.administrators != 0, ADMINISTRATORS_PRESENT)
            | flag(self.current.is_some(), CURRENT_VALID)
            | flag(!self.attributes.imprint(), LEFT_IMPRINT);
        (current, new, flags)
    }
}

/// An installed administrator: subject key identifier (32) ‖ name (30, padded with spaces).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdministratorEntry {
    /// SHA-256 of the public key.
    pub ski: [u8; SKI_LEN],
    /// As in the certificate.
    pub name: [u8; ADMINISTRATOR_NAME_LEN],
}

impl AdministratorEntry {
    /// Length, in bytes.
    pub const LEN: usize = SKI_LEN + ADMINISTRATOR_NAME_LEN;

    /// The entry's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes.iter_mut().zip(self.ski.iter().chain(&self.name)).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The name without its padding, if it is text.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        core::str::from_utf8(&self.name).ok().map(str::trim_end)
    }
}

/// Administrators one after the other.
#[derive(Clone, Copy, Debug)]
pub struct AdministratorEntries<'a>(&'a [[u8; AdministratorEntry::LEN]]);

impl<'a> AdministratorEntries<'a> {
    /// The entries in these bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.as_chunks() {
            (entries, []) => Ok(Self(entries)),
            _ => Err(Malformed),
        }
    }

    /// The digest in [`DomainInfo`] of a list with these bytes: SHA-256.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = AdministratorEntry> + 'a {
        self.0.iter().filter_map(|bytes| {
            let (ski, name) = bytes.split_first_chunk::<SKI_LEN>()?;
            Some(AdministratorEntry { ski: *ski, name: fields::array(name).ok()? })
        })
    }
}
