//! Records of a unit in a file of the customer's, and what is added to them.

use crate::error::TkeError;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use unit_api::admin::{AUDIT_RECORD_LEN, AuditChain, AuditRecord};
use wire::tke::{AuditLine, HexBytes};

const _: () = assert!(wire::tke::AUDIT_RECORD_LEN == AUDIT_RECORD_LEN);

/// Stored records of one unit.
#[derive(Debug, Default)]
pub(super) struct StoredRecords {
    /// Number of the newest record.
    pub(super) last: u64,
    /// Hash over all records up to the newest.
    pub(super) head: [u8; 32],
    pub(super) records: Vec<AuditRecord>,
    /// Ranges of records that are missing: first and last number.
    pub(super) gaps: Vec<(u64, u64)>,
}

/// Records that are added to the stored ones.
#[derive(Default)]
pub(super) struct Extension {
    pub(super) last: u64,
    pub(super) head: [u8; 32],
    records: Vec<AuditRecord>,
    gaps: Vec<(u64, u64)>,
    lines: Vec<AuditLine>,
}

impl StoredRecords {
    /// Reads the file and verifies its chain.
    pub(super) fn read(path: &Path) -> Result<Self, TkeError> {
        let damaged = |problem| TkeError::Damaged { path: path.to_owned(), problem };
        let mut kept = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
            Err(e) => return Err(TkeError::file(path)(e)),
        };
        for line in BufReader::new(file).lines() {
            let line = line.map_err(TkeError::file(path))?;
            let line: AuditLine = serde_json::from_str(&line).map_err(|_| damaged("a line is not valid"))?;
            let mut next = kept.extension();
            let first = next.last.saturating_add(1);
            if let AuditLine::Gap { first: found, .. } = line
                && found != first
            {
                return Err(damaged("a gap is not valid"));
            }
            next.add(&line).map_err(damaged)?;
            kept.take(next);
        }
        Ok(kept)
    }

    /// An extension without records.
    pub(super) const fn extension(&self) -> Extension {
        Extension {
            last: self.last,
            head: self.head,
            records: Vec::new(),
            gaps: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Appends what was added to the file.
    pub(super) fn append(&mut self, path: &Path, next: Extension) -> Result<(), TkeError> {
        if !next.lines.is_empty() {
            let mut text = String::new();
            for line in &next.lines {
                text += &serde_json::to_string(line).unwrap_or_default();
                text.push('\n');
            }
            let write = || {
                let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            };
            write().map_err(TkeError::file(path))?;
        }
        self.take(next);
        Ok(())
    }

    fn take(&mut self, next: Extension) {
        self.last = next.last;
        self.head = next.head;
        self.records.extend(next.records);
        self.gaps.extend(next.gaps);
    }
}

impl Extension {
    /// Adds a stored or kept line, if it follows. A gap may begin before the end.
    pub(super) fn add(&mut self, line: &AuditLine) -> Result<(), &'static str> {
        let next = self.last.saturating_add(1);
        match line {
            AuditLine::Record { sequence, hash, record } => {
                let read = AuditRecord::from_bytes(record.as_bytes()).map_err(|_| "a record is not valid")?;
                let head = link(&self.head, record.as_bytes());
                if read.sequence != next || *sequence != next || *hash.as_bytes() != head {
                    return Err("a record was changed, removed or inserted");
                }
                (self.last, self.head) = (next, head);
                self.records.push(read);
                self.lines.push(line.clone());
            }
            AuditLine::Gap { first, last, hash } => {
                if *first > next || *last < next {
                    return Err("a gap is not valid");
                }
                self.add_gap(*last, *hash.as_bytes());
            }
            AuditLine::Break { .. } => return Err("a line is not valid"),
        }
        Ok(())
    }

    /// Adds the records up to this one as missing; `head` is the hash over all up to it.
    pub(super) fn add_gap(&mut self, last: u64, head: [u8; 32]) {
        let first = self.last.saturating_add(1);
        self.lines.push(AuditLine::Gap { first, last, hash: head.into() });
        self.gaps.push((first, last));
        (self.last, self.head) = (last, head);
    }

    /// Adds a stretch that begins where this one ends.
    pub(super) fn add_stretch(&mut self, chain: &AuditChain<'_>) -> Result<(), &'static str> {
        if chain.before != self.head {
            return Err("they do not follow the stored records");
        }
        for bytes in chain.record_bytes() {
            let record = AuditRecord::from_bytes(bytes).map_err(|_| "one of them is not valid")?;
            if record.sequence != self.last.saturating_add(1) {
                return Err("their numbers are not consecutive");
            }
            let hash = HexBytes::new(link(&self.head, bytes));
            self.add(&AuditLine::Record { sequence: record.sequence, hash, record: HexBytes::new(*bytes) })?;
        }
        Ok(())
    }

    /// Number of records that were added.
    pub(super) const fn len(&self) -> usize {
        self.records.len()
    }
}

fn link(before: &[u8; 32], record: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(record).finalize().into()
}
