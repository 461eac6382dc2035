//! `audit`: audit records of crypto units, fetched, verified and stored.
//!
//! A unit keeps its newest records and the hash of all. Fetched records are appended to a file per unit. The chain of hashes
//! leads through the file to the head that the module signs, so that a record that the service or the file omits is
//! detected.

use crate::client::HttpUnitPort;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit};
use crate::report::{Columns, Report};
use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tke::{AdminUnit, AdminUnitError};
use unit_api::admin::{AUDIT_RECORD_LEN, AdminCommand, AdminRefusal, AuditChain, AuditKind, AuditRecord};
use wire::text::{decode_hex, encode_hex};

/// Attempts to read all records while the unit adds none.
const MAX_ROUNDS: usize = 16;

/// Options of `audit`.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Number of the crypto unit [default: the selected ones, or all]
    #[arg(long, value_name = "N")]
    pub unit: Option<u16>,
}

/// Stored records of one unit.
#[derive(Debug, Default)]
struct StoredRecords {
    /// Number of the newest record.
    last: u64,
    /// Hash over all records up to the newest.
    head: [u8; 32],
    records: Vec<AuditRecord>,
    /// Ranges of records that the unit had dropped before they were fetched: first and last number.
    gaps: Vec<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    /// One record, in hexadecimal, and the hash over all records up to it.
    Record { sequence: u64, hash: String, record: String },
    /// Records that are missing, and the hash over all records up to the last of them.
    Gap { first: u64, last: u64, hash: String },
}

/// `audit`: fetches, verifies and shows the audit records of crypto units.
pub(crate) async fn show(context: &Context<'_>, args: &AuditArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = match args.unit {
        Some(number) => vec![instance.verify(number).await?],
        None => instance.selected_or_all().await?.all()?,
    };
    let mut text = String::new();
    let mut all = Vec::new();
    let mut whole = true;
    for unit in &units {
        let path = path(context.path(), unit);
        let kept = fetch(unit, &path).await?;
        whole &= kept.gaps.is_empty();
        text += &table(unit, &kept, &path);
        all.push(json!({
            "number": unit.number(),
            "location": unit.listed().location.to_string(),
            "file": path,
            "verified": true,
            "last": kept.last,
            "head": encode_hex(&kept.head),
            "gaps": kept.gaps.iter().map(|(first, last)| json!({ "first": first, "last": last })).collect::<Vec<_>>(),
            "records": kept.records.iter().map(record_json).collect::<Vec<_>>(),
        }));
    }
    Ok(Report::new(text, json!({ "crypto_units": all, "whole": whole })).good_if(whole))
}

/// Path by module and domain, which do not depend on the list of units.
fn path(folder: &Path, unit: &VerifiedUnit) -> PathBuf {
    let target = unit.snapshot.target;
    folder.join(format!("audit-{}-{:02}.jsonl", encode_hex(&target.unit.0), target.domain_index))
}

/// Reads the stored records, fetches new ones, and verifies the chain up to the head that the module signed.
async fn fetch(unit: &VerifiedUnit, path: &Path) -> Result<StoredRecords, TkeError> {
    let number = unit.number();
    let mut kept = StoredRecords::read(path)?;
    for _ in 0..MAX_ROUNDS {
        let snapshot = unit.unit.snapshot().await?;
        if snapshot.audit_records < kept.last {
            let problem = "the unit has fewer records than were fetched before: its state was replaced by an older one, or it is another unit";
            return Err(TkeError::Audit { unit: number, problem });
        }
        let answer = query(&unit.unit, kept.last.saturating_add(1)).await?;
        let invalid =
            || AdminUnitError::InvalidResponse { unit: number, command: AdminCommand::QueryAudit.name() };
        let chain = AuditChain::decode(&answer).map_err(|_| invalid())?;
        let next = kept.extended(&chain).map_err(|problem| TkeError::Audit { unit: number, problem })?;
        if next.last != snapshot.audit_records {
            // The unit executed a command in between: read again.
            continue;
        }
        if next.head != snapshot.audit_head {
            let problem = "the hashes do not lead to the head that the module signed";
            return Err(TkeError::Audit { unit: number, problem });
        }
        append(path, &next.lines)?;
        kept.take(next);
        return Ok(kept);
    }
    Err(TkeError::Audit {
        unit: number,
        problem: "new records are added faster than they can be read: try again later",
    })
}

async fn query(unit: &AdminUnit<HttpUnitPort>, first: u64) -> Result<Vec<u8>, AdminUnitError> {
    Ok(unit.query(AdminCommand::QueryAudit, &first.to_be_bytes()).await?.output)
}

/// Records that a response adds to the stored ones.
struct Extension {
    last: u64,
    head: [u8; 32],
    records: Vec<AuditRecord>,
    gap: Option<(u64, u64)>,
    lines: Vec<Line>,
}

impl StoredRecords {
    /// Reads the file and verifies its chain.
    fn read(path: &Path) -> Result<Self, TkeError> {
        let damaged = |problem| TkeError::Damaged { path: path.to_owned(), problem };
        let mut kept = Self::default();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
            Err(e) => return Err(TkeError::file(path)(e)),
        };
        let mut lines: Vec<String> = Vec::new();
        for line in BufReader::new(file).lines() {
            lines.push(line.map_err(TkeError::file(path))?);
        }
        for line in &lines {
            let line: Line = serde_json::from_str(line).map_err(|_| damaged("a line is not valid"))?;
            match line {
                Line::Record { sequence, hash, record } => {
                    let record = decode_hex::<AUDIT_RECORD_LEN>(&record);
                    let record = record.ok_or_else(|| damaged("a record is not valid"))?;
                    kept.head = link(&kept.head, record.as_slice());
                    let read =
                        AuditRecord::from_bytes(&record).map_err(|_| damaged("a record is not valid"))?;
                    let in_order = read.sequence == kept.last.saturating_add(1) && sequence == read.sequence;
                    if !in_order || hash != encode_hex(&kept.head) {
                        return Err(damaged("a record was changed, removed or inserted"));
                    }
                    kept.last = sequence;
                    kept.records.push(read);
                }
                Line::Gap { first, last, hash } => {
                    if first != kept.last.saturating_add(1) || last < first {
                        return Err(damaged("a gap is not valid"));
                    }
                    kept.head = *decode_hex(&hash).ok_or_else(|| damaged("a hash is not valid"))?;
                    kept.last = last;
                    kept.gaps.push((first, last));
                }
            }
        }
        Ok(kept)
    }

    /// The records that a response adds, if it begins where the stored ones end, or later.
    fn extended(&self, chain: &AuditChain<'_>) -> Result<Extension, &'static str> {
        let mut next =
            Extension { last: self.last, head: self.head, records: Vec::new(), gap: None, lines: Vec::new() };
        let first = chain.records().next().map(|record| record.sequence);
        match first {
            Some(first) if first > self.last.saturating_add(1) => {
                let gap = (self.last.saturating_add(1), first.saturating_sub(1));
                next.lines.push(Line::Gap { first: gap.0, last: gap.1, hash: encode_hex(&chain.before) });
                (next.gap, next.last, next.head) = (Some(gap), gap.1, chain.before);
            }
            _ if chain.before != self.head => {
                return Err("they do not follow the stored records");
            }
            _ => {}
        }
        for bytes in chain.record_bytes() {
            let record = AuditRecord::from_bytes(bytes).map_err(|_| "one of them is not valid")?;
            if record.sequence != next.last.saturating_add(1) {
                return Err("their numbers are not consecutive");
            }
            next.head = link(&next.head, bytes);
            next.last = record.sequence;
            let (sequence, hash) = (record.sequence, encode_hex(&next.head));
            next.lines.push(Line::Record { sequence, hash, record: encode_hex(bytes) });
            next.records.push(record);
        }
        Ok(next)
    }

    fn take(&mut self, next: Extension) {
        self.last = next.last;
        self.head = next.head;
        self.records.extend(next.records);
        self.gaps.extend(next.gap);
    }
}

fn append(path: &Path, lines: &[Line]) -> Result<(), TkeError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for line in lines {
        text += &serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
    }
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(TkeError::file(path))
}

fn link(before: &[u8; 32], record: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(record).finalize().into()
}

fn table(unit: &VerifiedUnit, kept: &StoredRecords, path: &Path) -> String {
    let mut columns = Columns::new(["RECORD", "TIME", "COUNTER", "EVENT", "SIGNED BY", "RESULT"]);
    for record in &kept.records {
        columns.row([
            record.sequence.to_string(),
            time(record),
            record.transaction_counter.to_string(),
            event(record),
            signers(unit, record).join(", "),
            result(record),
        ]);
    }
    let mut text = format!("CRYPTO UNIT {} {}\n{}", unit.number(), unit.listed().location, columns.text());
    for (first, last) in &kept.gaps {
        text += &format!(
            "WARNING: records {first} to {last} are missing: the crypto unit had dropped them before they were fetched.\n"
        );
    }
    text + &format!("Verified up to the head that the module signed. Stored in {}.\n\n", path.display())
}

fn time(record: &AuditRecord) -> String {
    let milliseconds = i64::try_from(record.time_ms).ok().filter(|ms| *ms > 0);
    let time = milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".to_owned(), |time| time.to_string())
}

fn event(record: &AuditRecord) -> String {
    match record.kind {
        AuditKind::NewChain => "first record".to_owned(),
        AuditKind::ModuleZeroize => "zeroized by the operator".to_owned(),
        AuditKind::Tamper => "tampering detected, everything erased".to_owned(),
        AuditKind::RefusedAttempts => {
            format!("{} more refused commands, not signed by enough", record.attempts())
        }
        AuditKind::Command => AdminCommand::from_id(record.command)
            .map_or_else(|| format!("command {}", record.command), |command| command.name().to_owned()),
    }
}

fn result(record: &AuditRecord) -> String {
    if record.return_code == 0 {
        return "done".to_owned();
    }
    format!("refused: {}", AdminRefusal { return_code: record.return_code, reason: record.reason })
}

/// Names of signers that are still installed; of the others, the identifier as far as the record has it.
fn signers(unit: &VerifiedUnit, record: &AuditRecord) -> Vec<String> {
    let prefixes = record.signer_prefixes.iter().take(usize::from(record.signers));
    prefixes
        .map(|prefix| {
            let mut entries = unit.snapshot.administrators.iter();
            let known = entries.find(|entry| entry.ski.starts_with(prefix)).and_then(|entry| entry.name());
            known.map_or_else(|| encode_hex(prefix), str::to_owned)
        })
        .collect()
}

fn record_json(record: &AuditRecord) -> Value {
    let prefixes = record.signer_prefixes.iter().take(usize::from(record.signers));
    json!({
        "sequence": record.sequence,
        "time": time(record),
        "what": event(record),
        "command": record.command,
        "return_code": record.return_code,
        "reason": record.reason,
        "life": record.domain_instance,
        "transaction_counter": record.transaction_counter.to_string(),
        "current": encode_hex(&record.current),
        "new": encode_hex(&record.new),
        "block_hash": encode_hex(&record.block_hash),
        "signers": prefixes.map(|prefix| encode_hex(prefix)).collect::<Vec<_>>(),
    })
}
