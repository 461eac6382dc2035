//! What this folder has seen of each unit. See [`tke::seen`].

use crate::error::TkeError;
use crate::instance::VerifiedUnit;
use crate::store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tke::AdminUnitError;
use tke::seen::SeenUnit;
use unit_api::{Condition, Target};

/// The file of what was seen.
pub(crate) struct SeenUnits {
    path: PathBuf,
    file: SeenFile,
    /// What differs from the file.
    news: BTreeMap<String, SeenUnit>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenFile {
    /// By module and domain.
    units: BTreeMap<String, SeenUnit>,
}

impl SeenUnits {
    pub(crate) fn load(folder: &Path) -> Result<Self, TkeError> {
        let path = folder.join("units-seen.json");
        let file = store::load(&path)?;
        Ok(Self { path, file, news: BTreeMap::new() })
    }

    /// Checks a verified unit against what was seen before, and remembers what it shows now until [`SeenUnits::save`].
    ///
    /// # Errors
    /// [`AdminUnitError::Regressed`].
    pub(crate) fn check(&mut self, unit: &VerifiedUnit) -> Result<(), AdminUnitError> {
        // A unit in its error state may have lost its state, and shows none.
        if unit.snapshot.condition != Condition::Operational {
            return Ok(());
        }
        let now = SeenUnit::of(unit.listed(), unit.unit.module(), &unit.snapshot);
        let key = key(&unit.snapshot.target);
        if let Some(before) = self.file.units.get(&key) {
            before
                .may_become(&now)
                .map_err(|source| AdminUnitError::Regressed { unit: unit.number(), source })?;
        }
        if self.file.units.get(&key) != Some(&now) {
            self.news.insert(key, now);
        }
        Ok(())
    }

    /// Keeps what was seen, beside what another command has kept meanwhile: of each unit, the later.
    pub(crate) fn save(&self) -> Result<(), TkeError> {
        if self.news.is_empty() {
            return Ok(());
        }
        let mut file: SeenFile = store::load(&self.path)?;
        for (key, now) in &self.news {
            if file.units.get(key).is_none_or(|kept| kept.may_become(now).is_ok()) {
                file.units.insert(key.clone(), now.clone());
            }
        }
        store::save(&self.path, &file)
    }

    /// Forgets what was seen of a unit.
    pub(crate) fn forget(&mut self, target: &Target) -> Result<(), TkeError> {
        self.file.units.remove(&key(target));
        store::save(&self.path, &self.file)
    }
}

fn key(target: &Target) -> String {
    format!("{}/{}", target.unit, target.domain_index)
}
