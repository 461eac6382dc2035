//! A simulated disk with faults: lost and torn writes, errors, stalls, flushes without effect.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use keystore::{RedbOptions, RedbStore, StoreOpenError};
use redb::StorageBackend;

/// A torn write ends at the end of a sector.
const SECTOR: usize = 512;

/// Opens a store on a disk, with an empty file of secrets that is always the same.
pub(crate) async fn open_on(disk: Disk, options: RedbOptions) -> Result<RedbStore, StoreOpenError> {
    RedbStore::open_with_backends(disk, Disk::with(empty_secrets()), options).await
}

/// The header of a file of secrets, as `docs/formats/keystore.md` has it.
fn empty_secrets() -> Vec<u8> {
    let mut header = [&b"hsm-sim secrets\0"[..], &[0, 0, 0, 1], &[9; 16], &[0; 20]].concat();
    let check = header.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    header.extend(check.to_be_bytes());
    header
}

/// SplitMix64, seeded.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// A fault at one disk operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation and all later ones fail.
    PowerCut,
    /// The operation fails, later ones succeed.
    IoError,
    /// The operation, if it is a write, and all later writes fail because the disk is full.
    NoRoom,
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug, Default)]
struct State {
    /// What survives a power loss in any case.
    durable: Vec<u8>,
    /// What reads see.
    cache: Vec<u8>,
    /// Operations since the last flush.
    unsynced: Vec<Step>,
    steps: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    lies: bool,
    stalled: bool,
    /// Whether a flush waits for the end of a stall.
    waiting: bool,
}

/// A handle to the disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<State>, Condvar)>);

impl Disk {
    /// A disk with this content, flushed.
    pub(crate) fn with(image: Vec<u8>) -> Self {
        let disk = Self::default();
        *disk.lock() = State { durable: image.clone(), cache: image, ..State::default() };
        disk
    }

    /// Injects a fault into the `n`th write, flush or change of length from now on, counted from 0.
    pub(crate) fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some((state.steps + n, fault));
    }

    /// Ends a fault.
    pub(crate) fn mend(&self) {
        self.lock().fault = None;
    }

    /// From now on, flushes succeed without effect.
    pub(crate) fn lie(&self) {
        self.lock().lies = true;
    }

    /// Starts or ends a stall of flushes.
    pub(crate) fn stall(&self, stalled: bool) {
        self.lock().stalled = stalled;
        self.0.1.notify_all();
    }

    /// Blocks until a flush waits.
    pub(crate) fn wait_until_stalled(&self) {
        let _state = self.0.1.wait_while(self.lock(), |s| !s.waiting).unwrap_or_else(PoisonError::into_inner);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.lock().steps
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Everything written, flushed or not: the content after the process, but not the machine, has crashed.
    pub(crate) fn written(&self) -> Vec<u8> {
        self.lock().cache.clone()
    }

    /// The content after a power loss: everything flushed, and any part of the other writes, in any order, possibly torn.
    pub(crate) fn after_power_loss(&self, random: &mut Random) -> Vec<u8> {
        let state = self.lock();
        let mut image = state.durable.clone();
        let mut steps = state.unsynced.clone();
        // In some runs nothing, or everything, of what was not flushed survives.
        let odds = [0, 1, 2, 3, 4].into_iter().nth(random.below(5) as usize).unwrap_or(2);
        for i in (1..steps.len()).rev() {
            // Changes of length keep their order, as in a journaling file system.
            let j = random.below(i as u64 + 1) as usize;
            if matches!((&steps[i], &steps[j]), (Step::Write(..), Step::Write(..))) && random.below(2) == 0 {
                steps.swap(i, j);
            }
        }
        for step in &steps {
            if random.below(4) >= odds {
                continue;
            }
            match step {
                Step::SetLen(len) => image.resize(*len, 0),
                Step::Write(at, data) => {
                    let torn = random.below(4) == 0;
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if torn && random.below(2) == 0 {
                            continue;
                        }
                        put(&mut image, at + i * SECTOR, sector);
                    }
                }
            }
        }
        image
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(image: &mut Vec<u8>, at: usize, data: &[u8]) {
    if image.len() < at + data.len() {
        image.resize(at + data.len(), 0);
    }
    image[at..at + data.len()].copy_from_slice(data);
}

impl State {
    fn step(&mut self, is_write: bool) -> io::Result<()> {
        let now = self.steps;
        self.steps += 1;
        match self.fault {
            Some((at, Fault::PowerCut)) if now >= at => Err(io::Error::other("no power")),
            Some((at, Fault::IoError)) if now == at => Err(io::Error::other("input/output error")),
            Some((at, Fault::NoRoom)) if now >= at && is_write => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().cache.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let from = state.cache.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.step(true)?;
        state.cache.resize(len as usize, 0);
        state.unsynced.push(Step::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = self.lock();
        let wait = |s: &mut State| {
            s.waiting = s.stalled;
            self.0.1.notify_all();
            s.stalled
        };
        let mut state = self.0.1.wait_while(state, wait).unwrap_or_else(PoisonError::into_inner);
        state.syncs += 1;
        state.step(false)?;
        if !state.lies {
            for step in std::mem::take(&mut state.unsynced) {
                match step {
                    Step::SetLen(len) => state.durable.resize(len, 0),
                    Step::Write(at, data) => put(&mut state.durable, at, &data),
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        // A write that fails is applied in part.
        let result = state.step(true);
        let part = if result.is_ok() { data } else { &data[..data.len() / 2] };
        put(&mut state.cache, offset as usize, part);
        state.unsynced.push(Step::Write(offset as usize, part.to_vec()));
        result
    }
}
