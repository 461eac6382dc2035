//! One call to the token: its session, the keys it may use, and the objects it has created so far.

use super::clear_key::{self, ClearKey};
use super::{KeyEntry, KeyObjects, KeyTable, Profile, template};
use crate::error::CallError;
use crate::random;
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use engine::{Algorithm, EngineError, KeyHandle, KeySpec, KeyUses};
use std::cell::{Cell, RefCell};
use zeroize::Zeroizing;

/// What a call works with. It destroys the objects it has created unless it succeeds.
pub(crate) struct CallContext<'a> {
    pub(crate) session: &'a Session,
    pub(crate) keys: &'a KeyTable,
    pub(crate) profile: &'a Profile,
    pub(crate) unit_name: &'a str,
    /// Objects to destroy if the call fails.
    created: RefCell<Vec<ObjectHandle>>,
    created_count: Cell<u64>,
}

impl<'a> CallContext<'a> {
    pub(crate) const fn new(
        session: &'a Session,
        keys: &'a KeyTable,
        profile: &'a Profile,
        unit_name: &'a str,
    ) -> Self {
        Self {
            session,
            keys,
            profile,
            unit_name,
            created: RefCell::new(Vec::new()),
            created_count: Cell::new(0),
        }
    }

    /// Runs the call's work. If it fails, destroys the objects it has created.
    pub(crate) fn run_or_undo<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let result = work(self);
        if result.is_err() {
            for object in self.created.take() {
                // Fails if the session is gone, and the object with it.
                let _ = self.session.destroy_object(object);
            }
        }
        result
    }

    /// Number of objects created so far, including those destroyed again.
    pub(crate) fn created_count(&self) -> u64 {
        self.created_count.get()
    }

    /// Registers an object that the call has created.
    pub(crate) fn track(&self, object: ObjectHandle) -> ObjectHandle {
        self.created.borrow_mut().push(object);
        self.created_count.set(self.created_count.get() + 1);
        object
    }

    /// Destroys a temporary object of the call.
    pub(crate) fn destroy(&self, object: ObjectHandle) -> Result<(), CallError> {
        self.created.borrow_mut().retain(|created| *created != object);
        Ok(self.session.destroy_object(object)?)
    }

    /// The key with this handle.
    ///
    /// # Errors
    /// [`EngineError::KeyHandleInvalid`]; [`EngineError::KeyFunctionNotPermitted`] if it does not permit `uses`.
    pub(crate) fn key(&self, key: KeyHandle, uses: KeyUses) -> Result<&'a KeyEntry, CallError> {
        let entry = self.keys.entry(key)?;
        if entry.spec.uses.permits(uses) {
            Ok(entry)
        } else {
            Err(EngineError::KeyFunctionNotPermitted.into())
        }
    }

    /// The objects of the AES key with this handle.
    ///
    /// # Errors
    /// As [`CallContext::key`]; [`EngineError::MechanismInvalid`] if it is not an AES key.
    pub(crate) fn aes_key(&self, key: KeyHandle, uses: KeyUses) -> Result<KeyObjects, CallError> {
        let entry = self.key(key, uses)?;
        if entry.spec.algorithm == Algorithm::Aes {
            Ok(entry.objects()?)
        } else {
            Err(EngineError::MechanismInvalid.into())
        }
    }

    /// Creates a session object with this value.
    pub(crate) fn create(&self, attributes: Vec<Attribute>, value: &[u8]) -> Result<ObjectHandle, CallError> {
        Ok(self.track(clear_key::create(self.session, attributes, value)?))
    }

    /// Reads the value of an extractable object, `len` bytes long.
    pub(crate) fn read(&self, object: ObjectHandle, len: usize) -> Result<ClearKey, CallError> {
        // The ephemeral wrapping key.
        self.created_count.set(self.created_count.get() + 1);
        clear_key::read(self.session, object, len)
    }

    /// Fills `out` with random bytes of the token and the system together.
    pub(crate) fn random(&self, out: &mut [u8]) -> Result<(), CallError> {
        random::fill(self.session, out)
    }

    /// Creates the objects of a key with this value; their table is at [`template::of_key`].
    pub(crate) fn create_key(&self, spec: &KeySpec, value: &ClearKey) -> Result<KeyObjects, CallError> {
        let (primary, secondary) = template::of_key(spec, self.profile);
        let mut value = ClearKey::copy(value.expose());
        let is_padded = self.profile.is_padded_secret(spec);
        if is_padded && spec.extractable {
            value.resize(padded_len(spec));
        }
        let primary = self.create(primary, value.expose())?;
        if is_padded {
            // Appended zeros do not change an HMAC: it pads its key with zeros to a block (FIPS 198-1 §4, step 3).
            value.resize(spec.len());
            value.resize(spec.len().max(self.profile.min_hmac_key_len));
        }
        let secondary = secondary.map(|secondary| self.create(secondary, value.expose())).transpose()?;
        Ok(KeyObjects { primary, secondary })
    }

    /// Encrypts one block in place.
    pub(crate) fn encrypt_block(&self, key: ObjectHandle, block: &mut [u8; 16]) -> Result<(), CallError> {
        let encrypted = self.session.encrypt(&Ck::AesEcb, key, block)?;
        *block = encrypted.as_slice().try_into().map_err(|_| EngineError::DeviceError)?;
        Ok(())
    }

    /// Decrypts one block in place.
    pub(crate) fn decrypt_block(&self, key: ObjectHandle, block: &mut [u8; 16]) -> Result<(), CallError> {
        let decrypted = Zeroizing::new(self.session.decrypt(&Ck::AesEcb, key, block)?);
        *block = decrypted.as_slice().try_into().map_err(|_| EngineError::DeviceError)?;
        Ok(())
    }
}

/// Length of the primary object of an extractable padded secret: the next length that AES-KW can wrap.
pub(crate) const fn padded_len(spec: &KeySpec) -> usize {
    let len = spec.len().next_multiple_of(8);
    if len < 16 { 16 } else { len }
}
