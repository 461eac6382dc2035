//! How far the region's units have come, kept in its data directory.

use crate::files::read_if_present;
use host::{Identity, UnitMemory};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use unit_api::{UnitId, UnitMark};
use unit_server::files;
use wire::text::{decode_hex, encode_hex};

/// The marks of a region's units in the file `units-seen.json`, mode 0600.
///
/// Who can write the data directory can remove the file, and with it what the region knows. The customer's tool keeps marks
/// of its own.
#[derive(Debug)]
pub(super) struct FileUnitMemory {
    path: PathBuf,
    marks: Mutex<BTreeMap<Identity, UnitMark>>,
}

/// One unit in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Module, 32 hexadecimal digits.
    module: String,
    domain: u32,
    life: u32,
    /// Decimal: up to 128 bits.
    transaction_counter: String,
    audit_records: u64,
    /// 64 hexadecimal digits.
    audit_head: String,
}

impl Entry {
    fn of(unit: &Identity, mark: &UnitMark) -> Self {
        Self {
            module: encode_hex(&unit.unit.0),
            domain: unit.domain_index,
            life: mark.life,
            transaction_counter: mark.transaction_counter.to_string(),
            audit_records: mark.audit_records,
            audit_head: encode_hex(&mark.audit_head),
        }
    }

    fn parse(&self) -> Option<(Identity, UnitMark)> {
        let unit = Identity { unit: UnitId(*decode_hex(&self.module)?), domain_index: self.domain };
        let mark = UnitMark {
            life: self.life,
            transaction_counter: self.transaction_counter.parse().ok()?,
            audit_records: self.audit_records,
            audit_head: *decode_hex(&self.audit_head)?,
        };
        Some((unit, mark))
    }
}

impl FileUnitMemory {
    /// The memory in this file, which need not exist.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::InvalidData`] for a damaged file.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let marks = match read_if_present(&path)? {
            None => BTreeMap::new(),
            Some(content) => parse(&content).ok_or_else(|| damaged(&path))?,
        };
        Ok(Self { path, marks: Mutex::new(marks) })
    }
}

fn parse(content: &[u8]) -> Option<BTreeMap<Identity, UnitMark>> {
    let entries: Vec<Entry> = serde_json::from_slice(content).ok()?;
    entries.iter().map(Entry::parse).collect()
}

fn damaged(path: &Path) -> io::Error {
    let reason = format!(
        "{} is damaged: it says how far the crypto units have come. Without it an earlier state of a unit is not noticed; if \
         you know that the units are in order, move it aside",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl UnitMemory for FileUnitMemory {
    fn load(&self) -> Vec<(Identity, UnitMark)> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().map(|(unit, mark)| (*unit, *mark)).collect()
    }

    fn keep(&self, unit: Identity, mark: UnitMark) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = marks.get(&unit);
        if kept == Some(&mark) || kept.is_some_and(|kept| kept.may_become(&mark).is_err()) {
            return Ok(());
        }
        let mut next = marks.clone();
        next.insert(unit, mark);
        let entries: Vec<Entry> = next.iter().map(|(unit, mark)| Entry::of(unit, mark)).collect();
        files::write_private(&self.path, &serde_json::to_vec_pretty(&entries)?)?;
        *marks = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, FileUnitMemory, parse};
    use host::{Identity, UnitMemory};
    use unit_api::{UnitId, UnitMark};

    const UNIT: Identity = Identity { unit: UnitId([7; 16]), domain_index: 3 };

    fn mark(life: u32, transaction_counter: u128) -> UnitMark {
        UnitMark { life, transaction_counter, audit_records: 9, audit_head: [5; 32] }
    }

    #[test]
    fn the_furthest_mark_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = || FileUnitMemory::open(folder.path().join("units-seen.json")).unwrap();
        let memory = open();
        assert_eq!(memory.load(), []);
        for next in [mark(1, u128::MAX), mark(2, 4), mark(2, 3), mark(1, 9)] {
            memory.keep(UNIT, next).unwrap();
        }
        assert_eq!(memory.load(), [(UNIT, mark(2, 4))]);
        assert_eq!(open().load(), memory.load());
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("units-seen.json");
        for content in ["", "{}", r#"[{"module":"07"}]"#] {
            std::fs::write(&path, content).unwrap();
            let error = FileUnitMemory::open(path.clone()).unwrap_err().to_string();
            assert!(error.contains("units-seen.json"), "{error}");
        }
    }

    /// Whatever stands in the file: it is refused, or means the same after it was written again.
    #[test]
    fn every_cut_and_every_changed_byte_is_refused_or_read_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("units-seen.json");
        let memory = FileUnitMemory::open(path.clone()).unwrap();
        memory.keep(UNIT, mark(2, u128::MAX)).unwrap();
        memory.keep(Identity { domain_index: 4, ..UNIT }, mark(1, 0)).unwrap();
        let content = std::fs::read(&path).unwrap();
        let (mut read, mut refused) = (0, 0);
        let mut check = |bytes: &[u8]| match parse(bytes) {
            None => refused += 1,
            Some(marks) => {
                read += 1;
                let entries: Vec<Entry> = marks.iter().map(|(unit, mark)| Entry::of(unit, mark)).collect();
                assert_eq!(parse(&serde_json::to_vec(&entries).unwrap()), Some(marks));
            }
        };
        for at in 0..content.len() {
            check(&content[..at]);
            for bits in [1, 2, 0x20, 0x80] {
                let mut changed = content.clone();
                changed[at] ^= bits;
                check(&changed);
            }
        }
        assert!(read > 100 && refused > 1000, "{read} {refused}");
    }
}
