//! Which engine holds a unit's keys, and how it is opened.

use crate::state_keys::FileStateKeys;
use crate::token::{OpenEngine, TokenError, TokenOpener};
use engine::EngineError;
use engine_pkcs11::{TokenUri, UriError};
use engine_soft::{DEFAULT_KEYS, DeviceSecret, SoftEngine};
use getrandom::SysRng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::str::FromStr;

/// Where a unit's keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineChoice {
    /// In the process, under the device secret and the state keys of its folder: `soft`.
    #[default]
    Soft,
    /// On a SoftHSM token of the unit's own, made with the unit: `pkcs11:softhsm`.
    SoftHsm,
    /// On an existing token, named by its PKCS#11 URI (RFC 7512).
    Token(Box<TokenUri>),
}

/// Why a text does not name an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineInvalid {
    /// Neither a keyword nor a PKCS#11 URI.
    #[error(
        "an engine is `soft`, `pkcs11:softhsm`, or the PKCS#11 URI of a token, such as \
         `pkcs11:token=core?module-path=/usr/lib/hsm.so&pin-source=file:/etc/hsm/pin`"
    )]
    Unknown,
    /// A PKCS#11 URI that does not name a token.
    #[error("the engine's PKCS#11 URI does not name a token")]
    Uri(#[from] UriError),
    /// A URI without `pin-source`.
    #[error(
        "the engine's PKCS#11 URI does not say where the PIN is: add pin-source=file:/path or pin-source=env:NAME"
    )]
    NoPinSource,
}

impl EngineChoice {
    /// Whether `self` and `other` are the same token, or the same kind of engine without one. The path of the token's
    /// library and the source of its PIN may differ.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one.is_same_token(other),
            (one, other) => one == other,
        }
    }

    /// Opens the engine. `secret` is the device secret, from which an engine in software derives its keys.
    pub(crate) fn open(
        &self,
        secret: &[u8; 32],
        token: &TokenOpener<'_>,
    ) -> Result<OpenEngine, EngineOpenError> {
        match self {
            Self::Soft => {
                let (secret, store) = (DeviceSecret::new(*secret), FileStateKeys::open(token.folder)?);
                let engine: SoftEngine<SysRng, DEFAULT_KEYS, FileStateKeys> =
                    SoftEngine::with_state_keys(&secret, SysRng, store)?;
                Ok((Box::new(engine), "software".to_owned()))
            }
            Self::SoftHsm => Ok(token.open_softhsm()?),
            Self::Token(uri) => Ok(token.open(uri)?),
        }
    }
}

/// Why an engine does not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineOpenError {
    #[error(transparent)]
    Soft(#[from] EngineError),
    #[error(transparent)]
    Folder(#[from] io::Error),
    #[error(transparent)]
    Token(#[from] TokenError),
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

#[cfg(test)]
mod tests {
    use super::{EngineChoice, EngineInvalid};
    use std::error::Error;

    const URI: &str = "pkcs11:token=core?module-path=/m.so&pin-source=file:/p";

    #[test]
    fn engines_parse_what_they_display() {
        for text in ["soft", "pkcs11:softhsm", URI] {
            assert_eq!(text.parse::<EngineChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unusable_engine_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "an engine is `soft`"),
            ("hard", "an engine is `soft`"),
            ("softhsm", "`pkcs11:softhsm`"),
            ("pkcs11:token=core?module-path=/m.so", "does not say where the PIN is"),
        ] {
            let error = text.parse::<EngineChoice>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_refusal_never_repeats_a_pin() {
        let error = format!("{URI}&pin-value=5e6f").parse::<EngineChoice>().unwrap_err();
        assert!(matches!(error, EngineInvalid::Uri(_)), "{error}");
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            assert!(!error.to_string().contains("5e6f"));
            cause = error.source();
        }
    }
}
