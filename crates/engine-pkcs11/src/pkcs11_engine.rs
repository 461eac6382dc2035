//! The engine: the port's methods, each as calls to the token, and what is done when the token does not answer.

mod engine_methods;

use crate::error::CallError;
use crate::error::OpenError;
use crate::error::fault::{Fault, words};
use crate::objects::call::Desk;
use crate::objects::key_table::{Entry, Keys, Objects, Origin};
use crate::objects::persistence::{digest_key, see_to_device_key, working_copy};
use crate::objects::profile::Profile;
use crate::objects::store::{self, Id};
use crate::objects::template::{Role, template};
use crate::probe::Probe;
use crate::token::event::TokenEvent;
use crate::token::{Seat, Token};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KeyHandle, KeySpec, KeyUses};
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

pub(crate) const DEVICE_KEY: KeySpec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));

/// Whether the unit's own key may be made, or has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKeys {
    /// The unit is being made: its key is made if it is not there yet.
    New,
    /// The unit has lived: a token without its key is not its token.
    Known,
}

/// An engine over a token, with a session of its own.
///
/// Handles outlive sessions: what the token stores is found again under them. A key that only a lost session had is gone;
/// calls that name it fail with [`EngineError::DeviceRemoved`], and the command may be tried again from its start.
pub struct Pkcs11Engine {
    pub(crate) token: Arc<Token>,
    pub(crate) seat: Seat,
    /// The unit's name in labels.
    pub(crate) name: String,
    pub(crate) profile: Profile,
    pub(crate) keys: Keys,
    pub(crate) device_key: KeyHandle,
    /// The session that the keys' objects are of.
    generation: u64,
    gauge: Option<Gauge>,
    /// What was said once is not said again.
    unexpected: bool,
    key_lost: bool,
}

/// Two keys of the session: whether one still wraps the other tells whether the token still works.
#[derive(Clone, Copy)]
struct Gauge {
    wrapping: ObjectHandle,
    wrapped: ObjectHandle,
}

impl Pkcs11Engine {
    /// An engine for the unit of this name. Engines of one token need different names: at most 64 characters.
    ///
    /// Every mechanism that a unit needs is tried against a published answer first.
    ///
    /// # Errors
    /// [`OpenError::MechanismMissing`], [`OpenError::AnswerWrong`] for a token that no unit can use;
    /// [`OpenError::KeysMissing`] for one that is not this unit's.
    pub fn open(token: &Arc<Token>, name: &str, keys: UnitKeys) -> Result<Self, OpenError> {
        let seat = token.seat()?;
        let probe = Probe::run(token, &seat)?;
        probe.check()?;
        let failed = |stop| match stop {
            CallError::Token(error) => OpenError::Session(error),
            CallError::Refused(_) => {
                OpenError::ObjectInvalid { unit: name.to_owned(), what: "several claim to be one key" }
            }
        };
        let missing = || OpenError::KeysMissing { unit: name.to_owned() };
        let generation = token.ready(&seat).map_err(|_| OpenError::Away)?;
        let found = token.work(&seat, generation, |session| see_to_device_key(session, name, keys));
        if !found.ok_or(OpenError::Away)?.map_err(failed)? {
            return Err(missing());
        }
        let mut held = Keys::default();
        let device_key = held.insert(Entry::stored(DEVICE_KEY, Origin::Device, Id::DEVICE));
        let mut engine = Self {
            token: Arc::clone(token),
            seat,
            name: name.to_owned(),
            profile: probe.profile,
            keys: held,
            device_key,
            generation: 0,
            gauge: None,
            unexpected: false,
            key_lost: false,
        };
        engine.bind().map_err(|_| OpenError::Away)?;
        engine.settle();
        Ok(engine)
    }

    /// One line for people: the product, the token, and what is not done inside it.
    #[must_use]
    pub fn describe(&self) -> String {
        let product = self.token.info().map_or_else(
            |_| "a token that is away".to_owned(),
            |info| {
                let version = info.hardware_version();
                format!(
                    "{} {}.{}, token `{}`",
                    info.model().trim(),
                    version.major(),
                    version.minor(),
                    info.label().trim()
                )
            },
        );
        format!("{product}; {}; {}", self.profile.combination(), self.profile.derivation())
    }

    /// Does `work` at the token. What helps against a fault is tried once, and then the work once more. `vague` is what an
    /// error that may as well be trouble means of the input, if the token turns out to work.
    pub(crate) fn run<T>(
        &mut self,
        vague: Option<EngineError>,
        work: impl Fn(&Desk<'_>) -> Result<T, CallError>,
    ) -> Result<T, EngineError> {
        for first in [true, false] {
            self.bind()?;
            self.seat.set_at_rest(false);
            let outcome = self.token.work(&self.seat, self.generation, |session| {
                let desk = Desk::new(session, &self.keys, &self.profile, &self.name);
                let outcome = desk.run(&work);
                if desk.made() == 0 {
                    self.settle();
                }
                self.token.count_objects(desk.made());
                outcome
            });
            let error = match outcome {
                // Another engine has begun anew with the module since.
                None => continue,
                Some(Ok(done)) => return Ok(done),
                Some(Err(CallError::Refused(refused))) => return Err(refused),
                Some(Err(CallError::Token(error))) => error,
            };
            match Fault::of(&error) {
                Fault::Integrity => return Err(vague.unwrap_or(EngineError::DeviceError)),
                Fault::Vague if vague.is_some() && self.is_alive() => {
                    return Err(vague.unwrap_or(EngineError::DeviceError));
                }
                Fault::Vague | Fault::Session | Fault::LoggedOut if first => self.token.renew(&self.seat)?,
                Fault::Vague | Fault::Session | Fault::LoggedOut | Fault::Gone => self.token.lose(&error),
                fault @ Fault::Unsupported => {
                    if !std::mem::replace(&mut self.unexpected, true) {
                        self.token.report(&TokenEvent::Unexpected(words(&error)));
                    }
                    return Err(fault.into_engine_error());
                }
                fault => return Err(fault.into_engine_error()),
            }
        }
        Err(EngineError::DeviceRemoved)
    }

    /// Whether the token computes as it should.
    fn is_alive(&self) -> bool {
        let Some(gauge) = self.gauge else { return false };
        let wrapped = self.token.work(&self.seat, self.generation, |session| {
            session.wrap_key(&Ck::AesKeyWrap, gauge.wrapping, gauge.wrapped)
        });
        matches!(wrapped, Some(Ok(wrapped)) if wrapped.len() == 40)
    }

    /// Sees to a session, and finds the stored keys again if it is another than before.
    fn bind(&mut self) -> Result<(), EngineError> {
        let generation = self.token.ready(&self.seat)?;
        if generation == self.generation {
            return Ok(());
        }
        let (token, seat) = (Arc::clone(&self.token), self.seat.clone());
        match token.work(&seat, generation, |session| self.find_all(session)) {
            None => Err(EngineError::DeviceRemoved),
            Some(Ok(())) => {
                self.generation = generation;
                Ok(())
            }
            Some(Err(CallError::Refused(refused))) => {
                if refused == EngineError::DeviceError && !std::mem::replace(&mut self.key_lost, true) {
                    token.report(&TokenEvent::KeyLost);
                }
                Err(refused)
            }
            Some(Err(CallError::Token(error))) => {
                token.lose(&error);
                Err(EngineError::DeviceRemoved)
            }
        }
    }

    fn find_all(&mut self, session: &Session) -> Result<(), CallError> {
        self.gauge = None;
        for entry in self.keys.values_mut() {
            entry.objects = None;
        }
        for entry in self.keys.values_mut() {
            let Some(id) = entry.stored else { continue };
            let stored = store::find(session, &self.name, entry.origin, id)?;
            let Some(stored) = stored else {
                // A token without the device key is away, or another one; with it, and without this one, it lost it.
                let device = entry.origin == Origin::Device;
                return Err(if device { EngineError::DeviceRemoved } else { EngineError::DeviceError }.into());
            };
            entry.objects = Some(if entry.is_stored_itself() {
                let digest = digest_key(session, &[], stored.first)?;
                if entry.digest.is_some_and(|known| !bool::from(known.ct_eq(&digest))) {
                    return Err(EngineError::DeviceError.into());
                }
                stored
            } else {
                working_copy(session, stored)?
            });
        }
        let role = Role { wrap: true, allowed: vec![MechanismType::AES_KEY_WRAP], ..Role::NONE };
        let len = || Attribute::ValueLen(32.into());
        let generate = |role, extractable| {
            let mut attributes = template(KeyType::AES, role, extractable);
            attributes.push(len());
            session.generate_key(&Ck::AesKeyGen, &attributes)
        };
        self.gauge = Some(Gauge { wrapping: generate(&role, false)?, wrapped: generate(&Role::NONE, true)? });
        Ok(())
    }

    /// Notes whether everything that is held could be found again.
    pub(crate) fn settle(&self) {
        self.seat.set_at_rest(self.keys.are_all_stored());
    }

    /// Notes that stored keys are gone. A handle that worked with a copy goes on with it.
    pub(crate) fn forgotten(&mut self, goes: impl Fn(&Id) -> bool) {
        for entry in self.keys.values_mut().filter(|entry| entry.origin != Origin::Device) {
            if entry.stored.is_some_and(|id| goes(&id)) {
                if entry.is_stored_itself() {
                    entry.objects = None;
                }
                entry.stored = None;
            }
        }
    }

    /// Notes a key that was made.
    pub(crate) fn made(&mut self, spec: &KeySpec, origin: Origin, objects: Objects) -> KeyHandle {
        self.keys.insert(Entry::new(*spec, origin, objects))
    }

    pub(crate) fn check_new(&self, spec: &KeySpec) -> Result<(), EngineError> {
        spec.check()?;
        self.keys.check_room()
    }

    /// What the port means by a master key that is made inside.
    pub(crate) fn origin_of_generated(spec: &KeySpec) -> Origin {
        let master = KeySpec { extractable: spec.extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
        if *spec == master { Origin::Master } else { Origin::User }
    }
}

impl fmt::Debug for Pkcs11Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pkcs11Engine")
    }
}

#[cfg(test)]
mod tests {
    use super::Pkcs11Engine;

    #[test]
    fn an_engine_may_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Pkcs11Engine>();
    }
}
