//! The file of secrets, beside the store: slots that are overwritten in place.
//!
//! The store itself never overwrites a value where it is, so that a deleted value stays in its file for an unknown time. What
//! has to be erased for certain is therefore kept here.
//!
//! | bytes of a slot | content |
//! |---|---|
//! | 1 | state: 0 erased or never used, 1 in use |
//! | 3 | 0 |
//! | 4 | generation, big-endian: number of secrets that the slot has had |
//! | 16 | owner |
//! | 32 | the secret; zero when erased |
//! | 8 | check over the bytes before it |
//!
//! The first 64 bytes of the file are its header: `hsm-sim secrets\0`, format 1 in four bytes, the file's id in 16, zeros, and
//! a check. A slot never crosses a sector, which disks write whole.

mod adoption;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use zeroize::Zeroizing;

use super::options::Random;
use crate::secret::{MAX_SECRETS, SECRET_LEN, Secret, SecretId, SecretOwner};
use crate::{Limit, StoreError, UnnamedSecrets};

const MAGIC: &[u8; 16] = b"hsm-sim secrets\0";
const FORMAT: u32 = 1;
const SLOT_LEN: u64 = 64;
const ERASED: u8 = 0;
const IN_USE: u8 = 1;
/// Secrets that are drawn with one flush. Those that are not needed at once wait in memory.
const BATCH: usize = 32;

/// Bytes of a slot, which may hold a secret.
type SlotBytes = Zeroizing<[u8; SLOT_LEN as usize]>;

/// Why secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretsError {
    #[error("the file of secrets cannot be accessed")]
    Io(#[from] io::Error),
    /// The file lacks what the store has: it was lost, or replaced by another or older one.
    #[error("{0}")]
    Lost(&'static str),
    /// An earlier failure left it open what is on the disk.
    #[error("an earlier write of the file of secrets failed")]
    Failed,
    /// The request is refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] StoreError),
}

/// The open file.
pub(super) struct SecretFile {
    storage: Box<dyn StorageBackend>,
    id: [u8; 16],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// Positions of slots without a secret.
    free: BTreeSet<usize>,
    /// Drawn secrets that were not handed out yet.
    waiting: BTreeMap<SecretOwner, Vec<SecretId>>,
    failed: bool,
}

#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Free,
    /// A secret; whether it was drawn, and not adopted since, before the file was opened.
    Secret {
        owner: SecretOwner,
        inherited: bool,
    },
    /// Neither whole nor erased; never used again.
    Damaged,
}

impl SecretFile {
    /// Opens the file. `bound` is the id of the file that belongs to the store; `None` makes a new file if it is empty.
    pub(super) fn open(
        storage: impl StorageBackend,
        bound: Option<[u8; 16]>,
        random: &Random,
    ) -> Result<Self, SecretsError> {
        let storage: Box<dyn StorageBackend> = Box::new(storage);
        let len = storage.len()?;
        let mut header = [0; SLOT_LEN as usize];
        if len >= SLOT_LEN {
            storage.read(0, &mut header)?;
        }
        let found = parse_header(&header);
        let id = match (found, bound) {
            (Some(id), None) => id,
            (Some(id), Some(bound)) if id == bound => id,
            (None, None) if len <= SLOT_LEN => {
                let mut id = [0; 16];
                random(&mut id)?;
                storage.set_len(SLOT_LEN)?;
                storage.write(0, &header_of(&id))?;
                storage.sync_data()?;
                id
            }
            (Some(_), Some(_)) => {
                return Err(SecretsError::Lost("the file of secrets belongs to another keystore"));
            }
            (None, _) => {
                return Err(SecretsError::Lost("the file of secrets is missing or damaged"));
            }
        };
        let mut file = Self { storage, id, state: Mutex::default() };
        file.load(len)?;
        Ok(file)
    }

    pub(super) const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Reads all slots, and completes interrupted erasures.
    fn load(&mut self, len: u64) -> Result<(), SecretsError> {
        let count = len.saturating_sub(SLOT_LEN) / SLOT_LEN;
        let mut state = State::default();
        let mut completed = false;
        for position in 0..usize::try_from(count).unwrap_or(usize::MAX) {
            let bytes = self.read_slot(position)?;
            let generation = generation_of(&bytes);
            let content = match (bytes.first(), is_whole(&bytes)) {
                (Some(&IN_USE), true) => Content::Secret { owner: owner_of(&bytes), inherited: true },
                (Some(&ERASED), true) => Content::Free,
                (Some(&ERASED), false) if bytes.iter().all(|byte| *byte == 0) => Content::Free,
                (Some(&ERASED), false) => {
                    self.write_slot(position, &erased(generation))?;
                    completed = true;
                    Content::Free
                }
                _ => Content::Damaged,
            };
            if content == Content::Free {
                state.free.insert(position);
            }
            state.slots.push(Slot { generation, content });
        }
        if completed {
            self.storage.sync_data()?;
        }
        self.state = Mutex::new(state);
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, SecretsError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed { Err(SecretsError::Failed) } else { Ok(state) }
    }

    /// A new secret, which is durable.
    pub(super) fn draw(
        &self,
        owner: SecretOwner,
        random: &Random,
    ) -> Result<(SecretId, Secret), SecretsError> {
        let mut state = self.lock()?;
        if state.waiting.get(&owner).is_none_or(Vec::is_empty) {
            self.draw_batch(&mut state, owner, random)?;
        }
        let id = state.waiting.get_mut(&owner).and_then(Vec::pop).ok_or(SecretsError::Failed)?;
        drop(state);
        let secret = self.get(id)?.ok_or(SecretsError::Failed)?;
        Ok((id, secret))
    }

    fn draw_batch(&self, state: &mut State, owner: SecretOwner, random: &Random) -> Result<(), SecretsError> {
        if state.free.is_empty() {
            let end = state.slots.len() + BATCH;
            self.grow(state, end)?;
        }
        let mut positions: Vec<usize> = state.free.iter().rev().take(BATCH).copied().collect();
        positions.reverse();
        state.free.retain(|position| positions.first().is_none_or(|first| position < first));
        let mut drawn = Vec::with_capacity(positions.len());
        let outcome = positions.iter().try_for_each(|position| {
            let generation = state.slots.get(*position).map_or(0, |slot| slot.generation);
            // A slot whose numbers are used up stays erased.
            let Some(generation) = generation.checked_add(1) else { return Ok(()) };
            let mut bytes: SlotBytes = Zeroizing::new([0; SLOT_LEN as usize]);
            fill(&mut bytes, IN_USE, generation, &owner.0);
            random(secret_mut(&mut bytes))?;
            seal(&mut bytes);
            self.write_slot(*position, &bytes)?;
            drawn.push((*position, generation));
            Ok::<_, io::Error>(())
        });
        if let Err(error) = outcome.and_then(|()| self.storage.sync_data()) {
            state.failed = true;
            return Err(error.into());
        }
        for (position, generation) in drawn {
            if let Some(slot) = state.slots.get_mut(position) {
                *slot = Slot { generation, content: Content::Secret { owner, inherited: false } };
            }
            state.waiting.entry(owner).or_default().push(id_of(position, generation));
        }
        Ok(())
    }

    /// Makes room for so many slots. A full disk changes nothing.
    fn grow(&self, state: &mut State, slots: usize) -> Result<(), SecretsError> {
        let from = state.slots.len();
        let to = slots.next_multiple_of(BATCH);
        if to > MAX_SECRETS as usize {
            return Err(StoreError::TooLarge { limit: Limit::SecretId }.into());
        }
        if to > from {
            self.storage.set_len(offset(to))?;
            state.slots.resize(to, Slot { generation: 0, content: Content::Free });
            state.free.extend(from..to);
        }
        Ok(())
    }

    /// Takes back a secret that has protected nothing durable.
    pub(super) fn release(&self, owner: SecretOwner, id: SecretId) {
        if let Ok(mut state) = self.lock() {
            state.waiting.entry(owner).or_default().push(id);
        }
    }

    /// The secret; `None` if it was erased.
    pub(super) fn get(&self, id: SecretId) -> Result<Option<Secret>, SecretsError> {
        const OLDER: SecretsError = SecretsError::Lost("the file of secrets is older than the keystore");
        let (position, generation) = parts_of(id).ok_or(OLDER)?;
        let slot = self.lock()?.slots.get(position).copied().ok_or(OLDER)?;
        match slot.content {
            Content::Damaged => return Err(SecretsError::Lost("a slot of the file of secrets is damaged")),
            _ if slot.generation < generation => return Err(OLDER),
            Content::Free => return Ok(None),
            Content::Secret { .. } if slot.generation > generation => return Ok(None),
            Content::Secret { .. } => {}
        }
        let bytes = self.read_slot(position)?;
        if !is_whole(&bytes) {
            return Err(SecretsError::Lost("a slot of the file of secrets is damaged"));
        }
        // Erased between the two looks.
        if bytes.first() != Some(&IN_USE) || generation_of(&bytes) != generation {
            return Ok(None);
        }
        Ok(secret_of(&bytes).map(Secret::copy_of))
    }

    /// Overwrites secrets and flushes. Those that were erased before are skipped. One that the file never had is noted as
    /// erased if its slot is free.
    pub(super) fn erase(&self, ids: impl IntoIterator<Item = SecretId>) -> Result<(), SecretsError> {
        self.erase_from(&mut *self.lock()?, ids)
    }

    /// Erases secrets that are not in `named`, and returns their number.
    pub(super) fn erase_unnamed(
        &self,
        which: UnnamedSecrets,
        named: &BTreeSet<SecretId>,
    ) -> Result<usize, SecretsError> {
        let mut state = self.lock()?;
        let mut unnamed = match which {
            UnnamedSecrets::Inherited(owner) => state.secrets(|found, inherited| inherited && found == owner),
            UnnamedSecrets::All => state.secrets(|_, _| true),
        };
        unnamed.retain(|id| !named.contains(id));
        let count = unnamed.len();
        self.erase_from(&mut state, unnamed)?;
        Ok(count)
    }

    fn erase_from(
        &self,
        state: &mut State,
        ids: impl IntoIterator<Item = SecretId>,
    ) -> Result<(), SecretsError> {
        let mut erased_at = Vec::new();
        for (position, generation) in ids.into_iter().filter_map(valid_parts_of) {
            self.grow(state, position + 1)?;
            let is_erased_by = |slot: &Slot| match slot.content {
                Content::Secret { .. } => slot.generation == generation,
                Content::Free => slot.generation < generation,
                Content::Damaged => false,
            };
            if state.slots.get(position).is_some_and(is_erased_by) {
                if let Err(error) = self.write_slot(position, &erased(generation)) {
                    state.failed = true;
                    return Err(error.into());
                }
                erased_at.push((position, id_of(position, generation)));
            }
        }
        if erased_at.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.storage.sync_data() {
            state.failed = true;
            return Err(error.into());
        }
        for (position, id) in erased_at {
            if let Some(slot) = state.slots.get_mut(position) {
                *slot = Slot { generation: id.0 as u32, content: Content::Free };
            }
            state.no_longer_waits(id);
            state.free.insert(position);
        }
        Ok(())
    }

    /// The secrets of an owner; only those that were drawn before the file was opened, or all.
    pub(super) fn of_owner(
        &self,
        owner: SecretOwner,
        only_inherited: bool,
    ) -> Result<Vec<SecretId>, SecretsError> {
        Ok(self.lock()?.secrets(|found, inherited| found == owner && (inherited || !only_inherited)))
    }

    fn read_slot(&self, position: usize) -> io::Result<SlotBytes> {
        let mut bytes = Zeroizing::new([0; SLOT_LEN as usize]);
        self.storage.read(offset(position), &mut *bytes)?;
        Ok(bytes)
    }

    fn write_slot(&self, position: usize, bytes: &SlotBytes) -> io::Result<()> {
        self.storage.write(offset(position), &**bytes)
    }
}

impl State {
    /// The secrets with such an owner, and inherited or not.
    fn secrets(&self, is_meant: impl Fn(SecretOwner, bool) -> bool) -> Vec<SecretId> {
        let slots = self.slots.iter().enumerate();
        let meant = slots.filter_map(|(position, slot)| match slot.content {
            Content::Secret { owner, inherited } if is_meant(owner, inherited) => {
                Some(id_of(position, slot.generation))
            }
            _ => None,
        });
        meant.collect()
    }

    /// Notes that a secret is not drawn any more.
    fn no_longer_waits(&mut self, id: SecretId) {
        self.waiting.values_mut().for_each(|waiting| waiting.retain(|waiting| *waiting != id));
    }
}

const fn offset(position: usize) -> u64 {
    (position as u64 + 1) * SLOT_LEN
}

const fn id_of(position: usize, generation: u32) -> SecretId {
    SecretId((position as u64 + 1) << 32 | generation as u64)
}

fn parts_of(id: SecretId) -> Option<(usize, u32)> {
    let position = (id.0 >> 32).checked_sub(1)?;
    Some((usize::try_from(position).ok()?, id.0 as u32))
}

/// As [`parts_of`], for an identifier that may be foreign.
fn valid_parts_of(id: SecretId) -> Option<(usize, u32)> {
    let (slot, generation) = id.parts().ok()?;
    Some((usize::try_from(slot).ok()?.checked_sub(1)?, generation))
}

fn fill(bytes: &mut SlotBytes, state: u8, generation: u32, owner: &[u8; 16]) {
    let (front, _) = bytes.split_at_mut(24);
    let parts = [state, 0, 0, 0].into_iter().chain(generation.to_be_bytes()).chain(*owner);
    front.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
}

fn erased(generation: u32) -> SlotBytes {
    let mut bytes = Zeroizing::new([0; SLOT_LEN as usize]);
    fill(&mut bytes, ERASED, generation, &[0; 16]);
    seal(&mut bytes);
    bytes
}

fn generation_of(bytes: &SlotBytes) -> u32 {
    bytes.get(4..8).and_then(|part| part.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn owner_of(bytes: &SlotBytes) -> SecretOwner {
    SecretOwner(bytes.get(8..24).and_then(|part| part.try_into().ok()).unwrap_or_default())
}

fn secret_of(bytes: &SlotBytes) -> Option<&[u8; SECRET_LEN]> {
    bytes.get(24..56)?.try_into().ok()
}

fn secret_mut(bytes: &mut SlotBytes) -> &mut [u8] {
    bytes.get_mut(24..56).unwrap_or_default()
}

/// Writes the check into the last 8 bytes.
fn seal(bytes: &mut [u8; SLOT_LEN as usize]) {
    let (body, check) = bytes.split_at_mut(56);
    check.copy_from_slice(&check_of(body).to_be_bytes());
}

fn is_whole(bytes: &[u8; SLOT_LEN as usize]) -> bool {
    let (body, check) = bytes.split_at(56);
    check == check_of(body).to_be_bytes()
}

/// FNV-1a over 64 bits: it detects damage, not intent.
pub(super) fn check_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn header_of(id: &[u8; 16]) -> [u8; SLOT_LEN as usize] {
    let mut header = [0; SLOT_LEN as usize];
    let parts = MAGIC.iter().copied().chain(FORMAT.to_be_bytes()).chain(*id);
    header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    seal(&mut header);
    header
}

fn parse_header(header: &[u8; SLOT_LEN as usize]) -> Option<[u8; 16]> {
    let id = header.get(20..36)?.try_into().ok()?;
    (header_of(&id) == *header).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::{Random, SecretFile, SecretId, SecretOwner, SecretsError, header_of, id_of, parts_of};
    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const OWNER: SecretOwner = SecretOwner([7; 16]);

    fn random() -> Random {
        Arc::new(|bytes| getrandom::fill(bytes).map_err(std::io::Error::other))
    }

    /// Shares one storage between files that are opened one after the other.
    #[derive(Debug, Clone)]
    struct Shared(Arc<InMemoryBackend>);

    impl StorageBackend for Shared {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.0.write(offset, data)
        }
    }

    fn storage() -> Shared {
        Shared(Arc::new(InMemoryBackend::new()))
    }

    fn whole(storage: &Shared) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(storage.len().unwrap()).unwrap()];
        storage.read(0, &mut bytes).unwrap();
        bytes
    }

    /// Existing stores depend on these bytes.
    #[test]
    fn wire_the_file_is_the_documented_one() {
        let storage = storage();
        let ones: Random = Arc::new(|bytes| {
            bytes.fill(0x11);
            Ok(())
        });
        let file = SecretFile::open(storage.clone(), None, &ones).unwrap();
        let (id, secret) = file.draw(OWNER, &ones).unwrap();
        assert_eq!((id, secret.expose()), (SecretId(32 << 32 | 1), &[0x11; 32]));
        let bytes = whole(&storage);
        assert_eq!(bytes.len(), 64 + 32 * 64);
        assert_eq!(bytes[..64], header_of(&[0x11; 16]));
        assert_eq!(bytes[..36], [&b"hsm-sim secrets\0"[..], &[0, 0, 0, 1], &[0x11; 16]].concat());
        let slot = |position: usize| bytes[64 * (position + 1)..64 * (position + 2)].to_vec();
        assert_eq!(slot(31)[..56], [&[1, 0, 0, 0, 0, 0, 0, 1][..], &[7; 16], &[0x11; 32]].concat());
        file.erase([id]).unwrap();
        let bytes = whole(&storage);
        assert_eq!(bytes[64 * 32..64 * 32 + 56], [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 48]].concat());
        assert_eq!(parts_of(id_of(5, 9)), Some((5, 9)));
        assert_eq!(parts_of(SecretId(3)), None);
    }

    #[test]
    fn an_erased_secret_is_nowhere_in_the_file_and_its_number_is_not_used_again() {
        let (storage, random) = (storage(), random());
        let file = SecretFile::open(storage.clone(), None, &random).unwrap();
        let mut ids = BTreeSet::new();
        for _ in 0..200 {
            let (id, secret) = file.draw(OWNER, &random).unwrap();
            assert!(ids.insert(id), "{id:?} again");
            let is_there = || whole(&storage).windows(32).any(|part| part == secret.expose());
            assert!(is_there());
            file.erase([id]).unwrap();
            assert!(!is_there());
            assert!(file.get(id).unwrap().is_none());
        }
    }

    #[test]
    fn what_was_drawn_before_the_opening_is_inherited() {
        let (storage, random) = (storage(), random());
        let file = SecretFile::open(storage.clone(), None, &random).unwrap();
        let (kept, secret) = file.draw(OWNER, &random).unwrap();
        assert!(file.of_owner(OWNER, true).unwrap().is_empty());
        assert_eq!(file.of_owner(OWNER, false).unwrap().len(), 32, "a whole batch");
        let file = SecretFile::open(storage, Some(file.id()), &random).unwrap();
        assert_eq!(file.get(kept).unwrap().unwrap().expose(), secret.expose());
        let inherited = file.of_owner(OWNER, true).unwrap();
        assert_eq!(inherited.len(), 32);
        file.erase(inherited.into_iter().filter(|id| *id != kept)).unwrap();
        let (drawn, _) = file.draw(OWNER, &random).unwrap();
        assert_ne!(drawn, kept);
        assert_eq!(file.of_owner(OWNER, true).unwrap(), [kept]);
        assert!(file.of_owner(SecretOwner([8; 16]), false).unwrap().is_empty());
    }

    #[test]
    fn a_missing_older_or_other_file_is_named() {
        let (first, second, random) = (storage(), storage(), random());
        let file = SecretFile::open(first.clone(), None, &random).unwrap();
        let older = whole(&first);
        let (id, _) = file.draw(OWNER, &random).unwrap();
        let bound = Some(file.id());
        let lost = |opened: Result<SecretFile, SecretsError>| match opened {
            Err(SecretsError::Lost(why)) => why,
            _ => panic!("opened"),
        };
        assert!(lost(SecretFile::open(storage(), bound, &random)).contains("missing"));
        SecretFile::open(second.clone(), None, &random).unwrap();
        assert!(lost(SecretFile::open(second, bound, &random)).contains("another"));
        let restored = storage();
        restored.set_len(older.len() as u64).unwrap();
        restored.write(0, &older).unwrap();
        let file = SecretFile::open(restored, bound, &random).unwrap();
        assert!(matches!(file.get(id), Err(SecretsError::Lost(why)) if why.contains("older")));
    }

    #[test]
    fn an_erasure_that_was_interrupted_is_completed() {
        let (storage, random) = (storage(), random());
        let file = SecretFile::open(storage.clone(), None, &random).unwrap();
        let (id, secret) = file.draw(OWNER, &random).unwrap();
        let at = 64 * 32;
        // The first half of the slot was written.
        storage.write(at, &super::erased(1)[..32]).unwrap();
        assert!(whole(&storage).windows(20).any(|part| part == &secret.expose()[12..]));
        let file = SecretFile::open(storage.clone(), Some(file.id()), &random).unwrap();
        assert!(file.get(id).unwrap().is_none());
        assert!(!whole(&storage).windows(20).any(|part| part == &secret.expose()[12..]));
        // A slot that is neither whole nor erased is kept as it is.
        storage.write(64 * 31 + 30, &[0xff; 2]).unwrap();
        let before = whole(&storage);
        let file = SecretFile::open(storage.clone(), Some(file.id()), &random).unwrap();
        assert!(matches!(file.get(id_of(30, 1)), Err(SecretsError::Lost(why)) if why.contains("damaged")));
        assert_eq!(whole(&storage), before);
    }
}
