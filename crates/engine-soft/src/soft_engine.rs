//! The engine: key table, device keys, generator, and the methods of the port. The cryptography is in the families' modules.

use crate::attestation::SoftAttestationKey;
use crate::derivation::{self, counter_cmac};
use crate::device::DeviceSecret;
use crate::digest;
use crate::key::{self, Origin, SoftKey};
use crate::mac::{self, cmac, hmac_sha256};
use crate::reference::ReferenceKeys;
use crate::reseeding_drbg::ReseedingDrbg;
use crate::state_keys::{StateKeyStore, StateKeys, VolatileStateKeys};
use crate::symmetric::{self, Cipher};
use crate::table::KeyTable;
use core::fmt;
use engine::{
    ATTESTATION_SIGNATURE_LEN, Algorithm, AttestationKey, CipherMechanism, DigestMechanism, Engine,
    EngineError, KEY_PART_LEN, KeyHandle, KeyPart, KeySpec, KeyUses, MAX_KEY_LEN, MacMechanism, Mechanism,
    MechanismInfo, SHA256_LEN, StateKeyId, WrapMechanism, declassify,
};
use rand_core::TryCryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Default capacity of a [`SoftEngine`] in keys, the device key and state keys included.
pub const DEFAULT_KEYS: usize = 64;

/// The mechanisms of each family.
const FAMILIES: [&[MechanismInfo]; 5] =
    [key::MECHANISMS, symmetric::MECHANISMS, derivation::MECHANISMS, digest::MECHANISMS, mac::MECHANISMS];

/// The mechanisms of all families.
static MECHANISMS: [MechanismInfo; count(&FAMILIES)] = concat(&FAMILIES);

const fn count(mut families: &[&[MechanismInfo]]) -> usize {
    let mut count = 0;
    while let [family, rest @ ..] = families {
        count += family.len();
        families = rest;
    }
    count
}

const fn concat<const N: usize>(mut families: &[&[MechanismInfo]]) -> [MechanismInfo; N] {
    let mut all = [MechanismInfo { mechanism: Mechanism::Sha256, min_key_bits: 0, max_key_bits: 0 }; N];
    let mut at = 0;
    while let [first, others @ ..] = families {
        let mut family = *first;
        while let [info, infos @ ..] = family {
            #[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
            {
                all[at] = *info;
            }
            at += 1;
            family = infos;
        }
        families = others;
    }
    all
}

/// An engine in software with room for `KEYS` keys, the device key and state keys included; `R` is its source of entropy,
/// `S` keeps the secrets of its state keys.
pub struct SoftEngine<R, const KEYS: usize = DEFAULT_KEYS, S = VolatileStateKeys> {
    random: ReseedingDrbg<R>,
    references: ReferenceKeys,
    device_key: KeyHandle,
    attestation_key: SoftAttestationKey,
    state_keys: StateKeys<S>,
    keys: KeyTable<KEYS>,
}

impl<R: TryCryptoRng, const KEYS: usize> SoftEngine<R, KEYS> {
    /// The engine of the device whose secret this is, with state keys that end with the engine. As
    /// [`SoftEngine::with_state_keys`] otherwise.
    ///
    /// # Errors
    /// Only for a defect of this crate; no argument causes one.
    pub fn new(secret: &DeviceSecret, entropy: R) -> Result<Self, EngineError> {
        Self::with_state_keys(secret, entropy, VolatileStateKeys::default())
    }
}

impl<R: TryCryptoRng, const KEYS: usize, S: StateKeyStore> SoftEngine<R, KEYS, S> {
    /// The engine of the device whose secret this is, with the places of its state keys.
    ///
    /// `entropy` gives full entropy: a hardware source in firmware, `getrandom::SysRng` in a process, a seeded
    /// [`CtrDrbg`](crate::CtrDrbg) in a test. It is first asked when random bits are needed.
    ///
    /// # Errors
    /// [`EngineError::StorageFailed`] if the places cannot be read.
    pub fn with_state_keys(secret: &DeviceSecret, entropy: R, store: S) -> Result<Self, EngineError> {
        let mut keys = KeyTable::new();
        let mut state_keys = StateKeys::new(secret, store)?;
        let device_key = keys.insert(state_keys.device_key(secret)?)?;
        Ok(Self {
            random: ReseedingDrbg::new(entropy),
            references: ReferenceKeys::new(secret)?,
            device_key,
            attestation_key: SoftAttestationKey::new(secret)?,
            state_keys,
            keys,
        })
    }

    /// Adds a key whose value `fill` writes.
    fn insert(
        &mut self,
        spec: &KeySpec,
        origin: Origin,
        fill: impl FnOnce(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<KeyHandle, EngineError> {
        self.keys.insert(SoftKey::new(spec, origin, fill)?)
    }

    /// The prepared schedules of an AES key that permits these uses.
    fn aes_key(&mut self, handle: KeyHandle, uses: KeyUses) -> Result<&Cipher, EngineError> {
        let key = self.keys.key_mut(handle)?;
        key.permit(uses)?;
        key.prepare()?;
        key.cipher()
    }

    /// Runs `with` on the MAC of `data`.
    fn with_mac<T>(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        uses: KeyUses,
        data: &[u8],
        with: impl FnOnce(&[u8]) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match by {
            MacMechanism::AesCmac => with(&*cmac(self.aes_key(key, uses)?, &[data])),
            MacMechanism::HmacSha256 => {
                let key = self.keys.key(key)?;
                key.permit(uses)?;
                key.require(Algorithm::GenericSecret)?;
                with(&*hmac_sha256(key, data)?)
            }
        }
    }
}

/// Zeroes the caller's buffer when `run` fails.
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

impl<R: TryCryptoRng, const KEYS: usize, S: StateKeyStore> Engine for SoftEngine<R, KEYS, S> {
    fn mechanisms(&self) -> &[MechanismInfo] {
        &MECHANISMS
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        self.random.fill(out).map_err(|_| EngineError::RandomFailed)
    }

    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError> {
        self.keys.check_room()?;
        // A key for derivation alone is a master key generated inside.
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
        let mut key = SoftKey::new(spec, Origin::User, |to| counter_cmac(cipher, label, context, to))?;
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
        *digest = digest::digest_key(prefix, key);
        Ok(())
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        if self.keys.key(key)?.origin == Origin::Device {
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
        // Nothing of the key is stored outside the reference.
        self.references.authenticate(reference).map(|_| ())
    }

    fn forget_all_but(&mut self, _: &[&[u8]]) -> Result<(), EngineError> {
        // Nothing is stored outside the references.
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
        self.attestation_key.sign(message, signature);
        Ok(())
    }

    fn renew_device_key(&mut self) -> Result<(), EngineError> {
        let random = &mut self.random;
        let renewed =
            self.state_keys.renew_device_key(|to| random.fill(to).map_err(|_| EngineError::RandomFailed))?;
        self.keys.remove(self.device_key)?;
        self.device_key = self.keys.insert(renewed)?;
        Ok(())
    }

    fn create_state_key(&mut self) -> Result<StateKeyId, EngineError> {
        let random = &mut self.random;
        self.state_keys.create(|to| random.fill(to).map_err(|_| EngineError::RandomFailed))
    }

    fn state_key(&mut self, id: &StateKeyId) -> Result<KeyHandle, EngineError> {
        self.state_keys.load(id, &mut self.keys)
    }

    fn destroy_state_keys_but(&mut self, kept: &[StateKeyId]) -> Result<(), EngineError> {
        self.state_keys.destroy_all_but(kept, &mut self.keys)
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
            let stays = matches!(key.origin, Origin::Device | Origin::Master)
                || !key.spec.extractable && kek.origin != Origin::Derived;
            if stays {
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
        // A wrapped key of another length holds a key of another length, or is invalid.
        let expected_len = by.wrapped_len(spec.len());
        let buffer = buffer.get_mut(..wrapped.len()).filter(|_| wrapped.len() == expected_len);
        let buffer = buffer.ok_or(EngineError::WrappedKeyInvalid)?;
        buffer.copy_from_slice(wrapped);
        let key_len = cipher.unwrap_ct(by, buffer);
        // The length inside is part of the same verdict; no key has length 0.
        let valid = key_len.unwrap_or(0).ct_eq(&u32::from(spec.key_len));
        if !declassify(valid) {
            return Err(EngineError::WrappedKeyInvalid);
        }
        let value = buffer.get(..spec.len()).ok_or(EngineError::WrappedKeyInvalid)?;
        let key = SoftKey::copied(spec, Origin::User, value)?;
        self.keys.insert(key)
    }

    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(output, |output| self.aes_key(key, KeyUses::ENCRYPT)?.encrypt(by, plaintext, output))
    }

    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(output, |output| self.aes_key(key, KeyUses::DECRYPT)?.decrypt(by, ciphertext, output))
    }

    fn sign(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, EngineError> {
        or_zero(signature, |signature| {
            self.with_mac(by, key, KeyUses::SIGN, data, |mac| {
                signature.get_mut(..mac.len()).ok_or(EngineError::BufferTooSmall)?.copy_from_slice(mac);
                Ok(mac.len())
            })
        })
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        self.with_mac(by, key, KeyUses::VERIFY, data, |mac| {
            if declassify(mac.ct_eq(signature)) { Ok(()) } else { Err(EngineError::SignatureInvalid) }
        })
    }

    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError> {
        or_zero(digest, |digest| digest::digest(by, data, digest))
    }
}

impl<R, const KEYS: usize, S> fmt::Debug for SoftEngine<R, KEYS, S> {
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
