//! The keys that an engine has given handles to.

use super::derived_keys::CarriedKeys;
use super::reference::ObjectId;
use cryptoki::object::ObjectHandle;
use engine::{EngineError, KeyHandle, KeySpec};
use std::collections::BTreeMap;

/// Keys that an engine holds at a time, including the device key.
const MAX_KEYS: usize = 256;

/// How a key came about, as far as its rights depend on it. The numbers are part of stored references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyOrigin {
    /// Generated, imported or unwrapped, or derived from such a key.
    User = 0,
    /// A master key.
    Master = 1,
    /// Derived from a master key; may wrap any key that the token lets out.
    Derived = 2,
    /// The unit's device key, or one of its state keys.
    Device = 3,
}

impl KeyOrigin {
    /// The origin with this number, if keys of that origin have references.
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
pub(crate) struct KeyObjects {
    pub(crate) primary: ObjectHandle,
    /// The same key for another usage, where one object must not permit both.
    pub(crate) secondary: Option<ObjectHandle>,
}

impl KeyObjects {
    pub(crate) const fn single(primary: ObjectHandle) -> Self {
        Self { primary, secondary: None }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = ObjectHandle> {
        std::iter::once(self.primary).chain(self.secondary)
    }
}

/// A key with a handle.
#[derive(Clone, Debug)]
pub(crate) struct KeyEntry {
    pub(crate) spec: KeySpec,
    pub(crate) origin: KeyOrigin,
    /// `None` once they were lost with a session and could not be restored.
    pub(crate) objects: Option<KeyObjects>,
    /// Identifier of its stored objects, if the key is stored on the token.
    pub(crate) stored_as: Option<ObjectId>,
    /// For a key derived from a master key: the master key, and the identifier of the derivation.
    pub(crate) derived_by: Option<(KeyHandle, ObjectId)>,
    /// For a stored master key and the keys derived from it: the derived keys in its reference. `None` if an earlier version
    /// has stored them as objects.
    pub(crate) carried: Option<CarriedKeys>,
    /// For a stored master key: its digest, compared when the key is found again in another session.
    pub(crate) digest: Option<[u8; 32]>,
}

impl KeyEntry {
    pub(crate) const fn new(spec: KeySpec, origin: KeyOrigin, objects: KeyObjects) -> Self {
        Self {
            spec,
            origin,
            objects: Some(objects),
            stored_as: None,
            derived_by: None,
            carried: None,
            digest: None,
        }
    }

    /// A key stored on the token, whose objects are not loaded yet.
    pub(crate) const fn stored(spec: KeySpec, origin: KeyOrigin, id: ObjectId) -> Self {
        Self {
            spec,
            origin,
            objects: None,
            stored_as: Some(id),
            derived_by: None,
            carried: None,
            digest: None,
        }
    }

    /// The key's objects.
    ///
    /// # Errors
    /// [`EngineError::DeviceRemoved`] if they were lost; the unit may retry the command with new keys.
    pub(crate) fn objects(&self) -> Result<KeyObjects, EngineError> {
        self.objects.ok_or(EngineError::DeviceRemoved)
    }

    /// Whether the key works with its stored object itself, which cannot be copied. Others work with session objects.
    pub(crate) const fn uses_stored_object(&self) -> bool {
        matches!(self.origin, KeyOrigin::Master | KeyOrigin::Device) && self.stored_as.is_some()
    }
}

/// All keys of an engine, by handle.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    entries: BTreeMap<u32, KeyEntry>,
    last_handle: u32,
}

impl KeyTable {
    /// Checked before a key is created.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the table is full.
    pub(crate) fn check_room(&self) -> Result<(), EngineError> {
        if self.entries.len() < MAX_KEYS { Ok(()) } else { Err(EngineError::DeviceMemory) }
    }

    /// Adds a key under a new handle. Handles are reused only after all 2³² − 1 were used.
    pub(crate) fn insert(&mut self, entry: KeyEntry) -> KeyHandle {
        loop {
            self.last_handle = self.last_handle.wrapping_add(1);
            if self.last_handle != 0 && !self.entries.contains_key(&self.last_handle) {
                self.entries.insert(self.last_handle, entry);
                return KeyHandle::from_raw(self.last_handle);
            }
        }
    }

    pub(crate) fn entry(&self, key: KeyHandle) -> Result<&KeyEntry, EngineError> {
        self.entries.get(&key.to_raw()).ok_or(EngineError::KeyHandleInvalid)
    }

    pub(crate) fn entry_mut(&mut self, key: KeyHandle) -> Result<&mut KeyEntry, EngineError> {
        self.entries.get_mut(&key.to_raw()).ok_or(EngineError::KeyHandleInvalid)
    }

    pub(crate) fn remove(&mut self, key: KeyHandle) -> Option<KeyEntry> {
        self.entries.remove(&key.to_raw())
    }

    /// Removes the keys that `is_kept` does not select.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&KeyEntry) -> bool) {
        self.entries.retain(|_, entry| is_kept(entry));
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut KeyEntry> {
        self.entries.values_mut()
    }

    /// All keys with their handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyHandle, &KeyEntry)> {
        self.entries.iter().map(|(raw, entry)| (KeyHandle::from_raw(*raw), entry))
    }

    /// Whether every key is stored on the token, so that a new session loses none.
    pub(crate) fn all_stored(&self) -> bool {
        self.entries.values().all(|entry| entry.stored_as.is_some())
    }

    /// The keys derived from this master key whose objects are loaded: handle, derivation, specification and objects.
    pub(crate) fn derived_from(
        &self,
        master: KeyHandle,
    ) -> impl Iterator<Item = (KeyHandle, ObjectId, &KeySpec, KeyObjects)> {
        self.iter().filter_map(move |(handle, entry)| {
            let (base, derivation) = entry.derived_by?;
            let objects = entry.objects.filter(|_| base == master)?;
            Some((handle, derivation, &entry.spec, objects))
        })
    }

    /// The different derivations from this master key: each with its specification and the object of one of its keys.
    pub(crate) fn derivations_of(&self, master: KeyHandle) -> Vec<(ObjectId, KeySpec, ObjectHandle)> {
        let mut derivations: Vec<(ObjectId, KeySpec, ObjectHandle)> = Vec::new();
        for (_, derivation, spec, objects) in self.derived_from(master) {
            if !derivations.iter().any(|(other, ..)| *other == derivation) {
                derivations.push((derivation, *spec, objects.primary));
            }
        }
        derivations
    }
}
