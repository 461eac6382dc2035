//! The secrets of a software unit's state keys, in a file of the unit's folder.

use engine_soft::{
    STATE_KEY_PLACES, STATE_KEY_RECORD_LEN, StateKeyRecord, StateKeyStore, StateKeyStoreFailed,
};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::{Zeroize, Zeroizing};

/// Name of the file.
const FILE: &str = "state-keys";
/// Bytes of a place: a sector, so that a write that is cut short leaves the other places as they are.
const SECTOR_LEN: usize = 512;
const _: () = assert!(STATE_KEY_RECORD_LEN <= SECTOR_LEN);

/// The file `state-keys`, mode 0600, held open: a sector for each place, with the record and zeros. A record is overwritten
/// in place and on disk when a write returns. A file system that copies on write may keep the old bytes.
pub(crate) struct FileStateKeys(File);

impl FileStateKeys {
    /// Opens the file in `folder`; a missing one is made, and filled up with zeros.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let (len, whole) = (file.metadata()?.len(), (STATE_KEY_PLACES * SECTOR_LEN) as u64);
        if len < whole {
            // Written, not only set as the length: a later write needs no room on the disk.
            file.seek(SeekFrom::Start(len))?;
            io::copy(&mut io::repeat(0).take(whole - len), &mut file)?;
            file.sync_all()?;
            crate::files::sync_parent(&path)?;
        }
        Ok(Self(file))
    }

    fn seek(&mut self, place: usize) -> io::Result<()> {
        self.0.seek(SeekFrom::Start((place * SECTOR_LEN) as u64)).map(|_| ())
    }
}

impl StateKeyStore for FileStateKeys {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        let mut read = || {
            self.seek(place)?;
            self.0.read_exact(record)
        };
        read().map_err(|e| failed("read", &e))
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        let mut sector = Zeroizing::new([0; SECTOR_LEN]);
        sector.iter_mut().zip(record).for_each(|(to, from)| *to = *from);
        let mut write = || {
            self.seek(place)?;
            self.0.write_all(&*sector)?;
            self.0.sync_data()
        };
        let written = write();
        sector.zeroize();
        written.map_err(|e| failed("written", &e))
    }
}

/// Reports the operating system's error, which the engine's error, a number, cannot carry.
fn failed(what: &str, error: &io::Error) -> StateKeyStoreFailed {
    tracing::error!(error = error as &dyn Error, "the unit's state keys could not be {what}");
    StateKeyStoreFailed
}

#[cfg(test)]
mod tests {
    use super::{FILE, FileStateKeys, SECTOR_LEN};
    use engine_soft::{STATE_KEY_PLACES, STATE_KEY_RECORD_LEN, StateKeyStore};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn places_are_sectors_of_a_private_file_and_overwritten_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut file = FileStateKeys::open(folder.path()).unwrap();
        let records: Vec<_> = (1..=STATE_KEY_PLACES).map(|byte| [byte as u8; STATE_KEY_RECORD_LEN]).collect();
        for (place, record) in records.iter().enumerate() {
            file.write(place, record).unwrap();
        }
        drop(file);
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 5 * 512));
        let mut file = FileStateKeys::open(folder.path()).unwrap();
        file.write(2, &[0; STATE_KEY_RECORD_LEN]).unwrap();
        for (place, record) in records.iter().enumerate() {
            let mut found = [0xee; STATE_KEY_RECORD_LEN];
            file.read(place, &mut found).unwrap();
            assert_eq!(found, if place == 2 { [0; STATE_KEY_RECORD_LEN] } else { *record });
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(8).any(|window| window == [3; 8]), "the erased record is in the file");
        assert_eq!(bytes.len(), STATE_KEY_PLACES * SECTOR_LEN);
        assert!(file.read(STATE_KEY_PLACES, &mut [0; STATE_KEY_RECORD_LEN]).is_err());
    }

    #[test]
    fn a_file_that_was_made_in_part_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), [0; 100]).unwrap();
        let mut file = FileStateKeys::open(folder.path()).unwrap();
        let mut found = [0xee; STATE_KEY_RECORD_LEN];
        file.read(STATE_KEY_PLACES - 1, &mut found).unwrap();
        assert_eq!(found, [0; STATE_KEY_RECORD_LEN]);
    }
}
