//! The data directory: what is where, and who has it.

use super::ceremony::CeremonyKind;
use super::place::Place;
use crate::files;
use fs4::FileExt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longest path a Unix socket can have on every system, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refuses access.
    #[error("the data directory {} cannot be used: check that it may be written, or name another with --data", .path.display())]
    Unusable {
        /// File or folder that was accessed.
        path: PathBuf,
        /// OS error of the access.
        source: io::Error,
    },
    /// The folder holds files of another program.
    #[error(
        "{} is not empty and is no data directory of hsm-sim; nothing in it was touched. Name another with --data",
        .0.display()
    )]
    Foreign(PathBuf),
    /// Another process has locked the directory.
    #[error(
        "{} is in use by another hsm-sim (process {holder}): stop that one, or name another with --data",
        .path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Its process ID, as far as is known.
        holder: String,
    },
    /// The content of a file is invalid.
    #[error("{} is damaged: restore it from a copy, or start afresh with another --data", .0.display())]
    Damaged(PathBuf),
    /// The units were set up with another kind of ceremony.
    #[error(
        "the units of this data directory are set up with the {kept} ceremony, and the holders of their signature \
         keys and key parts keep control of them: name another directory with --data for the {wanted} ceremony"
    )]
    OtherCeremony {
        /// The directory's.
        kept: CeremonyKind,
        /// What was asked for.
        wanted: CeremonyKind,
    },
    /// Its units' keys are elsewhere, or cannot be where they are wanted.
    #[error(transparent)]
    Engines(#[from] super::engines::EnginesError),
    /// More stand by than serve.
    #[error(
        "{failover} failover units are more than the {operational} operational ones: name fewer, or more --units"
    )]
    TooManyFailoverUnits {
        /// How many were asked for.
        failover: u16,
        /// Operational units.
        operational: u16,
    },
}

/// A data directory that this process alone has.
///
/// ```text
/// region.json      who the region is: instances, tokens (mode 0600)
/// clock.json       how far the service's clock was moved
/// keystore.redb    keys, sealed under the master key
/// audit.jsonl      what was asked of crypto units by administrators, and what came of it
/// ceremony/        signature keys and key parts of the development ceremony, in the clear
/// factory/         the simulated manufacturer, whose root.der tells genuine modules
/// units/…/         state of one unit, and its SoftHSM token if it has one: N an operational one, recovery-N, failover-N
/// lock             who has the directory
/// ```
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    sockets: PathBuf,
    _lock: File,
    _elsewhere: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Opens `path`, making it if need be, for this process alone.
    ///
    /// # Errors
    /// [`DataError`]; nothing in the directory is changed then.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
        if is_foreign(path).map_err(unusable)? {
            return Err(DataError::Foreign(path.to_owned()));
        }
        files::create_private_dir(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = lock(&path)?;
        let (sockets, elsewhere) = sockets(&path).map_err(unusable)?;
        Ok(Self { path, sockets, _lock: lock, _elsewhere: elsewhere })
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `region.json`.
    #[must_use]
    pub fn region_file(&self) -> PathBuf {
        self.path.join("region.json")
    }

    /// `clock.json`.
    #[must_use]
    pub fn clock_file(&self) -> PathBuf {
        self.path.join("clock.json")
    }

    /// `keystore.redb`.
    #[must_use]
    pub fn keystore_file(&self) -> PathBuf {
        self.path.join("keystore.redb")
    }

    /// `ceremony/`.
    #[must_use]
    pub fn ceremony_dir(&self) -> PathBuf {
        self.path.join("ceremony")
    }

    /// `factory/`.
    #[must_use]
    pub fn factory_dir(&self) -> PathBuf {
        self.path.join("factory")
    }

    /// `audit.jsonl`.
    #[must_use]
    pub fn audit_file(&self) -> PathBuf {
        self.path.join("audit.jsonl")
    }

    /// A unit's folder below `units/`.
    #[must_use]
    pub fn unit_dir(&self, place: &Place) -> PathBuf {
        self.path.join("units").join(place.folder())
    }

    /// Where unit N listens: in the directory, or in a private temporary one when that path is too long for a socket.
    #[must_use]
    pub fn unit_socket(&self, unit: u16) -> PathBuf {
        self.sockets.join(format!("unit-{unit}.sock"))
    }

    /// Where the running region tells commands how to reach it; there only while it runs.
    #[must_use]
    pub fn ready_file(path: &Path) -> PathBuf {
        path.join("ready.json")
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Commands that look for it find "not running" instead of a port that nobody listens on.
        let _ = fs::remove_file(Self::ready_file(&self.path));
    }
}

/// A directory with files in it is ours when it has our lock; we make that first.
fn is_foreign(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
        Ok(mut entries) => Ok(entries.next().is_some() && !path.join("lock").is_file()),
    }
}

fn lock(path: &Path) -> Result<File, DataError> {
    let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("lock"))
        .map_err(unusable)?;
    match FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::Error(source)) => return Err(unusable(source)),
        Err(fs4::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(DataError::InUse { path: path.to_owned(), holder });
        }
    }
    let mut note = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note().map_err(unusable)?;
    Ok(file)
}

fn sockets(path: &Path) -> io::Result<(PathBuf, Option<tempfile::TempDir>)> {
    let beside = path.join("run");
    if beside.join("unit-99.sock").as_os_str().len() <= MAX_SOCKET_PATH {
        files::create_private_dir(&beside)?;
        return Ok((beside, None));
    }
    let elsewhere = files::private_tempdir().prefix("hsm-sim-").tempdir()?;
    Ok((elsewhere.path().to_owned(), Some(elsewhere)))
}

#[cfg(test)]
mod tests {
    use super::{DataDir, DataError};

    #[test]
    fn a_directory_is_one_process_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let Err(DataError::InUse { holder, .. }) = DataDir::open(&path) else { panic!("taken twice") };
        assert_eq!(holder, std::process::id().to_string());
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "all of it").unwrap();
        assert!(matches!(DataDir::open(folder.path()), Err(DataError::Foreign(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_long_path_still_has_room_for_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("x".repeat(120))).unwrap();
        assert!(data.unit_socket(3).as_os_str().len() < 108);
    }
}
