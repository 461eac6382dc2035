//! Control points of the selected units: `cryptounit-cp-…`.

use crate::commands::admins::{listed, needs};
use crate::commands::master_key::refuse_imprint;
use crate::context::Context;
use crate::error::TkeError;
use crate::instance::Instance;
use crate::plan::points_text;
use crate::report::Report;
use crate::signers::{SignerArgs, open_quorum};
use crate::work::{Effect, UnitWork};
use tke::AdminOperation;
use unit_api::admin::{AdminCommand, ControlPoint};

/// `cryptounit-cp-btc`, `-cp-eddsa`, `-cp-sig-other`: sets a control point.
pub(crate) async fn switch_on(
    context: &Context<'_>,
    command: &'static str,
    point: ControlPoint,
    signers: &SignerArgs,
) -> Result<Report, TkeError> {
    let instance = Instance::open(context).await?;
    let units = instance.selected().await?.all()?;
    refuse_imprint(&units)?;
    let quorum = open_quorum(context, signers, &needs(&units, AdminCommand::SetControlPoints), &[]).await?;
    let mut plans = context.plans()?;
    let mut plan = plans.of(instance.id());
    if let Some(first) = units.first() {
        plan.control_points = Some(points_text(first.snapshot.control_points.with(point.alone())));
        plans.record(instance.id(), &plan)?;
    }
    let mut work = UnitWork::begin(context, instance.id(), command, quorum, listed(&units))?;
    for unit in &units {
        if !work.begin_unit(unit.listed()) {
            break;
        }
        let result = if unit.snapshot.control_points.is_on(point) {
            Ok(Effect::unchanged(format!("{} is set already", point.name())))
        } else {
            let operation =
                AdminOperation::SetControlPoints(unit.snapshot.control_points.with(point.alone()));
            let done = work.ceremony().execute(&unit.unit, &operation).await;
            done.map(|_| Effect::changed(format!("{} set", point.name()))).map_err(TkeError::from)
        };
        work.end_unit(unit.listed(), result);
    }
    Ok(work.report(""))
}
