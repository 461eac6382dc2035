//! The engine: opening it on a token, and running its calls with recovery from a lost session or token.

mod engine_methods;

use crate::error::{CallError, Fault, OpenError, short_text};
use crate::objects::reference::ObjectId;
use crate::objects::{
    CallContext, DEVICE_KEY_SPEC, DeviceKeyMode, KeyEntry, KeyObjects, KeyOrigin, KeyTable, ObjectUsage,
    Profile, TokenAttestationKey, derived_keys, digest_key, ensure_device_key, find_device_key,
    find_state_key, persistence, template,
};
use crate::probe::Probe;
use crate::random;
use crate::token::{EngineSession, Token, TokenEvent};
use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::Session;
use engine::{EngineError, KeyHandle, KeySpec, KeyUses};
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// An engine on a token, with a session of its own.
///
/// Handles outlive sessions: keys stored on the token are found again in a new session under the same handles. A key that
/// existed in a lost session only is gone; calls with its handle return [`EngineError::DeviceRemoved`], and the unit may
/// retry its command from the start.
pub struct Pkcs11Engine {
    token: Arc<Token>,
    session: EngineSession,
    /// The unit's name, part of the labels of its objects.
    unit_name: String,
    profile: Profile,
    keys: KeyTable,
    device_key: KeyHandle,
    attestation_key: TokenAttestationKey,
    /// Generation of the session that the object handles in `keys` belong to; 0 before the first.
    generation: u64,
    liveness_keys: Option<LivenessKeys>,
    /// Whether [`TokenEvent::UnexpectedError`] was reported.
    unexpected_error_reported: bool,
    /// Whether [`TokenEvent::StoredKeyLost`] was reported.
    key_loss_reported: bool,
    /// Whether [`TokenEvent::EarlierDerivedKeys`] was reported.
    earlier_keys_reported: bool,
}

/// Two session keys. Wrapping one under the other shows whether the token works.
#[derive(Clone, Copy)]
struct LivenessKeys {
    kek: ObjectHandle,
    key: ObjectHandle,
}

/// Length of a 32-byte key wrapped with AES-KW, in bytes.
const LIVENESS_WRAPPED_LEN: usize = 40;

impl Pkcs11Engine {
    /// Opens an engine for the unit of this name, at most 64 characters. Each engine on a token needs another name.
    ///
    /// Runs the probe first: every mechanism that a unit needs has to return its published result.
    ///
    /// # Errors
    /// [`OpenError::MechanismMissing`] or [`OpenError::WrongResult`] for a token that no unit can use;
    /// [`OpenError::DeviceKeyMissing`] if `device_key` is [`DeviceKeyMode::MustExist`] and the token has none;
    /// [`OpenError::ObjectInvalid`], [`OpenError::SessionsExhausted`], [`OpenError::TokenUnavailable`] or
    /// [`OpenError::Token`].
    pub fn open(token: &Arc<Token>, unit_name: &str, device_key: DeviceKeyMode) -> Result<Self, OpenError> {
        let session = token.open_engine_session()?;
        let probe = Probe::run(token, &session)?;
        probe.check()?;
        let generation = token.ensure_session(&session).map_err(|_| OpenError::TokenUnavailable)?;
        let profile = probe.profile;
        let has_device_key = token
            .with_session(&session, generation, |session| {
                random::seed(session);
                ensure_device_key(session, unit_name, &profile, device_key)
            })
            .ok_or(OpenError::TokenUnavailable)?
            .map_err(|error| match error {
                CallError::Token(error) => OpenError::Token(error),
                CallError::Refused(refusal) => {
                    OpenError::ObjectInvalid { unit: unit_name.to_owned(), refusal }
                }
                CallError::Engine(_) => OpenError::TokenUnavailable,
            })?;
        if !has_device_key {
            return Err(OpenError::DeviceKeyMissing { unit: unit_name.to_owned() });
        }
        let attestation_key = token
            .with_session(&session, generation, |session| {
                TokenAttestationKey::ensure(session, unit_name, &profile)
            })
            .ok_or(OpenError::TokenUnavailable)?
            .map_err(|error| match error {
                CallError::Token(error) => OpenError::Token(error),
                CallError::Refused(refusal) => {
                    OpenError::ObjectInvalid { unit: unit_name.to_owned(), refusal }
                }
                CallError::Engine(_) => OpenError::AttestationKeyInvalid { unit: unit_name.to_owned() },
            })?;
        let mut keys = KeyTable::default();
        let device_key = keys.insert(KeyEntry::stored(DEVICE_KEY_SPEC, KeyOrigin::Device, ObjectId::DEVICE));
        let mut engine = Self {
            token: Arc::clone(token),
            session,
            unit_name: unit_name.to_owned(),
            profile,
            keys,
            device_key,
            attestation_key,
            generation: 0,
            liveness_keys: None,
            unexpected_error_reported: false,
            key_loss_reported: false,
            earlier_keys_reported: false,
        };
        engine.sync_session().map_err(|_| OpenError::TokenUnavailable)?;
        engine.update_recoverable();
        Ok(engine)
    }

    /// One line for users: the token's model, version and label, and which operations are done outside the token.
    #[must_use]
    pub fn describe(&self) -> String {
        let product = self.token.info().map_or_else(
            |_| "unreachable token".to_owned(),
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

    /// Runs `work` on the token. After a recoverable fault, recovers and runs it once more.
    ///
    /// `integrity_error` is returned if the input failed its integrity check, also where the token reports that by an
    /// ambiguous code such as `CKR_GENERAL_ERROR`; in that case the token is first checked to be working.
    fn run<T>(
        &mut self,
        integrity_error: Option<EngineError>,
        work: impl Fn(&CallContext<'_>) -> Result<T, CallError>,
    ) -> Result<T, EngineError> {
        for is_first in [true, false] {
            self.sync_session()?;
            self.session.set_recoverable(false);
            let outcome = self.token.with_session(&self.session, self.generation, |session| {
                let call = CallContext::new(session, &self.keys, &self.profile, &self.unit_name);
                let outcome = call.run_or_undo(&work);
                if call.created_count() == 0 {
                    self.update_recoverable();
                }
                self.token.count_objects(call.created_count());
                outcome
            });
            let error = match outcome {
                // Recovery on behalf of another engine has replaced the session meanwhile.
                None => continue,
                Some(Ok(result)) => return Ok(result),
                Some(Err(CallError::Engine(error))) => return Err(error),
                Some(Err(CallError::Refused(refusal))) => {
                    self.token.report(&TokenEvent::ObjectRefused(refusal));
                    return Err(EngineError::ReferenceInvalid);
                }
                Some(Err(CallError::Token(error))) => error,
            };
            match Fault::of(&error) {
                Fault::Integrity => return Err(integrity_error.unwrap_or(EngineError::DeviceError)),
                Fault::Ambiguous if integrity_error.is_some() && self.token_works() => {
                    return Err(integrity_error.unwrap_or(EngineError::DeviceError));
                }
                Fault::Ambiguous | Fault::SessionLost | Fault::LoggedOut if is_first => {
                    self.token.renew_session(&self.session)?;
                }
                Fault::Ambiguous | Fault::SessionLost | Fault::LoggedOut | Fault::TokenLost => {
                    self.token.mark_lost(&error);
                }
                fault @ Fault::Unsupported => {
                    if !std::mem::replace(&mut self.unexpected_error_reported, true) {
                        self.token.report(&TokenEvent::UnexpectedError(short_text(&error)));
                    }
                    return Err(fault.into_engine_error());
                }
                fault => return Err(fault.into_engine_error()),
            }
        }
        Err(EngineError::DeviceRemoved)
    }

    /// Whether the token still computes.
    fn token_works(&self) -> bool {
        let Some(keys) = self.liveness_keys else { return false };
        let wrapped = self.token.with_session(&self.session, self.generation, |session| {
            session.wrap_key(&Ck::AesKeyWrap, keys.kek, keys.key)
        });
        matches!(wrapped, Some(Ok(wrapped)) if wrapped.len() == LIVENESS_WRAPPED_LEN)
    }

    /// Ensures that there is a session. If it is a new one, finds the stored keys again in it.
    fn sync_session(&mut self) -> Result<(), EngineError> {
        let generation = self.token.ensure_session(&self.session)?;
        if generation == self.generation {
            return Ok(());
        }
        let (token, session) = (Arc::clone(&self.token), self.session.clone());
        match token.with_session(&session, generation, |session| self.reload_keys(session)) {
            None => Err(EngineError::DeviceRemoved),
            Some(Ok(())) => {
                self.generation = generation;
                Ok(())
            }
            Some(Err(CallError::Engine(error))) => {
                if error == EngineError::DeviceError && !std::mem::replace(&mut self.key_loss_reported, true)
                {
                    token.report(&TokenEvent::StoredKeyLost);
                }
                Err(error)
            }
            Some(Err(CallError::Refused(refusal))) => {
                if !std::mem::replace(&mut self.key_loss_reported, true) {
                    token.report(&TokenEvent::ObjectRefused(refusal));
                }
                Err(EngineError::DeviceError)
            }
            Some(Err(CallError::Token(error))) => {
                token.mark_lost(&error);
                Err(EngineError::DeviceRemoved)
            }
        }
    }

    /// Finds the stored keys in a new session; session keys stay in the table without objects.
    ///
    /// # Errors
    /// [`EngineError::DeviceRemoved`] if the device key is missing: the token is not there, or another one is.
    /// [`EngineError::DeviceError`] if another stored key is missing or a master key was replaced.
    fn reload_keys(&mut self, session: &Session) -> Result<(), CallError> {
        self.liveness_keys = None;
        for entry in self.keys.values_mut() {
            entry.objects = None;
        }
        let call = CallContext::new(session, &self.keys, &self.profile, &self.unit_name);
        let (loaded, liveness_keys) = call.run_or_undo(|call| {
            let mut loaded = Vec::new();
            for (handle, entry) in call.keys.iter() {
                if let Some(id) = entry.stored_as {
                    loaded.push((handle, reload_key(call, entry, id)?));
                }
            }
            Ok((loaded, LivenessKeys::generate(session)?))
        })?;
        for (handle, objects) in loaded {
            self.keys.entry_mut(handle)?.objects = Some(objects);
        }
        self.liveness_keys = Some(liveness_keys);
        Ok(())
    }

    /// Reports once that derived keys are objects of an earlier version.
    fn report_earlier_keys(&mut self) {
        if !std::mem::replace(&mut self.earlier_keys_reported, true) {
            self.token.report(&TokenEvent::EarlierDerivedKeys);
        }
    }

    /// Records whether a new session would lose none of the keys.
    fn update_recoverable(&self) {
        self.session.set_recoverable(self.keys.all_stored());
    }

    /// Updates the entries of keys whose stored objects were destroyed. A key that works with a session copy stays usable.
    fn mark_not_stored(&mut self, is_removed: impl Fn(&ObjectId) -> bool) {
        for entry in self.keys.values_mut().filter(|entry| entry.origin != KeyOrigin::Device) {
            if entry.stored_as.is_some_and(|id| is_removed(&id)) {
                if entry.uses_stored_object() {
                    entry.objects = None;
                }
                entry.stored_as = None;
            }
        }
    }

    fn insert_key(&mut self, spec: &KeySpec, origin: KeyOrigin, objects: KeyObjects) -> KeyHandle {
        self.keys.insert(KeyEntry::new(*spec, origin, objects))
    }

    /// Checks that a key of this specification can be created.
    fn check_new_key(&self, spec: &KeySpec) -> Result<(), EngineError> {
        spec.check()?;
        self.keys.check_room()
    }

    /// Origin of a generated key: an AES-256 key for derivation alone is a master key (see
    /// [`engine::Engine::generate_key`]).
    fn origin_of_generated(spec: &KeySpec) -> KeyOrigin {
        let master = KeySpec { extractable: spec.extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
        if *spec == master { KeyOrigin::Master } else { KeyOrigin::User }
    }
}

/// Finds the objects of a stored key in a new session.
fn reload_key(call: &CallContext<'_>, entry: &KeyEntry, id: ObjectId) -> Result<KeyObjects, CallError> {
    let found = match (entry.origin, &entry.carried) {
        (KeyOrigin::Device, _) => {
            let found = match id.to_state_key() {
                None => find_device_key(call.session, call.unit_name, call.profile)?,
                Some(id) => find_state_key(call.session, call.unit_name, call.profile, &id)?,
            };
            // The token is not there, or another one is.
            return Ok(KeyObjects::single(found.ok_or(EngineError::DeviceRemoved)?));
        }
        (KeyOrigin::Derived, Some(carried)) => match derived_keys::load(call, id, &entry.spec, carried) {
            Err(CallError::Engine(EngineError::KeyUnextractable | EngineError::ReferenceInvalid)) => None,
            // The token has just found the wrapping key, so it works: another key is in its place.
            Err(CallError::Token(error)) if Fault::of(&error) == Fault::Ambiguous => None,
            loaded => Some(loaded?),
        },
        _ => persistence::load_stored(call, entry, id)?,
    };
    let objects = found.ok_or(EngineError::DeviceError)?;
    if let Some(known) = &entry.digest
        && !bool::from(known.ct_eq(&digest_key(call.session, &[], objects.primary)?))
    {
        return Err(EngineError::DeviceError.into());
    }
    Ok(objects)
}

impl LivenessKeys {
    fn generate(session: &Session) -> Result<Self, Error> {
        let wrap_only =
            ObjectUsage { wrap: true, allowed: vec![MechanismType::AES_KEY_WRAP], ..ObjectUsage::NONE };
        let generate = |usage, extractable| {
            let mut attributes = template(KeyType::AES, usage, extractable);
            attributes.push(Attribute::ValueLen(32.into()));
            session.generate_key(&Ck::AesKeyGen, &attributes)
        };
        Ok(Self { kek: generate(&wrap_only, false)?, key: generate(&ObjectUsage::NONE, true)? })
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
    fn an_engine_is_send() {
        fn is_send<T: Send>() {}
        is_send::<Pkcs11Engine>();
    }
}
