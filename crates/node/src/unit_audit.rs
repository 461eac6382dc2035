//! Audit records of crypto units, fetched before the units overwrite them, and kept in a file for each unit.
//!
//! A unit keeps its newest records only. The node fetches them at regular times, and before a command that could push one
//! out. It checks that each stretch continues the kept records and leads to the head that the unit reports. The file is the
//! operator's; the customer's tool verifies it up to the head that the unit's module has signed.

mod file;

use crate::ports::UnitEntry;
use crate::unit_link::administer;
use crate::unit_status::query;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use file::check_lines;
use file::{Addition, AuditFile, ChainEnd};
use server::tke::{AdministeredUnit, ForwardError};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tracing::{debug, error, warn};
use unit_api::admin::{
    AdminBlock, AdminCommand, AdminRequest, AdminResponse, AdminResponseBlock, AuditChain, MAX_AUDIT_RECORDS,
};
use unit_api::{Target, UnitId, UnitStatus};
use wire::text::{encode_hex, error_chain};
use wire::tke::{KeptAudit, MAX_AUDIT_LINES};

/// Time for one fetch.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads of one fetch, while the unit adds records.
const MAX_ROUNDS: usize = 5;
/// Commands after which a third of the unit's records may be new: each leaves two at most.
const COMMANDS_PER_FETCH: u32 = MAX_AUDIT_RECORDS as u32 / 3 / 2;
/// Length of a query's block and request beside its input.
const REQUEST_OVERHEAD: usize = 128;

/// A folder of audit records, a file for each unit. Clones share it.
#[derive(Clone, Debug)]
pub struct UnitAudit(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    units: Mutex<BTreeMap<(UnitId, u32), Arc<UnitRecords>>>,
}

#[derive(Debug)]
struct UnitRecords {
    /// Opened at the first fetch.
    file: AsyncMutex<Option<AuditFile>>,
    /// Commands since the last fetch.
    commands: AtomicU32,
    counts: Mutex<AuditCounts>,
}

/// What was fetched of a unit, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditCounts {
    pub(crate) fetched: u64,
    pub(crate) missed: u64,
    pub(crate) breaks: u64,
    pub(crate) failures: u64,
    /// Why the last fetch failed, if the reason is this node's and not the unit's.
    problem: Option<String>,
    /// What has to be looked at.
    alarm: Option<String>,
}

/// Why records were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the unit cannot be asked ({0})")]
    Status(String),
    #[error("another module answers")]
    OtherUnit,
    #[error("the unit cannot be asked")]
    Query(#[from] ForwardError),
    #[error("the unit's answer is invalid")]
    Invalid,
    #[error("the unit's records do not lead to the head that it reports")]
    Unsettled,
    #[error("the unit does not answer in time")]
    TimedOut,
    #[error("{} cannot be read or written", path.display())]
    File { path: PathBuf, source: io::Error },
}

impl UnitAudit {
    /// Keeps records in the folder at `path`, which is created with mode 0700 if it does not exist.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        Ok(Self(Arc::new(Folder { path: path.into(), units: Mutex::default() })))
    }

    /// Fetches the new records of these units, of all at the same time.
    pub(crate) async fn fetch_all(&self, units: Vec<UnitEntry>) {
        let asked = units.into_iter().filter(|unit| unit.out_of_service.is_none()).map(|unit| {
            let this = self.clone();
            tokio::spawn(async move { this.fetch(&unit).await })
        });
        for fetched in asked.collect::<Vec<_>>() {
            let _ = fetched.await;
        }
    }

    /// Counts a command that may add a record, before it is sent. If a third of the unit's records may be new, they are
    /// fetched first. A failed fetch does not keep the command from being sent.
    pub(crate) async fn before_command(&self, unit: &UnitEntry) {
        let records = self.of(unit.id, unit.domain);
        if records.commands.fetch_add(1, Ordering::AcqRel) >= COMMANDS_PER_FETCH {
            self.fetch(unit).await;
        }
    }

    /// Lines that were kept of a unit, from this record.
    pub(crate) async fn kept(&self, unit: &AdministeredUnit, first: u64) -> io::Result<KeptAudit> {
        let path = self.path(unit.id, unit.domain);
        let read = tokio::task::spawn_blocking(move || AuditFile::lines(&path, first, MAX_AUDIT_LINES));
        let (lines, breaks) = read.await.map_err(io::Error::other)??;
        Ok(KeptAudit { lines, breaks })
    }

    /// Counts of a unit.
    pub(crate) fn counts(&self, unit: &UnitEntry) -> AuditCounts {
        self.of(unit.id, unit.domain).counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all records of these units were kept.
    pub(crate) fn check(&self, units: &[UnitEntry]) -> Result<(), String> {
        let problem = |unit: &UnitEntry| {
            let counts = self.counts(unit);
            let what = counts.alarm.or(counts.problem)?;
            Some(format!("unit {}: {what}", unit.number))
        };
        let problems: Vec<String> = units.iter().filter_map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    fn path(&self, id: UnitId, domain: u32) -> PathBuf {
        self.0.path.join(format!("{}-{domain:02}.jsonl", encode_hex(&id.0)))
    }

    fn of(&self, id: UnitId, domain: u32) -> Arc<UnitRecords> {
        let mut units = self.0.units.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            // What the unit has is unknown: it is fetched before the first command.
            let commands = AtomicU32::new(COMMANDS_PER_FETCH);
            Arc::new(UnitRecords { file: AsyncMutex::default(), commands, counts: Mutex::default() })
        };
        Arc::clone(units.entry((id, domain)).or_insert_with(new))
    }

    /// Fetches the new records of a unit, and reports what was missed.
    async fn fetch(&self, unit: &UnitEntry) {
        let records = self.of(unit.id, unit.domain);
        let path = self.path(unit.id, unit.domain);
        let mut file = records.file.lock().await;
        let before = records.commands.load(Ordering::Acquire);
        let fetched = fetch_into(&mut file, &path, unit).await;
        let mut counts = records.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok((before_end, addition)) => {
                // Commands that were sent meanwhile are counted on.
                let _ = records.commands.fetch_update(Ordering::AcqRel, Ordering::Acquire, |commands| {
                    Some(commands.saturating_sub(before))
                });
                counts.problem = None;
                counts.note(unit.number, before_end, &addition);
            }
            Err(error) => {
                let text = error_chain(&error);
                debug!(unit = unit.number, error = %text, "audit records cannot be fetched; retrying");
                counts.failures = counts.failures.saturating_add(1);
                counts.fail(unit.number, &error, text);
            }
        }
    }
}

impl AuditCounts {
    fn note(&mut self, unit: u16, before: ChainEnd, addition: &Addition) {
        let end = addition.end();
        let new = if addition.is_break { 0 } else { end.last.saturating_sub(before.last) };
        self.fetched = self.fetched.saturating_add(new.saturating_sub(addition.missed));
        if addition.missed > 0 {
            self.missed = self.missed.saturating_add(addition.missed);
            let missed = addition.missed;
            error!(
                unit,
                missed,
                last = end.last,
                "a unit has overwritten audit records before they were fetched"
            );
            self.alarm = Some(format!("{missed} audit records were overwritten before they were fetched"));
        }
        if addition.is_break {
            self.breaks = self.breaks.saturating_add(1);
            error!(
                unit,
                kept = before.last,
                found = end.last,
                "a unit's audit records do not continue those that were fetched before: its state was replaced, or it lost it"
            );
            self.alarm = Some(format!(
                "its audit records do not continue those up to record {} that were fetched before",
                before.last
            ));
        }
    }

    /// A unit that is down does not fail this check; a unit that reports wrong records does, and so does a file that cannot be
    /// written.
    fn fail(&mut self, unit: u16, error: &FetchError, text: String) {
        match error {
            FetchError::Status(_) | FetchError::Query(_) | FetchError::TimedOut => {}
            FetchError::OtherUnit | FetchError::Invalid | FetchError::Unsettled | FetchError::File { .. } => {
                if self.problem.as_ref() != Some(&text) {
                    warn!(unit, error = %text, "audit records are not kept");
                }
                self.problem = Some(text);
            }
        }
    }
}

/// Fetches the new records into the file. Returns where it ended before, and what was added.
async fn fetch_into(
    kept: &mut Option<AuditFile>,
    path: &Path,
    unit: &UnitEntry,
) -> Result<(ChainEnd, Addition), FetchError> {
    let at = |source| FetchError::File { path: path.into(), source };
    let mut file = match kept.take() {
        Some(file) => file,
        None => {
            let path = path.to_owned();
            let opened = tokio::task::spawn_blocking(move || AuditFile::open(&path)).await;
            let file = opened.map_err(io::Error::other).and_then(|opened| opened).map_err(at)?;
            if file.breaks() > 0 {
                warn!(unit = unit.number, breaks = file.breaks(), "kept audit records have breaks");
            }
            file
        }
    };
    let before = file.end();
    // Only the unit's part has a time limit: a write that is under way must end before the next one begins.
    let asked = tokio::time::timeout(PATIENCE, new_records(&file, unit)).await;
    let addition = match asked.unwrap_or(Err(FetchError::TimedOut)) {
        Ok(addition) => addition,
        Err(error) => {
            *kept = Some(file);
            return Err(error);
        }
    };
    let written = tokio::task::spawn_blocking(move || {
        let written = file.append(&addition);
        (file, addition, written)
    });
    // If the task fails, the file is opened again by the next fetch.
    let (file, addition, written) = written.await.map_err(io::Error::other).map_err(at)?;
    *kept = Some(file);
    written.map_err(at)?;
    Ok((before, addition))
}

/// The records that the unit has beyond the kept ones.
async fn new_records(file: &AuditFile, unit: &UnitEntry) -> Result<Addition, FetchError> {
    for _ in 0..MAX_ROUNDS {
        let status: UnitStatus = query(unit.endpoint.clone(), PATIENCE).await.map_err(FetchError::Status)?;
        if status.unit != unit.id {
            return Err(FetchError::OtherUnit);
        }
        let reported = ChainEnd { last: status.audit_records, head: status.audit_head };
        let mut addition = None;
        if file.end().last <= reported.last {
            let bytes = query_records(unit, file.end().last.saturating_add(1)).await?;
            let stretch = AuditChain::decode(&bytes).map_err(|_| FetchError::Invalid)?;
            addition = file.continued_by(&stretch);
        }
        let addition = match addition {
            Some(addition) => addition,
            None => {
                let bytes = query_records(unit, 1).await?;
                let stretch = AuditChain::decode(&bytes).map_err(|_| FetchError::Invalid)?;
                AuditFile::broken_by(&stretch).ok_or(FetchError::Invalid)?
            }
        };
        // Otherwise the unit has added a record since it reported.
        if addition.end() == reported {
            return Ok(addition);
        }
    }
    Err(FetchError::Unsettled)
}

/// Queries the records from number `first` on; queries need no signature.
async fn query_records(unit: &UnitEntry, first: u64) -> Result<Vec<u8>, FetchError> {
    let target = Target { unit: UnitId([0; 16]), domain_index: unit.domain, domain_instance: 0 };
    let input = first.to_be_bytes();
    let block =
        AdminBlock { command: AdminCommand::QueryAudit.id(), target, transaction_counter: 0, input: &input };
    let (mut block_room, mut room) = ([0; REQUEST_OVERHEAD], [0; 2 * REQUEST_OVERHEAD]);
    let block = block.encode(&mut block_room).map_err(|_| FetchError::Invalid)?;
    let request = AdminRequest { domain_index: unit.domain, block, signatures: &[] };
    let request = request.encode(&mut room).map_err(|_| FetchError::Invalid)?;
    let response = administer(&unit.endpoint, request).await?;
    let response = AdminResponse::decode(&response).map_err(|_| FetchError::Invalid)?;
    let block = AdminResponseBlock::decode(response.block).map_err(|_| FetchError::Invalid)?;
    block.result().map(<[u8]>::to_vec).map_err(|_| FetchError::Invalid)
}
