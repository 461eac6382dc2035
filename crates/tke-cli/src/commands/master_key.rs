//! Master-key registers of the selected units: `cryptounit-mk-load`, `-mk-commit`, `-mk-setimm`, `-mk-clrnew`,
//! `-mk-clrcur`.

use crate::commands::admins::{listed, needs, refuse_if_any};
use crate::commands::parts::{PartArgs, PatternArgs};
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit, pattern_of};
use crate::report::Report;
use crate::secrets::confirm;
use crate::signers::{SignerArgs, open_quorum};
use crate::tables::two_lines;
use crate::work::{Effect, UnitWork, with_field};
use clap::Args;
use std::path::PathBuf;
use tke::AdminOperation;
use tke::part::KeyPartHolder;
use tke::precheck;
use unit_api::admin::AdminCommand;
use unit_api::{NewRegister, VerificationPattern};
use uuid::Uuid;
use wire::tke::KeystoreStatus;

/// Options of `cryptounit-mk-load`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Key parts.
    #[command(flatten)]
    pub parts: PartArgs,
    /// Part list that a card signed of these parts, if not all are on cards.
    #[arg(long, value_name = "FILE")]
    pub part_list: Option<PathBuf>,
    /// Signature key of one administrator.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `cryptounit-mk-commit` and `cryptounit-mk-setimm`.
#[derive(Clone, Debug, Args)]
pub struct ApproveArgs {
    /// The master key [default: the one of the last load from this folder]
    #[command(flatten)]
    pub pattern: PatternArgs,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `cryptounit-mk-clrnew`.
#[derive(Clone, Debug, Args)]
pub struct ClearNewArgs {
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Signature key of one administrator.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `cryptounit-mk-clrcur`.
#[derive(Clone, Debug, Args)]
pub struct ClearCurrentArgs {
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Clear it although the keystore has keys under this master key.
    #[arg(long)]
    pub yes_lose_access: bool,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// `cryptounit-mk-load`: loads a master key from its parts into the new register.
pub(crate) async fn load(context: &Context<'_>, args: &LoadArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_imprint(&units)?;
    let full = |unit: &VerifiedUnit| match unit.snapshot.new {
        NewRegister::Empty => None,
        NewRegister::FullUncommitted(pattern) | NewRegister::FullCommitted(pattern) => Some(format!(
            "the new register of crypto unit {} is full ({pattern}): use that master key, or clear the register first (`cryptounit-mk-clrnew`)",
            unit.number()
        )),
    };
    refuse_if_any(units.iter().filter_map(full).collect())?;
    let list = args
        .part_list
        .as_deref()
        .map(|path| crate::commands::cards::trusted_list(context, path))
        .transpose()?;
    let parts = args.parts.open(context, list.as_ref())?;
    let pattern = parts.combined_pattern();
    let same = |unit: &VerifiedUnit| {
        unit.snapshot.current.filter(|current| current.is_of_same_key(&pattern)).map(|_| {
            format!(
                "crypto unit {} has this master key as its current one already: change at least one part",
                unit.number()
            )
        })
    };
    refuse_if_any(units.iter().filter_map(same).collect())?;

    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    plan.loaded = Some(pattern.to_string());
    // With a key in the current register this is the beginning of a rotation, which is not the planned final state.
    if units.iter().all(|unit| unit.snapshot.current.is_none()) {
        plan.master_key = Some(pattern.to_string());
    }
    plans.record(instance.id(), &plan)?;

    let quorum =
        open_quorum(context, &args.signers, &needs(&units, AdminCommand::ImportKeyParts), &[]).await?;
    let holders: Vec<&dyn KeyPartHolder> = parts.holders().iter().map(AsRef::as_ref).collect();
    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-mk-load", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let done = work.ceremony().load(&unit.unit, &holders, pattern).await;
        work.end_unit(unit.listed(), done.map(|()| Effect::changed("loaded")).map_err(TkeError::from));
    }
    let report = work.report("Next: commit it (`cryptounit-mk-commit`).");
    Ok(named(report, pattern))
}

/// `cryptounit-mk-commit`: commits the master key in the new register.
pub(crate) async fn commit(context: &Context<'_>, args: &ApproveArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_imprint(&units)?;
    let pattern = args.pattern.pattern(context, context.plans()?.of(instance.id()).loaded())?;
    let wrong = |unit: &VerifiedUnit| match unit.snapshot.new {
        NewRegister::Empty => Some(format!(
            "the new register of crypto unit {} is empty: load the parts first (`cryptounit-mk-load`)",
            unit.number()
        )),
        NewRegister::FullUncommitted(found) | NewRegister::FullCommitted(found) => {
            (!found.is_of_same_key(&pattern)).then(|| other_key(unit, found, pattern))
        }
    };
    refuse_if_any(units.iter().filter_map(wrong).collect())?;
    let quorum = open_quorum(context, &args.signers, &needs(&units, AdminCommand::CommitNew), &[]).await?;
    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-mk-commit", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let result = match unit.snapshot.new {
            NewRegister::FullCommitted(_) => Ok(Effect::unchanged("committed already")),
            _ => {
                let done = work.ceremony().execute(&unit.unit, &AdminOperation::Commit(pattern)).await;
                done.map(|_| Effect::changed("committed")).map_err(TkeError::from)
            }
        };
        work.end_unit(unit.listed(), result);
    }
    let report =
        work.report("Next: activate it (`cryptounit-mk-setimm`), or rotate to it (`cryptounit-mk-rotate`).");
    Ok(named(report, pattern))
}

/// `cryptounit-mk-setimm`: moves the committed master key to the current register.
pub(crate) async fn activate(context: &Context<'_>, args: &ApproveArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_imprint(&units)?;
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    let pattern = args.pattern.pattern(context, plan.loaded())?;
    let checked = precheck::activation(pattern, instance.keystore_pattern().await?);
    if !checked.passed() {
        return Err(TkeError::Precheck(checked));
    }
    let wrong = |unit: &VerifiedUnit| match (unit.snapshot.current, unit.snapshot.new) {
        (Some(current), NewRegister::Empty) if current.is_of_same_key(&pattern) => None,
        (_, NewRegister::FullCommitted(found)) if found.is_of_same_key(&pattern) => None,
        (_, NewRegister::FullUncommitted(found)) if found.is_of_same_key(&pattern) => Some(format!(
            "crypto unit {}: the new master key is not committed (`cryptounit-mk-commit`)",
            unit.number()
        )),
        (_, NewRegister::FullCommitted(found) | NewRegister::FullUncommitted(found)) => {
            Some(other_key(unit, found, pattern))
        }
        (_, NewRegister::Empty) => Some(format!(
            "the new register of crypto unit {} is empty: load and commit the master key first",
            unit.number()
        )),
    };
    refuse_if_any(units.iter().filter_map(wrong).collect())?;
    plan.master_key = Some(pattern.to_string());
    plans.record(instance.id(), &plan)?;
    let quorum = open_quorum(context, &args.signers, &needs(&units, AdminCommand::ActivateNew), &[]).await?;
    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-mk-setimm", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let result = match unit.snapshot.new {
            NewRegister::Empty => Ok(Effect::unchanged("active already")),
            _ => {
                let done = work.ceremony().execute(&unit.unit, &AdminOperation::Activate(pattern)).await;
                done.map(|_| Effect::changed("active")).map_err(TkeError::from)
            }
        };
        work.end_unit(unit.listed(), result);
    }
    let report = work.report("Next: compare all crypto units (`cryptounit-compare`).");
    Ok(named(report, pattern))
}

/// `cryptounit-mk-clrnew`: clears the new register.
pub(crate) async fn clear_new(context: &Context<'_>, args: &ClearNewArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_imprint(&units)?;
    let next = instance.keystore().await?.next.map(pattern_of);
    let rotating = |unit: &VerifiedUnit| {
        let new = match unit.snapshot.new {
            NewRegister::Empty => None,
            NewRegister::FullUncommitted(pattern) | NewRegister::FullCommitted(pattern) => Some(pattern),
        };
        let held = new.zip(next).is_some_and(|(new, next)| new.is_of_same_key(&next));
        held.then(|| {
            format!(
                "crypto unit {}: keys are being re-enciphered under the master key in its new register, and would be lost \
                 without it: finish or cancel the rotation",
                unit.number()
            )
        })
    };
    refuse_if_any(units.iter().filter_map(rotating).collect())?;
    confirm(context.console, args.yes, "Clear the new master-key register of the selected crypto units?")?;
    clear(context, instance.id(), units, "cryptounit-mk-clrnew", &AdminOperation::ClearNew, &args.signers)
        .await
}

/// `cryptounit-mk-clrcur`: clears the current register.
pub(crate) async fn clear_current(
    context: &Context<'_>,
    args: &ClearCurrentArgs,
) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_imprint(&units)?;
    refuse_loss(&units, &instance.keystore().await?, args.yes_lose_access)?;
    confirm(
        context.console,
        args.yes,
        "Clear the current master key of the selected crypto units? They serve no key until it is loaded again.",
    )?;
    clear(context, instance.id(), units, "cryptounit-mk-clrcur", &AdminOperation::ClearCurrent, &args.signers)
        .await
}

async fn clear(
    context: &Context<'_>,
    instance: Uuid,
    units: Vec<VerifiedUnit>,
    command: &'static str,
    operation: &AdminOperation,
    signers: &SignerArgs,
) -> Result<Report, TkeError> {
    let quorum = open_quorum(context, signers, &needs(&units, operation.command()), &[]).await?;
    let mut work = UnitWork::begin(context, instance, command, quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let empty = match operation {
            AdminOperation::ClearNew => matches!(unit.snapshot.new, NewRegister::Empty),
            _ => unit.snapshot.current.is_none(),
        };
        let result = if empty {
            Ok(Effect::unchanged("empty already"))
        } else {
            let done = work.ceremony().execute(&unit.unit, operation).await;
            done.map(|_| Effect::changed("cleared")).map_err(TkeError::from)
        };
        work.end_unit(unit.listed(), result);
    }
    Ok(work.report(""))
}

/// Refuses to erase a master key that keys are under, unless `confirmed`.
pub(crate) fn refuse_loss(
    units: &[VerifiedUnit],
    keystore: &KeystoreStatus,
    confirmed: bool,
) -> Result<(), TkeError> {
    let under = keystore.pattern.map(pattern_of);
    let held = |unit: &VerifiedUnit| {
        let current = unit.snapshot.current.zip(under);
        current
            .is_some_and(|(current, under)| current.is_of_same_key(&under))
            .then(|| unit.number().to_string())
    };
    let numbers: Vec<String> = units.iter().filter_map(held).collect();
    if confirmed || keystore.keys == Some(0) || numbers.is_empty() {
        return Ok(());
    }
    let keys = keystore.keys.map_or_else(|| "keys".to_owned(), |keys| format!("{keys} keys"));
    Err(TkeError::refused(format!(
        "the keystore has {keys} under the master key of crypto units {}. Without it they cannot be used: make sure that \
         you have its parts or a recovery unit, and give --yes-lose-access",
        numbers.join(", ")
    )))
}

pub(crate) fn refuse_imprint(units: &[VerifiedUnit]) -> Result<(), TkeError> {
    let imprint = |unit: &VerifiedUnit| {
        unit.snapshot.attributes.imprint().then(|| {
            format!(
                "crypto unit {} is in imprint mode: add administrators and set thresholds first \
                 (`cryptounit-admin-add`, `cryptounit-thrhld-set`)",
                unit.number()
            )
        })
    };
    refuse_if_any(units.iter().filter_map(imprint).collect())
}

fn other_key(unit: &VerifiedUnit, found: VerificationPattern, wanted: VerificationPattern) -> String {
    format!(
        "crypto unit {} has another master key ({found}) in its new register than expected ({wanted}): clear it \
         (`cryptounit-mk-clrnew`) and load again",
        unit.number()
    )
}

fn named(report: Report, pattern: VerificationPattern) -> Report {
    let pattern = pattern.to_string();
    let heading = format!("Master key with verification pattern\n{}\n", two_lines(&pattern));
    with_field(report.after(&heading), "verification_pattern", pattern)
}
