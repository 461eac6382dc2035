//! A unit opened from its folder, and what its connections share.

use crate::config::{CommandHook, UnitConfig};
use crate::connection::{self, Connection};
use crate::device::{CertifiedModule, Device, DeviceError, Manufacture};
use crate::engine::EngineOpenError;
use crate::files;
use crate::kept_engine::{KeptEngine, KeptEngineError};
use crate::process_protection;
use crate::storage::FileStorage;
use crate::token::{OpenEngine, TokenError, TokenOpener};
use engine::{Engine, EngineError};
use engine_pkcs11::OpenError;
use fs4::FileExt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::Span;
use unit_api::{Command, Condition, Envelope, MAX_FRAME_LEN, Refusal, Response, UnitId};
use unit_core::{Clock, Env, Unit, UnitIdentity};

/// Why a unit cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnitServerError {
    /// The unit's folder cannot be created, read or written.
    #[error("the unit's folder {} cannot be used: check that it may be written", .folder.display())]
    Folder {
        /// The unit's folder.
        folder: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another process has the unit's folder.
    #[error("another process already runs the unit in {}", .0.display())]
    InUse(PathBuf),
    /// The unit's identity cannot be read or made, or is not the required one.
    #[error("the unit in {} cannot be used", .folder.display())]
    Device {
        /// The unit's folder.
        folder: PathBuf,
        /// Why the identity cannot be read, made or used.
        source: DeviceError,
    },
    /// The unit's keys are on another engine than the required one, or the kept choice cannot be read.
    #[error("the unit in {} cannot be used", .folder.display())]
    EngineChoice {
        /// The unit's folder.
        folder: PathBuf,
        /// The mismatch, or why the kept choice cannot be read.
        source: KeptEngineError,
    },
    /// The engine in software does not start.
    #[error("the unit's engine does not start")]
    Engine(#[source] EngineError),
    /// The token that holds, or is to hold, the unit's keys cannot be used.
    #[error("unit {unit} is not in service")]
    Token {
        /// Module of the unit.
        unit: UnitId,
        /// Index of its domain in the module.
        domain_index: u32,
        /// Whether the token holds keys of the unit.
        has_keys: bool,
        /// Why the token cannot be used.
        source: TokenError,
    },
    /// The socket cannot be created.
    #[error("the socket {} cannot be created", .socket.display())]
    Socket {
        /// Path of the socket.
        socket: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl UnitServerError {
    /// Value that the environment variable `SOFTHSM2_CONF` must have when the process starts, if that is what is wrong.
    #[must_use]
    pub fn softhsm_conf(&self) -> Option<&Path> {
        match self {
            Self::Token { source: TokenError::SoftHsmConf(conf), .. } => Some(conf),
            _ => None,
        }
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The byte stream failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// An earlier command panicked. The unit may be between two states: open it again from what is stored.
    #[error("a command of the unit panicked; the unit has to be opened again")]
    Poisoned,
}

/// Why an operator's command failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The unit could not carry it out.
    #[error("{0}")]
    Refused(Refusal),
    /// As [`ServeError::Poisoned`].
    #[error(transparent)]
    Poisoned(ServeError),
}

/// A unit that is open and can be served. Cheap to clone; the unit's folder is released with the last clone.
#[derive(Clone)]
pub struct UnitServer {
    pub(crate) shared: Arc<Shared>,
}

impl UnitServer {
    /// Opens the unit in `config.folder`; makes it if the folder holds none.
    ///
    /// # Errors
    /// [`UnitServerError`]. A unit that exists is left as it is then.
    pub fn open(config: &UnitConfig) -> Result<Self, UnitServerError> {
        let lock = lock(&config.folder)?;
        files::remove_leftovers(&config.folder);
        let losses = Arc::default();
        let (unit, identity, engine) = open(config, &losses)?;
        let before_command = config.before_command.clone();
        let unit = Mutex::new(unit);
        tracing::debug!(unit = %identity.unit, domain_index = identity.domain_index, engine, "unit opened");
        let span = Span::current();
        let shared = Shared { unit, identity, engine, losses, before_command, span, _lock: lock };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Module, domain and service instance of the unit.
    #[must_use]
    pub fn identity(&self) -> UnitIdentity {
        self.shared.identity
    }

    /// The unit's engine, described for people: `software`, or what the token says of itself.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.shared.engine
    }

    /// Serves one connection, a blocking stream, until the peer closes it. Blocks; call it on a thread of its own.
    ///
    /// A peer that breaks the frame format, or leaves a frame half sent for 10 seconds, gets a reply with number 0 and
    /// the reason, and the connection ends. It also ends when the unit loses its token.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn serve_connection(&self, connection: impl Connection) -> Result<(), ServeError> {
        let _entered = self.shared.span.enter();
        connection::serve(connection, &self.shared, connection::FRAME_TIMEOUT)
    }

    /// Zeroizes the unit at the module's level: the operator's right, without any administrator's signature.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn zeroize_module(&self) -> Result<(), OperatorError> {
        self.shared.unit().map_err(OperatorError::Poisoned)?.zeroize_module().map_err(OperatorError::Refused)
    }

    /// Erases everything, as a module does that detects tampering.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn tamper(&self) -> Result<(), OperatorError> {
        self.shared.unit().map_err(OperatorError::Poisoned)?.tamper().map_err(OperatorError::Refused)
    }

    /// Waits for the command under way and calls `stop` before another one can start: for a program that ends here.
    pub fn stop_with<R>(&self, stop: impl FnOnce() -> R) -> R {
        let _last = self.shared.unit();
        stop()
    }
}

/// The unit's environment in this process.
pub(crate) struct ServerEnv;

impl Env for ServerEnv {
    /// On the heap from before the first master key is recalled, and never moved: each move would leave a copy.
    type Engine = &'static mut (dyn Engine + Send);
    type Storage = FileStorage;
    type Module = CertifiedModule;
    type Clock = SystemClock;
}

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What all connections of a unit share.
pub(crate) struct Shared {
    unit: Mutex<Unit<ServerEnv>>,
    identity: UnitIdentity,
    engine: String,
    losses: Arc<AtomicU64>,
    pub(crate) before_command: Option<CommandHook>,
    /// The span in which the unit was opened: its connections log in it, on whatever thread.
    pub(crate) span: Span,
    _lock: File,
}

impl Shared {
    /// Number of times the unit has lost its token since it was opened.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// The unit, for one caller at a time.
    pub(crate) fn unit(&self) -> Result<MutexGuard<'_, Unit<ServerEnv>>, ServeError> {
        self.unit.lock().map_err(|_| ServeError::Poisoned)
    }
}

/// Takes the folder for this process for as long as the file is open.
fn lock(folder: &Path) -> Result<File, UnitServerError> {
    let unusable = |source| UnitServerError::Folder { folder: folder.to_owned(), source };
    files::create_private_dir(folder).map_err(unusable)?;
    let file = File::create(folder.join("lock")).map_err(unusable)?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(UnitServerError::InUse(folder.to_owned())),
        Err(fs4::TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn open(
    config: &UnitConfig,
    losses: &Arc<AtomicU64>,
) -> Result<(Unit<ServerEnv>, UnitIdentity, String), UnitServerError> {
    let folder = &config.folder;
    let kept_error = |source| UnitServerError::EngineChoice { folder: folder.clone(), source };
    // Before the device: a folder without one holds no unit, and the choice of engine is then free.
    let mut kept = KeptEngine::open(folder, config.engine.as_ref()).map_err(kept_error)?;
    let wanted =
        Manufacture { serial: &config.serial, domain_index: config.domain_index, instance: config.instance };
    let device_error = |source| UnitServerError::Device { folder: folder.clone(), source };
    let device = Device::open(folder, &wanted).map_err(device_error)?;
    let storage = FileStorage::open(folder)
        .map_err(|source| UnitServerError::Folder { folder: folder.clone(), source })?;
    let (mut engine, description) = open_engine(config, &kept, &device, losses)?;
    kept.confirm_keys(folder).map_err(kept_error)?;
    let identity =
        UnitIdentity { unit: device.id, domain_index: device.domain_index, instance: device.instance };
    let module = device.certify(folder, &mut *engine, &*config.manufacturer).map_err(device_error)?;
    // It lives as long as the process does.
    let engine = Box::leak(engine);
    if !process_protection::lock_in_memory(engine) {
        tracing::debug!("the engine's memory is not locked");
    }
    let mut unit = Unit::start(engine, storage, module, SystemClock, identity);
    // In its error state it would wait for a start that finds the token.
    if token_lost(&mut unit) {
        return Err(UnitServerError::Token {
            unit: identity.unit,
            domain_index: identity.domain_index,
            has_keys: kept.has_keys,
            source: OpenError::TokenUnavailable.into(),
        });
    }
    Ok((unit, identity, description))
}

/// Whether a unit did not start because its token was lost meanwhile.
fn token_lost(unit: &mut Unit<ServerEnv>) -> bool {
    let mut out = vec![0; MAX_FRAME_LEN];
    let lost = Condition::Error(EngineError::DeviceRemoved.code());
    let answer = unit.execute(&Envelope::plain(Command::Status), &mut out);
    matches!(answer, Ok(Response::Status(status)) if status.condition == lost)
}

fn open_engine(
    config: &UnitConfig,
    kept: &KeptEngine,
    device: &Device,
    losses: &Arc<AtomicU64>,
) -> Result<OpenEngine, UnitServerError> {
    let token = TokenOpener {
        folder: &config.folder,
        unit: device.id,
        has_keys: kept.has_keys,
        pin_prompt: config.pin_prompt.as_ref(),
        losses,
    };
    kept.engine.open(&device.secret, &token).map_err(|error| match error {
        EngineOpenError::Soft(source) => UnitServerError::Engine(source),
        EngineOpenError::Folder(source) => UnitServerError::Folder { folder: config.folder.clone(), source },
        EngineOpenError::Token(source) => UnitServerError::Token {
            unit: device.id,
            domain_index: device.domain_index,
            has_keys: kept.has_keys,
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::UnitServer;
    use crate::config::UnitConfig;
    use crate::manufacturer::RootManufacturer;
    use std::sync::Arc;
    use unit_api::{Command, Condition, Envelope, MAX_FRAME_LEN, Response, UnitError, UnitStatus};

    fn status(server: &UnitServer) -> UnitStatus {
        let mut out = vec![0; MAX_FRAME_LEN];
        let answer = server.shared.unit().unwrap().execute(&Envelope::plain(Command::Status), &mut out);
        match answer {
            Ok(Response::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn attack_old_slot_files_do_not_undo_a_zeroize() {
        let folder = tempfile::tempdir().unwrap();
        let root = Arc::new(RootManufacturer::generate("test root").unwrap());
        let open = || UnitServer::open(&UnitConfig::new(folder.path(), root.clone())).unwrap();
        let files = ["slot-a", "slot-b"].map(|name| folder.path().join(name));
        let contents = || files.each_ref().map(|file| std::fs::read(file).unwrap());
        drop(open());
        let old = contents();
        let server = open();
        assert_eq!(status(&server).domain_instance, 1);
        server.zeroize_module().unwrap();
        let after = status(&server).domain_instance;
        drop(server);
        let kept = contents();
        for put_back in [&[0][..], &[1], &[0, 1]] {
            for at in 0..2 {
                let content = if put_back.contains(&at) { &old[at] } else { &kept[at] };
                std::fs::write(&files[at], content).unwrap();
            }
            let found = status(&open());
            match put_back.len() {
                1 => assert_eq!((found.condition, found.domain_instance), (Condition::Operational, after)),
                _ => assert_eq!(found.condition, Condition::Error(UnitError::StateInvalid as u16)),
            }
        }
    }
}
