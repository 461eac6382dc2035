//! Files that are whole or absent after a crash, and readable by their owner alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What the names of files and folders begin with that are not whole yet.
const TEMPORARY: &str = ".hsm-sim-new-";
/// Bits of a folder's mode: every user may make files in it; only their owners may remove or replace them.
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Makes a folder, and missing ones above it, that only the owner may enter. An existing folder stays as it is.
///
/// # Errors
/// The operating system's.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file of mode 0600 so that a crash at any moment leaves the old content or the new.
///
/// The content is in a new file of this process before it is renamed: a file or link that another user has put beside or
/// in place of the file gets nothing.
///
/// # Errors
/// The operating system's; [`io::ErrorKind::PermissionDenied`] for a folder in which every user may replace the files of
/// others. The file has its old content then.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = parent(path);
    let mode = fs::metadata(parent)?.permissions().mode();
    if mode & WRITABLE_BY_ALL != 0 && mode & STICKY == 0 {
        let reason = format!("every user may replace files in {}; choose another folder", parent.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let mut beside = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(parent)?;
    beside.write_all(content)?;
    beside.as_file().sync_all()?;
    beside.persist(path)?;
    sync_parent(path)
}

/// Like [`write_private`], and overwrites the bytes of the replaced file with zeros afterwards, so that they are not left
/// on the disk. File systems that never write in place, and disks that move blocks, may still keep them.
///
/// # Errors
/// As [`write_private`]; an error of overwriting too, with the new content in place.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let old = match File::options().write(true).open(path) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    write_private(path, content)?;
    if let Some(mut old) = old {
        io::copy(&mut io::repeat(0).take(old.metadata()?.len()), &mut old)?;
        old.sync_all()?;
    }
    Ok(())
}

/// Removes the files that writes cut short by a crash have left in a folder. No other process may write there.
pub fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a private folder with all that `fill` writes into it, or none: it appears by a rename. If another process makes
/// the folder first, that one stays.
///
/// # Errors
/// The operating system's, and those of `fill`; the folder does not exist then.
pub fn create_whole_dir(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let parent = parent(path);
    create_private_dir(parent)?;
    let beside = private_tempdir().prefix(TEMPORARY).tempdir_in(parent)?;
    fill(beside.path())?;
    match fs::rename(beside.path(), path) {
        Ok(()) => {
            let _now_in_place = beside.keep();
            sync_parent(path)
        }
        Err(_) if path.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes temporary folders that only the owner may enter.
#[must_use]
pub fn private_tempdir() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o700));
    builder
}

/// Makes the entry of `path` in its folder durable.
///
/// # Errors
/// The operating system's.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file's content, or `None` if there is no such file.
///
/// # Errors
/// The operating system's, except [`NotFound`](io::ErrorKind::NotFound).
pub fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::{create_private_dir, create_whole_dir, read_if_present, replace_private, write_private};
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn attack_the_blocks_of_a_replaced_file_hold_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        replace_private(&path, b"first").unwrap();
        // A second name keeps the file that is replaced.
        let old = folder.path().join("old");
        std::fs::hard_link(&path, &old).unwrap();
        replace_private(&path, b"second secret").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second secret");
        assert_eq!(std::fs::read(&old).unwrap(), [0; 5]);
    }

    #[test]
    fn a_private_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_private_dir(&inner).unwrap();
        let path = inner.join("secret");
        assert_eq!(read_if_present(&path).unwrap(), None);
        for content in [&b"first"[..], b"2"] {
            write_private(&path, content).unwrap();
            assert_eq!(read_if_present(&path).unwrap().as_deref(), Some(content));
        }
        let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&inner)), (0o600, 0o700));
    }

    #[test]
    fn attack_a_planted_file_gets_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("secret.json"), folder.path().join("victim"));
        std::fs::write(&victim, "another file").unwrap();
        for planted in ["secret.new", "secret.json.new", "secret.json"] {
            std::os::unix::fs::symlink(&victim, folder.path().join(planted)).unwrap();
        }
        let open_to_all = folder.path().join("secret.json.tmp");
        std::fs::write(&open_to_all, "").unwrap();
        write_private(&path, b"secret").unwrap();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o600, "{metadata:?}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"another file");
        assert_eq!(std::fs::read(&open_to_all).unwrap(), b"");
    }

    #[test]
    fn attack_a_folder_in_which_all_may_replace_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, path) = (folder.path().join("shared"), folder.path().join("shared/secret"));
        std::fs::create_dir(&shared).unwrap();
        let set = |mode| std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o777);
        assert_eq!(write_private(&path, b"secret").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
        // As /tmp: others may add files, and not replace this one.
        set(0o1777);
        write_private(&path, b"secret").unwrap();
    }

    #[test]
    fn a_folder_appears_with_all_of_its_files_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        let fails = |beside: &std::path::Path| {
            write_private(&beside.join("first"), b"1")?;
            Err(io::Error::other("no second"))
        };
        assert!(create_whole_dir(&path, fails).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
        for content in [b"1", b"2"] {
            create_whole_dir(&path, |beside| write_private(&beside.join("first"), content)).unwrap();
            assert_eq!(std::fs::read(path.join("first")).unwrap(), b"1", "the first one stays");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
