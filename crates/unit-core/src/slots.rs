//! Where the state is kept: two slots, written in turn.

use crate::slot::{Content, MAX_SLOT_LEN, OpenSlot, Outline, inspect, seal};
use crate::state::State;
use crate::storage::{Slot, Storage, StorageFailed};
use engine::{Engine, EngineError};
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
    State(Slots, OpenSlot, Option<Outline>),
    /// Something, but no state of this unit.
    Invalid,
}

/// What is in a slot, from outside.
enum Sight {
    Empty,
    Damaged,
    /// Whole, with this number.
    Sound(u64),
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

    /// The number of the last write.
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
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
        let mut bytes = [0; MAX_SLOT_LEN];
        let sealed = seal(engine, state, sequence, &mut bytes);
        sealed.map_err(|error| WriteError::NotWritten(error.into()))?;
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
        let sights = [look_at(engine, storage, Slot::A)?, look_at(engine, storage, Slot::B)?];
        let (latest, sequence, has_older) = match sights {
            [Sight::Empty | Sight::Damaged, Sight::Empty] => return Ok(Found::Nothing),
            [Sight::Sound(a), Sight::Sound(b)] if a > b => (Slot::A, a, true),
            [Sight::Sound(_), Sight::Sound(b)] => (Slot::B, b, true),
            [Sight::Sound(a), _] => (Slot::A, a, false),
            [_, Sight::Sound(b)] => (Slot::B, b, false),
            [_, Sight::Damaged] => return Ok(Found::Invalid),
        };
        let Some(newest) = open(engine, storage, latest)? else { return Ok(Found::Invalid) };
        let older = if has_older { outline(engine, storage, latest.other())? } else { None };
        Ok(Found::State(Self { latest, sequence }, newest, older))
    }

    /// The highest plausible number that storage shows, and whatever opens; for a unit that has no state to go by.
    pub(crate) fn salvage<E: Engine, S: Storage>(
        engine: &mut E,
        storage: &mut S,
    ) -> Result<(Option<u64>, [Option<Outline>; 2]), Refusal> {
        let mut highest = None;
        let mut outlines = [None, None];
        for (slot, place) in Slot::ALL.into_iter().zip(&mut outlines) {
            if let Sight::Sound(number) = look_at(engine, storage, slot)? {
                highest = highest.max(Some(number).filter(|number| *number < PLAUSIBLE_SEQUENCES));
                *place = outline(engine, storage, slot)?;
            }
        }
        Ok((highest, outlines))
    }

    /// Makes both slots bytes that are no slot's, where nothing better can be written. Tries both.
    pub(crate) fn erase<S: Storage>(storage: &mut S) -> Result<(), StorageFailed> {
        let [a, b] = Slot::ALL.map(|slot| storage.write(slot, &[0; MAX_SLOT_LEN]));
        a.and(b)
    }
}

/// Reads a slot and does `work` with what is in it.
fn read<E: Engine, S: Storage, T>(
    engine: &mut E,
    storage: &mut S,
    slot: Slot,
    work: impl FnOnce(&mut E, &Content<'_>) -> Result<T, EngineError>,
) -> Result<T, Refusal> {
    // One byte more than any content: what is longer is seen to be.
    let mut buffer = [0; MAX_SLOT_LEN + 1];
    let len = storage.read(slot, &mut buffer).map_err(|StorageFailed| UnitError::StorageFailed)?;
    let content = inspect(engine, buffer.get(..len).unwrap_or(&buffer))?;
    Ok(work(engine, &content)?)
}

fn look_at<E: Engine, S: Storage>(engine: &mut E, storage: &mut S, slot: Slot) -> Result<Sight, Refusal> {
    read(engine, storage, slot, |_, content| {
        Ok(match content {
            Content::Empty => Sight::Empty,
            Content::Damaged => Sight::Damaged,
            Content::Sound(sound) => Sight::Sound(sound.sequence),
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

fn outline<E: Engine, S: Storage>(
    engine: &mut E,
    storage: &mut S,
    slot: Slot,
) -> Result<Option<Outline>, Refusal> {
    Ok(open(engine, storage, slot)?.map(|open| open.outline()))
}
