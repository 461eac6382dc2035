//! Follows the directory: units that appear there join the host, units that disappear are drained and leave it.

use super::JobContext;
use host::UnitAddress;
use std::time::Duration;
use tracing::{info, warn};

/// How long a unit that left the directory may take to answer its outstanding commands. Then they move to other units.
const DRAIN: Duration = Duration::from_secs(30);

/// Follows the directory for ever.
pub(super) async fn run(context: JobContext) {
    let mut changes = context.directory.changes();
    loop {
        changes.borrow_and_update();
        apply(&context).await;
        if changes.changed().await.is_err() {
            // The directory says no more.
            std::future::pending::<()>().await;
        }
    }
}

/// Gives the host the operational units of the directory.
async fn apply(context: &JobContext) {
    let units = context.directory.units().into_iter().filter(|unit| unit.is_operational());
    let listed: Vec<_> = units.map(|unit| UnitAddress::new(unit.number, unit.zone, unit.endpoint)).collect();
    let present = context.host.addresses();
    let (kept, leaving): (Vec<_>, Vec<_>) =
        present.into_iter().partition(|unit| listed.iter().any(|listed| is_same(listed, unit)));
    let joining = |unit: &UnitAddress| !kept.iter().any(|kept| kept.number == unit.number);
    // Units that join serve before others leave, except where one takes the number of another.
    let (replacing, new): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .filter(joining)
        .partition(|unit| leaving.iter().any(|leaving| leaving.number == unit.number));
    for unit in new {
        add(context, unit);
    }
    for unit in leaving {
        remove(context, unit.number).await;
    }
    for unit in replacing {
        add(context, unit);
    }
}

fn is_same(a: &UnitAddress, b: &UnitAddress) -> bool {
    a.number == b.number && a.zone == b.zone && a.endpoint.is_same(&b.endpoint)
}

fn add(context: &JobContext, unit: UnitAddress) {
    let (number, zone) = (unit.number, unit.zone.clone());
    match context.host.add_unit(unit) {
        Ok(()) => info!(unit = number, zone, "unit added"),
        Err(refused) => warn!(unit = number, zone, reason = %refused, "the unit cannot be added"),
    }
}

async fn remove(context: &JobContext, unit: u16) {
    // The directory has decided: a unit that is not listed leaves even if it is the last one.
    let drained = match context.host.drain(unit, true) {
        Ok(()) => context.host.wait_until_drained(unit, DRAIN).await,
        Err(_) => return,
    };
    if context.host.remove_unit(unit, true).is_ok() {
        info!(unit, drained, "unit removed");
    }
}
