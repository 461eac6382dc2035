//! Rotation of the master key: `cryptounit-mk-rotate`, `auto-mk-rotate`, `rotation`, `rotation-cancel`.
//!
//! The rules are in [`tke::rotation`]. These commands open the signature keys, check that the rotation can begin, keep the
//! recorded plan up to date, and show what happens.

use crate::commands::admins::listed;
use crate::commands::master_key::refuse_imprint;
use crate::commands::parts::PartArgs;
use crate::console::{Progress, ProgressKind};
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit, comparison};
use crate::plan::{Plan, Plans};
use crate::report::Report;
use crate::signers::{Need, SignerArgs, open_quorum};
use crate::work::{Effect, UnitWork, WorkLog, with_field};
use clap::Args;
use tke::ceremony::CeremonyError;
use tke::part::{KeyPartHolder, KeyPartSet};
use tke::precheck::{self, RotationStage};
use tke::quorum::Quorum;
use tke::rotation::{Rotation, RotationError, RotationObserver, UnitChange};
use tke::unit::PortError;
use tke::{UnitDescriptor, UnitKind};
use unit_api::VerificationPattern;
use uuid::Uuid;
use wire::tke::RotationStatus;

/// The command that is recorded as under way until every unit has the new master key.
pub(crate) const AUTOMATIC: &str = "auto-mk-rotate";

/// Options of `cryptounit-mk-rotate`.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Exclude this crypto unit from the rotation. It has to be loaded again before it can serve. May be given several
    /// times.
    #[arg(long, value_name = "N")]
    pub exclude: Vec<u16>,
    /// Parts of the new master key, for crypto units that lack it.
    #[command(flatten)]
    pub parts: PartArgs,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// Options of `auto-mk-rotate` and `rotation-cancel`.
#[derive(Clone, Debug, Args)]
pub struct AutoRotateArgs {
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// `rotation`: the status of a rotation.
pub(crate) async fn show(context: &Context<'_>) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let status = instance.rotation().await?;
    let text = match (status.phase, status.new) {
        (Some(phase), Some(new)) => format!(
            "Rotation to {new}\nphase:    {phase}, {} of {} keys\nnext:     {}\ncancel:   {}\n",
            status.done,
            status.total,
            status.advice,
            if status.cancellable { "possible (`rotation-cancel`)" } else { "no longer possible" }
        ),
        _ => format!("No rotation is under way.\nnext:     {}\n", status.advice),
    };
    Ok(Report::new(text, &status))
}

/// `cryptounit-mk-rotate`: rotates to the new master key that is committed on every unit.
pub(crate) async fn rotate(context: &Context<'_>, args: &RotateArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    for number in &args.exclude {
        instance.unit(*number)?;
    }
    let status = instance.rotation().await?;
    let units = all_but(&instance, &args.exclude).await?;
    let quorum = quorum(context, &args.signers, &units).await?;
    if status.id.is_none() {
        let loaded = context.plans()?.of(instance.id()).loaded();
        check(&instance, &units, &quorum, RotationStage::Rotate(loaded), &args.exclude).await?;
    }
    let parts = if args.parts.is_empty() { None } else { Some(args.parts.open(context, None)?) };
    run(context, &instance, &units, quorum, parts.as_ref(), &args.exclude, "cryptounit-mk-rotate").await
}

/// `auto-mk-rotate`: generates a new master key in a recovery unit, copies it to all others, and rotates to it.
pub(crate) async fn automatic(context: &Context<'_>, args: &AutoRotateArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let status = instance.rotation().await?;
    let mut units = all_but(&instance, &[]).await?;
    let quorum = quorum(context, &args.signers, &units).await?;
    if status.id.is_some() {
        return run(context, &instance, &units, quorum, None, &[], AUTOMATIC).await;
    }
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    let interrupted = plan.under_way.as_deref() == Some(AUTOMATIC);
    let generated = plan.loaded().filter(|_| interrupted).and_then(|pattern| {
        let is_holder = |unit: &&VerifiedUnit| {
            unit.listed().kind == UnitKind::Recovery && unit.snapshot.holds_new(pattern)
        };
        units.iter().find(is_holder).map(|unit| (unit.number(), pattern))
    });
    if generated.is_none() {
        check(&instance, &units, &quorum, RotationStage::LoadAutomatically, &[]).await?;
    }
    // In the order in which they get the key: first the one that has it, or generates it.
    units.sort_by_key(|unit| {
        let holder = generated.map(|(number, _)| number) == Some(unit.number());
        (!holder, unit.listed().kind != UnitKind::Recovery)
    });
    let mut work = UnitWork::begin(context, instance.id(), AUTOMATIC, quorum, listed(&units))?;
    let (mut ceremony, log) = work.split();
    let mut observer = Observer::new(context, instance.id(), log, &mut plans, &mut plan);
    let distributed = Rotation::new(instance.client(), &units)
        .distribute(&mut ceremony, &mut observer, generated.map(|(_, pattern)| pattern))
        .await;
    match distributed {
        Ok(_) => {}
        Err(RotationError::Incomplete { .. }) => return Ok(work.report("")),
        Err(error) => return Err(error.into()),
    }
    run(context, &instance, &units, work.into_quorum(), None, &[], AUTOMATIC).await
}

/// `rotation-cancel`: keeps the old master key, as long as no unit was activated.
pub(crate) async fn cancel(context: &Context<'_>, args: &AutoRotateArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    if instance.rotation().await?.id.is_none() {
        return Err(TkeError::refused(
            "no rotation is under way: `cryptounit-mk-clrnew` clears a master key that was only loaded",
        ));
    }
    let units = all_but(&instance, &[]).await?;
    let quorum = quorum(context, &args.signers, &units).await?;
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    let mut work = UnitWork::begin(context, instance.id(), "rotation-cancel", quorum, listed(&units))?;
    let (mut ceremony, log) = work.split();
    let mut observer = Observer::new(context, instance.id(), log, &mut plans, &mut plan);
    match Rotation::new(instance.client(), &units).cancel(&mut ceremony, &mut observer).await {
        Ok(()) => {}
        Err(RotationError::Incomplete { .. }) => return Ok(work.report("")),
        Err(error) => return Err(error.into()),
    }
    (plan.under_way, plan.loaded) = (None, None);
    plans.record(instance.id(), &plan)?;
    Ok(work.report("The rotation is cancelled; the old master key stays."))
}

/// Whether a rotation is under way, which `resume` then continues.
pub(crate) async fn is_under_way(instance: &Instance) -> Result<bool, TkeError> {
    Ok(instance.rotation().await?.id.is_some())
}

/// Follows the service's advice until the rotation is finished.
async fn run(
    context: &Context<'_>,
    instance: &Instance,
    units: &[VerifiedUnit],
    quorum: Quorum,
    parts: Option<&KeyPartSet>,
    exclude: &[u16],
    command: &'static str,
) -> Result<Report, TkeError> {
    let mut work = UnitWork::begin(context, instance.id(), command, quorum, listed(units))?;
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    plan.under_way = Some(command.to_owned());
    plans.record(instance.id(), &plan)?;
    let loaded = plan.loaded();
    let holders: Vec<&dyn KeyPartHolder> =
        parts.into_iter().flat_map(KeyPartSet::holders).map(AsRef::as_ref).collect();
    let (mut ceremony, log) = work.split();
    let mut observer = Observer::new(context, instance.id(), log, &mut plans, &mut plan);
    let new = Rotation::new(instance.client(), units)
        .with_parts(&holders)
        .excluding(exclude)
        .run(&mut ceremony, &mut observer, loaded)
        .await?;
    drop(observer);
    for unit in units {
        work.end_unit(unit.listed(), Ok(Effect::changed("has the new master key")));
    }
    (plan.under_way, plan.loaded) = (None, None);
    plan.master_key = new.map(|pattern| pattern.to_string());
    plans.record(instance.id(), &plan)?;
    let report = work.report("The master key is rotated. See `cryptounit-compare`.");
    Ok(with_field(report, "verification_pattern", new.map(|pattern| pattern.to_string())))
}

/// Keeps the recorded plan up to date, and shows progress.
struct Observer<'a> {
    context: &'a Context<'a>,
    instance: Uuid,
    log: &'a mut WorkLog,
    plans: &'a mut Plans,
    plan: &'a mut Plan,
    keys: Option<Box<dyn Progress>>,
}

impl<'a> Observer<'a> {
    const fn new(
        context: &'a Context<'a>,
        instance: Uuid,
        log: &'a mut WorkLog,
        plans: &'a mut Plans,
        plan: &'a mut Plan,
    ) -> Self {
        Self { context, instance, log, plans, plan, keys: None }
    }

    fn store_plan(&mut self) -> Result<(), PortError> {
        Ok(self.plans.record(self.instance, self.plan)?)
    }
}

impl RotationObserver for Observer<'_> {
    fn key_generation_begins(&mut self) -> Result<(), PortError> {
        self.plan.under_way = Some(AUTOMATIC.to_owned());
        self.plan.loaded = None;
        self.store_plan()
    }

    fn key_generated(&mut self, pattern: VerificationPattern) -> Result<(), PortError> {
        self.plan.loaded = Some(pattern.to_string());
        self.store_plan()
    }

    fn unit_begins(&mut self, unit: &UnitDescriptor) {
        self.log.begin_unit(unit);
    }

    fn unit_ended(&mut self, unit: &UnitDescriptor, result: Result<UnitChange, CeremonyError>) {
        let effect = result.map(|change| match change {
            UnitChange::HoldsNew => Effect::changed("holds the new master key"),
            UnitChange::Cleared => Effect::changed("new register cleared"),
            UnitChange::Unchanged => Effect::unchanged("does not hold the new master key"),
        });
        self.log.end_unit(unit, effect.map_err(TkeError::from));
    }

    fn keys_processed(&mut self, status: &RotationStatus) {
        let phase = status.phase.filter(|phase| phase.processes_keys());
        match phase {
            Some(phase) => {
                let console = self.context.console;
                let display = self.keys.get_or_insert_with(|| console.progress("keys", ProgressKind::Items));
                display.update(status.done, status.total, phase.as_str());
            }
            None => self.keys = None,
        }
    }
}

/// Verifies every unit of the instance but the excluded ones.
async fn all_but(instance: &Instance, exclude: &[u16]) -> Result<Vec<VerifiedUnit>, TkeError> {
    let units = instance.verify_where(|unit| !exclude.contains(&unit.listed.number)).await?.all()?;
    refuse_imprint(&units)?;
    Ok(units)
}

async fn quorum(
    context: &Context<'_>,
    signers: &SignerArgs,
    units: &[VerifiedUnit],
) -> Result<Quorum, TkeError> {
    let threshold = |unit: &VerifiedUnit| {
        usize::try_from(unit.snapshot.attributes.signature_threshold).unwrap_or(usize::MAX)
    };
    let needs: Vec<Need<'_>> = units.iter().map(|unit| Need { unit, signatures: threshold(unit) }).collect();
    open_quorum(context, signers, &needs, &[]).await
}

/// Refuses a rotation that cannot begin now.
async fn check(
    instance: &Instance,
    units: &[VerifiedUnit],
    quorum: &Quorum,
    stage: RotationStage,
    exclude: &[u16],
) -> Result<(), TkeError> {
    let keystore = instance.keystore_pattern().await?;
    let expected = instance.units.iter().filter(|unit| !exclude.contains(&unit.listed.number)).count();
    let report = precheck::rotation(&comparison(units), expected, quorum, stage, keystore);
    if report.passed() { Ok(()) } else { Err(TkeError::Precheck(report)) }
}
