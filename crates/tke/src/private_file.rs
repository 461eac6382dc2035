//! Files that only their owner can read, and that a crash leaves whole: the old content, or the new.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes a new file of mode 0600. Durable on return; on failure there is no such file.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is a file, which is left as it is; other errors of the file system.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, bytes)?;
    let placed = match rename_if_free(&temporary, path) {
        // Some file systems know no such rename; they know hard links, which never overwrite either.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary))
        }
        placed => placed,
    };
    settle(&temporary, path, placed)
}

/// Writes a file of mode 0600 in place of the one that is there, if any. Durable on return; on failure the old file is
/// unchanged.
///
/// # Errors
/// Those of the file system.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, bytes)?;
    let placed = fs::rename(&temporary, path);
    settle(&temporary, path, placed)
}

/// Reads a file of at most `max_len` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] for a longer file; other errors of the file system.
pub fn read(path: &Path, max_len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > max_len {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is longer than this program accepts",
        ));
    }
    Ok(bytes)
}

/// Reads a file of at most `max_len` bytes; `None` if there is no such file.
///
/// # Errors
/// As [`read`], without [`io::ErrorKind::NotFound`].
pub fn read_if_present(path: &Path, max_len: usize) -> io::Result<Option<Vec<u8>>> {
    match read(path, max_len) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Creates a directory of mode 0700 and its parents. An existing directory is left as it is.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The directory that contains a file.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let number = getrandom::u64().map_err(|_| io::Error::other("no randomness"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{number:016x}.tmp"));
    let temporary = folder(path).join(hidden);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    match file.write_all(bytes).and_then(|()| file.sync_all()) {
        Ok(()) => Ok(temporary),
        Err(e) => {
            let _ = fs::remove_file(&temporary);
            Err(e)
        }
    }
}

fn rename_if_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from)
}

fn settle(temporary: &Path, path: &Path, placed: io::Result<()>) -> io::Result<()> {
    if let Err(e) = placed {
        let _ = fs::remove_file(temporary);
        return Err(e);
    }
    File::open(folder(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{create, read, read_if_present, replace};
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_never_overwritten_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(read_if_present(&path, 3).unwrap(), None);
        create(&path, b"one").unwrap();
        assert_eq!(create(&path, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 3).unwrap(), b"one");
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert_eq!(read_if_present(&path, 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(read(&path, 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["a"], "nothing temporary stays");
    }
}
