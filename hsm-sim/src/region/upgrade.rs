//! Data directories of earlier versions: a copy is kept of what they were until an operator confirms the new version.
//!
//! A program changes the files of an earlier version as it uses them, and the earlier program does not open them any more.
//! Before the first change, everything is copied to `before-upgrade/`. `undo` puts it back, `confirm` gives it up.
//!
//! | file | meaning |
//! |---|---|
//! | `format` | number of the directory's format; without it, 1 |
//! | `before-upgrade/` | the directory as the earlier version left it; it is whole |
//! | `before-upgrade.new/` | a copy that was interrupted; it is made again |
//! | `before-upgrade.gone/` | a copy that is not needed any more and has yet to be overwritten and removed |
//! | `undoing` | an undo has begun and has to be completed before the directory is used |
//!
//! Each step leaves the directory so that the same command, or the next start, goes on after a crash. While an undo puts files
//! back, `region.json` is a text that no program reads as a region, and it is put back last: an earlier program, which does not
//! know `undoing`, refuses the directory instead of making a new region in what is left of it.

#[cfg(test)]
mod tests;

use crate::files;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The format that this program writes. It is raised when an earlier program cannot open what this one has changed.
const FORMAT: u32 = 2;
/// The format of directories that do not say which one they have.
const FIRST_FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format";
const COPY: &str = "before-upgrade";
const COPY_NEW: &str = "before-upgrade.new";
const COPY_GONE: &str = "before-upgrade.gone";
const UNDOING: &str = "undoing";
/// What says whose directory it is, of a region or a pair.
const IDENTITIES: [&str; 2] = ["region.json", "pair.json"];
/// What an undo puts in the place of the identity.
const BLOCKED: &[u8] = b"an upgrade is being undone: complete it with `hsm-sim upgrade undo`\n";
/// The identity before it is renamed. Leftovers of this name are removed.
const IDENTITY_NEW: &str = ".hsm-sim-new-identity";
/// Room beside the copy that a start needs, in bytes.
const SPARE: u64 = 16 * 1024 * 1024;
/// What belongs to the running process, or is a data directory of its own.
const NOT_COPIED: [&str; 8] = ["lock", "run", "ready.json", "regions", COPY, COPY_NEW, COPY_GONE, UNDOING];

/// Why a data directory is not used, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// A file cannot be read or written.
    #[error("{} cannot be used for the upgrade; the files of the earlier version are unchanged", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
    /// A later program has changed the directory.
    #[error(
        "{} has format {found}, which a later version of hsm-sim wrote; this one reads up to {FORMAT}", .path.display()
    )]
    Later {
        /// The data directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The number of the format cannot be read.
    #[error("{} does not hold the number of a format: restore it from a backup", .0.display())]
    FormatInvalid(PathBuf),
    /// There is no room for the copy.
    #[error(
        "{} is of an earlier version and is copied before it is upgraded, for which {needed} bytes are needed and {found} are \
         there: make room, or move it to a larger disk. Nothing in it was changed",
        .path.display()
    )]
    NoRoom {
        /// The data directory.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are available.
        found: u64,
    },
    /// An entry that leads out of the directory would be missing in the copy.
    #[error(
        "{} is a link, and the directory of an earlier version is copied before it is upgraded: put what it leads to in its \
         place. Nothing in the directory was changed",
        .0.display()
    )]
    Link(PathBuf),
    /// An undo was interrupted.
    #[error("an undo of the upgrade of {} was interrupted: complete it with `hsm-sim upgrade undo`", .0.display())]
    UndoInterrupted(PathBuf),
    /// There is no copy of an earlier version.
    #[error("{} has no copy of an earlier version: there is nothing to confirm or to undo", .0.display())]
    NoCopy(PathBuf),
}

/// What a directory has of an earlier version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpgradeState {
    /// None: it was never upgraded, or the upgrade is confirmed.
    None,
    /// A copy, until it is confirmed or undone.
    Unconfirmed,
    /// An undo that was interrupted.
    Undoing,
}

/// A data directory whose format may change. Nothing else may use it meanwhile.
pub(super) struct Upgrade<'d> {
    path: &'d Path,
    /// Called before each change of the disk; a test fails it to cut the power.
    step: &'d mut dyn FnMut() -> io::Result<()>,
    /// Bytes that may still be written below a path.
    room: fn(&Path) -> io::Result<u64>,
}

impl<'d> Upgrade<'d> {
    /// For the directory at `path`.
    pub(super) fn of(path: &'d Path, step: &'d mut dyn FnMut() -> io::Result<()>) -> Self {
        Self { path, step, room: |path| fs4::available_space(path) }
    }

    /// What the directory has of an earlier version.
    #[must_use]
    pub(super) fn state(path: &Path) -> UpgradeState {
        if path.join(UNDOING).exists() {
            UpgradeState::Undoing
        } else if path.join(COPY).exists() {
            UpgradeState::Unconfirmed
        } else {
            UpgradeState::None
        }
    }

    /// Makes sure that the directory has this program's format, with a copy of what it was if it had an earlier one.
    ///
    /// # Errors
    /// [`UpgradeError`]; the files of the earlier version are unchanged.
    pub(super) fn prepare(&mut self) -> Result<(), UpgradeError> {
        if Self::state(self.path) == UpgradeState::Undoing {
            return Err(UpgradeError::UndoInterrupted(self.path.to_owned()));
        }
        self.wipe(COPY_GONE)?;
        let found = self.format()?;
        if found > FORMAT {
            return Err(UpgradeError::Later { path: self.path.to_owned(), found });
        }
        let is_new = IDENTITIES.iter().all(|name| !self.path.join(name).exists());
        if found == FORMAT {
            return Ok(());
        }
        if !self.path.join(FORMAT_FILE).exists() && self.path.join(COPY).exists() {
            // This program has changed nothing since that copy was made, but the earlier one may have.
            self.rename(COPY, COPY_GONE)?;
            self.wipe(COPY_GONE)?;
        }
        if !is_new && !self.path.join(COPY).exists() {
            self.wipe(COPY_NEW)?;
            self.check_room()?;
            self.copy_all(self.path, &self.path.join(COPY_NEW), None)?;
            self.rename(COPY_NEW, COPY)?;
        }
        (self.step)().map_err(self.disk(FORMAT_FILE))?;
        let written = files::write_private(&self.path.join(FORMAT_FILE), format!("{FORMAT}\n").as_bytes());
        written.map_err(self.disk(FORMAT_FILE))
    }

    /// Gives the copy up: the earlier program cannot be returned to. Its bytes are overwritten first.
    ///
    /// # Errors
    /// [`UpgradeError`].
    pub(super) fn confirm(&mut self) -> Result<(), UpgradeError> {
        match Self::state(self.path) {
            UpgradeState::Undoing => return Err(UpgradeError::UndoInterrupted(self.path.to_owned())),
            UpgradeState::None if self.path.join(COPY_GONE).exists() => {}
            UpgradeState::None => return Err(UpgradeError::NoCopy(self.path.to_owned())),
            UpgradeState::Unconfirmed => self.rename(COPY, COPY_GONE)?,
        }
        self.wipe(COPY_GONE)
    }

    /// Makes the directory what the earlier version left. What was changed since is lost.
    ///
    /// # Errors
    /// [`UpgradeError`]; the same call goes on where this one failed.
    pub(super) fn undo(&mut self) -> Result<(), UpgradeError> {
        if Self::state(self.path) == UpgradeState::None {
            return Err(UpgradeError::NoCopy(self.path.to_owned()));
        }
        (self.step)().map_err(self.disk(UNDOING))?;
        files::write_private(&self.path.join(UNDOING), b"").map_err(self.disk(UNDOING))?;
        if self.path.join(COPY).exists() {
            let copy = self.path.join(COPY);
            let identity = IDENTITIES.into_iter().find(|name| copy.join(name).exists());
            if let Some(identity) = identity {
                (self.step)().map_err(self.disk(identity))?;
                files::write_private(&self.path.join(identity), BLOCKED).map_err(self.disk(identity))?;
            }
            for name in self.entries(self.path)? {
                if Some(name.as_str()) != identity {
                    self.wipe(&name)?;
                }
            }
            self.copy_all(&copy, self.path, identity)?;
            if let Some(identity) = identity {
                self.copy(&copy.join(identity), &self.path.join(IDENTITY_NEW))?;
                self.rename(IDENTITY_NEW, identity)?;
            }
            // From here on the directory is the earlier one.
            self.rename(COPY, COPY_GONE)?;
        }
        self.remove(UNDOING)?;
        self.wipe(COPY_GONE)
    }

    fn format(&self) -> Result<u32, UpgradeError> {
        let path = self.path.join(FORMAT_FILE);
        let content = files::read_if_present(&path).map_err(self.disk(FORMAT_FILE))?;
        let Some(content) = content else { return Ok(FIRST_FORMAT) };
        let number = std::str::from_utf8(&content).ok().and_then(|text| text.trim().parse().ok());
        number.ok_or(UpgradeError::FormatInvalid(path))
    }

    /// Names of what is copied of a directory.
    fn entries(&self, of: &Path) -> Result<Vec<String>, UpgradeError> {
        let read = || -> io::Result<Vec<String>> {
            let names = fs::read_dir(of)?.map(|entry| Ok(entry?.file_name().into_string()));
            // This program's own names are valid text.
            Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().filter_map(Result::ok).collect())
        };
        let mut names = read().map_err(self.disk(""))?;
        names.retain(|name| !NOT_COPIED.contains(&name.as_str()));
        names.sort();
        Ok(names)
    }

    /// Checks that everything can be copied.
    fn check_room(&self) -> Result<(), UpgradeError> {
        let mut needed = SPARE;
        let mut folders = vec![];
        for name in self.entries(self.path)? {
            folders.push(self.path.join(name));
        }
        while let Some(path) = folders.pop() {
            let found = fs::symlink_metadata(&path).map_err(self.disk(""))?;
            if found.is_symlink() {
                return Err(UpgradeError::Link(path));
            } else if found.is_dir() {
                for entry in fs::read_dir(&path).map_err(self.disk(""))? {
                    folders.push(entry.map_err(self.disk(""))?.path());
                }
            } else if found.is_file() {
                needed = needed.saturating_add(found.len());
            }
        }
        let found = (self.room)(self.path).map_err(self.disk(""))?;
        if needed > found {
            return Err(UpgradeError::NoRoom { path: self.path.to_owned(), needed, found });
        }
        Ok(())
    }

    /// Copies what a directory has, but `except`, to another one, which may exist, durably.
    fn copy_all(&mut self, from: &Path, to: &Path, except: Option<&str>) -> Result<(), UpgradeError> {
        (self.step)().map_err(self.disk(COPY))?;
        files::create_private_dir(to).map_err(self.disk(COPY))?;
        for name in self.entries(from)?.into_iter().filter(|name| Some(name.as_str()) != except) {
            self.copy(&from.join(&name), &to.join(&name))?;
        }
        sync(to).map_err(self.disk(COPY))
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), UpgradeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| UpgradeError::Disk { path, source }
        };
        let kind = fs::symlink_metadata(from).map_err(failed(from))?.file_type();
        if kind.is_dir() {
            (self.step)().map_err(failed(to))?;
            fs::create_dir(to).map_err(failed(to))?;
            let mode = fs::metadata(from).map_err(failed(from))?.permissions();
            fs::set_permissions(to, mode).map_err(failed(to))?;
            for entry in fs::read_dir(from).map_err(failed(from))? {
                let name = entry.map_err(failed(from))?.file_name();
                self.copy(&from.join(&name), &to.join(&name))?;
            }
            sync(to).map_err(failed(to))?;
        } else if kind.is_file() {
            (self.step)().map_err(failed(to))?;
            // With its mode.
            fs::copy(from, to).and_then(|_| sync(to)).map_err(failed(to))?;
        }
        // Sockets are of a process that has ended.
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), UpgradeError> {
        (self.step)().map_err(self.disk(to))?;
        let renamed = fs::rename(self.path.join(from), self.path.join(to));
        renamed.and_then(|()| sync(self.path)).map_err(self.disk(to))
    }

    /// Removes an entry, if it is there.
    fn remove(&mut self, name: &str) -> Result<(), UpgradeError> {
        let path = self.path.join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(()) };
        (self.step)().map_err(self.disk(name))?;
        let removed = if metadata.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.and_then(|()| sync(self.path)).map_err(self.disk(name))
    }

    /// Overwrites a file, or every file of a folder, with zeros, and removes it.
    fn wipe(&mut self, name: &str) -> Result<(), UpgradeError> {
        let path = self.path.join(name);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(());
        }
        (self.step)().map_err(self.disk(name))?;
        overwrite(&path).map_err(self.disk(name))?;
        self.remove(name)
    }

    fn disk(&self, name: &str) -> impl FnOnce(io::Error) -> UpgradeError + use<> {
        let path = self.path.join(name);
        move |source| UpgradeError::Disk { path, source }
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Overwrites a file, or every file of a folder, with zeros. What a link leads to stays.
fn overwrite(path: &Path) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            overwrite(&entry?.path())?;
        }
    } else if found.is_file() {
        let mut left = found.len();
        let mut file = OpenOptions::new().write(true).open(path)?;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
            file.write_all(ZEROS.get(..part).unwrap_or_default())?;
            left = left.saturating_sub(u64::try_from(part).unwrap_or(left));
        }
        file.sync_all()?;
    }
    Ok(())
}
