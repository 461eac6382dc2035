//! What can happen at a ceremony.

use super::{Hash, Text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 0.
    pub sequence: u64,
    /// When, by the clock of the machine that keeps the record.
    pub at: Timestamp,
    /// Hash of the line before; zeros for the first.
    pub previous: Hash,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened. Kinds and fields are added, never renamed or removed: old records stay readable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Happening {
    /// The ceremony began; always the first entry, and only that.
    Opened {
        /// What the ceremony is for.
        title: Text,
        /// The instance whose units it is about.
        instance: Text,
        /// The steps of its script, in order.
        steps: Vec<Text>,
    },
    /// Somebody is there.
    Present(Person),
    /// A key part was made or brought.
    Part(PartEntry),
    /// The pattern of the master key was worked out from the parts.
    MasterKey {
        /// The pattern.
        pattern: Hash,
    },
    /// A unit was sent a command.
    Command(CommandEntry),
    /// A step of the script was carried out.
    StepDone {
        /// Its number, from 1.
        step: u32,
        /// By whom.
        by: Text,
    },
    /// A step of the script was left out.
    StepSkipped {
        /// Its number, from 1.
        step: u32,
        /// Why.
        reason: Text,
    },
    /// Something was done otherwise than planned.
    Deviation {
        /// What.
        what: Text,
        /// Who allowed it.
        allowed_by: Text,
    },
    /// Something worth knowing.
    Note {
        /// What.
        text: Text,
    },
    /// The record was opened again, after a pause or a failure.
    Reopened {
        /// Bytes of an entry that was being written when the machine failed. Nothing had been done on its account.
        dropped_bytes: u64,
    },
    /// The ceremony ended. Only signatures follow.
    Closed {
        /// How.
        outcome: Text,
    },
    /// An administrator signed everything before this entry.
    Signed {
        /// Name.
        name: Text,
        /// The key, a point on P-521 in hexadecimal.
        public_key: String,
        /// ECDSA with SHA-512 over [`super::CeremonyRecord::SIGNED_WORDS`] and the hash of the entry before; DER in
        /// hexadecimal.
        signature: String,
    },
}

/// Somebody at a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Name.
    pub name: Text,
    /// What for.
    pub role: Role,
    /// Identifier of the administrator's signature key.
    pub ski: Option<Hash>,
}

/// What somebody is at a ceremony for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads the script and keeps the record.
    Operator,
    /// Owns a signature key.
    Administrator,
    /// Owns a key part.
    Custodian,
    /// Owns nothing, sees everything.
    Witness,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Operator => "operator",
            Self::Administrator => "administrator",
            Self::Custodian => "custodian",
            Self::Witness => "witness",
        })
    }
}

/// A key part, as custodians and auditors know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// What it is called.
    pub label: Text,
    /// Who holds it.
    pub custodian: Text,
    /// What it is kept on.
    pub carrier: Text,
    /// What audit records call it.
    pub id: Hash,
    /// Its verification pattern; left out for a part that was typed in and could be guessed.
    pub pattern: Option<Hash>,
}

/// A command to a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// Number of the unit.
    pub unit: u16,
    /// Where it is.
    pub location: Text,
    /// What was asked of it.
    pub command: Text,
    /// What the command was signed for, in decimal: it has up to 128 bits.
    pub transaction_counter: String,
    /// SHA-256 of what was signed.
    pub block_hash: Hash,
    /// Name and identifier of each signer.
    pub signers: Vec<(Text, Text)>,
    /// The pattern of the key that it was about.
    pub pattern: Option<Hash>,
    /// Label and identifier of each key part that went in.
    pub parts: Vec<(Text, Hash)>,
    /// Why the unit refused; none if it did what was asked.
    pub refused: Option<Text>,
}
