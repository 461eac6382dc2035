//! Selected units and signature keys. The selection is local to this folder: units do not know it.

use crate::error::TkeError;
use crate::store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tke_crypto::Ski;
use uuid::Uuid;

/// The file of selections.
#[derive(Debug)]
pub(crate) struct Selection {
    path: PathBuf,
    chosen: SelectionFile,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectionFile {
    /// Identifiers of selected units, by instance.
    #[serde(default)]
    crypto_units: BTreeMap<Uuid, BTreeSet<String>>,
    /// Subject key identifiers of selected keys, in the order in which they sign.
    #[serde(default)]
    signature_keys: Vec<String>,
}

impl Selection {
    pub(crate) fn load(folder: &Path) -> Result<Self, TkeError> {
        let path = folder.join("selection.json");
        let chosen = store::load(&path)?;
        Ok(Self { path, chosen })
    }

    pub(crate) fn has_unit(&self, instance: Uuid, hsm_id: Uuid) -> bool {
        self.chosen.crypto_units.get(&instance).is_some_and(|units| units.contains(&hsm_id.to_string()))
    }

    pub(crate) fn set_unit(&mut self, instance: Uuid, hsm_id: Uuid, selected: bool) {
        let units = self.chosen.crypto_units.entry(instance).or_default();
        if selected {
            units.insert(hsm_id.to_string());
        } else {
            units.remove(&hsm_id.to_string());
        }
    }

    /// Position of a key among the selected ones, from 1.
    pub(crate) fn place_of_key(&self, ski: &Ski) -> Option<usize> {
        let ski = ski.to_string();
        self.chosen.signature_keys.iter().position(|chosen| *chosen == ski).map(|place| place + 1)
    }

    pub(crate) fn set_keys(&mut self, skis: &[Ski]) {
        self.chosen.signature_keys = skis.iter().map(Ski::to_string).collect();
    }

    pub(crate) fn drop_key(&mut self, ski: &Ski) {
        let ski = ski.to_string();
        self.chosen.signature_keys.retain(|chosen| *chosen != ski);
    }

    pub(crate) fn save(&self) -> Result<(), TkeError> {
        store::save(&self.path, &self.chosen)
    }
}
