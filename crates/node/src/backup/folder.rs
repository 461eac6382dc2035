//! The folder of backups: `INSTANCE/TIME-REVISION.backup`, and beside each what its test has found.

use super::make::TestReport;
use kms::InstanceId;
use kms::backup::{BackupError, BackupHeader, BackupReader};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const ENDING: &str = "backup";
const PARTIAL: &str = "partial";
const TESTED: &str = "tested";

/// Why a folder of backups cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {action}", .path.display())]
pub struct FolderError {
    /// File or folder.
    pub path: PathBuf,
    /// What was attempted.
    pub action: &'static str,
    /// The operating system's error.
    pub source: io::Error,
}

fn at(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError { path, action, source }
}

/// A file in a folder of backups.
#[derive(Debug)]
pub struct BackupFile {
    /// Where it is.
    pub path: PathBuf,
    /// Length in bytes.
    pub len: u64,
    /// What it says about itself, or why it cannot be read.
    pub header: Result<BackupHeader, BackupError>,
    /// What its last test has found; `None` if it was not tested.
    pub tested: Option<TestReport>,
}

impl BackupFile {
    /// Reads what a file says about itself.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let opened = File::open(path);
        let len = opened.as_ref().ok().and_then(|file| file.metadata().ok()).map_or(0, |found| found.len());
        let header = opened.map_err(BackupError::Io).and_then(BackupReader::open);
        let header = header.map(|reader| reader.header().clone());
        let tested = fs::read(path.with_extension(TESTED)).ok();
        let tested = tested.and_then(|content| serde_json::from_slice(&content).ok());
        Self { path: path.to_owned(), len, header, tested }
    }

    /// Name of the file.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The backups of an instance below a folder, oldest first.
pub(super) fn list(folder: &Path, instance: InstanceId) -> Result<Vec<PathBuf>, FolderError> {
    let folder = folder.join(instance.to_string());
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(&folder, "read"))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(&folder, "read"))?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            paths.push(path);
        }
    }
    // Names begin with the time.
    paths.sort_unstable();
    Ok(paths)
}

/// A backup that is being written, under a name that no list shows. Dropped, it is removed.
pub(super) struct PartialFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    is_complete: bool,
}

impl PartialFile {
    /// Begins the file of a backup. What earlier attempts have left is removed.
    pub(super) fn create(folder: &Path, header: &BackupHeader) -> Result<Self, FolderError> {
        let folder = folder.join(header.instance.to_string());
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&folder).map_err(at(&folder, "created"))?;
        for entry in fs::read_dir(&folder).map_err(at(&folder, "read"))?.flatten() {
            if entry.path().extension().is_some_and(|ending| ending == PARTIAL) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let time = header.made_at.strftime("%Y%m%dT%H%M%S");
        let millis = header.made_at.as_millisecond().rem_euclid(1000);
        let name = format!("{time}.{millis:03}Z-{:012}", header.at.revision.0);
        // `with_extension` would take the milliseconds for one.
        let path = folder.join(format!("{name}.{ENDING}"));
        let partial = folder.join(format!("{name}.{PARTIAL}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = file.map_err(at(&partial, "created"))?;
        Ok(Self { file, partial, path, is_complete: false })
    }

    pub(super) fn write(&mut self, part: &[u8]) -> Result<(), FolderError> {
        self.file.write_all(part).map_err(at(&self.partial, "written"))
    }

    /// Makes the file durable, and visible in one piece. Returns its path.
    pub(super) fn complete(mut self) -> Result<PathBuf, FolderError> {
        self.file.sync_all().map_err(at(&self.partial, "made durable"))?;
        fs::rename(&self.partial, &self.path).map_err(at(&self.path, "renamed"))?;
        self.is_complete = true;
        sync_folder(&self.path)?;
        Ok(self.path.clone())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_complete {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn sync_folder(path: &Path) -> Result<(), FolderError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder, "made durable"))
}

/// Notes what the test of a backup has found.
pub(super) fn note_test(path: &Path, report: &TestReport) -> Result<(), FolderError> {
    let noted = path.with_extension(TESTED);
    // A struct of numbers and texts always has a JSON form.
    let content = serde_json::to_vec(report).unwrap_or_default();
    fs::write(&noted, content).map_err(at(&noted, "written"))
}

/// Removes a backup.
pub(super) fn remove(path: &Path) -> Result<(), FolderError> {
    fs::remove_file(path).map_err(at(path, "removed"))?;
    let _ = fs::remove_file(path.with_extension(TESTED));
    sync_folder(path)
}

/// Removes all but the newest backups of an instance. Returns how many were removed.
pub(super) fn prune(folder: &Path, instance: InstanceId, keep: usize) -> Result<usize, FolderError> {
    let paths = list(folder, instance)?;
    let surplus = paths.len().saturating_sub(keep.max(1));
    for path in paths.iter().take(surplus) {
        remove(path)?;
    }
    Ok(surplus)
}
