//! Errors of backups, and whose fault each is.

use std::io;

use keystore::{SecretId, StoreError};
use unit_api::VerificationPattern;

use crate::replica::EventError;
use crate::{InstanceId, KmsError, RandomFailed, RecordError, UnitsError};

/// Reason why a backup was not made, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The instance could not be read.
    #[error("the instance cannot be read")]
    Kms(#[from] KmsError),
    /// The store could not be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// No unit carried out the command.
    #[error("no crypto unit carried out the command")]
    Units(#[from] UnitsError),
    /// The source of random bytes failed.
    #[error("no random bytes are available")]
    Random(#[from] RandomFailed),
    /// The region's name is too long for a backup.
    #[error("the name of the region has more than {} bytes", super::MAX_REGION_LEN)]
    RegionName,
    /// The file cannot be read.
    #[error("the backup cannot be read")]
    Io(#[source] io::Error),
    /// The file is no backup.
    #[error("this is not a backup")]
    NotABackup,
    /// The file has another format.
    #[error("the backup has format {found}; this program reads format {expected}")]
    Format {
        /// Format number of the file.
        found: u32,
        /// Format number that this program reads.
        expected: u32,
    },
    /// The header is damaged.
    #[error("the backup is damaged: its header does not match its checksum")]
    HeaderDamaged,
    /// The file ends too early.
    #[error("the backup is damaged: it ends too early")]
    Truncated,
    /// There are bytes after the end.
    #[error("the backup is damaged: there are bytes after its end")]
    Surplus,
    /// The units did not open the key of the backup: header or key were changed, or the instance's root key is another one.
    #[error("the backup is damaged: crypto units with its master key do not open its key")]
    KeyInvalid,
    /// A part of the body is not authentic.
    #[error("the backup is damaged: part {part} is not authentic")]
    PartInvalid {
        /// Its number, from 0.
        part: u64,
    },
    /// A part is authentic and does not decode: a bug, or another version.
    #[error("part {part} of the backup is invalid")]
    Event {
        /// Its number, from 0.
        part: u64,
        /// What is wrong.
        source: EventError,
    },
    /// Parts do not follow each other, are of another instance, or are not what the header says.
    #[error("the content of the backup is not what its header says: {what}")]
    Content {
        /// What differs.
        what: &'static str,
    },
    /// A record of the backup does not open.
    #[error("the record {key} of the backup does not open")]
    Record {
        /// Its name in the store.
        key: String,
        /// The cause.
        source: RecordError,
    },
}

impl BackupError {
    /// Whether the file itself is at fault, so that another backup is needed.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::NotABackup
            | Self::Format { .. }
            | Self::HeaderDamaged
            | Self::Truncated
            | Self::Surplus
            | Self::KeyInvalid
            | Self::PartInvalid { .. }
            | Self::Event { .. }
            | Self::Content { .. }
            | Self::Record { .. } => true,
            Self::Kms(_)
            | Self::Store(_)
            | Self::Units(_)
            | Self::Random(_)
            | Self::RegionName
            | Self::Io(_) => false,
        }
    }
}

/// Reason why a backup was not restored. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is damaged or cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup is of another instance.
    #[error("the backup is of instance {found}, not of {expected}")]
    OtherInstance {
        /// The instance that was to be restored.
        expected: InstanceId,
        /// The instance of the backup.
        found: InstanceId,
    },
    /// The store has a state that is not older than the backup.
    #[error(
        "the backup is not newer than what is there: it has the state of epoch {}, change {}, and the store that of epoch {}, \
         change {}", .backup.epoch, .backup.changes, .present.epoch, .present.changes
    )]
    NotNewer {
        /// How far the instance in the store has come.
        present: crate::InstanceMark,
        /// How far it had come in the backup.
        backup: crate::InstanceMark,
    },
    /// The header of the instance in the store is damaged, so that its age is unknown.
    #[error(
        "the instance in the store has keys, and its header is invalid, so that it is not known which state is newer"
    )]
    PresentInvalid(#[source] RecordError),
    /// Another instance of the store uses the place of a secret of the backup.
    #[error(
        "key material of another instance has the place {} in this store that the backup needs: restore this instance into a \
         region in which no other one has keys yet, or all of them from backups of one day", .0.0
    )]
    SecretInUse(SecretId),
    /// The units have another master key.
    #[error("the backup is under master key {backup}, and crypto unit {unit} holds {held}")]
    OtherMasterKey {
        /// Verification pattern of the backup's master key.
        backup: VerificationPattern,
        /// Number of the unit.
        unit: u16,
        /// Verification pattern of the master key that the unit holds.
        held: VerificationPattern,
    },
    /// The epoch is not higher than that of the backup.
    #[error("the epoch {epoch} is not higher than epoch {of_backup} of the backup")]
    EpochTooLow {
        /// The epoch that the instance was to get.
        epoch: u64,
        /// The epoch of the backup.
        of_backup: u64,
    },
    /// Another call restores the instance.
    #[error("another restore of the instance is under way")]
    Superseded,
    /// The store failed. If the restore had begun, the instance stays locked until the same call has completed it.
    #[error("the store failed; restore again")]
    Store(#[from] StoreError),
    /// No unit carried out the command. If the restore had begun, the instance stays locked until the same call has completed it.
    #[error("no crypto unit carried out the command")]
    Units(#[from] UnitsError),
    /// The source of random bytes failed.
    #[error("no random bytes are available")]
    Random(#[from] RandomFailed),
}
