//! State keys: each of a random secret that is kept in a place of its own, and erased there.
//!
//! ```text
//! place 0       device key    zeros, or: mark (16) ‖ secret (32) ‖ CMAC (16)
//! places 1 …    state keys    zeros, or: identifier (16) ‖ secret (32) ‖ CMAC (16)
//! ```
//!
//! A key is derived from its secret and from the device secret, so that it takes both. The CMAC, under a key of the device,
//! is over what precedes it: a record that was written in part, or by another device, is no key.

use crate::derivation::counter_cmac;
use crate::device::DeviceSecret;
use crate::key::{Origin, SoftKey};
use crate::mac::cmac;
use crate::symmetric::Cipher;
use crate::table::KeyTable;
use engine::{
    CMAC_LEN, EngineError, KeyHandle, KeySpec, KeyUses, STATE_KEY_ID_LEN, StateKeyId, declassify, publish,
};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Places of a [`StateKeyStore`].
pub const STATE_KEY_PLACES: usize = 5;
/// Length of the record in a place, in bytes.
pub const STATE_KEY_RECORD_LEN: usize = STATE_KEY_ID_LEN + SECRET_LEN + CMAC_LEN;

const SECRET_LEN: usize = 32;
/// The place of the secret that the device key is derived from, once it was renewed.
const DEVICE_KEY_PLACE: usize = 0;
/// Stands where the record of a state key has its identifier.
const DEVICE_KEY_MARK: StateKeyId = StateKeyId(*b"renewed device k");

/// The content of one place.
pub type StateKeyRecord = [u8; STATE_KEY_RECORD_LEN];

/// Durable places for the secrets of state keys.
///
/// What was overwritten must not be readable any more, as far as the hardware allows. A place that is being written when
/// power fails may have any content afterwards; the other places stay as they are.
pub trait StateKeyStore {
    /// Reads a place, of [`STATE_KEY_PLACES`]; zeros if it was never written.
    ///
    /// # Errors
    /// [`StateKeyStoreFailed`].
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed>;

    /// Overwrites a place. On return the new content is durable and the old one is erased.
    ///
    /// # Errors
    /// [`StateKeyStoreFailed`] when the place may have either content.
    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed>;
}

impl<S: StateKeyStore + ?Sized> StateKeyStore for &mut S {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        (**self).read(place, record)
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        (**self).write(place, record)
    }
}

/// The store failed; it reports the cause itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKeyStoreFailed;

impl From<StateKeyStoreFailed> for EngineError {
    fn from(_: StateKeyStoreFailed) -> Self {
        Self::StorageFailed
    }
}

/// Places in memory: state keys end with the engine, and so does every state sealed under them. For tests and benchmarks.
#[derive(Clone)]
pub struct VolatileStateKeys([StateKeyRecord; STATE_KEY_PLACES]);

impl Default for VolatileStateKeys {
    fn default() -> Self {
        Self([[0; STATE_KEY_RECORD_LEN]; STATE_KEY_PLACES])
    }
}

impl StateKeyStore for VolatileStateKeys {
    fn read(&mut self, place: usize, record: &mut StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        *record = *self.0.get(place).ok_or(StateKeyStoreFailed)?;
        Ok(())
    }

    fn write(&mut self, place: usize, record: &StateKeyRecord) -> Result<(), StateKeyStoreFailed> {
        *self.0.get_mut(place).ok_or(StateKeyStoreFailed)? = *record;
        Ok(())
    }
}

impl Drop for VolatileStateKeys {
    fn drop(&mut self) {
        self.0.as_flattened_mut().zeroize();
    }
}

/// The secret of one key, or the device's share.
type Secret = Zeroizing<[u8; SECRET_LEN]>;

/// The specification of state keys and of the device key.
pub(crate) const SEALING: KeySpec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));

/// The state keys of one device: their places, and the handles of those that are in the table.
pub(crate) struct StateKeys<S> {
    store: S,
    /// The device's key for records.
    authenticating: Cipher,
    /// The device's share of every state key.
    device_share: Secret,
    handles: [Option<(StateKeyId, KeyHandle)>; STATE_KEY_PLACES],
}

impl<S: StateKeyStore> StateKeys<S> {
    pub(crate) fn new(secret: &DeviceSecret, store: S) -> Result<Self, EngineError> {
        Ok(Self {
            store,
            authenticating: Cipher::new(&*secret.derive(b"state key authentication")?)?,
            device_share: secret.derive(b"state key")?,
            handles: [None; STATE_KEY_PLACES],
        })
    }

    /// Stores the secret of a new key in a free place. `random` fills the identifier and the secret.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if no place is free; [`EngineError::StorageFailed`]; those of `random`.
    pub(crate) fn create(
        &mut self,
        random: impl FnOnce(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<StateKeyId, EngineError> {
        let place = self.free_place()?.ok_or(EngineError::DeviceMemory)?;
        self.write(place, None, random)
    }

    /// The key with this identifier, in the table.
    ///
    /// # Errors
    /// [`EngineError::ReferenceInvalid`] if there is none; [`EngineError::StorageFailed`]; [`EngineError::DeviceMemory`].
    pub(crate) fn load<const KEYS: usize>(
        &mut self,
        id: &StateKeyId,
        keys: &mut KeyTable<KEYS>,
    ) -> Result<KeyHandle, EngineError> {
        if let Some((_, handle)) = self.handles.iter().flatten().find(|(loaded, _)| loaded == id) {
            return Ok(*handle);
        }
        for place in DEVICE_KEY_PLACE + 1..STATE_KEY_PLACES {
            let Some((found, secret)) = self.read(place)? else { continue };
            if found == *id {
                let handle = keys.insert(self.derive(&found, &secret)?)?;
                if let Some(loaded) = self.handles.get_mut(place) {
                    *loaded = Some((*id, handle));
                }
                return Ok(handle);
            }
        }
        Err(EngineError::ReferenceInvalid)
    }

    /// Erases every key but these, and every record that is none.
    ///
    /// # Errors
    /// [`EngineError::StorageFailed`]; a part may be erased then.
    pub(crate) fn destroy_all_but<const KEYS: usize>(
        &mut self,
        kept: &[StateKeyId],
        keys: &mut KeyTable<KEYS>,
    ) -> Result<(), EngineError> {
        for place in DEVICE_KEY_PLACE + 1..STATE_KEY_PLACES {
            if self.read(place)?.is_some_and(|(id, _)| kept.contains(&id)) {
                continue;
            }
            // Also where a record was written in part: it may have a whole secret.
            if !self.is_empty(place)? {
                self.store.write(place, &[0; STATE_KEY_RECORD_LEN])?;
            }
            if let Some((_, handle)) = self.handles.get_mut(place).and_then(Option::take) {
                keys.remove(handle)?;
            }
        }
        Ok(())
    }

    /// The device key: derived from the device secret alone, until it is renewed.
    pub(crate) fn device_key(&mut self, secret: &DeviceSecret) -> Result<SoftKey, EngineError> {
        match self.read(DEVICE_KEY_PLACE)?.filter(|(mark, _)| *mark == DEVICE_KEY_MARK) {
            Some((_, renewed)) => self.derive(&DEVICE_KEY_MARK, &renewed),
            None => {
                let value = secret.derive(b"device key")?;
                SoftKey::copied(&SEALING, Origin::Device, &*value)
            }
        }
    }

    /// Renews the device key and returns it.
    pub(crate) fn renew_device_key(
        &mut self,
        random: impl FnOnce(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<SoftKey, EngineError> {
        self.write(DEVICE_KEY_PLACE, Some(DEVICE_KEY_MARK), random)?;
        let (id, secret) = self.read(DEVICE_KEY_PLACE)?.ok_or(EngineError::StorageFailed)?;
        self.derive(&id, &secret)
    }

    /// Writes a record with a random secret, and a random identifier if none is given.
    fn write(
        &mut self,
        place: usize,
        id: Option<StateKeyId>,
        random: impl FnOnce(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<StateKeyId, EngineError> {
        let mut record = Zeroizing::new([0; STATE_KEY_RECORD_LEN]);
        let (body, mac) = record.split_last_chunk_mut::<CMAC_LEN>().ok_or(EngineError::DeviceError)?;
        random(body)?;
        let head = body.first_chunk_mut::<STATE_KEY_ID_LEN>().ok_or(EngineError::DeviceError)?;
        // It stands in the clear in every slot.
        let id = id.unwrap_or(StateKeyId(publish(*head)));
        *head = id.0;
        *mac = *cmac(&self.authenticating, &[body]);
        self.store.write(place, &record)?;
        Ok(id)
    }

    /// The identifier and secret in a place, if this device has written a whole record there.
    fn read(&mut self, place: usize) -> Result<Option<(StateKeyId, Secret)>, EngineError> {
        let mut record = Zeroizing::new([0; STATE_KEY_RECORD_LEN]);
        self.store.read(place, &mut record)?;
        let Some((body, mac)) = record.split_last_chunk::<CMAC_LEN>() else { return Ok(None) };
        if !declassify(cmac(&self.authenticating, &[body]).ct_eq(mac)) {
            return Ok(None);
        }
        Ok(body
            .split_first_chunk()
            .and_then(|(id, secret)| Some((StateKeyId(*id), Zeroizing::new(*secret.first_chunk()?)))))
    }

    fn is_empty(&mut self, place: usize) -> Result<bool, EngineError> {
        let mut record = Zeroizing::new([0; STATE_KEY_RECORD_LEN]);
        self.store.read(place, &mut record)?;
        Ok(declassify(record.ct_eq(&[0; STATE_KEY_RECORD_LEN])))
    }

    fn free_place(&mut self) -> Result<Option<usize>, EngineError> {
        for place in DEVICE_KEY_PLACE + 1..STATE_KEY_PLACES {
            if self.is_empty(place)? {
                return Ok(Some(place));
            }
        }
        // A record that was written in part, or by another device, is no key.
        for place in DEVICE_KEY_PLACE + 1..STATE_KEY_PLACES {
            if self.read(place)?.is_none() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The exclusive or of what is derived from the secret and what is derived from the device's share.
    fn derive(&self, id: &StateKeyId, secret: &Secret) -> Result<SoftKey, EngineError> {
        let mut share = Zeroizing::new([0; SECRET_LEN]);
        counter_cmac(&Cipher::new(&*self.device_share)?, b"state key", &id.0, &mut *share)?;
        let cipher = Cipher::new(&**secret)?;
        SoftKey::new(&SEALING, Origin::Device, |to| {
            counter_cmac(&cipher, b"state key", &id.0, to)?;
            to.iter_mut().zip(share.iter()).for_each(|(to, share)| *to ^= share);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{STATE_KEY_RECORD_LEN, StateKeyStore, StateKeys, VolatileStateKeys};
    use crate::device::DeviceSecret;
    use crate::table::KeyTable;
    use engine::{EngineError, StateKeyId};

    type Keys = StateKeys<VolatileStateKeys>;

    fn open(device: u8, store: &VolatileStateKeys) -> Keys {
        StateKeys::new(&DeviceSecret::new([device; 32]), store.clone()).unwrap()
    }

    fn create(keys: &mut Keys, byte: u8) -> Result<StateKeyId, EngineError> {
        keys.create(|to| {
            to.fill(byte);
            Ok(())
        })
    }

    #[test]
    fn a_key_takes_the_record_and_the_device_and_is_gone_once_erased() {
        let mut table = KeyTable::<8>::new();
        let mut keys = open(1, &VolatileStateKeys::default());
        let (first, second) = (create(&mut keys, 1).unwrap(), create(&mut keys, 2).unwrap());
        let before = keys.store.clone();
        for id in [first, second] {
            keys.load(&id, &mut table).unwrap();
            assert_eq!(open(2, &before).load(&id, &mut table), Err(EngineError::ReferenceInvalid));
        }
        keys.destroy_all_but(&[second], &mut table).unwrap();
        assert_eq!(keys.load(&first, &mut table), Err(EngineError::ReferenceInvalid));
        keys.load(&second, &mut table).unwrap();
        let mut record = [7; STATE_KEY_RECORD_LEN];
        keys.store.read(1, &mut record).unwrap();
        assert_eq!(record, [0; STATE_KEY_RECORD_LEN], "the secret is not erased");
    }

    #[test]
    fn a_record_that_was_written_in_part_is_no_key_and_its_place_is_used_again() {
        let mut table = KeyTable::<8>::new();
        let mut keys = open(1, &VolatileStateKeys::default());
        let id = create(&mut keys, 1).unwrap();
        let mut record = [0; STATE_KEY_RECORD_LEN];
        keys.store.read(1, &mut record).unwrap();
        for at in 0..STATE_KEY_RECORD_LEN {
            let mut damaged = record;
            damaged[at] ^= 1;
            keys.store.write(1, &damaged).unwrap();
            assert_eq!(keys.load(&id, &mut table), Err(EngineError::ReferenceInvalid), "byte {at}");
        }
        for byte in 2..6 {
            create(&mut keys, byte).unwrap();
        }
        assert_eq!(create(&mut keys, 6), Err(EngineError::DeviceMemory));
        keys.destroy_all_but(&[], &mut table).unwrap();
        create(&mut keys, 6).unwrap();
    }
}
