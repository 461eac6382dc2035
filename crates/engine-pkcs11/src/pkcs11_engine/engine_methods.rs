//! The port's methods over a token.

use crate::error::CallError;
use crate::mechanisms::derivation::derive;
use crate::mechanisms::wrapping;
use crate::objects::call::{Desk, stored_len};
use crate::objects::clear::{self, Clear};
use crate::objects::key_table::{Entry, Objects, Origin};
use crate::objects::persistence::{self, Stored, digest_key};
use crate::objects::store::{self, Id};
use crate::objects::template::{Role, key_type, template};
use crate::pkcs11_engine::Pkcs11Engine;
use crate::token::event::TokenEvent;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::misc::KeyDerivationStringData;
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use engine::{
    AES_GCM_TAG_LEN, Algorithm, CipherMechanism, DigestMechanism, Engine, EngineError, KEY_PART_LEN,
    KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism, Mechanism, MechanismInfo, SHA256_LEN, WrapMechanism,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const MECHANISMS: [MechanismInfo; 9] = [
    MechanismInfo { mechanism: Mechanism::AesKeyGen, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::GenericSecretKeyGen, min_key_bits: 8, max_key_bits: 512 },
    MechanismInfo { mechanism: Mechanism::AesKw, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesKwp, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesGcm, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::AesCmac, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::Sp800108CounterCmac, min_key_bits: 128, max_key_bits: 256 },
    MechanismInfo { mechanism: Mechanism::Sha256, min_key_bits: 0, max_key_bits: 0 },
    MechanismInfo { mechanism: Mechanism::HmacSha256, min_key_bits: 8, max_key_bits: 512 },
];

/// Zeroes a caller's buffer when what should have filled it was refused.
fn or_zero<T>(
    output: &mut [u8],
    run: impl FnOnce(&mut [u8]) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let result = run(output);
    if result.is_err() {
        output.fill(0);
    }
    result
}

/// Copies a result of the length that was to be expected.
fn fill(output: &mut [u8], result: &[u8], expected_len: usize) -> Result<usize, EngineError> {
    if result.len() != expected_len {
        return Err(EngineError::DeviceError);
    }
    output.get_mut(..expected_len).ok_or(EngineError::BufferTooSmall)?.copy_from_slice(result);
    Ok(expected_len)
}

/// The object that MACs, and the mechanism, if the key may be put to this use.
fn mac_key<'m>(
    desk: &Desk<'_>,
    by: MacMechanism,
    key: KeyHandle,
    uses: KeyUses,
) -> Result<(ObjectHandle, Ck<'m>), CallError> {
    match by {
        MacMechanism::AesCmac => Ok((desk.aes(key, uses)?.first, Ck::AesCMac)),
        MacMechanism::HmacSha256 => {
            let entry = desk.key(key, uses)?;
            if entry.spec.algorithm != Algorithm::GenericSecret {
                return Err(EngineError::MechanismInvalid.into());
            }
            let objects = entry.objects()?;
            Ok((objects.second.unwrap_or(objects.first), Ck::Sha256Hmac))
        }
    }
}

/// A master key of these parts: added up by the token where it can, else in the one place where that is done.
fn combine(desk: &Desk<'_>, parts: &[KeyPart], spec: &KeySpec) -> Result<ObjectHandle, CallError> {
    let role = Role::of(spec, desk.profile);
    let master = template(KeyType::AES, &role, spec.extractable);
    let (Some((first, rest)), true) = (parts.split_first(), desk.profile.xors_inside && parts.len() > 1)
    else {
        return desk.create(master, clear::combine(parts).expose());
    };
    let summand = || {
        let allowed = vec![MechanismType::XOR_BASE_AND_DATA];
        template(KeyType::AES, &Role { derive: true, allowed, ..Role::NONE }, false)
    };
    let mut sum = desk.create(summand(), first.expose())?;
    for (at, part) in rest.iter().enumerate() {
        let mut attributes = if at + 1 == rest.len() { master.clone() } else { summand() };
        attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
        let by = Ck::XorBaseAndData(KeyDerivationStringData::new(part.expose()));
        let next = desk.keep(desk.session.derive_key(&by, sum, &attributes)?);
        desk.drop_object(sum)?;
        sum = next;
    }
    Ok(sum)
}

impl Engine for Pkcs11Engine {
    fn mechanisms(&self) -> &[MechanismInfo] {
        &MECHANISMS
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        if out.is_empty() {
            return Ok(());
        }
        let drawn = self.run(None, |desk| {
            let mut drawn = Zeroizing::new(vec![0; out.len()]);
            desk.session.generate_random_slice(&mut drawn)?;
            Ok(drawn)
        });
        match drawn {
            Ok(drawn) => {
                out.copy_from_slice(&drawn);
                Ok(())
            }
            Err(error) => {
                out.fill(0);
                Err(error)
            }
        }
    }

    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError> {
        self.check_new(spec)?;
        let objects = self.run(None, |desk| {
            if desk.profile.is_short(spec) {
                let mut value = Clear::zero(spec.len());
                desk.session.generate_random_slice(value.expose_mut())?;
                return desk.objects(spec, &value);
            }
            let role = Role::of(spec, desk.profile);
            let mut attributes = template(key_type(spec.algorithm), &role, spec.extractable);
            attributes.push(Attribute::ValueLen(u64::from(spec.key_len).into()));
            let by = match spec.algorithm {
                Algorithm::Aes => Ck::AesKeyGen,
                Algorithm::GenericSecret => Ck::GenericSecretKeyGen,
            };
            Ok(Objects::of(desk.keep(desk.session.generate_key(&by, &attributes)?)))
        })?;
        Ok(self.made(spec, Self::origin_of_generated(spec), objects))
    }

    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError> {
        self.check_new(spec)?;
        if value.len() != spec.len() {
            return Err(EngineError::KeySizeRange);
        }
        let value = Clear::copy(value);
        let objects = self.run(None, |desk| desk.objects(spec, &value))?;
        Ok(self.made(spec, Origin::User, objects))
    }

    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError> {
        if !matches!(parts.len(), 1..=3) {
            return Err(EngineError::KeyPartsInvalid);
        }
        let spec = KeySpec { extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
        self.check_new(&spec)?;
        let objects = self.run(None, |desk| combine(desk, parts, &spec).map(Objects::of))?;
        Ok(self.made(&spec, Origin::Master, objects))
    }

    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError> {
        let entry = self.keys.entry(key)?;
        if entry.origin != Origin::Master {
            return Err(EngineError::KeyFunctionNotPermitted);
        }
        if !entry.spec.extractable {
            return Err(EngineError::KeyUnextractable);
        }
        self.run(None, |desk| {
            let object = desk.keys.entry(key)?.objects()?.first;
            let value = desk.read(object, KEY_PART_LEN)?;
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
        let derivation = Id::of_derivation(label, context, spec);
        let Entry { origin, stored, .. } = *self.keys.entry(base)?;
        let master = origin == Origin::Master;
        let stored = stored.filter(|_| master).map(|id| id.with_role_of(derivation));
        let objects = {
            let room = self.check_new(spec);
            self.run(None, |desk| {
                let object = desk.aes(base, KeyUses::DERIVE)?.first;
                room?;
                match stored {
                    Some(id) => persistence::derived(desk, id, spec),
                    None => derive(desk, object, label, context, spec),
                }
            })?
        };
        let mut entry = Entry::new(*spec, if master { Origin::Derived } else { Origin::User }, objects);
        entry.stored = stored;
        entry.derivation = master.then_some((base, derivation));
        Ok(self.keys.insert(entry))
    }

    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError> {
        *digest = [0; SHA256_LEN];
        *digest = self.run(None, |desk| {
            let entry = desk.key(key, KeyUses::DERIVE)?;
            let object = entry.objects()?.first;
            if entry.spec.extractable && desk.profile.is_short(&entry.spec) {
                let mut value = desk.read(object, stored_len(&entry.spec))?;
                value.resize(entry.spec.len());
                return Ok(Sha256::new().chain_update(prefix).chain_update(value.expose()).finalize().into());
            }
            digest_key(desk.session, prefix, object)
        })?;
        Ok(())
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        if key == self.device_key {
            return Err(EngineError::KeyFunctionNotPermitted);
        }
        let entry = self.keys.entry(key)?;
        // Stored objects are not the handle's to destroy; lost ones are destroyed already.
        if entry.objects.is_some() && !entry.is_stored_itself() {
            let destroyed = self.run(None, |desk| {
                // What was lost on the way here is gone as well.
                let Some(now) = desk.keys.entry(key)?.objects else { return Ok(()) };
                for object in now.iter() {
                    desk.session.destroy_object(object)?;
                }
                Ok(())
            });
            match destroyed {
                // Session objects do not outlive a session that is lost, nor a token that is away.
                Ok(()) | Err(EngineError::DeviceRemoved) => {}
                Err(error) => return Err(error),
            }
        }
        self.keys.remove(key);
        self.settle();
        Ok(())
    }

    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError> {
        or_zero(reference, |reference| {
            let entry = self.keys.entry(key)?.clone();
            if entry.origin == Origin::Device {
                return Err(EngineError::KeyFunctionNotPermitted);
            }
            let reference = reference.get_mut(..store::REFERENCE_LEN).ok_or(EngineError::BufferTooSmall)?;
            if entry.is_stored_itself() {
                // Beyond all use, it cannot be copied either; nor does anybody have to store it twice.
                return Err(EngineError::KeyFunctionNotPermitted);
            }
            let Stored { id, reference: bytes, itself, derived } =
                self.run(None, |desk| persistence::persist(desk, key, desk.keys.entry(key)?))?;
            reference.copy_from_slice(&bytes);
            let entry = self.keys.entry_mut(key)?;
            entry.stored = Some(id);
            if let Some((objects, digest)) = itself {
                entry.objects = Some(objects);
                entry.digest = Some(digest);
            }
            for (handle, id) in derived {
                self.keys.entry_mut(handle)?.stored = Some(id);
            }
            Ok(store::REFERENCE_LEN)
        })
    }

    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError> {
        let referred = store::refer(&self.name, reference)?;
        self.keys.check_room()?;
        let entry = self.run(None, |desk| persistence::recall(desk, &referred))?;
        Ok(self.keys.insert(entry))
    }

    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError> {
        let referred = store::refer(&self.name, reference)?;
        self.run(None, |desk| {
            Ok(persistence::remove(desk.session, desk.name, |id| id.is_of_key(&referred.id))?)
        })?;
        self.forgotten(|id| id.is_of_key(&referred.id));
        Ok(())
    }

    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError> {
        let kept: Vec<Id> = references
            .iter()
            .filter_map(|reference| store::refer(&self.name, reference).ok())
            .map(|referred| referred.id)
            .collect();
        let goes = |id: &Id| !kept.iter().any(|kept| kept.is_of_key(id));
        let removed = self.run(None, |desk| Ok(persistence::remove(desk.session, desk.name, goes)?))?;
        self.forgotten(goes);
        if removed > 0 {
            self.token.report(&TokenEvent::OrphansDestroyed(removed));
        }
        Ok(())
    }

    fn device_key(&self) -> KeyHandle {
        self.device_key
    }

    fn wrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(wrapped, |wrapped| {
            let result = self.run(None, |desk| {
                let kek = desk.aes(kek, KeyUses::WRAP)?;
                let entry = desk.keys.entry(key)?;
                let stays = matches!(entry.origin, Origin::Device | Origin::Master);
                if stays || !entry.spec.extractable {
                    return Err(EngineError::KeyUnextractable.into());
                }
                let len = by.wrapped_len(entry.spec.len());
                if wrapped.len() < len {
                    return Err(EngineError::BufferTooSmall.into());
                }
                if !wrapping::takes(by, entry.spec.len()) {
                    return Err(EngineError::KeySizeRange.into());
                }
                let mut result = vec![0; len];
                wrapping::wrap(desk, by, kek, entry, &mut result)?;
                Ok(result)
            })?;
            fill(wrapped, &result, result.len())
        })
    }

    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        self.check_new(spec)?;
        let objects = self.run(Some(EngineError::WrappedKeyInvalid), |desk| {
            let kek = desk.aes(kek, KeyUses::UNWRAP)?;
            // Of another length than the key's, it holds another length inside too, or nothing valid at all.
            let len = spec.len();
            if wrapped.len() != by.wrapped_len(len) || !wrapping::takes(by, len) {
                return Err(EngineError::WrappedKeyInvalid.into());
            }
            wrapping::unwrap(desk, by, kek, wrapped, spec)
        })?;
        Ok(self.made(spec, Origin::User, objects))
    }

    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(output, |output| {
            let CipherMechanism::AesGcm { iv, aad } = by;
            let len = plaintext.len() + AES_GCM_TAG_LEN;
            let result = self.run(None, |desk| {
                let key = desk.aes(key, KeyUses::ENCRYPT)?.first;
                if output.len() < len {
                    return Err(EngineError::BufferTooSmall.into());
                }
                let mut iv = *iv;
                let gcm = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
                Ok(desk.session.encrypt(&Ck::AesGcm(gcm), key, plaintext)?)
            })?;
            fill(output, &result, len)
        })
    }

    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(output, |output| {
            let CipherMechanism::AesGcm { iv, aad } = by;
            let len = ciphertext.len().checked_sub(AES_GCM_TAG_LEN);
            let result = self.run(Some(EngineError::EncryptedDataInvalid), |desk| {
                let key = desk.aes(key, KeyUses::DECRYPT)?.first;
                let len = len.ok_or(EngineError::EncryptedDataInvalid)?;
                if output.len() < len {
                    return Err(EngineError::BufferTooSmall.into());
                }
                let mut iv = *iv;
                let gcm = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
                Ok(Zeroizing::new(desk.session.decrypt(&Ck::AesGcm(gcm), key, ciphertext)?))
            })?;
            fill(output, &result, len.unwrap_or_default())
        })
    }

    fn sign(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(signature, |signature| {
            let mac = self.run(None, |desk| {
                let (key, by) = mac_key(desk, by, key, KeyUses::SIGN)?;
                Ok(desk.session.sign(&by, key, data)?)
            })?;
            fill(signature, &mac, by.mac_len())
        })
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        self.run(Some(EngineError::SignatureInvalid), |desk| {
            let (key, mechanism) = mac_key(desk, by, key, KeyUses::VERIFY)?;
            if signature.len() != by.mac_len() {
                return Err(EngineError::SignatureInvalid.into());
            }
            Ok(desk.session.verify(&mechanism, key, data, signature)?)
        })
    }

    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError> {
        or_zero(digest, |digest| {
            let DigestMechanism::Sha256 = by;
            if digest.len() < SHA256_LEN {
                return Err(EngineError::BufferTooSmall);
            }
            let result = self.run(None, |desk| Ok(desk.session.digest(&Ck::Sha256, data)?))?;
            fill(digest, &result, SHA256_LEN)
        })
    }
}

/// Shorter and longer tags, some tokens take as well.
const TAG_BITS: u64 = 8 * AES_GCM_TAG_LEN as u64;
