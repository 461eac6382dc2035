//! Rotating the master key while every key stays in use: `cryptounit-mk-rotate`, `auto-mk-rotate`, `rotation`,
//! `rotation-cancel`.
//!
//! What to do next is the service's advice, worked out from its journal and from what units show, and done again and
//! again until nothing is left. So a rotation that was interrupted anywhere is finished by the same command.

use crate::commands::admins::listed;
use crate::commands::master_key::refuse_imprint;
use crate::commands::parts::PartArgs;
use crate::console::ProgressKind;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, Met};
use crate::plan::{self, rule_of};
use crate::report::Report;
use crate::signers::{Need, SignerArgs, open_quorum};
use crate::work::{Done, Work, with_field};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tke::ceremony::KeySource;
use tke::converge::{Goal, KeyGoal};
use tke::part::{KeyPartHolder, KeyPartSet};
use tke::precheck::{self, RotationStage};
use tke::quorum::Quorum;
use tke::{Order, UnitKind};
use unit_api::{NewRegister, VerificationPattern};

/// The command that is noted as under way while the new master key is not yet everywhere.
pub(crate) const AUTOMATIC: &str = "auto-mk-rotate";

/// How often the service is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// So many steps are more than any rotation has, but for those that wait for keys.
const MAX_STEPS: usize = 32;

/// Options of `cryptounit-mk-rotate`.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Go on without this crypto unit, which then has to be loaded anew before it can serve. May be given several times.
    #[arg(long, value_name = "N")]
    pub exclude: Vec<u16>,
    /// Parts of the new master key, for units that lack it.
    #[command(flatten)]
    pub parts: PartArgs,
    /// Who signs.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `auto-mk-rotate` and `rotation-cancel`.
#[derive(Clone, Debug, Args)]
pub struct AutoRotateArgs {
    /// Who signs.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// What the service says of a rotation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Standing {
    pub(crate) id: Option<String>,
    pub(crate) phase: Option<String>,
    pub(crate) old: Option<String>,
    pub(crate) new: Option<String>,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) cancellable: bool,
    /// What to do next, in a word.
    pub(crate) next: String,
    /// The same for people.
    pub(crate) advice: String,
    pub(crate) also: Vec<String>,
}

impl Standing {
    fn new_pattern(&self) -> Option<VerificationPattern> {
        self.new.as_deref().and_then(plan::pattern)
    }

    fn old_pattern(&self) -> Option<VerificationPattern> {
        self.old.as_deref().and_then(plan::pattern)
    }
}

/// `rotation`: how far a rotation is.
pub(crate) async fn show(context: &Context<'_>) -> Result<Report, TkeError> {
    let instance = Instance::reach(context).await?;
    let standing = instance.rotation().await?;
    let text = match (&standing.phase, &standing.new) {
        (Some(phase), Some(new)) => format!(
            "Rotation to {new}\nphase:    {phase}, {} of {} keys\nnext:     {}\ncancel:   {}\n",
            standing.done,
            standing.total,
            standing.advice,
            if standing.cancellable { "possible (`rotation-cancel`)" } else { "no longer possible" }
        ),
        _ => format!("No rotation is under way.\nnext:     {}\n", standing.advice),
    };
    Ok(Report::new(text, &standing))
}

/// `cryptounit-mk-rotate`: from a new master key that is committed everywhere to the end.
pub(crate) async fn rotate(context: &Context<'_>, args: &RotateArgs) -> Result<Report, TkeError> {
    let instance = Instance::reach(context).await?;
    let standing = instance.rotation().await?;
    let met = everywhere(&instance, &args.exclude).await?;
    let quorum = quorum(context, &args.signers, &met).await?;
    if standing.id.is_none() {
        let loaded = context.plans()?.of(instance.id()).loaded();
        check(&instance, &met, &quorum, RotationStage::Rotate(loaded), false, &args.exclude).await?;
    }
    let parts = if args.parts.is_empty() { None } else { Some(args.parts.open(context, None)?) };
    finish(context, &instance, &met, quorum, parts.as_ref(), &args.exclude, "cryptounit-mk-rotate").await
}

/// `auto-mk-rotate`: a new master key, drawn in a recovery unit and handed on to all others, then the rotation.
pub(crate) async fn automatic(context: &Context<'_>, args: &AutoRotateArgs) -> Result<Report, TkeError> {
    let instance = Instance::reach(context).await?;
    let standing = instance.rotation().await?;
    let mut met = everywhere(&instance, &[]).await?;
    let quorum = quorum(context, &args.signers, &met).await?;
    // Never a second random key once keys may be under the first.
    if standing.id.is_some() {
        return finish(context, &instance, &met, quorum, None, &[], AUTOMATIC).await;
    }
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    let begun = plan.under_way.as_deref() == Some(AUTOMATIC);
    let drawn = plan.loaded().filter(|_| begun).and_then(|pattern| {
        let giver =
            met.iter().find(|met| met.listed().kind == UnitKind::Recovery && holds_new(met, pattern))?;
        Some((giver.number(), pattern))
    });
    if drawn.is_none() {
        check(&instance, &met, &quorum, RotationStage::Load, true, &[]).await?;
    }
    let Some(old) = met.first().and_then(|met| met.snapshot.current) else {
        return Err(TkeError::refused("no crypto unit holds a master key that could be rotated"));
    };
    met.sort_by_key(|met| {
        (drawn.map(|(number, _)| number) != Some(met.number()), met.listed().kind != UnitKind::Recovery)
    });
    let mut work = Work::begin(context, instance.id(), AUTOMATIC, quorum, listed(&met))?;
    let Some((source, others)) = met.split_first() else { return Err(TkeError::NothingSelected) };
    let new = match drawn {
        Some((_, pattern)) => pattern,
        None => {
            plan.under_way = Some(AUTOMATIC.to_owned());
            plan.loaded = None;
            plans.record(instance.id(), &plan)?;
            let made = work.ceremony().carry_out(&source.unit, &Order::GenerateMasterKey).await?;
            let pattern =
                <[u8; 32]>::try_from(made.output.as_slice()).map(VerificationPattern::from_bytes).map_err(
                    |_| TkeError::refused("the recovery unit did not say which master key it has drawn"),
                )?;
            plan.loaded = Some(pattern.to_string());
            plans.record(instance.id(), &plan)?;
            pattern
        }
    };
    let master_key = KeyGoal::Rotating { old, new };
    for (at, unit) in std::iter::once(source).chain(others).enumerate() {
        if !work.goes_on(unit.listed()) {
            break;
        }
        let goal = Goal { rule: rule_of(&unit.snapshot), control_points: None, master_key };
        let from =
            if at == 0 { KeySource::None } else { KeySource::Unit { source: &source.unit, new: true } };
        let done = work.ceremony().converge(&unit.unit, &goal, &from).await;
        work.note(
            unit.listed(),
            done.map(|_| Done::changed("holds the new master key")).map_err(TkeError::from),
        );
    }
    if !work.complete() {
        return Ok(work.report(""));
    }
    drop(work.report(""));
    let quorum = self::quorum(context, &args.signers, &met).await?;
    finish(context, &instance, &met, quorum, None, &[], AUTOMATIC).await
}

/// `rotation-cancel`: back to the old master key, as long as no unit was activated.
pub(crate) async fn cancel(context: &Context<'_>, args: &AutoRotateArgs) -> Result<Report, TkeError> {
    let instance = Instance::reach(context).await?;
    let standing = instance.rotation().await?;
    let Some(new) = standing.new_pattern() else {
        return Err(TkeError::refused(
            "no rotation is under way: `cryptounit-mk-clrnew` clears a master key that was only loaded",
        ));
    };
    let met = everywhere(&instance, &[]).await?;
    let quorum = quorum(context, &args.signers, &met).await?;
    instance.rotate("cancel", None, &[]).await?;
    wait_for_batches(context, &instance).await?;
    let mut work = Work::begin(context, instance.id(), "rotation-cancel", quorum, listed(&met))?;
    for unit in &met {
        if !work.goes_on(unit.listed()) {
            break;
        }
        let result = if holds_new(unit, new) {
            let done = work.ceremony().carry_out(&unit.unit, &Order::ClearNew).await;
            done.map(|_| Done::changed("new register cleared")).map_err(TkeError::from)
        } else {
            Ok(Done::as_it_was("does not hold the new master key"))
        };
        work.note(unit.listed(), result);
    }
    if work.complete() {
        let mut plans = context.plans()?;
        let mut plan = plans.of(instance.id());
        (plan.under_way, plan.loaded) = (None, None);
        plans.record(instance.id(), &plan)?;
    }
    Ok(work.report("The rotation is cancelled; the old master key stays."))
}

/// Whether a rotation is under way, which `resume` then goes on with.
pub(crate) async fn is_under_way(instance: &Instance) -> Result<bool, TkeError> {
    Ok(instance.rotation().await?.id.is_some())
}

/// Does what is advised until nothing is left.
async fn finish(
    context: &Context<'_>,
    instance: &Instance,
    met: &[Met],
    quorum: Quorum,
    parts: Option<&KeyPartSet>,
    exclude: &[u16],
    command: &'static str,
) -> Result<Report, TkeError> {
    let mut work = Work::begin(context, instance.id(), command, quorum, listed(met))?;
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    plan.under_way = Some(command.to_owned());
    plans.record(instance.id(), &plan)?;
    let mut new = None;
    for _ in 0..MAX_STEPS {
        let standing = instance.rotation().await?;
        new = standing.new_pattern().or(new).or_else(|| plan.loaded());
        match (standing.next.as_str(), new) {
            ("nothing", _) => break,
            ("begin", Some(new)) => instance.rotate("begin", Some(new), exclude).await?,
            ("reencipher" | "remove-old-forms" | "remove-new-forms", _) => {
                instance.rotate("reencipher", None, exclude).await?;
                wait_for_batches(context, instance).await?;
            }
            ("begin-activation", _) => instance.rotate("activate", None, exclude).await?,
            ("finish", _) => instance.rotate("finish", None, exclude).await?,
            ("activate", Some(new)) => {
                // What a unit does not do now, it is advised to do again; only its own failure ends the loop.
                for unit in met {
                    activate(&mut work, unit, new).await?;
                }
            }
            ("load" | "commit", Some(new)) => {
                let Some(old) = standing.old_pattern() else {
                    return Err(TkeError::refused(standing.advice));
                };
                bring_new(&mut work, met, parts, old, new).await?;
            }
            _ => return Err(TkeError::refused(standing.advice)),
        }
    }
    for unit in met {
        work.note(unit.listed(), Ok(Done::changed("has the new master key")));
    }
    (plan.under_way, plan.loaded) = (None, None);
    plan.master_key = new.map(|pattern| pattern.to_string());
    plans.record(instance.id(), &plan)?;
    let report = work.report("The master key is rotated. See `cryptounit-compare`.");
    Ok(with_field(report, "verification_pattern", new.map(|pattern| pattern.to_string())))
}

/// Activates the new master key on a unit that has it committed.
async fn activate(work: &mut Work, unit: &Met, new: VerificationPattern) -> Result<(), TkeError> {
    let now = unit.unit.snapshot().await?;
    if matches!(now.new, NewRegister::FullCommitted(found) if found.is_of_same_key(&new)) {
        work.ceremony().carry_out(&unit.unit, &Order::Activate(new)).await?;
    }
    Ok(())
}

/// Brings the new master key into New of units that lack it, and commits it, from parts or from a recovery unit.
async fn bring_new(
    work: &mut Work,
    met: &[Met],
    parts: Option<&KeyPartSet>,
    old: VerificationPattern,
    new: VerificationPattern,
) -> Result<(), TkeError> {
    let holders: Vec<&dyn KeyPartHolder> =
        parts.into_iter().flat_map(KeyPartSet::holders).map(AsRef::as_ref).collect();
    let giver = met.iter().find(|met| met.listed().kind == UnitKind::Recovery && holds_new(met, new));
    for unit in met {
        let goal = Goal {
            rule: rule_of(&unit.snapshot),
            control_points: None,
            master_key: KeyGoal::Rotating { old, new },
        };
        let from = match giver {
            Some(giver) if giver.number() != unit.number() => {
                KeySource::Unit { source: &giver.unit, new: true }
            }
            _ if !holders.is_empty() => KeySource::Parts(&holders),
            _ => KeySource::None,
        };
        work.ceremony().converge(&unit.unit, &goal, &from).await?;
    }
    Ok(())
}

/// Waits until the service has gone through all keys of the present phase.
async fn wait_for_batches(context: &Context<'_>, instance: &Instance) -> Result<(), TkeError> {
    let mut progress = context.console.progress("keys", ProgressKind::Items);
    loop {
        let standing = instance.rotation().await?;
        let phase = standing.phase.as_deref();
        progress.update(standing.done, standing.total, phase.unwrap_or_default());
        if !matches!(phase, Some("re-enciphering" | "finishing" | "cancelling")) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Every unit of the instance but those given up: one left behind is useless when it is needed.
async fn everywhere(instance: &Instance, exclude: &[u16]) -> Result<Vec<Met>, TkeError> {
    let met = instance.meet_all(|unit| !exclude.contains(&unit.listed.number)).await.all()?;
    refuse_imprint(&met)?;
    Ok(met)
}

async fn quorum(context: &Context<'_>, signers: &SignerArgs, met: &[Met]) -> Result<Quorum, TkeError> {
    let threshold =
        |met: &Met| usize::try_from(met.snapshot.attributes.signature_threshold).unwrap_or(usize::MAX);
    let needs: Vec<Need<'_>> = met.iter().map(|unit| Need { unit, signatures: threshold(unit) }).collect();
    open_quorum(context, signers, &needs, &[]).await
}

/// Refuses unless everything is as a rotation needs it.
async fn check(
    instance: &Instance,
    met: &[Met],
    quorum: &Quorum,
    stage: RotationStage,
    automatic: bool,
    exclude: &[u16],
) -> Result<(), TkeError> {
    let keystore = instance.keystore().await?.under()?;
    let comparison = crate::instance::comparison(met);
    let expected = instance.units.len() - exclude.len();
    let report = precheck::rotation(&comparison, expected, quorum, stage, automatic, keystore);
    if report.passed() { Ok(()) } else { Err(TkeError::Precheck(report)) }
}

fn holds_new(met: &Met, pattern: VerificationPattern) -> bool {
    match met.snapshot.new {
        NewRegister::Empty => false,
        NewRegister::FullUncommitted(found) | NewRegister::FullCommitted(found) => {
            found.is_of_same_key(&pattern)
        }
    }
}
