//! The recovery-unit method: `auto-init` and `auto-mk-recover`. Outside of crypto units, the master key exists only sealed
//! for one of them.

use crate::commands::admins::{listed, refuse_if_any};
use crate::commands::compare;
use crate::commands::master_key::refuse_imprint;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit};
use crate::plan::{Plan, Plans};
use crate::report::Report;
use crate::signers::{
    Need, SignerArgs, administrator, administrator_name, find, open, open_quorum, selected,
};
use crate::work::{Effect, UnitWork};
use clap::Args;
use tke::admin_policy::{AdminPolicy, operations};
use tke::ceremony::KeySource;
use tke::converge::{MasterKeyGoal, UnitGoal};
use tke::holder::{ListedSignatureKey, SignatureKey, SignatureKeyFile};
use tke::precheck;
use tke::quorum::Quorum;
use tke::{AdminOperation, UnitKind};
use unit_api::VerificationPattern;
use unit_api::admin::Permissions;
use uuid::Uuid;

/// Options of `auto-init`.
#[derive(Clone, Debug, Args)]
pub struct AutoInitArgs {
    /// Signature threshold: number of administrators that have to sign most commands.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub signature: u32,
    /// Revocation threshold: number of administrators that have to sign the removal of an administrator.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub revocation: u32,
    /// An administrator, by the name of a signature key [default: the selected keys]. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub administrator: Vec<String>,
    /// An administrator whose signature key is generated now, unless a key of that name exists. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub new_administrator: Vec<String>,
    /// Activation, clearing the current register and zeroization need the signature threshold instead of one signature.
    #[arg(long)]
    pub quorum_destructive: bool,
}

/// Options of `auto-mk-recover`.
#[derive(Clone, Debug, Args)]
pub struct RecoverArgs {
    /// The recovery crypto unit to copy from [default: the first that holds a master key]
    #[arg(long, value_name = "N")]
    pub from: Option<u16>,
    /// A crypto unit to copy to [default: all without a master key]. May be given several times.
    #[arg(long, value_name = "N")]
    pub to: Vec<u16>,
    /// Copy to crypto units of another instance, which then has the same master key: each instance can decrypt the keys of the
    /// other. The recovery crypto unit must permit it (`cryptounit-thrhld-set --export-foreign`).
    #[arg(long, value_name = "UUID", requires = "share_master_key")]
    pub to_instance: Option<Uuid>,
    /// Confirm that the other instance gets this master key.
    #[arg(long)]
    pub share_master_key: bool,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// `auto-init`: sets up all crypto units by the recovery-unit method.
pub(crate) async fn init(context: &Context<'_>, args: &AutoInitArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let addressed = instance.verify_all().await?.without_alarm()?;
    let keystore = instance.keystore_pattern().await?;
    let checked = precheck::automatic(&addressed.comparison(), instance.units.len(), keystore);
    if !checked.passed() {
        return Err(addressed
            .unavailable
            .into_iter()
            .next()
            .map_or(TkeError::Precheck(checked), |(_, fault)| fault.into()));
    }
    let mut units = addressed.verified;
    // The unit from which all others get the master key comes first.
    units.sort_by_key(|unit| {
        let recovery = unit.listed().kind == UnitKind::Recovery;
        (!recovery, unit.snapshot.current.is_none(), unit.number())
    });

    let keys = keys(context, args)?;
    let mut plans = context.plans()?;
    let mut plan = Plan { under_way: Some("auto-init".to_owned()), ..plans.of(instance.id()) };
    plan.administrators.clear();
    for key in &keys {
        plan.add(&administrator(key).await?);
    }
    plan.signature_threshold = args.signature;
    plan.revocation_threshold = args.revocation;
    plan.quorum_destructive = args.quorum_destructive;
    plan.master_key = units.first().and_then(|unit| unit.snapshot.current).map(|pattern| pattern.to_string());
    let no_path = |unit: &VerifiedUnit| {
        let policy = plan.goal(unit.listed().kind, &unit.snapshot).ok()?.policy;
        let no_path = operations(&unit.snapshot, &policy).err()?;
        Some(format!("crypto unit {}: {no_path}", unit.number()))
    };
    refuse_if_any(units.iter().filter_map(no_path).collect())?;
    plans.record(instance.id(), &plan)?;

    let keys = keys.into_iter().map(|key| Box::new(key) as Box<dyn SignatureKey>).collect();
    let mut work = UnitWork::begin(context, instance.id(), "auto-init", Quorum::new(keys), listed(&units))?;
    if let Some((source, others)) = units.split_first() {
        work.begin_unit(source.listed());
        let found = set_up_source(&mut work, source, &mut plan, &mut plans, instance.id()).await;
        let ready = found.is_ok();
        work.end_unit(source.listed(), found);
        for unit in others {
            if !ready || !work.begin_unit(unit.listed()) {
                break;
            }
            let result = set_up(&mut work, unit, source, &plan).await;
            work.end_unit(unit.listed(), result);
        }
    }
    if work.is_complete() {
        plan.under_way = None;
        plans.record(instance.id(), &plan)?;
    }
    let good = work.is_complete();
    let report = work.report("");
    if !good {
        return Ok(report);
    }
    let comparison = compare::report(&instance, &instance.verify_all().await?);
    let single = args.signature == 1 || args.revocation == 1;
    let warning = if single {
        "\nWARNING: with a threshold of 1, one administrator alone can execute every command.\n"
    } else {
        ""
    };
    let text = format!(
        "{}{warning}\n{}\nThe master key exists in these crypto units only: there are no key parts. Keep the recovery crypto units.\n",
        report.text, comparison.text
    );
    Ok(Report { text, good: comparison.good, ..report })
}

/// Sets up the recovery unit from which the others get the master key, and generates the key if it has none.
async fn set_up_source(
    work: &mut UnitWork,
    source: &VerifiedUnit,
    plan: &mut Plan,
    plans: &mut Plans,
    instance: Uuid,
) -> Result<Effect, TkeError> {
    let goal = plan.goal(source.listed().kind, &source.snapshot)?;
    let goal = UnitGoal { master_key: MasterKeyGoal::AsItIs, ..goal };
    let state = work.ceremony().converge(&source.unit, &goal, &KeySource::None).await?;
    let generated = state.current.is_none();
    if generated {
        work.ceremony().execute(&source.unit, &AdminOperation::GenerateMasterKey).await?;
    }
    let pattern = source.unit.snapshot().await?.current;
    plan.master_key = pattern.map(|pattern| pattern.to_string());
    plans.record(instance, plan)?;
    Ok(Effect::changed(if generated {
        "set up; generated the master key"
    } else {
        "set up; holds the master key"
    }))
}

async fn set_up(
    work: &mut UnitWork,
    unit: &VerifiedUnit,
    source: &VerifiedUnit,
    plan: &Plan,
) -> Result<Effect, TkeError> {
    let goal = plan.goal(unit.listed().kind, &unit.snapshot)?;
    let before = unit.snapshot.transaction_counter;
    let from = KeySource::Unit { source: &source.unit, new: false };
    let after = work.ceremony().converge(&unit.unit, &goal, &from).await?;
    Ok(if after.transaction_counter == before {
        Effect::unchanged("set up already")
    } else {
        Effect::changed("set up; has the master key")
    })
}

/// The keys of the administrators, opened. New ones are generated.
fn keys(context: &Context<'_>, args: &AutoInitArgs) -> Result<Vec<SignatureKeyFile>, TkeError> {
    let mut keys = Vec::new();
    let named: Vec<ListedSignatureKey> = if args.administrator.is_empty() && args.new_administrator.is_empty()
    {
        selected(context)?
    } else {
        args.administrator.iter().map(|name| find(context, name)).collect::<Result<_, _>>()?
    };
    for key in &named {
        keys.push(open(context, key)?);
    }
    for name in &args.new_administrator {
        // Generated by an earlier call that was interrupted.
        if let Ok(key) = find(context, name) {
            keys.push(open(context, &key)?);
            continue;
        }
        let password = context.secrets.new_password(name)?;
        let made =
            SignatureKeyFile::create(&context.folder, administrator_name(name)?, &password, context.cost());
        keys.push(made.map_err(|source| TkeError::Key { name: name.clone(), source })?.key);
    }
    if keys.is_empty() { Err(TkeError::NoSigner) } else { Ok(keys) }
}

/// `auto-mk-recover`: copies the master key of a recovery crypto unit to others.
pub(crate) async fn recover(context: &Context<'_>, args: &RecoverArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let source = source(&instance, args.from).await?;
    let Some(pattern) = source.snapshot.current else {
        return Err(TkeError::refused(format!("crypto unit {} holds no master key", source.number())));
    };
    let elsewhere = match args.to_instance {
        Some(other) => Some(instance.sibling(context, other).await?),
        None => None,
    };
    let target = elsewhere.as_ref().unwrap_or(&instance);
    let targets = targets(target, &source, args).await?;
    refuse_imprint(std::slice::from_ref(&source))?;
    refuse_imprint(&targets)?;
    refuse_mismatch(&source, &targets, pattern, elsewhere.is_some())?;
    let checked = precheck::activation(pattern, target.keystore_pattern().await?);
    if !checked.passed() {
        return Err(TkeError::Precheck(checked));
    }
    let threshold = |unit: &VerifiedUnit| {
        usize::try_from(unit.snapshot.attributes.signature_threshold).unwrap_or(usize::MAX)
    };
    let all = targets.iter().chain(std::iter::once(&source));
    let needs: Vec<Need<'_>> = all.map(|unit| Need { unit, signatures: threshold(unit) }).collect();
    let quorum = open_quorum(context, &args.signers, &needs, &[]).await?;
    let mut work = UnitWork::begin(context, instance.id(), "auto-mk-recover", quorum, listed(&targets))?;
    for unit in &targets {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let goal = UnitGoal {
            policy: AdminPolicy::of(&unit.snapshot),
            control_points: None,
            master_key: MasterKeyGoal::Current(pattern),
        };
        let from = KeySource::Unit { source: &source.unit, new: false };
        let before = unit.snapshot.transaction_counter;
        let done = work.ceremony().converge(&unit.unit, &goal, &from).await;
        let done = done.map(|after| {
            if after.transaction_counter == before {
                Effect::unchanged("has the master key already")
            } else {
                Effect::changed("has the master key")
            }
        });
        work.end_unit(unit.listed(), done.map_err(TkeError::from));
    }
    Ok(work.report("Next: compare all crypto units (`cryptounit-compare`)."))
}

/// The recovery unit to copy from.
async fn source(instance: &Instance, from: Option<u16>) -> Result<VerifiedUnit, TkeError> {
    if let Some(number) = from {
        let unit = instance.verify(number).await?;
        if unit.listed().kind != UnitKind::Recovery {
            return Err(TkeError::refused(format!(
                "crypto unit {number} is not a recovery crypto unit: only these export their master key"
            )));
        }
        return Ok(unit);
    }
    let recovery =
        instance.verify_where(|unit| unit.listed.kind == UnitKind::Recovery).await?.without_alarm()?;
    recovery.verified.into_iter().find(|unit| unit.snapshot.current.is_some()).ok_or_else(|| {
        TkeError::refused("no reachable recovery crypto unit holds a master key: load it from its parts")
    })
}

async fn targets(
    instance: &Instance,
    source: &VerifiedUnit,
    args: &RecoverArgs,
) -> Result<Vec<VerifiedUnit>, TkeError> {
    let is_source = |unit: &VerifiedUnit| {
        unit.snapshot.target.unit == source.snapshot.target.unit
            && unit.snapshot.target.domain_index == source.snapshot.target.domain_index
    };
    if args.to.is_empty() {
        let all = instance.verify_all().await?.without_alarm()?;
        let empty =
            all.verified.into_iter().filter(|unit| unit.snapshot.current.is_none() && !is_source(unit));
        let empty: Vec<VerifiedUnit> = empty.collect();
        if empty.is_empty() {
            return Err(TkeError::refused(
                "every reachable crypto unit holds a master key: name one with --to",
            ));
        }
        return Ok(empty);
    }
    for number in &args.to {
        instance.unit(*number)?;
    }
    let unit = instance.verify_where(|unit| args.to.contains(&unit.listed.number)).await?.all()?;
    Ok(unit.into_iter().filter(|unit| !is_source(unit)).collect())
}

/// Those who receive must be ruled as the one that gives, and hold no other master key.
fn refuse_mismatch(
    source: &VerifiedUnit,
    targets: &[VerifiedUnit],
    pattern: VerificationPattern,
    foreign: bool,
) -> Result<(), TkeError> {
    let mut reasons = Vec::new();
    let permissions = source.snapshot.attributes.permissions;
    if foreign && !permissions.contains(Permissions::EXPORT_FOREIGN) {
        reasons.push(format!(
            "crypto unit {} does not export its master key to another instance: its administrators must permit it \
             (`cryptounit-thrhld-set --export-foreign`)",
            source.number()
        ));
    }
    for unit in targets {
        let number = unit.number();
        let (here, there) =
            (unit.snapshot.attributes.signature_threshold, source.snapshot.attributes.signature_threshold);
        if here != there {
            reasons.push(format!(
                "crypto unit {number} has signature threshold {here}, the recovery crypto unit {there}"
            ));
        }
        if let Some(found) = unit.snapshot.current.filter(|found| !found.is_of_same_key(&pattern)) {
            reasons.push(format!(
                "crypto unit {number} holds another master key ({found}), which is not replaced"
            ));
        }
    }
    refuse_if_any(reasons)
}
