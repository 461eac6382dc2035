//! The data directory: its layout, and its lock.

use super::ceremony::CeremonyKind;
use super::place::Place;
use super::upgrade::{Upgrade, UpgradeError, UpgradeState};
use crate::files;
use fs4::FileExt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing::warn;

/// Longest path a Unix socket can have on every system, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refuses access.
    #[error("{} cannot be used: check that the data directory may be written, or name another with --data", .path.display())]
    Unusable {
        /// File or folder that was accessed.
        path: PathBuf,
        /// OS error of the access.
        source: io::Error,
    },
    /// The folder holds files of another program.
    #[error(
        "{} is not empty and is not a data directory of hsm-sim; nothing in it was changed. Name another with --data",
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
    #[error("{} is damaged: restore it from a backup, or start a new region with another --data", .0.display())]
    Damaged(PathBuf),
    /// The units were set up with another kind of ceremony.
    #[error(
        "the units of this data directory are set up with the {kept} ceremony, and the holders of their signature \
         keys and key parts keep control of them: name another directory with --data for the {wanted} ceremony"
    )]
    OtherCeremony {
        /// Ceremony of the directory.
        kept: CeremonyKind,
        /// Ceremony that was requested.
        wanted: CeremonyKind,
    },
    /// The directory is of an earlier or a later version.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The engines are invalid, or differ from those that hold the units' keys.
    #[error(transparent)]
    Engines(#[from] super::engines::EnginesError),
    /// Fewer operational units are requested than there are.
    #[error(
        "the region has {kept} operational units, and a start does not remove any: start it without --units, then remove \
         one with `hsm-sim unit remove`, which zeroizes it"
    )]
    FewerUnits {
        /// Number of operational units of the region.
        kept: u16,
    },
    /// There are more failover units than operational units.
    #[error(
        "{failover} failover units exceed the {operational} operational units: lower --failover-units or raise --units"
    )]
    TooManyFailoverUnits {
        /// Number of failover units requested.
        failover: u16,
        /// Number of operational units.
        operational: u16,
    },
}

/// A data directory, locked by this process.
///
/// ```text
/// format           number of the directory's format
/// region.json      identity of the region: instances, tokens (mode 0600)
/// clock.json       how far the service's clock is ahead of real time
/// keystore.redb    keys, sealed under the master key
/// keystore.pin     identity and last revision of the keystore, high-water marks of its instances
/// invocations      encryptions counted while the keystore accepts no writes
/// audit.jsonl      administrative requests to crypto units, and their results
/// unit-audit/      audit records of crypto units, a file for each
/// backups/         backups of the instances, a folder for each
/// ceremony/        signature keys and key parts of the development ceremony, in the clear
/// factory/         the simulated manufacturer; root.der is the root of its module certificates
/// units/…/         state of one unit, and its SoftHSM token if any; named N (operational), recovery-N, failover-N
/// lock             lock file with the process ID of its holder
/// ```
///
/// A pair of regions has a directory, too, with `clock.json`, `ceremony/`, `factory/` and `lock` as above, and:
///
/// ```text
/// pair.json        profile, names of the regions, and their common instances and tokens (mode 0600)
/// regions/NAME/    data directory of a region, without `ceremony/` and `factory/`
/// regions/NAME.json, witness.json   what the processes are told at each start (mode 0600)
/// backups/NAME/    backups that are kept in region NAME: those of the other one
/// tls/             certificates of the regions, the witness and the front, and their private keys (mode 0600)
/// witness          the highest epoch that the witness has granted
/// timeline.jsonl   what has happened to the pair
/// ```
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Where the customer's keys and the manufacturer are.
    shared: PathBuf,
    sockets: PathBuf,
    _lock: File,
    _elsewhere: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Opens and locks `path`. Creates the directory if it does not exist.
    ///
    /// # Errors
    /// [`DataError`]; nothing in the directory was changed.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
        if is_foreign(path).map_err(unusable)? {
            return Err(DataError::Foreign(path.to_owned()));
        }
        files::create_private_dir(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = lock(&path)?;
        Upgrade::of(&path, &mut || Ok(())).prepare()?;
        if Upgrade::state(&path) == UpgradeState::Unconfirmed {
            warn!(
                data = %path.display(),
                "this directory is of an earlier version, of which a copy is kept: `hsm-sim upgrade confirm` removes the \
                 copy, `hsm-sim upgrade undo` returns to it",
            );
        }
        files::remove_leftovers(&path);
        let (sockets, elsewhere) = sockets(&path).map_err(unusable)?;
        Ok(Self { shared: path.clone(), path, sockets, _lock: lock, _elsewhere: elsewhere })
    }

    /// The directory of a region whose customer and manufacturer have their files elsewhere: in the directory of its pair.
    #[must_use]
    pub(super) fn sharing(mut self, shared: PathBuf) -> Self {
        self.shared = shared;
        self
    }

    /// Absolute path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of `region.json`, the identity of the region.
    #[must_use]
    pub fn region_file(&self) -> PathBuf {
        self.path.join("region.json")
    }

    /// Path of `clock.json`, the advance of the clock.
    #[must_use]
    pub fn clock_file(&self) -> PathBuf {
        self.path.join("clock.json")
    }

    /// Path of `keystore.redb`, the keystore.
    #[must_use]
    pub fn keystore_file(&self) -> PathBuf {
        self.path.join("keystore.redb")
    }

    /// Path of `keystore.pin`, by which a keystore that is missing, older or another one is recognised.
    #[must_use]
    pub fn keystore_pin(&self) -> PathBuf {
        self.path.join("keystore.pin")
    }

    /// Path of `units-seen.json`, how far the units have come.
    #[must_use]
    pub fn units_seen_file(&self) -> PathBuf {
        self.path.join("units-seen.json")
    }

    /// Path of `invocations`, the encryptions that are counted while the keystore accepts no writes.
    #[must_use]
    pub fn invocations_file(&self) -> PathBuf {
        self.path.join("invocations")
    }

    /// Path of `ceremony/`, the keys of the development ceremony.
    #[must_use]
    pub fn ceremony_dir(&self) -> PathBuf {
        self.shared.join("ceremony")
    }

    /// Path of `factory/`, the simulated manufacturer.
    #[must_use]
    pub fn factory_dir(&self) -> PathBuf {
        self.shared.join("factory")
    }

    /// Path of `audit.jsonl`, the log of administrative requests.
    #[must_use]
    pub fn audit_file(&self) -> PathBuf {
        self.path.join("audit.jsonl")
    }

    /// Path of `backups/`, the backups of the instances.
    #[must_use]
    pub fn backups_dir(&self) -> PathBuf {
        self.path.join("backups")
    }

    /// Path of `unit-audit/`, the audit records that were fetched from the units.
    #[must_use]
    pub fn unit_audit_dir(&self) -> PathBuf {
        self.path.join("unit-audit")
    }

    /// Path of a unit's folder below `units/`.
    #[must_use]
    pub fn unit_dir(&self, place: &Place) -> PathBuf {
        self.path.join("units").join(place.folder())
    }

    /// Moves the folder of a unit that has left the region to a name that is free, `<N>.lost-1` and so on, and returns it.
    ///
    /// # Errors
    /// The operating system's; the folder is where it was.
    pub(super) fn set_unit_aside(&self, place: &Place) -> io::Result<PathBuf> {
        let folder = self.unit_dir(place);
        let aside = |number: u32| {
            let mut path = folder.clone().into_os_string();
            path.push(format!(".lost-{number}"));
            PathBuf::from(path)
        };
        let free = (1..=u32::MAX).map(aside).find(|path| !path.exists());
        let free = free.ok_or(io::ErrorKind::AlreadyExists)?;
        fs::rename(&folder, &free)?;
        Ok(free)
    }

    /// Path of the socket of a unit: in the data directory, or in a private temporary directory if that path is too long
    /// for a socket.
    #[must_use]
    pub fn unit_socket(&self, unit: u16) -> PathBuf {
        self.sockets.join(format!("unit-{unit}.sock"))
    }

    /// Path of `ready.json`, by which commands find the running region. The file exists only while the region runs.
    #[must_use]
    pub fn ready_file(path: &Path) -> PathBuf {
        path.join("ready.json")
    }
}

/// Confirms the upgrade of a directory, or undoes it; of a pair, also those of its regions. Nothing may run on it.
///
/// # Errors
/// [`DataError`]; the same call goes on where this one failed.
pub fn end_upgrade(path: &Path, undo: bool) -> Result<(), DataError> {
    let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
    if !path.join("lock").is_file() {
        return Err(DataError::Foreign(path.to_owned()));
    }
    let mut folders = vec![path.canonicalize().map_err(unusable)?];
    if let Ok(regions) = fs::read_dir(path.join("regions")) {
        for region in regions {
            folders.push(region.map_err(unusable)?.path());
        }
    }
    folders.retain(|folder| folder.join("lock").is_file());
    let _locks: Vec<File> = folders.iter().map(|folder| lock(folder)).collect::<Result<_, _>>()?;
    let has_copy = |folder: &PathBuf| Upgrade::state(folder) != UpgradeState::None;
    if !folders.iter().any(has_copy) {
        return Err(UpgradeError::NoCopy(path.to_owned()).into());
    }
    for folder in folders.iter().filter(|folder| has_copy(folder)) {
        let mut step = || Ok(());
        let mut upgrade = Upgrade::of(folder, &mut step);
        if undo { upgrade.undo()? } else { upgrade.confirm()? }
    }
    Ok(())
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Without the file, commands report that no region runs; with it, they would try a closed port.
        let _ = fs::remove_file(Self::ready_file(&self.path));
    }
}

/// Whether the directory has files and no lock file. The lock file is the first one that is created.
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
    fn a_directory_is_locked_by_one_process() {
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
