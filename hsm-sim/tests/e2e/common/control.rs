//! Faults and status of a region over its control API.

use super::until;
use hsm_sim::control::{ControlClient, FaultKind, FaultRequest, Status, Target, UnitStatus};

/// A fault of one unit.
pub(crate) fn fault(kind: FaultKind, unit: u16) -> FaultRequest {
    FaultRequest { fault: kind, target: Target::Unit(unit), slow_by_ms: None }
}

pub(crate) fn kill(unit: u16) -> FaultRequest {
    fault(FaultKind::Kill, unit)
}

/// Waits for a status for which `holds` is true.
///
/// The status of a unit that does not answer in time lacks the fields that it reports, so that one query is not enough.
pub(crate) async fn status_once(control: &ControlClient, holds: impl Fn(&Status) -> bool) -> Status {
    let ask = async || {
        let status = control.status().await.unwrap();
        if holds(&status) { Ok(status) } else { Err(format!("the status is {status:#?}")) }
    };
    until("a status", ask).await
}

/// The status of one unit.
pub(crate) fn unit(status: &Status, number: u16) -> &UnitStatus {
    status.units.iter().find(|unit| unit.unit == number).unwrap()
}

/// Whether every operational unit serves.
pub(crate) fn all_serve(status: &Status) -> bool {
    status.units.iter().filter(|unit| unit.is_operational()).all(UnitStatus::serves)
}
