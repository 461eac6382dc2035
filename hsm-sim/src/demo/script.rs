//! The faults of the demo: each zone in turn is killed and healed, while the load goes on.

use super::load::Load;
use crate::region::{CeremonyError, Fault, Region, SupervisorError, ZONES};
use std::time::{Duration, Instant};

/// How long the units of a healed zone may take to serve again.
const HEALING_PATIENCE: Duration = Duration::from_secs(30);

/// Why a fault of the script could not be set or healed.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A process could not be killed or started.
    #[error(transparent)]
    Process(#[from] SupervisorError),
    /// A unit could not be brought into service again.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The units of a healed zone do not serve again.
    #[error("{zone} was healed, and its units did not serve again within {} s", HEALING_PATIENCE.as_secs())]
    NotHealed {
        /// Zone that was healed.
        zone: &'static str,
    },
}

/// Kills and heals every zone once, at even shares of the load.
pub(super) async fn play(region: &Region, load: &Load) -> Result<(), ScriptError> {
    let control = region.control();
    let steps = 2 * ZONES.len() + 1;
    let mut step = 0;
    let mut next_share = || {
        step += 1;
        f64::from(step) / steps as f64
    };
    load.until(next_share()).await;
    for zone in ZONES {
        let units: Vec<u16> =
            control.supervisor.units().iter().filter(|u| u.place.zone == zone).map(|u| u.unit).collect();
        let empty = if units.is_empty() { " (no unit there)" } else { "" };
        load.begin(&format!("{zone} killed{empty}"));
        for unit in &units {
            control.supervisor.fault(*unit, Fault::Killed).await?;
        }
        load.until(next_share()).await;

        load.begin(&format!("{zone} healed{empty}"));
        let healing = Instant::now();
        for unit in &units {
            control.heal(*unit).await?;
        }
        // Every unit must serve before the next zone is killed; otherwise none might be left.
        let healed = |units: &[host::UnitView]| units.iter().all(|unit| unit.in_use);
        let host = control.node.host().ok_or(ScriptError::NotHealed { zone })?;
        if host.wait_until(HEALING_PATIENCE, healed).await.is_err() {
            return Err(ScriptError::NotHealed { zone });
        }
        if !units.is_empty() {
            load.full_service_after(healing.elapsed());
        }
        load.until(next_share()).await;
    }
    Ok(())
}
