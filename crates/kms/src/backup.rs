//! Backups of an instance: files that only crypto units with the instance's master key can open.
//!
//! [`Kms::begin_backup`](crate::Kms::begin_backup) yields the bytes of a file, [`BackupReader`] reads them, [`restore`] puts
//! them into a store. All are moved by the caller, who opens, syncs and names files. The format is in
//! `docs/formats/backup.md`.
//!
//! | promise | by |
//! |---|---|
//! | nothing but the header can be read without a unit | the body is under a random key, which a unit has encrypted under the instance's root key |
//! | a changed, shortened or reordered file is refused | each part of the body is authenticated with its number, the header, and whether it is the last |
//! | nothing is half restored | the file is verified before anything is changed; the header of the instance is deleted first and written last, in one transaction each |
//! | an interrupted restore is completed by the same call | what it began is recorded in the store; everything that it does can be done again |
//! | a newer state is not replaced by an older one | the two are compared, unless the store has no key of the instance |
//!
//! The same values are restored byte by byte, with the secrets that they name. The restored instance has a higher epoch and is
//! later than everything that was seen of it, so that hosts that pinned a later state accept it.

mod error;
mod head;
mod order;
mod reader;
mod restore;
mod verify;
mod writer;

pub use error::{BackupError, RestoreError};
pub use head::{BackupHeader, MAX_REGION_LEN};
pub use order::RestoreOrder;
pub use reader::BackupReader;
pub use restore::{Restored, check_target, restore};
pub use verify::Verified;
pub use writer::BackupWriter;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use reader::fuzz;
#[cfg(test)]
pub(crate) use reader::fuzz_seed;
