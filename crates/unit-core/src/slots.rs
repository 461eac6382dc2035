//! Where the state is kept: two slots, written in turn.

use crate::slot::{Content, MAX_SLOT_LEN, OpenSlot, SoundSlot, inspect, seal};
use crate::state::State;
use crate::storage::{Slot, Storage, StorageFailed};
use engine::Engine;
use unit_api::{Refusal, UnitError};

/// No unit writes so often: what claims a higher number was written by somebody else, and is not gone by. Above it
/// there is room for 2²⁸ lives.
const PLAUSIBLE_SEQUENCES: u64 = 0xf000_0000;

/// Which slot holds the state that counts, and how far the numbers have got.
pub(crate) struct Slots {
    latest: Slot,
    sequence: u64,
}

/// How a write ended that did not succeed.
pub(crate) enum WriteError {
    /// Nothing reached the storage.
    NotWritten(Refusal),
    /// The slot may hold the old content, the new one, or neither.
    Unknown,
}

/// What storage holds.
#[expect(
    clippy::large_enum_variant,
    reason = "without a heap there is nowhere else to put it; one lives at a start"
)]
pub(crate) enum Found {
    /// No unit has lived here.
    Nothing,
    /// A state, and that of the slot before it as far as it can be told.
    State(Slots, OpenSlot, Option<OpenSlot>),
    /// Something, but no state of this unit.
    Invalid,
}

impl Slots {
    /// The slots of a unit that has written nothing.
    pub(crate) const fn unused() -> Self {
        Self { latest: Slot::B, sequence: 0 }
    }

    /// The slots, to go on behind whatever they hold.
    pub(crate) const fn after_sequence(sequence: u64) -> Self {
        Self { latest: Slot::B, sequence }
    }

    /// The number of the next write.
    pub(crate) fn next_sequence(&self) -> Result<u64, Refusal> {
        self.sequence.checked_add(1).ok_or_else(|| UnitError::StateInvalid.into())
    }

    /// Writes a state to the slot that can be done without. From here on it is the state that counts.
    ///
    /// Every attempt has a number of its own, so that two contents never claim the same.
    pub(crate) fn write<E: Engine, S: Storage>(
        &mut self,
        engine: &mut E,
        storage: &mut S,
        state: &State,
    ) -> Result<(), WriteError> {
        let sequence = self.next_sequence().map_err(WriteError::NotWritten)?;
        let bytes = seal(engine, state, sequence).map_err(|error| WriteError::NotWritten(error.into()))?;
        self.sequence = sequence;
        let slot = self.latest.other();
        storage.write(slot, &bytes).map_err(|StorageFailed| WriteError::Unknown)?;
        self.latest = slot;
        Ok(())
    }

    /// Looks for the newest state.
    ///
    /// A first write that was cut short counts as nothing: a unit writes both slots before it answers anybody.
    pub(crate) fn find<E: Engine, S: Storage>(engine: &mut E, storage: &mut S) -> Result<Found, Refusal> {
        let [a, b] = read_both(engine, storage)?;
        let (latest, newest, older) = match (a, b) {
            (Content::Empty | Content::Damaged, Content::Empty) => return Ok(Found::Nothing),
            (Content::Sound(a), Content::Sound(b)) if a.sequence > b.sequence => (Slot::A, a, Some(b)),
            (Content::Sound(a), Content::Sound(b)) => (Slot::B, b, Some(a)),
            (Content::Sound(a), _) => (Slot::A, a, None),
            (_, Content::Sound(b)) => (Slot::B, b, None),
            (_, Content::Damaged) => return Ok(Found::Invalid),
        };
        let slots = Self { latest, sequence: newest.sequence };
        let Some(newest) = newest.open(engine)? else { return Ok(Found::Invalid) };
        let older = match older {
            Some(older) => older.open(engine)?,
            None => None,
        };
        Ok(Found::State(slots, newest, older))
    }

    /// The highest plausible number that storage shows, and whatever opens; for a unit that has no state to go by.
    pub(crate) fn salvage<E: Engine, S: Storage>(
        engine: &mut E,
        storage: &mut S,
    ) -> Result<(Option<u64>, [Option<OpenSlot>; 2]), Refusal> {
        let found = read_both(engine, storage)?;
        let sound = found.each_ref().map(sound_slot);
        let numbers = sound.iter().flatten().map(|slot| slot.sequence);
        let highest = numbers.filter(|number| *number < PLAUSIBLE_SEQUENCES).max();
        let mut open = [None, None];
        for (place, slot) in open.iter_mut().zip(sound) {
            if let Some(slot) = slot {
                *place = slot.open(engine)?;
            }
        }
        Ok((highest, open))
    }
}

const fn sound_slot(content: &Content) -> Option<&SoundSlot> {
    match content {
        Content::Sound(slot) => Some(slot),
        Content::Empty | Content::Damaged => None,
    }
}

fn read_both<E: Engine, S: Storage>(engine: &mut E, storage: &mut S) -> Result<[Content; 2], Refusal> {
    let mut read = |slot| -> Result<Content, Refusal> {
        // One byte more than any content: what is longer is seen to be.
        let mut buffer = [0; MAX_SLOT_LEN + 1];
        let len = storage.read(slot, &mut buffer).map_err(|StorageFailed| UnitError::StorageFailed)?;
        let content = buffer.get(..len).unwrap_or(&buffer);
        Ok(inspect(engine, content)?)
    };
    Ok([read(Slot::A)?, read(Slot::B)?])
}
