//! `audit`: audit records of crypto units, fetched, verified and stored.
//!
//! A unit keeps its newest records and the hash of all. Fetched records are appended to a file per unit. The chain of hashes
//! leads through the file to the head that the module signs, so that a record that the service or the file omits is
//! detected. Records that the unit has dropped since are taken from the service, if they are in the chain.

mod stored;

use super::units::absent;
use crate::client::HttpUnitPort;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, UnitGroup, VerifiedUnit};
use crate::report::{Columns, Report};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use stored::{Extension, StoredRecords};
use tke::{AdminUnit, AdminUnitError};
use unit_api::admin::{AdminCommand, AdminRefusal, AuditChain, AuditKind, AuditRecord};
use wire::text::{encode_hex, error_chain};
use wire::tke::AuditLine;

/// Attempts to read all records while the unit adds none.
const MAX_ROUNDS: usize = 16;

/// Options of `audit`.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Number of the crypto unit [default: the selected ones, or all]
    #[arg(long, value_name = "N")]
    pub unit: Option<u16>,
}

/// Records of a unit, and where they are from.
struct Fetched {
    stored: StoredRecords,
    /// Records that the unit had dropped and the service had kept.
    from_service: usize,
    /// Why the service's records were not used.
    service_problem: Option<String>,
}

/// `audit`: fetches, verifies and shows the audit records of crypto units. Units that do not answer are named, and the
/// records of the others are shown.
pub(crate) async fn show(context: &Context<'_>, args: &AuditArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = match args.unit {
        Some(number) => UnitGroup { verified: vec![instance.verify(number).await?], unavailable: Vec::new() },
        None => instance.selected_or_all().await?,
    };
    let mut text = String::new();
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    let mut whole = true;
    for unit in &units.verified {
        let path = path(context.path(), unit);
        let fetched = match fetch(&instance, unit, &path).await {
            Ok(fetched) => fetched,
            Err(error) if args.unit.is_some() => return Err(error),
            Err(error) => {
                let error = error_chain(&error);
                text += &format!("CRYPTO UNIT {}\nWARNING: {error}\n\n", unit.number());
                failed.push(json!({ "number": unit.number(), "error": error }));
                continue;
            }
        };
        let kept = &fetched.stored;
        whole &= kept.gaps.is_empty() && fetched.service_problem.is_none();
        text += &table(unit, &fetched, &path);
        all.push(json!({
            "number": unit.number(),
            "location": unit.listed().location.to_string(),
            "file": path,
            "verified": true,
            "last": kept.last,
            "head": encode_hex(&kept.head),
            "from_service": fetched.from_service,
            "service_problem": fetched.service_problem,
            "gaps": kept.gaps.iter().map(|(first, last)| json!({ "first": first, "last": last })).collect::<Vec<_>>(),
            "records": kept.records.iter().map(record_json).collect::<Vec<_>>(),
        }));
    }
    let (warnings, absent) = absent(&units);
    let good = whole && absent.is_empty() && failed.is_empty();
    let json = json!({ "crypto_units": all, "absent": absent, "failed": failed, "whole": good });
    Ok(Report::new(text + &warnings, json).good_if(good))
}

/// Path by module and domain, which do not depend on the list of units.
fn path(folder: &Path, unit: &VerifiedUnit) -> PathBuf {
    let target = unit.snapshot.target;
    folder.join(format!("audit-{}-{:02}.jsonl", encode_hex(&target.unit.0), target.domain_index))
}

/// Reads the stored records, fetches new ones, and verifies the chain up to the head that the module signed. What the unit has
/// dropped is taken from the service, if it leads from the stored records to those of the unit.
async fn fetch(instance: &Instance, unit: &VerifiedUnit, path: &Path) -> Result<Fetched, TkeError> {
    let number = unit.number();
    let mut stored = StoredRecords::read(path)?;
    for _ in 0..MAX_ROUNDS {
        let snapshot = unit.unit.snapshot().await?;
        if snapshot.audit_records < stored.last {
            let problem = "the unit has fewer records than were fetched before: its state was replaced by an older one, or it is another unit";
            return Err(TkeError::Audit { unit: number, problem });
        }
        let answer = query(&unit.unit, stored.last.saturating_add(1)).await?;
        let invalid =
            || AdminUnitError::InvalidResponse { unit: number, command: AdminCommand::QueryAudit.name() };
        let chain = AuditChain::decode(&answer).map_err(|_| invalid())?;
        let mut next = stored.extension();
        let (mut from_service, mut service_problem) = (0, None);
        let first = chain.records().next().map_or(0, |record| record.sequence);
        if first > next.last.saturating_add(1) {
            let last = first.saturating_sub(1);
            match kept_by_service(instance, number, &stored, (last, chain.before)).await {
                Ok(kept) => (next, from_service) = (kept.0, kept.1),
                Err(problem) => {
                    service_problem = problem;
                    next.add_gap(last, chain.before);
                }
            }
        }
        next.add_stretch(&chain).map_err(|problem| TkeError::Audit { unit: number, problem })?;
        if next.last != snapshot.audit_records {
            // The unit executed a command in between: read again.
            continue;
        }
        if next.head != snapshot.audit_head {
            let problem = "the hashes do not lead to the head that the module signed";
            return Err(TkeError::Audit { unit: number, problem });
        }
        stored.append(path, next)?;
        return Ok(Fetched { stored, from_service, service_problem });
    }
    Err(TkeError::Audit {
        unit: number,
        problem: "new records are added faster than they can be read: try again later",
    })
}

/// The records from the stored ones up to `last`, whose chain leads to `head`, as the service has kept them; and their number.
/// An error has the problem, or none if the service keeps no records.
async fn kept_by_service(
    instance: &Instance,
    unit: u16,
    stored: &StoredRecords,
    (last, head): (u64, [u8; 32]),
) -> Result<(Extension, usize), Option<String>> {
    let hsm_id = instance.unit(unit).map_err(|error| Some(error_chain(&error)))?.hsm_id;
    let mut next = stored.extension();
    while next.last < last {
        let before = next.last;
        let kept = instance.client().kept_audit(hsm_id, before.saturating_add(1)).await;
        let Some(kept) = kept.map_err(|error| Some(error_chain(&error)))? else { return Err(None) };
        if kept.lines.is_empty() && kept.breaks == 0 {
            return Err(None);
        }
        for line in &kept.lines {
            let end = match line {
                AuditLine::Record { sequence, .. } => *sequence,
                AuditLine::Gap { last, .. } => *last,
                AuditLine::Break { .. } => u64::MAX,
            };
            if end > last {
                break;
            }
            next.add(line).map_err(|problem| {
                Some(format!("the records that the service has kept are not consistent: {problem}"))
            })?;
        }
        if next.last == before {
            let problem = "the records that the service has kept do not lead to those of the crypto unit";
            return Err(Some(problem.to_owned()));
        }
    }
    if next.head != head {
        let problem = "the records that the service has kept are not those of the crypto unit";
        return Err(Some(problem.to_owned()));
    }
    let count = next.len();
    Ok((next, count))
}

async fn query(unit: &AdminUnit<HttpUnitPort>, first: u64) -> Result<Vec<u8>, AdminUnitError> {
    Ok(unit.query(AdminCommand::QueryAudit, &first.to_be_bytes()).await?.output)
}

fn table(unit: &VerifiedUnit, fetched: &Fetched, path: &Path) -> String {
    let kept = &fetched.stored;
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
    if fetched.from_service > 0 {
        let count = fetched.from_service;
        text += &format!(
            "{count} records that the crypto unit has dropped are from the service, and verified.\n"
        );
    }
    if let Some(problem) = &fetched.service_problem {
        text += &format!("WARNING: {problem}.\n");
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
