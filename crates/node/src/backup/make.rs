//! Making a backup, and testing it by a restore.

use super::BackupSettings;
use super::folder::{self, BackupFile, FolderError, PartialFile};
use crate::node::SERVICE_CALLER;
use keystore::{MemoryStore, StoreIdentity, WallClock};
use kms::backup::{BackupError, BackupReader, RestoreError, restore};
use kms::{Call, InstanceId, Kms, KmsError, KmsOptions, OpenError, SharedRng, Units};
use serde::{Deserialize, Serialize};
use server::KeyService;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Time for one call of the store or of the units.
const CALL: Duration = Duration::from_secs(30);

/// Why a backup was not made, or failed its test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// It was not made, or cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It cannot be restored.
    #[error("the backup cannot be restored; it is not kept")]
    NotRestorable(#[from] RestoreError),
    /// A record of it does not open.
    #[error("a record of the backup does not open; it is not kept")]
    Record(#[from] KmsError),
    /// The store of the test cannot be opened.
    #[error("the store of the test cannot be opened")]
    Scratch(#[from] OpenError),
    /// Its records are not as many as its header says.
    #[error("the backup has {found} keys, and its header says {expected}; it is not kept")]
    Count {
        /// Records that open.
        found: u64,
        /// Number in the header.
        expected: u64,
    },
    /// The node was stopped meanwhile, or a write has panicked.
    #[error("writing the backup was interrupted")]
    Interrupted,
    /// The node serves no keys.
    #[error("no keys are served yet: {0}")]
    NotOpen(String),
    /// The node keeps no backups.
    #[error("no folder for backups is configured")]
    NoFolder,
    /// There is no such backup.
    #[error("there is no backup `{0}`")]
    NoSuchBackup(String),
}

/// What the test of a backup has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TestReport {
    /// When it was tested, by the service's clock.
    pub at: String,
    /// Keys whose records opened.
    pub keys: u64,
    /// Key versions whose blob records opened.
    pub versions: u64,
    /// Versions whose key a crypto unit opened.
    pub opened_by_units: u64,
}

/// Makes a backup of an instance, tests it, and removes those that are too many. A backup that fails the test is not kept.
pub(super) async fn make<U: Units>(
    settings: &BackupSettings,
    kms: &KeyService,
    units: U,
    instance: InstanceId,
    now: jiff::Timestamp,
) -> Result<BackupFile, MakeError> {
    let call = Call { instance, caller: SERVICE_CALLER, deadline: CALL, changed_at: None };
    let mut writer = kms.begin_backup(&call, &settings.region).await?;
    let (folder, header) = (settings.folder.clone(), writer.header().clone());
    let mut file = blocking(move || PartialFile::create(&folder, &header)).await?;
    while let Some(part) = writer.next().await? {
        file = blocking(move || file.write(&part).map(|()| file)).await?;
    }
    let path = blocking(move || file.complete()).await?;
    if let Err(error) = test(&path, units, now).await {
        // Units that do not answer say nothing about the file.
        if error.is_damage() {
            folder::remove(&path)?;
        }
        return Err(error);
    }
    folder::prune(&settings.folder, instance, settings.keep)?;
    Ok(BackupFile::read(&path))
}

/// Restores a backup into a store in memory, and opens everything that is in it.
pub(super) async fn test<U: Units>(
    path: &Path,
    units: U,
    now: jiff::Timestamp,
) -> Result<TestReport, MakeError> {
    let mut reader = BackupReader::open(File::open(path).map_err(BackupError::Io)?)?;
    reader.unlock(&units, CALL).await?;
    let scratch = MemoryStore::new(StoreIdentity([0; 16]), WallClock::system());
    let rng = SharedRng::default();
    let restored = restore(&scratch, &units, &rng, &mut reader, "", None, None, CALL).await?;
    let instance = restored.backup.instance;
    let kms = Kms::open(scratch, units, KmsOptions::default(), CALL).await?;
    let call = Call { instance, caller: SERVICE_CALLER, deadline: CALL, changed_at: None };
    let checked = kms.check_instance(&call).await?;
    let found = checked.keys.saturating_add(restored.without_secret);
    if found != restored.backup.keys {
        return Err(MakeError::Count { found, expected: restored.backup.keys });
    }
    let report = TestReport {
        at: now.to_string(),
        keys: checked.keys,
        versions: checked.versions,
        opened_by_units: checked.opened_by_units,
    };
    folder::note_test(path, &report)?;
    Ok(report)
}

impl MakeError {
    /// Whether the file itself is at fault.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Backup(error) | Self::NotRestorable(RestoreError::Backup(error)) => error.is_damage(),
            Self::Record(KmsError::RecordInvalid { .. }) | Self::Count { .. } => true,
            Self::NotRestorable(_)
            | Self::Record(_)
            | Self::Folder(_)
            | Self::Scratch(_)
            | Self::Interrupted
            | Self::NotOpen(_)
            | Self::NoFolder
            | Self::NoSuchBackup(_) => false,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FolderError> + Send + 'static,
) -> Result<T, MakeError> {
    Ok(spawn_blocking(work).await.map_err(|_| MakeError::Interrupted)??)
}
