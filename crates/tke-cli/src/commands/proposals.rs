//! Commands that several people sign at different times: `propose`, `proposal-show`, `-sign`, `-submit`.

use crate::commands::admins::installed;
use crate::commands::master_key::{refuse_imprint, refuse_loss};
use crate::commands::parts::PatternArgs;
use crate::commands::protocol;
use crate::context::Context;
use crate::duration::parse_duration;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit};
use crate::report::Report;
use crate::secrets::confirm;
use crate::signers::{SignerArgs, administrators, any_keys};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tke::AdminOperation;
use tke::admin_policy::{AdminPolicy, operations};
use tke::ceremony::{CeremonyEvent, CeremonyLog};
use tke::precheck;
use tke::private_file;
use tke::proposal::{DEFAULT_LIFETIME, Proposal, ProposalError};
use unit_api::admin::{AdminCommand, Attributes, ControlPoint};
use wire::text::{decode_hex, error_chain};

/// Options of `propose`.
#[derive(Clone, Debug, Args)]
pub struct ProposeArgs {
    /// Number of the crypto unit.
    #[arg(long, value_name = "N", global = true)]
    pub unit: Option<u16>,
    /// File for the proposal.
    #[arg(long, value_name = "FILE", global = true)]
    pub out: Option<PathBuf>,
    /// Time in which signatures may be collected, such as 90m, 12h, 3d [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, global = true)]
    pub expires: Option<Duration>,
    /// The proposed command.
    #[command(subcommand)]
    pub operation: ProposedOperation,
}

/// Commands that can be proposed.
#[derive(Clone, Debug, Subcommand)]
pub enum ProposedOperation {
    /// Add an administrator.
    AddAdministrator {
        /// Name of a signature key.
        #[arg(required_unless_present_any = ["from_card", "certificate"])]
        name: Option<String>,
        /// The administrator whose key is on this card (reader 1).
        #[arg(long, value_name = "FILE")]
        from_card: Option<PathBuf>,
        /// The administrator of this certificate (DER).
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
    },
    /// Remove an administrator.
    RemoveAdministrator {
        /// Name, or the first 8 or more digits of the subject key identifier.
        administrator: String,
    },
    /// Set both thresholds.
    Thresholds {
        /// Signature threshold: number of administrators that have to sign most commands.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
        signature: u32,
        /// Revocation threshold: number of administrators that have to sign the removal of an administrator.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
        revocation: u32,
    },
    /// Set a control point, such as BTC.
    ControlPoint {
        /// Name of the control point, as `cryptounit-cp` shows it.
        name: String,
    },
    /// Commit the new master key.
    Commit(PatternArgs),
    /// Activate the new master key.
    Activate(PatternArgs),
    /// Clear the new master-key register.
    ClearNew,
    /// Clear the current master-key register.
    ClearCurrent,
    /// Zeroize the crypto unit.
    Zeroize,
}

/// Options of `proposal-show`.
#[derive(Clone, Debug, Args)]
pub struct ProposalFile {
    /// File of the proposal.
    pub file: PathBuf,
}

/// Options of `proposal-sign`.
#[derive(Clone, Debug, Args)]
pub struct ProposalSignArgs {
    /// File of the proposal.
    pub file: PathBuf,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Signature keys [default: the first selected key]
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `proposal-submit`.
#[derive(Clone, Debug, Args)]
pub struct ProposalSubmitArgs {
    /// File of the proposal.
    pub file: PathBuf,
    /// Submit it although the keystore has keys under this master key.
    #[arg(long)]
    pub yes_lose_access: bool,
}

/// `propose`: writes a command to a file for several administrators to sign.
pub(crate) async fn propose(context: &Context<'_>, args: &ProposeArgs) -> Result<Report, TkeError> {
    let missing =
        |what| TkeError::Unknown { what, given: String::new(), hint: "give --unit N and --out FILE" };
    let number = args.unit.ok_or_else(|| missing("crypto unit"))?;
    let out = args.out.as_deref().ok_or_else(|| missing("file for the proposal"))?;
    let instance = Instance::open(context).await?;
    let unit = instance.verify(number).await?;
    let operation = operation(context, &instance, &unit, &args.operation).await?;
    // Loss of access is checked when the proposal is submitted.
    refuse_wrong(&instance, &unit, &operation, true).await?;
    let lifetime = args.expires.map_or(Ok(DEFAULT_LIFETIME), SignedDuration::try_from);
    let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
    let proposal = Proposal::new(unit.listed(), &unit.snapshot, &operation, Timestamp::now(), lifetime);
    write(out, &proposal)?;
    Ok(shown(
        out,
        &proposal,
        "Let administrators compare the fingerprint over another channel, then sign: `proposal-sign`.",
    ))
}

async fn operation(
    context: &Context<'_>,
    instance: &Instance,
    unit: &VerifiedUnit,
    proposed: &ProposedOperation,
) -> Result<AdminOperation, TkeError> {
    let loaded = || Ok::<_, TkeError>(context.plans()?.of(instance.id()).loaded());
    Ok(match proposed {
        ProposedOperation::AddAdministrator { name, from_card, certificate } => {
            let (names, cards) = (name.clone().into_iter().collect::<Vec<_>>(), from_card.clone());
            let cards: Vec<PathBuf> = cards.into_iter().collect();
            let certificates: Vec<PathBuf> = certificate.clone().into_iter().collect();
            let mut new = administrators(context, &names, &cards, &certificates).await?;
            AdminOperation::AddAdministrator(new.pop().ok_or(TkeError::NoSigner)?)
        }
        ProposedOperation::RemoveAdministrator { administrator } => AdminOperation::RemoveAdministrator(
            installed(context, std::slice::from_ref(unit), administrator)?,
        ),
        ProposedOperation::Thresholds { signature, revocation } => {
            let now = unit.snapshot.attributes;
            AdminOperation::SetAttributes(Attributes {
                signature_threshold: *signature,
                revocation_threshold: *revocation,
                ..now
            })
        }
        ProposedOperation::ControlPoint { name } => {
            let point = ControlPoint::ALL.iter().find(|point| point.name() == name);
            let point = point.ok_or_else(|| TkeError::Unknown {
                what: "control point",
                given: name.clone(),
                hint: "`cryptounit-cp` lists them",
            })?;
            AdminOperation::SetControlPoints(unit.snapshot.control_points.with(point.alone()))
        }
        ProposedOperation::Commit(which) => AdminOperation::Commit(which.pattern(context, loaded()?)?),
        ProposedOperation::Activate(which) => AdminOperation::Activate(which.pattern(context, loaded()?)?),
        ProposedOperation::ClearNew => AdminOperation::ClearNew,
        ProposedOperation::ClearCurrent => AdminOperation::ClearCurrent,
        ProposedOperation::Zeroize => AdminOperation::Zeroize,
    })
}

/// Refuses a proposal for the reasons for which the command itself is refused.
async fn refuse_wrong(
    instance: &Instance,
    unit: &VerifiedUnit,
    operation: &AdminOperation,
    confirmed: bool,
) -> Result<(), TkeError> {
    let one = std::slice::from_ref(unit);
    match operation {
        AdminOperation::Activate(pattern) => {
            let checked = precheck::activation(*pattern, instance.keystore_pattern().await?);
            if !checked.passed() {
                return Err(TkeError::Precheck(checked));
            }
            refuse_imprint(one)
        }
        AdminOperation::ClearCurrent | AdminOperation::Zeroize => {
            refuse_loss(one, &instance.keystore().await?, confirmed)
        }
        AdminOperation::SetAttributes(to) => {
            refuse_imprint(one)?;
            let mut policy = AdminPolicy::of(&unit.snapshot);
            policy.signature_threshold = to.signature_threshold;
            policy.revocation_threshold = to.revocation_threshold;
            let no_path = operations(&unit.snapshot, &policy).err();
            no_path.map_or(Ok(()), |source| Err(TkeError::NoPath { unit: unit.number(), source }))
        }
        AdminOperation::AddAdministrator(_) | AdminOperation::RemoveAdministrator(_) => Ok(()),
        _ => refuse_imprint(one),
    }
}

/// `proposal-show`: shows a proposal, decoded from the bytes that are signed.
pub(crate) fn show(args: &ProposalFile) -> Result<Report, TkeError> {
    let proposal = read(&args.file)?;
    Ok(shown(&args.file, &proposal, ""))
}

/// `proposal-sign`: signs a proposal.
pub(crate) async fn sign(context: &Context<'_>, args: &ProposalSignArgs) -> Result<Report, TkeError> {
    let mut proposal = read(&args.file)?;
    confirm(context.console, args.yes, &format!("{}Sign this?", proposal.describe()))?;
    let keys = any_keys(context, &args.signers).await?;
    for key in keys {
        proposal.sign(key.as_ref(), Timestamp::now()).await?;
        // Each signature is stored, even if a later one fails.
        write(&args.file, &proposal)?;
    }
    Ok(shown(&args.file, &proposal, "With enough signatures: `proposal-submit`."))
}

/// `proposal-submit`: sends a proposal with its signatures to its crypto unit.
pub(crate) async fn submit(context: &Context<'_>, args: &ProposalSubmitArgs) -> Result<Report, TkeError> {
    let proposal = read(&args.file)?;
    let instance = Instance::open(context).await?;
    let (target, counter) = proposal.target().ok_or(ProposalError::Malformed(None))?;
    let operation = proposal.operation().ok_or(ProposalError::Malformed(None))?;
    let listed = instance
        .units
        .iter()
        .find(|unit| unit.listed.unit == target.unit && unit.listed.location.domain == target.domain_index);
    let number = listed.map(|unit| unit.listed.number).ok_or_else(|| TkeError::Unknown {
        what: "crypto unit of this instance with module",
        given: target.unit.to_string(),
        hint: "the proposal is for another instance (--instance)",
    })?;
    let unit = instance.verify(number).await?;
    refuse_wrong(&instance, &unit, &operation, args.yes_lose_access).await?;
    let mut record = protocol::open(context, instance.id(), "proposal-submit")?;
    let done = proposal.submit(&unit.unit, Timestamp::now()).await;
    if let Err(error) = &done
        && !matches!(error, ProposalError::Unit(_))
    {
        // Nothing was sent, so that there is nothing to record.
        return Err(done.err().map_or(TkeError::NoSigner, TkeError::from));
    }
    let event = CeremonyEvent {
        unit: unit.listed().clone(),
        description: operation.to_string(),
        command: operation.command(),
        transaction_counter: counter,
        block_hash: block_hash(&proposal),
        signers: proposal.signed().iter().map(|signed| (signed.name.clone(), signed.ski.clone())).collect(),
        pattern: operation.pattern(),
        parts: Vec::new(),
        refused: done.as_ref().err().map(|error| error_chain(error)),
    };
    record.record(&event).map_err(TkeError::NotRecorded)?;
    done?;
    remember(context, &instance, &unit, &operation)?;
    let text = format!("Crypto unit {number} has executed the proposal: {operation}.");
    Ok(Report::new(text, json!({ "crypto_unit": number, "order": operation.to_string(), "done": true })))
}

/// Updates the recorded plan after a proposal that changes it.
fn remember(
    context: &Context<'_>,
    instance: &Instance,
    unit: &VerifiedUnit,
    operation: &AdminOperation,
) -> Result<(), TkeError> {
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    match operation {
        AdminOperation::AddAdministrator(new) => {
            plan.align(&[&unit.snapshot]);
            plan.add(new);
        }
        AdminOperation::RemoveAdministrator(ski) => plan.remove(ski),
        AdminOperation::SetAttributes(to) => {
            plan.signature_threshold = to.signature_threshold;
            plan.revocation_threshold = to.revocation_threshold;
        }
        AdminOperation::SetControlPoints(points) => {
            plan.control_points = Some(crate::plan::points_text(*points))
        }
        _ => return Ok(()),
    }
    plans.record(instance.id(), &plan)
}

fn block_hash(proposal: &Proposal) -> [u8; 32] {
    decode_hex(&proposal.fingerprint()).map_or([0; 32], |hash| *hash)
}

fn read(path: &Path) -> Result<Proposal, TkeError> {
    let text = std::fs::read_to_string(path).map_err(TkeError::file(path))?;
    Ok(Proposal::from_json(&text)?)
}

fn write(path: &Path, proposal: &Proposal) -> Result<(), TkeError> {
    private_file::replace(path, proposal.to_json().as_bytes()).map_err(TkeError::file(path))
}

fn shown(path: &Path, proposal: &Proposal, next: &str) -> Report {
    let operation = proposal.operation();
    let signed: Vec<_> = proposal
        .signed()
        .iter()
        .map(|signed| json!({ "name": signed.name, "ski": signed.ski, "at": signed.at.to_string() }))
        .collect();
    let json = json!({
        "file": path,
        "crypto_unit": proposal.unit(),
        "order": operation.as_ref().map(AdminOperation::to_string),
        "command": operation.as_ref().map(|operation| AdminCommand::name(operation.command())),
        "fingerprint": proposal.fingerprint(),
        "signatures": signed,
    });
    Report::new(format!("{}{next}", proposal.describe()), json)
}
