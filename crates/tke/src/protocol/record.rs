//! The record of a ceremony: lines of JSON, each with the hash of the one before, each durable before the next command.
//!
//! ```text
//! {"hash":"…","entry":{"sequence":7,"at":"2026-03-01T10:05:00Z","previous":"…","kind":"step-done","step":3,"by":"Ada"}}
//! ```
//!
//! `hash` is SHA-256 over the words `hsm-sim ceremony record 1`, a zero byte, and the bytes of `entry`. An entry that is
//! changed, removed or added breaks the chain. If entries are cut off at the end, the closing entry or the signatures are
//! missing, or the last hash differs from the one on the witnesses' paper.

use super::{CommandEntry, Entry, EntryKind, Hex32, RecordText};
use crate::ceremony::{CeremonyEvent, CeremonyLog};
use crate::holder::{SignatureKey, SigningError};
use crate::private_file;
use crate::unit::PortError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tke_crypto::PublicKey;
use wire::text::{decode_hex_vec, encode_hex};

const ENTRY_WORDS: &[u8] = b"hsm-sim ceremony record 1\0";
/// Longest record that is read, in bytes. A ceremony of many units has some thousand entries.
const MAX_LEN: usize = 64 * 1024 * 1024;

/// The record of a ceremony in progress. One process at a time writes it.
pub struct CeremonyRecord {
    path: PathBuf,
    file: File,
    /// Length of the durable entries, in bytes. A failed write is cut off to this length.
    len: u64,
    sequence: u64,
    head: Hex32,
    closed: bool,
    clock: fn() -> Timestamp,
}

/// A record whose chain and signatures have been verified.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedRecord {
    pub(super) entries: Vec<Entry>,
    pub(super) head: Hex32,
    /// Bytes of an incomplete entry at the end.
    pub(super) torn: u64,
}

/// Reason why a record was not written, or is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Error of the file system; on creation, also if the file exists.
    #[error("{}", path.display())]
    Disk {
        /// The record.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Another process writes the record.
    #[error("the record is in use")]
    InUse,
    /// The ceremony has ended, so that only signatures may follow; or a second beginning.
    #[error("an entry of this kind cannot follow: the record is closed, or has begun already")]
    OutOfOrder,
    /// An entry was changed, removed or added.
    #[error("line {line} of the record was changed, or one before it is missing")]
    Broken {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A signature under the record is not valid.
    #[error("the signature in line {line} of the record is not valid")]
    SignatureInvalid {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The key did not sign.
    #[error("the record was not signed")]
    NotSigned(#[from] SigningError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    hash: Hex32,
    #[serde(borrow)]
    entry: &'a RawValue,
}

impl CeremonyRecord {
    /// Prefix of the statement that is signed. It differs from every command, which begins with `0x30`.
    pub const SIGNED_WORDS: &[u8] = b"hsm-sim ceremony record 1 is complete up to here\0";

    /// Begins a record in a new file.
    ///
    /// # Errors
    /// [`RecordError::Disk`].
    pub fn create(
        path: &Path,
        title: RecordText,
        instance: RecordText,
        steps: Vec<RecordText>,
    ) -> Result<Self, RecordError> {
        Self::create_with_clock(path, title, instance, steps, Timestamp::now)
    }

    /// Begins a record with another clock, as in a simulation.
    ///
    /// # Errors
    /// [`RecordError::Disk`].
    pub fn create_with_clock(
        path: &Path,
        title: RecordText,
        instance: RecordText,
        steps: Vec<RecordText>,
        clock: fn() -> Timestamp,
    ) -> Result<Self, RecordError> {
        let create = || {
            let mut options = OpenOptions::new();
            let file = options.append(true).create_new(true).mode(0o600).open(path)?;
            File::open(private_file::folder(path))?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(disk_error(path))?;
        lock(&file, path)?;
        let first = Hex32([0; 32]);
        let mut record =
            Self { path: path.to_owned(), file, len: 0, sequence: 0, head: first, closed: false, clock };
        record.write(EntryKind::Opened { title, instance, steps })?;
        Ok(record)
    }

    /// Verifies a record and continues it. An incomplete entry at its end is dropped, which is recorded.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn reopen(path: &Path) -> Result<Self, RecordError> {
        let file = OpenOptions::new().append(true).open(path).map_err(disk_error(path))?;
        lock(&file, path)?;
        let verified = VerifiedRecord::read(path)?;
        if verified.entries.is_empty() {
            return Err(RecordError::Broken { line: 1 });
        }
        let whole = file.metadata().map_err(disk_error(path))?.len();
        let len = whole.saturating_sub(verified.torn);
        file.set_len(len).map_err(disk_error(path))?;
        let mut record = Self {
            path: path.to_owned(),
            file,
            len,
            sequence: u64::try_from(verified.entries.len()).unwrap_or(u64::MAX),
            head: verified.head,
            closed: verified.is_closed(),
            clock: Timestamp::now,
        };
        if !record.closed {
            record.write(EntryKind::Reopened { dropped_bytes: verified.torn })?;
        }
        Ok(record)
    }

    /// Appends an entry. Durable on return.
    ///
    /// # Errors
    /// [`RecordError::OutOfOrder`] for a second beginning and after the end; [`RecordError::Disk`], after which the
    /// record is unchanged.
    pub fn append(&mut self, kind: EntryKind) -> Result<Hex32, RecordError> {
        let in_order = match kind {
            EntryKind::Opened { .. } => false,
            EntryKind::Signed { .. } => true,
            _ => !self.closed,
        };
        if !in_order {
            return Err(RecordError::OutOfOrder);
        }
        self.write(kind)
    }

    /// Signs all entries so far.
    ///
    /// # Errors
    /// [`RecordError::NotSigned`], [`RecordError::Disk`].
    pub async fn sign(&mut self, key: &dyn SignatureKey) -> Result<Hex32, RecordError> {
        let signature = key.sign(&signed_statement(&self.head)).await?;
        self.write(EntryKind::Signed {
            name: RecordText::of_program(key.name().as_str()),
            public_key: encode_hex(&key.public_key().to_point()),
            signature: encode_hex(&signature),
        })
    }

    /// Hash of the last entry. It covers all entries before.
    #[must_use]
    pub const fn head(&self) -> Hex32 {
        self.head
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, kind: EntryKind) -> Result<Hex32, RecordError> {
        let closes = matches!(kind, EntryKind::Closed { .. });
        let entry = Entry { sequence: self.sequence, at: (self.clock)(), previous: self.head, kind };
        let write = || {
            let entry = serde_json::value::to_raw_value(&entry)?;
            let hash = hash_of(&entry);
            let mut line = serde_json::to_vec(&Line { hash, entry: &entry })?;
            line.push(b'\n');
            let written = (&self.file).write_all(&line).and_then(|()| self.file.sync_data());
            if written.is_err() {
                self.file.set_len(self.len)?;
            }
            written.map(|()| (hash, line.len()))
        };
        let (hash, line_len) = write().map_err(disk_error(&self.path))?;
        self.len = self.len.saturating_add(u64::try_from(line_len).unwrap_or(u64::MAX));
        self.sequence = self.sequence.saturating_add(1);
        self.head = hash;
        self.closed |= closes;
        Ok(hash)
    }
}

impl fmt::Debug for CeremonyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CeremonyRecord")
            .field("path", &self.path)
            .field("sequence", &self.sequence)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Commands are recorded as they are executed.
impl CeremonyLog for CeremonyRecord {
    fn record(&mut self, event: &CeremonyEvent) -> Result<(), PortError> {
        let text = |text: &str| RecordText::of_program(text);
        self.append(EntryKind::Command(CommandEntry {
            unit: event.unit.number,
            location: text(&event.unit.location.to_string()),
            command: text(&event.description),
            transaction_counter: event.transaction_counter.to_string(),
            block_hash: Hex32(event.block_hash),
            signers: event.signers.iter().map(|(name, ski)| (text(name), text(ski))).collect(),
            pattern: event.pattern.map(|pattern| Hex32(*pattern.as_bytes())),
            parts: event.parts.iter().map(|(label, id)| (text(label), Hex32(id.0))).collect(),
            refused: event.refused.as_deref().map(text),
        }))?;
        Ok(())
    }

    fn record_alarm(&mut self, unit: u16, what: &str) -> Result<(), PortError> {
        self.append(EntryKind::Alarm { unit, what: RecordText::of_program(what) })?;
        Ok(())
    }
}

impl VerifiedRecord {
    /// Reads a record and verifies its chain and its signatures.
    ///
    /// # Errors
    /// [`RecordError::Disk`], [`RecordError::Broken`], [`RecordError::SignatureInvalid`].
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        Self::parse(&private_file::read(path, MAX_LEN).map_err(disk_error(path))?)
    }

    /// Reads the bytes of a record and verifies its chain and its signatures.
    ///
    /// # Errors
    /// [`RecordError::Broken`], [`RecordError::SignatureInvalid`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut read = Self { entries: Vec::new(), head: Hex32([0; 32]), torn: 0 };
        for (place, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = place.saturating_add(1);
            let Some((b'\n', line)) = line.split_last() else {
                read.torn = u64::try_from(line.len()).unwrap_or(u64::MAX);
                break;
            };
            let broken = || RecordError::Broken { line: number };
            let line: Line<'_> = serde_json::from_slice(line).map_err(|_| broken())?;
            let entry: Entry = serde_json::from_str(line.entry.get()).map_err(|_| broken())?;
            let follows = usize::try_from(entry.sequence).is_ok_and(|n| n == place)
                && entry.previous == read.head
                && line.hash == hash_of(line.entry);
            if !follows || !read.may_follow(&entry.kind) {
                return Err(broken());
            }
            if !signature_holds(&entry) {
                return Err(RecordError::SignatureInvalid { line: number });
            }
            read.head = line.hash;
            read.entries.push(entry);
        }
        Ok(read)
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The hash of the last entry, which fixes everything before it.
    #[must_use]
    pub const fn head(&self) -> Hex32 {
        self.head
    }

    /// Whether the ceremony was brought to its end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.kind, EntryKind::Closed { .. }))
    }

    /// The last alarm, if no deviation was recorded after it.
    #[must_use]
    pub fn open_alarm(&self) -> Option<&RecordText> {
        self.entries.iter().rev().find_map(|entry| match &entry.kind {
            EntryKind::Deviation { .. } => Some(None),
            EntryKind::Alarm { what, .. } => Some(Some(what)),
            _ => None,
        })?
    }

    /// Whether the last entry is a half of one: the machine failed while it was written.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn > 0
    }

    fn may_follow(&self, kind: &EntryKind) -> bool {
        match kind {
            EntryKind::Opened { .. } => self.entries.is_empty(),
            EntryKind::Signed { .. } => !self.entries.is_empty(),
            _ => !self.entries.is_empty() && !self.is_closed(),
        }
    }
}

fn hash_of(entry: &RawValue) -> Hex32 {
    Hex32(Sha256::new().chain_update(ENTRY_WORDS).chain_update(entry.get()).finalize().into())
}

fn signed_statement(head: &Hex32) -> Vec<u8> {
    [CeremonyRecord::SIGNED_WORDS, &head.0].concat()
}

/// A signature is over the entry before it; every other entry has none to hold.
fn signature_holds(entry: &Entry) -> bool {
    let EntryKind::Signed { public_key, signature, .. } = &entry.kind else { return true };
    let verify = || {
        let key = PublicKey::from_point(&decode_hex_vec(public_key)?).ok()?;
        key.verify(&signed_statement(&entry.previous), &decode_hex_vec(signature)?).ok()
    };
    verify().is_some()
}

fn lock(file: &File, path: &Path) -> Result<(), RecordError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => RecordError::InUse,
        TryLockError::Error(source) => disk_error(path)(source),
    })
}

fn disk_error(path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Disk { path, source }
}
