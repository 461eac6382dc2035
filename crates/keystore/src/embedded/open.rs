//! From a path to a database that can be trusted, or to a plain reason why not.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableHandle};

use super::committer::Core;
use super::disk::{Fault, Overlay};
use super::record::{DATA, FORMAT, HEADER, HISTORY, Header, LEASE_KEYS, LEASES, LOG, META, OPS};
use crate::{RedbOptions, Revision, StoreIdentity};

/// What every redb file begins with, whatever is in it.
const REDB_MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
const PRIVATE: u32 = 0o600;

/// Why a store could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another handle of this one, has it open.
    #[error("{} is in use by {}; stop it first, or use another data directory", .path.display(), holder(*.process_id))]
    InUse {
        /// The store.
        path: PathBuf,
        /// Who has it, if that can be told.
        process_id: Option<u32>,
    },
    /// The file is something else.
    #[error("{} is not a keystore: {found}; nothing was changed. Check the path", .path.display())]
    NotAKeystore {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The file was written by a newer version of this program.
    #[error("{} has format {found}, this program knows {FORMAT}; use the newer program", .path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format number.
        found: u32,
    },
    /// The file is a keystore, and does not pass its checks.
    #[error("{} is damaged: {what}; nothing was changed. Keep a copy, check the disk, restore a backup", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which check failed.
        what: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Its reason.
        source: io::Error,
    },
}

fn holder(process_id: Option<u32>) -> String {
    process_id.map_or_else(|| "another process".into(), |id| format!("process {id}"))
}

/// The advisory lock of a store. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // An empty file says that nobody has it; if that fails, the lock itself still says so.
        let _stale = self.0.set_len(0);
    }
}

fn io_error<'a>(path: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { path: path.into(), doing, source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens the store at a path, making it if there is none.
pub(super) fn open_file(path: &Path, mut options: RedbOptions) -> Result<Core, OpenError> {
    let held = hold(path)?;
    match File::open(path) {
        Ok(file) => check(path, file)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(path, &options)?,
        Err(e) => return Err(io_error(path, "read")(e)),
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error(path, "open"))?;
    file.set_permissions(Permissions::from_mode(PRIVATE)).map_err(io_error(path, "make private"))?;
    if options.free_space.is_none() {
        let file = file.try_clone().map_err(io_error(path, "open"))?;
        options.free_space = Some(Arc::new(move || {
            let stat = rustix::fs::fstatvfs(&file)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        }));
    }
    let side_file = beside(path, ".last");
    let db = build(&options, backend(path, file)?).map_err(|e| opening(path, e))?;
    let header = stored_header(&db).map_err(|e| opening(path, e))?;
    if options.restored || went_back(&side_file, &header) {
        renew_identity(&db, header, &options).map_err(|e| opening(path, e))?;
    }
    Core::new(db, options, Some(side_file), Some(held)).map_err(|e| opening(path, e))
}

/// Opens a store on any storage, making it if that is empty. Locks and side files are the caller's business.
pub(super) fn open_backend(backend: impl StorageBackend, options: RedbOptions) -> Result<Core, OpenError> {
    let path = Path::new("(storage)");
    let db = build(&options, backend).map_err(|e| opening(path, e))?;
    initialize(&db, &options).map_err(|e| opening(path, e))?;
    let header = stored_header(&db).map_err(|e| opening(path, e))?;
    if options.restored {
        renew_identity(&db, header, &options).map_err(|e| opening(path, e))?;
    }
    Core::new(db, options, None, None).map_err(|e| opening(path, e))
}

fn hold(path: &Path) -> Result<Held, OpenError> {
    let path_of_lock = beside(path, ".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(&path_of_lock)
        .map_err(io_error(&path_of_lock, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let process_id = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::InUse { path: path.into(), process_id });
        }
        Err(TryLockError::Error(e)) => return Err(io_error(&path_of_lock, "lock")(e)),
    }
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())
    };
    note(&mut file).map_err(io_error(&path_of_lock, "write"))?;
    Ok(Held(file))
}

fn backend(path: &Path, file: File) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(|e| opening(path, e.into()))
}

fn build(options: &RedbOptions, backend: impl StorageBackend) -> Result<Database, Fault> {
    Ok(Builder::new().set_cache_size(options.cache).create_with_backend(backend)?)
}

fn opening(path: &Path, fault: Fault) -> OpenError {
    match fault {
        Fault::Redb(redb::Error::Io(source)) => OpenError::Io { path: path.into(), doing: "open", source },
        Fault::Redb(redb::Error::DatabaseAlreadyOpen) => {
            OpenError::InUse { path: path.into(), process_id: None }
        }
        fault => OpenError::Damaged { path: path.into(), what: fault.text() },
    }
}

/// Makes an empty store under another name first, so that this one never stands for half a store.
fn create(path: &Path, options: &RedbOptions) -> Result<(), OpenError> {
    let new = beside(path, ".new");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE)
        .open(&new)
        .map_err(io_error(&new, "create"))?;
    let db = build(options, backend(&new, file)?).map_err(|e| opening(&new, e))?;
    initialize(&db, options).map_err(|e| opening(&new, e))?;
    db.close().map_err(|e| opening(&new, e.into()))?;
    replace(&new, path).map_err(io_error(path, "create"))
}

/// Puts a finished file under its name, durably.
fn replace(new: &Path, path: &Path) -> io::Result<()> {
    File::open(new)?.sync_all()?;
    std::fs::rename(new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Gives an empty database its tables and its identity. Does nothing to one that has them.
fn initialize(db: &Database, options: &RedbOptions) -> Result<(), Fault> {
    if db.begin_read()?.list_tables()?.next().is_some() {
        return Ok(());
    }
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.open_table(DATA)?;
    txn.open_table(HISTORY)?;
    txn.open_table(LOG)?;
    txn.open_table(OPS)?;
    txn.open_table(LEASES)?;
    txn.open_table(LEASE_KEYS)?;
    let header = Header { identity: new_identity(options)?, revision: Revision(0), oldest: Revision(0) };
    txn.open_table(META)?.insert(HEADER, header.encode().as_slice())?;
    Ok(txn.commit()?)
}

fn new_identity(options: &RedbOptions) -> Result<StoreIdentity, Fault> {
    let mut identity = [0; 16];
    (options.random)(&mut identity).map_err(redb::StorageError::from)?;
    Ok(StoreIdentity(identity))
}

fn renew_identity(db: &Database, header: Header, options: &RedbOptions) -> Result<(), Fault> {
    let header = Header { identity: new_identity(options)?, ..header };
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.open_table(META)?.insert(HEADER, header.encode().as_slice())?;
    Ok(txn.commit()?)
}

fn stored_header(db: &Database) -> Result<Header, Fault> {
    let table = db.begin_read()?.open_table(META)?;
    let bytes = table.get(HEADER)?.ok_or(Fault::Record("header"))?;
    Header::decode(bytes.value()).ok_or(Fault::Record("header"))
}

/// Looks through the whole file without changing a byte of it: whose it is, and whether every page is whole.
fn check(path: &Path, file: File) -> Result<(), OpenError> {
    let not_ours = |found| OpenError::NotAKeystore { path: path.into(), found };
    let damaged = |what: String| OpenError::Damaged { path: path.into(), what };
    let mut magic = Vec::new();
    (&file).take(REDB_MAGIC.len() as u64).read_to_end(&mut magic).map_err(io_error(path, "read"))?;
    if magic != REDB_MAGIC {
        return Err(not_ours(if magic.is_empty() { "it is empty" } else { "it is no database" }));
    }
    let overlay = Overlay::new(file).map_err(io_error(path, "read"))?;
    // A file that was altered outside may make redb panic, which is as good as its error.
    let look = || -> Result<Option<u32>, Fault> {
        let mut db = Builder::new().create_with_backend(overlay)?;
        if !db.check_integrity()? {
            return Err(Fault::Redb(redb::Error::Corrupted("its last committed state is not whole".into())));
        }
        let txn = db.begin_read()?;
        let ours = txn.list_tables()?.any(|table| table.name() == META.name());
        if !ours {
            return Ok(None);
        }
        let table = txn.open_table(META)?;
        let header = table.get(HEADER)?.ok_or(Fault::Record("header"))?;
        let format = Header::format(header.value()).ok_or(Fault::Record("header"))?;
        if format <= FORMAT {
            for name in
                [DATA.name(), HISTORY.name(), LOG.name(), OPS.name(), LEASES.name(), LEASE_KEYS.name()]
            {
                if !txn.list_tables()?.any(|table| table.name() == name) {
                    return Err(Fault::Record("tables"));
                }
            }
        }
        Ok(Some(format))
    };
    match std::panic::catch_unwind(AssertUnwindSafe(look)) {
        Ok(Ok(Some(format))) if format <= FORMAT => Ok(()),
        Ok(Ok(Some(found))) => Err(OpenError::NewerFormat { path: path.into(), found }),
        Ok(Ok(None)) => Err(not_ours("it is another program's database")),
        Ok(Err(Fault::Redb(redb::Error::TableTypeMismatch { .. }))) => {
            Err(not_ours("it is another program's database"))
        }
        Ok(Err(fault)) => Err(damaged(fault.text())),
        Err(_) => Err(damaged("its pages contradict each other".into())),
    }
}

/// Whether the file is older than what was noted when it was last closed. A note that cannot be read means the
/// worst, which costs its readers no more than their caches.
fn went_back(side_file: &Path, header: &Header) -> bool {
    let text = match std::fs::read_to_string(side_file) {
        Ok(text) => text,
        Err(e) => return e.kind() != io::ErrorKind::NotFound,
    };
    let noted = text.trim().split_once(' ').and_then(|(identity, revision)| {
        Some((u128::from_str_radix(identity, 16).ok()?.to_be_bytes(), revision.parse::<u64>().ok()?))
    });
    match noted {
        Some((identity, revision)) => identity == header.identity.0 && revision > header.revision.0,
        None => true,
    }
}

/// Notes how far a store got: its identity and its last revision.
pub(super) fn write_side_file(path: &Path, header: &Header) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&new)?;
    writeln!(file, "{} {}", header.identity, header.revision.0)?;
    replace(&new, path)
}
