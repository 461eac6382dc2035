//! The two slots of the state, written alternately.

use crate::slot::{Content, MAX_SLOT_LEN, OpenSlot, StateSummary, inspect, seal};
use crate::state::State;
use crate::storage::{Slot, Storage, StorageFailed};
use engine::{Engine, EngineError, StateKeyId};
use unit_api::{Refusal, UnitError};

/// Bound on sequence numbers that a unit can reach. A higher number was not written by this unit and is ignored; it leaves
/// room for 2²⁸ lives above the bound.
const PLAUSIBLE_SEQUENCES: u64 = 0xf000_0000;

/// The slot of the current state, its sequence number, and the key that it is sealed under.
pub(crate) struct Slots {
    latest: Slot,
    sequence: u64,
    /// `None` before the first write, and in the earlier format.
    key: Option<StateKeyId>,
}

/// Reason why a write did not succeed.
pub(crate) enum WriteError {
    /// The storage was not changed.
    NotWritten(Refusal),
    /// The slot may hold the old content, the new one, or neither.
    Unknown,
}

/// The content of the storage.
#[expect(
    clippy::large_enum_variant,
    reason = "without a heap there is nowhere else to put it; one lives at a start"
)]
pub(crate) enum StorageContent {
    /// No unit has written here.
    Nothing,
    /// A state, and the summary of the state before it, if it opens.
    State(Slots, OpenSlot, Option<StateSummary>),
    /// Other content, no state of this unit.
    Invalid,
}

/// The content of a slot without its state.
enum SlotSummary {
    Empty,
    Damaged,
    /// Complete, with this sequence number, under a key that the engine does not have.
    WithoutKey(u64),
    /// Complete, with this sequence number.
    Sound {
        sequence: u64,
        is_earlier_format: bool,
    },
}

impl Slots {
    /// The slots of a new unit.
    pub(crate) const fn unused() -> Self {
        Self::after_sequence(0)
    }

    /// Slots whose next write has the number after `sequence`.
    pub(crate) const fn after_sequence(sequence: u64) -> Self {
        Self { latest: Slot::B, sequence, key: None }
    }

    /// The key that the current state is sealed under; `None` before the first write, and in the earlier format.
    pub(crate) const fn key(&self) -> Option<StateKeyId> {
        self.key
    }

    /// Sequence number of the last write.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Sequence number of the next write.
    pub(crate) fn next_sequence(&self) -> Result<u64, Refusal> {
        self.sequence.checked_add(1).ok_or_else(|| UnitError::StateInvalid.into())
    }

    /// Writes a state, sealed under this key, to the slot of the older state; it becomes the current state.
    ///
    /// Every attempt uses a new sequence number, so that two contents never have the same one.
    pub(crate) fn write<E: Engine, S: Storage>(
        &mut self,
        engine: &mut E,
        storage: &mut S,
        state: &State,
        key: StateKeyId,
    ) -> Result<(), WriteError> {
        let sequence = self.next_sequence().map_err(WriteError::NotWritten)?;
        let mut bytes = [0; MAX_SLOT_LEN];
        let sealed = seal(engine, state, sequence, &key, &mut bytes);
        sealed.map_err(|error| WriteError::NotWritten(error.into()))?;
        self.sequence = sequence;
        let slot = self.latest.other();
        storage.write(slot, &bytes).map_err(|StorageFailed| WriteError::Unknown)?;
        self.latest = slot;
        self.key = Some(key);
        Ok(())
    }

    /// Finds the newest state whose key the engine has.
    ///
    /// The engine's keys decide first: a key is destroyed only after a state under a newer key is durable, or when a write
    /// under it is abandoned. A state without its key is an old one that was put back, or was never confirmed. A state in
    /// the earlier format counts only beside no other.
    ///
    /// An incomplete first write counts as no state, because a new unit writes both slots before it answers any request.
    pub(crate) fn find<E: Engine, S: Storage>(
        engine: &mut E,
        storage: &mut S,
    ) -> Result<StorageContent, Refusal> {
        let summaries = [summarize(engine, storage, Slot::A)?, summarize(engine, storage, Slot::B)?];
        if let [SlotSummary::Empty | SlotSummary::Damaged, SlotSummary::Empty] = summaries {
            return Ok(StorageContent::Nothing);
        }
        // The present format first, then the higher number; the second slot of two that are equal.
        let rank = |summary: &SlotSummary| match summary {
            SlotSummary::Sound { sequence, is_earlier_format } => Some((!is_earlier_format, *sequence)),
            SlotSummary::Empty | SlotSummary::Damaged | SlotSummary::WithoutKey(_) => None,
        };
        let [a, b] = summaries.each_ref().map(rank);
        let latest = if a > b { Slot::A } else { Slot::B };
        let Some((_, sequence)) = a.max(b) else { return Ok(StorageContent::Invalid) };
        let Some(newest) = open(engine, storage, latest)? else { return Ok(StorageContent::Invalid) };
        let older = summary(engine, storage, latest.other())?;
        Ok(StorageContent::State(Self { latest, sequence, key: newest.key }, newest, older))
    }

    /// The highest plausible sequence number in the storage, and the summaries of the states that open; for a unit that has
    /// lost its state.
    pub(crate) fn salvage<E: Engine, S: Storage>(
        engine: &mut E,
        storage: &mut S,
    ) -> Result<(Option<u64>, [Option<StateSummary>; 2]), Refusal> {
        let mut highest = None;
        let mut summaries = [None, None];
        for (slot, place) in Slot::ALL.into_iter().zip(&mut summaries) {
            let number = match summarize(engine, storage, slot)? {
                SlotSummary::Sound { sequence, .. } | SlotSummary::WithoutKey(sequence) => sequence,
                SlotSummary::Empty | SlotSummary::Damaged => continue,
            };
            highest = highest.max(Some(number).filter(|number| *number < PLAUSIBLE_SEQUENCES));
            *place = summary(engine, storage, slot)?;
        }
        Ok((highest, summaries))
    }

    /// Overwrites both slots with zeros, for an engine that cannot seal a state. Tries both.
    pub(crate) fn erase<S: Storage>(storage: &mut S) -> Result<(), StorageFailed> {
        let [a, b] = Slot::ALL.map(|slot| storage.write(slot, &[0; MAX_SLOT_LEN]));
        a.and(b)
    }
}

/// Reads a slot and runs `work` on its content.
fn read<E: Engine, S: Storage, T>(
    engine: &mut E,
    storage: &mut S,
    slot: Slot,
    work: impl FnOnce(&mut E, &Content<'_>) -> Result<T, EngineError>,
) -> Result<T, Refusal> {
    // One byte more than the longest content, so that a longer one is detected.
    let mut buffer = [0; MAX_SLOT_LEN + 1];
    let len = storage.read(slot, &mut buffer).map_err(|StorageFailed| UnitError::StorageFailed)?;
    let content = inspect(engine, buffer.get(..len).unwrap_or(&buffer))?;
    Ok(work(engine, &content)?)
}

fn summarize<E: Engine, S: Storage>(
    engine: &mut E,
    storage: &mut S,
    slot: Slot,
) -> Result<SlotSummary, Refusal> {
    read(engine, storage, slot, |engine, content| {
        let sound = match content {
            Content::Empty => return Ok(SlotSummary::Empty),
            Content::Damaged => return Ok(SlotSummary::Damaged),
            Content::Sound(sound) => sound,
        };
        Ok(match sound.key(engine)? {
            Some(_) => {
                SlotSummary::Sound { sequence: sound.sequence, is_earlier_format: sound.key.is_none() }
            }
            None => SlotSummary::WithoutKey(sound.sequence),
        })
    })
}

fn open<E: Engine, S: Storage>(
    engine: &mut E,
    storage: &mut S,
    slot: Slot,
) -> Result<Option<OpenSlot>, Refusal> {
    read(engine, storage, slot, |engine, content| match content {
        Content::Empty | Content::Damaged => Ok(None),
        Content::Sound(sound) => sound.open(engine),
    })
}

fn summary<E: Engine, S: Storage>(
    engine: &mut E,
    storage: &mut S,
    slot: Slot,
) -> Result<Option<StateSummary>, Refusal> {
    Ok(open(engine, storage, slot)?.map(|open| open.summary()))
}
