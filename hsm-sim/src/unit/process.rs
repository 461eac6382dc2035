//! The process: one unit, one socket, a thread for each connection.

use super::device::{Device, DeviceModule, Manufacture};
use super::link;
use super::orders::{Conduct, Order, follow};
use super::storage::FileStorage;
use crate::hex;
use engine_soft::{DeviceSecret, EntropyFailed, SoftEngine};
use fs4::FileExt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use unit_api::admin::InstanceId;
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
    /// The engine under the unit does not start.
    #[error("the unit's engine does not start")]
    Engine(#[source] engine::EngineError),
    /// The socket cannot be made.
    #[error("no socket can be made at {}", .socket.display())]
    Socket {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The operating system's generator.
type OsEntropy = fn(&mut [u8]) -> Result<(), EntropyFailed>;

/// The unit's world in this process.
pub(super) struct ProcessEnv;

impl Env for ProcessEnv {
    /// On the heap from before the first master key is recalled, and never moved: each move would leave a copy.
    type Engine = &'static mut SoftEngine<OsEntropy>;
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
    pub(super) conduct: Conduct,
}

impl Shared {
    pub(super) fn new(options: &UnitOptions) -> Result<Self, UnitError> {
        let (unit, identity) = open(options)?;
        Ok(Self { unit: Mutex::new(unit), identity, conduct: Conduct::default() })
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

/// Runs a unit until its supervisor lets go of it or a signal ends it; once it serves, writes `ready`, its module in
/// hexadecimal, and its domain's index to standard output.
///
/// # Errors
/// [`UnitError`] when it cannot start.
pub fn run(options: &UnitOptions) -> Result<(), UnitError> {
    let _held = hold(&options.state)?;
    let shared = Arc::new(Shared::new(options)?);
    let listener = listen(&options.socket)?;
    let Identity { unit, domain_index, .. } = shared.identity;
    let mut out = io::stdout();
    // Whoever does not listen for it does not miss it.
    let _ =
        writeln!(out, "ready {} {domain_index}", hex::encode(&unit.0).as_str()).and_then(|()| out.flush());
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

fn open(options: &UnitOptions) -> Result<(Unit<ProcessEnv>, Identity), UnitError> {
    let folder = &options.state;
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
    let entropy: OsEntropy = |seed| getrandom::fill(seed).map_err(|_| EntropyFailed);
    let engine = SoftEngine::new(&DeviceSecret::new(*device.secret), entropy).map_err(UnitError::Engine)?;
    let identity = Identity { unit: device.id, domain_index: device.domain_index, instance: device.instance };
    // It lives as long as the process does.
    let engine = Box::leak(Box::new(engine));
    Ok((Unit::start(engine, storage, device.module, SystemClock, identity), identity))
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
