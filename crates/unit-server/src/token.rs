//! A unit's engine on a PKCS#11 token.

use crate::config::PinPrompt;
use engine::Engine;
use engine_pkcs11::softhsm::{self, Home, HomeError};
use engine_pkcs11::{
    DeviceKeyMode, OpenError, Pin, PinError, PinSource, Pkcs11Engine, Token, TokenEvent, TokenUri, UriError,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use unit_api::UnitId;

/// Folder, in the unit's, of a SoftHSM token of the unit's own.
const HOME: &str = "softhsm";

/// Why a unit's token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// `pkcs11:softhsm` on a machine without SoftHSM.
    #[error("SoftHSM is not installed on this machine: {install}", install = softhsm::INSTALL_HINT)]
    NoSoftHsm,
    /// The unit's own SoftHSM token cannot be opened or made.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The unit's name cannot be a token's label.
    #[error("the unit's name is not a valid token label")]
    Name(#[from] UriError),
    /// SoftHSM reads its configuration from an environment variable, which a process cannot change for itself.
    #[error("the process has to start with {}={}", softhsm::CONF_VARIABLE, .0.display())]
    SoftHsmConf(PathBuf),
    /// The URI says `pin-source=prompt` and there is no [`PinPrompt`].
    #[error(
        "no person can be asked for the token's PIN here, neither in a region, whose units restart by themselves, nor \
         without a terminal: use pin-source=file:/path or pin-source=env:NAME"
    )]
    NoPinPrompt,
    /// The URI has no `pin-source`.
    #[error("the PKCS#11 URI has no pin-source: add pin-source=file:/path or pin-source=env:NAME")]
    NoPinSource,
    /// The PIN cannot be read.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token cannot be opened, or lacks what a unit needs.
    #[error("the unit's token cannot be used")]
    Open(#[from] OpenError),
}

impl TokenError {
    /// Whether trying again later can help without risk. A refused PIN is never tried again: tokens lock.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoSoftHsm | Self::Pin(_) => true,
            Self::Home(e) => {
                matches!(e, HomeError::Missing(_) | HomeError::Folder { .. } | HomeError::Pin(_))
            }
            Self::Open(e) => !matches!(e, OpenError::PinRefused { .. }),
            Self::Name(_) | Self::SoftHsmConf(_) | Self::NoPinPrompt | Self::NoPinSource => false,
        }
    }
}

/// An engine, and a description of it for people.
pub(crate) type OpenEngine = (Box<dyn Engine + Send>, String);

/// Opens the token of one unit.
pub(crate) struct TokenOpener<'a> {
    /// The unit's folder.
    pub(crate) folder: &'a Path,
    pub(crate) unit: UnitId,
    /// Whether the token has to hold keys of the unit already.
    pub(crate) has_keys: bool,
    pub(crate) pin_prompt: Option<&'a PinPrompt>,
    /// Counts losses of the token.
    pub(crate) losses: &'a Arc<AtomicU64>,
}

impl TokenOpener<'_> {
    /// The engine on the unit's own SoftHSM token, which is made if the unit has no keys yet.
    pub(crate) fn open_softhsm(&self) -> Result<OpenEngine, TokenError> {
        self.open(&self.softhsm()?)
    }

    /// The engine on this token.
    pub(crate) fn open(&self, uri: &TokenUri) -> Result<OpenEngine, TokenError> {
        let pin = self.pin(uri)?;
        let name = self.unit.to_string();
        let keys = if self.has_keys { DeviceKeyMode::MustExist } else { DeviceKeyMode::CreateIfMissing };
        let losses = Arc::clone(self.losses);
        let report = move |event: &TokenEvent| {
            if matches!(event, TokenEvent::TokenLost(_)) {
                losses.fetch_add(1, Ordering::AcqRel);
            }
        };
        let token = Token::open(uri, pin, Box::new(report))?;
        let engine = Pkcs11Engine::open(&token, &name, keys)?;
        let description = engine.describe();
        Ok((Box::new(engine), description))
    }

    fn softhsm(&self) -> Result<TokenUri, TokenError> {
        let module = softhsm::find_module().ok_or(TokenError::NoSoftHsm)?;
        let folder = self.folder.join(HOME);
        let home = if self.has_keys { Home::open(&folder)? } else { Home::create_or_open(&folder)? };
        if !home.is_configured() {
            return Err(TokenError::SoftHsmConf(home.conf()));
        }
        let name = self.unit.to_string();
        if !self.has_keys {
            home.create_token(&module, &name)?;
        }
        Ok(home.uri(&module, &name)?)
    }

    fn pin(&self, uri: &TokenUri) -> Result<Pin, TokenError> {
        let source = uri.pin_source().ok_or(TokenError::NoPinSource)?;
        match (source, self.pin_prompt) {
            (PinSource::Prompt, None) => Err(TokenError::NoPinPrompt),
            (_, Some(prompt)) => Ok(source.read(|question| prompt(question))?),
            (_, None) => Ok(source.read(|_| Err(io::ErrorKind::Unsupported.into()))?),
        }
    }
}
