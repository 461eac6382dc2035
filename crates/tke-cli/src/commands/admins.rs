//! Administrators and thresholds of the selected units: `cryptounit-admin-add`, `-admin-rm`, `-thrhld-set`.

use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit};
use crate::plan::Plan;
use crate::report::Report;
use crate::signers::{Need, SignerArgs, administrators, find, open_quorum};
use crate::work::{Effect, UnitWork};
use clap::Args;
use std::path::PathBuf;
use tke::admin_policy::{AdminPolicy, operations};
use tke::compare::permissions_of;
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::quorum::needed;
use tke::{AdminOperation, Administrator, Snapshot};
use tke_crypto::Ski;
use unit_api::admin::{AdminCommand, MAX_ADMINISTRATORS, Permissions};

/// Options of `cryptounit-admin-add`.
#[derive(Clone, Debug, Args)]
pub struct AdminAddArgs {
    /// Names of signature keys, in files or of the signing service.
    #[arg(required_unless_present_any = ["from_card", "certificate"])]
    pub names: Vec<String>,
    /// Add the administrator whose key is on this card (reader 1). May be given several times.
    #[arg(long, value_name = "FILE")]
    pub from_card: Vec<PathBuf>,
    /// Add the administrator of this self-signed certificate (DER). May be given several times.
    #[arg(long, value_name = "FILE")]
    pub certificate: Vec<PathBuf>,
    /// Signature keys, for crypto units that have left imprint mode.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `cryptounit-admin-rm`.
#[derive(Clone, Debug, Args)]
pub struct AdminRmArgs {
    /// Name, or the first 8 or more digits of the subject key identifier.
    pub administrator: String,
    /// Signature keys, for crypto units that have left imprint mode.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `cryptounit-thrhld-set`.
#[derive(Clone, Debug, Args)]
pub struct ThresholdArgs {
    /// Signature threshold: number of administrators that have to sign most commands.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub signature: u32,
    /// Revocation threshold: number of administrators that have to sign the removal of an administrator.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub revocation: u32,
    /// Activation, clearing the current register and zeroization need the signature threshold instead of one signature.
    #[arg(long)]
    pub quorum_destructive: bool,
    /// Recovery crypto units may export the master key to crypto units of another instance.
    #[arg(long)]
    pub export_foreign: bool,
    /// Leave imprint mode with this administrator although it was not added from this folder. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub accept: Vec<String>,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// `cryptounit-admin-add`: adds administrators.
pub(crate) async fn add(context: &Context<'_>, args: &AdminAddArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    let new = administrators(context, &args.names, &args.from_card, &args.certificate).await?;
    let full = |unit: &VerifiedUnit| {
        let more = new.iter().filter(|a| !unit.snapshot.has_administrator(&a.ski)).count();
        let all = unit.snapshot.administrators.len() + more;
        (all > MAX_ADMINISTRATORS).then(|| {
            format!(
                "crypto unit {} would have {all} administrators; the maximum is {MAX_ADMINISTRATORS}",
                unit.number()
            )
        })
    };
    refuse_if_any(units.iter().filter_map(full).collect())?;
    warn_of_equal_names(context, &units, &new);

    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    plan.align(&snapshots(&units));
    new.iter().for_each(|administrator| plan.add(administrator));
    plans.record(instance.id(), &plan)?;

    let needs = needs(&units, AdminCommand::AddAdministrator);
    let quorum = open_quorum(context, &args.signers, &needs, &[]).await?;
    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-admin-add", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let result = add_to(&mut work, unit, &new).await;
        work.end_unit(unit.listed(), result);
    }
    Ok(work.report(
        "Add at least as many administrators as the thresholds will need, then set the thresholds: `cryptounit-thrhld-set`.",
    ))
}

async fn add_to(work: &mut UnitWork, unit: &VerifiedUnit, new: &[Administrator]) -> Result<Effect, TkeError> {
    let mut added = Vec::new();
    for administrator in new.iter().filter(|new| !unit.snapshot.has_administrator(&new.ski)) {
        work.ceremony().execute(&unit.unit, &AdminOperation::AddAdministrator(administrator.clone())).await?;
        added.push(format!("`{}`", administrator.name));
    }
    Ok(if added.is_empty() {
        Effect::unchanged("administrator already")
    } else {
        Effect::changed(format!("added {}", added.join(", ")))
    })
}

/// Units distinguish administrators by keys, people by names.
fn warn_of_equal_names(context: &Context<'_>, units: &[VerifiedUnit], new: &[Administrator]) {
    for administrator in new {
        let same = |unit: &Snapshot| {
            let mut entries = unit.administrators.iter();
            entries.any(|e| e.name() == Some(&administrator.name) && e.ski != *administrator.ski.as_bytes())
        };
        if units.iter().any(|unit| same(&unit.snapshot)) {
            context.console.note(&format!(
                "another administrator has the name `{}` too; do not confuse them",
                administrator.name
            ));
        }
    }
}

/// `cryptounit-admin-rm`: removes an administrator.
pub(crate) async fn remove(context: &Context<'_>, args: &AdminRmArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    let ski = installed(context, &units, &args.administrator)?;
    let illegal = |unit: &VerifiedUnit| {
        let snapshot = &unit.snapshot;
        if snapshot.attributes.imprint() || !snapshot.has_administrator(&ski) {
            return None;
        }
        let mut policy = AdminPolicy::of(snapshot);
        policy.administrators.retain(|administrator| administrator.ski != ski);
        let no_path = operations(snapshot, &policy).err()?;
        Some(format!("crypto unit {}: {no_path}", unit.number()))
    };
    refuse_if_any(units.iter().filter_map(illegal).collect())?;

    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    plan.align(&snapshots(&units));
    plan.remove(&ski);
    plans.record(instance.id(), &plan)?;

    let there: Vec<&VerifiedUnit> =
        units.iter().filter(|unit| unit.snapshot.has_administrator(&ski)).collect();
    let needs: Vec<Need<'_>> = there
        .iter()
        .map(|unit| Need {
            unit,
            signatures: needed(&unit.snapshot, AdminCommand::RemoveAdministrator, None),
        })
        .collect();
    let quorum = open_quorum(context, &args.signers, &needs, &[]).await?;
    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-admin-rm", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let result = if unit.snapshot.has_administrator(&ski) {
            let operation = AdminOperation::RemoveAdministrator(ski);
            let done = work.ceremony().execute(&unit.unit, &operation).await;
            done.map(|_| Effect::changed("removed")).map_err(TkeError::from)
        } else {
            Ok(Effect::unchanged("not an administrator"))
        };
        work.end_unit(unit.listed(), result);
    }
    Ok(work.report(""))
}

/// The installed administrator with this name, or with an identifier that begins with these digits.
pub(crate) fn installed(context: &Context<'_>, units: &[VerifiedUnit], given: &str) -> Result<Ski, TkeError> {
    let prefix = given.to_ascii_lowercase();
    let mut found: Vec<Ski> = Vec::new();
    for entry in units.iter().flat_map(|unit| &unit.snapshot.administrators) {
        let ski = Ski(entry.ski);
        let fits = entry.name() == Some(given) || (prefix.len() >= 8 && ski.to_string().starts_with(&prefix));
        if fits && !found.contains(&ski) {
            found.push(ski);
        }
    }
    match (found.pop(), found.len()) {
        (Some(ski), 0) => Ok(ski),
        (Some(_), more) => {
            Err(TkeError::Ambiguous { what: "administrator", given: given.to_owned(), count: more + 1 })
        }
        // A key that is installed nowhere: there is nothing to remove, which is not an error.
        (None, _) => find(context, given).map(|key| key.ski).map_err(|_| TkeError::Unknown {
            what: "administrator",
            given: given.to_owned(),
            hint: "`cryptounit-admins` lists them",
        }),
    }
}

/// `cryptounit-thrhld-set`: sets the thresholds; the first time, this ends imprint mode.
pub(crate) async fn set_thresholds(context: &Context<'_>, args: &ThresholdArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    let mut illegal = Vec::new();
    let mut needs = Vec::new();
    for unit in &units {
        match operations(&unit.snapshot, &policy(unit, args)) {
            Ok(operations) => {
                let most = operations
                    .iter()
                    .map(|operation| needed(&unit.snapshot, operation.command(), operation.sets()))
                    .max();
                needs.push(Need { unit, signatures: most.unwrap_or(0) });
            }
            Err(no_path) => illegal.push(format!("crypto unit {}: {no_path}", unit.number())),
        }
    }
    refuse_if_any(illegal)?;
    let quorum = open_quorum(context, &args.signers, &needs, &[]).await?;

    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    plan.align(&snapshots(&units));
    refuse_unknown_administrators(&units, &plan, &args.accept)?;
    plan.signature_threshold = args.signature;
    plan.revocation_threshold = args.revocation;
    plan.quorum_destructive = args.quorum_destructive;
    plan.export_foreign = args.export_foreign;
    plans.record(instance.id(), &plan)?;

    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-thrhld-set", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let policy = policy(unit, args);
        let result = match operations(&unit.snapshot, &policy) {
            Ok(operations) if operations.is_empty() => Ok(Effect::unchanged("set already")),
            _ => {
                let goal = UnitGoal { policy, control_points: None, master_key: MasterKeyGoal::AsItIs };
                let text =
                    if unit.snapshot.attributes.imprint() { "set; imprint mode is left" } else { "set" };
                let done = work.ceremony().converge(&unit.unit, &goal, &tke::ceremony::KeySource::None).await;
                done.map(|_| Effect::changed(text)).map_err(TkeError::from)
            }
        };
        work.end_unit(unit.listed(), result);
    }
    let single = args.signature == 1 || args.revocation == 1;
    let next = if single {
        "WARNING: with a threshold of 1, one administrator alone can execute every command. Two or more give dual control."
    } else {
        "Next: load the master key (`cryptounit-mk-load`)."
    };
    Ok(work.report(next))
}

/// In imprint mode every caller that reaches the unit can install administrators. An administrator that was not added
/// from this folder has to be accepted explicitly before imprint mode is left.
fn refuse_unknown_administrators(
    units: &[VerifiedUnit],
    plan: &Plan,
    accepted: &[String],
) -> Result<(), TkeError> {
    let unknown = plan.administrators.iter().filter(|planned| planned.certificate.is_none());
    let unknown = unknown.filter(|planned| {
        !accepted
            .iter()
            .any(|given| *given == planned.name || (given.len() >= 8 && planned.ski.starts_with(given)))
    });
    let mut reasons = Vec::new();
    for administrator in unknown {
        let there = |unit: &&VerifiedUnit| {
            let mut entries = unit.snapshot.administrators.iter();
            unit.snapshot.attributes.imprint()
                && entries.any(|entry| Ski(entry.ski).to_string() == administrator.ski)
        };
        let numbers: Vec<String> = units.iter().filter(there).map(|unit| unit.number().to_string()).collect();
        if !numbers.is_empty() {
            reasons.push(format!(
                "crypto units {} have the administrator `{}` ({}), which was not added from this folder: remove it \
                 (`cryptounit-admin-rm`), or name it with --accept if it is legitimate",
                numbers.join(", "),
                administrator.name,
                administrator.ski
            ));
        }
    }
    refuse_if_any(reasons)
}

/// The present policy with other thresholds. A unit that leaves imprint mode gets the permissions of its kind.
fn policy(unit: &VerifiedUnit, args: &ThresholdArgs) -> AdminPolicy {
    let before = AdminPolicy::of(&unit.snapshot);
    let kind = unit.listed().kind;
    let imprint = unit.snapshot.attributes.imprint();
    let mut permissions = if imprint { permissions_of(kind) } else { before.permissions };
    permissions = switched(permissions, Permissions::QUORUM_DESTRUCTIVE, args.quorum_destructive);
    let foreign = args.export_foreign && kind == tke::UnitKind::Recovery;
    permissions = switched(permissions, Permissions::EXPORT_FOREIGN, foreign);
    AdminPolicy {
        signature_threshold: args.signature,
        revocation_threshold: args.revocation,
        permissions,
        ..before
    }
}

const fn switched(permissions: Permissions, bit: Permissions, on: bool) -> Permissions {
    if on { permissions.with(bit) } else { permissions.without(bit) }
}

/// The number of signatures that a command needs on each unit.
pub(crate) fn needs(units: &[VerifiedUnit], command: AdminCommand) -> Vec<Need<'_>> {
    units.iter().map(|unit| Need { unit, signatures: needed(&unit.snapshot, command, None) }).collect()
}

pub(crate) fn snapshots(units: &[VerifiedUnit]) -> Vec<&Snapshot> {
    units.iter().map(|unit| &unit.snapshot).collect()
}

pub(crate) fn listed(units: &[VerifiedUnit]) -> Vec<tke::UnitDescriptor> {
    units.iter().map(|unit| unit.listed().clone()).collect()
}

pub(crate) fn refuse_if_any(reasons: Vec<String>) -> Result<(), TkeError> {
    if reasons.is_empty() { Ok(()) } else { Err(TkeError::Refused(reasons)) }
}
