//! Records and scripts of ceremonies: `protocol`, `protocol-person`, `-note`, `-close`, `script`. Every command that changes
//! a unit adds to the record.

use crate::context::Context;
use crate::error::TkeError;
use crate::instance::Instance;
use crate::report::Report;
use crate::signers::{SignerArgs, any_keys};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tke::ceremony::CeremonyLog;
use tke::protocol::{
    CeremonyRecord, EntryKind, Hex32, KeyMethod, Participant, ParticipantRole, RecordError, RecordText,
    ScriptPlan, VerifiedRecord,
};
use uuid::Uuid;

/// Options of `protocol`.
#[derive(Clone, Debug, Args)]
pub struct ProtocolArgs {
    /// Number of the record [default: the newest]
    #[arg(long, value_name = "N")]
    pub number: Option<u32>,
    /// Write the document to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Options of `protocol-person`.
#[derive(Clone, Debug, Args)]
pub struct PersonArgs {
    /// Name of the person.
    pub name: String,
    /// Role of the person.
    pub role: PersonRole,
    /// Number of the record [default: the newest]
    #[arg(long, value_name = "N")]
    pub number: Option<u32>,
}

/// Role of a person at a ceremony.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PersonRole {
    /// Reads the script and keeps the record.
    Operator,
    /// Owns a signature key.
    Administrator,
    /// Owns a key part.
    Custodian,
    /// Owns neither, and observes every step.
    Witness,
}

/// Options of `protocol-note`.
#[derive(Clone, Debug, Args)]
pub struct NoteArgs {
    /// Text of the note.
    pub text: String,
    /// Record the text as a deviation from the script that this person allowed.
    #[arg(long, value_name = "NAME")]
    pub deviation_allowed_by: Option<String>,
    /// Number of the record [default: the newest]
    #[arg(long, value_name = "N")]
    pub number: Option<u32>,
}

/// Options of `protocol-close`.
#[derive(Clone, Debug, Args)]
pub struct CloseArgs {
    /// Outcome of the ceremony.
    pub outcome: String,
    /// Do not sign the record.
    #[arg(long)]
    pub unsigned: bool,
    /// Number of the record [default: the newest]
    #[arg(long, value_name = "N")]
    pub number: Option<u32>,
    /// Signature keys [default: the first selected key]
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `script`.
#[derive(Clone, Debug, Args)]
pub struct ScriptArgs {
    /// How the master key is generated.
    pub method: ScriptMethod,
    /// Purpose of the ceremony.
    #[arg(long, default_value = "Initialization of the crypto units")]
    pub title: String,
    /// Number of owners of signature keys.
    #[arg(long, default_value_t = 2)]
    pub administrators: u8,
    /// Number of owners of key parts: 2 or 3 [default: 3, and none with recovery units]
    #[arg(long)]
    pub custodians: Option<u8>,
    /// Number of witnesses.
    #[arg(long, default_value_t = 1)]
    pub witnesses: u8,
    /// Signature threshold: number of administrators that have to sign most commands.
    #[arg(long, default_value_t = 2)]
    pub signature: u8,
    /// Revocation threshold: number of administrators that have to sign the removal of an administrator.
    #[arg(long, default_value_t = 2)]
    pub revocation: u8,
    /// Number of copies of every card or file.
    #[arg(long, default_value_t = 1)]
    pub backups: u8,
    /// Write the script to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How the master key is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScriptMethod {
    /// Keys and parts on smart cards.
    Cards,
    /// Keys and parts in files.
    Files,
    /// A recovery unit generates the master key.
    Recovery,
}

/// Reopens the newest record for a command that changes units, or begins one if it is closed.
pub(crate) fn open(context: &Context<'_>, instance: Uuid, command: &str) -> Result<CeremonyRecord, TkeError> {
    let mut number = newest(context.path())?.unwrap_or(0);
    if number > 0 {
        let path = path(context.path(), number);
        let kept = VerifiedRecord::read(&path).map_err(failed(&path))?;
        if !kept.is_closed() {
            if let Some(what) = kept.open_alarm() {
                return Err(TkeError::AlarmOpen { path, what: what.as_str().to_owned() });
            }
            let mut record = CeremonyRecord::reopen(&path).map_err(failed(&path))?;
            let note = EntryKind::Note { text: line(&format!("command {command}"))? };
            record.append(note).map_err(failed(&path))?;
            return Ok(record);
        }
    }
    number = number.saturating_add(1);
    let path = path(context.path(), number);
    let title = line(&format!("Administration of crypto units, beginning with {command}"))?;
    CeremonyRecord::create(&path, title, line(&instance.to_string())?, Vec::new()).map_err(failed(&path))
}

/// Records an alarm in the newest record, if it is open: an alarm that was raised before a command began.
pub(crate) fn alarm(context: &Context<'_>, unit: u16, what: &str) -> Result<(), TkeError> {
    let Some(number) = newest(context.path())? else { return Ok(()) };
    let path = path(context.path(), number);
    if VerifiedRecord::read(&path).map_err(failed(&path))?.is_closed() {
        return Ok(());
    }
    let mut record = CeremonyRecord::reopen(&path).map_err(failed(&path))?;
    record.record_alarm(unit, what).map_err(TkeError::AlarmNotRecorded)
}

/// `protocol`: verifies and shows the record of a ceremony.
pub(crate) fn show(context: &Context<'_>, args: &ProtocolArgs) -> Result<Report, TkeError> {
    let path = chosen(context, args.number)?;
    let record = VerifiedRecord::read(&path).map_err(failed(&path))?;
    let document = record.to_markdown();
    let json: Value = serde_json::from_str(&record.to_json()).unwrap_or_default();
    if let Some(out) = &args.out {
        let content = if context.options.json { record.to_json() } else { document };
        std::fs::write(out, content).map_err(TkeError::file(out))?;
        return Ok(Report::new(
            format!("The record {} is verified. The document is in {}.", path.display(), out.display()),
            json,
        ));
    }
    Ok(Report::new(document, json))
}

/// `protocol-person`: records a person who is present.
pub(crate) fn person(context: &Context<'_>, args: &PersonArgs) -> Result<Report, TkeError> {
    let role = match args.role {
        PersonRole::Operator => ParticipantRole::Operator,
        PersonRole::Administrator => ParticipantRole::Administrator,
        PersonRole::Custodian => ParticipantRole::Custodian,
        PersonRole::Witness => ParticipantRole::Witness,
    };
    append(context, args.number, EntryKind::Present(Participant { name: line(&args.name)?, role, ski: None }))
}

/// `protocol-note`: records a note or a deviation from the script.
pub(crate) fn note(context: &Context<'_>, args: &NoteArgs) -> Result<Report, TkeError> {
    let text = line(&args.text)?;
    append(
        context,
        args.number,
        match &args.deviation_allowed_by {
            Some(name) => EntryKind::Deviation { what: text, allowed_by: line(name)? },
            None => EntryKind::Note { text },
        },
    )
}

/// `protocol-close`: closes the record and signs it.
pub(crate) async fn close(context: &Context<'_>, args: &CloseArgs) -> Result<Report, TkeError> {
    let path = chosen(context, args.number)?;
    let mut record = CeremonyRecord::reopen(&path).map_err(failed(&path))?;
    let keys = if args.unsigned { Vec::new() } else { any_keys(context, &args.signers).await? };
    // A closed record may be signed by more administrators.
    match record.append(EntryKind::Closed { outcome: line(&args.outcome)? }) {
        Ok(_) => {}
        Err(RecordError::OutOfOrder) if !keys.is_empty() => {}
        Err(error) => return Err(failed(&path)(error)),
    }
    for key in &keys {
        record.sign(key.as_ref()).await.map_err(failed(&path))?;
    }
    Ok(written(&path, record.head()))
}

/// `script`: prints the script of a ceremony for its participants.
pub(crate) async fn script(context: &Context<'_>, args: &ScriptArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let method = match args.method {
        ScriptMethod::Cards => KeyMethod::SmartCards,
        ScriptMethod::Files => KeyMethod::KeyPartFiles,
        ScriptMethod::Recovery => KeyMethod::RecoveryUnits,
    };
    let default = if args.method == ScriptMethod::Recovery { 0 } else { 3 };
    let units =
        instance.units.iter().map(|unit| line(&format!("{} {}", unit.listed.kind, unit.listed.location)));
    let plan = ScriptPlan {
        title: line(&args.title)?,
        instance: line(&instance.id().to_string())?,
        method,
        administrators: args.administrators,
        custodians: args.custodians.unwrap_or(default),
        witnesses: args.witnesses,
        signature_threshold: args.signature,
        revocation_threshold: args.revocation,
        backups: args.backups,
        units: units.collect::<Result<_, _>>()?,
    };
    let script = plan.to_markdown()?;
    let steps: Vec<Value> = plan
        .steps()?
        .iter()
        .map(|step| json!({ "number": step.number, "who": step.who.to_string(), "what": step.what }))
        .collect();
    let json = json!({ "title": args.title, "steps": steps, "cards_needed": plan.cards_needed() });
    match &args.out {
        None => Ok(Report::new(script, json)),
        Some(out) => {
            std::fs::write(out, script).map_err(TkeError::file(out))?;
            Ok(Report::new(format!("The script is in {}.", out.display()), json))
        }
    }
}

fn append(context: &Context<'_>, number: Option<u32>, what: EntryKind) -> Result<Report, TkeError> {
    let path = chosen(context, number)?;
    let mut record = CeremonyRecord::reopen(&path).map_err(failed(&path))?;
    let head = record.append(what).map_err(failed(&path))?;
    Ok(written(&path, head))
}

fn written(path: &Path, head: Hex32) -> Report {
    let text = format!("Recorded in {}. Last hash, for the witnesses' paper: {head}", path.display());
    Report::new(text, json!({ "file": path, "head": head.to_string() }))
}

fn line(given: &str) -> Result<RecordText, TkeError> {
    RecordText::new(given).map_err(|source| TkeError::Text { given: given.to_owned(), source })
}

fn chosen(context: &Context<'_>, number: Option<u32>) -> Result<PathBuf, TkeError> {
    let number = match number {
        Some(number) => Some(number),
        None => newest(context.path())?,
    };
    let number = number.ok_or_else(|| TkeError::Unknown {
        what: "record",
        given: "newest".to_owned(),
        hint: "the first command that changes a crypto unit creates one",
    })?;
    Ok(path(context.path(), number))
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("ceremony-{number:04}.jsonl"))
}

/// Number of the newest record.
fn newest(folder: &Path) -> Result<Option<u32>, TkeError> {
    let mut newest = None;
    for entry in std::fs::read_dir(folder).map_err(TkeError::file(folder))? {
        let name = entry.map_err(TkeError::file(folder))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("ceremony-")?.strip_suffix(".jsonl")?.parse().ok());
        newest = newest.max(number);
    }
    Ok(newest)
}

fn failed(path: &Path) -> impl FnOnce(RecordError) -> TkeError {
    let path = path.to_owned();
    move |source| TkeError::Record { path, source }
}
