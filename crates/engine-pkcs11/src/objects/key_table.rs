//! The keys that an engine has given handles to.

use crate::objects::store::Id;
use cryptoki::object::ObjectHandle;
use engine::{EngineError, KeyHandle, KeySpec};
use std::collections::BTreeMap;

/// Keys that an engine holds at a time; one of them is the device's own.
const MAX_KEYS: usize = 256;

/// Where a key comes from, as far as its rights depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Origin {
    /// Made, taken in or unwrapped for a user.
    User = 0,
    /// A master key.
    Master = 1,
    /// Derived from a master key; may wrap any key that the token lets go.
    Derived = 2,
    /// The device's own key.
    Device = 3,
}

impl Origin {
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::User),
            1 => Some(Self::Master),
            2 => Some(Self::Derived),
            _ => None,
        }
    }
}

/// The objects of one key on the token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objects {
    pub(crate) first: ObjectHandle,
    /// The same key in another role, where one object must not have both.
    pub(crate) second: Option<ObjectHandle>,
}

impl Objects {
    pub(crate) const fn of(first: ObjectHandle) -> Self {
        Self { first, second: None }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = ObjectHandle> {
        std::iter::once(self.first).chain(self.second)
    }
}

/// A key by handle.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) spec: KeySpec,
    pub(crate) origin: Origin,
    /// None once they were lost with a session, and could not be had again.
    pub(crate) objects: Option<Objects>,
    /// Under which name the token keeps it, if it does.
    pub(crate) stored: Option<Id>,
    /// Of a derived key: from which master key, and which of its derivations it is.
    pub(crate) derivation: Option<(KeyHandle, Id)>,
    /// Of a persisted master key: a digest, by which it is known again.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Entry {
    pub(crate) const fn new(spec: KeySpec, origin: Origin, objects: Objects) -> Self {
        Self { spec, origin, objects: Some(objects), stored: None, derivation: None, digest: None }
    }

    /// A key that the token keeps, not yet looked for.
    pub(crate) const fn stored(spec: KeySpec, origin: Origin, id: Id) -> Self {
        Self { spec, origin, objects: None, stored: Some(id), derivation: None, digest: None }
    }

    /// Its objects; lost ones are worth another try of the whole command, with keys made anew.
    pub(crate) fn objects(&self) -> Result<Objects, EngineError> {
        self.objects.ok_or(EngineError::DeviceRemoved)
    }

    /// Whether the object that works is the stored one itself, which nothing copies.
    pub(crate) const fn is_stored_itself(&self) -> bool {
        matches!(self.origin, Origin::Master) && self.stored.is_some()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: BTreeMap<u32, Entry>,
    last: u32,
}

impl Keys {
    /// Refuses when there is no room for another key, before anything is done for it.
    pub(crate) fn check_room(&self) -> Result<(), EngineError> {
        if self.entries.len() < MAX_KEYS { Ok(()) } else { Err(EngineError::DeviceMemory) }
    }

    /// Takes a key in under a handle that no other key had, as long as there are any.
    pub(crate) fn insert(&mut self, entry: Entry) -> KeyHandle {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.entries.contains_key(&self.last) {
                self.entries.insert(self.last, entry);
                return KeyHandle::from_raw(self.last);
            }
        }
    }

    pub(crate) fn entry(&self, key: KeyHandle) -> Result<&Entry, EngineError> {
        self.entries.get(&key.to_raw()).ok_or(EngineError::KeyHandleInvalid)
    }

    pub(crate) fn entry_mut(&mut self, key: KeyHandle) -> Result<&mut Entry, EngineError> {
        self.entries.get_mut(&key.to_raw()).ok_or(EngineError::KeyHandleInvalid)
    }

    pub(crate) fn remove(&mut self, key: KeyHandle) -> Option<Entry> {
        self.entries.remove(&key.to_raw())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    /// Whether the token keeps every one of them.
    pub(crate) fn are_all_stored(&self) -> bool {
        self.entries.values().all(|entry| entry.stored.is_some())
    }

    /// What was derived from a master key and is still held.
    pub(crate) fn derived_from(&self, master: KeyHandle) -> impl Iterator<Item = (KeyHandle, Id, Objects)> {
        self.entries.iter().filter_map(move |(raw, entry)| {
            let (from, id) = entry.derivation?;
            let objects = entry.objects.filter(|_| from == master)?;
            Some((KeyHandle::from_raw(*raw), id, objects))
        })
    }
}
