//! The unit's choice of engine, kept in its folder. It is fixed once the engine holds keys of the unit.

use crate::engine::EngineChoice;
use crate::files;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// File in a unit's folder that names the engine.
const FILE: &str = "engine";

/// Content of that file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptEngine {
    pub(crate) engine: EngineChoice,
    /// Whether the engine has held keys of the unit: then a missing key is an error, never a reason to make a new one.
    pub(crate) has_keys: bool,
}

/// Why a unit's kept choice of engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptEngineError {
    /// The file could not be read or written.
    #[error("the file `{FILE}`, which names the unit's engine, cannot be read or written")]
    Io(#[from] io::Error),
    /// The file is not one that this program wrote.
    #[error("the file `{FILE}`, which names the unit's engine, is damaged")]
    Damaged(#[source] serde_json::Error),
    /// The unit's keys are on another engine than the one named.
    #[error(
        "the unit's keys are on `{kept}`, and `{wanted}` holds none of them: leave --engine out, or make another unit"
    )]
    Other {
        /// Engine that holds the unit's keys.
        kept: EngineChoice,
        /// Engine that was named.
        wanted: EngineChoice,
    },
}

impl KeptEngine {
    /// The engine of the unit in `folder`: the kept one, or `wanted` (software if `None`) while it holds no keys yet.
    pub(crate) fn open(folder: &Path, wanted: Option<&EngineChoice>) -> Result<Self, KeptEngineError> {
        let kept = Self::read(folder)?;
        let settled: Self = match (&kept, wanted) {
            (None, wanted) => Self { engine: wanted.cloned().unwrap_or_default(), has_keys: false },
            (Some(kept), None) => kept.clone(),
            // Without keys the choice is still free: the first one may have been mistyped.
            (Some(kept), Some(wanted)) if kept.engine.is_same_place(wanted) || !kept.has_keys => {
                Self { engine: wanted.clone(), ..*kept }
            }
            (Some(kept), Some(wanted)) => {
                return Err(KeptEngineError::Other { kept: kept.engine.clone(), wanted: wanted.clone() });
            }
        };
        if kept.as_ref() != Some(&settled) {
            settled.save(folder)?;
        }
        Ok(settled)
    }

    /// The kept choice, if there is a unit.
    fn read(folder: &Path) -> Result<Option<Self>, KeptEngineError> {
        match files::read_if_present(&folder.join(FILE))? {
            Some(content) => Ok(Some(serde_json::from_slice(&content).map_err(KeptEngineError::Damaged)?)),
            // Units made before this file existed have their keys in software.
            None if folder.join("device").exists() => {
                Ok(Some(Self { engine: EngineChoice::Soft, has_keys: true }))
            }
            None => Ok(None),
        }
    }

    /// Records that the engine holds keys of the unit.
    pub(crate) fn confirm_keys(&mut self, folder: &Path) -> Result<(), KeptEngineError> {
        if !self.has_keys {
            self.has_keys = true;
            self.save(folder)?;
        }
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<(), KeptEngineError> {
        let content = serde_json::to_vec_pretty(self).map_err(|e| KeptEngineError::Io(e.into()))?;
        Ok(files::write_private(&folder.join(FILE), &content)?)
    }
}

/// The engine that holds keys of the unit in `folder`. `None`: there is no unit, or it has no keys yet.
///
/// # Errors
/// [`KeptEngineError::Io`] and [`KeptEngineError::Damaged`].
pub fn engine_with_keys(folder: &Path) -> Result<Option<EngineChoice>, KeptEngineError> {
    Ok(KeptEngine::read(folder)?.filter(|kept| kept.has_keys).map(|kept| kept.engine))
}

#[cfg(test)]
mod tests {
    use super::{KeptEngine, KeptEngineError, engine_with_keys};
    use crate::engine::EngineChoice;

    const URI: &str = "pkcs11:token=core?module-path=/m.so&pin-source=file:/p";

    #[test]
    fn the_engine_is_fixed_once_it_holds_keys() {
        let folder = tempfile::tempdir().unwrap();
        let open = |wanted: Option<&str>| {
            KeptEngine::open(folder.path(), wanted.map(|text| text.parse().unwrap()).as_ref())
        };
        assert_eq!(open(None).unwrap(), KeptEngine { engine: EngineChoice::Soft, has_keys: false });
        // It holds no keys yet.
        let mut made = open(Some(URI)).unwrap();
        assert!(!made.has_keys && !open(None).unwrap().has_keys);
        assert_eq!(engine_with_keys(folder.path()).unwrap(), None);
        made.confirm_keys(folder.path()).unwrap();
        assert_eq!(open(None).unwrap(), made);
        assert_eq!(engine_with_keys(folder.path()).unwrap().unwrap().to_string(), URI);
        for other in ["soft", "pkcs11:softhsm", &URI.replace("core", "other")] {
            let said = open(Some(other)).unwrap_err().to_string();
            assert!(said.contains(URI) && said.contains(other), "{said}");
        }
        // The same token with another source for its PIN.
        let moved = URI.replace("file:/p", "env:PIN");
        assert_eq!(open(Some(&moved)).unwrap().engine.to_string(), moved);
        assert_eq!(open(None).unwrap().engine.to_string(), moved);
        assert!(open(None).unwrap().has_keys);
        std::fs::write(folder.path().join("engine"), "{").unwrap();
        assert!(matches!(open(None), Err(KeptEngineError::Damaged(_))));
    }

    #[test]
    fn a_unit_without_the_file_has_its_keys_in_software() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("device"), "a device").unwrap();
        let wanted = EngineChoice::SoftHsm;
        assert!(matches!(KeptEngine::open(folder.path(), Some(&wanted)), Err(KeptEngineError::Other { .. })));
        assert_eq!(KeptEngine::open(folder.path(), None).unwrap().engine, EngineChoice::Soft);
    }
}
