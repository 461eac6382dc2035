//! The crypto units of a region, and the location of each.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tke::{Location, UnitKind};

/// The zones of a region; operational units are placed in them in turn.
pub const ZONES: [&str; 3] = ["az1", "az2", "az3"];

/// Number of crypto units of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCounts {
    /// Operational units: 2 or 3.
    pub operational: u16,
    /// Recovery units: 0 or 2.
    pub recovery: u16,
    /// Failover units: 0, 2 or 3, at most the number of operational units.
    pub failover: u16,
}

/// Number, kind and location of a crypto unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number from 1: operational units first, then recovery units, then failover units.
    pub number: u16,
    /// Whether it serves, generates master keys for recovery, or stands by.
    pub kind: UnitKind,
    /// Number from 1 among units of its kind. Unlike `number`, it does not change when units are added.
    ordinal: u16,
    /// Location of the unit.
    pub location: Location,
    /// Its zone as faults name it: `az1`, in another region `us-east/az1`.
    pub zone: String,
}

impl Place {
    /// Serial number of its module, 8 characters.
    #[must_use]
    pub fn serial(&self) -> String {
        match self.kind {
            UnitKind::Operational => format!("SIM{:05}", self.ordinal),
            UnitKind::Recovery => format!("SIMR{:04}", self.ordinal),
            UnitKind::Failover => format!("SIMF{:04}", self.ordinal),
        }
    }

    /// Name of its folder below `units/`.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let ordinal = self.ordinal;
        PathBuf::from(match self.kind {
            UnitKind::Operational => ordinal.to_string(),
            UnitKind::Recovery => format!("recovery-{ordinal}"),
            UnitKind::Failover => format!("failover-{ordinal}"),
        })
    }
}

/// The places of a region's units, in the order of their numbers. Every unit is the only domain of its module.
///
/// Operational units are assigned to the zones in turn. One recovery unit is in the home region, in a zone without an
/// operational unit if there is one. The other recovery unit and all failover units are in the disaster region.
#[must_use]
pub fn places(region: &str, counts: UnitCounts) -> Vec<Place> {
    let away = disaster_region(region);
    let recovery = [(region, spare_zone(counts.operational)), (away.as_str(), 0)];
    let stands = (0..counts.operational)
        .map(|at| (UnitKind::Operational, at, region, at))
        .chain(
            (0..counts.recovery)
                .zip(recovery)
                .map(|(at, (place, zone))| (UnitKind::Recovery, at, place, zone)),
        )
        .chain((0..counts.failover).map(|at| (UnitKind::Failover, at, away.as_str(), at)));
    let mut modules = std::collections::BTreeMap::<&str, u32>::new();
    (1..)
        .zip(stands)
        .map(|(number, (kind, at, place, zone))| {
            let module = modules.entry(place).and_modify(|module| *module += 1).or_insert(1);
            let zone = zone_at(zone);
            let shown = if place == region { zone.to_owned() } else { format!("{place}/{zone}") };
            let location =
                Location { region: place.to_owned(), zone: zone.to_owned(), module: *module, domain: 0 };
            Place { number, kind, ordinal: at + 1, location, zone: shown }
        })
        .collect()
}

/// The region that has one recovery unit and all failover units of `region`.
fn disaster_region(region: &str) -> String {
    match region {
        "us-south" => "us-east".to_owned(),
        "us-east" => "us-south".to_owned(),
        other => format!("{other}-2"),
    }
}

/// Index of the first zone without an operational unit, or else of the last zone.
const fn spare_zone(operational: u16) -> u16 {
    if operational < 3 { operational } else { 2 }
}

fn zone_at(at: u16) -> &'static str {
    ZONES.get(usize::from(at) % ZONES.len()).copied().unwrap_or("az1")
}

#[cfg(test)]
mod tests {
    use super::{UnitCounts, places};
    use std::collections::BTreeSet;
    use tke::UnitKind;

    fn all() -> impl Iterator<Item = UnitCounts> {
        (2..=3).flat_map(|operational| {
            [0, 2].into_iter().flat_map(move |recovery| {
                [0, 2, 3]
                    .into_iter()
                    .filter(move |failover| *failover <= operational)
                    .map(move |failover| UnitCounts { operational, recovery, failover })
            })
        })
    }

    #[test]
    fn no_two_units_share_a_module_or_a_folder() {
        for counts in all() {
            let places = places("us-south", counts);
            assert_eq!(places.len(), usize::from(counts.operational + counts.recovery + counts.failover));
            let modules: BTreeSet<_> =
                places.iter().map(|p| (&p.location.region, p.location.module)).collect();
            let folders: BTreeSet<_> = places.iter().map(super::Place::folder).collect();
            let serials: BTreeSet<_> = places.iter().map(super::Place::serial).collect();
            assert_eq!(
                (modules.len(), folders.len(), serials.len()),
                (places.len(), places.len(), places.len())
            );
            assert!(serials.iter().all(|serial| serial.len() == 8));
            assert!((1..).zip(&places).all(|(number, place)| place.number == number));
        }
    }

    #[test]
    fn one_recovery_unit_is_in_the_home_region_and_one_in_the_disaster_region() {
        for counts in all().filter(|counts| counts.recovery == 2) {
            let places = places("us-south", counts);
            let of = |kind| places.iter().filter(move |place| place.kind == kind);
            let [home, away] = of(UnitKind::Recovery).collect::<Vec<_>>()[..] else { panic!() };
            assert_eq!(
                (home.location.region.as_str(), away.location.region.as_str()),
                ("us-south", "us-east")
            );
            let shared = of(UnitKind::Operational).any(|place| place.zone == home.zone);
            assert_eq!(shared, counts.operational == 3);
            assert!(of(UnitKind::Failover).all(|place| place.zone.starts_with("us-east/")));
        }
    }

    #[test]
    fn a_unit_keeps_its_folder_when_units_are_added_before_it() {
        let two = places("r", UnitCounts { operational: 2, recovery: 2, failover: 0 });
        let three = places("r", UnitCounts { operational: 3, recovery: 2, failover: 0 });
        let folder = |places: &[super::Place], number| {
            places.iter().find(|place| place.number == number).unwrap().folder()
        };
        assert_eq!(folder(&two, 3), folder(&three, 4));
        assert_eq!(two[0].location.to_string(), "[r].[az1].[01].[00]");
    }
}
