//! Operational units that are added, drained, resumed and removed while the region runs.

use super::ceremony::CeremonyError;
use super::controlled::ControlledRegion;
use super::data::DataError;
use super::place::{self, Place, ZONES, ordinal_in};
use super::region_file::RegionFile;
use super::supervisor::{Fault, SupervisorError, UnitProcess};
use host::placement::{self, PlacementError};
use host::{DrainRefused, Host};
use node::NodeError;
use std::time::Duration;
use tke::UnitKind;
use tracing::{info, warn};
use wire::text::error_chain;

/// How long a drained unit may take to answer its outstanding requests.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the units of a region were not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The region has no such zone.
    #[error("there is no zone `{0}`; this region has {zones}", zones = ZONES.join(", "))]
    NoSuchZone(String),
    /// The rules for numbers and zones of units forbid it.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The unit is a recovery or failover unit.
    #[error(
        "unit {unit} is a {kind} unit; only operational units can be drained, resumed and removed",
        kind = .kind.name().to_lowercase()
    )]
    NotOperational {
        /// Number of the unit.
        unit: u16,
        /// Its kind.
        kind: UnitKind,
    },
    /// A rotation of the master key is under way.
    #[error("the master key is being rotated: finish or cancel the rotation, then repeat the command")]
    Rotation,
    /// No keys are served yet.
    #[error("no keys are served yet, so no unit has requests; finish the ceremony first")]
    NotServing,
    /// The host did not drain or resume the unit.
    #[error("unit {unit} was not taken out of service or brought back")]
    Host {
        /// Number of the unit.
        unit: u16,
        /// The host's refusal.
        source: DrainRefused,
    },
    /// No other unit is in use.
    #[error("unit {0} stays: no other unit is in use, so no key could be used; heal another unit first")]
    LastUnit(u16),
    /// The unit did not answer its outstanding requests in time.
    #[error(
        "unit {unit} still has requests outstanding after {timeout} s and serves again: heal it, then repeat the command",
        timeout = DRAIN_TIMEOUT.as_secs()
    )]
    StillBusy {
        /// Number of the unit.
        unit: u16,
    },
    /// The unit cannot be zeroized.
    #[error(
        "unit {unit} did not confirm that it is zeroized and was not removed: heal it, or remove it with --lost, which keeps \
         its state, and the master key in it, in a folder"
    )]
    NotZeroized {
        /// Number of the unit.
        unit: u16,
        /// Why not.
        source: SupervisorError,
    },
    /// The unit has been zeroized, and its removal could not be stored.
    #[error(
        "unit {unit} was zeroized and stays in the region, since its removal could not be stored: repeat the command"
    )]
    NotStored {
        /// Number of the unit.
        unit: u16,
        /// Why not.
        source: DataError,
    },
    /// The unit was added, and the ceremony that sets it up failed.
    #[error(
        "unit {unit} was added and does not serve yet; once the cause is removed, run: hsm-sim heal unit {unit}"
    )]
    NotInService {
        /// Number of the unit.
        unit: u16,
        /// Why not.
        source: Box<CeremonyError>,
    },
    /// The process of the unit could not be started.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The change could not be stored.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The keystore cannot be read.
    #[error("whether the master key is being rotated could not be determined")]
    Store(#[from] NodeError),
}

impl ControlledRegion {
    /// Adds an operational unit in `zone`, or in the first zone without one, and returns its number. With the development
    /// ceremony it serves soon after; otherwise once people have given it administrators and the master key.
    ///
    /// # Errors
    /// [`MembershipError`]; nothing was changed, except with [`MembershipError::NotInService`].
    pub async fn add_unit(&self, zone: Option<&str>) -> Result<u16, MembershipError> {
        let _one_at_a_time = self.changing.lock().await;
        self.check_no_rotation().await?;
        let places = self.places();
        let operational = operational(&places);
        let is_free = |zone: &&str| operational.iter().all(|(_, occupied)| occupied != zone);
        let wanted = zone.or_else(|| ZONES.into_iter().find(is_free)).unwrap_or(ZONES[0]);
        let ordinal = ordinal_in(wanted).ok_or_else(|| MembershipError::NoSuchZone(wanted.to_owned()))?;
        placement::check_addition(&operational, wanted)?;
        let place = place::next(&places, &self.identity.region, UnitKind::Operational, ordinal);
        let unit = place.number;
        // An error from here to the end of the save drops the process, which ends it.
        let launched = self.supervisor.launch_new(place.clone()).await?;
        self.save(places.iter().chain([&place]))?;
        self.supervisor.adopt(place, launched);
        let set_up = self.bring_into_service(unit).await;
        self.announce();
        set_up.map_err(|source| MembershipError::NotInService { unit, source: Box::new(source) })?;
        Ok(unit)
    }

    /// Stops sending requests to an operational unit and waits until it has answered those it has. It stays drained until it
    /// is resumed or the region restarts.
    ///
    /// # Errors
    /// [`MembershipError`]; the unit serves as before.
    pub async fn drain_unit(&self, unit: u16) -> Result<(), MembershipError> {
        let _one_at_a_time = self.changing.lock().await;
        self.operational_unit(unit)?;
        self.drain(&self.serving_host()?, unit, false).await
    }

    /// Has a drained unit serve again.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn resume_unit(&self, unit: u16) -> Result<(), MembershipError> {
        let _one_at_a_time = self.changing.lock().await;
        self.operational_unit(unit)?;
        self.serving_host()?.resume(unit).map_err(|source| MembershipError::Host { unit, source })
    }

    /// Drains an operational unit, zeroizes it, ends its process, and forgets it. A unit that is `lost` is removed even if
    /// it cannot be zeroized: its folder is moved aside.
    ///
    /// # Errors
    /// [`MembershipError`]; the unit stays in the region, zeroized with [`MembershipError::NotStored`].
    pub async fn remove_unit(&self, unit: u16, lost: bool) -> Result<(), MembershipError> {
        let _one_at_a_time = self.changing.lock().await;
        self.check_no_rotation().await?;
        let process = self.operational_unit(unit)?;
        let places = self.places();
        let failover = places.iter().filter(|place| place.kind == UnitKind::Failover).count();
        placement::check_removal(&operational(&places), failover, unit)?;
        if !lost && let Err(source) = can_be_zeroized(&process) {
            return Err(MembershipError::NotZeroized { unit, source });
        }
        let removed = self.take_out_and_forget(unit, lost, &places).await;
        // The node takes the unit back if it stays in the region.
        self.announce();
        removed
    }

    async fn take_out_and_forget(
        &self,
        unit: u16,
        lost: bool,
        places: &[Place],
    ) -> Result<(), MembershipError> {
        if let Some(host) = self.node.host() {
            match self.drain(&host, unit, lost).await {
                // The host has not been given the unit yet.
                Err(MembershipError::Host { source: DrainRefused::UnknownUnit, .. }) => {}
                drained => drained?,
            }
            let _ = host.remove_unit(unit, true);
            // Draining takes time, in which another unit may have failed or a rotation begun.
            if !host.units().iter().any(|other| other.in_use) {
                return Err(MembershipError::LastUnit(unit));
            }
            self.check_no_rotation().await?;
        }
        // Before the unit is forgotten: afterwards nothing would erase its master key.
        let zeroized = self.zeroize(unit).await;
        let zeroized = match zeroized {
            Err(source) if !lost => return Err(MembershipError::NotZeroized { unit, source }),
            zeroized => zeroized,
        };
        let left = places.iter().filter(|place| place.number != unit);
        self.save(left).map_err(|source| MembershipError::NotStored { unit, source })?;
        self.supervisor.remove(unit).await?;
        info!(unit, "unit removed by command");
        if let Err(error) = zeroized {
            self.set_aside(unit, places, &error);
        }
        Ok(())
    }

    /// Moves the folder of a unit that was not zeroized: a later unit in its place begins with a new module.
    fn set_aside(&self, unit: u16, places: &[Place], error: &SupervisorError) {
        let error = error_chain(error);
        let Some(place) = places.iter().find(|place| place.number == unit) else { return };
        match self.data.set_unit_aside(place) {
            Ok(path) => warn!(
                unit, error, folder = %path.display(),
                "a lost unit was removed without zeroizing it; this folder may hold its master key"
            ),
            Err(moving) => warn!(
                unit, error, folder = %self.data.unit_dir(place).display(), moving = %moving,
                "a lost unit was removed without zeroizing it, and its folder, which may hold its master key, could not \
                 be moved: a unit that is added in its zone takes it over"
            ),
        }
    }

    /// Drains a unit. One that is `lost` need not answer its outstanding requests: they move to other units.
    async fn drain(&self, host: &Host, unit: u16, lost: bool) -> Result<(), MembershipError> {
        host.drain(unit, false).map_err(|source| match source {
            DrainRefused::LastUnit => MembershipError::LastUnit(unit),
            source => MembershipError::Host { unit, source },
        })?;
        if lost || host.wait_until_drained(unit, DRAIN_TIMEOUT).await {
            return Ok(());
        }
        let _ = host.resume(unit);
        Err(MembershipError::StillBusy { unit })
    }

    fn serving_host(&self) -> Result<Host, MembershipError> {
        self.node.host().ok_or(MembershipError::NotServing)
    }

    fn operational_unit(&self, unit: u16) -> Result<UnitProcess, MembershipError> {
        let process = self.supervisor.unit(unit)?;
        match process.place.kind {
            UnitKind::Operational => Ok(process),
            kind @ (UnitKind::Recovery | UnitKind::Failover) => {
                Err(MembershipError::NotOperational { unit, kind })
            }
        }
    }

    /// A unit added during a rotation would not have the next master key, and one that is removed would be missed by the
    /// administrators who carry it out.
    async fn check_no_rotation(&self) -> Result<(), MembershipError> {
        match self.node.stored_patterns().await? {
            Some((_, Some(_))) => Err(MembershipError::Rotation),
            Some((_, None)) | None => Ok(()),
        }
    }

    fn places(&self) -> Vec<Place> {
        self.supervisor.units().into_iter().map(|process| process.place).collect()
    }

    fn save<'a>(&self, places: impl Iterator<Item = &'a Place>) -> Result<(), DataError> {
        let mut places: Vec<Place> = places.cloned().collect();
        places.sort_by_key(|place| place.number);
        RegionFile { identity: self.identity.clone(), places }.save(&self.data)
    }

    /// Has the node and readers of the ready file see the present units.
    fn announce(&self) {
        self.directory.notify();
        if let Err(error) = self.ready.set_units(self.supervisor.units()) {
            warn!(%error, "the units in a ready file could not be replaced");
        }
    }
}

/// Numbers and zones of the operational units.
fn operational(places: &[Place]) -> Vec<(u16, &str)> {
    let operational = places.iter().filter(|place| place.kind == UnitKind::Operational);
    operational.map(|place| (place.number, place.zone.as_str())).collect()
}

/// Whether the unit can carry out an order at this moment.
fn can_be_zeroized(process: &UnitProcess) -> Result<(), SupervisorError> {
    let unit = process.unit;
    match (process.pid, &process.down, process.fault) {
        (None, Some(reason), _) => Err(SupervisorError::Down { unit, reason: reason.clone() }),
        (None, None, _) | (Some(_), _, Some(Fault::Paused)) => Err(SupervisorError::NotRunning(unit)),
        (Some(_), _, _) => Ok(()),
    }
}
