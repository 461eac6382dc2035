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
//! Each step leaves the directory so that the same command, or the next start, goes on after a crash.

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
}

impl<'d> Upgrade<'d> {
    /// For the directory at `path`.
    pub(super) fn of(path: &'d Path, step: &'d mut dyn FnMut() -> io::Result<()>) -> Self {
        Self { path, step }
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
        let is_new = !self.path.join("region.json").exists() && !self.path.join("pair.json").exists();
        if found == FORMAT {
            return Ok(());
        }
        if !is_new && !self.path.join(COPY).exists() {
            self.remove(COPY_NEW)?;
            self.copy_all(self.path, &self.path.join(COPY_NEW))?;
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
            for name in self.entries(self.path)? {
                self.remove(&name)?;
            }
            self.copy_all(&self.path.join(COPY), self.path)?;
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

    /// Copies what a directory has to another one, which may exist, durably.
    fn copy_all(&mut self, from: &Path, to: &Path) -> Result<(), UpgradeError> {
        (self.step)().map_err(self.disk(COPY))?;
        files::create_private_dir(to).map_err(self.disk(COPY))?;
        for name in self.entries(from)? {
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

    /// Overwrites every file of a folder with zeros, and removes it.
    fn wipe(&mut self, name: &str) -> Result<(), UpgradeError> {
        let path = self.path.join(name);
        if !path.exists() {
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

fn overwrite(folder: &Path) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            overwrite(&entry.path())?;
        } else if kind.is_file() {
            let mut left = entry.metadata()?.len();
            let mut file = OpenOptions::new().write(true).open(entry.path())?;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
                file.write_all(ZEROS.get(..part).unwrap_or_default())?;
                left = left.saturating_sub(u64::try_from(part).unwrap_or(left));
            }
            file.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{COPY, COPY_GONE, COPY_NEW, FORMAT_FILE, UNDOING, Upgrade, UpgradeError, UpgradeState};
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    /// The files below a directory with their content and mode.
    fn content(path: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
        fn add(root: &Path, at: &Path, found: &mut BTreeMap<String, (Vec<u8>, u32)>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                if path.is_dir() {
                    found.insert(format!("{name}/"), (Vec::new(), mode));
                    add(root, &path, found);
                } else {
                    found.insert(name, (fs::read(&path).unwrap(), mode));
                }
            }
        }
        let mut found = BTreeMap::new();
        add(path, path, &mut found);
        found
    }

    /// A directory of an earlier version.
    fn earlier() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("lock"), "1").unwrap();
        fs::write(path.join("region.json"), "{}").unwrap();
        fs::write(path.join("keystore.redb"), vec![7; 100_000]).unwrap();
        fs::create_dir_all(path.join("units/1")).unwrap();
        fs::write(path.join("units/1/device"), "secret").unwrap();
        fs::set_permissions(path.join("units/1/device"), fs::Permissions::from_mode(0o600)).unwrap();
        folder
    }

    fn change(path: &Path) {
        fs::write(path.join("units/1/device"), "another format").unwrap();
        fs::write(path.join("units/1/state-keys"), "new").unwrap();
        fs::remove_file(path.join("keystore.redb")).unwrap();
        fs::write(path.join("keystore.pin"), "new").unwrap();
    }

    fn run(path: &Path, work: impl FnOnce(&mut Upgrade<'_>) -> Result<(), UpgradeError>) {
        work(&mut Upgrade::of(path, &mut || Ok(()))).unwrap();
    }

    /// Cuts the power before step `at`; false if the work ended before.
    fn cut(path: &Path, at: usize, work: impl FnOnce(&mut Upgrade<'_>) -> Result<(), UpgradeError>) -> bool {
        let mut left = at;
        let mut step = || {
            left = left.checked_sub(1).ok_or_else(|| io::Error::other("power cut"))?;
            Ok(())
        };
        work(&mut Upgrade::of(path, &mut step)).is_err()
    }

    #[test]
    fn an_upgrade_is_undone_whole() {
        let folder = earlier();
        let path = folder.path();
        let before = content(path);
        run(path, |upgrade| upgrade.prepare());
        assert_eq!(Upgrade::state(path), UpgradeState::Unconfirmed);
        change(path);
        // Another start changes nothing about it.
        run(path, |upgrade| upgrade.prepare());
        run(path, |upgrade| upgrade.undo());
        assert_eq!(content(path), before);
        assert!(matches!(Upgrade::of(path, &mut || Ok(())).undo(), Err(UpgradeError::NoCopy(_))));
    }

    #[test]
    fn a_confirmed_upgrade_leaves_no_copy() {
        let folder = earlier();
        let path = folder.path();
        run(path, |upgrade| upgrade.prepare());
        change(path);
        run(path, |upgrade| upgrade.confirm());
        for gone in [COPY, COPY_NEW, COPY_GONE, UNDOING] {
            assert!(!path.join(gone).exists(), "{gone}");
        }
        assert_eq!(fs::read(path.join("units/1/device")).unwrap(), b"another format");
        assert!(matches!(Upgrade::of(path, &mut || Ok(())).confirm(), Err(UpgradeError::NoCopy(_))));
    }

    #[test]
    fn a_power_cut_at_any_step_of_a_copy_leaves_the_earlier_files_or_a_whole_copy() {
        for at in 0.. {
            let folder = earlier();
            let path = folder.path();
            let before = content(path);
            let was_cut = cut(path, at, |upgrade| upgrade.prepare());
            let own = |name: &String| name.starts_with(COPY) || name == FORMAT_FILE;
            let mut now = content(path);
            now.retain(|name, _| !own(name));
            assert_eq!(now, before, "cut before step {at}");
            run(path, |upgrade| upgrade.prepare());
            change(path);
            run(path, |upgrade| upgrade.undo());
            assert_eq!(content(path), before, "cut before step {at}");
            if !was_cut {
                assert!(at > 5, "{at}");
                return;
            }
        }
    }

    #[test]
    fn a_power_cut_at_any_step_of_an_undo_is_repaired_by_the_same_command() {
        for at in 0.. {
            let folder = earlier();
            let path = folder.path();
            let before = content(path);
            run(path, |upgrade| upgrade.prepare());
            change(path);
            let was_cut = cut(path, at, |upgrade| upgrade.undo());
            if was_cut && Upgrade::state(path) == UpgradeState::Undoing {
                let refused = Upgrade::of(path, &mut || Ok(())).prepare();
                assert!(matches!(refused, Err(UpgradeError::UndoInterrupted(_))), "{refused:?}");
            }
            if Upgrade::state(path) != UpgradeState::None {
                run(path, |upgrade| upgrade.undo());
            }
            let mut now = content(path);
            // What is left to overwrite is overwritten by the next command or start.
            now.retain(|name, _| !name.starts_with(COPY_GONE));
            assert_eq!(now, before, "cut before step {at}");
            if !was_cut {
                assert!(at > 5, "{at}");
                return;
            }
        }
    }

    #[test]
    fn a_power_cut_at_any_step_of_a_confirmation_leaves_a_whole_copy_or_none() {
        for at in 0.. {
            let folder = earlier();
            let path = folder.path();
            run(path, |upgrade| upgrade.prepare());
            change(path);
            let was_cut = cut(path, at, |upgrade| upgrade.confirm());
            // The next start completes it.
            run(path, |upgrade| upgrade.prepare());
            assert!(!path.join(COPY_GONE).exists());
            if !was_cut {
                return;
            }
            if path.join(COPY).exists() {
                run(path, |upgrade| upgrade.confirm());
            }
            assert!(!path.join(COPY).exists());
        }
    }

    #[test]
    fn a_new_directory_has_the_format_and_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "1").unwrap();
        run(folder.path(), |upgrade| upgrade.prepare());
        assert_eq!(Upgrade::state(folder.path()), UpgradeState::None);
        assert_eq!(fs::read(folder.path().join(FORMAT_FILE)).unwrap(), b"2\n");
    }

    #[test]
    fn a_directory_of_a_later_version_is_left_alone() {
        let folder = earlier();
        for (text, later) in [("3\n", true), ("", false), ("x", false)] {
            fs::write(folder.path().join(FORMAT_FILE), text).unwrap();
            let before = content(folder.path());
            let refused = Upgrade::of(folder.path(), &mut || Ok(())).prepare().unwrap_err();
            assert_eq!(matches!(refused, UpgradeError::Later { found: 3, .. }), later, "{refused}");
            assert_eq!(content(folder.path()), before);
        }
    }
}
