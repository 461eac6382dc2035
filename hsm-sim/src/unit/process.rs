//! The process: one unit, one socket, a thread for each connection.

use super::announcement::{Announced, Announcement};
use super::device::{Device, DeviceModule, Manufacture};
use super::engine::{EngineChoice, KeptEngine, KeptEngineError};
use super::link;
use super::orders::{Conduct, Order, follow};
use super::storage::FileStorage;
use super::token::{OpenEngine, Opening, TokenError};
use crate::cli::with_causes;
use engine::{Engine, EngineError};
use engine_pkcs11::OpenError;
use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use fs4::FileExt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use unit_api::admin::InstanceId;
use unit_api::{Command, Condition, Envelope, MAX_FRAME_LEN, Response, UnitId};
use unit_core::{Clock, Env, Identity, Unit};

/// Hosts and tools at once; one more is turned away.
const MAX_CONNECTIONS: usize = 64;

/// How long to leave the system alone when it could not give a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a unit process lives.
#[derive(Clone, Debug)]
pub struct UnitOptions {
    /// Folder of its state.
    pub state: PathBuf,
    /// Socket it listens on.
    pub socket: PathBuf,
    /// Folder of the manufacturer; `factory` beside the state where none is named. Read only when the unit is made.
    pub factory: Option<PathBuf>,
    /// Serial number its module gets when it is made, 8 characters.
    pub serial: String,
    /// Index of the domain in its module; where nothing is said, 0 for a unit that is made.
    pub domain_index: Option<u32>,
    /// The service instance it belongs to; where nothing is said, one of its own for a unit that is made.
    pub instance: Option<InstanceId>,
    /// Where its keys are; where nothing is said, in software for a unit that is made.
    pub engine: Option<EngineChoice>,
    /// Whether standard input gives orders, and ends the unit when it ends.
    pub supervised: bool,
}

/// Why a unit process does not start.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The folder cannot be used.
    #[error("the unit's folder {} cannot be used: check that it may be written", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the unit.
    #[error("another process already runs the unit in {}", .0.display())]
    InUse(PathBuf),
    /// What is in the folder is not the unit that is meant, or cannot be made there.
    #[error("the unit in {} cannot be used", .folder.display())]
    Device {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its keys are elsewhere, or it is not known where they are.
    #[error("the unit in {} cannot be used", .folder.display())]
    Keys {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: KeptEngineError,
    },
    /// The engine under the unit does not start.
    #[error("the unit's engine does not start")]
    Engine(#[source] EngineError),
    /// The token that the unit's keys are on, or are to be on, cannot be had.
    #[error("unit {unit} is not in service")]
    Token {
        /// Which.
        unit: UnitId,
        /// Index of its domain.
        domain_index: u32,
        /// Whether its keys are there already.
        has_keys: bool,
        /// Why.
        source: TokenError,
    },
    /// The socket cannot be made.
    #[error("no socket can be made at {}", .socket.display())]
    Socket {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl UnitError {
    /// What a unit that has keys says when it does not get at them; a unit that is being made just fails.
    fn announcement(&self) -> Option<Announcement> {
        let Self::Token { unit, domain_index, has_keys: true, source } = self else { return None };
        let why = with_causes(source);
        let state = if source.may_pass() { Announced::Away(why) } else { Announced::Stuck(why) };
        Some(Announcement { unit: *unit, domain_index: *domain_index, state })
    }
}

/// Exit status of a unit that may start later, and has said so: `EX_TEMPFAIL`.
const EXIT_NOT_NOW: i32 = 75;

/// The operating system's generator.
type OsEntropy = fn(&mut [u8]) -> Result<(), EntropyFailed>;

/// The unit's world in this process.
pub(super) struct ProcessEnv;

impl Env for ProcessEnv {
    /// On the heap from before the first master key is recalled, and never moved: each move would leave a copy.
    type Engine = &'static mut (dyn Engine + Send);
    type Storage = FileStorage;
    type Module = DeviceModule;
    type Clock = SystemClock;
}

/// The machine's clock.
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What all connections share.
pub(super) struct Shared {
    unit: Mutex<Unit<ProcessEnv>>,
    identity: Identity,
    /// What its engine is, for people.
    engine: String,
    losses: Arc<AtomicU64>,
    pub(super) conduct: Conduct,
}

impl Shared {
    pub(super) fn new(options: &UnitOptions) -> Result<Self, UnitError> {
        let losses = Arc::default();
        let (unit, identity, engine) = open(options, &losses)?;
        Ok(Self { unit: Mutex::new(unit), identity, engine, losses, conduct: Conduct::default() })
    }

    /// How often the unit has lost its token since it started.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// The unit, to one caller at a time.
    ///
    /// A caller that panicked may have left it between two states: the process ends, and starts from what is stored.
    pub(super) fn unit(&self) -> MutexGuard<'_, Unit<ProcessEnv>> {
        self.unit.lock().unwrap_or_else(|_| {
            eprintln!("hsm-sim unit: a command failed in a way it never should; ending");
            std::process::exit(70)
        })
    }

    /// Does what the region orders, and no host could.
    fn obey(&self, order: Order) -> Result<(), String> {
        match order {
            Order::Slow(by) => {
                self.conduct.set_slow_by(by);
                Ok(())
            }
            Order::Zeroize => self.unit().zeroize_module().map_err(|refusal| refusal.to_string()),
            Order::Tamper => self.unit().tamper().map_err(|refusal| refusal.to_string()),
        }
    }
}

/// Runs a unit until its supervisor lets go of it or a signal ends it; once it serves, says so on standard output
/// ([`Announcement`]).
///
/// # Errors
/// [`UnitError`] when it cannot start.
pub fn run(options: &UnitOptions) -> Result<(), UnitError> {
    let _held = hold(&options.state)?;
    let shared = Shared::new(options).inspect_err(|e| {
        if let Some(announcement) = e.announcement().filter(|_| options.supervised) {
            announce(&announcement);
            // The region says it, once; here it would be said at every try.
            std::process::exit(EXIT_NOT_NOW);
        }
    })?;
    let shared = Arc::new(shared);
    let listener = listen(&options.socket)?;
    let Identity { unit, domain_index, .. } = shared.identity;
    announce(&Announcement { unit, domain_index, state: Announced::Ready(shared.engine.clone()) });
    if options.supervised {
        let shared = Arc::clone(&shared);
        end_with_parent();
        std::thread::spawn(move || {
            let _ = follow(io::stdin().lock(), io::stdout(), |order| shared.obey(order));
            // No command is cut in two: whoever holds the unit finishes first.
            let _last = shared.unit();
            std::process::exit(0)
        });
    }
    accept(&listener, &shared);
    Ok(())
}

fn announce(announcement: &Announcement) {
    let mut out = io::stdout();
    // Whoever does not listen for it does not miss it.
    let _ = writeln!(out, "{announcement}").and_then(|()| out.flush());
}

/// Takes the folder for this process alone, for as long as the file is open.
fn hold(folder: &Path) -> Result<File, UnitError> {
    let unusable = |source| UnitError::Folder { folder: folder.to_owned(), source };
    crate::files::create_private_dir(folder).map_err(unusable)?;
    let file = File::create(folder.join("lock")).map_err(unusable)?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(UnitError::InUse(folder.to_owned())),
        Err(fs4::TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn open(
    options: &UnitOptions,
    losses: &Arc<AtomicU64>,
) -> Result<(Unit<ProcessEnv>, Identity, String), UnitError> {
    let folder = &options.state;
    // Before the device, without which there is no unit: what is kept of its engine is then of a unit to be made.
    let mut kept = KeptEngine::open(folder, options.engine.as_ref()).map_err(keys(folder))?;
    let factory = options.factory.clone().unwrap_or_else(|| folder.join("factory"));
    let wanted = Manufacture {
        serial: &options.serial,
        domain_index: options.domain_index,
        instance: options.instance,
    };
    let device = Device::open(folder, &factory, &wanted)
        .map_err(|source| UnitError::Device { folder: folder.clone(), source })?;
    let storage =
        FileStorage::open(folder).map_err(|source| UnitError::Folder { folder: folder.clone(), source })?;
    let (engine, shown) = open_engine(options, &kept, &device, losses)?;
    kept.confirm_keys(folder).map_err(keys(folder))?;
    let identity = Identity { unit: device.id, domain_index: device.domain_index, instance: device.instance };
    // It lives as long as the process does.
    let engine = Box::leak(engine);
    let mut unit = Unit::start(engine, storage, device.module, SystemClock, identity);
    // It would wait in its error state for a start that finds the token; so this was not the start.
    if was_robbed(&mut unit) {
        return Err(UnitError::Token {
            unit: identity.unit,
            domain_index: identity.domain_index,
            has_keys: kept.has_keys,
            source: OpenError::Away.into(),
        });
    }
    Ok((unit, identity, shown))
}

/// Whether a unit did not start because its token went away meanwhile.
fn was_robbed(unit: &mut Unit<ProcessEnv>) -> bool {
    let mut out = vec![0; MAX_FRAME_LEN];
    let away = Condition::Error(EngineError::DeviceRemoved.code());
    let answer = unit.execute(&Envelope::plain(Command::Status), &mut out);
    matches!(answer, Ok(Response::Status(status)) if status.condition == away)
}

fn open_engine(
    options: &UnitOptions,
    kept: &KeptEngine,
    device: &Device,
    losses: &Arc<AtomicU64>,
) -> Result<OpenEngine, UnitError> {
    let KeptEngine { engine: choice, has_keys } = kept;
    let opening = Opening {
        folder: &options.state,
        unit: device.id,
        has_keys: *has_keys,
        supervised: options.supervised,
        losses,
    };
    let opened = match choice {
        EngineChoice::Soft => {
            let entropy: OsEntropy = |seed| getrandom::fill(seed).map_err(|_| EntropyFailed);
            let secret = DeviceSecret::new(*device.secret);
            let engine: SoftEngine<OsEntropy> =
                SoftEngine::new(&secret, entropy).map_err(UnitError::Engine)?;
            return Ok((Box::new(engine), "software".to_owned()));
        }
        EngineChoice::SoftHsm => opening.open_softhsm(),
        EngineChoice::Token(uri) => opening.open(uri),
    };
    opened.map_err(|source| UnitError::Token {
        unit: device.id,
        domain_index: device.domain_index,
        has_keys: *has_keys,
        source,
    })
}

fn keys(folder: &Path) -> impl FnOnce(KeptEngineError) -> UnitError {
    move |source| UnitError::Keys { folder: folder.to_owned(), source }
}

fn listen(socket: &Path) -> Result<UnixListener, UnitError> {
    let failed = |source| UnitError::Socket { socket: socket.to_owned(), source };
    // The folder is held, so that a socket found here is of a process that is gone. Any other file is somebody's.
    match std::fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(socket).map_err(failed)?,
        Ok(_) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    // Whoever reaches the socket rules the unit: it is its owner's alone, wherever it stands.
    let before = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let listener = UnixListener::bind(socket).map_err(failed);
    rustix::process::umask(before);
    listener
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(e) => {
                eprintln!("hsm-sim unit: a connection was not accepted: {e}");
                // What the system is short of does not come back by asking faster.
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            eprintln!("hsm-sim unit: {MAX_CONNECTIONS} connections are open; one more was turned away");
            continue;
        }
        let (shared, place) = (Arc::clone(shared), Place(Arc::clone(&open)));
        let serving = std::thread::Builder::new().spawn(move || {
            let _place = place;
            serve(stream, &shared);
        });
        if let Err(e) = serving {
            eprintln!("hsm-sim unit: a connection was turned away, there is no thread for it: {e}");
        }
    }
}

/// One of the connections that may be open; given back however its thread ends.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: UnixStream, shared: &Shared) {
    match link::serve(stream, shared, link::PATIENCE) {
        Ok(()) => {}
        // A host that is gone is nothing to tell anybody.
        Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        Err(e) => eprintln!("hsm-sim unit: a connection ended: {e}"),
    }
}

/// Has the system end this process with its parent, even while it is stopped and cannot read its input.
#[cfg(target_os = "linux")]
fn end_with_parent() {
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        eprintln!("hsm-sim unit: the unit may outlive its region: {e}");
    }
}

#[cfg(not(target_os = "linux"))]
const fn end_with_parent() {}

#[cfg(test)]
mod tests {
    use super::listen;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_its_owner_s_alone_and_replaces_nothing_but_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("unit.sock");
        drop(listen(&socket).unwrap());
        let _again = listen(&socket).unwrap();
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "mode {mode:o}");
        let file = folder.path().join("notes");
        std::fs::write(&file, "kept").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}
