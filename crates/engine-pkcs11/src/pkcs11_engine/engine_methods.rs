//! The methods of [`Engine`], each a call to the token.

use super::Pkcs11Engine;
use crate::mechanisms::{self, MECHANISMS, combine_key_parts, derive_key};
use crate::objects::derived_keys;
use crate::objects::persistence::{PersistedKey, load_stored, persist_key, recall_key};
use crate::objects::reference::{KeyReference, ObjectId};
use crate::objects::stored_objects::destroy_stored;
use crate::objects::{
    ClearKey, DEVICE_KEY_SPEC, KeyEntry, KeyObjects, KeyOrigin, ObjectUsage, TokenAttestationKey,
    create_state_key, destroy_state_keys_but, digest_key, find_device_key, find_state_key, key_type,
    padded_len, renew_device_key, sign_on_token, template,
};
use crate::token::TokenEvent;
use cryptoki::mechanism::Mechanism as Ck;
use cryptoki::object::Attribute;
use engine::{
    AES_GCM_TAG_LEN, ATTESTATION_SIGNATURE_LEN, Algorithm, AttestationKey, CipherMechanism, DigestMechanism,
    Engine, EngineError, KEY_PART_LEN, KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism, MechanismInfo,
    SHA256_LEN, StateKeyId, WrapMechanism,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Runs `fill`, and zeroes the caller's buffer if it fails.
fn zero_on_error<T>(
    output: &mut [u8],
    fill: impl FnOnce(&mut [u8]) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let result = fill(output);
    if result.is_err() {
        output.fill(0);
    }
    result
}

/// Copies the token's result to the caller's buffer and returns its length.
///
/// # Errors
/// [`EngineError::DeviceError`] if the result does not have the expected length, [`EngineError::BufferTooSmall`].
fn copy_result(output: &mut [u8], result: &[u8], expected_len: usize) -> Result<usize, EngineError> {
    if result.len() != expected_len {
        return Err(EngineError::DeviceError);
    }
    output.get_mut(..expected_len).ok_or(EngineError::BufferTooSmall)?.copy_from_slice(result);
    Ok(expected_len)
}

impl Engine for Pkcs11Engine {
    fn mechanisms(&self) -> &[MechanismInfo] {
        &MECHANISMS
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        if out.is_empty() {
            return Ok(());
        }
        zero_on_error(out, |out| {
            let random = self.run(None, |call| {
                let mut random = Zeroizing::new(vec![0; out.len()]);
                call.random(&mut random)?;
                Ok(random)
            })?;
            out.copy_from_slice(&random);
            Ok(())
        })
    }

    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError> {
        self.check_new_key(spec)?;
        let objects = self.run(None, |call| {
            if call.profile.is_padded_secret(spec) {
                let mut value = ClearKey::zero(spec.len());
                call.random(value.expose_mut())?;
                return call.create_key(spec, &value);
            }
            let usage = ObjectUsage::of(spec, call.profile);
            let mut attributes = template(key_type(spec.algorithm), &usage, spec.extractable);
            attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
            let mechanism = match spec.algorithm {
                Algorithm::Aes => Ck::AesKeyGen,
                Algorithm::GenericSecret => Ck::GenericSecretKeyGen,
            };
            let object = call.track(call.session.generate_key(&mechanism, &attributes)?);
            Ok(KeyObjects::single(object))
        })?;
        Ok(self.insert_key(spec, Self::origin_of_generated(spec), objects))
    }

    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError> {
        self.check_new_key(spec)?;
        if value.len() != spec.len() {
            return Err(EngineError::KeySizeRange);
        }
        let value = ClearKey::copy(value);
        let objects = self.run(None, |call| call.create_key(spec, &value))?;
        Ok(self.insert_key(spec, KeyOrigin::User, objects))
    }

    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError> {
        if !matches!(parts.len(), 1..=3) {
            return Err(EngineError::KeyPartsInvalid);
        }
        let spec = KeySpec { extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
        self.check_new_key(&spec)?;
        let object = self.run(None, |call| combine_key_parts(call, parts, &spec))?;
        Ok(self.insert_key(&spec, KeyOrigin::Master, KeyObjects::single(object)))
    }

    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError> {
        let entry = self.keys.entry(key)?;
        if entry.origin != KeyOrigin::Master {
            return Err(EngineError::KeyFunctionNotPermitted);
        }
        if !entry.spec.extractable {
            return Err(EngineError::KeyUnextractable);
        }
        self.run(None, |call| {
            let object = call.keys.entry(key)?.objects()?.primary;
            let value = call.read(object, KEY_PART_LEN)?;
            let bytes = <&[u8; KEY_PART_LEN]>::try_from(value.expose());
            bytes.map(|bytes| KeyPart::new(*bytes)).map_err(|_| EngineError::DeviceError.into())
        })
    }

    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        let derivation = ObjectId::of_derivation(label, context, spec);
        let KeyEntry { origin, stored_as, carried, .. } = *self.keys.entry(base)?;
        let is_master = origin == KeyOrigin::Master;
        let stored_as = stored_as.filter(|_| is_master).map(|id| id.with_derivation_of(derivation));
        let checked = self.check_new_key(spec);
        let origin = if is_master { KeyOrigin::Derived } else { KeyOrigin::User };
        // A derived key that was wrapped under another key fails its integrity check.
        let integrity_error = stored_as.map(|_| EngineError::ReferenceInvalid);
        let objects = self.run(integrity_error, |call| {
            let base = call.aes_key(base, KeyUses::DERIVE)?.primary;
            checked?;
            // A stored master key no longer derives; the key was stored with it.
            match (stored_as, &carried) {
                (Some(id), Some(carried)) => derived_keys::load(call, id, spec, carried),
                (Some(id), None) => {
                    let entry = KeyEntry::stored(*spec, origin, id);
                    load_stored(call, &entry, id)?.ok_or_else(|| EngineError::KeyUnextractable.into())
                }
                (None, _) if is_master && derived_keys::is_carried(spec) => {
                    derive_key(call, base, label, context, &derived_keys::until_stored(spec))
                }
                (None, _) => derive_key(call, base, label, context, spec),
            }
        })?;
        if stored_as.is_some() && carried.is_none() {
            self.report_earlier_keys();
        }
        let mut entry = KeyEntry::new(*spec, origin, objects);
        entry.stored_as = stored_as;
        entry.carried = carried.filter(|_| is_master);
        entry.derived_by = is_master.then_some((base, derivation));
        Ok(self.keys.insert(entry))
    }

    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError> {
        *digest = [0; SHA256_LEN];
        *digest = self.run(None, |call| {
            let entry = call.key(key, KeyUses::DERIVE)?;
            let object = entry.objects()?.primary;
            if entry.spec.extractable && call.profile.is_padded_secret(&entry.spec) {
                // The object's value has zeros appended, which the digest must not cover.
                let mut value = call.read(object, padded_len(&entry.spec))?;
                value.resize(entry.spec.len());
                return Ok(Sha256::new().chain_update(prefix).chain_update(value.expose()).finalize().into());
            }
            digest_key(call.session, prefix, object)
        })?;
        Ok(())
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        let entry = self.keys.entry(key)?;
        if entry.origin == KeyOrigin::Device {
            return Err(EngineError::KeyFunctionNotPermitted);
        }
        // Stored objects outlive the handle; `forget_key` destroys them.
        if entry.objects.is_some() && !entry.uses_stored_object() {
            let destroyed = self.run(None, |call| {
                // `None` if recovery has replaced the session since.
                let Some(objects) = call.keys.entry(key)?.objects else { return Ok(()) };
                for object in objects.iter() {
                    call.session.destroy_object(object)?;
                }
                Ok(())
            });
            match destroyed {
                // Session objects are gone when the session or the token is lost.
                Ok(()) | Err(EngineError::DeviceRemoved) => {}
                Err(error) => return Err(error),
            }
        }
        self.keys.remove(key);
        self.update_recoverable();
        Ok(())
    }

    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError> {
        zero_on_error(reference, |reference| {
            let entry = self.keys.entry(key)?;
            if entry.origin == KeyOrigin::Device {
                return Err(EngineError::KeyFunctionNotPermitted);
            }
            if entry.uses_stored_object() {
                // A stored master key permits no operation, so it cannot be copied and stored a second time.
                return Err(EngineError::KeyFunctionNotPermitted);
            }
            let room = reference.len();
            let PersistedKey { id, reference: bytes, master } =
                self.run(None, |call| persist_key(call, key, call.keys.entry(key)?, room))?;
            let written = reference.get_mut(..bytes.len()).ok_or(EngineError::BufferTooSmall)?;
            written.copy_from_slice(&bytes);
            let entry = self.keys.entry_mut(key)?;
            entry.stored_as = Some(id);
            let Some(master) = master else { return Ok(bytes.len()) };
            entry.objects = Some(master.objects);
            entry.digest = Some(master.digest);
            entry.carried = Some(master.carried);
            for (handle, id, objects) in master.derived {
                let entry = self.keys.entry_mut(handle)?;
                entry.objects = Some(objects);
                entry.stored_as = Some(id);
                entry.carried = Some(master.carried);
            }
            Ok(bytes.len())
        })
    }

    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError> {
        let reference = KeyReference::decode(&self.unit_name, reference)?;
        self.keys.check_room()?;
        let entry = self.run(None, |call| recall_key(call, &reference))?;
        Ok(self.keys.insert(entry))
    }

    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError> {
        let forgotten = KeyReference::decode(&self.unit_name, reference)?.id;
        let is_removed = |id: &ObjectId| id.is_same_key(&forgotten);
        self.run(None, |call| Ok(destroy_stored(call.session, call.unit_name, is_removed)?))?;
        self.mark_not_stored(is_removed);
        Ok(())
    }

    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError> {
        let kept: Vec<ObjectId> = references
            .iter()
            .filter_map(|reference| KeyReference::decode(&self.unit_name, reference).ok())
            .map(|reference| reference.id)
            .collect();
        let is_removed = |id: &ObjectId| !kept.iter().any(|kept| kept.is_same_key(id));
        let destroyed =
            self.run(None, |call| Ok(destroy_stored(call.session, call.unit_name, is_removed)?))?;
        self.mark_not_stored(is_removed);
        if destroyed > 0 {
            self.token.report(&TokenEvent::OrphansDestroyed(destroyed));
        }
        Ok(())
    }

    fn device_key(&self) -> KeyHandle {
        self.device_key
    }

    fn attestation_key(&self) -> &AttestationKey {
        self.attestation_key.public()
    }

    fn attest(
        &mut self,
        message: &[u8],
        signature: &mut [u8; ATTESTATION_SIGNATURE_LEN],
    ) -> Result<(), EngineError> {
        *signature = [0; ATTESTATION_SIGNATURE_LEN];
        let signed = match &self.attestation_key {
            TokenAttestationKey::OnToken(_) => {
                self.run(None, |call| sign_on_token(call.session, call.unit_name, call.profile, message))?
            }
            TokenAttestationKey::Derived(key, _) => {
                key.sign_raw(message, signature);
                return Ok(());
            }
        };
        *signature = signed;
        Ok(())
    }

    fn renew_device_key(&mut self) -> Result<(), EngineError> {
        let objects = self.run(None, |call| {
            renew_device_key(call.session, call.unit_name, call.profile)?;
            let found = find_device_key(call.session, call.unit_name, call.profile)?;
            found.map(KeyObjects::single).ok_or_else(|| EngineError::DeviceError.into())
        })?;
        self.keys.entry_mut(self.device_key)?.objects = Some(objects);
        Ok(())
    }

    fn create_state_key(&mut self) -> Result<StateKeyId, EngineError> {
        self.run(None, |call| create_state_key(call.session, call.unit_name, call.profile))
    }

    fn state_key(&mut self, id: &StateKeyId) -> Result<KeyHandle, EngineError> {
        let stored_as = ObjectId::of_state_key(id);
        let is_loaded = |entry: &KeyEntry| {
            entry.origin == KeyOrigin::Device && entry.stored_as.is_some_and(|found| found == stored_as)
        };
        if let Some((handle, _)) = self.keys.iter().find(|(_, entry)| is_loaded(entry)) {
            return Ok(handle);
        }
        self.keys.check_room()?;
        let object = self.run(None, |call| {
            let found = find_state_key(call.session, call.unit_name, call.profile, id)?;
            found.ok_or_else(|| EngineError::ReferenceInvalid.into())
        })?;
        let mut entry = KeyEntry::stored(DEVICE_KEY_SPEC, KeyOrigin::Device, stored_as);
        entry.objects = Some(KeyObjects::single(object));
        Ok(self.keys.insert(entry))
    }

    fn destroy_state_keys_but(&mut self, kept: &[StateKeyId]) -> Result<(), EngineError> {
        self.run(None, |call| Ok(destroy_state_keys_but(call.session, call.unit_name, kept)?))?;
        let is_gone = |id: ObjectId| id.to_state_key().is_some_and(|id| !kept.contains(&id));
        self.keys.retain(|entry| entry.origin != KeyOrigin::Device || !entry.stored_as.is_some_and(is_gone));
        Ok(())
    }

    fn wrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        zero_on_error(wrapped, |wrapped| {
            let result = self.run(None, |call| {
                let kek = call.aes_key(kek, KeyUses::WRAP)?;
                let entry = call.keys.entry(key)?;
                let never_leaves = matches!(entry.origin, KeyOrigin::Device | KeyOrigin::Master);
                if never_leaves || !entry.spec.extractable {
                    return Err(EngineError::KeyUnextractable.into());
                }
                let len = by.wrapped_len(entry.spec.len());
                if wrapped.len() < len {
                    return Err(EngineError::BufferTooSmall.into());
                }
                if !mechanisms::accepts_len(by, entry.spec.len()) {
                    return Err(EngineError::KeySizeRange.into());
                }
                let mut result = vec![0; len];
                mechanisms::wrap_key(call, by, kek, entry, &mut result)?;
                Ok(result)
            })?;
            copy_result(wrapped, &result, result.len())
        })
    }

    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        self.check_new_key(spec)?;
        let objects = self.run(Some(EngineError::WrappedKeyInvalid), |call| {
            let kek = call.aes_key(kek, KeyUses::UNWRAP)?;
            // A wrapped key of another length holds a key of another length, or nothing valid.
            let len = spec.len();
            if wrapped.len() != by.wrapped_len(len) || !mechanisms::accepts_len(by, len) {
                return Err(EngineError::WrappedKeyInvalid.into());
            }
            mechanisms::unwrap_key(call, by, kek, wrapped, spec)
        })?;
        Ok(self.insert_key(spec, KeyOrigin::User, objects))
    }

    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        zero_on_error(output, |output| {
            let len = plaintext.len() + AES_GCM_TAG_LEN;
            let result = self.run(None, |call| {
                let key = call.aes_key(key, KeyUses::ENCRYPT)?.primary;
                if output.len() < len {
                    return Err(EngineError::BufferTooSmall.into());
                }
                mechanisms::encrypt(call, by, key, plaintext)
            })?;
            copy_result(output, &result, len)
        })
    }

    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        zero_on_error(output, |output| {
            let len = ciphertext.len().checked_sub(AES_GCM_TAG_LEN);
            let result = self.run(Some(EngineError::EncryptedDataInvalid), |call| {
                let key = call.aes_key(key, KeyUses::DECRYPT)?.primary;
                let len = len.ok_or(EngineError::EncryptedDataInvalid)?;
                if output.len() < len {
                    return Err(EngineError::BufferTooSmall.into());
                }
                mechanisms::decrypt(call, by, key, ciphertext)
            })?;
            copy_result(output, &result, len.unwrap_or_default())
        })
    }

    fn sign(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, EngineError> {
        zero_on_error(signature, |signature| {
            let mac = self.run(None, |call| mechanisms::sign(call, by, key, data))?;
            copy_result(signature, &mac, by.mac_len())
        })
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        self.run(Some(EngineError::SignatureInvalid), |call| {
            mechanisms::verify(call, by, key, data, signature)
        })
    }

    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError> {
        zero_on_error(digest, |digest| {
            let DigestMechanism::Sha256 = by;
            if digest.len() < SHA256_LEN {
                return Err(EngineError::BufferTooSmall);
            }
            let result = self.run(None, |call| Ok(call.session.digest(&Ck::Sha256, data)?))?;
            copy_result(digest, &result, SHA256_LEN)
        })
    }
}
