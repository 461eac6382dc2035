//! Which engine a unit has: chosen when it is made, kept in its folder, the same ever after.

use crate::files;
use engine_pkcs11::{TokenUri, UriError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// The file in a unit's folder that says which engine its keys are on.
const FILE: &str = "engine";

/// Where a unit's keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineChoice {
    /// In the process, under the device secret: `soft`.
    #[default]
    Soft,
    /// On a SoftHSM token of the unit's own, made with the unit: `pkcs11:softhsm`.
    SoftHsm,
    /// On a token that is there: a PKCS#11 URI.
    Token(Box<TokenUri>),
}

/// A text that names no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineInvalid {
    /// Not even nearly.
    #[error(
        "an engine is `soft`, `pkcs11:softhsm`, or the PKCS#11 URI of a token, such as \
         `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin`"
    )]
    Unknown,
    /// A PKCS#11 URI that is none.
    #[error("the engine's PKCS#11 URI is not one of a token")]
    Uri(#[from] UriError),
    /// A URI without a PIN's place.
    #[error(
        "the engine's PKCS#11 URI does not say where the PIN is: add pin-source=file:/path or pin-source=env:NAME"
    )]
    NoPinSource,
}

impl EngineChoice {
    /// Whether keys on `self` and on `other` are on the same token, wherever its library and its PIN are.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one.is_of_same_token(other),
            (one, other) => one == other,
        }
    }
}

impl FromStr for EngineChoice {
    type Err = EngineInvalid;

    fn from_str(text: &str) -> Result<Self, EngineInvalid> {
        match text {
            "soft" => Ok(Self::Soft),
            "pkcs11:softhsm" => Ok(Self::SoftHsm),
            _ => match text.parse::<TokenUri>() {
                Ok(uri) if uri.pin_source().is_none() => Err(EngineInvalid::NoPinSource),
                Ok(uri) => Ok(Self::Token(Box::new(uri))),
                Err(UriError::Scheme) => Err(EngineInvalid::Unknown),
                Err(e) => Err(e.into()),
            },
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soft => f.write_str("soft"),
            Self::SoftHsm => f.write_str("pkcs11:softhsm"),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

impl TryFrom<String> for EngineChoice {
    type Error = EngineInvalid;

    fn try_from(text: String) -> Result<Self, EngineInvalid> {
        text.parse()
    }
}

impl From<EngineChoice> for String {
    fn from(choice: EngineChoice) -> Self {
        choice.to_string()
    }
}

/// What a unit's folder says of its engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptEngine {
    pub(super) engine: EngineChoice,
    /// Whether the unit's own keys were there once: then they have to be, whatever has become of the token.
    pub(super) has_keys: bool,
}

/// Why a unit's engine is not the one that is wanted, or not known.
#[derive(Debug, thiserror::Error)]
pub enum KeptEngineError {
    /// The folder.
    #[error("the file `{FILE}`, which says where the unit's keys are, cannot be used")]
    Io(#[from] io::Error),
    /// Not what was written.
    #[error("the file `{FILE}`, which says where the unit's keys are, is damaged")]
    Damaged(#[source] serde_json::Error),
    /// Its keys are elsewhere.
    #[error(
        "its keys are on `{kept}`, where it was made, and `{wanted}` has none of them: leave --engine out, or make \
         another unit"
    )]
    Other {
        /// Where they are.
        kept: EngineChoice,
        /// Where they were said to be.
        wanted: EngineChoice,
    },
}

impl KeptEngine {
    /// The engine of the unit in `folder`; what is wanted, or software, if there is no unit yet.
    pub(super) fn open(folder: &Path, wanted: Option<&EngineChoice>) -> Result<Self, KeptEngineError> {
        let kept = Self::read(folder)?;
        let settled: Self = match (&kept, wanted) {
            (None, wanted) => Self { engine: wanted.cloned().unwrap_or_default(), has_keys: false },
            (Some(kept), None) => kept.clone(),
            // Before it has keys it can be made anywhere, as after a name that was mistyped.
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

    /// What is kept, if there is a unit.
    fn read(folder: &Path) -> Result<Option<Self>, KeptEngineError> {
        match files::read_if_present(&folder.join(FILE))? {
            Some(content) => Ok(Some(serde_json::from_slice(&content).map_err(KeptEngineError::Damaged)?)),
            // A unit of before there was a choice.
            None if folder.join("device").exists() => {
                Ok(Some(Self { engine: EngineChoice::Soft, has_keys: true }))
            }
            None => Ok(None),
        }
    }

    /// Notes that the unit's keys are there.
    pub(super) fn confirm_keys(&mut self, folder: &Path) -> Result<(), KeptEngineError> {
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

/// The engine that has the keys of the unit in `folder`; none where there is no unit, or none with keys yet.
///
/// # Errors
/// [`KeptEngineError`] when that cannot be told.
pub fn engine_with_keys(folder: &Path) -> Result<Option<EngineChoice>, KeptEngineError> {
    Ok(KeptEngine::read(folder)?.filter(|kept| kept.has_keys).map(|kept| kept.engine))
}

#[cfg(test)]
mod tests {
    use super::{EngineChoice, EngineInvalid, KeptEngine, KeptEngineError, engine_with_keys};

    const URI: &str = "pkcs11:token=core?module-path=/m.so&pin-source=file:/p";

    #[test]
    fn engines_read_as_they_are_written() {
        for text in ["soft", "pkcs11:softhsm", URI] {
            assert_eq!(text.parse::<EngineChoice>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("", "an engine is `soft`"),
            ("hard", "an engine is `soft`"),
            ("softhsm", "`pkcs11:softhsm`"),
            ("pkcs11:token=core?module-path=/m.so", "does not say where the PIN is"),
        ] {
            let said = text.parse::<EngineChoice>().unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
        let said = format!("{URI}&pin-value=5e6f").parse::<EngineChoice>().unwrap_err();
        assert!(matches!(said, EngineInvalid::Uri(_)), "{said}");
        assert!(!crate::cli::with_causes(&said).contains("5e6f"));
    }

    #[test]
    fn the_engine_is_settled_when_the_unit_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let open = |wanted: Option<&str>| {
            KeptEngine::open(folder.path(), wanted.map(|text| text.parse().unwrap()).as_ref())
        };
        assert_eq!(open(None).unwrap(), KeptEngine { engine: EngineChoice::Soft, has_keys: false });
        // Nothing is on it yet.
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
        // The same token, whose PIN is elsewhere now.
        let moved = URI.replace("file:/p", "env:PIN");
        assert_eq!(open(Some(&moved)).unwrap().engine.to_string(), moved);
        assert_eq!(open(None).unwrap().engine.to_string(), moved);
        assert!(open(None).unwrap().has_keys);
        std::fs::write(folder.path().join("engine"), "{").unwrap();
        assert!(matches!(open(None), Err(KeptEngineError::Damaged(_))));
    }

    #[test]
    fn a_unit_of_before_there_was_a_choice_is_in_software() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("device"), "whatever").unwrap();
        let wanted = EngineChoice::SoftHsm;
        assert!(matches!(KeptEngine::open(folder.path(), Some(&wanted)), Err(KeptEngineError::Other { .. })));
        assert_eq!(KeptEngine::open(folder.path(), None).unwrap().engine, EngineChoice::Soft);
    }
}
