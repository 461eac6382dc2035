//! The engine of each zone: where the keys of its crypto units are.

use super::data::DataDir;
use super::place::{Place, UnitCounts, ZONES, places};
use engine_pkcs11::{PinSource, softhsm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unit_server::{EngineChoice, EngineInvalid, KeptEngineError, engine_with_keys};

/// Maximum numbers of units of a region.
const MOST: UnitCounts = UnitCounts { operational: 3, recovery: 2, failover: 3 };

/// The engines by name of the zone; software in a zone that is not listed. All units of a zone have the zone's engine,
/// also those in other regions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Engines(BTreeMap<String, EngineChoice>);

/// Why the requested engines cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnginesError {
    /// A value is not an engine.
    #[error("--engine takes an engine, or a zone's as in az1=ENGINE")]
    Invalid(#[from] EngineInvalid),
    /// A value names an unknown zone.
    #[error("--engine names the zone `{0}`: there are {zones}", zones = ZONES.join(", "))]
    NoSuchZone(String),
    /// Two values name the same zone, or two name every zone.
    #[error("--engine is given twice for {0}")]
    Twice(String),
    /// The PIN would have to be prompted for.
    #[error(
        "the units of a region restart by themselves and cannot prompt for a PIN: write it to a file that only you may \
         read and use pin-source=file:/path, or use pin-source=env:NAME"
    )]
    Prompt,
    /// SoftHSM is not installed.
    #[error("pkcs11:softhsm needs SoftHSM, which is not on this machine: {install}", install = softhsm::INSTALL_HINT)]
    NoSoftHsm,
    /// The file that records the engine of the unit in this folder cannot be read.
    #[error("the engine of the unit in {} could not be determined", .0.display())]
    Unit(std::path::PathBuf, #[source] KeptEngineError),
    /// The keys of the units are on another engine.
    #[error(
        "the keys of the crypto units in {zone} were generated on `{kept}` and are not on `{wanted}`: omit --engine, or name \
         another directory with --data"
    )]
    Other {
        /// Zone of the units.
        zone: String,
        /// Engine that holds the keys.
        kept: Box<EngineChoice>,
        /// Engine that was requested.
        wanted: Box<EngineChoice>,
    },
}

impl Engines {
    /// Parses the values of `--engine`: `ENGINE` for every zone, `ZONE=ENGINE` for one zone, which takes precedence.
    ///
    /// # Errors
    /// [`EnginesError`]; also for an engine that is not installed, or whose PIN would have to be prompted for.
    pub fn parse(values: &[String]) -> Result<Self, EnginesError> {
        let (mut every, mut zones) = (None, BTreeMap::new());
        for value in values {
            // A URI has a colon before its first equals sign.
            let (zone, engine) = match value.split_once('=') {
                Some((zone, engine)) if !zone.contains(':') => (Some(zone), engine),
                _ => (None, value.as_str()),
            };
            if let Some(zone) = zone
                && !ZONES.contains(&zone)
            {
                return Err(EnginesError::NoSuchZone(zone.to_owned()));
            }
            let engine: EngineChoice = engine.parse()?;
            check(&engine)?;
            let (said, name) = match zone {
                None => (every.replace(engine).is_some(), "every zone"),
                Some(zone) => (zones.insert(zone.to_owned(), engine).is_some(), zone),
            };
            if said {
                return Err(EnginesError::Twice(name.to_owned()));
            }
        }
        if let Some(every) = every {
            for zone in ZONES {
                zones.entry(zone.to_owned()).or_insert_with(|| every.clone());
            }
        }
        Ok(Self(zones))
    }

    /// The engine of the unit in `place`.
    #[must_use]
    pub fn of(&self, place: &Place) -> EngineChoice {
        self.0.get(&place.location.zone).cloned().unwrap_or_default()
    }

    /// These engines, overridden by those in `wanted`.
    ///
    /// # Errors
    /// [`EnginesError::Other`] if a unit has keys on another engine.
    pub(super) fn with(&self, wanted: &Self, data: &DataDir) -> Result<Self, EnginesError> {
        let with = Self(self.0.iter().chain(&wanted.0).map(|(z, e)| (z.clone(), e.clone())).collect());
        // The paths of the units' folders do not depend on the name of the region.
        for place in places("", MOST) {
            let folder = data.unit_dir(&place);
            let kept = engine_with_keys(&folder).map_err(|e| EnginesError::Unit(folder, e))?;
            let chosen = with.of(&place);
            if let Some(kept) = kept
                && !kept.is_same_place(&chosen)
            {
                let (kept, wanted) = (Box::new(kept), Box::new(chosen));
                return Err(EnginesError::Other { zone: place.location.zone, kept, wanted });
            }
        }
        Ok(with)
    }
}

fn check(engine: &EngineChoice) -> Result<(), EnginesError> {
    match engine {
        EngineChoice::SoftHsm if softhsm::find_module().is_none() => Err(EnginesError::NoSoftHsm),
        EngineChoice::Token(uri) if uri.pin_source() == Some(&PinSource::Prompt) => Err(EnginesError::Prompt),
        EngineChoice::Soft | EngineChoice::SoftHsm | EngineChoice::Token(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{DataDir, Engines, EnginesError};
    use crate::region::place::{UnitCounts, places};

    const URI: &str = "pkcs11:token=core?module-path=/m.so&pin-source=file:/p";

    fn parse(values: &[&str]) -> Result<Engines, EnginesError> {
        Engines::parse(&values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>())
    }

    /// The engines of three operational units, a recovery unit in each region, and a failover unit.
    fn of(engines: &Engines) -> Vec<String> {
        let places = places("us-south", UnitCounts { operational: 3, recovery: 2, failover: 2 });
        places.iter().map(|place| engines.of(place).to_string()).collect()
    }

    #[test]
    fn all_units_of_a_zone_have_its_engine() {
        assert_eq!(of(&parse(&[]).unwrap()), ["soft"; 7]);
        assert_eq!(of(&parse(&[URI]).unwrap()), [URI; 7]);
        let expected = ["soft", URI, "soft", "soft", "soft", "soft", URI];
        assert_eq!(of(&parse(&[&format!("az2={URI}")]).unwrap()), expected);
        assert_eq!(of(&parse(&["soft", &format!("az2={URI}")]).unwrap()), expected);
        assert_eq!(of(&parse(&[&format!("az2={URI}"), "soft"]).unwrap()), expected);
    }

    #[test]
    fn unavailable_engines_are_refused() {
        let prompt = URI.replace("file:/p", "prompt");
        for (values, why) in [
            (vec!["az4=soft"], "`az4`: there are az1, az2, az3"),
            (vec!["=soft"], "there are az1"),
            (vec!["soft", "soft"], "twice for every zone"),
            (vec!["az1=soft", "az1=soft"], "twice for az1"),
            (vec!["hard"], "an engine is `soft`"),
            (vec!["az1="], "an engine is `soft`"),
            (vec![prompt.as_str()], "pin-source=file:/path"),
        ] {
            let said = wire::text::error_chain(&parse(&values).unwrap_err());
            assert!(said.contains(why), "{values:?}: {said}");
        }
    }

    #[test]
    fn units_with_keys_keep_their_engine() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let none = Engines::default();
        let first = none.with(&parse(&[&format!("az2={URI}")]).unwrap(), &data).unwrap();
        // No unit has keys yet.
        let second = first.with(&parse(&["az2=soft"]).unwrap(), &data).unwrap();
        assert_eq!(of(&second), ["soft"; 7]);
        let unit = data.path().join("units/2");
        std::fs::create_dir_all(&unit).unwrap();
        let kept = serde_json::json!({ "engine": URI, "has_keys": true });
        std::fs::write(unit.join("engine"), kept.to_string()).unwrap();
        let said = first.with(&parse(&["az2=soft"]).unwrap(), &data).unwrap_err().to_string();
        assert!(said.contains("az2") && said.contains(URI) && said.contains("`soft`"), "{said}");
        first.with(&none, &data).unwrap();
        first.with(&parse(&[URI]).unwrap(), &data).unwrap();
        let moved = URI.replace("/p", "/q");
        assert_eq!(of(&first.with(&parse(&[&moved]).unwrap(), &data).unwrap()), [moved.as_str(); 7]);
    }
}
