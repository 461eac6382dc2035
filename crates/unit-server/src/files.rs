//! Files that are whole or absent after a crash, and readable by their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a folder, and missing ones above it, that only the owner may enter. An existing folder stays as it is.
///
/// # Errors
/// The operating system's.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file of mode 0600 so that a crash at any moment leaves the old content or the new.
///
/// # Errors
/// The operating system's; the file has its old content then.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

/// Makes a private folder with all that `fill` writes into it, or none: it appears by a rename. If another process makes
/// the folder first, that one stays.
///
/// # Errors
/// The operating system's, and those of `fill`; the folder does not exist then.
pub fn create_whole_dir(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_private_dir(parent)?;
    let beside = private_tempdir().prefix(".new-").tempdir_in(parent)?;
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
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
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
    use super::{create_private_dir, create_whole_dir, read_if_present, write_private};
    use std::io;
    use std::os::unix::fs::PermissionsExt;

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
