//! The engine: the table of keys, the device's own keys, the generator, and the port's methods over them.

use crate::cipher::Cipher;
use crate::device::DeviceSecret;
use crate::kdf;
use crate::key::{Origin, SoftKey};
use crate::reseeding_drbg::ReseedingDrbg;
use crate::reference::ReferenceKeys;
use crate::table::KeyTable;
use core::fmt;
use engine::{
    AES_GCM_TAG_LEN, Algorithm, CipherMechanism, DigestMechanism, Engine, EngineError, KEY_PART_LEN,
    KeyHandle, KeyPart, KeySpec, KeyUses, MAX_KEY_LEN, MacMechanism, Mechanism, MechanismInfo, SHA256_LEN,
    WrapMechanism, declassify,
};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::TryCryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Keys that a [`SoftEngine`] holds at a time unless said otherwise; one of them is the device's own.
pub const DEFAULT_KEYS: usize = 64;

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

/// An engine in software with room for `KEYS` keys, the device's own included; `R` is its source of entropy.
pub struct SoftEngine<R, const KEYS: usize = DEFAULT_KEYS> {
    random: ReseedingDrbg<R>,
    references: ReferenceKeys,
    device_key: KeyHandle,
    keys: KeyTable<KEYS>,
}

impl<R: TryCryptoRng, const KEYS: usize> SoftEngine<R, KEYS> {
    /// The engine of the device whose secret this is.
    ///
    /// `entropy` gives full entropy: a hardware source in firmware, `getrandom::SysRng` in a process, a seeded
    /// [`CtrDrbg`](crate::CtrDrbg) in a test. It is first asked when random bits are needed.
    ///
    /// # Errors
    /// None that the arguments could cause.
    pub fn new(secret: &DeviceSecret, entropy: R) -> Result<Self, EngineError> {
        let mut keys = KeyTable::new();
        let spec = KeySpec::aes(32, KeyUses::ENCRYPT.with(KeyUses::DECRYPT));
        let value = secret.derive(b"device key")?;
        let device_key = SoftKey::new(&spec, Origin::Device, |to| {
            to.copy_from_slice(&*value);
            Ok(())
        })?;
        let device_key = keys.insert(device_key)?;
        Ok(Self { random: ReseedingDrbg::new(entropy), references: ReferenceKeys::new(secret)?, device_key, keys })
    }

    /// Puts in a key whose value `fill` writes.
    fn insert(
        &mut self,
        spec: &KeySpec,
        origin: Origin,
        fill: impl FnOnce(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<KeyHandle, EngineError> {
        self.keys.insert(SoftKey::new(spec, origin, fill)?)
    }

    /// The key, if it may be put to this use, and its schedules, prepared.
    fn aes_key(&mut self, handle: KeyHandle, uses: KeyUses) -> Result<&Cipher, EngineError> {
        let key = self.keys.key_mut(handle)?;
        key.permit(uses)?;
        key.prepare()?;
        key.cipher()
    }

    /// The MAC of `data`, in a buffer of the longest MAC there is.
    fn mac(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        uses: KeyUses,
        data: &[u8],
    ) -> Result<Zeroizing<[u8; SHA256_LEN]>, EngineError> {
        let mut mac = Zeroizing::new([0; SHA256_LEN]);
        match by {
            MacMechanism::AesCmac => {
                let cmac = self.aes_key(key, uses)?.cmac(&[data]);
                for (to, from) in mac.iter_mut().zip(cmac) {
                    *to = from;
                }
            }
            MacMechanism::HmacSha256 => {
                let key = self.keys.key(key)?;
                key.permit(uses)?;
                key.require(Algorithm::GenericSecret)?;
                let hmac =
                    key.expose(Hmac::<Sha256>::new_from_slice).map_err(|_| EngineError::KeySizeRange)?;
                *mac = hmac.chain_update(data).finalize().into_bytes().into();
            }
        }
        Ok(mac)
    }
}

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

impl<R: TryCryptoRng, const KEYS: usize> Engine for SoftEngine<R, KEYS> {
    fn mechanisms(&self) -> &[MechanismInfo] {
        &MECHANISMS
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        self.random.fill(out).map_err(|_| EngineError::RandomFailed)
    }

    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError> {
        self.keys.check_room()?;
        // A key that can do nothing but derive is a master key made inside.
        let master = KeySpec { extractable: spec.extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
        let origin = if *spec == master { Origin::Master } else { Origin::User };
        let key = SoftKey::new(spec, origin, |value| {
            self.random.fill(value).map_err(|_| EngineError::RandomFailed)
        })?;
        self.keys.insert(key)
    }

    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError> {
        self.insert(spec, Origin::User, |to| {
            if value.len() != to.len() {
                return Err(EngineError::KeySizeRange);
            }
            to.copy_from_slice(value);
            Ok(())
        })
    }

    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError> {
        if !matches!(parts.len(), 1..=3) {
            return Err(EngineError::KeyPartsInvalid);
        }
        let spec = KeySpec { extractable, ..KeySpec::aes(32, KeyUses::DERIVE) };
        self.insert(&spec, Origin::Master, |to| {
            for part in parts {
                for (to, from) in to.iter_mut().zip(part.expose()) {
                    *to ^= from;
                }
            }
            Ok(())
        })
    }

    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError> {
        let key = self.keys.key(key)?;
        if key.origin != Origin::Master {
            return Err(EngineError::KeyFunctionNotPermitted);
        }
        if !key.spec.extractable {
            return Err(EngineError::KeyUnextractable);
        }
        let mut value = Zeroizing::new([0; KEY_PART_LEN]);
        key.expose(|held| match <&[u8; KEY_PART_LEN]>::try_from(held) {
            Ok(held) => {
                *value = *held;
                Ok(KeyPart::new(*value))
            }
            Err(_) => Err(EngineError::KeyFunctionNotPermitted),
        })
    }

    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        let cipher = self.aes_key(base, KeyUses::DERIVE)?;
        let mut key = SoftKey::new(spec, Origin::User, |to| kdf::counter_cmac(cipher, label, context, to))?;
        if self.keys.key(base)?.origin == Origin::Master {
            key.origin = Origin::Derived;
        }
        self.keys.insert(key)
    }

    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError> {
        *digest = [0; SHA256_LEN];
        let key = self.keys.key(key)?;
        key.permit(KeyUses::DERIVE)?;
        *digest =
            key.expose(|value| Sha256::new().chain_update(prefix).chain_update(value).finalize().into());
        Ok(())
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        if key == self.device_key {
            return Err(EngineError::KeyFunctionNotPermitted);
        }
        self.keys.remove(key)
    }

    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError> {
        or_zero(reference, |reference| {
            let key = self.keys.key(key)?;
            if key.origin == Origin::Device {
                return Err(EngineError::KeyFunctionNotPermitted);
            }
            self.references.write(key, reference)
        })
    }

    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError> {
        self.keys.insert(self.references.read(reference)?)
    }

    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError> {
        // The reference is all there is of the key; whoever drops it has forgotten it.
        self.references.authenticate(reference).map(|_| ())
    }

    fn forget_all_but(&mut self, _: &[&[u8]]) -> Result<(), EngineError> {
        // References are kept by whoever has them, and nowhere else.
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
            self.aes_key(kek, KeyUses::WRAP)?;
            let (kek, key) = (self.keys.key(kek)?, self.keys.key(key)?);
            let keeps = matches!(key.origin, Origin::Device | Origin::Master)
                || !key.spec.extractable && kek.origin != Origin::Derived;
            if keeps {
                return Err(EngineError::KeyUnextractable);
            }
            let cipher = kek.cipher()?;
            let wrapped_len = by.wrapped_len(key.spec.len());
            let wrapped = wrapped.get_mut(..wrapped_len).ok_or(EngineError::BufferTooSmall)?;
            key.expose(|value| cipher.wrap(by, value, wrapped))
        })
    }

    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        spec.check()?;
        self.keys.check_room()?;
        let cipher = self.aes_key(kek, KeyUses::UNWRAP)?;
        let mut buffer = Zeroizing::new([0; MAX_KEY_LEN + 8]);
        // Of another length than the key's, it holds another length inside too, or nothing valid at all.
        let expected_len = by.wrapped_len(spec.len());
        let buffer = buffer.get_mut(..wrapped.len()).filter(|_| wrapped.len() == expected_len);
        let buffer = buffer.ok_or(EngineError::WrappedKeyInvalid)?;
        buffer.copy_from_slice(wrapped);
        let key_len = cipher.unwrap_ct(by, buffer);
        // The length inside is one more check of the same verdict; no key has length 0.
        let valid = key_len.unwrap_or(0).ct_eq(&u32::from(spec.key_len));
        if !declassify(valid) {
            return Err(EngineError::WrappedKeyInvalid);
        }
        let value = buffer.get(..spec.len()).ok_or(EngineError::WrappedKeyInvalid)?;
        let key = SoftKey::new(spec, Origin::User, |to| {
            to.copy_from_slice(value);
            Ok(())
        })?;
        self.keys.insert(key)
    }

    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(output, |output| {
            let cipher = self.aes_key(key, KeyUses::ENCRYPT)?;
            let CipherMechanism::AesGcm { iv, aad } = by;
            let (ciphertext, rest) =
                output.split_at_mut_checked(plaintext.len()).ok_or(EngineError::BufferTooSmall)?;
            let tag = rest.first_chunk_mut::<AES_GCM_TAG_LEN>().ok_or(EngineError::BufferTooSmall)?;
            *tag = cipher.gcm_seal(iv, aad, plaintext, ciphertext)?;
            Ok(plaintext.len() + AES_GCM_TAG_LEN)
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
            let cipher = self.aes_key(key, KeyUses::DECRYPT)?;
            let CipherMechanism::AesGcm { iv, aad } = by;
            let (body, tag) = ciphertext.split_last_chunk().ok_or(EngineError::EncryptedDataInvalid)?;
            let plaintext = output.get_mut(..body.len()).ok_or(EngineError::BufferTooSmall)?;
            cipher.gcm_open(iv, aad, body, tag, plaintext)?;
            Ok(body.len())
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
            let mac = self.mac(by, key, KeyUses::SIGN, data)?;
            let signature = signature.get_mut(..by.mac_len()).ok_or(EngineError::BufferTooSmall)?;
            signature.copy_from_slice(mac.get(..by.mac_len()).unwrap_or_default());
            Ok(by.mac_len())
        })
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        let mac = self.mac(by, key, KeyUses::VERIFY, data)?;
        let valid = mac.get(..by.mac_len()).unwrap_or_default().ct_eq(signature);
        if declassify(valid) { Ok(()) } else { Err(EngineError::SignatureInvalid) }
    }

    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError> {
        or_zero(digest, |digest| {
            let DigestMechanism::Sha256 = by;
            let digest = digest.first_chunk_mut::<SHA256_LEN>().ok_or(EngineError::BufferTooSmall)?;
            *digest = Sha256::digest(data).into();
            Ok(SHA256_LEN)
        })
    }
}

impl<R, const KEYS: usize> fmt::Debug for SoftEngine<R, KEYS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftEngine")
    }
}

#[cfg(test)]
mod tests {
    use super::SoftEngine;
    use crate::CtrDrbg;

    #[test]
    fn an_engine_may_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<SoftEngine<CtrDrbg>>();
    }
}
