//! The crypto units of a region, and the location of each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use tke::{Location, UnitKind};

/// The zones of a region; operational units are placed in them in turn.
pub const ZONES: [&str; 3] = ["az1", "az2", "az3"];

/// Number of crypto units of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitCounts {
    /// Operational units: 2 or 3.
    pub operational: u16,
    /// Recovery units: 0 or 2.
    pub recovery: u16,
    /// Failover units: 0, 2 or 3, at most the number of operational units.
    pub failover: u16,
}

/// Number, kind and location of a crypto unit. A place does not change when units are added or removed beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number from 1, unique in the region.
    pub number: u16,
    /// Whether it serves, generates master keys for recovery, or stands by.
    pub kind: UnitKind,
    /// Number from 1 among units of its kind, which determines the zone and the folder.
    pub(super) ordinal: u16,
    /// Location of the unit. Every unit is the only domain of its module.
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

/// The places of a new region's units: operational units first, then recovery units, then failover units.
#[must_use]
pub fn places(region: &str, counts: UnitCounts) -> Vec<Place> {
    with_counts(Vec::new(), region, counts)
}

/// These places with as many of each kind as `counts` says, in the order of their numbers: places that are missing are
/// added, and surplus ones, those with the highest ordinals, are left out.
pub(super) fn with_counts(mut places: Vec<Place>, region: &str, counts: UnitCounts) -> Vec<Place> {
    let UnitCounts { operational, recovery, failover } = counts;
    for (kind, wanted) in
        [(UnitKind::Operational, operational), (UnitKind::Recovery, recovery), (UnitKind::Failover, failover)]
    {
        let ordinals = |places: &[Place]| -> BTreeSet<u16> {
            places.iter().filter(|place| place.kind == kind).map(|place| place.ordinal).collect()
        };
        let kept: BTreeSet<u16> = ordinals(&places).into_iter().take(usize::from(wanted)).collect();
        places.retain(|place| place.kind != kind || kept.contains(&place.ordinal));
        for _ in kept.len()..usize::from(wanted) {
            let ordinal = first_free(|ordinal| !ordinals(&places).contains(&ordinal));
            places.push(next(&places, region, kind, ordinal));
        }
    }
    places.sort_by_key(|place| place.number);
    places
}

/// The place of a new unit beside `others`, with the first number and the first module that are free.
pub(super) fn next(others: &[Place], region: &str, kind: UnitKind, ordinal: u16) -> Place {
    let number = first_free(|number| others.iter().all(|other| other.number != number));
    let module_region = region_and_zone(region, kind, ordinal).0;
    let in_region = |other: &&Place| other.location.region == module_region;
    let module = first_free(|module| {
        others.iter().filter(in_region).all(|other| other.location.module != u32::from(module))
    });
    at(number, kind, ordinal, u32::from(module), region)
}

/// The place with this number, kind, ordinal and module.
///
/// Operational units have a zone each. One recovery unit is in the home region, in the zone that gets an operational unit
/// last. The other recovery unit and all failover units are in the disaster region.
pub(super) fn at(number: u16, kind: UnitKind, ordinal: u16, module: u32, region: &str) -> Place {
    let (place_region, zone) = region_and_zone(region, kind, ordinal);
    let shown = if place_region == region { zone.to_owned() } else { format!("{place_region}/{zone}") };
    let location = Location { region: place_region, zone: zone.to_owned(), module, domain: 0 };
    Place { number, kind, ordinal, location, zone: shown }
}

fn region_and_zone(region: &str, kind: UnitKind, ordinal: u16) -> (String, &'static str) {
    match (kind, ordinal) {
        (UnitKind::Operational, _) => (region.to_owned(), zone_of(ordinal)),
        (UnitKind::Recovery, 1) => (region.to_owned(), zone_of(3)),
        (UnitKind::Recovery, _) => (disaster_region(region), zone_of(1)),
        (UnitKind::Failover, _) => (disaster_region(region), zone_of(ordinal)),
    }
}

/// The zone of the operational or failover unit with this ordinal.
fn zone_of(ordinal: u16) -> &'static str {
    let index = usize::from(ordinal).saturating_sub(1) % ZONES.len();
    ZONES.get(index).copied().unwrap_or("az1")
}

/// The ordinal of the operational unit in a zone; `None` if there is no such zone.
pub(super) fn ordinal_in(zone: &str) -> Option<u16> {
    (1..).zip(ZONES).find(|(_, name)| *name == zone).map(|(ordinal, _)| ordinal)
}

fn first_free(is_free: impl Fn(u16) -> bool) -> u16 {
    (1..u16::MAX).find(|candidate| is_free(*candidate)).unwrap_or(u16::MAX)
}

/// The region that has one recovery unit and all failover units of `region`.
fn disaster_region(region: &str) -> String {
    match region {
        "us-south" => "us-east".to_owned(),
        "us-east" => "us-south".to_owned(),
        other => format!("{other}-2"),
    }
}

#[cfg(test)]
mod tests {
    use super::{UnitCounts, places, with_counts};
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
    fn operational_units_have_a_zone_each() {
        for counts in all() {
            let places = places("us-south", counts);
            let operational = places.iter().filter(|place| place.kind == UnitKind::Operational);
            let zones: BTreeSet<_> = operational.clone().map(|place| place.zone.as_str()).collect();
            assert_eq!(zones.len(), usize::from(counts.operational));
            assert!(operational.clone().all(|place| place.location.region == "us-south"));
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
    fn a_unit_keeps_its_place_when_units_are_added_and_removed() {
        let counts = |operational| UnitCounts { operational, recovery: 2, failover: 0 };
        let two = places("r", counts(2));
        assert_eq!(two[0].location.to_string(), "[r].[az1].[01].[00]");
        let three = with_counts(two.clone(), "r", counts(3));
        assert_eq!(three[..4], two[..]);
        assert_eq!((three[4].number, three[4].location.to_string()), (5, "[r].[az3].[04].[00]".to_owned()));
        assert_eq!(with_counts(three.clone(), "r", counts(2)), two);
        // The unit in the first zone was removed: its place is the first one to be taken again.
        let without_first = three[1..].to_vec();
        assert_eq!(with_counts(without_first.clone(), "r", counts(2)), without_first);
        assert_eq!(with_counts(without_first, "r", counts(3)), three);
    }
}
