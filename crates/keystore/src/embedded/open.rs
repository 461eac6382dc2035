//! Opening, creating and checking the file of a store.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableHandle};

use super::committer::{Beside, CommitterCore};
use super::disk::{DiskError, Overlay};
use super::pin::{Deviation, Pinned, StorePin};
use super::record::{DATA, FORMAT, HEADER, HISTORY, Header, LEASE_KEYS, LEASES, LOG, META, OPS, SECRETS};
use super::secrets::{SecretFile, SecretsError};
use crate::{RedbOptions, Revision, StoreIdentity};

/// First bytes of every redb file.
const REDB_MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
const PRIVATE: u32 = 0o600;

/// Why a store could not be opened. The file is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// Another process, or another handle in this process, has the file open.
    #[error("{} is in use by {}; stop it first, or use another data directory", .path.display(), holder(*.process_id))]
    InUse {
        /// Path of the file.
        path: PathBuf,
        /// Process that has it open, if known.
        process_id: Option<u32>,
    },
    /// The file is not a keystore.
    #[error("{} is not a keystore: {found}; it was not changed. Check the path", .path.display())]
    NotAKeystore {
        /// Path of the file.
        path: PathBuf,
        /// What the file is instead.
        found: &'static str,
    },
    /// The file was written by a newer version of this program.
    #[error("{} has format {found}, but this program supports formats up to {FORMAT}; use a newer version", .path.display())]
    NewerFormat {
        /// Path of the file.
        path: PathBuf,
        /// Its format number.
        found: u32,
    },
    /// The file is a keystore and failed a check.
    #[error("{} is damaged: {reason}; it was not changed. Keep a copy, check the disk, restore a backup", .path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// The check that failed.
        reason: String,
    },
    /// The file is missing, although there was a store.
    #[error(
        "{} is missing, although there was a keystore; nothing was created. Restore the newest copy, or accept a new, \
         empty keystore in its place", .path.display()
    )]
    Missing {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is older than its pin.
    #[error(
        "{} is older than it has been: it ends at revision {}, and revision {} is pinned; it was not changed. \
         Restore the newest copy, or accept an older keystore, whose later changes are lost and whose removed keys are \
         back", .path.display(), .found.0, .pinned.0
    )]
    Older {
        /// Path of the file.
        path: PathBuf,
        /// Last revision of the file.
        found: Revision,
        /// Last revision that is known.
        pinned: Revision,
    },
    /// The file is another store than the pinned one.
    #[error(
        "{} is another keystore than the one that was here; it was not changed. Put the right one back, or accept \
         another keystore", .path.display()
    )]
    Other {
        /// Path of the file.
        path: PathBuf,
        /// Identity of the file.
        found: StoreIdentity,
    },
    /// The pin is damaged, or missing although the store had one, so that the age of the store is unknown.
    #[error(
        "{} is damaged or missing, so that the age of the keystore is unknown; nothing was changed. Restore it, or accept an older \
         keystore", .path.display()
    )]
    PinDamaged {
        /// Path of the pin.
        path: PathBuf,
    },
    /// The file of secrets, under which all values are encrypted, is not the one of the store.
    #[error("{}: {reason}; nothing was changed. Restore it together with the keystore", .path.display())]
    SecretsLost {
        /// Path of the file of secrets.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An OS call failed.
    #[error("could not {operation} {}", .path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// OS error.
        source: io::Error,
    },
}

fn holder(process_id: Option<u32>) -> String {
    process_id.map_or_else(|| "another process".into(), |id| format!("process {id}"))
}

/// The advisory lock of a store. The OS releases it when the process ends.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // An empty file means that no process holds the lock; if this fails, the lock itself is still released.
        let _stale = self.0.set_len(0);
    }
}

fn io_error<'a>(path: &'a Path, operation: &'static str) -> impl FnOnce(io::Error) -> StoreOpenError + 'a {
    move |source| StoreOpenError::Io { path: path.into(), operation, source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens the store at a path, or creates it.
pub(super) fn open_file(path: &Path, mut options: RedbOptions) -> Result<CommitterCore, StoreOpenError> {
    let lock = lock_file(path)?;
    let missing_pin = options.pin.clone().filter(|at| !at.exists());
    let found = match File::open(path) {
        Ok(file) => Some(check(path, file)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(io_error(path, "read")(e)),
    };
    let pin = admit(path, found.as_ref(), &options)?;
    if found.is_none() {
        create(path, pin.as_ref(), &options)?;
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
    let db = build(&options, backend(path, file)?).map_err(|e| open_error(path, e))?;
    // A store is bound to its secrets after it was pinned.
    let is_required = found.is_some() && options.must_exist && !options.accepted.older;
    if let Some(at) = missing_pin.filter(|_| is_required)
        && bound_secrets(&db).map_err(|e| open_error(path, e))?.is_some()
    {
        return Err(StoreOpenError::PinDamaged { path: at });
    }
    let header = stored_header(&db).map_err(|e| open_error(path, e))?;
    let is_older = |pin: &StorePin| pin.is_ahead_of(&header);
    if options.restored || is_older_than_recorded(&side_file, &header) || pin.as_ref().is_some_and(is_older) {
        let identity = new_identity(&options).map_err(|e| open_error(path, e))?;
        // The pin knows both identities while the store changes from one to the other.
        update_pin(pin.as_ref(), |pinned| pinned.next = Some(identity))?;
        renew_identity(&db, header, identity).map_err(|e| open_error(path, e))?;
    }
    let header = stored_header(&db).map_err(|e| open_error(path, e))?;
    update_pin(pin.as_ref(), |pinned| pinned.set_to(&header))?;
    let pin = pin.map(Arc::new);
    let secrets = open_secrets(&beside(path, ".secrets"), &db, &options)?;
    let beside = Beside { side_file: Some(side_file), pin, secrets };
    CommitterCore::new(db, options, beside, Some(lock)).map_err(|e| open_error(path, e))
}

/// Compares the store with its pin, and refuses it unless the deviation is accepted. Changes nothing.
fn admit(
    path: &Path,
    found: Option<&Header>,
    options: &RedbOptions,
) -> Result<Option<StorePin>, StoreOpenError> {
    let accepted = options.accepted;
    let missing = || StoreOpenError::Missing { path: path.into() };
    let pinned = match &options.pin {
        None => None,
        Some(at) => StorePin::read(at).map_err(io_error(at, "read"))?.map(|pinned| (at, pinned)),
    };
    let pinned = match pinned {
        None if found.is_none() && options.must_exist && !accepted.missing => return Err(missing()),
        None => Pinned::default(),
        Some((_, Some(pinned))) => pinned,
        Some((_, None)) if accepted.older => Pinned::default(),
        Some((at, None)) => return Err(StoreOpenError::PinDamaged { path: at.clone() }),
    };
    let kept = match (pinned.compare(found), found) {
        (Err(Deviation::Missing), _) if !accepted.missing => return Err(missing()),
        (Err(Deviation::Older), Some(header)) if !accepted.older => {
            let (found, pinned) = (header.revision, pinned.revision);
            return Err(StoreOpenError::Older { path: path.into(), found, pinned });
        }
        (Err(Deviation::Other), Some(header)) if !accepted.other => {
            return Err(StoreOpenError::Other { path: path.into(), found: header.identity });
        }
        (Err(Deviation::Missing | Deviation::Other), _) => Pinned::default(),
        // An older store has lower marks; and its marks may be lower although its revision is not.
        (Ok(()) | Err(Deviation::Older), _) if accepted.older => Pinned { marks: BTreeMap::new(), ..pinned },
        (Ok(()) | Err(Deviation::Older), _) => pinned,
    };
    Ok(options.pin.as_ref().map(|at| StorePin::new(at, kept)))
}

fn update_pin(pin: Option<&StorePin>, change: impl FnOnce(&mut Pinned)) -> Result<(), StoreOpenError> {
    let Some(pin) = pin else { return Ok(()) };
    pin.update(change).map_err(io_error(pin.path(), "write"))
}

/// Opens the file of secrets, or creates it for a store that has none.
fn open_secrets(path: &Path, db: &Database, options: &RedbOptions) -> Result<SecretFile, StoreOpenError> {
    let is_new = bound_secrets(db).map_err(|e| open_error(path, e))?.is_none();
    let file =
        OpenOptions::new().read(true).write(true).create(is_new).truncate(false).mode(PRIVATE).open(path);
    let file = match file {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !is_new => {
            return Err(StoreOpenError::SecretsLost {
                path: path.into(),
                reason: "it is missing".to_owned(),
            });
        }
        file => file.map_err(io_error(path, "open"))?,
    };
    file.set_permissions(Permissions::from_mode(PRIVATE)).map_err(io_error(path, "make private"))?;
    sync_folder(path).map_err(io_error(path, "create"))?;
    bind_secrets(path, backend(path, file)?, db, options)
}

/// Opens secrets on a storage. A store that has had none gets them, and is bound to them.
fn bind_secrets(
    path: &Path,
    storage: impl StorageBackend,
    db: &Database,
    options: &RedbOptions,
) -> Result<SecretFile, StoreOpenError> {
    let bound = bound_secrets(db).map_err(|e| open_error(path, e))?;
    let secrets = SecretFile::open(storage, bound, &options.random).map_err(|error| match error {
        SecretsError::Io(source) => StoreOpenError::Io { path: path.into(), operation: "read", source },
        lost @ (SecretsError::Lost(_) | SecretsError::Failed | SecretsError::Refused(_)) => {
            StoreOpenError::SecretsLost { path: path.into(), reason: lost.to_string() }
        }
    })?;
    if bound.is_none() {
        let bind = || -> Result<(), DiskError> {
            let mut txn = db.begin_write()?;
            txn.set_two_phase_commit(true);
            txn.open_table(META)?.insert(SECRETS, secrets.id().as_slice())?;
            Ok(txn.commit()?)
        };
        bind().map_err(|e| open_error(path, e))?;
    }
    Ok(secrets)
}

fn bound_secrets(db: &Database) -> Result<Option<[u8; 16]>, DiskError> {
    let table = db.begin_read()?.open_table(META)?;
    let Some(bytes) = table.get(SECRETS)? else { return Ok(None) };
    bytes.value().try_into().map(Some).map_err(|_| DiskError::Record("secrets"))
}

/// Opens the store on any storage, or creates it if that is empty. Uses no lock and no side file.
pub(super) fn open_backend(
    backend: impl StorageBackend,
    secrets: impl StorageBackend,
    options: RedbOptions,
) -> Result<CommitterCore, StoreOpenError> {
    let path = Path::new("(storage)");
    let db = build(&options, backend).map_err(|e| open_error(path, e))?;
    let identity = || new_identity(&options);
    initialize(&db, identity).map_err(|e| open_error(path, e))?;
    let header = stored_header(&db).map_err(|e| open_error(path, e))?;
    if options.restored {
        let identity = new_identity(&options).map_err(|e| open_error(path, e))?;
        renew_identity(&db, header, identity).map_err(|e| open_error(path, e))?;
    }
    let secrets = bind_secrets(Path::new("(secrets)"), secrets, &db, &options)?;
    let beside = Beside { side_file: None, pin: None, secrets };
    CommitterCore::new(db, options, beside, None).map_err(|e| open_error(path, e))
}

fn lock_file(path: &Path) -> Result<FileLock, StoreOpenError> {
    let lock_path = beside(path, ".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(&lock_path)
        .map_err(io_error(&lock_path, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let process_id = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreOpenError::InUse { path: path.into(), process_id });
        }
        Err(TryLockError::Error(e)) => return Err(io_error(&lock_path, "lock")(e)),
    }
    let write_process_id = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())
    };
    write_process_id(&mut file).map_err(io_error(&lock_path, "write"))?;
    Ok(FileLock(file))
}

fn backend(path: &Path, file: File) -> Result<FileBackend, StoreOpenError> {
    FileBackend::new(file).map_err(|e| open_error(path, e.into()))
}

fn build(options: &RedbOptions, backend: impl StorageBackend) -> Result<Database, DiskError> {
    Ok(Builder::new().set_cache_size(options.cache).create_with_backend(backend)?)
}

fn open_error(path: &Path, error: DiskError) -> StoreOpenError {
    match error {
        DiskError::Redb(redb::Error::Io(source)) => {
            StoreOpenError::Io { path: path.into(), operation: "open", source }
        }
        DiskError::Redb(redb::Error::DatabaseAlreadyOpen) => {
            StoreOpenError::InUse { path: path.into(), process_id: None }
        }
        error => StoreOpenError::Damaged { path: path.into(), reason: error.text() },
    }
}

/// Creates an empty store under a temporary name and renames it, so that the file is never incomplete. The pin has its
/// identity before.
fn create(path: &Path, pin: Option<&StorePin>, options: &RedbOptions) -> Result<(), StoreOpenError> {
    let identity = new_identity(options).map_err(|e| open_error(path, e))?;
    update_pin(pin, |pinned| *pinned = Pinned { identity: Some(identity), ..Pinned::default() })?;
    let new = beside(path, ".new");
    let file = create_private(&new).map_err(io_error(&new, "create"))?;
    let db = build(options, backend(&new, file)?).map_err(|e| open_error(&new, e))?;
    initialize(&db, || Ok(identity)).map_err(|e| open_error(&new, e))?;
    db.close().map_err(|e| open_error(&new, e.into()))?;
    replace(&new, path).map_err(io_error(path, "create"))
}

/// Renames a complete file to its final name, durably.
fn replace(new: &Path, path: &Path) -> io::Result<()> {
    File::open(new)?.sync_all()?;
    std::fs::rename(new, path)?;
    sync_folder(path)
}

/// Makes the entry of a file in its folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Creates the tables and the identity of an empty database. Does nothing if it has tables.
fn initialize(
    db: &Database,
    identity: impl FnOnce() -> Result<StoreIdentity, DiskError>,
) -> Result<(), DiskError> {
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
    let header = Header { identity: identity()?, revision: Revision(0), oldest: Revision(0) };
    txn.open_table(META)?.insert(HEADER, header.encode().as_slice())?;
    Ok(txn.commit()?)
}

fn new_identity(options: &RedbOptions) -> Result<StoreIdentity, DiskError> {
    let mut identity = [0; 16];
    (options.random)(&mut identity).map_err(redb::StorageError::from)?;
    Ok(StoreIdentity(identity))
}

fn renew_identity(db: &Database, header: Header, identity: StoreIdentity) -> Result<(), DiskError> {
    let header = Header { identity, ..header };
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.open_table(META)?.insert(HEADER, header.encode().as_slice())?;
    Ok(txn.commit()?)
}

fn stored_header(db: &Database) -> Result<Header, DiskError> {
    let table = db.begin_read()?.open_table(META)?;
    let bytes = table.get(HEADER)?.ok_or(DiskError::Record("header"))?;
    Header::decode(bytes.value()).ok_or(DiskError::Record("header"))
}

/// Checks the whole file without changing it: whether it is a keystore, and whether every page is valid. Returns its header.
fn check(path: &Path, file: File) -> Result<Header, StoreOpenError> {
    let not_a_keystore = |found| StoreOpenError::NotAKeystore { path: path.into(), found };
    let damaged = |reason: String| StoreOpenError::Damaged { path: path.into(), reason };
    let mut magic = Vec::new();
    (&file).take(REDB_MAGIC.len() as u64).read_to_end(&mut magic).map_err(io_error(path, "read"))?;
    if magic != REDB_MAGIC {
        return Err(not_a_keystore(if magic.is_empty() { "it is empty" } else { "it is not a database" }));
    }
    let overlay = Overlay::new(file).map_err(io_error(path, "read"))?;
    // redb may panic on a modified file; the panic is handled like an error.
    let inspect = || -> Result<Option<(u32, Option<Header>)>, DiskError> {
        let mut db = Builder::new().create_with_backend(overlay)?;
        if !db.check_integrity()? {
            return Err(DiskError::Redb(redb::Error::Corrupted(
                "its last committed state is incomplete".into(),
            )));
        }
        let txn = db.begin_read()?;
        let has_meta = txn.list_tables()?.any(|table| table.name() == META.name());
        if !has_meta {
            return Ok(None);
        }
        let table = txn.open_table(META)?;
        let header = table.get(HEADER)?.ok_or(DiskError::Record("header"))?;
        let format = Header::format(header.value()).ok_or(DiskError::Record("header"))?;
        if format <= FORMAT {
            for name in
                [DATA.name(), HISTORY.name(), LOG.name(), OPS.name(), LEASES.name(), LEASE_KEYS.name()]
            {
                if !txn.list_tables()?.any(|table| table.name() == name) {
                    return Err(DiskError::Record("tables"));
                }
            }
        }
        Ok(Some((format, Header::decode(header.value()))))
    };
    match std::panic::catch_unwind(AssertUnwindSafe(inspect)) {
        Ok(Ok(Some((found, _)))) if found > FORMAT => {
            Err(StoreOpenError::NewerFormat { path: path.into(), found })
        }
        Ok(Ok(Some((_, header)))) => header.ok_or_else(|| damaged(DiskError::Record("header").text())),
        Ok(Ok(None)) => Err(not_a_keystore("it is another program's database")),
        Ok(Err(DiskError::Redb(redb::Error::TableTypeMismatch { .. }))) => {
            Err(not_a_keystore("it is another program's database"))
        }
        Ok(Err(error)) => Err(damaged(error.text())),
        Err(_) => Err(damaged("its pages are inconsistent".into())),
    }
}

/// Whether the file is older than recorded when it was last closed. A side file that cannot be read counts as older, which
/// only costs the readers their caches.
fn is_older_than_recorded(side_file: &Path, header: &Header) -> bool {
    let text = match std::fs::read_to_string(side_file) {
        Ok(text) => text,
        Err(e) => return e.kind() != io::ErrorKind::NotFound,
    };
    let recorded = text.trim().split_once(' ').and_then(|(identity, revision)| {
        Some((u128::from_str_radix(identity, 16).ok()?.to_be_bytes(), revision.parse::<u64>().ok()?))
    });
    match recorded {
        Some((identity, revision)) => identity == header.identity.0 && revision > header.revision.0,
        None => true,
    }
}

/// Creates a file in place of one that a crash has left. A file or link that another process puts there meanwhile is not
/// written to.
fn create_private(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(path)
}

/// Records the identity and last revision of a store that is closed.
pub(super) fn write_side_file(path: &Path, header: &Header) -> io::Result<()> {
    write_beside(path, format!("{} {}\n", header.identity, header.revision.0).as_bytes())
}

/// Replaces a small file whole, durably.
pub(super) fn write_beside(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    create_private(&new)?.write_all(content)?;
    replace(&new, path)
}
