//! Requests and responses of the control API about backups.

use node::backup::{BackupFile, TestReport};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use wire::text::error_chain;

/// A backup, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// Name of the file.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// What is wrong with it; empty if its header can be read.
    pub problem: String,
    /// What the header says.
    pub header: Option<HeaderReport>,
    /// What its last test restore has found.
    pub tested: Option<TestReport>,
}

/// The header of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderReport {
    /// The instance.
    pub instance: String,
    /// Region in which it was made.
    pub region: String,
    /// When it was made, by the service's clock, RFC 3339 in UTC.
    pub made_at: String,
    /// Store and revision whose state it has, as in the header `hsm-revision`.
    pub revision: String,
    /// Epoch of the instance.
    pub epoch: u64,
    /// Number of keys, destroyed ones included.
    pub keys: u64,
    /// Number of entries of the store.
    pub entries: u64,
    /// Digest of the entries, in hexadecimal.
    pub sha256: String,
    /// Verification pattern of the master key, in hexadecimal.
    pub pattern: String,
    /// The same of the master key that a rotation led to.
    pub next_pattern: Option<String>,
}

/// Several backups, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupList {
    /// The backups.
    pub backups: Vec<BackupReport>,
}

/// Body of `POST /backups/restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreRequest {
    /// The region that is to be restored; it has to be the one that is asked.
    pub into: String,
    /// Path of a backup; without it, the newest tested one of each instance.
    pub from: Option<PathBuf>,
}

/// What a restore has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredReport {
    /// The region.
    pub region: String,
    /// Each instance that was restored.
    pub restored: Vec<RestoredInstance>,
}

/// An instance that was restored, or waits for its master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredInstance {
    /// The instance.
    pub instance: String,
    /// The backup.
    pub from: PathBuf,
    /// Its epoch now; `None` while it is locked.
    pub epoch: Option<u64>,
    /// Number of keys in the backup.
    pub keys: u64,
    /// What it waits for; empty once its keys are served.
    pub waiting_for: String,
}

impl BackupReport {
    /// What a file says.
    #[must_use]
    pub fn of(file: &BackupFile) -> Self {
        let header = file.header.as_ref().ok().map(|header| HeaderReport {
            instance: header.instance.to_string(),
            region: header.region.clone(),
            made_at: header.made_at.to_string(),
            revision: header.at.to_text(),
            epoch: header.mark.epoch,
            keys: header.keys,
            entries: header.entries,
            sha256: wire::text::encode_hex(&header.sha256),
            pattern: header.pattern.to_string(),
            next_pattern: header.next_pattern.map(|pattern| pattern.to_string()),
        });
        Self {
            name: file.name(),
            path: file.path.clone(),
            bytes: file.len,
            problem: file.header.as_ref().err().map(|error| error_chain(error)).unwrap_or_default(),
            header,
            tested: file.tested.clone(),
        }
    }
}
