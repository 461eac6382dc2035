//! A unit's engine on a PKCS#11 token: opened when the unit starts.

use engine::Engine;
use engine_pkcs11::softhsm::{self, Home, HomeError};
use engine_pkcs11::{
    OpenError, Pin, PinError, PinSource, Pkcs11Engine, Token, TokenEvent, TokenUri, UnitKeys, UriError,
};
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use unit_api::UnitId;

/// Where a unit keeps a SoftHSM token of its own, in its folder.
const HOME: &str = "softhsm";

/// Why a unit has no engine on its token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The preset, on a machine without it.
    #[error("there is no SoftHSM on this machine: {install}", install = softhsm::INSTALL)]
    NoSoftHsm,
    /// The unit's own SoftHSM token.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The unit's name cannot be a token's.
    #[error("the unit's token cannot be named")]
    Name(#[from] UriError),
    /// The program cannot be started again with SoftHSM's configuration.
    #[error("the unit cannot be started with SoftHSM's configuration")]
    Restart(#[source] io::Error),
    /// Nobody is there to be asked.
    #[error(
        "a PIN can be asked for only by `hsm-sim unit` on a terminal: units of a region start again by themselves, so \
         that pin-source has to be file:/path or env:NAME"
    )]
    NobodyToAsk,
    /// Nothing says where the PIN is.
    #[error("nothing says where the token's PIN is: add pin-source=file:/path or pin-source=env:NAME")]
    NoPinSource,
    /// The PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token.
    #[error("the unit's token cannot be used")]
    Open(#[from] OpenError),
}

impl TokenError {
    /// Whether the token may be there again by and by. What is tried again must not lock it.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoSoftHsm | Self::Pin(_) => true,
            Self::Home(e) => matches!(e, HomeError::Gone(_) | HomeError::Folder { .. } | HomeError::Pin(_)),
            Self::Open(e) => !matches!(e, OpenError::PinRefused { .. }),
            Self::Name(_) | Self::Restart(_) | Self::NobodyToAsk | Self::NoPinSource => false,
        }
    }
}

/// An engine, and what it is for people.
pub(super) type OpenEngine = (Box<dyn Engine + Send>, String);

/// What the engine of a unit is opened for.
pub(super) struct Opening<'a> {
    /// The unit's folder.
    pub(super) folder: &'a Path,
    /// The unit.
    pub(super) unit: UnitId,
    /// Whether its keys have to be there.
    pub(super) has_keys: bool,
    /// Whether nobody can be asked for a PIN.
    pub(super) supervised: bool,
    /// Counts how often the token is lost.
    pub(super) losses: &'a Arc<AtomicU64>,
}

impl Opening<'_> {
    /// The engine on the unit's own SoftHSM token, which is made if need be.
    pub(super) fn open_softhsm(&self) -> Result<OpenEngine, TokenError> {
        self.open(&self.softhsm()?)
    }

    /// The engine on this token, and what it is for people.
    pub(super) fn open(&self, uri: &TokenUri) -> Result<OpenEngine, TokenError> {
        let pin = self.pin(uri)?;
        let name = self.unit.to_string();
        let keys = if self.has_keys { UnitKeys::Known } else { UnitKeys::New };
        let (said_by, losses) = (name.clone(), Arc::clone(self.losses));
        let report = move |event: &TokenEvent| {
            eprintln!("hsm-sim unit {said_by}: {event}");
            if matches!(event, TokenEvent::Lost(_)) {
                losses.fetch_add(1, Ordering::AcqRel);
            }
        };
        let token = Token::open(uri, pin, Box::new(report))?;
        let engine = Pkcs11Engine::open(&token, &name, keys)?;
        let shown = engine.describe();
        Ok((Box::new(engine), shown))
    }

    /// The SoftHSM token of the unit's own. SoftHSM looks for its configuration where the environment says, and a process
    /// cannot change its own: it executes itself anew, once.
    fn softhsm(&self) -> Result<TokenUri, TokenError> {
        let module = softhsm::find_module().ok_or(TokenError::NoSoftHsm)?;
        let folder = self.folder.join(HOME);
        let home = if self.has_keys { Home::open(&folder)? } else { Home::create_or_open(&folder)? };
        if !home.is_in_use_here() {
            return Err(TokenError::Restart(start_again_with(&home.conf())));
        }
        let name = self.unit.to_string();
        if !self.has_keys {
            home.make_token(&module, &name)?;
        }
        Ok(home.uri(&module, &name)?)
    }

    fn pin(&self, uri: &TokenUri) -> Result<Pin, TokenError> {
        let source = uri.pin_source().ok_or(TokenError::NoPinSource)?;
        if *source == PinSource::Prompt && (self.supervised || !io::stdin().is_terminal()) {
            return Err(TokenError::NobodyToAsk);
        }
        Ok(source.read(|question| rpassword::prompt_password(question).map(Pin::new))?)
    }
}

/// Puts this program, started with SoftHSM's configuration, in the place of this process. Returns only why not.
fn start_again_with(conf: &PathBuf) -> io::Error {
    match std::env::current_exe() {
        Ok(program) => {
            Command::new(program).args(std::env::args_os().skip(1)).env(softhsm::CONF_VARIABLE, conf).exec()
        }
        Err(e) => e,
    }
}
