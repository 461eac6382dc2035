//! The ledger of invocations in a file: what a node encrypts while its store accepts no writes.

use kms::{InstanceId, InvocationLedger, LedgerFailed, VersionId};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tracing::error;
use wire::text::error_chain;

/// First bytes of the file.
const MAGIC: [u8; 16] = *b"hsm-sim count 1\0";
/// Instance, version, total, check.
const ENTRY_LEN: usize = 16 + 16 + 8 + 8;

/// A file of totals that is only appended to, mode 0600. The last total of a key version counts.
///
/// All nodes over one store share one ledger. A file that is put back, or removed, forgets what was encrypted since.
#[derive(Debug)]
pub struct FileLedger(Mutex<Ledger>);

/// Invocations that were taken of each key version.
type Totals = BTreeMap<(InstanceId, VersionId), u64>;

#[derive(Debug)]
struct Ledger {
    file: File,
    taken: Totals,
    /// Whether an entry could not be written, so that the end of the file is unknown.
    failed: bool,
}

impl FileLedger {
    /// Opens the ledger at `path`, creating it if it does not exist. An entry that a crash has cut off is removed.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::InvalidData`] for a file that is no ledger, or is damaged.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            file.set_len(0)?;
            file.write_all(&MAGIC)?;
            bytes = MAGIC.to_vec();
        }
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or not a ledger of invocations");
        let (taken, len) = parse(&bytes).ok_or_else(damaged)?;
        if len < bytes.len() {
            file.set_len(len as u64)?;
        }
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(Mutex::new(Ledger { file, taken, failed: false })))
    }
}

impl InvocationLedger for FileLedger {
    fn take(
        &self,
        instance: InstanceId,
        version: VersionId,
        amount: u64,
        most: u64,
    ) -> Result<bool, LedgerFailed> {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (instance, version);
        let total = ledger.taken.get(&key).copied().unwrap_or_default().saturating_add(amount);
        if total > most {
            return Ok(false);
        }
        if ledger.failed {
            return Err(LedgerFailed);
        }
        let entry = entry(instance, version, total);
        if let Err(e) = ledger.file.write_all(&entry).and_then(|()| ledger.file.sync_data()) {
            ledger.failed = true;
            error!(error = %error_chain(&e), "cannot write to the ledger of invocations; restart the node");
            return Err(LedgerFailed);
        }
        ledger.taken.insert(key, total);
        Ok(true)
    }
}

fn entry(instance: InstanceId, version: VersionId, total: u64) -> Vec<u8> {
    let body = [&instance.0.into_bytes()[..], &version.0.into_bytes(), &total.to_be_bytes()].concat();
    [&body[..], &check(&body)].concat()
}

/// The totals, and the length without an entry that was cut off; `None` for a file that is damaged before its last entry.
fn parse(bytes: &[u8]) -> Option<(Totals, usize)> {
    let mut taken = Totals::new();
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    while let Some((entry, after)) = rest.split_first_chunk::<ENTRY_LEN>() {
        let (body, found) = entry.split_last_chunk::<8>()?;
        if check(body) != *found {
            // The last entry may be one that was not written whole.
            return after.is_empty().then(|| (taken, bytes.len().saturating_sub(ENTRY_LEN)));
        }
        let (instance, body) = body.split_first_chunk::<16>()?;
        let (version, total) = body.split_first_chunk::<16>()?;
        let total = u64::from_be_bytes(*total.first_chunk()?);
        let key =
            (InstanceId(uuid::Uuid::from_bytes(*instance)), VersionId(uuid::Uuid::from_bytes(*version)));
        let known = taken.entry(key).or_default();
        *known = total.max(*known);
        rest = after;
    }
    Some((taken, bytes.len().saturating_sub(rest.len())))
}

/// Panics if the reader of a ledger is wrong.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check_reader(data: &[u8]) {
    let Some((totals, len)) = parse(data) else { return };
    let (whole, cut_off) = data.split_at(len);
    assert!(cut_off.len() <= ENTRY_LEN, "more than one entry was dropped");
    assert_eq!(parse(whole), Some((totals.clone(), len)), "what a crash cut off counts");
    // The same totals, written once each, are read again.
    let mut again = MAGIC.to_vec();
    totals.iter().for_each(|((instance, version), total)| again.extend(entry(*instance, *version, *total)));
    assert_eq!(parse(&again), Some((totals, again.len())));
}

/// FNV-1a, 64 bits: against torn writes, not against forgery.
fn check(bytes: &[u8]) -> [u8; 8] {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold).to_be_bytes()
}

/// A ledger with two totals of one version, and the start of an entry.
#[cfg(test)]
pub(crate) fn sample() -> Vec<u8> {
    let entry =
        |total| entry(InstanceId(uuid::Uuid::from_u128(1)), VersionId(uuid::Uuid::from_u128(2)), total);
    [&MAGIC[..], &entry(5), &entry(7), &[9; 20]].concat()
}

#[cfg(test)]
mod tests {
    use super::{ENTRY_LEN, FileLedger, entry};
    use kms::{InstanceId, InvocationLedger, VersionId};
    use std::os::unix::fs::PermissionsExt;
    use uuid::Uuid;

    const INSTANCE: InstanceId = InstanceId(Uuid::from_u128(1));

    fn version(n: u128) -> VersionId {
        VersionId(Uuid::from_u128(n))
    }

    #[test]
    fn what_was_taken_survives_a_restart_and_a_torn_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counts");
        let open = || FileLedger::open(&path);
        assert!(open().unwrap().take(INSTANCE, version(1), 6, 10).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!open().unwrap().take(INSTANCE, version(1), 6, 10).unwrap());
        let ledger = open().unwrap();
        assert!(ledger.take(INSTANCE, version(2), 10, 10).unwrap());
        assert!(ledger.take(INSTANCE, version(1), 4, 10).unwrap());
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..ENTRY_LEN {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let ledger = open().unwrap();
            assert!(!ledger.take(INSTANCE, version(2), 1, 10).unwrap(), "cut {cut}");
            assert!(ledger.take(INSTANCE, version(1), 4, 10).unwrap(), "cut {cut}");
            assert!(!open().unwrap().take(INSTANCE, version(1), 1, 10).unwrap(), "cut {cut}");
        }
        for at in 0..whole.len() - ENTRY_LEN {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(open().unwrap_err().kind(), std::io::ErrorKind::InvalidData, "byte {at}");
        }
        std::fs::write(&path, b"hsm-sim c").unwrap();
        assert!(open().unwrap().take(INSTANCE, version(1), 10, 10).unwrap());
    }

    /// Existing ledgers depend on these bytes.
    #[test]
    fn wire_the_file_is_the_documented_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counts");
        FileLedger::open(&path).unwrap().take(INSTANCE, version(2), 300, 400).unwrap();
        let body = [&1_u128.to_be_bytes()[..], &2_u128.to_be_bytes(), &300_u64.to_be_bytes()].concat();
        let check = [0x01, 0x36, 0x4b, 0xce, 0xec, 0xc9, 0xe0, 0xe1];
        let bytes = [&b"hsm-sim count 1\0"[..], &body, &check].concat();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(entry(INSTANCE, version(2), 300), bytes[16..]);
    }
}
