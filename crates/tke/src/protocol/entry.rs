//! Entries of a ceremony record.

use super::{Hex32, RecordText};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One entry of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the entry, from 0.
    pub sequence: u64,
    /// Time, by the clock of the machine that keeps the record.
    pub at: Timestamp,
    /// Hash of the entry before; zeros for the first.
    pub previous: Hex32,
    /// The event.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// An event. Variants and fields may be added, never renamed or removed: stored records have to stay readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EntryKind {
    /// The ceremony began. The first entry of every record, and no other.
    Opened {
        /// Purpose of the ceremony.
        title: RecordText,
        /// Service instance of the units.
        instance: RecordText,
        /// Steps of the script, in order.
        steps: Vec<RecordText>,
    },
    /// A participant is present.
    Present(Participant),
    /// A key part was generated or brought.
    Part(PartEntry),
    /// The pattern of the master key was calculated from the parts.
    MasterKey {
        /// Verification pattern.
        pattern: Hex32,
    },
    /// A command was sent to a unit.
    Command(CommandEntry),
    /// A step of the script was done.
    StepDone {
        /// Number of the step, from 1.
        step: u32,
        /// Name of the person.
        by: RecordText,
    },
    /// A step of the script was skipped.
    StepSkipped {
        /// Number of the step, from 1.
        step: u32,
        /// Why the step was skipped.
        reason: RecordText,
    },
    /// A deviation from the script.
    Deviation {
        /// Description of the deviation.
        what: RecordText,
        /// Name of the person who allowed it.
        allowed_by: RecordText,
    },
    /// A unit, or an attacker in its place, did what no honest unit does. The ceremony stops until a deviation is recorded.
    Alarm {
        /// Number of the unit.
        unit: u16,
        /// What it did.
        what: RecordText,
    },
    /// A note.
    Note {
        /// Text of the note.
        text: RecordText,
    },
    /// The record was reopened, after a pause or a failure.
    Reopened {
        /// Bytes of an incomplete entry that were dropped. Its command had not been reported as recorded.
        dropped_bytes: u64,
    },
    /// The ceremony ended. Only signatures may follow.
    Closed {
        /// Outcome of the ceremony.
        outcome: RecordText,
    },
    /// An administrator signed all entries before this one.
    Signed {
        /// Name of the administrator.
        name: RecordText,
        /// Public key: a point on P-521, in hexadecimal.
        public_key: String,
        /// ECDSA with SHA-512 over [`super::CeremonyRecord::SIGNED_WORDS`] and the hash of the entry before; DER in
        /// hexadecimal.
        signature: String,
    },
}

/// A participant of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Name of the person.
    pub name: RecordText,
    /// Role of the person.
    pub role: ParticipantRole,
    /// Subject key identifier of an administrator's signature key.
    pub ski: Option<Hex32>,
}

/// Role of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParticipantRole {
    /// Reads the script and keeps the record.
    Operator,
    /// Owns a signature key.
    Administrator,
    /// Owns a key part.
    Custodian,
    /// Owns neither, and observes every step.
    Witness,
}

impl fmt::Display for ParticipantRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Operator => "operator",
            Self::Administrator => "administrator",
            Self::Custodian => "custodian",
            Self::Witness => "witness",
        })
    }
}

/// A key part, as custodians and auditors see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Label of the part.
    pub label: RecordText,
    /// Name of its custodian.
    pub custodian: RecordText,
    /// Medium that it is kept on.
    pub carrier: RecordText,
    /// Identifier in records.
    pub id: Hex32,
    /// Verification pattern; `None` for an entered part, which could be guessed from it.
    pub pattern: Option<Hex32>,
}

/// A command that was sent to a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// Number of the unit.
    pub unit: u16,
    /// Location of the unit.
    pub location: RecordText,
    /// The operation as people read it.
    pub command: RecordText,
    /// Transaction counter in the signed block, in decimal: up to 128 bits.
    pub transaction_counter: String,
    /// SHA-256 of the signed block.
    pub block_hash: Hex32,
    /// Name and identifier of each signer.
    pub signers: Vec<(RecordText, RecordText)>,
    /// Verification pattern of the master key that it concerns.
    pub pattern: Option<Hex32>,
    /// Label and identifier of each imported key part.
    pub parts: Vec<(RecordText, Hex32)>,
    /// Error message; `None` if the unit executed the command.
    pub refused: Option<RecordText>,
}
