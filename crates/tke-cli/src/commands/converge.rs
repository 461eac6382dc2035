//! Units set up as planned, from any state: `converge`, `resume`, `failover-enable`.

use crate::commands::parts::PartArgs;
use crate::commands::rotation::{self, AutoRotateArgs, RotateArgs};
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit};
use crate::plan::Plan;
use crate::report::Report;
use crate::signers::{Need, SignerArgs, open_quorum};
use crate::work::{Effect, UnitWork};
use clap::Args;
use serde_json::json;
use tke::ceremony::KeySource;
use tke::converge::{ConvergeStep, next_step};
use tke::part::{KeyPartHolder, KeyPartSet};
use tke::precheck;
use tke::{Snapshot, UnitKind};
use tke_crypto::Ski;
use unit_api::VerificationPattern;
use unit_api::admin::Permissions;

/// Options of `converge`, `resume` and `failover-enable`.
#[derive(Clone, Debug, Args)]
pub struct ConvergeArgs {
    /// Set up the others like this crypto unit, instead of the recorded plan.
    #[arg(long, value_name = "N")]
    pub like: Option<u16>,
    /// Parts of the master key, for crypto units that lack it if no recovery crypto unit holds it.
    #[command(flatten)]
    pub parts: PartArgs,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// `converge`: sets up every crypto unit as in the recorded plan.
pub(crate) async fn all(context: &Context<'_>, args: &ConvergeArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    converge_units(context, &instance, args, "converge", |_| true).await
}

/// `resume`: continues an interrupted ceremony.
pub(crate) async fn resume(context: &Context<'_>, args: &ConvergeArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    if rotation::is_under_way(&instance).await? {
        let (parts, signers) = (args.parts.clone(), args.signers.clone());
        let report = rotation::rotate(context, &RotateArgs { exclude: Vec::new(), parts, signers }).await?;
        return Ok(report.after("Continuing the rotation of the master key.\n"));
    }
    match context.plans()?.of(instance.id()).under_way {
        Some(command) if command == rotation::AUTOMATIC => {
            let report =
                rotation::automatic(context, &AutoRotateArgs { signers: args.signers.clone() }).await?;
            Ok(report.after(&format!("Continuing `{command}`.\n")))
        }
        None => {
            let text =
                "No ceremony was interrupted. `converge` sets up every crypto unit as in the recorded plan.";
            Ok(Report::new(text, json!({ "under_way": null })))
        }
        Some(command) => {
            let report = converge_units(context, &instance, args, "resume", |_| true).await?;
            Ok(report.after(&format!("Continuing `{command}`.\n")))
        }
    }
}

/// `failover-enable`: sets up the failover crypto units like the others.
pub(crate) async fn failover(context: &Context<'_>, args: &ConvergeArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let standby: Vec<String> = instance
        .units
        .iter()
        .filter(|unit| unit.listed.kind == UnitKind::Failover)
        .map(|unit| format!("{} {}", unit.listed.number, unit.listed.location))
        .collect();
    if standby.is_empty() {
        let text = "The instance has no failover crypto units. The operator of the service assigns them to an instance; then \
                    this command sets them up.";
        return Ok(Report::new(text, json!({ "failover": [] })).good_if(false));
    }
    let mut args = args.clone();
    if args.like.is_none() && !context.plans()?.of(instance.id()).is_decided() {
        let model = instance.units.iter().find(|unit| unit.listed.kind == UnitKind::Operational);
        args.like = model.map(|unit| unit.listed.number);
    }
    let report =
        converge_units(context, &instance, &args, "failover-enable", |kind| kind == UnitKind::Failover)
            .await?;
    Ok(report.after(&format!("Failover crypto units: {}.\n", standby.join(", "))))
}

/// Sets up every unit of these kinds as planned.
async fn converge_units(
    context: &Context<'_>,
    instance: &Instance,
    args: &ConvergeArgs,
    command: &'static str,
    of_kind: impl Fn(UnitKind) -> bool,
) -> Result<Report, TkeError> {
    let everything = instance.verify_all().await?.without_alarm()?;
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    if let Some(number) = args.like {
        instance.unit(number)?;
        let model = everything.verified.iter().find(|unit| unit.number() == number);
        let Some(model) = model else {
            return Err(everything.all().err().unwrap_or(TkeError::NothingSelected));
        };
        crate::commands::master_key::refuse_imprint(std::slice::from_ref(model))?;
        plan.be_like(&model.snapshot);
    }
    if !plan.is_decided() {
        return Err(TkeError::NoPlan(instance.id()));
    }
    let parts = if args.parts.is_empty() { None } else { Some(args.parts.open(context, None)?) };
    if let Some(parts) = &parts {
        refuse_other_parts(&mut plan, parts)?;
    }
    if let Some(pattern) = plan.master_key() {
        let checked = precheck::activation(pattern, instance.keystore_pattern().await?);
        if !checked.passed() {
            return Err(TkeError::Precheck(checked));
        }
    }
    let source = plan.master_key().and_then(|pattern| exporter(&everything.verified, pattern));
    let needs: Vec<Need<'_>> = everything
        .verified
        .iter()
        .filter(|unit| of_kind(unit.listed().kind))
        .chain(source)
        .map(|unit| Need { unit, signatures: signatures(unit, &plan) })
        .collect();
    let coming: Vec<Ski> = plan.skis();
    let busy = needs.iter().any(|need| need.signatures > 0 && !is_done(need.unit, &plan));
    let needs = if busy { needs } else { Vec::new() };
    let quorum = open_quorum(context, &args.signers, &needs, &coming).await?;
    plan.under_way = Some(plan.under_way.take().unwrap_or_else(|| command.to_owned()));
    plans.record(instance.id(), &plan)?;

    let holders: Vec<&dyn KeyPartHolder> =
        parts.iter().flat_map(KeyPartSet::holders).map(AsRef::as_ref).collect();
    let units: Vec<&VerifiedUnit> =
        everything.verified.iter().filter(|unit| of_kind(unit.listed().kind)).collect();
    let mut to_do: Vec<_> = units.iter().map(|unit| unit.listed().clone()).collect();
    to_do.extend(
        everything.unavailable.iter().map(|(listed, _)| listed.clone()).filter(|listed| of_kind(listed.kind)),
    );
    let mut work = UnitWork::begin(context, instance.id(), command, quorum, to_do)?;
    for unit in units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let from = match (&parts, source) {
            (Some(_), _) => KeySource::Parts(&holders),
            (None, Some(source)) => KeySource::Unit { source: &source.unit, new: false },
            (None, None) => KeySource::None,
        };
        let result = converge_one(&mut work, unit, &plan, &from).await;
        work.end_unit(unit.listed(), result);
    }
    for (listed, fault) in everything.unavailable {
        if of_kind(listed.kind) {
            work.end_unit(&listed, Err(fault.into()));
        }
    }
    if work.is_complete() {
        plan.under_way = None;
        plans.record(instance.id(), &plan)?;
    }
    Ok(work.report("Every crypto unit is as planned. See `cryptounit-compare`."))
}

async fn converge_one(
    work: &mut UnitWork,
    unit: &VerifiedUnit,
    plan: &Plan,
    from: &KeySource<'_, crate::client::HttpUnitPort>,
) -> Result<Effect, TkeError> {
    let goal = plan.goal(unit.listed().kind, &unit.snapshot)?;
    let before = unit.snapshot.transaction_counter;
    let after = work.ceremony().converge(&unit.unit, &goal, from).await?;
    Ok(if after.transaction_counter == before {
        Effect::unchanged("as planned already")
    } else {
        Effect::changed("as planned now")
    })
}

/// The parts have to combine to the planned master key. If none is planned, theirs is.
fn refuse_other_parts(plan: &mut Plan, parts: &KeyPartSet) -> Result<(), TkeError> {
    let calculated = parts.combined_pattern();
    match plan.master_key() {
        Some(given) if !given.is_of_same_key(&calculated) => {
            Err(TkeError::OtherPattern { calculated, given })
        }
        _ => {
            plan.master_key = Some(calculated.to_string());
            Ok(())
        }
    }
}

/// A unit that holds the master key and may export it.
fn exporter(units: &[VerifiedUnit], pattern: VerificationPattern) -> Option<&VerifiedUnit> {
    units.iter().find(|unit| {
        let unit = &unit.snapshot;
        !unit.attributes.imprint()
            && unit.attributes.permissions.contains(Permissions::WK_EXPORT)
            && unit.current.is_some_and(|current| current.is_of_same_key(&pattern))
    })
}

fn is_done(unit: &VerifiedUnit, plan: &Plan) -> bool {
    let goal = plan.goal(unit.listed().kind, &unit.snapshot);
    goal.is_ok_and(|goal| matches!(next_step(&unit.snapshot, &goal), Ok(ConvergeStep::Done)))
}

/// Largest number of signatures that any step on a unit can need.
fn signatures(unit: &VerifiedUnit, plan: &Plan) -> usize {
    let now = |unit: &Snapshot| unit.attributes.signature_threshold.max(unit.attributes.revocation_threshold);
    let most = if is_done(unit, plan) {
        unit.snapshot.attributes.signature_threshold
    } else {
        now(&unit.snapshot).max(plan.signature_threshold)
    };
    usize::try_from(most).unwrap_or(usize::MAX)
}
