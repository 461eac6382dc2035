//! One call at work: the session it has, the keys it may name, and what it has made so far.

use crate::error::CallError;
use crate::objects::clear::{self, Clear};
use crate::objects::key_table::{Entry, Keys, Objects};
use crate::objects::profile::Profile;
use crate::objects::template::{Role, key_type, template};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{Algorithm, EngineError, KeyHandle, KeySpec, KeyUses};
use std::cell::{Cell, RefCell};

/// What a call works with. Objects that it makes are destroyed again unless the call succeeds.
pub(crate) struct Desk<'a> {
    pub(crate) session: &'a Session,
    pub(crate) keys: &'a Keys,
    pub(crate) profile: &'a Profile,
    pub(crate) name: &'a str,
    made: RefCell<Vec<ObjectHandle>>,
    count: Cell<u64>,
}

impl<'a> Desk<'a> {
    pub(crate) const fn new(
        session: &'a Session,
        keys: &'a Keys,
        profile: &'a Profile,
        name: &'a str,
    ) -> Self {
        Self { session, keys, profile, name, made: RefCell::new(Vec::new()), count: Cell::new(0) }
    }

    /// Runs a call, and tidies up after one that did not succeed.
    pub(crate) fn run<T>(&self, work: impl FnOnce(&Self) -> Result<T, CallError>) -> Result<T, CallError> {
        let done = work(self);
        if done.is_err() {
            for object in self.made.take() {
                // The session may be gone, and the object with it.
                let _ = self.session.destroy_object(object);
            }
        }
        done
    }

    /// How many objects it made.
    pub(crate) fn made(&self) -> u64 {
        self.count.get()
    }

    /// Notes an object as this call's.
    pub(crate) fn keep(&self, object: ObjectHandle) -> ObjectHandle {
        self.made.borrow_mut().push(object);
        self.count.set(self.count.get() + 1);
        object
    }

    /// Destroys an object that the call was done with.
    pub(crate) fn drop_object(&self, object: ObjectHandle) -> Result<(), CallError> {
        self.made.borrow_mut().retain(|made| *made != object);
        Ok(self.session.destroy_object(object)?)
    }

    /// A key, if it may be put to this use.
    pub(crate) fn key(&self, key: KeyHandle, uses: KeyUses) -> Result<&'a Entry, CallError> {
        let entry = self.keys.entry(key)?;
        if entry.spec.uses.permits(uses) {
            Ok(entry)
        } else {
            Err(EngineError::KeyFunctionNotPermitted.into())
        }
    }

    /// An AES key, if it may be put to this use, and its objects.
    pub(crate) fn aes(&self, key: KeyHandle, uses: KeyUses) -> Result<Objects, CallError> {
        let entry = self.key(key, uses)?;
        if entry.spec.algorithm == Algorithm::Aes {
            Ok(entry.objects()?)
        } else {
            Err(EngineError::MechanismInvalid.into())
        }
    }

    /// Makes a session object with this value.
    pub(crate) fn create(&self, attributes: Vec<Attribute>, value: &[u8]) -> Result<ObjectHandle, CallError> {
        Ok(self.keep(clear::create(self.session, attributes, value)?))
    }

    /// The value of an extractable object.
    pub(crate) fn read(&self, object: ObjectHandle, len: usize) -> Result<Clear, CallError> {
        self.count.set(self.count.get() + 1);
        Ok(clear::read(self.session, object, len)??)
    }

    /// The objects of a key whose value is at hand.
    ///
    /// | key | first object | second |
    /// |---|---|---|
    /// | AES that wraps or unwraps | the key | single blocks, where the token does not pad as RFC 5649 says |
    /// | generic secret that the token takes as it is | the key | none |
    /// | any other generic secret ([`Profile::is_short`]) | the value, with zeros behind it if it is to be read again | the HMAC key, if it is one |
    pub(crate) fn objects(&self, spec: &KeySpec, value: &Clear) -> Result<Objects, CallError> {
        let role = Role::of(spec, self.profile);
        let kind = key_type(spec.algorithm);
        if self.profile.is_short(spec) {
            return self.short(spec, &role, value);
        }
        let first = self.create(template(kind, &role, spec.extractable), value.expose())?;
        let second = if self.profile.needs_blocks(spec) {
            let role = Role::blocks(spec, self.profile);
            Some(self.create(template(KeyType::AES, &role, false), value.expose())?)
        } else {
            None
        };
        Ok(Objects { first, second })
    }

    fn short(&self, spec: &KeySpec, role: &Role, value: &Clear) -> Result<Objects, CallError> {
        let mut held = Clear::copy(value.expose());
        if spec.extractable {
            held.resize(stored_len(spec));
        }
        let silent = Role { sign: false, verify: false, ..role.clone() };
        let first =
            self.create(template(KeyType::GENERIC_SECRET, &silent, spec.extractable), held.expose())?;
        let second = if role.sign || role.verify {
            // HMAC fills its key up with zeros to a block itself (FIPS 198-1 §4, step 3).
            held.resize(spec.len());
            held.resize(spec.len().max(self.profile.min_hmac_len));
            Some(self.create(template(KeyType::GENERIC_SECRET, role, false), held.expose())?)
        } else {
            None
        };
        Ok(Objects { first, second })
    }

    /// Encrypts one block.
    pub(crate) fn encrypt_block(&self, key: ObjectHandle, block: &mut [u8; 16]) -> Result<(), CallError> {
        let encrypted = self.session.encrypt(&Mechanism::AesEcb, key, block)?;
        *block = encrypted.as_slice().try_into().map_err(|_| EngineError::DeviceError)?;
        Ok(())
    }

    /// Decrypts one block.
    pub(crate) fn decrypt_block(&self, key: ObjectHandle, block: &mut [u8; 16]) -> Result<(), CallError> {
        let decrypted = zeroize::Zeroizing::new(self.session.decrypt(&Mechanism::AesEcb, key, block)?);
        *block = decrypted.as_slice().try_into().map_err(|_| EngineError::DeviceError)?;
        Ok(())
    }
}

/// How long the first object of a short secret is that may be read again: what every token can wrap.
pub(crate) const fn stored_len(spec: &KeySpec) -> usize {
    let len = spec.len().next_multiple_of(8);
    if len < 16 { 16 } else { len }
}
