//! Zeroization of the selected units: `cryptounit-zeroize`.

use crate::commands::admins::{listed, needs};
use crate::commands::master_key::refuse_loss;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::{Instance, VerifiedUnit, pattern_of};
use crate::report::Report;
use crate::secrets::confirm;
use crate::signers::{SignerArgs, open_quorum};
use crate::work::{Effect, UnitWork};
use clap::Args;
use tke::AdminOperation;
use unit_api::admin::AdminCommand;

/// Options of `cryptounit-zeroize`.
#[derive(Clone, Debug, Args)]
pub struct ZeroizeArgs {
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Zeroize although the keystore has keys under this master key.
    #[arg(long)]
    pub yes_lose_access: bool,
    /// Signature keys.
    #[command(flatten)]
    pub signers: SignerArgs,
}

/// `cryptounit-zeroize`: erases administrators, thresholds and master keys of crypto units.
pub(crate) async fn zeroize(context: &Context<'_>, args: &ZeroizeArgs) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_if_last(&instance, &units, args.yes_lose_access).await?;
    // Opening the keys checks, before anything is done, that they belong to administrators of every unit.
    let quorum = open_quorum(context, &args.signers, &needs(&units, AdminCommand::Zeroize), &[]).await?;
    let numbers: Vec<String> = units.iter().map(|unit| unit.number().to_string()).collect();
    let question = format!(
        "Zeroize crypto units {}? Administrators, thresholds and master keys are erased.",
        numbers.join(", ")
    );
    confirm(context.console, args.yes, &question)?;
    let mut work = UnitWork::begin(context, instance.id(), "cryptounit-zeroize", quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let done = work.ceremony().execute(&unit.unit, &AdminOperation::Zeroize).await;
        work.end_unit(unit.listed(), done.map(|_| Effect::changed("zeroized")).map_err(TkeError::from));
    }
    Ok(work.report("They are in imprint mode: set them up like the others before they serve again."))
}

/// Refuses to erase the last copy of a master key that keys are under, unless `confirmed`.
async fn refuse_if_last(
    instance: &Instance,
    units: &[VerifiedUnit],
    confirmed: bool,
) -> Result<(), TkeError> {
    let keystore = instance.keystore().await?;
    let Some(under) = keystore.pattern.map(pattern_of) else { return Ok(()) };
    let erased: Vec<u16> = units.iter().map(VerifiedUnit::number).collect();
    let others = instance.verify_where(|unit| !erased.contains(&unit.listed.number)).await?;
    let kept =
        |unit: &VerifiedUnit| unit.snapshot.current.is_some_and(|current| current.is_of_same_key(&under));
    if others.verified.iter().any(kept) {
        return Ok(());
    }
    refuse_loss(units, &keystore, confirmed)
}
