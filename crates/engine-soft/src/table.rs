//! A key table of fixed size, whose handles never refer to an earlier key.

use crate::key::SoftKey;
use engine::{EngineError, KeyHandle};
use heapless::Vec;

/// Keys by handle, at most `N` at a time.
///
/// A handle's number is `generation · N + place`. The generation of a place is incremented whenever its key is destroyed,
/// so that a handle repeats only after 2³² / `N` keys in one place.
pub(crate) struct KeyTable<const N: usize> {
    places: [Place; N],
    /// The places without a key, used as a stack.
    free: Vec<u16, N>,
}

struct Place {
    generation: u32,
    key: Option<SoftKey>,
}

impl<const N: usize> KeyTable<N> {
    /// Number of generations before they wrap around.
    const GENERATIONS: u32 = u32::MAX / N as u32;

    /// A table without keys.
    pub(crate) fn new() -> Self {
        const { assert!(N > 0 && N <= u16::MAX as usize) };
        let mut table = Self { places: [const { Place { generation: 1, key: None } }; N], free: Vec::new() };
        // Place 0 is taken first, from the end of the stack.
        for index in (0..N as u16).rev() {
            let _ = table.free.push(index);
        }
        table
    }

    /// Puts a key into a free place.
    pub(crate) fn insert(&mut self, key: SoftKey) -> Result<KeyHandle, EngineError> {
        let index = self.free.pop().ok_or(EngineError::DeviceMemory)?;
        let place = self.places.get_mut(usize::from(index)).ok_or(EngineError::DeviceMemory)?;
        place.key = Some(key);
        Ok(KeyHandle::from_raw(place.generation * N as u32 + u32::from(index)))
    }

    /// Refuses when no place is free, so that no work is done for a key that cannot be kept.
    pub(crate) fn check_room(&self) -> Result<(), EngineError> {
        if self.free.is_empty() { Err(EngineError::DeviceMemory) } else { Ok(()) }
    }

    /// The key with this handle.
    pub(crate) fn key(&self, handle: KeyHandle) -> Result<&SoftKey, EngineError> {
        let number = handle.to_raw();
        let place = self.places.get((number % N as u32) as usize);
        let place = place.filter(|place| place.generation == number / N as u32);
        place.and_then(|place| place.key.as_ref()).ok_or(EngineError::KeyHandleInvalid)
    }

    /// The key with this handle, to be changed.
    pub(crate) fn key_mut(&mut self, handle: KeyHandle) -> Result<&mut SoftKey, EngineError> {
        self.place_mut(handle)?.key.as_mut().ok_or(EngineError::KeyHandleInvalid)
    }

    /// Wipes the key with this handle and frees its place.
    pub(crate) fn remove(&mut self, handle: KeyHandle) -> Result<(), EngineError> {
        let place = self.place_mut(handle)?;
        place.key.take().ok_or(EngineError::KeyHandleInvalid)?;
        place.generation = place.generation % (Self::GENERATIONS - 1) + 1;
        // There is room for every place, and this one was not free.
        let _ = self.free.push((handle.to_raw() % N as u32) as u16);
        Ok(())
    }

    fn place_mut(&mut self, handle: KeyHandle) -> Result<&mut Place, EngineError> {
        let number = handle.to_raw();
        let place = self.places.get_mut((number % N as u32) as usize);
        place.filter(|place| place.generation == number / N as u32).ok_or(EngineError::KeyHandleInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::KeyTable;
    use crate::key::{Origin, SoftKey};
    use engine::{EngineError, KeyHandle, KeySpec, KeyUses};
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn key() -> SoftKey {
        SoftKey::new(&KeySpec::aes(32, KeyUses::NONE), Origin::User, |_| Ok(())).unwrap()
    }

    #[test]
    fn a_full_table_refuses_and_recovers() {
        let mut table = KeyTable::<5>::new();
        let handles: Vec<KeyHandle> = (0..5).map(|_| table.insert(key()).unwrap()).collect();
        assert_eq!(table.insert(key()), Err(EngineError::DeviceMemory));
        assert_eq!(table.check_room(), Err(EngineError::DeviceMemory));
        table.remove(handles[3]).unwrap();
        table.insert(key()).unwrap();
        assert_eq!(table.insert(key()), Err(EngineError::DeviceMemory));
    }

    #[test]
    fn no_handle_is_issued_twice() {
        let mut table = KeyTable::<3>::new();
        let mut given = BTreeSet::new();
        for _ in 0..1000 {
            let handle = table.insert(key()).unwrap();
            assert!(given.insert(handle.to_raw()));
            table.remove(handle).unwrap();
            assert!(table.key(handle).is_err() && table.key_mut(handle).is_err());
            assert_eq!(table.remove(handle), Err(EngineError::KeyHandleInvalid));
        }
    }

    #[test]
    fn generations_wrap_around_without_overflow() {
        let mut table = KeyTable::<1>::new();
        table.places[0].generation = u32::MAX - 2;
        for _ in 0..5 {
            let handle = table.insert(key()).unwrap();
            assert_ne!(handle.to_raw(), 0);
            table.remove(handle).unwrap();
        }
    }

    #[test]
    fn handles_that_were_never_issued_are_refused() {
        let table = KeyTable::<3>::new();
        for number in (0..100).chain([u32::MAX, u32::MAX - 1]) {
            assert_eq!(table.key(KeyHandle::from_raw(number)).err(), Some(EngineError::KeyHandleInvalid));
        }
    }
}
