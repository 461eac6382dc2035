//! A unit's two state slots as files.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use unit_core::{Slot, Storage, StorageFailed};

/// Two files of mode 0600, `slot-a` and `slot-b`, held open. A write is on disk when it returns.
pub struct FileStorage {
    a: File,
    b: File,
}

impl FileStorage {
    /// Opens the slots in `folder`; missing ones are created empty.
    ///
    /// # Errors
    /// The operating system's, when a file cannot be opened or created.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let slot = |name: &str| {
            let path = folder.join(name);
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let storage = Self { a: slot("slot-a")?, b: slot("slot-b")? };
        crate::files::sync_parent(&folder.join("slot-a"))?;
        Ok(storage)
    }

    const fn file(&mut self, slot: Slot) -> &mut File {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }
}

impl Storage for FileStorage {
    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<usize, StorageFailed> {
        let file = self.file(slot);
        let mut filled = 0;
        file.seek(SeekFrom::Start(0)).map_err(|e| failed("read", &e))?;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed("read", &e)),
            }
        }
        Ok(filled)
    }

    fn write(&mut self, slot: Slot, content: &[u8]) -> Result<(), StorageFailed> {
        let file = self.file(slot);
        let mut write = || {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(content)?;
            file.set_len(content.len() as u64)?;
            file.sync_data()
        };
        write().map_err(|e| failed("written", &e))
    }
}

/// Reports the operating system's error, which the unit's answer, an error number, cannot carry.
fn failed(what: &str, error: &io::Error) -> StorageFailed {
    tracing::error!(error = error as &dyn Error, "the unit's state could not be {what}");
    StorageFailed
}
