//! Planted faults that the conformance suite must detect.

use engine::conformance::LAWS;
use engine::{
    ATTESTATION_SIGNATURE_LEN, CipherMechanism, Engine, EngineError, KeyHandle, KeyPart, KeySpec, KeyUses,
    MacMechanism, SHA256_LEN, StateKeyId, WrapMechanism,
};
use engine_soft::{CtrDrbg, DeviceSecret, SoftEngine};
use rand_core::SeedableRng;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A fault of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    AttestsOneMessage,
    RandomRepeats,
    RandomStopsEarly,
    ImportIgnoresLength,
    FourPartsCombine,
    ExportsAnything,
    ExportsZeros,
    MasterKeysLeave,
    MasterKeyMayEncrypt,
    DerivationIgnoresContext,
    DigestLeavesBytes,
    DestroyKeepsKey,
    PersistForgetsUses,
    RecallIgnoresDamage,
    ForgetsTheNamed,
    EverythingIsExtractable,
    WrapLeavesBytes,
    UnwrapIgnoresLength,
    DecryptLeavesBytes,
    DecryptIgnoresTag,
    SignIgnoresUses,
    VerifyTakesTruncated,
    VerifyTakesAnything,
    StateKeysAreOne,
    StateKeysStay,
    RenewKeepsDeviceKey,
}

const FAULTS: [Fault; 26] = [
    Fault::AttestsOneMessage,
    Fault::RandomRepeats,
    Fault::RandomStopsEarly,
    Fault::ImportIgnoresLength,
    Fault::FourPartsCombine,
    Fault::ExportsAnything,
    Fault::ExportsZeros,
    Fault::MasterKeysLeave,
    Fault::MasterKeyMayEncrypt,
    Fault::DerivationIgnoresContext,
    Fault::DigestLeavesBytes,
    Fault::DestroyKeepsKey,
    Fault::PersistForgetsUses,
    Fault::RecallIgnoresDamage,
    Fault::ForgetsTheNamed,
    Fault::EverythingIsExtractable,
    Fault::WrapLeavesBytes,
    Fault::UnwrapIgnoresLength,
    Fault::DecryptLeavesBytes,
    Fault::DecryptIgnoresTag,
    Fault::SignIgnoresUses,
    Fault::VerifyTakesTruncated,
    Fault::VerifyTakesAnything,
    Fault::StateKeysAreOne,
    Fault::StateKeysStay,
    Fault::RenewKeepsDeviceKey,
];

/// A sound engine with one fault.
struct Faulty<E> {
    sound: E,
    fault: Fault,
    forgetful: bool,
    first_state_key: Option<StateKeyId>,
}

impl<E> Faulty<E> {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Leaves a byte in the buffer of a refused call.
    fn leave<T>(
        &self,
        fault: Fault,
        result: Result<T, EngineError>,
        buffer: &mut [u8],
    ) -> Result<T, EngineError> {
        if let (true, Err(_), Some(byte)) = (self.has(fault), &result, buffer.first_mut()) {
            *byte = 1;
        }
        result
    }
}

impl<E: Engine> Engine for Faulty<E> {
    engine::forward_engine!(self => self.sound;
        mechanisms, generate_key, persist_key, forget_key, device_key, attestation_key, state_key, encrypt, sign, digest
    );

    fn attest(
        &mut self,
        message: &[u8],
        signature: &mut [u8; ATTESTATION_SIGNATURE_LEN],
    ) -> Result<(), EngineError> {
        let message = if self.has(Fault::AttestsOneMessage) { b"answer" } else { message };
        self.sound.attest(message, signature)
    }

    fn renew_device_key(&mut self) -> Result<(), EngineError> {
        if self.has(Fault::RenewKeepsDeviceKey) { Ok(()) } else { self.sound.renew_device_key() }
    }

    fn create_state_key(&mut self) -> Result<StateKeyId, EngineError> {
        match self.first_state_key {
            Some(first) if self.has(Fault::StateKeysAreOne) => Ok(first),
            _ => {
                let id = self.sound.create_state_key()?;
                self.first_state_key = Some(id);
                Ok(id)
            }
        }
    }

    fn destroy_state_keys_but(&mut self, kept: &[StateKeyId]) -> Result<(), EngineError> {
        if self.has(Fault::StateKeysStay) { Ok(()) } else { self.sound.destroy_state_keys_but(kept) }
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        match self.fault {
            Fault::RandomRepeats => out.fill(4),
            Fault::RandomStopsEarly => self.sound.random(out.get_mut(..100).unwrap_or_default())?,
            _ => self.sound.random(out)?,
        }
        Ok(())
    }

    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError> {
        let extractable = spec.extractable || self.has(Fault::EverythingIsExtractable);
        let uses = if self.has(Fault::SignIgnoresUses) { spec.uses.with(KeyUses::SIGN) } else { spec.uses };
        let spec = KeySpec { extractable, uses, ..*spec };
        let value = if self.has(Fault::ImportIgnoresLength) {
            value.get(..spec.len()).unwrap_or(value)
        } else {
            value
        };
        self.sound.import_key(&spec, value)
    }

    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError> {
        match parts {
            [_, three @ ..] if three.len() == 3 && self.has(Fault::FourPartsCombine) => {
                self.sound.combine_key_parts(three, extractable)
            }
            [a, b] if self.has(Fault::MasterKeyMayEncrypt) => {
                let value: Vec<u8> = a.expose().iter().zip(b.expose()).map(|(a, b)| a ^ b).collect();
                self.sound.import_key(&KeySpec::aes(32, KeyUses::DERIVE.with(KeyUses::ENCRYPT)), &value)
            }
            _ => self.sound.combine_key_parts(parts, extractable || self.has(Fault::MasterKeysLeave)),
        }
    }

    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError> {
        match self.sound.export_key_part(key) {
            Err(EngineError::KeyFunctionNotPermitted) if self.has(Fault::ExportsAnything) => {
                Ok(KeyPart::new([0; 32]))
            }
            Ok(_) if self.has(Fault::ExportsZeros) => Ok(KeyPart::new([0; 32])),
            other => other,
        }
    }

    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        let context = if self.has(Fault::DerivationIgnoresContext) { &[] } else { context };
        self.sound.derive_key(base, label, context, spec)
    }

    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError> {
        let result = self.sound.digest_key(prefix, key, digest);
        self.leave(Fault::DigestLeavesBytes, result, digest)
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        if self.has(Fault::DestroyKeepsKey) && key != self.sound.device_key() {
            return Ok(());
        }
        self.sound.destroy_key(key)
    }

    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError> {
        let spec = KeySpec::aes(32, KeyUses::ALL);
        match self.sound.recall_key(reference) {
            Ok(key) if self.forgetful => {
                self.sound.destroy_key(key)?;
                Err(EngineError::ReferenceInvalid)
            }
            Ok(key) if self.has(Fault::PersistForgetsUses) => {
                self.sound.destroy_key(key)?;
                self.sound.import_key(&spec, &[7; 32])
            }
            Err(_) if self.has(Fault::RecallIgnoresDamage) => self.sound.import_key(&spec, &[7; 32]),
            result => result,
        }
    }

    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError> {
        if references.len() > 1 && self.has(Fault::ForgetsTheNamed) {
            self.forgetful = true;
        }
        self.sound.forget_all_but(references)
    }

    fn wrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        let result = self.sound.wrap_key(by, kek, key, wrapped);
        self.leave(Fault::WrapLeavesBytes, result, wrapped)
    }

    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        match self.sound.unwrap_key(by, kek, wrapped, spec) {
            Err(EngineError::WrappedKeyInvalid)
                if self.has(Fault::UnwrapIgnoresLength) && spec.key_len != 32 =>
            {
                self.sound.unwrap_key(by, kek, wrapped, &KeySpec { key_len: 32, ..*spec })
            }
            result => result,
        }
    }

    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        match self.sound.decrypt(by, key, ciphertext, output) {
            Err(EngineError::EncryptedDataInvalid) if self.has(Fault::DecryptIgnoresTag) => Ok(0),
            result => self.leave(Fault::DecryptLeavesBytes, result, output),
        }
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        match self.sound.verify(by, key, data, signature) {
            Err(EngineError::SignatureInvalid) if self.has(Fault::VerifyTakesAnything) => Ok(()),
            Err(_) if self.has(Fault::VerifyTakesTruncated) => {
                let mut whole = [0; SHA256_LEN];
                let len = self.sound.sign(by, key, data, &mut whole)?;
                let truncated = signature.len() < len && whole.starts_with(signature);
                if truncated { Ok(()) } else { Err(EngineError::SignatureInvalid) }
            }
            result => result,
        }
    }
}

/// Number of laws that an engine with this fault breaks.
fn broken_laws(fault: Fault) -> usize {
    let mut entropy = CtrDrbg::seed_from_u64(1);
    let broken = LAWS.iter().filter(|law| {
        let sound = SoftEngine::<_>::new(&DeviceSecret::new([1; 32]), &mut entropy).unwrap();
        catch_unwind(AssertUnwindSafe(|| {
            law.check(&mut Faulty { sound, fault, forgetful: false, first_state_key: None })
        }))
        .is_err()
    });
    broken.count()
}

#[test]
fn a_sound_engine_breaks_no_law() {
    assert_eq!(broken_laws(Fault::None), 0);
}

#[test]
fn every_planted_fault_breaks_a_law() {
    for fault in FAULTS {
        assert!(broken_laws(fault) > 0, "{fault:?} was not detected");
    }
}
