//! The file of a unit's audit records: lines that are only appended to.

use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use unit_api::admin::{AuditChain, AuditRecord};
use wire::tke::{AuditLine, HexBytes};

const _: () = assert!(wire::tke::AUDIT_RECORD_LEN == unit_api::admin::AUDIT_RECORD_LEN);

/// Where a chain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    /// Number of the newest record.
    pub(crate) last: u64,
    /// Hash over all records up to it.
    pub(crate) head: [u8; 32],
}

/// The records that were kept of one unit.
#[derive(Debug)]
pub(crate) struct AuditFile {
    path: PathBuf,
    end: ChainEnd,
    /// Whether there was a file, so that records that are missing at the front were missed.
    has_lines: bool,
    /// How often the chain broke.
    breaks: u64,
}

/// What a fetched stretch adds to a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addition {
    lines: Vec<AuditLine>,
    end: ChainEnd,
    /// Records that the unit had dropped.
    pub(crate) missed: u64,
    /// Whether the stretch does not continue the kept records.
    pub(crate) is_break: bool,
}

impl Addition {
    pub(crate) const fn end(&self) -> ChainEnd {
        self.end
    }
}

impl AuditFile {
    /// Opens the file at `path`, which need not exist. A line that a crash has cut off is removed; lines that do not follow
    /// from those before are kept, and count as a break.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = Self { path: path.into(), end: ChainEnd::default(), has_lines: false, breaks: 0 };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(file),
            Err(e) => return Err(e),
        };
        let (kept, whole) = read_lines(&text);
        if whole < text.len() {
            let cut = OpenOptions::new().write(true).open(path)?;
            cut.set_len(whole as u64)?;
            cut.sync_all()?;
        }
        (file.end, file.has_lines, file.breaks) = kept;
        Ok(file)
    }

    pub(crate) const fn end(&self) -> ChainEnd {
        self.end
    }

    pub(crate) const fn breaks(&self) -> u64 {
        self.breaks
    }

    /// What a stretch adds; `None` if it does not follow from the kept records, or its numbers are not consecutive.
    pub(crate) fn continued_by(&self, stretch: &AuditChain<'_>) -> Option<Addition> {
        let next = self.end.last.saturating_add(1);
        let first = stretch.records().next().map_or(next, |record| record.sequence);
        let mut addition = Addition { end: self.end, ..Addition::default() };
        if first > next {
            let (last, hash) = (first.saturating_sub(1), stretch.before);
            addition.lines.push(AuditLine::Gap { first: next, last, hash: hash.into() });
            addition.end = ChainEnd { last, head: hash };
            // What was there before the first fetch was not missed.
            addition.missed = if self.has_lines { first.saturating_sub(next) } else { 0 };
        } else if first < next || stretch.before != self.end.head {
            return None;
        }
        addition.extend(stretch)
    }

    /// What a stretch adds that does not follow from the kept records; `None` if its numbers are not consecutive.
    pub(crate) fn broken_by(stretch: &AuditChain<'_>) -> Option<Addition> {
        let first = stretch.records().next().map_or(1, |record| record.sequence);
        let end = ChainEnd { last: first.saturating_sub(1), head: stretch.before };
        let lines = vec![AuditLine::Break { first, hash: end.head.into() }];
        Addition { lines, end, missed: 0, is_break: true }.extend(stretch)
    }

    /// Appends lines, durably.
    pub(crate) fn append(&mut self, addition: &Addition) -> io::Result<()> {
        if addition.lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in &addition.lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let is_new = !self.path.try_exists()?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(e) = file.write_all(&text).and_then(|()| file.sync_data()) {
            // Part of a line must not be in front of the next one. If this fails too, the next start repairs it.
            let _ = file.set_len(before);
            return Err(e);
        }
        if let Some(folder) = self.path.parent().filter(|_| is_new) {
            File::open(folder)?.sync_all()?;
        }
        self.end = addition.end;
        self.has_lines = true;
        self.breaks += u64::from(addition.is_break);
        Ok(())
    }

    /// The lines of the present chain from a record, at most `most`.
    pub(crate) fn lines(path: &Path, first: u64, most: usize) -> io::Result<(Vec<AuditLine>, u64)> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(mut file) => file.read_to_end(&mut text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
        let (mut lines, mut breaks) = (Vec::new(), 0);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(AuditLine::Break { .. }) | Err(_) => {
                    breaks += 1;
                    lines.clear();
                }
                Ok(line) if last_of(&line) >= first && lines.len() < most => lines.push(line),
                Ok(_) => {}
            }
        }
        Ok((lines, breaks))
    }
}

impl Addition {
    fn extend(mut self, stretch: &AuditChain<'_>) -> Option<Self> {
        for bytes in stretch.record_bytes() {
            let record = AuditRecord::from_bytes(bytes).ok()?;
            if record.sequence != self.end.last.saturating_add(1) {
                return None;
            }
            self.end = ChainEnd { last: record.sequence, head: link(&self.end.head, bytes) };
            let (sequence, hash) = (record.sequence, HexBytes::new(self.end.head));
            self.lines.push(AuditLine::Record { sequence, hash, record: HexBytes::new(*bytes) });
        }
        Some(self)
    }
}

/// The end of the lines, whether there are any, and how often the chain broke; and the length of what is whole.
fn read_lines(text: &[u8]) -> ((ChainEnd, bool, u64), usize) {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let (mut end, mut has_lines, mut breaks) = (ChainEnd::default(), false, 0);
    for line in text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        has_lines = true;
        let read: Option<AuditLine> = serde_json::from_slice(line).ok();
        match read.as_ref().and_then(|line| followed(end, line)) {
            Some(next) => {
                breaks += u64::from(matches!(read, Some(AuditLine::Break { .. })));
                end = next;
            }
            None => breaks += 1,
        }
    }
    ((end, has_lines, breaks), whole)
}

/// Panics if the reader of kept records is wrong.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_lines(text: &[u8]) {
    let (kept, whole) = read_lines(text);
    let (before, _) = text.split_at(whole);
    assert_eq!(read_lines(before), (kept, whole), "what a crash cut off is not there");
    let (_, has_lines, breaks) = kept;
    assert!(has_lines || breaks == 0);
    assert!(breaks <= text.len() as u64);
}

const fn last_of(line: &AuditLine) -> u64 {
    match line {
        AuditLine::Record { sequence, .. } => *sequence,
        AuditLine::Gap { last, .. } => *last,
        AuditLine::Break { first, .. } => *first,
    }
}

/// The end after a line, if it follows.
fn followed(end: ChainEnd, line: &AuditLine) -> Option<ChainEnd> {
    let next = end.last.saturating_add(1);
    match line {
        AuditLine::Record { sequence, hash, record } => {
            let head = link(&end.head, record.as_bytes());
            let read = AuditRecord::from_bytes(record.as_bytes()).ok()?;
            let follows = *sequence == next && read.sequence == next && head == *hash.as_bytes();
            follows.then_some(ChainEnd { last: next, head })
        }
        AuditLine::Gap { first, last, hash } => {
            (*first == next && last >= first).then_some(ChainEnd { last: *last, head: *hash.as_bytes() })
        }
        AuditLine::Break { first, hash } => {
            Some(ChainEnd { last: first.saturating_sub(1), head: *hash.as_bytes() })
        }
    }
}

fn link(before: &[u8; 32], record: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(record).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{AuditFile, ChainEnd, link};
    use std::os::unix::fs::PermissionsExt;
    use unit_api::admin::{AuditChain, AuditKind, AuditRecord};
    use wire::tke::AuditLine;

    fn record(sequence: u64) -> AuditRecord {
        AuditRecord {
            sequence,
            time_ms: 0,
            kind: AuditKind::Command,
            signers: 0,
            command: 8,
            return_code: 0,
            reason: 0,
            domain_instance: 1,
            transaction_counter: 2,
            current: [3; 16],
            new: [4; 16],
            block_hash: [5; 32],
            signer_prefixes: [[0; 8]; 8],
        }
    }

    /// The hash over the records up to this one.
    fn head(last: u64) -> [u8; 32] {
        (1..=last).fold([0; 32], |hash, n| link(&hash, &record(n).to_bytes()))
    }

    fn stretch(before: [u8; 32], numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut out = vec![0; 16 * 1024];
        AuditChain::encode(&before, numbers.map(record), &mut out).unwrap().to_vec()
    }

    fn add(file: &mut AuditFile, bytes: &[u8]) -> (u64, bool) {
        let chain = AuditChain::decode(bytes).unwrap();
        let addition = file.continued_by(&chain).or_else(|| AuditFile::broken_by(&chain)).unwrap();
        file.append(&addition).unwrap();
        (addition.missed, addition.is_break)
    }

    #[test]
    fn records_gaps_and_breaks_are_kept_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut file = AuditFile::open(&path).unwrap();
        // What a unit has dropped before the first fetch is a gap, but was not missed.
        assert_eq!(add(&mut file, &stretch(head(2), 3..=5)), (0, false));
        assert_eq!(file.end(), ChainEnd { last: 5, head: head(5) });
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut file = AuditFile::open(&path).unwrap();
        assert_eq!(add(&mut file, &stretch(head(5), 6..=6)), (0, false));
        assert_eq!(add(&mut file, &stretch(head(9), 10..=11)), (3, false));
        let numbers = |first, most| {
            let (lines, breaks) = AuditFile::lines(&path, first, most).unwrap();
            (lines.iter().map(super::last_of).collect::<Vec<_>>(), breaks)
        };
        assert_eq!(numbers(0, 100), (vec![2, 3, 4, 5, 6, 9, 10, 11], 0));
        assert_eq!(numbers(7, 2), (vec![9, 10], 0));
        // Another chain.
        assert_eq!(add(&mut file, &stretch([0; 32], 1..=2)), (0, true));
        assert_eq!(numbers(0, 100), (vec![1, 2], 1));
        let file = AuditFile::open(&path).unwrap();
        assert_eq!((file.end(), file.breaks()), (ChainEnd { last: 2, head: head(2) }, 1));
    }

    #[test]
    fn a_line_that_was_cut_off_is_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        add(&mut AuditFile::open(&path).unwrap(), &stretch([0; 32], 1..=2));
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let mut file = AuditFile::open(&path).unwrap();
            let last = file.end().last;
            assert_eq!((file.end().head, file.breaks()), (head(last), 0), "cut at {len}");
            add(&mut file, &stretch(head(last), last + 1..=2));
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {len}");
        }
    }

    #[test]
    fn a_changed_line_is_a_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        add(&mut AuditFile::open(&path).unwrap(), &stretch([0; 32], 1..=3));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, format!("{}\n{}\n", lines[0], lines[2])).unwrap();
        let file = AuditFile::open(&path).unwrap();
        assert_eq!((file.end().last, file.breaks()), (1, 1));
    }

    /// Existing files, and what the service answers, depend on these lines.
    #[test]
    fn wire_lines_are_the_documented_ones() {
        let lines = [
            AuditLine::Gap { first: 1, last: 2, hash: [1; 32].into() },
            AuditLine::Record { sequence: 3, hash: [2; 32].into(), record: [3; 178].into() },
            AuditLine::Break { first: 1, hash: [0; 32].into() },
        ];
        let text = lines.map(|line| serde_json::to_string(&line).unwrap());
        let hex = |digits: &str, len: usize| digits.repeat(len);
        assert_eq!(text[0], format!(r#"{{"kind":"gap","first":1,"last":2,"hash":"{}"}}"#, hex("01", 32)));
        let (hash, record) = (hex("02", 32), hex("03", 178));
        assert_eq!(
            text[1],
            format!(r#"{{"kind":"record","sequence":3,"hash":"{hash}","record":"{record}"}}"#)
        );
        assert_eq!(text[2], format!(r#"{{"kind":"break","first":1,"hash":"{}"}}"#, hex("00", 32)));
    }
}
