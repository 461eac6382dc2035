//! The software engine with bookkeeping of live keys and persisted references, and with injected faults.

use super::disk::Disk;
use super::module::device_key;
use engine::{
    ATTESTATION_SIGNATURE_LEN, AttestationKey, CipherMechanism, DigestMechanism, Engine, EngineError,
    KeyHandle, KeyPart, KeySpec, KeyUses, MacMechanism, MechanismInfo, SHA256_LEN, StateKeyId, WrapMechanism,
};
use engine_soft::{DEFAULT_KEYS, DeviceSecret, SoftEngine};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use tke_crypto::RandomFailed;
use unit_api::UseFamily;
use unit_testkit::ScriptedRng;

type Entropy = ScriptedRng<Box<dyn FnMut(&mut [u8]) -> Result<(), RandomFailed>>>;

/// A fault of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// Call number `.0`, counted from 0 since the fault was set, fails with this error; later calls succeed.
    Refuses(usize, EngineError),
    /// Every result of the method of this name has one bit flipped.
    Miscalculates(&'static str),
    /// The method of this name accepts every input that it should check.
    AcceptsAll(&'static str),
    /// The engine does not list this mechanism.
    ListsTooFew,
}

#[derive(Clone, Default)]
struct Inner {
    persisted: BTreeSet<Vec<u8>>,
    live: BTreeSet<u32>,
    calls: usize,
    /// Number of seeds used over all starts, so that the noise of the device never repeats.
    seeds: u64,
    /// Number of references returned, if they are numbered.
    references: u64,
    misbehaviour: Option<Misbehaviour>,
}

const NUMBER_LEN: usize = size_of::<u64>();

/// State that survives a loss of power.
#[derive(Clone)]
pub(crate) struct Device {
    seed: u8,
    /// Whether every reference is new, as on a token, or always the same for a key, as in software.
    numbered_references: bool,
    inner: Rc<RefCell<Inner>>,
}

impl Device {
    pub(crate) fn new(seed: u8) -> Self {
        Self { seed, numbered_references: false, inner: Rc::default() }
    }

    pub(crate) fn with_numbered_references(self) -> Self {
        Self { numbered_references: true, ..self }
    }

    /// An independent device in the same state.
    pub(crate) fn copy(&self) -> Self {
        Self { inner: Rc::new(RefCell::new(self.inner.borrow().clone())), ..self.clone() }
    }

    /// The same device after a restart: keys held by handle are gone, persisted keys are kept. Without `genuine` its
    /// signatures are invalid, and quick.
    ///
    /// The secrets of its state keys are on the disk, whose faults are also theirs.
    pub(crate) fn power_on(&self, disk: &Disk, genuine: bool) -> Observed {
        self.inner.borrow_mut().live.clear();
        let (seed, inner) = (self.seed, Rc::clone(&self.inner));
        let entropy: Entropy = ScriptedRng::new(Box::new(move |bytes: &mut [u8]| {
            inner.borrow_mut().seeds += 1;
            let counter = inner.borrow().seeds;
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::try_from((counter * 31 + i as u64 * 7 + u64::from(seed) * 13) % 251).unwrap();
            }
            Ok(())
        }));
        let secret = DeviceSecret::new([self.seed; 32]);
        let engine = SoftEngine::with_state_keys(&secret, entropy, disk.clone()).unwrap();
        let (inner, numbered_references) = (Rc::clone(&self.inner), self.numbered_references);
        Observed { engine: Box::new(engine), numbered_references, inner, listed: Vec::new(), genuine }
            .listing()
    }

    /// Number of keys held by handle, without the device key.
    pub(crate) fn live(&self) -> usize {
        self.inner.borrow().live.len()
    }

    /// Number of keys persisted and not forgotten.
    pub(crate) fn persisted(&self) -> usize {
        self.inner.borrow().persisted.len()
    }

    pub(crate) fn misbehave(&self, misbehaviour: Option<Misbehaviour>) {
        let mut inner = self.inner.borrow_mut();
        inner.misbehaviour = misbehaviour;
        inner.calls = 0;
    }

    /// Number of calls since the last fault was set.
    pub(crate) fn calls(&self) -> usize {
        self.inner.borrow().calls
    }
}

/// An engine on a [`Device`].
pub(crate) struct Observed {
    engine: Box<SoftEngine<Entropy, DEFAULT_KEYS, Disk>>,
    numbered_references: bool,
    inner: Rc<RefCell<Inner>>,
    listed: Vec<MechanismInfo>,
    /// Whether it makes valid signatures.
    genuine: bool,
}

impl Observed {
    fn listing(mut self) -> Self {
        self.listed = self.engine.mechanisms().to_vec();
        if self.inner.borrow().misbehaviour == Some(Misbehaviour::ListsTooFew) {
            self.listed.pop();
        }
        self
    }

    fn call(&self) -> Result<(), EngineError> {
        let mut inner = self.inner.borrow_mut();
        let number = inner.calls;
        inner.calls += 1;
        match inner.misbehaviour {
            Some(Misbehaviour::Refuses(nth, error)) if nth == number => Err(error),
            _ => Ok(()),
        }
    }

    fn miscalculate(&self, method: &'static str, result: &mut [u8]) {
        let wrong = self.inner.borrow().misbehaviour == Some(Misbehaviour::Miscalculates(method));
        if let Some(first) = result.first_mut().filter(|_| wrong) {
            *first ^= 0x10;
        }
    }

    fn without_number<'a>(&self, reference: &'a [u8]) -> &'a [u8] {
        let number_len = if self.numbered_references { NUMBER_LEN } else { 0 };
        &reference[..reference.len() - number_len]
    }

    fn accepts_all(&self, method: &'static str) -> bool {
        self.inner.borrow().misbehaviour == Some(Misbehaviour::AcceptsAll(method))
    }

    /// Notes a key that was made, whose uses the unit asked for: none, or of one family.
    fn made(&self, spec: &KeySpec, key: KeyHandle) -> KeyHandle {
        assert!(
            spec.uses == KeyUses::NONE || UseFamily::of(spec).is_ok(),
            "a key in the engine has uses of two families: {spec:?}"
        );
        self.noted(key)
    }

    fn noted(&self, key: KeyHandle) -> KeyHandle {
        assert!(self.inner.borrow_mut().live.insert(key.to_raw()), "a handle was given out twice");
        key
    }
}

impl Engine for Observed {
    fn mechanisms(&self) -> &[MechanismInfo] {
        &self.listed
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), EngineError> {
        self.call()?;
        self.engine.random(out)?;
        if self.inner.borrow().misbehaviour == Some(Misbehaviour::Miscalculates("random")) {
            out.fill(7);
        }
        Ok(())
    }

    fn generate_key(&mut self, spec: &KeySpec) -> Result<KeyHandle, EngineError> {
        self.call()?;
        if self.inner.borrow().misbehaviour == Some(Misbehaviour::Miscalculates("generate_key")) {
            let key = self.engine.import_key(spec, &vec![7; spec.len()])?;
            return Ok(self.made(spec, key));
        }
        let key = self.engine.generate_key(spec)?;
        Ok(self.made(spec, key))
    }

    fn import_key(&mut self, spec: &KeySpec, value: &[u8]) -> Result<KeyHandle, EngineError> {
        self.call()?;
        let key = self.engine.import_key(spec, value)?;
        Ok(self.made(spec, key))
    }

    fn combine_key_parts(&mut self, parts: &[KeyPart], extractable: bool) -> Result<KeyHandle, EngineError> {
        self.call()?;
        if self.inner.borrow().misbehaviour == Some(Misbehaviour::Miscalculates("combine_key_parts")) {
            let key =
                self.engine.combine_key_parts(&[KeyPart::new([1; 32]), KeyPart::new([2; 32])], false)?;
            return Ok(self.noted(key));
        }
        let key = self.engine.combine_key_parts(parts, extractable)?;
        Ok(self.noted(key))
    }

    fn export_key_part(&mut self, key: KeyHandle) -> Result<KeyPart, EngineError> {
        self.call()?;
        if self.inner.borrow().misbehaviour == Some(Misbehaviour::Miscalculates("export_key_part")) {
            return Ok(KeyPart::new([7; 32]));
        }
        self.engine.export_key_part(key)
    }

    fn derive_key(
        &mut self,
        base: KeyHandle,
        label: &[u8],
        context: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        self.call()?;
        let mut label = label.to_vec();
        self.miscalculate("derive_key", &mut label);
        let key = self.engine.derive_key(base, &label, context, spec)?;
        Ok(self.made(spec, key))
    }

    fn digest_key(
        &mut self,
        prefix: &[u8],
        key: KeyHandle,
        digest: &mut [u8; SHA256_LEN],
    ) -> Result<(), EngineError> {
        self.call()?;
        self.engine.digest_key(prefix, key, digest)?;
        self.miscalculate("digest_key", digest);
        Ok(())
    }

    fn destroy_key(&mut self, key: KeyHandle) -> Result<(), EngineError> {
        self.engine.destroy_key(key)?;
        assert!(self.inner.borrow_mut().live.remove(&key.to_raw()), "an unknown key was destroyed");
        Ok(())
    }

    fn persist_key(&mut self, key: KeyHandle, reference: &mut [u8]) -> Result<usize, EngineError> {
        self.call()?;
        let mut len = self.engine.persist_key(key, reference)?;
        let mut inner = self.inner.borrow_mut();
        if self.numbered_references {
            inner.references += 1;
            reference[len..len + NUMBER_LEN].copy_from_slice(&inner.references.to_be_bytes());
            len += NUMBER_LEN;
        }
        inner.persisted.insert(reference[..len].to_vec());
        Ok(len)
    }

    fn recall_key(&mut self, reference: &[u8]) -> Result<KeyHandle, EngineError> {
        self.call()?;
        // In software, a forgotten key is as recallable as its reference.
        if self.numbered_references && !self.inner.borrow().persisted.contains(reference) {
            return Err(EngineError::ReferenceInvalid);
        }
        let key = self.engine.recall_key(self.without_number(reference))?;
        Ok(self.noted(key))
    }

    fn forget_key(&mut self, reference: &[u8]) -> Result<(), EngineError> {
        self.engine.forget_key(self.without_number(reference))?;
        let known = self.inner.borrow_mut().persisted.remove(reference);
        if known { Ok(()) } else { Err(EngineError::ReferenceInvalid) }
    }

    fn forget_all_but(&mut self, references: &[&[u8]]) -> Result<(), EngineError> {
        self.call()?;
        self.inner.borrow_mut().persisted.retain(|kept| references.contains(&kept.as_slice()));
        self.engine.forget_all_but(references)
    }

    fn device_key(&self) -> KeyHandle {
        self.engine.device_key()
    }

    fn attestation_key(&self) -> &AttestationKey {
        &device_key().public
    }

    fn attest(
        &mut self,
        message: &[u8],
        signature: &mut [u8; ATTESTATION_SIGNATURE_LEN],
    ) -> Result<(), EngineError> {
        device_key().sign(self.genuine, message, signature);
        Ok(())
    }

    fn renew_device_key(&mut self) -> Result<(), EngineError> {
        self.call()?;
        self.engine.renew_device_key()
    }

    fn create_state_key(&mut self) -> Result<StateKeyId, EngineError> {
        self.call()?;
        self.engine.create_state_key()
    }

    fn state_key(&mut self, id: &StateKeyId) -> Result<KeyHandle, EngineError> {
        self.call()?;
        self.engine.state_key(id)
    }

    fn destroy_state_keys_but(&mut self, kept: &[StateKeyId]) -> Result<(), EngineError> {
        self.call()?;
        self.engine.destroy_state_keys_but(kept)
    }

    fn wrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        key: KeyHandle,
        wrapped: &mut [u8],
    ) -> Result<usize, EngineError> {
        self.call()?;
        let len = self.engine.wrap_key(by, kek, key, wrapped)?;
        self.miscalculate("wrap_key", wrapped);
        Ok(len)
    }

    fn unwrap_key(
        &mut self,
        by: WrapMechanism,
        kek: KeyHandle,
        wrapped: &[u8],
        spec: &KeySpec,
    ) -> Result<KeyHandle, EngineError> {
        self.call()?;
        let key = match self.engine.unwrap_key(by, kek, wrapped, spec) {
            Err(_) if self.accepts_all("unwrap_key") => self.engine.import_key(spec, &vec![1; spec.len()])?,
            other => other?,
        };
        Ok(self.made(spec, key))
    }

    fn encrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        self.call()?;
        let len = self.engine.encrypt(by, key, plaintext, output)?;
        self.miscalculate("encrypt", output);
        Ok(len)
    }

    fn decrypt(
        &mut self,
        by: CipherMechanism<'_>,
        key: KeyHandle,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, EngineError> {
        self.call()?;
        match self.engine.decrypt(by, key, ciphertext, output) {
            Err(_) if self.accepts_all("decrypt") => Ok(ciphertext.len().saturating_sub(16)),
            other => {
                self.miscalculate("decrypt", output);
                other
            }
        }
    }

    fn sign(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &mut [u8],
    ) -> Result<usize, EngineError> {
        self.call()?;
        let len = self.engine.sign(by, key, data, signature)?;
        self.miscalculate("sign", signature);
        Ok(len)
    }

    fn verify(
        &mut self,
        by: MacMechanism,
        key: KeyHandle,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), EngineError> {
        self.call()?;
        match self.engine.verify(by, key, data, signature) {
            Err(_) if self.accepts_all("verify") => Ok(()),
            other => other,
        }
    }

    fn digest(&mut self, by: DigestMechanism, data: &[u8], digest: &mut [u8]) -> Result<usize, EngineError> {
        self.call()?;
        let len = self.engine.digest(by, data, digest)?;
        self.miscalculate("digest", digest);
        Ok(len)
    }
}
