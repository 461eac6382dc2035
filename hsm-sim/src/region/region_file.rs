//! The file of a region: its identity and the places of its crypto units.

use super::data::{DataDir, DataError};
use super::identity::{Identity, Wanted};
use super::place::{self, Place, UnitCounts};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tke::UnitKind;
use tracing::warn;

/// Numbers of units that a region can have of one kind, at most.
const MAX_ORDINAL: u16 = 3;

/// What `region.json` holds.
#[derive(Clone)]
pub struct RegionFile {
    /// Instances, credentials and names.
    pub identity: Identity,
    /// The crypto units, in the order of their numbers.
    pub places: Vec<Place>,
}

impl RegionFile {
    /// Opens the region stored in `data`, or generates and stores one. `wanted` sets the numbers of units and the engines.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read or stored, or if `wanted` conflicts with it; nothing was changed.
    pub fn open(data: &DataDir, wanted: &Wanted) -> Result<Self, DataError> {
        Self::open_as(data, wanted, None)
    }

    /// As [`Self::open`], with the instances, credentials and names of `shared`: those of a pair.
    ///
    /// # Errors
    /// [`DataError`]; nothing was changed.
    pub(super) fn open_as(
        data: &DataDir,
        wanted: &Wanted,
        shared: Option<&Identity>,
    ) -> Result<Self, DataError> {
        let path = data.region_file();
        let unusable = |source| DataError::Unusable { path: path.clone(), source };
        let content = files::read_if_present(&path).map_err(unusable)?;
        let stored = content.map(|content| Stored::parse(&content).ok_or(DataError::Damaged(path.clone())));
        let stored = stored.transpose()?;
        let mut opened = match stored.clone() {
            Some(stored) => stored,
            None => {
                let ceremony = wanted.ceremony.unwrap_or_default();
                let mut identity = Identity::generate(ceremony).map_err(unusable)?;
                if let Some(shared) = shared {
                    identity.adopt(shared);
                }
                let counts = UnitCounts { operational: 2, recovery: ceremony.recovery_units(), failover: 0 };
                Self { places: place::places(&identity.region, counts), identity }
            }
        };
        let kept = opened.identity.ceremony;
        if let Some(wanted) = wanted.ceremony.filter(|wanted| *wanted != kept) {
            return Err(DataError::OtherCeremony { kept, wanted });
        }
        let kept = count(&opened.places);
        let counts = wanted.counts(kept);
        if stored.is_some() && counts.operational < kept.operational {
            return Err(DataError::FewerUnits { kept: kept.operational });
        }
        if counts.failover > counts.operational {
            let UnitCounts { operational, failover, .. } = counts;
            return Err(DataError::TooManyFailoverUnits { failover, operational });
        }
        let places = place::with_counts(opened.places.clone(), &opened.identity.region, counts);
        for gone in opened.places.iter().filter(|place| !places.contains(place)) {
            let (unit, folder) = (gone.number, data.unit_dir(gone));
            warn!(unit, folder = %folder.display(), "a unit left the region; its folder keeps its state");
        }
        opened.places = places;
        opened.identity.engines = opened.identity.engines.with(&wanted.engines, data)?;
        if let Some(shared) = shared {
            opened.identity.adopt(shared);
        }
        let made = opened.identity.complete().map_err(unusable)?;
        let stays = |stored: &Self| {
            !made && stored.places == opened.places && stored.identity.engines == opened.identity.engines
        };
        if !stored.as_ref().is_some_and(stays) {
            opened.save(data)?;
        }
        Ok(opened)
    }

    /// Stores the region in one write.
    ///
    /// # Errors
    /// [`DataError::Unusable`]; the stored region is unchanged.
    pub fn save(&self, data: &DataDir) -> Result<(), DataError> {
        let path = data.region_file();
        let stored = Stored::from(self);
        let content = serde_json::to_vec_pretty(&stored).map_err(Into::into);
        content
            .and_then(|content| files::write_private(&path, &content))
            .map_err(|source| DataError::Unusable { path, source })
    }
}

fn count(places: &[Place]) -> UnitCounts {
    let of = |kind| {
        let count = places.iter().filter(|place| place.kind == kind).count();
        u16::try_from(count).unwrap_or(u16::MAX)
    };
    UnitCounts {
        operational: of(UnitKind::Operational),
        recovery: of(UnitKind::Recovery),
        failover: of(UnitKind::Failover),
    }
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    identity: Identity,
    /// Absent in the files of earlier versions, which have the numbers of units instead.
    crypto_units: Option<Vec<StoredUnit>>,
    #[serde(default, rename = "units", skip_serializing)]
    operational: u16,
    #[serde(default, rename = "recovery_units", skip_serializing)]
    recovery: u16,
    #[serde(default, rename = "failover_units", skip_serializing)]
    failover: u16,
}

/// A crypto unit in the file. Its location follows from the kind, the ordinal and the module.
#[derive(Serialize, Deserialize)]
struct StoredUnit {
    number: u16,
    kind: StoredKind,
    ordinal: u16,
    module: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredKind {
    Operational,
    Recovery,
    Failover,
}

impl Stored {
    /// `None` for a file that is damaged.
    fn parse(content: &[u8]) -> Option<RegionFile> {
        let Self { identity, crypto_units, operational, recovery, failover } =
            serde_json::from_slice(content).ok()?;
        let region = &identity.region;
        let places = match crypto_units {
            None => place::places(region, UnitCounts { operational, recovery, failover }),
            Some(units) => units.into_iter().map(|unit| unit.place(region)).collect(),
        };
        is_valid(&places).then_some(RegionFile { identity, places })
    }

    fn from(file: &RegionFile) -> Self {
        let units = file.places.iter().map(StoredUnit::from).collect();
        let identity = file.identity.clone();
        Self { identity, crypto_units: Some(units), operational: 0, recovery: 0, failover: 0 }
    }
}

impl StoredUnit {
    fn place(self, region: &str) -> Place {
        let kind = match self.kind {
            StoredKind::Operational => UnitKind::Operational,
            StoredKind::Recovery => UnitKind::Recovery,
            StoredKind::Failover => UnitKind::Failover,
        };
        place::at(self.number, kind, self.ordinal, self.module, region)
    }

    fn from(place: &Place) -> Self {
        let kind = match place.kind {
            UnitKind::Operational => StoredKind::Operational,
            UnitKind::Recovery => StoredKind::Recovery,
            UnitKind::Failover => StoredKind::Failover,
        };
        Self { number: place.number, kind, ordinal: place.ordinal, module: place.location.module }
    }
}

/// Whether there is an operational unit, and numbers, folders and modules are unique and in range, the numbers ascending.
fn is_valid(places: &[Place]) -> bool {
    let numbers: BTreeSet<_> = places.iter().map(|place| place.number).collect();
    let folders: BTreeSet<_> = places.iter().map(Place::folder).collect();
    let modules: BTreeSet<_> = places.iter().map(|p| (&p.location.region, p.location.module)).collect();
    let in_range = |place: &Place| {
        place.number > 0 && (1..=MAX_ORDINAL).contains(&place.ordinal) && place.location.module > 0
    };
    [numbers.len(), folders.len(), modules.len()] == [places.len(); 3]
        && places.iter().all(in_range)
        && places.iter().any(|place| place.kind == UnitKind::Operational)
        && places.is_sorted_by_key(|place| place.number)
}

#[cfg(test)]
mod tests {
    use super::{DataDir, DataError, RegionFile, UnitCounts, Wanted, count};
    use crate::region::CeremonyKind;

    fn units(units: u16) -> Wanted {
        Wanted { units: Some(units), ..Wanted::default() }
    }

    fn counts(file: &RegionFile) -> [u16; 3] {
        let UnitCounts { operational, recovery, failover } = count(&file.places);
        [operational, recovery, failover]
    }

    fn open(data: &DataDir) -> Result<RegionFile, DataError> {
        RegionFile::open(data, &Wanted::default())
    }

    #[test]
    fn an_identity_is_generated_once_and_only_its_units_change() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let first = open(&data).unwrap();
        let again = RegionFile::open(&data, &units(3)).unwrap();
        assert_eq!((counts(&first), counts(&again)), ([2, 0, 0], [3, 0, 0]));
        assert_eq!(open(&data).unwrap().places, again.places);
        let (first, again) = (first.identity, again.identity);
        assert_eq!((&first.api_key, first.instance_id), (&again.api_key, again.instance_id));
        assert_ne!(first.instance_id, first.instance_id_2);
        std::fs::write(data.region_file(), "{").unwrap();
        assert!(matches!(open(&data), Err(DataError::Damaged(_))));
    }

    #[test]
    fn the_ceremony_is_fixed_at_the_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let manual = Wanted { ceremony: Some(CeremonyKind::Manual), ..Wanted::default() };
        assert_eq!(counts(&RegionFile::open(&data, &manual).unwrap()), [2, 2, 0]);
        let development = Wanted { ceremony: Some(CeremonyKind::Development), ..Wanted::default() };
        assert!(matches!(RegionFile::open(&data, &development), Err(DataError::OtherCeremony { .. })));
        assert_eq!(open(&data).unwrap().identity.ceremony, CeremonyKind::Manual);
    }

    #[test]
    fn there_are_no_more_failover_units_than_operational_ones() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let three = Wanted { failover_units: Some(3), ..Wanted::default() };
        assert!(matches!(RegionFile::open(&data, &three), Err(DataError::TooManyFailoverUnits { .. })));
        assert!(!data.region_file().exists(), "a refused start left a file behind");
        let both = Wanted { units: Some(3), ..three };
        assert_eq!(counts(&RegionFile::open(&data, &both).unwrap()), [3, 0, 3]);
        let fewer = RegionFile::open(&data, &units(2));
        assert!(matches!(fewer, Err(DataError::FewerUnits { kept: 3 })), "its state would be kept unnoticed");
    }

    /// The file as JSON, changed.
    fn edit(data: &DataDir, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
        let content = std::fs::read(data.region_file()).unwrap();
        let mut content: serde_json::Value = serde_json::from_slice(&content).unwrap();
        change(content.as_object_mut().unwrap());
        std::fs::write(data.region_file(), content.to_string()).unwrap();
    }

    #[test]
    fn files_of_earlier_versions_have_numbers_of_units() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let manual = Wanted { ceremony: Some(CeremonyKind::Manual), ..Wanted::default() };
        let places = RegionFile::open(&data, &manual).unwrap().places;
        edit(&data, |content| {
            content.remove("crypto_units").unwrap();
            content.insert("units".to_owned(), 2.into());
            content.insert("recovery_units".to_owned(), 2.into());
        });
        let before = std::fs::read(data.region_file()).unwrap();
        assert_eq!(open(&data).unwrap().places, places);
        assert_eq!(
            std::fs::read(data.region_file()).unwrap(),
            before,
            "an unchanged region was stored again"
        );
        // The first version had neither recovery units nor ceremonies by people.
        edit(&data, |content| {
            content.remove("recovery_units").unwrap();
            content.remove("ceremony").unwrap();
        });
        let opened = open(&data).unwrap();
        assert_eq!((opened.identity.ceremony, counts(&opened)), (CeremonyKind::Development, [2, 0, 0]));
    }

    #[test]
    fn a_region_without_an_operator_gets_one_and_its_application_keeps_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let first = open(&data).unwrap().identity;
        let new = ["api_key_2", "operator_api_key", "operator_token"];
        edit(&data, |content| new.iter().for_each(|name| assert!(content.remove(*name).is_some(), "{name}")));
        let opened = open(&data).unwrap().identity;
        assert_eq!((&opened.api_key, &opened.tokens), (&first.api_key, &first.tokens));
        let made = &opened.credentials;
        assert!(!made.operator_token.is_empty() && made.operator_token != first.credentials.operator_token);
        assert!(!made.api_key_2.is_empty() && !made.operator_api_key.is_empty());
        let again = open(&data).unwrap().identity.credentials;
        assert!(made.operator_token == again.operator_token, "it changes at each start");
    }

    #[test]
    fn units_that_conflict_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        RegionFile::open(&data, &units(3)).unwrap();
        let intact = std::fs::read(data.region_file()).unwrap();
        for (field, value) in [("number", 1), ("number", 0), ("ordinal", 1), ("ordinal", 4), ("module", 1)] {
            edit(&data, |content| content["crypto_units"][1][field] = value.into());
            assert!(matches!(open(&data), Err(DataError::Damaged(_))), "{field} {value}");
            std::fs::write(data.region_file(), &intact).unwrap();
        }
        edit(&data, |content| content["crypto_units"] = serde_json::json!([]));
        assert!(matches!(open(&data), Err(DataError::Damaged(_))));
    }
}
